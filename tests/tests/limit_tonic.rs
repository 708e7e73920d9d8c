//! A rate limit in front of a tonic server, seen by a tonic client.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use fusebox_core::{Outcome, Registration};
use fusebox_rate_limit::{Key, KeyBy, Policy, Quota, QuotaHeaders, RateLimitLayer, RateLimiter};
use fusebox_stack_tests::{Server, within};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

fn limiter(quota: Quota) -> RateLimiter {
    RateLimiter::builder("grpc")
        .policy(Policy::new("burst", quota).capacity(64))
        .registration(Registration::Unlisted)
        .build()
        .unwrap()
}

async fn serve(layer: RateLimitLayer) -> (Server, HealthClient<Channel>) {
    let (reporter, health) = tonic_health::server::health_reporter();
    // Whoever drops it ends every stream.
    std::mem::forget(reporter);
    let router = tonic::service::Routes::new(health)
        .into_axum_router()
        .layer(layer);
    let server = Server::start(router).await;
    let endpoint = Endpoint::from_shared(server.url("")).unwrap();
    let channel = within(endpoint.connect()).await.unwrap();
    (server, HealthClient::new(channel))
}

async fn check(client: &mut HealthClient<Channel>, service: &str) -> Result<(), Status> {
    let service = service.to_owned();
    let request = HealthCheckRequest { service };
    within(client.check(request)).await.map(drop)
}

#[tokio::test]
async fn a_spent_quota_is_resource_exhausted_with_a_time_in_both_forms() {
    let limiter = limiter(Quota::per_hour(1));
    let layer = limiter.layer().quota_headers(QuotaHeaders::Draft11);
    let (_server, mut client) = serve(layer).await;
    check(&mut client, "").await.unwrap();
    let status = check(&mut client, "").await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.message(), "the request quota is used up");

    let told = status.metadata().get("ratelimit").unwrap();
    assert_eq!(told.to_str().unwrap(), r#""burst";r=0;t=3600"#);
    let pushback = status.metadata().get("grpc-retry-pushback-ms").unwrap();
    let millis: u64 = pushback.to_str().unwrap().parse().unwrap();
    assert!((3_590_000..=3_600_000).contains(&millis), "{millis}");

    // A google.rpc.Status with a RetryInfo, as tonic has decoded it from its binary header: its own code and message
    // again, an Any of this type, and in it a duration whose seconds (field 1) are a varint.
    let details = status.details();
    assert_eq!(details.get(..2), Some(&[0x08, 8][..]));
    let url = b"type.googleapis.com/google.rpc.RetryInfo";
    let at = details
        .windows(url.len())
        .position(|window| window == url)
        .unwrap();
    let [0x12, _, 0x0a, _, 0x08, low, high, ..] = details[at + url.len()..] else {
        panic!("no duration in {details:?}");
    };
    let seconds = u64::from(low & 0x7f) | u64::from(high) << 7;
    // Its rest is in nanoseconds, where the other form rounds up.
    assert_eq!(seconds, (millis - 1) / 1_000);
    assert_eq!(limiter.stats().refused(), 1);
}

#[tokio::test]
async fn only_failed_calls_stay_paid_whatever_status_their_answer_has() {
    let limiter = limiter(Quota::per_hour(2));
    let layer = limiter
        .layer()
        .keyed_by(KeyBy::Shared)
        .settle_by(|ended| match ended.outcome {
            Outcome::Success => 0,
            _ => ended.cost,
        });
    // Every answer of gRPC is 200 to HTTP; that this one has failed is in its grpc-status.
    let layer = layer.classify(std::sync::Arc::new(NotFoundFails));
    let (_server, mut client) = serve(layer).await;
    for _ in 0..4 {
        check(&mut client, "").await.unwrap();
    }
    for _ in 0..2 {
        let status = check(&mut client, "nobody").await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
    }
    let refused = check(&mut client, "").await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(limiter.check(Key::SHARED).is_err());
}

/// Asking for what is not there is a failure here.
struct NotFoundFails;

impl fusebox_http::Classify for NotFoundFails {
    fn grpc(&self, code: fusebox_http::GrpcCode) -> Outcome {
        if code == fusebox_http::GrpcCode::NOT_FOUND {
            Outcome::Failure
        } else {
            fusebox_http::Standard.grpc(code)
        }
    }
}
