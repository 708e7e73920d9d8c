//! Failures of other circuit breakers, one test each, by name. What this one promises instead is in `promises.rs`.
#![cfg(feature = "http")]
#![expect(clippy::unwrap_used, reason = "a test's panic is its report")]

mod scene;

use std::{
    convert::Infallible,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use fusebox_circuit_breaker::{Breaker, End, RefusalsAreNeutral, Window};
use fusebox_core::{CallError, CircuitState, LayerKind, Outcome, Rejection, RejectionKind};
use fusebox_http::{Classify, Protocol, refusal};
use fusebox_testkit::{MockBody, MockFrame};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::time::advance;
use tower::{Layer, Service, ServiceExt, service_fn};

use scene::*;

#[tokio::test(start_paused = true)]
async fn a_late_success_from_closed_does_not_close_a_half_open_circuit() {
    let breaker = build(touchy());
    let late = breaker.try_pass().unwrap();
    trip_and_cool_down(&breaker).await;
    let probe = breaker.try_pass().unwrap();
    assert_eq!(breaker.state(), CircuitState::HalfOpen);
    late.end(Outcome::Success);
    assert_eq!(breaker.state(), CircuitState::HalfOpen);
    probe.end(Outcome::Failure);
    assert_eq!(breaker.state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_hung_probe_does_not_wedge_it() {
    let breaker = build(touchy());
    trip_and_cool_down(&breaker).await;
    let hung = breaker.try_pass().unwrap();
    advance(4 * SECOND).await;
    assert!(breaker.try_pass().is_err(), "the probe still has its time");
    advance(SECOND).await;
    ends(&breaker, Outcome::Success);
    assert_eq!(breaker.state(), CircuitState::Closed);
    hung.end(Outcome::Failure);
    assert_eq!(breaker.state(), CircuitState::Closed, "too late");
}

#[tokio::test(start_paused = true)]
async fn a_probe_refused_by_an_inner_bulkhead_does_not_wedge_it() {
    let breaker = build(touchy());
    trip_and_cool_down(&breaker).await;
    let full = Rejection::new(LayerKind::Bulkhead, "slots".into(), RejectionKind::Full);
    let bulkhead = service_fn(move |_: Request<MockBody>| {
        let refused = refusal(full.clone(), Protocol::Http, None);
        async move { Answer::Ok(refused.map(|_| MockBody::full("full"))) }
    });
    for _ in 0..3 {
        let head = call(&breaker, bulkhead.clone(), http()).await;
        assert_eq!(head.status, 503);
        let by = head.extensions.get::<Rejection>().map(Rejection::layer);
        assert_eq!(by, Some(LayerKind::Bulkhead), "it was a probe each time");
        assert_eq!(breaker.state(), CircuitState::HalfOpen);
    }
    ends(&breaker, Outcome::Success);
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_plain_probe_refused_further_in_does_not_wedge_it() {
    let breaker = build(touchy());
    trip_and_cool_down(&breaker).await;
    let full = Rejection::new(LayerKind::Bulkhead, "slots".into(), RejectionKind::Full);
    let refused = || async { Err::<(), _>(CallError::<std::io::Error>::Rejected(full.clone())) };
    for _ in 0..3 {
        let error = breaker.call(refused).await.unwrap_err();
        assert!(matches!(error, CallError::Inner(CallError::Rejected(_))));
    }
    breaker
        .call(|| async { Ok::<_, std::io::Error>(()) })
        .await
        .unwrap();
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_count_window_forgets() {
    let breaker = build(
        Breaker::builder("dependency")
            .window(Window::Calls(10))
            .failure_ratio(1.0)
            .without_consecutive_failures(),
    );
    for _ in 0..1_000 {
        ends(&breaker, Outcome::Success);
    }
    for _ in 0..10 {
        assert_eq!(breaker.state(), CircuitState::Closed);
        ends(&breaker, Outcome::Failure);
    }
    assert_eq!(breaker.state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn two_routes_layered_from_one_layer_share_the_circuit() {
    let breaker = build(touchy().consecutive_failures(2));
    let layer = breaker.layer();
    let (down, asked) = dependency(status(500));
    let (carts, orders) = (layer.layer(down.clone()), layer.clone().layer(down));
    for service in [carts.clone(), orders.clone()] {
        let response = service.oneshot(http()).await.unwrap();
        response.into_body().collect().await.unwrap();
    }
    for service in [carts, orders] {
        let response = service.oneshot(http()).await.unwrap();
        assert!(response.extensions().get::<Rejection>().is_some());
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn half_open_against_a_hanging_upstream_never_amplifies_traffic() {
    let breaker = build(touchy().probes(2));
    trip_and_cool_down(&breaker).await;
    let reached = Arc::new(AtomicUsize::new(0));
    let counting = reached.clone();
    let hanging = breaker.plain_layer().layer(service_fn(move |()| {
        counting.fetch_add(1, Ordering::SeqCst);
        pending::<Result<(), Infallible>>()
    }));
    let began = tokio::time::Instant::now();
    let mut calls = Vec::new();
    // A hundred calls a second for twenty seconds, and nobody gives up.
    for _ in 0..2_000 {
        calls.push(tokio::spawn(hanging.clone().oneshot(())));
        tokio::task::yield_now().await;
        // Counted where they arrive: two at once, and two more only when those have had their five seconds.
        let turns = began.elapsed().as_secs() / 5 + 1;
        let arrived = reached.load(Ordering::SeqCst) as u64;
        assert!(arrived <= 2 * turns, "{arrived} in {:?}", began.elapsed());
        advance(SECOND / 100).await;
    }
    // Two places, each given anew every five seconds.
    assert_eq!(reached.load(Ordering::SeqCst), 2 * 4);
    for call in calls {
        call.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_grpc_failure_in_trailers_counts() {
    let breaker = build(touchy());
    let (down, _) = dependency(|| {
        Response::new(MockBody::of([
            MockFrame::data("message"),
            MockFrame::Trailers(trailers("14")),
        ]))
    });
    assert_eq!(call(&breaker, down, grpc()).await.status, 200);
    assert_eq!(breaker.state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_missing_grpc_status_counts_as_failure() {
    let breaker = build(touchy());
    let (broken, _) = dependency(|| {
        let mut response = Response::new(MockBody::of([MockFrame::data("message")]));
        let grpc = http::HeaderValue::from_static("application/grpc");
        response.headers_mut().insert("content-type", grpc);
        response
    });
    call(&breaker, broken, grpc()).await;
    assert_eq!(breaker.state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_calls_itself_grpc_does_not_open_the_circuit_of_a_service_that_speaks_none()
{
    let breaker = build(touchy());
    for answer in [200, 404, 415] {
        let (json, _) = dependency(move || {
            let mut response = status(answer)();
            let json = http::HeaderValue::from_static("application/json");
            response.headers_mut().insert("content-type", json);
            response
        });
        let (untyped, _) = dependency(status(answer));
        for _ in 0..100 {
            call(&breaker, json.clone(), grpc()).await;
            call(&breaker, untyped.clone(), grpc()).await;
        }
        assert_eq!(breaker.state(), CircuitState::Closed, "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_gives_up_by_itself_counts() {
    // What tonic answers when its own timeout has passed.
    let breaker = build(touchy());
    let (late, _) = dependency(|| {
        let mut response = Response::new(MockBody::empty());
        *response.headers_mut() = trailers("1");
        response
    });
    call(&breaker, late, grpc()).await;
    assert_eq!(breaker.state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_load_balancers_page_does_not_close_a_clients_circuit() {
    let breaker = build(touchy());
    trip_and_cool_down(&breaker).await;
    let (page, asked) = dependency(|| {
        let mut response = status(200)();
        let html = http::HeaderValue::from_static("text/html");
        response.headers_mut().insert("content-type", html);
        response
    });
    let client = breaker.layer().for_client().layer(page);
    let response = client.oneshot(grpc()).await.unwrap();
    response.into_body().collect().await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert_eq!(breaker.state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn streams_that_outlast_the_deadline_of_a_probe_do_not_wedge_it() {
    let breaker = build(touchy());
    trip_and_cool_down(&breaker).await;
    let (endless, _) = dependency(|| Response::new(MockBody::of([MockFrame::Pending])));
    let service = breaker.layer().layer(endless);
    let stream = service.clone().oneshot(http()).await.unwrap();
    advance(5 * SECOND - Duration::from_nanos(1)).await;
    let refused = service.clone().oneshot(http()).await.unwrap();
    assert_eq!(refused.status(), 503);
    advance(Duration::from_nanos(1)).await;
    let next = service.oneshot(http()).await.unwrap();
    assert_eq!(next.status(), 200);
    assert_eq!(breaker.state(), CircuitState::Closed);
    drop((stream, next));
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_failure_whose_body_outlasts_the_deadline_does_not_close_it() {
    let breaker = build(touchy());
    trip_and_cool_down(&breaker).await;
    let (down, _) = dependency(|| {
        let mut response = Response::new(MockBody::of([MockFrame::Pending]));
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        response
    });
    let service = breaker.layer().layer(down);
    let _slow = service.clone().oneshot(http()).await.unwrap();
    advance(5 * SECOND).await;
    let _next = service.oneshot(http()).await.unwrap();
    assert_eq!(breaker.state(), CircuitState::HalfOpen);
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_an_earlier_probe_says_nothing_about_a_later_half_open() {
    let breaker = build(touchy().probes(2).close_at_ratio(1.0, 2));
    trip_and_cool_down(&breaker).await;
    let mut stream = breaker.try_pass().unwrap();
    stream.answered();
    ends(&breaker, Outcome::Failure);
    ends(&breaker, Outcome::Failure);
    assert_eq!(breaker.state(), CircuitState::Open);
    advance(10 * SECOND).await;
    let _first = breaker.try_pass().unwrap();
    ends(&breaker, Outcome::Success);
    assert_eq!(
        breaker.state(),
        CircuitState::HalfOpen,
        "one success, not two"
    );
    drop(stream);
}

#[tokio::test(start_paused = true)]
async fn a_panic_that_is_caught_further_out_is_a_failure_all_the_same() {
    fn bug<T>() -> T {
        panic!("a bug on this side")
    }
    // As a layer does that catches panics: what panicked is only dropped when the unwinding is over.
    fn caught<T>(mut future: std::pin::Pin<Box<dyn Future<Output = T> + Send>>) {
        let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            let _ = future.as_mut().poll(&mut cx);
        }));
        assert!(polled.is_err());
        drop(future);
    }
    let breaker = build(touchy());
    let broken = service_fn(|_: Request<MockBody>| async { bug::<Answer>() });
    caught(Box::pin(breaker.layer().layer(broken).oneshot(http())));
    assert_eq!(breaker.state(), CircuitState::Open);
    breaker.reset();
    let broken = service_fn(|()| async { bug::<Result<(), Infallible>>() });
    caught(Box::pin(breaker.plain_layer().layer(broken).oneshot(())));
    assert_eq!(breaker.state(), CircuitState::Open);
    breaker.reset();
    let calling = breaker.clone();
    caught(Box::pin(async move {
        let call = || async { panic!("a bug on this side") };
        let _: Result<(), CallError<Infallible>> = calling.call(call).await;
    }));
    assert_eq!(breaker.state(), CircuitState::Open);
    breaker.reset();
    // A caller that panics while the call is under way has done nothing to the dependency.
    let calling = breaker.clone();
    caught(Box::pin(async move {
        let mut call = std::pin::pin!(calling.call(pending::<Result<(), Infallible>>));
        std::future::poll_fn(|cx| {
            assert!(call.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        panic!("a bug of the caller's");
    }));
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_classification_that_panics_does_not_keep_the_answer() {
    struct Panics;
    impl Classify for Panics {
        fn http(&self, _: StatusCode) -> Outcome {
            panic!("a bug of the classification's")
        }
    }
    /// What a body may hold: a place in a compartment, a connection.
    struct Held {
        _place: Arc<()>,
    }
    impl AsRef<[u8]> for Held {
        fn as_ref(&self) -> &[u8] {
            b"hello"
        }
    }
    let breaker = build(touchy());
    trip_and_cool_down(&breaker).await;
    let held = Arc::new(());
    let inside = held.clone();
    let answers = service_fn(move |_: Request<MockBody>| {
        let body = Full::new(Bytes::from_owner(Held {
            _place: inside.clone(),
        }));
        async move { Ok::<_, Infallible>(Response::new(body)) }
    });
    let layer = breaker.layer().classify(Arc::new(Panics));
    let mut call = Box::pin(layer.layer(answers).oneshot(http()));
    let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let _ = call.as_mut().poll(&mut cx);
    }));
    assert!(polled.is_err(), "it is a probe, so the head is looked at");
    drop(call);
    assert_eq!(Arc::strong_count(&held), 1);
    ends(&breaker, Outcome::Success);
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_instead_of_getting_ready_opens_it() {
    /// As tower's buffer when its worker is gone.
    #[derive(Clone)]
    struct Gone;
    impl<R> Service<R> for Gone {
        type Response = Response<MockBody>;
        type Error = std::io::Error;
        type Future = std::future::Pending<Result<Self::Response, Self::Error>>;
        fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Err(std::io::Error::other("the worker is gone")))
        }
        fn call(&mut self, _: R) -> Self::Future {
            panic!("called without having been ready");
        }
    }
    let breaker = build(touchy().consecutive_failures(3));
    for _ in 0..3 {
        assert_eq!(breaker.state(), CircuitState::Closed);
        breaker
            .layer()
            .layer(Gone)
            .oneshot(http())
            .await
            .unwrap_err();
    }
    let refused = breaker.layer().layer(Gone).oneshot(http()).await.unwrap();
    assert!(refused.extensions().get::<Rejection>().is_some());
    // It is no better when the cool-down is over: that was the probe.
    advance(10 * SECOND).await;
    let plain = || breaker.plain_layer().layer(Gone);
    let failed = plain().oneshot(()).await.unwrap_err();
    assert!(matches!(failed, CallError::Inner(_)));
    let refused = plain().oneshot(()).await.unwrap_err();
    assert!(matches!(refused, CallError::Rejected(_)));
}

/// A service that answers with an error like that.
fn broken<E: Send + 'static>(
    error: impl Fn() -> E + Clone + Send + 'static,
) -> impl Service<Request<MockBody>, Response = Response<MockBody>, Error = E, Future: Send> + Clone
{
    service_fn(move |_: Request<MockBody>| {
        let error = error();
        async move { Err::<Response<MockBody>, E>(error) }
    })
}

/// As a client wraps what its connector has refused.
#[derive(Debug)]
struct CannotConnect(Rejection);

impl std::fmt::Display for CannotConnect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cannot connect")
    }
}

impl std::error::Error for CannotConnect {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

fn no_connection() -> CannotConnect {
    CannotConnect(Rejection::new(
        LayerKind::Bulkhead,
        "connections".into(),
        RejectionKind::Full,
    ))
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_travels_as_an_error_does_not_count() {
    let refused = broken(no_connection);
    let breaker = build(touchy());
    let layer = breaker.layer().judge_errors(RefusalsAreNeutral);
    for _ in 0..10 {
        layer
            .layer(refused.clone())
            .oneshot(http())
            .await
            .unwrap_err();
    }
    assert_eq!(breaker.state(), CircuitState::Closed);
    // The same in a box needs nobody to ask for it.
    let boxed = broken(|| -> Box<dyn std::error::Error + Send + Sync> { no_connection().into() });
    for _ in 0..10 {
        let layer = breaker.layer();
        layer
            .layer(boxed.clone())
            .oneshot(http())
            .await
            .unwrap_err();
    }
    assert_eq!(breaker.state(), CircuitState::Closed);
    let keyed = touchy().keyed().build::<u32>().unwrap();
    let layer = keyed.layer_by(|_| Some(7)).judge_errors(RefusalsAreNeutral);
    layer.layer(refused).oneshot(http()).await.unwrap_err();
    assert_eq!(keyed.of(&7).state(), CircuitState::Closed);
    // Any other error still does.
    let down = broken(|| -> Box<dyn std::error::Error + Send + Sync> { "reset".into() });
    breaker
        .layer()
        .layer(down)
        .oneshot(http())
        .await
        .unwrap_err();
    assert_eq!(breaker.state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn an_error_that_is_the_callers_fault_does_not_open_the_circuit_for_all() {
    let breaker = build(touchy());
    let layer = breaker.layer().judge_errors(|error: &&str| match *error {
        "the upload broke off" => End::from(Outcome::Cancelled),
        _ => End::from(Outcome::Failure),
    });
    let service = layer.layer(broken(|| "the upload broke off"));
    for _ in 0..10 {
        service.clone().oneshot(http()).await.unwrap_err();
    }
    assert_eq!(breaker.state(), CircuitState::Closed);
    let service = layer.layer(broken(|| "connection reset"));
    service.oneshot(http()).await.unwrap_err();
    assert_eq!(breaker.state(), CircuitState::Open);
}
