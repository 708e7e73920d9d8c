//! Ways to make `n` calls of a service and say how long they took: by hand, in a runtime, from two threads.
//!
//! Whatever is compared is driven the same way. By hand is the sharpest: a future over a no-op is ready at its first
//! poll, so no executor is needed, and none is measured.

use std::future::{Future, poll_fn};
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use http::Response;
use http_body::Body;
use tokio::runtime::{Builder, Runtime};
use tower_service::Service;

/// Makes so many calls and tells how long they took.
pub type Batch = Box<dyn FnMut(u64) -> Duration>;

/// What a case must get from its service. Checked on every call that is measured (one predictable branch, the same
/// for all), because a refusal that is timed as an admission would be a very fast one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The inner service answers.
    Admission,
    /// The layer answers.
    Refusal,
}

impl Expect {
    fn check<T, E>(self, result: &Result<T, E>) {
        assert!(
            result.is_ok() == (self == Self::Admission),
            "the case was to measure an {self:?} and got the opposite"
        );
    }
}

/// Anything at all, `n` times.
pub fn repeat<T>(mut once: impl FnMut() -> T + 'static) -> Batch {
    Box::new(move |n| {
        timed(n, || {
            // Without it a loop over nothing would be no loop.
            black_box(once());
        })
    })
}

/// Times `n` calls of what a case builds for itself.
///
/// Never inlined: under valgrind it is by its name that these calls are told from what a case is built of.
#[inline(never)]
pub fn section(n: u64, once: &mut dyn FnMut()) -> Duration {
    timed(n, once)
}

/// Calls polled by hand, the response dropped as it comes.
pub fn by_hand<S, R>(mut service: S, request: fn() -> R, expect: Expect) -> Batch
where
    S: Service<R> + 'static,
    R: 'static,
{
    Box::new(move |n| {
        timed(n, || {
            expect.check(&black_box(call(&mut service, request())));
        })
    })
}

/// Calls polled by hand, each response's body read to its end.
pub fn by_hand_to_the_end<S, R, B>(mut service: S, request: fn() -> R) -> Batch
where
    S: Service<R, Response = Response<B>> + 'static,
    R: 'static,
    B: Body,
{
    Box::new(move |n| {
        timed(n, || {
            let result = call(&mut service, request());
            Expect::Admission.check(&result);
            if let Ok(response) = result {
                drain(response);
            }
        })
    })
}

/// A current-thread runtime with timers and nothing else.
///
/// # Panics
///
/// If it cannot be built: there is nothing to measure then.
#[must_use]
pub fn runtime() -> Runtime {
    #[expect(
        clippy::expect_used,
        reason = "without a runtime the program has no purpose"
    )]
    Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a current-thread runtime needs nothing from the machine")
}

/// Calls awaited one after the other in a runtime, for layers that need a timer.
pub fn in_runtime<S, R>(
    runtime: Runtime,
    mut service: S,
    request: fn() -> R,
    expect: Expect,
) -> Batch
where
    S: Service<R> + 'static,
    R: 'static,
{
    Box::new(move |n| {
        runtime.block_on(async {
            let start = Instant::now();
            for _ in 0..n {
                let result = match poll_fn(|cx| service.poll_ready(cx)).await {
                    Ok(()) => service.call(request()).await,
                    Err(error) => Err(error),
                };
                expect.check(&black_box(result));
            }
            start.elapsed()
        })
    })
}

/// Begins a call that never ends, so that whatever it has taken stays taken while the result is kept.
///
/// # Panics
///
/// If it ends after all: then it holds nothing.
pub fn hold<F: Future>(future: F) -> Pin<Box<F>> {
    let mut future = Box::pin(future);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(
        future.as_mut().poll(&mut cx).is_pending(),
        "a call that is to hold a slot has ended"
    );
    future
}

/// `n` calls on each of two threads, each with its own clone, as a server has one per connection. Wall time from the
/// moment both run until both are done.
pub fn on_two_threads<S>(service: S) -> Batch
where
    S: Service<()> + Clone + Send + 'static,
{
    Box::new(move |n| {
        let arrived = AtomicUsize::new(0);
        let work = |mut service: S| {
            // A barrier that spins: one that sleeps would start the second thread a wake-up later than the first.
            arrived.fetch_add(1, Ordering::SeqCst);
            while arrived.load(Ordering::SeqCst) < 2 {
                std::hint::spin_loop();
            }
            let start = Instant::now();
            timed(n, || {
                Expect::Admission.check(&black_box(call(&mut service, ())));
            });
            (start, Instant::now())
        };
        let (first, second) = thread::scope(|scope| {
            let (clone, work) = (service.clone(), &work);
            let other = scope.spawn(move || work(clone));
            let mine = work(service.clone());
            (mine, other.join())
        });
        match second {
            Ok(second) => first.1.max(second.1) - first.0.min(second.0),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn timed(n: u64, mut once: impl FnMut()) -> Duration {
    let start = Instant::now();
    for _ in 0..n {
        once();
    }
    start.elapsed()
}

/// One call, which must be ready at once.
///
/// # Errors
///
/// The service's own.
pub fn call<S: Service<R>, R>(service: &mut S, request: R) -> Result<S::Response, S::Error> {
    let mut cx = Context::from_waker(Waker::noop());
    at_once(service.poll_ready(&mut cx))?;
    let future = pin!(service.call(request));
    at_once(future.poll(&mut cx))
}

/// Reads a response's body to its end, which must be there.
pub fn drain<B: Body>(response: Response<B>) {
    let mut cx = Context::from_waker(Waker::noop());
    let mut body = pin!(response.into_body());
    while let Some(frame) = at_once(body.as_mut().poll_frame(&mut cx)) {
        black_box(frame.is_ok());
    }
}

/// # Panics
///
/// If the service waits for something: then it is not the service this case is about.
fn at_once<T>(poll: Poll<T>) -> T {
    #[expect(
        clippy::panic,
        reason = "a number measured on the wrong path is worse than none"
    )]
    match poll {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a case that is polled by hand must be ready at once"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noop::{HttpNoop, Noop};
    use http::Request;
    use tower::limit::ConcurrencyLimit;

    #[test]
    #[should_panic(expected = "got the opposite")]
    fn a_refusal_that_admits_is_not_measured() {
        by_hand(Noop, || (), Expect::Refusal)(1);
    }

    #[test]
    #[should_panic(expected = "ready at once")]
    fn a_case_that_waits_is_not_measured() {
        by_hand(ConcurrencyLimit::new(Noop, 0), || (), Expect::Admission)(1);
    }

    #[test]
    fn every_driver_makes_its_calls_and_ends() {
        by_hand(Noop, || (), Expect::Admission)(3);
        by_hand_to_the_end(HttpNoop, || Request::new(()))(3);
        in_runtime(runtime(), Noop, || (), Expect::Admission)(3);
        on_two_threads(ConcurrencyLimit::new(Noop, 10))(3);
    }
}
