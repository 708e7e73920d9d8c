//! A circuit breaker around hyper-util's client, on loopback.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use axum::{Router, routing::any};
use bytes::Bytes;
use fusebox_bulkhead::{Compartment, connections::ConnectionLimit};
use fusebox_circuit_breaker::{
    Breaker, BreakerBuilder, End, JudgeError, RefusalsAreNeutral, by_authority,
};
use fusebox_core::{CircuitState, Outcome, Registration, Rejection};
use fusebox_stack_tests::{Server, until, within};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, channel::Channel};
use hyper_util::{
    client::legacy::{Client, Error, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower::{Layer, ServiceExt};

/// Opens at the fifth failure in a row.
fn builder() -> BreakerBuilder {
    Breaker::builder("upstream").registration(Registration::Unlisted)
}

fn client<C, B>(connector: C) -> Client<C, B>
where
    C: hyper_util::client::legacy::connect::Connect + Clone,
    B: http_body::Body<Data: Send> + Send,
{
    Client::builder(TokioExecutor::new()).build(connector)
}

async fn hanging() -> Server {
    let router = Router::new().fallback(any(std::future::pending::<StatusCode>));
    Server::start(router).await
}

fn get(server: &Server) -> Request<Empty<Bytes>> {
    Request::get(server.url("/")).body(Empty::new()).unwrap()
}

#[tokio::test]
async fn a_full_pool_of_connections_does_not_open_the_circuit() {
    let connections = Compartment::builder("connections")
        .slots(1)
        .registration(Registration::Unlisted)
        .build()
        .unwrap();
    let server = hanging().await;
    let breaker = builder().build().unwrap();
    let limited: ConnectionLimit<HttpConnector> =
        connections.connection_layer().layer(HttpConnector::new());
    let client = breaker
        .layer()
        .judge_errors(RefusalsAreNeutral)
        .layer(client(limited));
    let busy = tokio::spawn(client.clone().oneshot(get(&server)));
    until("one connection", || connections.snapshot().in_flight == 1).await;
    for _ in 0..20 {
        let error = within(client.clone().oneshot(get(&server)))
            .await
            .unwrap_err();
        assert!(Rejection::find(&error).is_some());
    }
    assert_eq!(breaker.state(), CircuitState::Closed);
    assert_eq!(
        breaker.stats().outcome(Outcome::Failure),
        20,
        "told, not judged"
    );
    busy.abort();
}

/// What a proxy says of its client's errors: those of its own callers are not the upstream's.
fn callers_are_not_blamed(error: &Error) -> End {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if error.downcast_ref().is_some_and(hyper::Error::is_user) {
            return Outcome::Cancelled.into();
        }
        next = error.source();
    }
    RefusalsAreNeutral.judge_error(error)
}

#[tokio::test]
async fn uploads_that_break_off_do_not_open_the_circuit_for_all() {
    let server = hanging().await;
    let breaker = builder().build().unwrap();
    let client = breaker
        .layer()
        .judge_errors(callers_are_not_blamed)
        .layer(client(HttpConnector::new()));
    for _ in 0..10 {
        let (mut upload, body) = Channel::<Bytes, std::io::Error>::new(2);
        let request = Request::post(server.url("/")).body(body).unwrap();
        let call = tokio::spawn(client.clone().oneshot(request));
        upload.send_data(Bytes::from_static(b"half")).await.unwrap();
        upload.abort(std::io::ErrorKind::ConnectionReset.into());
        within(call).await.unwrap().unwrap_err();
    }
    assert_eq!(breaker.state(), CircuitState::Closed);
    assert_eq!(breaker.stats().outcome(Outcome::Cancelled), 10);
}

#[tokio::test]
async fn each_upstream_of_one_client_has_a_circuit_of_its_own() {
    let upstreams = builder().keyed().build().unwrap();
    let client = upstreams
        .layer_by_like(by_authority)
        .judge_errors(RefusalsAreNeutral)
        .layer(client(HttpConnector::new()));
    let down = Router::new().fallback(any(async || StatusCode::BAD_GATEWAY));
    let (up, down) = (
        Server::start(Router::new().fallback(any(async || "done"))),
        Server::start(down),
    );
    let (up, down) = (up.await, down.await);
    let fetch = async |server: &Server| {
        let response = within(client.clone().oneshot(get(server))).await.unwrap();
        let (head, body) = response.into_parts();
        within(body.collect()).await.unwrap();
        head
    };
    for _ in 0..5 {
        assert_eq!(fetch(&down).await.status, StatusCode::BAD_GATEWAY);
        assert_eq!(fetch(&up).await.status, StatusCode::OK);
    }
    let refused = fetch(&down).await;
    assert!(refused.extensions.get::<Rejection>().is_some());
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(fetch(&up).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_server_that_stops_listening_opens_it_and_nobody_connects_after_that() {
    let breaker = builder().build().unwrap();
    let client = breaker
        .layer()
        .judge_errors(RefusalsAreNeutral)
        .layer(client(HttpConnector::new()));
    let server = Server::start(Router::new()).await;
    let (gone, address) = (get(&server), server.address());
    drop(server);
    until("nobody listens", || {
        std::net::TcpStream::connect(address).is_err()
    })
    .await;
    for _ in 0..5 {
        within(client.clone().oneshot(gone.clone()))
            .await
            .unwrap_err();
    }
    assert_eq!(breaker.state(), CircuitState::Open);
    let response = within(client.clone().oneshot(gone)).await.unwrap();
    assert!(response.extensions().get::<Rejection>().is_some());
}

#[tokio::test]
async fn one_layer_on_an_axum_server_guards_all_its_routes() {
    let breaker = builder().build().unwrap();
    let failing = || any(async || StatusCode::INTERNAL_SERVER_ERROR);
    let router = Router::new()
        .route("/carts", failing())
        .route("/orders", failing())
        .layer(breaker.layer());
    let server = Server::start(router).await;
    let mut connection = fusebox_stack_tests::Connection::to(&server).await;
    for path in ["/carts", "/orders", "/carts", "/orders", "/carts"] {
        let answer = connection.fetch(path).await.unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
    let refused = connection.fetch("/orders").await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers().get("retry-after").unwrap(), "30");
}
