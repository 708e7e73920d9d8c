//! A rate limit in front of axum's handlers, seen from the other end of a socket.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use fusebox_core::Registration;
use fusebox_http::identity::IdentityConfig;
use fusebox_rate_limit::{
    Algorithm, KeyBy, Policy, Quota, QuotaHeaders, RateLimitLayer, RateLimiter, RateLimiterBuilder,
};
use fusebox_stack_tests::{Server, within};
use http::{HeaderName, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;

type Http = Client<HttpConnector, Empty<Bytes>>;

fn builder() -> RateLimiterBuilder {
    RateLimiter::builder("api")
        .capacity(64)
        .registration(Registration::Unlisted)
}

async fn serve(layer: RateLimitLayer) -> Server {
    Server::start(Router::new().route("/", get(async || "hello")).layer(layer)).await
}

/// Of HTTP/1.1 and of HTTP/2.
fn clients() -> [Http; 2] {
    [false, true].map(|http2| {
        Client::builder(TokioExecutor::new())
            .http2_only(http2)
            .build_http()
    })
}

async fn ask(client: &Http, server: &Server, fields: &[(&str, &str)]) -> Response<Bytes> {
    let mut request = Request::get(server.url("/"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request = request.body(Empty::new()).unwrap();
    let (head, body) = within(client.request(request)).await.unwrap().into_parts();
    let body = within(body.collect()).await.unwrap().to_bytes();
    Response::from_parts(head, body)
}

#[tokio::test]
async fn accounts_have_the_quota_of_their_tier_and_are_told_so_on_the_wire() {
    for client in clients() {
        let limiter = builder()
            .policy(Policy::new("burst", Quota::per_hour(2)))
            .policy(Policy::new("daily", Quota::per_day(50)).algorithm(Algorithm::FixedWindow))
            .tier("paid", [Policy::new("burst", Quota::per_hour(4))])
            .build()
            .unwrap();
        let paid = limiter.tier("paid");
        let layer = limiter
            .layer()
            .keyed_by(KeyBy::Header(HeaderName::from_static("x-api-key")))
            .tier_by(move |head| {
                let key = head.headers.get("x-api-key")?.as_bytes();
                key.starts_with(b"paid-").then_some(paid)?
            })
            .quota_headers(QuotaHeaders::Draft11)
            .legacy_headers(true);
        let server = serve(layer).await;

        for (key, quota) in [("free-1", 2), ("paid-1", 4), ("free-2", 2)] {
            for left in (0..quota).rev() {
                let answer = ask(&client, &server, &[("x-api-key", key)]).await;
                assert_eq!(answer.status(), 200, "{key}");
                assert_eq!(answer.body(), "hello");
                let told = answer.headers()["ratelimit"].to_str().unwrap();
                assert!(
                    told.starts_with(&format!("\"burst\";r={left};t=")),
                    "{told}"
                );
                assert!(answer.headers().get("retry-after").is_none());
                assert_eq!(
                    answer.headers()["x-ratelimit-limit"],
                    quota.to_string().as_str()
                );
            }
            let refused = ask(&client, &server, &[("x-api-key", key)]).await;
            assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
            let after = refused.headers()["retry-after"].to_str().unwrap();
            let told = refused.headers()["ratelimit"].to_str().unwrap();
            assert!(
                told.starts_with(&format!("\"burst\";r=0;t={after}")),
                "{told}"
            );
            assert_eq!(
                refused.headers()["content-type"],
                "application/problem+json"
            );
            let problem: serde_json::Value = serde_json::from_slice(refused.body()).unwrap();
            assert_eq!(problem["status"], 429);
            assert_eq!(problem["violated-policies"], serde_json::json!(["burst"]));
            assert_eq!(
                refused.headers()["content-length"],
                refused.body().len().to_string().as_str()
            );
        }
        // Without a key nobody can tell whose quota it is.
        let nobody = ask(&client, &server, &[]).await;
        assert_eq!(nobody.status(), StatusCode::FORBIDDEN);
        assert_eq!(limiter.stats().refused(), 4);
    }
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_has_a_quota_whatever_it_writes_into_the_header() {
    for client in clients() {
        let limiter = builder()
            .policy(Policy::new("burst", Quota::per_hour(1)))
            .build()
            .unwrap();
        // This process is the proxy.
        let proxies = IdentityConfig::new().trusted_proxies(["127.0.0.0/8"]);
        let layer = limiter
            .layer()
            .keyed_by(KeyBy::Client(proxies.build().unwrap()));
        let server = serve(layer).await;
        let of = async |chain| {
            let answer = ask(&client, &server, &[("x-forwarded-for", chain)]).await;
            answer.status().as_u16()
        };
        assert_eq!(of("203.0.113.1").await, 200);
        assert_eq!(of("203.0.113.2").await, 200, "another client");
        assert_eq!(of("203.0.113.1").await, 429);
        assert_eq!(
            of("198.51.100.7, 203.0.113.1").await,
            429,
            "it names others"
        );
        assert_eq!(of("203.0.113.3, 127.0.0.9").await, 200, "two proxies");
        assert_eq!(of("203.0.113.3").await, 429, "the same client through one");
    }
}

#[tokio::test]
async fn without_a_trusted_proxy_the_peer_is_the_client_and_the_header_says_nothing() {
    for client in clients() {
        let limiter = builder()
            .policy(Policy::new("burst", Quota::per_hour(1)))
            .build()
            .unwrap();
        let server = serve(limiter.layer()).await;
        for (chain, expected) in [("203.0.113.1", 200), ("203.0.113.2", 429)] {
            let answer = ask(&client, &server, &[("x-forwarded-for", chain)]).await;
            assert_eq!(answer.status(), expected);
        }
    }
}
