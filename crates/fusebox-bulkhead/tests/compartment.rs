//! A compartment as its user meets it: the queue in time, the modes, the handle.
#![cfg(not(fusebox_loom))]
#![expect(clippy::unwrap_used, reason = "a test: a panic is its report")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use fusebox_bulkhead::{
    BulkheadLayer, Compartment, CompartmentBuilder, CompartmentSnapshot, ConfigError, HoldUntil,
    QueueOrder, ResponseBody,
};
use fusebox_core::{
    CallError, Change, Event, EventKind, Mode, Outcome, Registration, Registry, Rejection,
    RejectionKind, Value,
};
use fusebox_testkit::{MockBody, MockFrame, MockService, Script};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::time::{advance, timeout};
use tower::{Service, ServiceExt, layer::Layer};

const SECOND: Duration = Duration::from_secs(1);

fn builder(slots: usize) -> CompartmentBuilder {
    Compartment::builder("test")
        .slots(slots)
        .registration(Registration::Unlisted)
}

fn kind<T: std::fmt::Debug>(refused: Result<T, Rejection>) -> RejectionKind {
    refused.unwrap_err().kind()
}

/// Polls once; what waits is in line afterwards.
fn waits<T>(future: &mut (impl Future<Output = T> + Unpin)) -> bool {
    poll_once(future).is_pending()
}

fn poll_once<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Poll<T> {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    std::pin::Pin::new(future).poll(&mut cx)
}

#[tokio::test(start_paused = true)]
async fn refuses_at_once_when_slots_and_queue_are_full() {
    let compartment = builder(1).queue(1, SECOND).build().unwrap();
    let _slot = compartment.try_acquire().unwrap();
    let mut first = Box::pin(compartment.acquire());
    assert!(waits(&mut first));
    assert_eq!(compartment.snapshot().waiting, 1);
    let started = tokio::time::Instant::now();
    assert_eq!(kind(compartment.acquire().await), RejectionKind::Full);
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_at_its_bound() {
    let compartment = builder(1).queue(1, SECOND).build().unwrap();
    let _slot = compartment.try_acquire().unwrap();
    let started = tokio::time::Instant::now();
    let refused = compartment.acquire().await;
    assert_eq!(kind(refused), RejectionKind::QueueTimeout);
    // The timer counts in milliseconds.
    assert!(started.elapsed() >= SECOND && started.elapsed() < SECOND + Duration::from_millis(2));
    let snapshot = compartment.snapshot();
    assert_eq!((snapshot.in_flight, snapshot.waiting), (1, 0));
    assert_eq!(snapshot.stats.enforced(RejectionKind::QueueTimeout), 1);
    assert!(snapshot.stats.wait.max >= SECOND, "the wait is on record");
}

#[tokio::test(start_paused = true)]
async fn the_wait_and_the_run_are_told_apart() {
    let compartment = builder(1).queue(1, SECOND).build().unwrap();
    let slot = compartment.try_acquire().unwrap();
    let mut waiting = Box::pin(compartment.acquire());
    assert!(waits(&mut waiting));
    advance(Duration::from_millis(300)).await;
    slot.finish(Outcome::Success);
    let slot = waiting.await.unwrap();
    advance(Duration::from_millis(700)).await;
    slot.finish(Outcome::Success);
    let stats = compartment.snapshot().stats;
    let about = |time: Duration, millis| {
        let exact = Duration::from_millis(millis);
        time >= exact && time <= exact + exact / 50
    };
    assert!(about(stats.wait.max, 300), "{:?}", stats.wait);
    assert!(about(stats.latency.max, 700), "{:?}", stats.latency);
    assert!(about(stats.latency.p50, 300), "{:?}", stats.latency);
}

#[tokio::test(start_paused = true)]
async fn under_overload_the_newest_comes_first() {
    let compartment = builder(1)
        .queue(3, SECOND)
        .queue_order(QueueOrder::LifoUnderOverload)
        .build()
        .unwrap();
    let slot = compartment.try_acquire().unwrap();
    let mut old = Box::pin(compartment.acquire());
    assert!(waits(&mut old));
    advance(Duration::from_millis(150)).await;
    let mut new = Box::pin(compartment.acquire());
    assert!(waits(&mut new));
    drop(slot);
    assert!(waits(&mut old));
    assert!(!waits(&mut new));
}

#[tokio::test(start_paused = true)]
async fn in_shadow_mode_nobody_waits_and_nobody_is_refused() {
    let compartment = builder(1)
        .queue(1, SECOND)
        .mode(Mode::Shadow)
        .build()
        .unwrap();
    let _slot = compartment.try_acquire().unwrap();
    let passed = compartment.run(async { 7 }).await;
    assert_eq!(passed.unwrap(), 7);
    let snapshot = compartment.snapshot();
    assert_eq!(
        (snapshot.in_flight, snapshot.waiting),
        (1, 0),
        "it took no slot"
    );
    assert_eq!(snapshot.stats.detected(), 1);
    assert_eq!(snapshot.stats.refused(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_percentage_refuses_that_share() {
    let mode = Mode::percentage(30).unwrap();
    let compartment = builder(1).mode(mode).build().unwrap();
    let _slot = compartment.try_acquire().unwrap();
    for _ in 0..1_000 {
        drop(compartment.try_acquire());
    }
    let stats = compartment.snapshot().stats;
    assert_eq!(stats.detected(), 1_000);
    assert!(stats.refused().abs_diff(300) <= 10, "{}", stats.refused());
}

#[tokio::test(start_paused = true)]
async fn a_change_of_mode_or_size_is_told_and_keeps_the_counts() {
    let told: Arc<Mutex<Vec<Change>>> = Arc::default();
    let observer = {
        let told = told.clone();
        move |event: &Event<'_>| {
            if let EventKind::Change(change) = event.kind {
                told.lock().unwrap().push(change);
            }
        }
    };
    let compartment = builder(2).observer(Arc::new(observer)).build().unwrap();
    let slots = [(); 2].map(|()| compartment.try_acquire().unwrap());
    assert_eq!(compartment.resize(1).unwrap(), 2);
    assert_eq!(compartment.snapshot().in_flight, 2);
    compartment.set_mode(Mode::Shadow);
    compartment.set_mode(Mode::Shadow);
    assert_eq!(
        *told.lock().unwrap(),
        [
            Change::Limit {
                what: "slots",
                from: 2,
                to: 1
            },
            Change::Mode {
                from: Mode::Enforce,
                to: Mode::Shadow
            }
        ]
    );
    let zero = compartment.resize(0).unwrap_err();
    assert!(matches!(
        zero,
        ConfigError::OutOfRange { field: "slots", .. }
    ));
    drop(slots);
    assert_eq!(compartment.snapshot().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn more_slots_let_in_those_who_wait_and_fewer_let_the_excess_drain() {
    let compartment = builder(1).queue(2, SECOND).build().unwrap();
    let first = compartment.try_acquire().unwrap();
    let mut waiting = Box::pin(compartment.acquire());
    assert!(waits(&mut waiting));
    compartment.resize(2).unwrap();
    let second = waiting.await.unwrap();
    compartment.resize(1).unwrap();
    drop(first);
    assert_eq!(kind(compartment.try_acquire()), RejectionKind::Full);
    drop(second);
    assert!(compartment.try_acquire().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_queue_can_be_changed_while_traffic_flows_and_that_is_told() {
    let told: Arc<Mutex<Vec<Change>>> = Arc::default();
    let observer = {
        let told = told.clone();
        move |event: &Event<'_>| {
            if let EventKind::Change(change) = event.kind {
                told.lock().unwrap().push(change);
            }
        }
    };
    let compartment = builder(1).observer(Arc::new(observer)).build().unwrap();
    let _slot = compartment.try_acquire().unwrap();
    assert_eq!(kind(compartment.acquire().await), RejectionKind::Full);
    let before = compartment.set_queue(2, SECOND * 10).unwrap();
    assert_eq!(before, (0, Duration::ZERO));
    let mut first = Box::pin(compartment.acquire());
    let mut second = Box::pin(compartment.acquire());
    assert!(waits(&mut first) && waits(&mut second));
    let before = compartment.set_queue(1, SECOND).unwrap();
    assert_eq!(before, (2, SECOND * 10));
    assert_eq!(kind(compartment.acquire().await), RejectionKind::Full);
    advance(SECOND * 5).await;
    assert!(waits(&mut first), "it may wait as long as when it came");
    drop(second);
    drop(first);
    assert_eq!(
        kind(compartment.acquire().await),
        RejectionKind::QueueTimeout
    );
    let order = compartment.set_queue_order(QueueOrder::LifoUnderOverload);
    assert_eq!(order, QueueOrder::Fifo);
    compartment.set_queue_order(QueueOrder::LifoUnderOverload);
    let snapshot = compartment.snapshot();
    assert_eq!(
        (snapshot.queue_length, snapshot.max_wait),
        (1, SECOND),
        "{snapshot:?}"
    );
    assert_eq!(snapshot.queue_order, QueueOrder::LifoUnderOverload);
    let limit = |what, from, to| Change::Limit { what, from, to };
    let second = 1_000_000_000;
    assert_eq!(
        *told.lock().unwrap(),
        [
            limit("queue.max_wait_ns", 0, 10 * second),
            limit("queue.length", 0, 2),
            limit("queue.max_wait_ns", 10 * second, second),
            limit("queue.length", 2, 1),
            Change::Choice {
                what: "queue_order",
                from: "fifo",
                to: "lifo_under_overload"
            }
        ]
    );
    let zero = compartment.set_queue(1, Duration::ZERO).unwrap_err();
    assert!(matches!(
        zero,
        ConfigError::Unbounded {
            field: "queue.max_wait",
            ..
        }
    ));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_refuses_those_who_wait_and_drains_the_rest() {
    let compartment = builder(1).queue(1, SECOND * 60).build().unwrap();
    let slot = compartment.try_acquire().unwrap();
    let waiting = tokio::spawn({
        let compartment = compartment.clone();
        async move { compartment.acquire().await.map(drop) }
    });
    tokio::task::yield_now().await;
    let mut shutdown = Box::pin(compartment.shutdown(SECOND * 10));
    assert!(waits(&mut shutdown));
    assert_eq!(kind(waiting.await.unwrap()), RejectionKind::ShuttingDown);
    assert_eq!(
        kind(compartment.acquire().await),
        RejectionKind::ShuttingDown
    );
    assert!(waits(&mut shutdown), "a call is in flight");
    let started = tokio::time::Instant::now();
    drop(slot);
    assert_eq!(shutdown.await, 0);
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_closed_compartment_refuses_whatever_the_mode() {
    for mode in [Mode::Shadow, Mode::percentage(1).unwrap()] {
        let compartment = builder(1).queue(1, SECOND).mode(mode).build().unwrap();
        assert_eq!(compartment.shutdown(SECOND).await, 0);
        let closed = RejectionKind::ShuttingDown;
        assert_eq!(kind(compartment.try_acquire()), closed, "{mode:?}");
        assert_eq!(kind(compartment.acquire().await), closed, "{mode:?}");
        assert_eq!(kind(compartment.run(async { 7 }).await), closed, "{mode:?}");
        let response = answer(compartment.layer()).await;
        let refused = response.extensions().get::<Rejection>().unwrap();
        assert_eq!(refused.kind(), closed, "{mode:?}");
        let mut consumer = compartment.backpressure_layer().layer(streaming());
        let refused = ServiceExt::<Request<MockBody>>::ready(&mut consumer).await;
        let Err(CallError::Rejected(rejection)) = refused.map(drop) else {
            panic!("a consumer that drains would never stop");
        };
        assert_eq!(rejection.kind(), closed, "{mode:?}");
        let stats = compartment.snapshot().stats;
        assert_eq!((stats.enforced(closed), stats.ended()), (4, 0), "{mode:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_no_longer_than_its_patience() {
    let compartment = builder(2).build().unwrap();
    let _slot = compartment.try_acquire().unwrap();
    let started = tokio::time::Instant::now();
    assert_eq!(compartment.shutdown(SECOND).await, 1);
    assert!(started.elapsed() < SECOND * 2);
    assert!(compartment.snapshot().closed);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_may_be_patient_for_ever() {
    for threads in [false, true] {
        let mut settings = builder(1);
        if threads {
            settings = settings.threads(1);
        }
        let compartment = settings.build().unwrap();
        let slot = compartment.try_acquire().unwrap();
        let mut shutdown = Box::pin(compartment.shutdown(Duration::MAX));
        assert!(waits(&mut shutdown));
        drop(slot);
        assert_eq!(shutdown.await, 0);
    }
}

#[tokio::test]
async fn work_that_panics_on_the_compartments_threads_is_a_refusal_and_the_threads_live_on() {
    let compartment = builder(1).threads(1).retry_after(SECOND).build().unwrap();
    let panicked = compartment.run(async { panic!("boom") }).await;
    // It may have done its work before: nobody is told to come back.
    assert_eq!(panicked.as_ref().unwrap_err().retry_after(), None);
    assert_eq!(kind::<()>(panicked), RejectionKind::Panicked);
    let panicked = compartment.run_blocking(|| panic!("boom")).await;
    assert_eq!(kind::<()>(panicked), RejectionKind::Panicked);
    assert_eq!(compartment.run(async { 7 }).await.unwrap(), 7);
    let stats = compartment.snapshot().stats;
    assert_eq!(stats.outcome(Outcome::Failure), 2);
    assert_eq!(stats.outcome(Outcome::Success), 1);
    assert_eq!(compartment.shutdown(SECOND * 30).await, 0);
}

#[tokio::test]
async fn work_runs_on_threads_named_after_the_compartment() {
    let compartment = builder(2).threads(1).build().unwrap();
    let name = || std::thread::current().name().map(str::to_owned);
    let here = name();
    let ran_on = compartment.run(async move { name() }).await.unwrap();
    assert_eq!(ran_on.as_deref(), Some("test"));
    assert_ne!(here, ran_on);
    let blocked_on = compartment.run_blocking(name).await.unwrap();
    assert_eq!(blocked_on.as_deref(), Some("test"));
}

#[tokio::test]
async fn an_error_of_the_work_is_a_failure_and_stays_itself() {
    for threads in [false, true] {
        let mut settings = builder(1);
        if threads {
            settings = settings.threads(1);
        }
        let compartment = settings.build().unwrap();
        let failed = compartment.try_run(async { Err::<(), _>("no") }).await;
        assert_eq!(failed, Err(CallError::Inner("no")));
        assert_eq!(compartment.snapshot().stats.outcome(Outcome::Failure), 1);
    }
}

#[tokio::test]
async fn is_listed_as_long_as_somebody_uses_it() {
    let registry = Registry::new();
    let compartment = Compartment::builder("listed")
        .slots(3)
        .registration(Registration::In(registry.clone()))
        .build()
        .unwrap();
    let _slot = compartment.try_acquire().unwrap();
    let [listed] = &*registry.snapshot() else {
        panic!("one compartment is one handle");
    };
    assert_eq!(listed.get("slots"), Some(&Value::Gauge(3)));
    assert_eq!(listed.get("in_flight"), Some(&Value::Gauge(1)));
    let Some(Value::Map(latency)) = listed.get("latency") else {
        panic!("no latency: {listed:?}");
    };
    let quantiles: Vec<_> = latency.iter().map(|(name, _)| *name).collect();
    assert_eq!(quantiles, ["count", "p50", "p90", "p99", "p99.9", "max"]);
    drop((compartment, _slot));
    assert!(registry.handles().is_empty());
}

fn streaming() -> MockService {
    let body = MockBody::of([MockFrame::data("a"), MockFrame::data("b")]).hiding_its_end();
    MockService::new(Script::ok(body))
}

async fn answer(layer: BulkheadLayer) -> Response<ResponseBody<MockBody>> {
    let service = layer.layer(streaming());
    service
        .oneshot(Request::new(MockBody::empty()))
        .await
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_slot_is_held_to_the_end_of_the_body_or_to_the_head_on_request() {
    for (hold_until, after_head) in [(HoldUntil::BodyEnd, 1), (HoldUntil::Head, 0)] {
        let compartment = builder(1).hold_until(hold_until).build().unwrap();
        let response = answer(compartment.layer()).await;
        let snapshot = compartment.snapshot();
        assert_eq!(snapshot.in_flight, after_head, "{hold_until:?}");
        assert_eq!(snapshot.stats.ended(), 0, "its outcome is still open");
        let body = Box::pin(response.into_body());
        assert_eq!(body.collect().await.ok().unwrap().to_bytes(), "ab");
        let snapshot = compartment.snapshot();
        assert_eq!((snapshot.in_flight, snapshot.stats.ended()), (0, 1));
        assert_eq!(snapshot.stats.outcome(Outcome::Success), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_says_when_to_come_back_if_it_is_told_so() {
    let compartment = builder(1)
        .retry_after(Duration::from_millis(1_500))
        .build()
        .unwrap();
    let _slot = compartment.try_acquire().unwrap();
    let response = answer(compartment.layer()).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "2");
    let marked = response.extensions().get::<Rejection>().unwrap();
    assert_eq!(marked.policy().as_str(), "test");
}

#[tokio::test(start_paused = true)]
async fn a_consumer_waits_in_readiness_for_as_long_as_it_takes() {
    let compartment = builder(1).build().unwrap();
    let mut service = compartment.backpressure_layer().layer(streaming());
    let slot = compartment.try_acquire().unwrap();
    let hour = SECOND * 3_600;
    let waited = timeout(hour, ServiceExt::<Request<MockBody>>::ready(&mut service)).await;
    assert!(waited.is_err(), "it was to wait");
    drop(slot);
    ServiceExt::<Request<MockBody>>::ready(&mut service)
        .await
        .unwrap();
    assert_eq!(compartment.snapshot().in_flight, 1, "reserved");
    let clone = service.clone();
    assert_eq!(
        compartment.snapshot().in_flight,
        1,
        "a clone reserves nothing"
    );
    drop(service);
    assert_eq!(compartment.snapshot().in_flight, 0);
    drop(clone);
    // The slot that was taken by hand; the service was never called.
    assert_eq!(compartment.snapshot().stats.ended(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_waits_is_told_of_the_shutdown() {
    let compartment = builder(1).build().unwrap();
    let mut service = compartment.backpressure_layer().layer(streaming());
    let slot = compartment.try_acquire().unwrap();
    let waiting = tokio::spawn(async move {
        let refused = ServiceExt::<Request<MockBody>>::ready(&mut service).await;
        refused.map(drop)
    });
    tokio::task::yield_now().await;
    drop(slot);
    assert_eq!(compartment.shutdown(SECOND).await, 0);
    // Not left waiting: granted before the shutdown, it ended without a call; or refused by it.
    let ready = waiting.await.unwrap();
    assert!(ready.is_ok() || shuts_down(ready));
    let mut late = compartment.backpressure_layer().layer(streaming());
    let refused = ServiceExt::<Request<MockBody>>::ready(&mut late).await;
    let Err(CallError::Rejected(rejection)) = refused.map(drop) else {
        panic!("a closed compartment has no slots");
    };
    assert_eq!(rejection.kind(), RejectionKind::ShuttingDown);
}

/// A refusal to say that the compartment is closed.
fn shuts_down<T, E>(result: Result<T, CallError<E>>) -> bool {
    matches!(result, Err(CallError::Rejected(rejection)) if rejection.kind() == RejectionKind::ShuttingDown)
}

#[tokio::test(start_paused = true)]
async fn a_consumer_without_a_message_does_not_hold_up_the_shutdown() {
    let double = || {
        tower::service_fn(|number: u32| {
            std::future::ready(Ok::<_, std::convert::Infallible>(number * 2))
        })
    };
    let compartment = builder(2).build().unwrap();
    let layer = compartment.backpressure_layer();
    // One waits for its next message, one has got a slot and not looked yet, one waits for a slot.
    let (mut idle, mut granted, mut waiting) = (
        layer.layer(double()),
        layer.layer(double()),
        layer.layer(double()),
    );
    let slot = compartment.try_acquire().unwrap();
    idle.ready().await.unwrap();
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(granted.poll_ready(&mut cx).is_pending());
    assert!(waiting.poll_ready(&mut cx).is_pending());
    drop(slot);
    assert_eq!(compartment.snapshot().in_flight, 2);

    let before = tokio::time::Instant::now();
    assert_eq!(compartment.shutdown(30 * SECOND).await, 0);
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!(compartment.snapshot().in_flight, 0);

    // Its message was on the way: it is told, and can put it back.
    assert!(shuts_down(idle.call(21).await));
    for mut consumer in [idle, granted, waiting] {
        assert!(shuts_down(consumer.ready().await.map(drop)));
    }
    assert_eq!(compartment.snapshot().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_has_begun_from_a_reserved_slot_is_waited_for() {
    let work = tower::service_fn(|(): ()| async {
        tokio::time::sleep(SECOND).await;
        Ok::<_, std::convert::Infallible>(())
    });
    let compartment = builder(1).build().unwrap();
    let mut consumer = compartment.backpressure_layer().layer(work);
    let call = tokio::spawn(consumer.ready().await.unwrap().call(()));
    tokio::task::yield_now().await;
    assert_eq!(compartment.shutdown(30 * SECOND).await, 0);
    assert_eq!(call.await.unwrap(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn all_calls_are_counted_and_of_many_at_once_a_part_is_timed() {
    async fn calls(settings: CompartmentBuilder) -> CompartmentSnapshot {
        let compartment = settings.build().unwrap();
        for _ in 0..10_000 {
            assert_eq!(compartment.run(async {}).await, Ok(()));
        }
        compartment.snapshot()
    }
    let sampled = calls(builder(1)).await.stats;
    assert_eq!(sampled.outcome(Outcome::Success), 10_000);
    // Those that were timed stand for the others, but for the last few.
    assert!(
        (9_969..=10_000).contains(&sampled.latency.count),
        "{sampled:?}"
    );

    let every = calls(builder(1).time_every_call(true)).await.stats;
    assert_eq!(every.latency.count, 10_000);

    let heard = Arc::new(AtomicUsize::new(0));
    let counter = heard.clone();
    let observer = move |_: &Event<'_>| {
        counter.fetch_add(1, Ordering::Relaxed);
    };
    let heard_of = calls(builder(1).observer(Arc::new(observer))).await.stats;
    assert_eq!(heard_of.latency.count, 10_000);
    assert_eq!(heard.load(Ordering::Relaxed), 10_000);
}
