//! A compartment of connections under hyper-util's client and tonic's channel.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::{sync::Arc, time::Duration};

use axum::{Router, routing::get};
use bytes::Bytes;
use fusebox_bulkhead::{Compartment, CompartmentBuilder, connections::ConnectionLimit};
use fusebox_core::{Outcome, Registration, Rejection, RejectionKind};
use fusebox_stack_tests::{Server, until, within};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::sync::Semaphore;
use tonic::transport::Endpoint;
use tower::{Layer, ServiceExt};

type Pool = Client<ConnectionLimit<HttpConnector>, Empty<Bytes>>;

fn builder() -> CompartmentBuilder {
    Compartment::builder("payments connections").registration(Registration::Unlisted)
}

fn connector(connections: &Compartment) -> ConnectionLimit<HttpConnector> {
    connections.connection_layer().layer(HttpConnector::new())
}

fn pool(connections: &Compartment) -> Pool {
    Client::builder(TokioExecutor::new()).build(connector(connections))
}

/// `/` answers at once, `/gated` when the gate lets it.
async fn server() -> (Server, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let gated = gate.clone();
    let router = Router::new().route("/", get(|| async { "done" })).route(
        "/gated",
        get(move || async move {
            gated.acquire().await.unwrap().forget();
            "done"
        }),
    );
    (Server::start(router).await, gate)
}

async fn fetch(pool: &Pool, uri: Uri) -> Result<StatusCode, hyper_util::client::legacy::Error> {
    let response = within(pool.get(uri)).await?;
    let status = response.status();
    let body = within(response.into_body().collect()).await.unwrap();
    assert_eq!(body.to_bytes(), "done");
    Ok(status)
}

fn uri(server: &Server, path: &str) -> Uri {
    server.url(path).parse().unwrap()
}

async fn open(connections: &Compartment, expected: usize) {
    let seen = || connections.snapshot().in_flight == expected;
    until(&format!("{expected} connections"), seen).await;
}

#[tokio::test]
async fn a_slot_is_held_as_long_as_its_connection_is_open() {
    let connections = builder().slots(1).build().unwrap();
    let (server, _gate) = server().await;
    let pool = pool(&connections);
    for _ in 0..3 {
        // The same connection, idle in the pool in between.
        assert_eq!(
            fetch(&pool, uri(&server, "/")).await.unwrap(),
            StatusCode::OK
        );
        assert_eq!(connections.snapshot().in_flight, 1);
    }
    drop(pool);
    open(&connections, 0).await;
    let told = connections.snapshot().stats;
    assert_eq!(
        told.outcome(Outcome::Success),
        1,
        "one connection, one event"
    );
}

#[tokio::test]
async fn who_needs_one_more_is_refused_at_once_and_hyper_hands_the_refusal_on() {
    let connections = builder().slots(1).build().unwrap();
    let (server, gate) = server().await;
    // Two pools of one compartment: neither can take the other's connection.
    let (first, second) = (pool(&connections), pool(&connections));
    let path = uri(&server, "/gated");
    let busy = tokio::spawn(async move { fetch(&first, path).await });
    open(&connections, 1).await;

    let error = fetch(&second, uri(&server, "/")).await.unwrap_err();
    assert!(error.is_connect());
    let rejection = Rejection::find(&error).expect("hyper wraps it, and does not hide it");
    assert_eq!(rejection.kind(), RejectionKind::Full);
    assert_eq!(rejection.policy().as_str(), "payments connections");

    gate.add_permits(1);
    assert_eq!(within(busy).await.unwrap().unwrap(), StatusCode::OK);
    // With the pool went its connection.
    open(&connections, 0).await;
    assert_eq!(
        fetch(&second, uri(&server, "/")).await.unwrap(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn with_a_queue_it_waits_for_one_to_close() {
    let connections = builder()
        .slots(1)
        .queue(1, Duration::from_secs(3_600))
        .build()
        .unwrap();
    let (server, gate) = server().await;
    let (first, second) = (pool(&connections), pool(&connections));
    let path = uri(&server, "/gated");
    let busy = tokio::spawn(async move { fetch(&first, path).await });
    open(&connections, 1).await;
    let path = uri(&server, "/");
    let waits = tokio::spawn(async move { fetch(&second, path).await });
    until("one waits", || connections.snapshot().waiting == 1).await;
    gate.add_permits(1);
    assert_eq!(within(busy).await.unwrap().unwrap(), StatusCode::OK);
    assert_eq!(within(waits).await.unwrap().unwrap(), StatusCode::OK);
    open(&connections, 0).await;
}

#[tokio::test]
async fn the_wait_is_bounded_in_time() {
    let connections = builder()
        .slots(1)
        .queue(1, Duration::from_millis(5))
        .build()
        .unwrap();
    let (server, _gate) = server().await;
    let (first, second) = (pool(&connections), pool(&connections));
    assert_eq!(
        fetch(&first, uri(&server, "/")).await.unwrap(),
        StatusCode::OK
    );
    let error = fetch(&second, uri(&server, "/")).await.unwrap_err();
    let rejection = Rejection::find(&error).unwrap();
    assert_eq!(rejection.kind(), RejectionKind::QueueTimeout);
}

#[tokio::test]
async fn a_connection_that_is_not_made_gives_its_slot_back() {
    let connections = builder().slots(1).build().unwrap();
    let gone = {
        // Of a server that has just stopped listening.
        let (server, _gate) = server().await;
        uri(&server, "/")
    };
    let pool = pool(&connections);
    until("nobody listens", || {
        std::net::TcpStream::connect(gone.authority().unwrap().as_str()).is_err()
    })
    .await;
    for failures in 1..=3 {
        let error = fetch(&pool, gone.clone()).await.unwrap_err();
        assert!(error.is_connect());
        assert!(Rejection::find(&error).is_none(), "the connector failed");
        open(&connections, 0).await;
        let told = connections.snapshot().stats;
        assert_eq!(told.outcome(Outcome::Failure), failures);
    }
}

#[tokio::test]
async fn a_call_given_up_while_it_waits_for_a_connection_leaves_the_line() {
    let connections = builder()
        .slots(1)
        .queue(1, Duration::from_secs(3_600))
        .build()
        .unwrap();
    let slot = connections.try_acquire().unwrap();
    let mut connecting = connector(&connections).oneshot("http://127.0.0.1:1".parse().unwrap());
    let polled = std::pin::Pin::new(&mut connecting);
    assert!(
        polled
            .poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
            .is_pending()
    );
    assert_eq!(connections.snapshot().waiting, 1);
    drop(connecting);
    assert_eq!(connections.snapshot().waiting, 0);
    drop(slot);
    assert_eq!(connections.snapshot().in_flight, 0);
}

#[tokio::test]
async fn a_tonic_channel_holds_its_slot_and_hands_the_refusal_on() {
    let connections = builder().slots(1).build().unwrap();
    let (_reporter, health) = tonic_health::server::health_reporter();
    let router = tonic::service::Routes::new(health).into_axum_router();
    let server = Server::start(router).await;
    let endpoint = Endpoint::from_shared(server.url("")).unwrap();

    let connect = || endpoint.connect_with_connector(connector(&connections));
    let channel = within(connect()).await.unwrap();
    assert_eq!(connections.snapshot().in_flight, 1);
    let mut client = tonic_health::pb::health_client::HealthClient::new(channel);
    let request = || tonic_health::pb::HealthCheckRequest::default();
    for _ in 0..2 {
        within(client.check(request())).await.unwrap();
        assert_eq!(connections.snapshot().in_flight, 1, "calls share it");
    }

    let error = within(connect()).await.unwrap_err();
    assert_eq!(
        Rejection::find(&error).map(Rejection::kind),
        Some(RejectionKind::Full)
    );

    // A lazy channel meets it in its first call, inside of tonic's status.
    let lazy = endpoint.connect_with_connector_lazy(connector(&connections));
    let mut second = tonic_health::pb::health_client::HealthClient::new(lazy);
    let status = within(second.check(request())).await.unwrap_err();
    assert_eq!(
        Rejection::find(&status).map(Rejection::kind),
        Some(RejectionKind::Full)
    );

    drop(client);
    open(&connections, 0).await;
    within(second.check(request())).await.unwrap();
    assert_eq!(connections.snapshot().in_flight, 1);
}

#[tokio::test]
async fn connections_in_use_outlast_a_smaller_size() {
    let connections = builder().slots(2).build().unwrap();
    let (server, _gate) = server().await;
    let (first, second, third) = (pool(&connections), pool(&connections), pool(&connections));
    for pool in [&first, &second] {
        assert_eq!(
            fetch(pool, uri(&server, "/")).await.unwrap(),
            StatusCode::OK
        );
    }
    connections.resize(1).unwrap();
    for pool in [&first, &second] {
        assert_eq!(
            fetch(pool, uri(&server, "/")).await.unwrap(),
            StatusCode::OK
        );
    }
    drop(first);
    open(&connections, 1).await;
    let request = Request::get(uri(&server, "/")).body(Empty::new()).unwrap();
    let error = within(third.request(request)).await.unwrap_err();
    assert!(Rejection::find(&error).is_some());
    drop(second);
    open(&connections, 0).await;
    assert_eq!(
        fetch(&third, uri(&server, "/")).await.unwrap(),
        StatusCode::OK
    );
}
