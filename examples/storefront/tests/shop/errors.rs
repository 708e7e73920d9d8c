use std::time::Duration;

use axum::{
    body::Body,
    http::{Method, header},
};
use serde_json::{Value, json};
use storefront::{analytics::Strain, app::Settings, compartments::Protection};

use crate::desk::{Desk, EVERY_PROTECTION, order, payment, request};

#[tokio::test]
async fn what_is_wrong_with_a_payment_is_told_in_a_problem_document() {
    let desk = Desk::with(Protection::Fusebox).await;
    let amount = |amount: Value| json!({"order_id": 1, "amount": amount, "currency": "EUR"});
    for (body, problem) in [
        (amount(json!(0)), (422, "invalid_amount")),
        (amount(json!(-1)), (422, "invalid_amount")),
        (amount(json!(1.5)), (422, "invalid_body")),
        (amount(json!("1999")), (422, "invalid_body")),
        (order(0), (422, "invalid_order_id")),
        (json!({"order_id": 1}), (422, "invalid_body")),
        (
            json!({"order_id": 1, "amount": 1, "currency": "DOGE"}),
            (422, "invalid_body"),
        ),
        (
            json!({"order_id": 1, "amount": 1, "currency": "EUR", "tip": 1}),
            (422, "invalid_body"),
        ),
    ] {
        assert_eq!(desk.pay("key", &body).await.problem(), problem, "{body}");
    }

    let mut text = payment("key", &order(1));
    text.headers_mut().remove(header::CONTENT_TYPE);
    assert_eq!(desk.ask(text).await.problem(), (415, "invalid_body"));

    let mut keyless = payment("key", &order(1));
    keyless.headers_mut().remove("idempotency-key");
    assert_eq!(
        desk.ask(keyless).await.problem(),
        (400, "idempotency_key_missing")
    );

    assert_eq!(desk.number("SELECT COUNT(*) FROM payments").await, 0);
    desk.shop.close().await;
}

#[tokio::test]
async fn a_torn_body_is_told_by_the_firewall_or_where_there_is_none_by_the_handler() {
    for protection in EVERY_PROTECTION {
        let desk = Desk::with(protection).await;
        let mut torn = payment("key", &order(1));
        *torn.body_mut() = Body::from(r#"{"order_id":1"#);
        let answer = desk.ask(torn).await;
        assert_eq!(answer.status, 400, "{protection}");
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        let by_the_handler = answer.body["code"] == "invalid_body";
        assert_eq!(by_the_handler, protection != Protection::Fusebox);
        desk.shop.close().await;
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_not_read_to_its_end() {
    let desk = Desk::with(Protection::Fusebox).await;
    let large = json!({"order_id": 1, "amount": 1, "currency": "E".repeat(8 * 1024)});
    assert_eq!(
        desk.pay("key", &large).await.problem(),
        (413, "invalid_body")
    );
    desk.shop.close().await;
}

#[tokio::test]
async fn there_is_no_such_address_payment_or_method() {
    for protection in EVERY_PROTECTION {
        let desk = Desk::with(protection).await;
        for path in [
            "/",
            "/payments/",
            "/payments/7",
            "/payments/%ff",
            "/payments/00000000-0000-7000-8000-000000000000",
            "/analytics",
        ] {
            assert_eq!(desk.get(path).await.problem(), (404, "not_found"), "{path}");
        }
        for (method, path) in [
            (Method::GET, "/payments"),
            (
                Method::DELETE,
                "/payments/00000000-0000-7000-8000-000000000000",
            ),
            (Method::POST, "/analytics/revenue"),
            (Method::PUT, "/healthz"),
        ] {
            let answer = desk.ask(request(method.clone(), path, Body::empty())).await;
            assert_eq!(
                answer.problem(),
                (405, "method_not_allowed"),
                "{method} {path}"
            );
            assert!(
                answer.headers.contains_key(header::ALLOW),
                "{method} {path}"
            );
        }
        desk.shop.close().await;
    }
}

#[tokio::test]
async fn analytics_take_only_windows_that_they_have() {
    let desk = Desk::with(Protection::Fusebox).await;
    for (query, problem) in [
        ("revenue?days=0", (400, "invalid_days")),
        ("revenue?days=366", (400, "invalid_days")),
        ("revenue?days=many", (400, "invalid_query")),
        ("revenue?weeks=2", (400, "invalid_query")),
        ("top-products?limit=0", (400, "invalid_limit")),
        ("top-products?limit=101", (400, "invalid_limit")),
    ] {
        let answer = desk.get(&format!("/analytics/{query}")).await;
        assert_eq!(answer.problem(), problem, "{query}");
    }

    let revenue = desk.get("/analytics/revenue?days=365").await;
    let orders = revenue.body["currencies"].as_object().unwrap().values();
    let orders: i64 = orders
        .map(|currency| currency["orders"].as_i64().unwrap())
        .sum();
    assert_eq!(orders, 200, "{revenue:?}");

    let top = desk.get("/analytics/top-products?days=365&limit=3").await;
    let sold: Vec<i64> = top.body["products"]
        .as_array()
        .unwrap()
        .iter()
        .map(|product| product["sold"].as_i64().unwrap())
        .collect();
    assert_eq!(sold.len(), 3, "{top:?}");
    assert!(sold.is_sorted_by(|more, less| more >= less), "{top:?}");
    desk.shop.close().await;
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_given_up_with_a_reason() {
    for protection in EVERY_PROTECTION {
        let desk = Desk::open(Settings {
            protection,
            strain: Strain {
                delay: Duration::from_secs(3_600),
                ..Strain::default()
            },
            longest_request: Duration::from_millis(300),
            ..Settings::default()
        })
        .await;
        let answer = desk.get("/analytics/revenue").await;
        assert_eq!(answer.problem(), (504, "timeout"), "{protection}");
        // And it holds nothing any more: the shop closes without waiting for it.
        desk.shop.close().await;
    }
}
