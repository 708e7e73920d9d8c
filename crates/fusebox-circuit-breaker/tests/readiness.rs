//! What happens while the inner service is not ready: a refusal waits for nobody, and a probe keeps nobody else waiting.
#![cfg(feature = "handle")]
#![expect(clippy::unwrap_used, reason = "a test's panic is its report")]

use std::{
    convert::Infallible,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Context,
    time::Duration,
};

use fusebox_circuit_breaker::{Breaker, BreakerBuilder, PlainCircuitBreaker, RefusalsAreNeutral};
use fusebox_core::{CallError, CircuitState, Mode, Outcome, Registration};
use tokio::{
    sync::Notify,
    task::{JoinHandle, yield_now},
    time::advance,
};
use tower::{Layer, Service, ServiceExt, limit::ConcurrencyLimit, util::BoxCloneService};

const SECOND: Duration = Duration::from_secs(1);

/// Opens at the first failure, for ten seconds; a probe has five.
fn touchy() -> BreakerBuilder {
    Breaker::builder("dependency")
        .consecutive_failures(1)
        .cool_down(10 * SECOND)
        .probe_deadline(5 * SECOND)
        .registration(Registration::Unlisted)
}

type Upstream = BoxCloneService<(), (), Infallible>;
type Stack = PlainCircuitBreaker<ConcurrencyLimit<Upstream>, RefusalsAreNeutral>;
type Ended = Result<(), CallError<Infallible>>;

/// A breaker over a limit of so many calls over an upstream that hangs until it is told that it is well.
struct Scene {
    breaker: Breaker,
    stack: Stack,
    well: Arc<Notify>,
    reached: Arc<AtomicUsize>,
}

impl Scene {
    fn set(builder: BreakerBuilder, limit: usize) -> Self {
        let breaker = builder.build().unwrap();
        let (well, reached) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let (health, counting) = (well.clone(), reached.clone());
        let upstream = tower::service_fn(move |()| {
            counting.fetch_add(1, Ordering::SeqCst);
            let health = health.clone();
            async move {
                health.notified().await;
                Ok(())
            }
        });
        let upstream = BoxCloneService::new(upstream);
        let stack = breaker
            .plain_layer()
            .layer(ConcurrencyLimit::new(upstream, limit));
        Self {
            breaker,
            stack,
            well,
            reached,
        }
    }

    /// Half-open, with every place of the limit taken by calls that hang.
    async fn half_open_and_full(builder: BreakerBuilder) -> (Self, Vec<JoinHandle<Ended>>) {
        let scene = Self::set(builder, 2);
        let hanging = vec![scene.call().await, scene.call().await];
        assert_eq!(scene.reached(), 2);
        scene.fail();
        assert_eq!(scene.breaker.state(), CircuitState::Open);
        advance(10 * SECOND).await;
        (scene, hanging)
    }

    fn fail(&self) {
        self.breaker.try_pass().unwrap().end(Outcome::Failure);
    }

    fn reached(&self) -> usize {
        self.reached.load(Ordering::SeqCst)
    }

    /// Makes a call, and lets it come as far as it does.
    async fn call(&self) -> JoinHandle<Ended> {
        let call = tokio::spawn(self.stack.clone().oneshot(()));
        settle().await;
        call
    }
}

async fn settle() {
    for _ in 0..10 {
        yield_now().await;
    }
}

async fn refused(call: JoinHandle<Ended>) -> bool {
    call.is_finished() && matches!(call.await.unwrap(), Err(CallError::Rejected(_)))
}

#[tokio::test(start_paused = true)]
async fn only_the_probe_of_a_half_open_circuit_waits_for_a_full_compartment() {
    let (scene, hanging) = Scene::half_open_and_full(touchy()).await;
    let probe = scene.call().await;
    assert!(!probe.is_finished());
    assert_eq!(scene.breaker.probes_in_flight(), 1);
    for _ in 0..100 {
        assert!(refused(scene.call().await).await);
    }
    // One of those that hang comes back: the probe has its place.
    scene.well.notify_one();
    settle().await;
    assert_eq!(scene.reached(), 3);
    scene.well.notify_waiters();
    probe.await.unwrap().unwrap();
    assert_eq!(scene.breaker.state(), CircuitState::Closed);
    drop(hanging);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_dropped_while_it_waits_makes_room_for_the_next_and_is_no_call() {
    let (scene, _hanging) = Scene::half_open_and_full(touchy()).await;
    let before = scene.breaker.stats().outcome(Outcome::Cancelled);
    for _ in 0..3 {
        let probe = scene.call().await;
        assert!(!probe.is_finished());
        assert!(refused(scene.call().await).await);
        probe.abort();
        settle().await;
        assert_eq!(scene.breaker.probes_in_flight(), 0);
    }
    let after = scene.breaker.stats().outcome(Outcome::Cancelled);
    assert_eq!(after, before);
}

#[tokio::test(start_paused = true)]
async fn a_place_is_given_back_by_an_instance_that_is_dropped_unused_and_not_given_to_its_clones() {
    let scene = Scene::set(touchy(), 2);
    scene.fail();
    advance(10 * SECOND).await;
    let mut ready = scene.stack.clone();
    ready.ready().await.unwrap();
    assert_eq!(scene.breaker.probes_in_flight(), 1);
    let clone = ready.clone();
    drop(ready);
    assert_eq!(scene.breaker.probes_in_flight(), 0);
    drop(clone);
    assert_eq!(scene.breaker.probes_in_flight(), 0);
    scene.well.notify_one();
    scene.stack.clone().oneshot(()).await.unwrap();
    assert_eq!(scene.breaker.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_waits_past_its_deadline_makes_room_and_does_not_wait_on() {
    let (scene, _hanging) = Scene::half_open_and_full(touchy()).await;
    let first = scene.call().await;
    advance(5 * SECOND).await;
    let second = scene.call().await;
    assert!(!second.is_finished(), "it waits in the place of the first");
    assert!(refused(first).await);
    assert_eq!(scene.breaker.probes_in_flight(), 1);
    assert_eq!(scene.breaker.state(), CircuitState::HalfOpen);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_had_to_wait_has_all_of_its_time_from_when_it_begins() {
    let (scene, _hanging) = Scene::half_open_and_full(touchy()).await;
    let probe = scene.call().await;
    advance(4 * SECOND).await;
    scene.well.notify_one();
    settle().await;
    assert_eq!(scene.reached(), 3);
    advance(4 * SECOND).await;
    assert!(
        refused(scene.call().await).await,
        "the probe still has its time"
    );
    scene.well.notify_waiters();
    probe.await.unwrap().unwrap();
    assert_eq!(scene.breaker.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_when_it_opens_are_told_at_once() {
    let scene = Scene::set(touchy(), 2);
    let _hanging = [scene.call().await, scene.call().await];
    let waiting = [scene.call().await, scene.call().await, scene.call().await];
    assert!(waiting.iter().all(|call| !call.is_finished()));
    scene.fail();
    settle().await;
    for call in waiting {
        assert!(refused(call).await);
    }
    assert_eq!(scene.reached(), 2);
}

#[tokio::test(start_paused = true)]
async fn calls_that_hang_open_it_even_if_no_other_call_finds_room() {
    let scene = Scene::set(touchy().hanging_calls(2, SECOND), 2);
    let _hanging = [scene.call().await, scene.call().await];
    let waiting = scene.call().await;
    advance(SECOND + SECOND / 4).await;
    assert!(refused(scene.call().await).await);
    assert_eq!(scene.breaker.state(), CircuitState::Open);
    assert!(refused(waiting).await);
}

#[tokio::test(start_paused = true)]
async fn whom_the_ramp_refuses_does_not_wait_and_whom_it_lets_pass_is_not_asked_again() {
    let builder = touchy().ramp(0.5, 1_000 * SECOND);
    let (scene, _hanging) = Scene::half_open_and_full(builder).await;
    scene.breaker.try_pass().unwrap().end(Outcome::Success);
    assert_eq!(scene.breaker.state(), CircuitState::Closed);
    let mut waiting = Vec::new();
    for _ in 0..100 {
        let call = scene.call().await;
        if call.is_finished() {
            assert!(refused(call).await);
        } else {
            waiting.push(call);
        }
    }
    assert!((45..=55).contains(&waiting.len()), "{}", waiting.len());
    let passed = waiting.len();
    while waiting.iter().any(|call| !call.is_finished()) {
        scene.well.notify_waiters();
        settle().await;
    }
    assert_eq!(scene.reached(), 2 + passed);
}

#[tokio::test(start_paused = true)]
async fn in_shadow_everybody_waits_for_the_inner_service() {
    let (scene, _hanging) = Scene::half_open_and_full(touchy().mode(Mode::Shadow)).await;
    let calls = [scene.call().await, scene.call().await];
    assert!(calls.iter().all(|call| !call.is_finished()));
    assert_eq!(
        scene.breaker.probes_in_flight(),
        0,
        "nobody's, as long as nobody is called"
    );
}

#[tokio::test(start_paused = true)]
async fn an_inner_service_that_fails_while_a_probe_waits_has_failed_the_probe() {
    struct Closes(bool);
    impl Service<()> for Closes {
        type Response = ();
        type Error = std::io::Error;
        type Future = std::future::Pending<Result<(), std::io::Error>>;
        fn poll_ready(
            &mut self,
            cx: &mut Context<'_>,
        ) -> std::task::Poll<Result<(), std::io::Error>> {
            if std::mem::replace(&mut self.0, true) {
                return std::task::Poll::Ready(Err(std::io::Error::other("closed")));
            }
            cx.waker().wake_by_ref();
            std::task::Poll::Pending
        }
        fn call(&mut self, (): ()) -> Self::Future {
            pending()
        }
    }
    let breaker = touchy().build().unwrap();
    breaker.try_pass().unwrap().end(Outcome::Failure);
    advance(10 * SECOND).await;
    let mut service = breaker.plain_layer().layer(Closes(false));
    let error = service.ready().await.map(drop).unwrap_err();
    assert!(matches!(error, CallError::Inner(_)));
    assert_eq!(breaker.probes_in_flight(), 0);
    assert_eq!(breaker.state(), CircuitState::Open);
}
