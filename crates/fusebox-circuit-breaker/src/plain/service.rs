use std::task::{Context, Poll};

use fusebox_core::CallError;
use tower_service::Service;

use super::PlainResponseFuture;
use crate::{Breaker, JudgeResult, readiness::Readiness};

/// The service made by [`PlainCircuitBreakerLayer`](super::PlainCircuitBreakerLayer).
///
/// While the circuit is open it is ready at once, whatever the inner service says: an answer that has
/// to wait for a dependency that is down is no fast failure. Those who wait for the inner service when it opens
/// are told at once, and so is everybody a half-open circuit has no place for. Only who is to be a probe waits, in
/// its place, which it gives back when it is dropped. An inner service that fails instead of getting ready has failed
/// a call. In [`Shadow`](fusebox_core::Mode::Shadow), or where only a share of the calls is refused, it is ready when
/// the inner service is: a call may then be made in spite of the verdict.
#[derive(Debug)]
pub struct PlainCircuitBreaker<S, J> {
    inner: S,
    breaker: Breaker,
    judge: J,
    readiness: Readiness,
}

impl<S, J> PlainCircuitBreaker<S, J> {
    pub(super) const fn new(inner: S, breaker: Breaker, judge: J) -> Self {
        Self {
            inner,
            breaker,
            judge,
            readiness: Readiness::new(),
        }
    }
}

impl<S: Clone, J: Clone> Clone for PlainCircuitBreaker<S, J> {
    fn clone(&self) -> Self {
        // Readiness is the instance's own.
        Self::new(self.inner.clone(), self.breaker.clone(), self.judge.clone())
    }
}

impl<S, J, R> Service<R> for PlainCircuitBreaker<S, J>
where
    S: Service<R>,
    J: JudgeResult<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = CallError<S::Error>;
    type Future = PlainResponseFuture<S::Future, J>;

    #[inline(always)]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let (inner, judge) = (&mut self.inner, &self.judge);
        let judge = |error: &S::Error| judge.judge(Err(error));
        self.readiness
            .poll(&self.breaker, cx, |cx| inner.poll_ready(cx), judge)
            .map_err(CallError::Inner)
    }

    #[inline(always)]
    fn call(&mut self, request: R) -> Self::Future {
        self.readiness.admit_then(
            &self.breaker,
            |pass| {
                let mut pass = pass.watching();
                let future = self.inner.call(request);
                pass.returned();
                PlainResponseFuture::running(future, pass, self.judge.clone())
            },
            PlainResponseFuture::refused,
        )
    }
}
