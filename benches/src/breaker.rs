//! The circuit breaker against recloser, failsafe and tower-resilience's.
//!
//! All of them over the same no-op while closed, and over a service that is down while open. recloser and failsafe are
//! no layers: they are wrapped in the smallest service there is, around the future that their own docs use. On two threads
//! tower-resilience is left out: under contention its calls wait for a lock, and a call that waits is not one poll.
//!
//! # What is missed, and why
//!
//! `http_closed/recloser`: 2.9 for 1.5. recloser is measured around a no-op that answers `()`, the layer around one that
//! answers a response, whose head alone is 112 bytes. Of the 433 instructions that the layer adds, the circuit takes what
//! it takes in the plain flavour (146), the judgement of head and frame some 40, and the rest is moving: the request into
//! the inner service (once), the response out of the inner future and into the one with the guarded body (twice), the body
//! and its frame into whatever reads them. For comparison, over the same no-op: tower's `ConcurrencyLimit` 238, which moves
//! no response at all; a layer that does nothing but put a guard with a `Drop` into the body 79, because all of it is
//! inlined and the compiler then moves nothing.
//!
//! Tried, in this order, each alone and measured: lend no address of response, body or pass to a function that is not
//! inlined (764 to 517); a refusal boxed by who makes it, so that the future is not handed out to be filled (to 496, with
//! the headers that may carry a `Retry-After` passed by value); the guard's end compiled into the body's poll (worse: the
//! poll is no longer inlined then); no refusal and no policy in the future, so that its destructor is small (no difference);
//! a request that is not looked at (5); nothing that can panic while a response or a frame is held, because the way on which
//! it would then be dropped lends its address, too (509 to 433).
//!
//! `failing/closed` and `failing_by_count/closed_by_count`: 1.09 and 2.0 for 1.05, with a failure in each hundred calls
//! (recloser: 1.0). What a failure costs does not depend on the window, but it costs: it reads the settings and adds up
//! what every thread has counted, some 1,300 instructions, which is 13 for each call. A window of calls has moreover to
//! remember which of its calls failed, from the first failure until that has left it: then every call takes a place in a
//! ring that all threads share, and with one failure in a hundred calls that is always. Adding up only where the threshold
//! can have been reached was considered, and left: each thread knows its own part only.

use std::future::{Ready, ready};
use std::hint::black_box;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use failsafe::futures::CircuitBreaker as _;
use failsafe::{backoff, failure_policy};
use fusebox_circuit_breaker::{
    Breaker, ErrorsAreFailures, Head, KeyedBreaker, Pass, Window, by_method_and_path,
};
use fusebox_core::{Outcome, Registration, Rejection};
use http::{Method, Request, Uri};
use recloser::{AsyncRecloser, Recloser};
use tower_layer::Layer;
use tower_resilience_circuitbreaker::CircuitBreakerLayer as PeerLayer;
use tower_service::Service;

use crate::drive::{Batch, Expect, by_hand, by_hand_to_the_end, call, on_two_threads, repeat};
use crate::harness::{Case, Figure, Limit, Suite};
use crate::noop::{HttpNoop, Noop};

/// Longer than any run: what is open stays open.
const AN_HOUR: Duration = Duration::from_secs(3_600);
/// More failures than any of them needs to open.
const ENOUGH: usize = 1_000;

/// The suite.
#[must_use]
pub fn suite() -> Suite {
    Suite {
        name: "breaker",
        cases: cases(),
        figures: vec![
            Figure::new("closed/recloser", "closed", "recloser").instructions_at_most(1.0),
            Figure::new("closed_by_count/recloser", "closed_by_count", "recloser")
                .instructions_at_most(1.0),
            Figure::new("open/recloser", "open", "recloser_open").instructions_at_most(1.0),
            Figure::new("http_closed/recloser", "http_closed", "recloser")
                .instructions_at_most(1.5),
            Figure::new(
                "two_threads/recloser",
                "two_threads",
                "two_threads_recloser",
            )
            .time_at_most(0.5),
            Figure::new(
                "two_threads_by_count/recloser",
                "two_threads_by_count",
                "two_threads_recloser",
            )
            .time_at_most(0.5),
            // The price of a window must not depend on how much it holds.
            Figure::new("long_window/closed", "long_window", "closed").instructions_at_most(1.05),
            Figure::new("large_count/closed", "large_count", "closed_by_count")
                .instructions_at_most(1.05),
            // And not on whether some of it failed.
            Figure::new(
                "failing_long_window/failing",
                "failing_long_window",
                "failing",
            )
            .instructions_at_most(1.05),
            Figure::new(
                "failing_large_count/failing_by_count",
                "failing_large_count",
                "failing_by_count",
            )
            .instructions_at_most(1.05),
            Figure::new("failing/closed", "failing", "closed").instructions_at_most(1.05),
            Figure::new(
                "failing_by_count/closed_by_count",
                "failing_by_count",
                "closed_by_count",
            )
            .instructions_at_most(1.05),
            Figure::new("failing/recloser", "failing", "recloser_failing"),
            Figure::new(
                "failing_by_count/recloser",
                "failing_by_count",
                "recloser_failing",
            ),
            // The price of finding the circuit: a hash of the key, a look into the map.
            Figure::new("keyed/one_pass", "keyed", "one_pass"),
            Figure::new("keyed_by_path/one_pass", "keyed_by_path", "one_pass"),
            Figure::new(
                "two_threads_keyed/one_pass",
                "two_threads_keyed",
                "two_threads_one_pass",
            ),
            Figure::new("closed/failsafe", "closed", "failsafe"),
            Figure::new("open/failsafe", "open", "failsafe_open"),
            Figure::new("closed/tower_resilience", "closed", "tower_resilience"),
            Figure::new("open/tower_resilience", "open", "tower_resilience_open"),
        ],
        limits: vec![
            Limit::allocations("closed", 0.0),
            Limit::allocations("closed_by_count", 0.0),
            Limit::allocations("http_closed", 0.0),
            Limit::allocations("open", 0.0),
            Limit::allocations("keyed", 0.0),
            Limit::allocations("keyed_by_path", 0.0),
            // When it begins and when it is over, for a call that is timed. At full speed that is one in 256, and of the others
            // a window of time wants to know when they are over; these are counted under valgrind, a hundred calls slowly,
            // and so nearly all of them are timed.
            Limit::clock_reads("closed", 2.0),
            Limit::clock_reads("closed_by_count", 2.0),
            Limit::clock_reads("http_closed", 2.0),
            Limit::clock_reads("open", 1.0),
        ],
    }
}

fn cases() -> Vec<Case> {
    vec![
        Case::new("noop", || by_hand(Noop, || (), Expect::Admission)),
        Case::new("http_noop", || {
            by_hand_to_the_end(HttpNoop, || Request::new(()))
        }),
        Case::new("down", || by_hand(Down, || (), Expect::Refusal)),
        Case::new("closed", || closed(plain(ten_seconds()))).over("noop"),
        Case::new("closed_by_count", || closed(plain(Window::Calls(100)))).over("noop"),
        Case::new("long_window", || closed(plain(Window::Time(AN_HOUR)))).over("noop"),
        Case::new("large_count", || closed(plain(Window::Calls(100_000)))).over("noop"),
        Case::new("one_in_a_hundred", || failing(OneInAHundred::default())),
        Case::new("failing", || {
            failing(plain(ten_seconds()).layer(OneInAHundred::default()))
        })
        .over("one_in_a_hundred"),
        Case::new("failing_long_window", || {
            failing(plain(Window::Time(AN_HOUR)).layer(OneInAHundred::default()))
        })
        .over("one_in_a_hundred"),
        Case::new("failing_by_count", || {
            failing(plain(Window::Calls(100)).layer(OneInAHundred::default()))
        })
        .over("one_in_a_hundred"),
        Case::new("failing_large_count", || {
            failing(plain(Window::Calls(100_000)).layer(OneInAHundred::default()))
        })
        .over("one_in_a_hundred"),
        Case::new("recloser_failing", || {
            failing(recloser(OneInAHundred::default()))
        })
        .over("one_in_a_hundred"),
        Case::new("open", || opened(plain(ten_seconds()).layer(Down))).over("down"),
        Case::new("http_closed", || {
            let layer = breaker(ten_seconds()).layer();
            by_hand_to_the_end(layer.layer(HttpNoop), || Request::new(()))
        })
        .over("http_noop"),
        Case::new("one_pass", || {
            by_hand(OnePass::new(), || (), Expect::Admission)
        })
        .over("noop"),
        Case::new("keyed", || by_hand(ByKey::new(), || (), Expect::Admission)).over("noop"),
        Case::new("keyed_by_path", || {
            by_hand(ByPath::new(), || (), Expect::Admission)
        })
        .over("noop"),
        Case::new("recloser", || {
            by_hand(recloser(Noop), || (), Expect::Admission)
        })
        .over("noop"),
        Case::new("recloser_open", || opened(recloser(Down))).over("down"),
        Case::new("failsafe", || {
            by_hand(failsafe(Noop), || (), Expect::Admission)
        })
        .over("noop"),
        Case::new("failsafe_open", || opened(failsafe(Down))).over("down"),
        Case::new("tower_resilience", || {
            by_hand(peer_layer().layer(Noop), || (), Expect::Admission)
        })
        .over("noop"),
        Case::new("tower_resilience_open", || opened(peer_layer().layer(Down))).over("down"),
        Case::new("two_threads", || {
            on_two_threads(plain(ten_seconds()).layer(Noop))
        })
        .on_two_threads(),
        Case::new("two_threads_by_count", || {
            on_two_threads(plain(Window::Calls(100)).layer(Noop))
        })
        .on_two_threads(),
        Case::new("two_threads_one_pass", || on_two_threads(OnePass::new())).on_two_threads(),
        Case::new("two_threads_keyed", || on_two_threads(ByKey::new())).on_two_threads(),
        Case::new("two_threads_recloser", || on_two_threads(recloser(Noop))).on_two_threads(),
        Case::new("two_threads_failsafe", || on_two_threads(failsafe(Noop))).on_two_threads(),
    ]
}

const fn ten_seconds() -> Window {
    Window::Time(Duration::from_secs(10))
}

#[expect(
    clippy::expect_used,
    reason = "without its subject the suite has no purpose"
)]
fn breaker(window: Window) -> Breaker {
    Breaker::builder("bench")
        .window(window)
        .cool_down(AN_HOUR)
        .registration(Registration::Unlisted)
        .build()
        .expect("the settings are valid")
}

#[expect(
    clippy::expect_used,
    reason = "without its subject the suite has no purpose"
)]
fn keyed<K: Send + Sync + 'static>() -> KeyedBreaker<K> {
    Breaker::builder("bench")
        .cool_down(AN_HOUR)
        .registration(Registration::Unlisted)
        .keyed()
        .build()
        .expect("the settings are valid")
}

/// A pass of one breaker, given back at once.
#[derive(Clone)]
struct OnePass(Breaker);

impl OnePass {
    fn new() -> Self {
        Self(breaker(ten_seconds()))
    }
}

impl Service<()> for OnePass {
    type Response = ();
    type Error = Rejection;
    type Future = Ready<Result<(), Rejection>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Rejection>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(self.0.try_pass().map(well))
    }
}

/// The same of a breaker that has a circuit for each of a thousand keys.
#[derive(Clone)]
struct ByKey {
    breakers: KeyedBreaker<u64>,
    key: u64,
}

/// As many as there is room for without being asked.
const KEYS: u64 = 1_024;

impl ByKey {
    fn new() -> Self {
        let breakers = keyed();
        for key in 0..KEYS {
            let _made = breakers.of(&key);
        }
        Self { breakers, key: 0 }
    }
}

impl Service<()> for ByKey {
    type Response = ();
    type Error = Rejection;
    type Future = Ready<Result<(), Rejection>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Rejection>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        // Of few keys, so that each is called often enough to be not timed each time.
        self.key = (self.key + 1) % 4;
        ready(self.breakers.try_pass(self.key).map(well))
    }
}

/// The same, the key found in the head of a request.
// Not as a layer: what that costs beyond the key is what the layer of one circuit costs.
struct ByPath {
    breakers: KeyedBreaker<(Method, String)>,
    request: Request<()>,
}

impl ByPath {
    fn new() -> Self {
        let mut request = Request::new(());
        *request.uri_mut() = Uri::from_static("/payments.v1.Authoriser/Authorise");
        Self {
            breakers: keyed(),
            request,
        }
    }
}

impl Service<()> for ByPath {
    type Response = ();
    type Error = Option<Rejection>;
    type Future = Ready<Result<(), Self::Error>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        let key = by_method_and_path(&Head::of(&self.request));
        let pass = key.ok_or(None);
        let pass = pass.and_then(|key| self.breakers.try_pass(key).map_err(Some));
        ready(pass.map(well))
    }
}

fn well(pass: Pass) {
    pass.end(Outcome::Success);
}

type Plain = fusebox_circuit_breaker::PlainCircuitBreakerLayer<ErrorsAreFailures>;

fn plain(window: Window) -> Plain {
    breaker(window).plain_layer().judged_by(ErrorsAreFailures)
}

fn closed(layer: Plain) -> Batch {
    by_hand(layer.layer(Noop), || (), Expect::Admission)
}

/// Calls a breaker over a service that is down until it must be open.
fn opened<S: Service<()> + 'static>(mut service: S) -> Batch {
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..ENOUGH {
        if service.poll_ready(&mut cx).is_ready() {
            let mut future = Box::pin(service.call(()));
            assert!(
                future.as_mut().poll(&mut cx).is_ready(),
                "a service that is down answers at once"
            );
        }
    }
    by_hand(service, || (), Expect::Refusal)
}

/// Calls of a service that sometimes fails, through a circuit that stays closed.
fn failing<S: Service<()> + 'static>(mut service: S) -> Batch {
    // So many that whatever is remembered of a few failures is remembered of them.
    let mut once = move || black_box(call(&mut service, ())).is_ok();
    let failed = (0..ENOUGH).filter(|_| !once()).count();
    assert_eq!(failed, ENOUGH / 100, "one in a hundred, and none refused");
    repeat(once)
}

/// Fails at each hundredth call.
#[derive(Debug, Clone, Copy, Default)]
struct OneInAHundred(u32);

impl Service<()> for OneInAHundred {
    type Response = ();
    type Error = IsDown;
    type Future = Ready<Result<(), IsDown>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), IsDown>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        self.0 += 1;
        ready(if self.0.is_multiple_of(100) {
            Err(IsDown)
        } else {
            Ok(())
        })
    }
}

/// Always fails, at once.
#[derive(Debug, Clone, Copy)]
struct Down;

/// What it fails with.
#[derive(Debug, Clone, Copy)]
struct IsDown;

impl std::fmt::Display for IsDown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("down")
    }
}

impl std::error::Error for IsDown {}

impl Service<()> for Down {
    type Response = ();
    type Error = IsDown;
    type Future = Ready<Result<(), IsDown>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), IsDown>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Err(IsDown))
    }
}

/// A peer that wraps futures, as a service.
#[derive(Clone)]
struct Wrapped<S, B> {
    inner: S,
    breaker: B,
}

fn recloser<S>(inner: S) -> Wrapped<S, AsyncRecloser> {
    let breaker = Recloser::custom()
        .error_rate(0.5)
        .closed_len(100)
        .open_wait(AN_HOUR)
        .build()
        .into();
    Wrapped { inner, breaker }
}

impl<S: Service<()>> Service<()> for Wrapped<S, AsyncRecloser> {
    type Response = S::Response;
    type Error = recloser::Error<S::Error>;
    type Future = recloser::RecloserFuture<S::Future, recloser::AnyError>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(recloser::Error::Inner)
    }

    fn call(&mut self, (): ()) -> Self::Future {
        self.breaker.call(self.inner.call(()))
    }
}

type Failsafe = failsafe::StateMachine<
    failure_policy::OrElse<
        failure_policy::SuccessRateOverTimeWindow<backoff::EqualJittered>,
        failure_policy::ConsecutiveFailures<backoff::EqualJittered>,
    >,
    (),
>;

fn failsafe<S>(inner: S) -> Wrapped<S, Failsafe> {
    use failsafe::failure_policy::FailurePolicy as _;
    let backoff = backoff::equal_jittered(AN_HOUR, AN_HOUR);
    let policy =
        failure_policy::success_rate_over_time_window(0.5, 20, Duration::from_secs(10), backoff)
            .or_else(failure_policy::consecutive_failures(
                5,
                backoff::equal_jittered(AN_HOUR, AN_HOUR),
            ));
    Wrapped {
        inner,
        breaker: failsafe::Config::new().failure_policy(policy).build(),
    }
}

impl<S: Service<()>> Service<()> for Wrapped<S, Failsafe> {
    type Response = S::Response;
    type Error = failsafe::Error<S::Error>;
    type Future = failsafe::futures::ResponseFuture<
        S::Future,
        <Failsafe as failsafe::futures::CircuitBreaker>::FailurePolicy,
        (),
        failsafe::Any,
    >;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(failsafe::Error::Inner)
    }

    fn call(&mut self, (): ()) -> Self::Future {
        self.breaker.call(self.inner.call(()))
    }
}

fn peer_layer() -> PeerLayer {
    let built = PeerLayer::builder()
        .failure_rate_threshold(0.5)
        .sliding_window_size(100)
        .minimum_number_of_calls(20)
        .wait_duration_in_open(AN_HOUR)
        .build();
    #[expect(
        clippy::expect_used,
        reason = "without its peer the suite has no purpose"
    )]
    built.expect("the settings are valid")
}
