use axum::http::StatusCode;
use serde_json::json;
use tokio::task::JoinSet;
use tower::ServiceExt;

use crate::desk::{Desk, EVERY_PROTECTION, order, payment};

const PAYMENTS: &str = "SELECT COUNT(*) FROM payments";

#[tokio::test]
async fn a_payment_is_made_once_however_often_it_is_asked_for() {
    for protection in EVERY_PROTECTION {
        let desk = Desk::with(protection).await;
        let first = desk.pay("once", &order(7)).await;
        assert_eq!(first.status, StatusCode::CREATED, "{protection}");
        assert!(!first.headers.contains_key("idempotent-replayed"));
        assert_eq!(first.body["amount"], 1999);

        // Quoted is the same key, and the order of the fields is nothing.
        let body = json!({"currency": "EUR", "order_id": 7, "amount": 1999});
        let again = desk.pay(r#""once""#, &body).await;
        assert_eq!(again.status, StatusCode::CREATED, "{protection}");
        assert_eq!(again.headers["idempotent-replayed"], "true");
        assert_eq!(again.body, first.body, "{protection}");

        let location = first.headers["location"].to_str().unwrap();
        let found = desk.get(location).await;
        assert_eq!(found.status, StatusCode::OK, "{protection}");
        assert_eq!(found.body["id"], first.body["id"]);
        assert_eq!(desk.number(PAYMENTS).await, 1, "{protection}");
        desk.shop.close().await;
    }
}

#[tokio::test]
async fn of_requests_that_come_at_once_one_pays_and_the_others_hear_of_it() {
    let desk = Desk::with(EVERY_PROTECTION[2]).await;
    let mut asking = JoinSet::new();
    for _ in 0..20 {
        asking.spawn(desk.shop.router().oneshot(payment("race", &order(3))));
    }
    let mut replayed = 0;
    while let Some(answer) = asking.join_next().await {
        let answer = answer.unwrap().unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
        replayed += usize::from(answer.headers().contains_key("idempotent-replayed"));
    }
    assert_eq!(replayed, 19);
    assert_eq!(desk.number(PAYMENTS).await, 1);
    desk.shop.close().await;
}

#[tokio::test]
async fn a_key_does_not_pay_for_another_body() {
    let desk = Desk::with(EVERY_PROTECTION[2]).await;
    assert_eq!(desk.pay("mine", &order(1)).await.status, 201);
    let other = desk.pay("mine", &order(2)).await;
    assert_eq!(other.problem(), (422, "idempotency_key_reused"));
    assert_eq!(desk.number(PAYMENTS).await, 1);
    desk.shop.close().await;
}

#[tokio::test]
async fn a_refused_payment_does_not_use_its_key_up() {
    let desk = Desk::with(EVERY_PROTECTION[2]).await;
    let unknown = desk.pay("later", &order(1_000_000)).await;
    assert_eq!(unknown.problem(), (422, "unknown_order"));
    assert_eq!(desk.pay("later", &order(1)).await.status, 201);
    desk.shop.close().await;
}
