use std::{
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};

use fusebox_core::{CallError, Rejection};
use pin_project::pin_project;
use tower_service::Service;

use super::place::{Answer, Anywhere, Local, Place};
use crate::{Compartment, call::Call, compartment::outcome, threads::Task, waiting::Queued};

/// The future of [`PlainBulkhead`](crate::PlainBulkhead) and of [`Backpressure`](crate::Backpressure).
///
/// # Cancel safety
/// Dropped at any point it gives back its slot or its place in the queue, and the call counts as
/// cancelled. In a compartment with threads the work over there is dropped at its next await.
#[pin_project]
pub struct ResponseFuture<S: Service<R>, R, W = Anywhere> {
    #[pin]
    pub(super) state: State<S, R>,
    pub(super) place: PhantomData<W>,
}

impl<S: Service<R>, R, W> From<State<S, R>> for ResponseFuture<S, R, W> {
    #[inline]
    fn from(state: State<S, R>) -> Self {
        Self {
            state,
            place: PhantomData,
        }
    }
}

#[pin_project(project = Doing)]
pub(crate) enum State<S: Service<R>, R> {
    Running {
        // Dropped before the call: the slot is free when the work is gone.
        #[pin]
        future: S::Future,
        call: Call,
    },
    Elsewhere(Elsewhere<S, R>),
}

/// Where a call is that does not run right here.
pub(crate) enum Elsewhere<S: Service<R>, R> {
    /// On the threads of the compartment.
    Remote(Task<Result<S::Response, S::Error>>, Compartment),
    // Boxed, so that a call that need not wait does not carry a timer about.
    Waiting(Pin<Box<Queued<S, R>>>, Compartment),
    Refused(Option<Rejection>),
}

impl<S: Service<R>, R> From<Elsewhere<S, R>> for State<S, R> {
    #[inline]
    fn from(elsewhere: Elsewhere<S, R>) -> Self {
        Self::Elsewhere(elsewhere)
    }
}

impl<S: Service<R>, R> State<S, R> {
    /// Everything but a call that runs right here.
    ///
    /// Apart, and answering by itself: so the usual case is compiled as if there were no other.
    #[cold]
    #[inline(never)]
    fn poll_elsewhere<W: Place<S, R>>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Answer<S, R>> {
        loop {
            let next = match self.as_mut().project() {
                Doing::Running { future, call } => return poll_here(future, call, cx),
                Doing::Elsewhere(Elsewhere::Remote(task, compartment)) => {
                    return Poll::Ready(match ready!(Pin::new(task).poll(cx)) {
                        Ok(result) => result.map_err(CallError::Inner),
                        // The call told its end over there.
                        Err(lost) => Err(CallError::Rejected(compartment.rejection(lost.kind()))),
                    });
                }
                Doing::Elsewhere(Elsewhere::Refused(rejection)) => {
                    return refused(rejection);
                }
                Doing::Elsewhere(Elsewhere::Waiting(queued, compartment)) => {
                    let (call, mut inner, request) = ready!(queued.as_mut().poll(cx))?;
                    W::begin(&mut inner, request, call, compartment)
                }
            };
            self.set(next);
        }
    }
}

/// The answer to a call that was refused; after that it is pending for ever.
#[inline]
fn refused<T, E>(rejection: &mut Option<Rejection>) -> Poll<Result<T, CallError<E>>> {
    rejection.take().map_or(Poll::Pending, |rejection| {
        Poll::Ready(Err(CallError::Rejected(rejection)))
    })
}

/// A call that runs right here.
#[inline(always)]
fn poll_here<F, T, E>(
    future: Pin<&mut F>,
    call: &mut Call,
    cx: &mut Context<'_>,
) -> Poll<Result<T, CallError<E>>>
where
    F: Future<Output = Result<T, E>>,
{
    let result = ready!(future.poll(cx));
    call.finish(outcome(&result));
    Poll::Ready(match result {
        Ok(response) => Ok(response),
        Err(error) => Err(CallError::Inner(error)),
    })
}

impl<S: Service<R>, R, W> ResponseFuture<S, R, W> {
    #[inline(always)]
    fn poll_at(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer<S, R>>
    where
        W: Place<S, R>,
    {
        let mut state = self.project().state;
        match state.as_mut().project() {
            Doing::Running { future, call } => poll_here(future, call, cx),
            // Under attack this is the usual case.
            Doing::Elsewhere(Elsewhere::Refused(rejection)) => refused(rejection),
            Doing::Elsewhere(_) => state.poll_elsewhere::<W>(cx),
        }
    }
}

impl<S, R> Future for ResponseFuture<S, R, Anywhere>
where
    S: Service<R> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
    R: Send + 'static,
{
    type Output = Result<S::Response, CallError<S::Error>>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_at(cx)
    }
}

impl<S: Service<R>, R> Future for ResponseFuture<S, R, Local> {
    type Output = Result<S::Response, CallError<S::Error>>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_at(cx)
    }
}

impl<S: Service<R>, R, W> std::fmt::Debug for ResponseFuture<S, R, W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match &self.state {
            State::Running { .. } => "running",
            State::Elsewhere(Elsewhere::Remote(..)) => "running on the compartment's threads",
            State::Elsewhere(Elsewhere::Waiting(..)) => "waiting",
            State::Elsewhere(Elsewhere::Refused(_)) => "refused",
        };
        f.debug_struct("ResponseFuture")
            .field("state", &state)
            .finish()
    }
}
