//! What this circuit breaker promises, one test each. What went wrong elsewhere is in `scenarios.rs`.
#![cfg(feature = "http")]
#![expect(clippy::unwrap_used, reason = "a test's panic is its report")]

mod scene;

use std::{
    convert::Infallible,
    future::pending,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use fusebox_circuit_breaker::{Breaker, Cancelled, CountsAs, End};
use fusebox_core::{
    CallError, Change, CircuitState, Event, EventKind, Mode, Outcome, Rejection, RejectionKind,
};
use fusebox_http::Protocol;
use fusebox_testkit::{MockBody, MockFrame};
use http::Response;
use http_body_util::BodyExt;
use tokio::time::{advance, timeout};
use tower::{Layer, Service, ServiceExt, service_fn};

use scene::*;

#[tokio::test(start_paused = true)]
async fn a_trailers_only_failure_counts_and_a_callers_fault_does_not() {
    for (code, state) in [
        ("3", CircuitState::Closed),
        ("7", CircuitState::Closed),
        ("8", CircuitState::Closed),
        ("13", CircuitState::Open),
        ("nonsense", CircuitState::Open),
    ] {
        let breaker = build(touchy());
        let (service, _) = dependency(move || {
            let mut response = Response::new(MockBody::empty());
            *response.headers_mut() = trailers(code);
            response
        });
        call(&breaker, service, grpc()).await;
        assert_eq!(breaker.state(), state, "grpc-status: {code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_is_a_failure_and_one_nobody_reads_is_not() {
    let breaker = build(touchy());
    let (streaming, _) = dependency(|| {
        Response::new(MockBody::of([
            MockFrame::data("a"),
            MockFrame::Error(fusebox_testkit::MockError("reset")),
        ]))
    });
    let service = breaker.layer().layer(streaming.clone());
    let mut body = service.oneshot(http()).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(breaker.state(), CircuitState::Closed);
    call(&breaker, streaming, http()).await;
    assert_eq!(breaker.state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_says_when_to_come_back_in_the_callers_protocol() {
    let breaker = build(touchy());
    ends(&breaker, Outcome::Failure);
    advance(3 * SECOND).await;
    let (service, asked) = dependency(status(200));
    let head = call(&breaker, service.clone(), http()).await;
    assert_eq!(head.status, 503);
    assert_eq!(head.headers.get("retry-after").unwrap(), "7");
    let head = call(&breaker, service, grpc()).await;
    assert_eq!(head.headers.get("grpc-status").unwrap(), "14");
    assert_eq!(head.headers.get("grpc-retry-pushback-ms").unwrap(), "7000");
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn the_fallback_answers_while_it_is_open_and_stays_marked() {
    let breaker = build(touchy());
    ends(&breaker, Outcome::Failure);
    let layer = breaker
        .layer()
        .respond(Arc::new(|_: &Rejection, _: Protocol| {
            Response::new(Bytes::from_static(b"[]"))
        }));
    let response = layer
        .layer(dependency(status(200)).0)
        .oneshot(http())
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.extensions().get::<Rejection>().is_some());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "[]");
}

#[tokio::test(start_paused = true)]
async fn it_fails_fast_even_if_the_dependency_is_never_ready() {
    struct NeverReady;
    impl Service<()> for NeverReady {
        type Response = ();
        type Error = Infallible;
        type Future = std::future::Ready<Result<(), Infallible>>;
        fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Pending
        }
        fn call(&mut self, (): ()) -> Self::Future {
            panic!("called without having been ready");
        }
    }
    let breaker = build(touchy());
    ends(&breaker, Outcome::Failure);
    let mut service = breaker.plain_layer().layer(NeverReady);
    let refused = service.ready().await.unwrap().call(()).await;
    assert!(matches!(refused, Err(CallError::Rejected(_))));
    // It was said to be ready while the circuit was open. When the cool-down ends before the call is
    // made, the instance still is not ready: the call is refused.
    service.ready().await.unwrap();
    advance(10 * SECOND).await;
    assert!(service.call(()).await.is_err());
    // The first after that is the probe, which has to wait for the instance; but nobody else has to wait for the probe.
    // (All of them did, once: a half-open circuit over a full compartment hung where it was to fail fast.)
    let waiting = timeout(SECOND, service.ready()).await;
    assert!(waiting.is_err());
    let mut next = breaker.plain_layer().layer(NeverReady);
    let refused = next.ready().await.unwrap().call(()).await;
    assert!(matches!(refused, Err(CallError::Rejected(_))));
}

#[tokio::test(start_paused = true)]
async fn it_opens_before_the_first_timeout_comes_back() {
    let breaker = build(touchy().hanging_calls(5, SECOND));
    let inner = service_fn(|()| pending::<Result<(), Infallible>>());
    let service = breaker.plain_layer().layer(inner);
    let calls: Vec<_> = (0..5)
        .map(|_| tokio::spawn(timeout(30 * SECOND, service.clone().oneshot(()))))
        .collect();
    tokio::task::yield_now().await;
    advance(SECOND + SECOND / 4).await;
    assert!(breaker.try_pass().is_err());
    assert_eq!(breaker.state(), CircuitState::Open);
    assert!(calls.iter().all(|call| !call.is_finished()));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_has_begun_does_not_hang() {
    let breaker = build(touchy().hanging_calls(1, SECOND));
    let (endless, _) = dependency(|| Response::new(MockBody::of([MockFrame::Pending])));
    let service = breaker.layer().layer(endless);
    let _open = service.oneshot(http()).await.unwrap();
    advance(60 * SECOND).await;
    ends(&breaker, Outcome::Success);
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn the_dependency_may_ask_for_more_time_up_to_the_cap() {
    for (asks, waits) in [("5", 10), ("60", 60), ("86400", 300)] {
        let breaker = build(touchy());
        let (busy, _) = dependency(move || {
            let mut response = status(503)();
            let headers = response.headers_mut();
            headers.insert("retry-after", http::HeaderValue::from_static(asks));
            response
        });
        call(&breaker, busy, http()).await;
        let rejection = breaker.try_pass().unwrap_err();
        assert_eq!(
            rejection.retry_after(),
            Some(waits * SECOND),
            "asked {asks}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_wish_of_long_ago_does_not_lengthen_the_cool_down_of_another_trouble() {
    let breaker = build(touchy());
    let asked = |seconds: u64| End {
        retry_after: Some(Duration::from_secs(seconds)),
        ..Outcome::Throttled.into()
    };
    ends(&breaker, asked(300));
    // It was heard while what it was about may be in the window, ten seconds, and not after that.
    advance(11 * SECOND).await;
    ends(&breaker, Outcome::Failure);
    let rejection = breaker.try_pass().unwrap_err();
    assert_eq!(rejection.retry_after(), Some(10 * SECOND));
    breaker.reset();
    ends(&breaker, asked(300));
    advance(9 * SECOND).await;
    ends(&breaker, Outcome::Failure);
    let rejection = breaker.try_pass().unwrap_err();
    assert_eq!(rejection.retry_after(), Some(291 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_was_turned_away_holds_the_next_one_back_as_long_as_it_was_asked_to() {
    let breaker = build(touchy());
    trip_and_cool_down(&breaker).await;
    let (busy, asked) = dependency(|| {
        let mut response = status(429)();
        let headers = response.headers_mut();
        headers.insert("retry-after", http::HeaderValue::from_static("60"));
        response
    });
    call(&breaker, busy, http()).await;
    assert_eq!(breaker.state(), CircuitState::HalfOpen);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    advance(59 * SECOND).await;
    let rejection = breaker.try_pass().unwrap_err();
    assert_eq!(rejection.retry_after(), Some(SECOND));
    advance(SECOND).await;
    ends(&breaker, Outcome::Success);
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_pushback_in_the_trailers_is_heard() {
    let breaker = build(touchy());
    let (busy, _) = dependency(|| {
        let mut trailers = trailers("14");
        let pushback = http::HeaderValue::from_static("45000");
        trailers.insert("grpc-retry-pushback-ms", pushback);
        Response::new(MockBody::of([
            MockFrame::data("message"),
            MockFrame::Trailers(trailers),
        ]))
    });
    call(&breaker, busy, grpc()).await;
    let rejection = breaker.try_pass().unwrap_err();
    assert_eq!(rejection.retry_after(), Some(45 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn what_is_throttled_counts_for_what_the_settings_say() {
    for (counts, state) in [
        (CountsAs::Nothing, CircuitState::Closed),
        (CountsAs::Success, CircuitState::Closed),
        (CountsAs::Failure, CircuitState::Open),
    ] {
        let breaker = build(touchy().throttled(counts));
        let (limited, _) = dependency(status(429));
        call(&breaker, limited, http()).await;
        assert_eq!(breaker.state(), state, "{counts:?}");
        assert_eq!(breaker.stats().outcome(Outcome::Throttled), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_cancelled_counts_for_what_the_settings_say() {
    for (cancelled, state) in [
        (Cancelled::Ignored, CircuitState::Closed),
        (Cancelled::Failure, CircuitState::Open),
        (Cancelled::TripsAt(0.5), CircuitState::Open),
        (Cancelled::TripsAt(0.75), CircuitState::Closed),
    ] {
        let breaker = build(
            touchy()
                .consecutive_failures(10)
                .minimum_calls(20)
                .cancelled(cancelled),
        );
        for _ in 0..10 {
            ends(&breaker, Outcome::Success);
        }
        for _ in 0..10 {
            drop(breaker.try_pass().unwrap());
        }
        assert_eq!(breaker.state(), state, "{cancelled:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_probe_and_a_panicking_one_make_room_for_the_next() {
    let breaker = build(touchy());
    trip_and_cool_down(&breaker).await;
    for _ in 0..3 {
        let hanging = breaker.call(pending::<Result<(), Infallible>>);
        assert!(timeout(SECOND, hanging).await.is_err());
        let panicking = breaker.clone();
        let task = tokio::spawn(async move {
            let call = || async { panic!("a bug on this side") };
            let _: Result<(), CallError<Infallible>> = panicking.call(call).await;
        });
        assert!(task.await.unwrap_err().is_panic());
        assert_eq!(breaker.state(), CircuitState::HalfOpen);
    }
    ends(&breaker, Outcome::Success);
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn traffic_comes_back_along_the_ramp() {
    let breaker = build(touchy().ramp(0.1, 100 * SECOND));
    trip_and_cool_down(&breaker).await;
    ends(&breaker, Outcome::Success);
    let mut shares = Vec::new();
    for _ in 0..10 {
        let passed = (0..1_000).filter(|_| breaker.try_pass().is_ok()).count();
        shares.push(passed / 10);
        advance(10 * SECOND).await;
    }
    for (share, expected) in shares.iter().zip((10..).step_by(9)) {
        assert!(share.abs_diff(expected) <= 2, "{shares:?}");
    }
    assert!(
        (0..1_000).all(|_| breaker.try_pass().is_ok()),
        "and is over"
    );
}

#[tokio::test(start_paused = true)]
async fn shadow_mode_goes_through_the_states_and_refuses_nobody() {
    let breaker = build(touchy().mode(Mode::Shadow));
    let (down, asked) = dependency(status(500));
    for _ in 0..10 {
        call(&breaker, down.clone(), http()).await;
    }
    assert_eq!(breaker.state(), CircuitState::Open);
    assert_eq!(asked.load(Ordering::SeqCst), 10);
    let stats = breaker.stats();
    assert_eq!(stats.shadowed(RejectionKind::CircuitOpen), 9);
    assert_eq!(stats.refused(), 0);
    advance(10 * SECOND).await;
    call(&breaker, dependency(status(200)).0, http()).await;
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn an_operator_opens_disables_and_closes_it_by_hand() {
    let breaker = build(touchy());
    let before = breaker.try_pass().unwrap();
    breaker.force_open();
    advance(3_600 * SECOND).await;
    let rejection = breaker.try_pass().unwrap_err();
    assert_eq!(rejection.retry_after(), None);
    breaker.disable();
    for _ in 0..10 {
        ends(&breaker, Outcome::Failure);
    }
    assert_eq!(breaker.state(), CircuitState::Disabled);
    breaker.reset();
    before.end(Outcome::Failure);
    assert_eq!(
        breaker.state(),
        CircuitState::Closed,
        "of another generation"
    );
    ends(&breaker, Outcome::Failure);
    assert_eq!(breaker.state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn every_transition_is_told_once() {
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let telling = told.clone();
    let breaker = build(touchy().observer(Arc::new(move |event: &Event<'_>| {
        if let EventKind::Change(Change::Circuit { from, to }) = event.kind {
            telling.lock().unwrap().push((from, to));
        }
    })));
    trip_and_cool_down(&breaker).await;
    ends(&breaker, Outcome::Success);
    assert_eq!(
        *told.lock().unwrap(),
        [
            (CircuitState::Closed, CircuitState::Open),
            (CircuitState::Open, CircuitState::HalfOpen),
            (CircuitState::HalfOpen, CircuitState::Closed),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn it_stays_open_longer_each_time_until_it_has_closed_for_good() {
    let breaker = build(touchy().exponential_cool_down_with(SECOND, 8 * SECOND, 2, 0.0));
    let open_for = |breaker: &Breaker| {
        let rejection = breaker.try_pass().unwrap_err();
        rejection.retry_after().unwrap()
    };
    ends(&breaker, Outcome::Failure);
    for seconds in [1, 2, 4, 8, 8] {
        assert_eq!(open_for(&breaker), seconds * SECOND);
        advance(seconds * SECOND).await;
        ends(&breaker, Outcome::Failure);
    }
    advance(8 * SECOND).await;
    ends(&breaker, Outcome::Success);
    ends(&breaker, Outcome::Failure);
    assert_eq!(open_for(&breaker), SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_wish_of_long_ago_does_not_keep_it_open() {
    for (longest, passed) in [
        (Duration::ZERO, 3 * 3_600 * SECOND),
        (Duration::from_millis(10), 2 * 86_400 * SECOND),
    ] {
        let settings = touchy().consecutive_failures(2);
        let breaker = build(settings.longest_retry_after(longest));
        let wish = End {
            retry_after: Some(60 * SECOND),
            ..Outcome::Failure.into()
        };
        ends(&breaker, wish);
        ends(&breaker, Outcome::Success);
        advance(passed).await;
        ends(&breaker, Outcome::Failure);
        ends(&breaker, Outcome::Failure);
        let refused = breaker.try_pass().unwrap_err();
        assert_eq!(refused.retry_after(), Some(10 * SECOND), "{longest:?}");
        advance(10 * SECOND).await;
        ends(&breaker, Outcome::Success);
        assert_eq!(breaker.state(), CircuitState::Closed);
    }
}
