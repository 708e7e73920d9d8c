use std::time::Duration;

use axum::http::{Method, StatusCode};
use serde_json::Value;
use storefront::{analytics::Strain, app::Settings, compartments::Protection};
use tokio::task::JoinSet;
use tower::ServiceExt;

use crate::desk::{Desk, order, request};

/// As many as are let in at once, and one thread and one connection for each.
const ANALYTICS: u64 = 5;

/// Reads a number of one compartment from the panel.
async fn number(desk: &Desk, compartment: &str, field: &str) -> u64 {
    let panel = desk.get("/fusebox").await.body;
    let compartments = panel["compartments"].as_array().unwrap();
    let found = compartments.iter().find(|one| one["name"] == compartment);
    found.unwrap()[field].as_u64().unwrap()
}

#[tokio::test]
async fn full_analytics_are_refused_and_nobody_else_notices() {
    let desk = Desk::open(Settings {
        strain: Strain {
            delay: Duration::from_secs(3_600),
            ..Strain::default()
        },
        ..Settings::default()
    })
    .await;
    let mut busy = JoinSet::new();
    for _ in 0..ANALYTICS {
        let asked = request(Method::GET, "/analytics/revenue", "");
        busy.spawn(desk.shop.router().oneshot(asked));
    }
    while number(&desk, "analytics", "in_flight").await < ANALYTICS {
        tokio::task::yield_now().await;
    }

    let refused = desk.get("/analytics/top-products").await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers["content-type"], "application/problem+json");
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(refused.body["status"], 503, "{refused:?}");

    assert_eq!(desk.pay("meanwhile", &order(1)).await.status, 201);
    assert_eq!(desk.get("/healthz").await.status, 200);

    // Clients that go away take nothing with them.
    busy.shutdown().await;
    while number(&desk, "analytics", "in_flight").await > 0 {
        tokio::task::yield_now().await;
    }
    desk.shop.close().await;
}

#[tokio::test]
async fn the_panel_shows_every_compartment_and_its_connections() {
    let desk = Desk::with(Protection::Fusebox).await;
    let panel = desk.get("/fusebox").await.body;
    let names = |of: &str| -> Vec<Value> {
        let list = panel[of].as_array().unwrap().iter();
        list.map(|one| one["name"].clone()).collect()
    };
    assert_eq!(names("edge"), ["shop", "clients", "core"]);
    assert_eq!(names("circuits"), ["authoriser"]);
    assert_eq!(names("compartments"), ["payments", "analytics", "jobs"]);
    assert_eq!(names("pools"), ["payments", "analytics", "jobs"]);
    let connections: Vec<_> = panel["pools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pool| pool["connections"].as_u64().unwrap())
        .collect();
    assert_eq!(connections, [20, 5, 10]);
    desk.shop.close().await;
}

#[tokio::test]
async fn without_compartments_everybody_shares_one_pool_as_large_as_the_three() {
    for protection in [Protection::None, Protection::Semaphore] {
        let desk = Desk::with(protection).await;
        let panel = desk.get("/fusebox").await.body;
        assert_eq!(panel["compartments"].as_array().unwrap().len(), 0);
        for pool in panel["pools"].as_array().unwrap() {
            assert_eq!(pool["connections"], 35, "{protection}");
        }
        desk.shop.close().await;
    }
}
