//! A circuit breaker around tonic's channel, and servers that fail in tonic's own way.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::{
    future::{Pending, pending},
    net::Ipv4Addr,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, response::Html, routing::any};
use fusebox_circuit_breaker::{Breaker, CircuitBreaker};
use fusebox_core::{CircuitState, Registration};
use fusebox_stack_tests::{Server, within};
use tonic::{
    Code,
    transport::{Channel, Endpoint, server::TcpIncoming},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower::{Layer, Service, layer::layer_fn};

/// Opens at the fifth failure in a row.
fn breaker() -> Breaker {
    Breaker::builder("health")
        .registration(Registration::Unlisted)
        .build()
        .unwrap()
}

fn client(breaker: &Breaker, url: String) -> HealthClient<CircuitBreaker<Channel>> {
    let channel = Endpoint::from_shared(url).unwrap().connect_lazy();
    HealthClient::new(breaker.layer().for_client().layer(channel))
}

async fn code(client: &mut HealthClient<CircuitBreaker<Channel>>) -> Code {
    let answer = within(client.check(HealthCheckRequest::default())).await;
    answer.map_or_else(|status| status.code(), |_| Code::Ok)
}

/// A service that never answers.
#[derive(Clone)]
struct Hanging<S>(S);

impl<R, S: Service<R>> Service<R> for Hanging<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pending<Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, _: R) -> Self::Future {
        pending()
    }
}

#[tokio::test]
async fn a_server_whose_own_timeout_passes_opens_the_circuit() {
    let incoming = TcpIncoming::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let url = format!("http://{}", incoming.local_addr().unwrap());
    let (_reporter, health) = tonic_health::server::health_reporter();
    let server = tonic::transport::Server::builder()
        .timeout(Duration::from_millis(5))
        .layer(layer_fn(Hanging))
        .add_service(health)
        .serve_with_incoming(incoming);
    let server = tokio::spawn(server);
    let breaker = breaker();
    let mut client = client(&breaker, url);
    for _ in 0..5 {
        // Not `DEADLINE_EXCEEDED`: that is what tonic makes of its own timeout.
        assert_eq!(code(&mut client).await, Code::Cancelled);
    }
    assert_eq!(breaker.state(), CircuitState::Open);
    assert_eq!(code(&mut client).await, Code::Unavailable);
    server.abort();
}

#[tokio::test]
async fn a_load_balancers_page_opens_the_circuit() {
    let page = Router::new().fallback(any(async || Html("<h1>Welcome</h1>")));
    let server = Server::start(page).await;
    let breaker = breaker();
    let mut client = client(&breaker, server.url(""));
    for _ in 0..5 {
        assert_ne!(code(&mut client).await, Code::Ok);
    }
    assert_eq!(breaker.state(), CircuitState::Open);
}
