//! What the scenarios are played with: a touchy circuit, and dependencies that answer as they are told.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each file of tests uses a part of it"
)]

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fusebox_circuit_breaker::{Breaker, BreakerBuilder, End};
use fusebox_core::{CircuitState, Outcome, Registration};
use fusebox_testkit::MockBody;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::time::advance;
use tower::{Layer, Service, ServiceExt, service_fn};

pub const SECOND: Duration = Duration::from_secs(1);

/// Opens at the first failure, for ten seconds; a single probe has five.
pub fn touchy() -> BreakerBuilder {
    Breaker::builder("dependency")
        .consecutive_failures(1)
        .cool_down(10 * SECOND)
        .probe_deadline(5 * SECOND)
        .registration(Registration::Unlisted)
}

pub fn build(builder: BreakerBuilder) -> Breaker {
    builder.build().unwrap()
}

pub fn ends(breaker: &Breaker, end: impl Into<End>) {
    breaker.try_pass().unwrap().end(end);
}

/// Fails once, and waits until the next call is a probe.
pub async fn trip_and_cool_down(breaker: &Breaker) {
    ends(breaker, Outcome::Failure);
    assert_eq!(breaker.state(), CircuitState::Open);
    advance(10 * SECOND).await;
}

pub type Answer = Result<Response<MockBody>, Infallible>;

/// A dependency that always answers so, and how often it was asked.
pub fn dependency(
    answer: impl Fn() -> Response<MockBody> + Clone + Send + 'static,
) -> (
    impl Service<Request<MockBody>, Response = Response<MockBody>, Error = Infallible, Future: Send>
    + Clone
    + Send,
    Arc<AtomicUsize>,
) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counting = asked.clone();
    let service = service_fn(move |_: Request<MockBody>| {
        counting.fetch_add(1, Ordering::SeqCst);
        let answer = answer();
        async move { Answer::Ok(answer) }
    });
    (service, asked)
}

pub fn status(status: u16) -> impl Fn() -> Response<MockBody> + Clone + Send + 'static {
    move || {
        let mut response = Response::new(MockBody::full("hello"));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response
    }
}

pub fn grpc() -> Request<MockBody> {
    Request::builder()
        .method("POST")
        .header("content-type", "application/grpc")
        .body(MockBody::empty())
        .unwrap()
}

pub fn http() -> Request<MockBody> {
    Request::new(MockBody::empty())
}

pub fn trailers(code: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        http::HeaderValue::from_static(code),
    )])
}

/// Makes a call and reads the answer to its end.
pub async fn call(
    breaker: &Breaker,
    service: impl Service<
        Request<MockBody>,
        Response = Response<MockBody>,
        Error = Infallible,
        Future: Send,
    > + Clone,
    request: Request<MockBody>,
) -> http::response::Parts {
    let response = breaker
        .layer()
        .layer(service)
        .oneshot(request)
        .await
        .unwrap();
    let (head, body) = response.into_parts();
    // Whether it breaks off is for the breaker to see.
    let _ = body.collect().await;
    head
}
