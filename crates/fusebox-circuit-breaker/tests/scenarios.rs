//! Failures of other circuit breakers, one test each, by name; and the promises this one makes instead.
#![cfg(feature = "http")]
#![expect(clippy::unwrap_used, reason = "a test's panic is its report")]

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
use fusebox_circuit_breaker::{
    Breaker, BreakerBuilder, Cancelled, CountsAs, End, RefusalsAreNeutral, Window,
};
use fusebox_core::{
    CallError, Change, CircuitState, Event, EventKind, LayerKind, Mode, Outcome, Registration,
    Rejection, RejectionKind,
};
use fusebox_http::{Protocol, refusal};
use fusebox_testkit::{MockBody, MockFrame};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::time::{advance, timeout};
use tower::{Layer, Service, ServiceExt, service_fn};

const SECOND: Duration = Duration::from_secs(1);

/// Opens at the first failure, for ten seconds; a single probe has five.
fn touchy() -> BreakerBuilder {
    Breaker::builder("dependency")
        .consecutive_failures(1)
        .cool_down(10 * SECOND)
        .probe_deadline(5 * SECOND)
        .registration(Registration::Unlisted)
}

fn build(builder: BreakerBuilder) -> Breaker {
    builder.build().unwrap()
}

fn ends(breaker: &Breaker, end: impl Into<End>) {
    breaker.try_pass().unwrap().end(end);
}

/// Fails once, and waits until the next call is a probe.
async fn trip_and_cool_down(breaker: &Breaker) {
    ends(breaker, Outcome::Failure);
    assert_eq!(breaker.state(), CircuitState::Open);
    advance(10 * SECOND).await;
}

type Answer = Result<Response<MockBody>, Infallible>;

/// A dependency that always answers so, and how often it was asked.
fn dependency(
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

fn status(status: u16) -> impl Fn() -> Response<MockBody> + Clone + Send + 'static {
    move || {
        let mut response = Response::new(MockBody::full("hello"));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response
    }
}

fn grpc() -> Request<MockBody> {
    Request::builder()
        .method("POST")
        .header("content-type", "application/grpc")
        .body(MockBody::empty())
        .unwrap()
}

fn http() -> Request<MockBody> {
    Request::new(MockBody::empty())
}

fn trailers(code: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        http::HeaderValue::from_static(code),
    )])
}

/// Makes a call and reads the answer to its end.
async fn call(
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

// What was seen elsewhere.

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

// What this one promises.

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
