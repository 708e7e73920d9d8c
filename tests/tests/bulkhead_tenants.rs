//! A compartment divided among tenants, in front of axum's handlers.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::sync::Arc;

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use fusebox_bulkhead::{Compartment, Key};
use fusebox_core::Registration;
use fusebox_stack_tests::{Connection, Server, until, within};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use tokio::sync::Semaphore;

/// Two tenants at most, two slots each.
fn tenants() -> Compartment {
    Compartment::builder("tenants")
        .registration(Registration::Unlisted)
        .slots(4)
        .slots_per_key(2)
        .max_keys(2)
        .build()
        .unwrap()
}

/// Who asks, by a header that a gateway has checked.
fn tenant(request: &Request<Body>) -> Option<Key> {
    request.headers().get("x-tenant").map(Key::of)
}

async fn serve(tenants: &Compartment) -> (Server, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let open = gate.clone();
    let gated = move || async move { open.acquire().await.unwrap().forget() };
    let router = Router::new()
        .route("/", get(gated))
        .layer(tenants.layer().by_key(tenant).unwrap());
    (Server::start(router).await, gate)
}

fn asks(tenant: &str) -> Request<Empty<Bytes>> {
    Request::get("/")
        .header("x-tenant", tenant)
        .body(Empty::new())
        .unwrap()
}

async fn in_flight(tenants: &Compartment, calls: usize) {
    let seen = || tenants.snapshot().in_flight == calls;
    until(&format!("{calls} in flight"), seen).await;
}

/// The status and the code of a refusal.
async fn refused(
    connection: &mut Connection,
    request: Request<Empty<Bytes>>,
) -> (StatusCode, String) {
    let response = connection.send(request).await.unwrap();
    let status = response.status();
    let body = within(response.into_body().collect()).await.unwrap();
    let problem: serde_json::Value = serde_json::from_slice(&body.to_bytes()).unwrap();
    let code = problem.get("code").unwrap();
    (status, code.as_str().unwrap().to_owned())
}

#[tokio::test]
async fn one_tenant_cannot_take_the_slots_of_the_others() {
    const UNAVAILABLE: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
    let tenants = tenants();
    let (server, gate) = serve(&tenants).await;
    let mut connection = Connection::to(&server).await;

    let mut calls = Vec::new();
    for (number, tenant) in ["greedy", "greedy", "modest"].into_iter().enumerate() {
        let mut caller = Connection::to(&server).await;
        calls.push(tokio::spawn(async move {
            caller.send(asks(tenant)).await.unwrap().status()
        }));
        in_flight(&tenants, number + 1).await;
        if number == 1 {
            // Half of the slots are free, and not for this one.
            let full = refused(&mut connection, asks("greedy")).await;
            assert_eq!(full, (UNAVAILABLE, "full".to_owned()));
        }
    }
    let third = refused(&mut connection, asks("third")).await;
    assert_eq!(third, (UNAVAILABLE, "too_many_keys".to_owned()));
    let nobody = Request::get("/").body(Empty::new()).unwrap();
    let nobody = refused(&mut connection, nobody).await;
    assert_eq!(nobody, (StatusCode::FORBIDDEN, "unidentified".to_owned()));

    gate.add_permits(3);
    for call in calls {
        assert_eq!(within(call).await.unwrap(), StatusCode::OK);
    }
    in_flight(&tenants, 0).await;
    // Who holds nothing is not remembered.
    gate.add_permits(1);
    let answer = connection.send(asks("third")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_client_that_goes_away_gives_its_tenants_share_back() {
    let tenants = tenants();
    let (server, gate) = serve(&tenants).await;
    for _ in 0..3 {
        let mut gone = Vec::new();
        for number in 1..=2 {
            let mut connection = Connection::to(&server).await;
            gone.push(tokio::spawn(async move {
                connection.send(asks("greedy")).await
            }));
            in_flight(&tenants, number).await;
        }
        for call in gone {
            call.abort();
        }
        in_flight(&tenants, 0).await;
    }
    gate.add_permits(1);
    let mut connection = Connection::to(&server).await;
    let answer = connection.send(asks("greedy")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}
