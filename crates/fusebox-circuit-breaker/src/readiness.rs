use std::task::{Poll, ready};

use fusebox_core::{Mode, Rejection, Timestamp};

#[cfg(feature = "http")]
use crate::breaker::Admission;
use crate::{Breaker, Pass};

/// What `poll_ready` has found out for `call`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Readiness {
    /// Nothing: nobody asked.
    Unknown,
    /// The inner service is ready.
    Inner,
    /// The circuit refused every call at that instant, and the inner service was not asked.
    Refusing(Timestamp),
}

impl Readiness {
    /// Polls the inner service, unless the next call is sure to be refused.
    #[inline]
    pub(crate) fn poll<E>(
        &mut self,
        breaker: &Breaker,
        inner: impl FnOnce() -> Poll<Result<(), E>>,
    ) -> Poll<Result<(), E>> {
        let shared = breaker.shared();
        *self = Self::Unknown;
        // In any other mode the call may be made in spite of the verdict.
        if let Some(now) = shared.circuit.refuses(|| shared.clock.now())
            && shared.mode.get() == Mode::Enforce
        {
            *self = Self::Refusing(now);
            return Poll::Ready(Ok(()));
        }
        ready!(inner())?;
        *self = Self::Inner;
        Poll::Ready(Ok(()))
    }

    #[inline]
    pub(crate) const fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Unknown)
    }

    /// The verdict on the call. The instance that is not ready is never called: what was refused a
    /// moment ago stays refused, even if the cool-down has ended meanwhile.
    #[inline(always)]
    #[cfg(feature = "http")]
    pub(crate) fn admit(self, breaker: &Breaker) -> Admission {
        match self {
            Self::Refusing(at) => Admission::Refused(breaker.refuse_since(at)),
            Self::Unknown | Self::Inner => breaker.admit(),
        }
    }

    /// As [`admit`](Self::admit), going on with what comes of it; see [`Breaker::admit_then`].
    #[inline(always)]
    pub(crate) fn admit_then<T>(
        self,
        breaker: &Breaker,
        passed: impl FnOnce(Pass) -> T,
        refused: impl Fn(Rejection) -> T,
    ) -> T {
        match self {
            Self::Refusing(at) => refused(breaker.refuse_since(at)),
            Self::Unknown | Self::Inner => breaker.admit_then(passed, refused),
        }
    }
}
