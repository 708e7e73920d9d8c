//! A rate limit around hyper-util's client, which heeds what a real server says.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use fusebox_core::{Registration, Rejection};
use fusebox_rate_limit::{KeyBy, Policy, Quota, QuotaHeaders, RateLimiter};
use fusebox_stack_tests::{Server, within};
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower::{Layer, ServiceExt};

fn limiter(quota: Quota) -> RateLimiter {
    RateLimiter::builder("out")
        .policy(Policy::new("contract", quota))
        .registration(Registration::Unlisted)
        .build()
        .unwrap()
}

/// A server that is overloaded once, and says for how many seconds.
async fn overloaded_once(seconds: u32) -> (Server, Arc<AtomicU32>) {
    let asked = Arc::new(AtomicU32::new(0));
    let seen = asked.clone();
    let handler = async move || -> Response {
        if seen.fetch_add(1, Ordering::SeqCst) == 0 {
            let after = [("retry-after", seconds.to_string())];
            return (StatusCode::SERVICE_UNAVAILABLE, after).into_response();
        }
        "hello".into_response()
    };
    let server = Server::start(Router::new().route("/", get(handler))).await;
    (server, asked)
}

#[tokio::test]
async fn a_server_that_says_when_to_come_back_is_left_alone_until_then() {
    for http2 in [false, true] {
        let (server, asked) = overloaded_once(300).await;
        let client = Client::builder(TokioExecutor::new())
            .http2_only(http2)
            .build_http::<Empty<Bytes>>();
        let layer = limiter(Quota::per_second(1_000))
            .layer()
            .keyed_by(KeyBy::Shared)
            .heed(Duration::from_secs(600), Duration::from_secs(1))
            .unwrap();
        let client = layer.layer(client);
        let ask = async || {
            let request = Request::get(server.url("/")).body(Empty::new()).unwrap();
            within(client.clone().oneshot(request)).await.unwrap()
        };
        assert_eq!(ask().await.status(), 503);
        for _ in 0..3 {
            let refused = ask().await;
            assert_eq!(refused.status(), 429, "by this side");
            let rejection = refused.extensions().get::<Rejection>().unwrap();
            assert!(rejection.retry_after() > Some(Duration::from_secs(290)));
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn a_request_waits_for_a_server_that_will_soon_be_well_again() {
    let (server, asked) = overloaded_once(1).await;
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let layer = limiter(Quota::per_second(1_000))
        .layer()
        .keyed_by(KeyBy::Shared)
        .heed(Duration::from_secs(600), Duration::from_secs(5))
        .unwrap();
    let client = layer.layer(client);
    let ask = async || {
        let request = Request::get(server.url("/")).body(Empty::new()).unwrap();
        within(client.clone().oneshot(request)).await.unwrap()
    };
    let start = Instant::now();
    assert_eq!(ask().await.status(), 503);
    assert_eq!(ask().await.status(), 200);
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn one_of_ours_heeds_one_of_ours_and_is_never_refused_twice() {
    // Five at once, and one each tenth of a second. The header rounds up to seconds.
    let server_side = limiter(Quota::per_second(10).burst(5));
    let layer = server_side
        .layer()
        .keyed_by(KeyBy::Shared)
        .quota_headers(QuotaHeaders::Draft11);
    let router = Router::new().route("/", get(async || "hello")).layer(layer);
    let server = Server::start(router).await;
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let layer = limiter(Quota::per_second(1_000))
        .layer()
        .keyed_by(KeyBy::Shared)
        .heed(Duration::from_secs(600), Duration::from_secs(30))
        .unwrap();
    let client = layer.layer(client);
    for _ in 0..12 {
        let request = Request::get(server.url("/")).body(Empty::new()).unwrap();
        let answer = within(client.clone().oneshot(request)).await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    assert_eq!(server_side.stats().refused(), 0);
}
