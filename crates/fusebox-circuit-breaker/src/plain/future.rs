use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use fusebox_core::{CallError, Rejection};
use pin_project::pin_project;

use crate::{JudgeResult, Pass};

/// The response of a [`PlainCircuitBreaker`](super::PlainCircuitBreaker).
///
/// # Cancel safety
/// Dropping it drops the inner call, which counts as cancelled.
#[derive(Debug)]
#[pin_project]
pub struct PlainResponseFuture<F, J> {
    #[pin]
    state: State<F, J>,
}

#[derive(Debug)]
#[pin_project(project = StateOf)]
enum State<F, J> {
    Running {
        // Dropped before the pass: the inner call is over when its end is told.
        #[pin]
        future: F,
        pass: Pass,
        judge: J,
    },
    Refused(Option<Rejection>),
}

impl<F, J> PlainResponseFuture<F, J> {
    #[inline]
    pub(super) const fn running(future: F, pass: Pass, judge: J) -> Self {
        Self {
            state: State::Running {
                future,
                pass,
                judge,
            },
        }
    }

    pub(super) const fn refused(rejection: Rejection) -> Self {
        Self {
            state: State::Refused(Some(rejection)),
        }
    }
}

impl<F, J, T, E> Future for PlainResponseFuture<F, J>
where
    F: Future<Output = Result<T, E>>,
    J: JudgeResult<T, E>,
{
    type Output = Result<T, CallError<E>>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateOf::Running {
                future,
                pass,
                judge,
            } => {
                pass.runs();
                let polled = future.poll(cx);
                pass.returned();
                let result = ready!(polled);
                pass.tell(judge.judge(result.as_ref()));
                Poll::Ready(result.map_err(CallError::Inner))
            }
            // Polled again after it was ready, it never is: that is the caller's mistake.
            StateOf::Refused(rejection) => match rejection.take() {
                Some(rejection) => Poll::Ready(Err(rejection.into())),
                None => Poll::Pending,
            },
        }
    }
}
