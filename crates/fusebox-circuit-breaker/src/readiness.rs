use std::task::Poll;

use fusebox_core::{Mode, Rejection};

#[cfg(feature = "http")]
use crate::breaker::Admission;
use crate::{Breaker, End, Pass, engine::Refused};

/// What `poll_ready` has found out for `call`: whether the circuit refused every call and the inner service
/// was not asked.
#[derive(Debug)]
pub(crate) struct Readiness(Option<Refused>);

impl Readiness {
    /// Nobody has asked yet.
    pub(crate) const fn new() -> Self {
        Self(None)
    }

    /// Polls the inner service, unless the next call is sure to be refused. If that fails, it is the end of a call
    /// as any other error: no call can be made where no service gets ready.
    #[inline(always)]
    pub(crate) fn poll<E>(
        &mut self,
        breaker: &Breaker,
        inner: impl FnOnce() -> Poll<Result<(), E>>,
        judge: impl FnOnce(&E) -> End,
    ) -> Poll<Result<(), E>> {
        let shared = breaker.shared();
        self.0 = None;
        // In any other mode the call may be made in spite of the verdict.
        if let Some(refused) = shared.circuit.refuses(|| shared.clock.now())
            && shared.mode.get() == Mode::Enforce
        {
            self.0 = Some(refused);
            return Poll::Ready(Ok(()));
        }
        let polled = inner();
        if let Poll::Ready(Err(error)) = &polled {
            never_ready(breaker, judge(error));
        }
        polled
    }

    /// The verdict on the call. The instance that is not ready is never called: what was refused a
    /// moment ago stays refused, even if the cool-down has ended meanwhile.
    #[inline(always)]
    #[cfg(feature = "http")]
    pub(crate) fn admit(&mut self, breaker: &Breaker) -> Admission {
        match self.0 {
            None => breaker.admit(),
            Some(found) => Admission::Refused(self.refuse(breaker, found)),
        }
    }

    /// As [`admit`](Self::admit), going on with what comes of it; see [`Breaker::admit_then`].
    #[inline(always)]
    pub(crate) fn admit_then<T>(
        &mut self,
        breaker: &Breaker,
        passed: impl FnOnce(Pass) -> T,
        refused: impl Fn(Rejection) -> T,
    ) -> T {
        match self.0 {
            None => breaker.admit_then(passed, refused),
            Some(found) => refused(self.refuse(breaker, found)),
        }
    }

    #[inline(always)]
    fn refuse(&mut self, breaker: &Breaker, found: Refused) -> Rejection {
        // What was found out is good for one call.
        self.0 = None;
        breaker.refuse(found)
    }
}

/// The service failed before there was a call.
#[cold]
#[inline(never)]
fn never_ready(breaker: &Breaker, end: End) {
    if let Ok(pass) = breaker.try_pass() {
        pass.end(end);
    }
}
