//! What is counted and told of calls that were admitted, with and without somebody who listens.
#![cfg(all(feature = "layer", not(fusebox_loom)))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail by panicking too"
)]

use std::time::Duration;

use fusebox_core::{Outcome, Registration};
use fusebox_rate_limit::{
    Algorithm, Key, KeyBy, Policy, Quota, QuotaHeaders, RateLimitLayer, RateLimiter,
    RateLimiterBuilder,
};
use fusebox_testkit::{MockBody, MockFrame, Recorder, poll_n_times};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt, service_fn};

const GRPC: &str = "application/grpc";

fn builder() -> RateLimiterBuilder {
    RateLimiter::builder("api")
        .policy(Policy::new("burst", Quota::per_second(100)).capacity(16))
        .registration(Registration::Unlisted)
}

/// What becomes of the answer once its head is there.
#[derive(Clone, Copy)]
enum Then {
    Read,
    Dropped,
}

/// What one call counts as.
async fn counted(
    limiter: &RateLimiter,
    answer: Response<MockBody>,
    grpc: bool,
    then: Then,
) -> Outcome {
    counted_through(limiter, &limiter.layer(), answer, grpc, then).await
}

/// What one call through a layer of this limiter counts as.
async fn counted_through(
    limiter: &RateLimiter,
    layer: &RateLimitLayer,
    answer: Response<MockBody>,
    grpc: bool,
    then: Then,
) -> Outcome {
    let before = limiter.stats();
    let layer = layer.clone().keyed_by(KeyBy::Shared);
    let answer = std::sync::Mutex::new(Some(answer));
    let service = layer.layer(service_fn(|_: Request<()>| {
        let answer = answer.lock().unwrap().take().unwrap();
        async { Ok::<_, std::convert::Infallible>(answer) }
    }));
    let mut request = Request::new(());
    if grpc {
        *request.method_mut() = Method::POST;
        request
            .headers_mut()
            .insert("content-type", HeaderValue::from_static(GRPC));
    }
    let response = service.oneshot(request).await.unwrap();
    match then {
        Then::Read => drop(response.into_body().collect().await),
        Then::Dropped => drop(response),
    }
    let after = limiter.stats();
    let grown = |outcome: &Outcome| after.outcome(*outcome) - before.outcome(*outcome);
    assert_eq!(after.ended() - before.ended(), 1, "counted once");
    Outcome::ALL
        .into_iter()
        .find(|outcome| grown(outcome) == 1)
        .unwrap()
}

fn answer(status: StatusCode) -> Response<MockBody> {
    let mut answer = Response::new(MockBody::full("hello"));
    *answer.status_mut() = status;
    answer
}

fn grpc(code: &'static str, in_trailers: bool) -> Response<MockBody> {
    let status = (
        HeaderName::from_static("grpc-status"),
        HeaderValue::from_static(code),
    );
    let frames = [
        MockFrame::data("message"),
        MockFrame::trailer("grpc-status", code),
    ];
    let mut answer = Response::new(match in_trailers {
        true => MockBody::of(frames),
        false => MockBody::empty(),
    });
    answer
        .headers_mut()
        .insert("content-type", HeaderValue::from_static(GRPC));
    if !in_trailers {
        answer.headers_mut().extend([status]);
    }
    answer
}

#[tokio::test(start_paused = true)]
async fn a_call_that_nobody_follows_counts_as_the_head_of_its_answer_says() {
    let limiter = builder().build().unwrap();
    for (status, outcome) in [
        (200, Outcome::Success),
        (404, Outcome::Success),
        (429, Outcome::Throttled),
        (503, Outcome::Failure),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        for then in [Then::Read, Then::Dropped] {
            assert_eq!(
                counted(&limiter, answer(status), false, then).await,
                outcome,
                "{status}"
            );
        }
    }
    assert_eq!(
        counted(&limiter, grpc("0", false), true, Then::Read).await,
        Outcome::Success
    );
    assert_eq!(
        counted(&limiter, grpc("14", false), true, Then::Read).await,
        Outcome::Failure
    );
    assert_eq!(
        counted(&limiter, grpc("8", false), true, Then::Read).await,
        Outcome::Throttled
    );
    // Not seen: it comes after the head.
    assert_eq!(
        counted(&limiter, grpc("14", true), true, Then::Read).await,
        Outcome::Success
    );
    assert_eq!(limiter.stats().latency.count, 0, "nobody measures");
}

#[tokio::test(start_paused = true)]
async fn whoever_listens_or_measures_has_calls_followed_to_their_end() {
    let heard = builder().observer(Recorder::new()).build().unwrap();
    let measured = builder().measure_latency(true).build().unwrap();
    for limiter in [heard, measured] {
        let ok = || answer(StatusCode::OK);
        assert_eq!(
            counted(&limiter, ok(), false, Then::Read).await,
            Outcome::Success
        );
        assert_eq!(
            counted(&limiter, ok(), false, Then::Dropped).await,
            Outcome::Cancelled
        );
        assert_eq!(
            counted(&limiter, grpc("14", true), true, Then::Read).await,
            Outcome::Failure
        );
        assert_eq!(limiter.stats().latency.count, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_to_be_settled_is_judged_by_its_trailers_though_nobody_listens() {
    let quota = Policy::new("failed", Quota::per_hour(4)).capacity(16);
    let limiter = RateLimiter::builder("api")
        .policy(quota)
        .registration(Registration::Unlisted)
        .build()
        .unwrap();
    let left = || limiter.peek(Key::SHARED).standings.unwrap()[0].remaining;
    // Only failures stay paid. gRPC's answers are all 200, and these say in their trailers how it went.
    let layer = limiter.layer().settle_by(|ended| {
        assert_eq!(ended.status, Some(StatusCode::OK));
        match ended.outcome {
            Outcome::Failure => ended.cost,
            _ => 0,
        }
    });
    for (code, then, outcome, remaining) in [
        ("0", Then::Read, Outcome::Success, 4),
        ("14", Then::Read, Outcome::Failure, 3),
        ("8", Then::Read, Outcome::Throttled, 3),
        ("14", Then::Dropped, Outcome::Cancelled, 3),
        ("13", Then::Read, Outcome::Failure, 2),
    ] {
        let answer = grpc(code, true);
        let counted = counted_through(&limiter, &layer, answer, true, then).await;
        assert_eq!((counted, left()), (outcome, remaining), "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_before_its_head_is_cancelled_whoever_listens() {
    for limiter in [builder(), builder().observer(Recorder::new())] {
        let limiter = limiter.build().unwrap();
        let layer = limiter
            .layer()
            .keyed_by(KeyBy::Shared)
            .quota_headers(QuotaHeaders::Draft11);
        let service = layer.layer(service_fn(|_: Request<()>| {
            std::future::pending::<Result<Response<MockBody>, std::convert::Infallible>>()
        }));
        let mut call = Box::pin(service.oneshot(Request::new(())));
        assert!(poll_n_times(call.as_mut(), 2).is_pending());
        drop(call);
        assert_eq!(limiter.stats().outcome(Outcome::Cancelled), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_given_up_in_line_has_waited_and_never_ran() {
    let recorder = Recorder::new();
    let policy = Policy::new("even", Quota::per_minute(1)).max_wait(Duration::from_secs(60));
    let limiter = RateLimiter::builder("api")
        .policy(policy.capacity(16))
        .observer(recorder.clone())
        .registration(Registration::Unlisted)
        .build()
        .unwrap();
    let layer = limiter.layer().keyed_by(KeyBy::Shared);
    let service = layer.layer(service_fn(|_: Request<()>| async {
        Ok::<_, std::convert::Infallible>(answer(StatusCode::OK))
    }));
    limiter.check(Key::SHARED).unwrap();
    let mut call = Box::pin(service.oneshot(Request::new(())));
    assert!(poll_n_times(call.as_mut(), 1).is_pending());
    tokio::time::advance(Duration::from_secs(20)).await;
    drop(call);
    let call = recorder.calls()[0];
    assert_eq!(call.outcome, Some(Outcome::Cancelled));
    assert_eq!(
        (call.waited, call.ran),
        (Duration::from_secs(20), Duration::ZERO)
    );
    assert!(!call.was_made());
    assert_eq!(limiter.stats().latency.count, 0);
}

#[test]
fn a_quota_in_another_time_is_told_as_a_change() {
    let recorder = Recorder::new();
    let limiter = builder().observer(recorder.clone()).build().unwrap();
    let minute = Quota::per_minute(100).burst(100);
    limiter
        .set_quota(fusebox_rate_limit::Tier::default(), "burst", minute)
        .unwrap();
    let period = fusebox_core::Change::Limit {
        what: "period_ns",
        from: 1_000_000_000,
        to: 60_000_000_000,
    };
    let told = recorder.told();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].kind, fusebox_core::EventKind::Change(period));
}

#[test]
fn a_quota_with_which_the_limiter_could_not_have_been_built_is_refused_later_too() {
    let shaper = Policy::new("even", Quota::per_second(10))
        .algorithm(Algorithm::Shaper { queue: 8 })
        .max_wait(Duration::from_secs(1));
    let limiter = RateLimiter::builder("api")
        .policy(shaper.capacity(16))
        .registration(Registration::Unlisted)
        .build()
        .unwrap();
    let set = |quota| limiter.set_quota(fusebox_rate_limit::Tier::default(), "even", quota);
    let error = set(Quota::per_minute(1)).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("max_wait: one more request takes 60s"),
        "{error}"
    );
    assert_eq!(set(Quota::per_second(1)), Ok(()));
}
