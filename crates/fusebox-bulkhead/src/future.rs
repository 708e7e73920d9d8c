//! The future of [`Bulkhead`](crate::Bulkhead).

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use fusebox_core::{Outcome, Rejection};
use fusebox_http::{Asked, GuardedBody, refusal};
use http::{Request, Response};
use http_body::Body;
use pin_project::pin_project;
use tower_service::Service;

use crate::{
    Compartment, HoldUntil, ResponseBody,
    call::Call,
    layer::Custom,
    threads::{RemoteBody, Task},
    waiting::Queued,
};

/// The future of [`Bulkhead`](crate::Bulkhead): waits in the queue if it must, then for the inner
/// service.
///
/// # Cancel safety
/// Dropped at any point it gives back its slot or its place in the queue, and the call counts as
/// cancelled. In a compartment with threads the work over there is dropped at its next await.
#[pin_project]
pub struct ResponseFuture<S, R, B>
where
    S: Service<Request<R>, Response = Response<B>>,
    B: Body,
{
    #[pin]
    pub(crate) state: State<S, R, B>,
    pub(crate) how: How,
}

/// What is known of a call besides the request itself.
#[derive(Clone, Debug)]
pub(crate) struct How {
    pub(crate) asked: Asked,
    pub(crate) hold_until: HoldUntil,
    pub(crate) custom: Option<Arc<Custom>>,
}

type Answer<B, E> = Result<Response<ResponseBody<B>>, E>;
type RemoteAnswer<B, E> = Result<Response<RemoteBody<<B as Body>::Data, <B as Body>::Error>>, E>;

#[pin_project(project = Doing)]
pub(crate) enum State<S, R, B>
where
    S: Service<Request<R>, Response = Response<B>>,
    B: Body,
{
    Running {
        // Dropped before the call: the slot is free when the work is gone.
        #[pin]
        future: S::Future,
        call: Call,
    },
    Elsewhere(Elsewhere<S, R, B>),
}

/// Where a call is that does not run right here.
pub(crate) enum Elsewhere<S, R, B>
where
    S: Service<Request<R>, Response = Response<B>>,
    B: Body,
{
    /// On the threads of the compartment.
    Remote(Task<RemoteAnswer<B, S::Error>>, Compartment),
    // Boxed, so that a call that need not wait does not carry a timer about.
    Waiting(Pin<Box<Queued<S, Request<R>>>>, Compartment),
    Refused(Option<Rejection>),
}

impl How {
    /// Judges the head of a response and lets its body hold the call.
    #[inline(always)]
    fn guard<B: Body, T>(
        &self,
        response: Response<B>,
        call: Call,
        into: impl FnOnce(GuardedBody<B, Call>) -> T,
    ) -> Response<T> {
        if self.hold_until == HoldUntil::Head || self.custom.is_some() {
            // There and back through places of its own, as [`GuardedBody::wrap_into`] does and says why.
            let (parts, body) = response.into_parts();
            let copy = Response::from_parts(parts, body);
            let (parts, body) = self.guard_otherwise(copy, call).into_parts();
            return Response::from_parts(parts, into(body));
        }
        GuardedBody::wrap_into(response, self.asked, call, into)
    }

    #[inline(never)]
    fn guard_otherwise<B: Body>(
        &self,
        response: Response<B>,
        mut call: Call,
    ) -> Response<GuardedBody<B, Call>> {
        if self.hold_until == HoldUntil::Head {
            call.give_slot_back();
        }
        let classify = self.custom.as_ref();
        let classify = classify.and_then(|custom| custom.classify.clone());
        GuardedBody::wrap(response, self.asked, classify, call)
    }

    /// A call that runs right here.
    #[inline(always)]
    fn poll_here<F, B, E>(
        &self,
        future: Pin<&mut F>,
        call: &mut Call,
        cx: &mut Context<'_>,
    ) -> Poll<Answer<B, E>>
    where
        F: Future<Output = Result<Response<B>, E>>,
        B: Body,
    {
        if call.is_over() {
            return Poll::Pending;
        }
        match future.poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(response)) => {
                Poll::Ready(Ok(self.guard(response, call.take(), ResponseBody::inner)))
            }
            Poll::Ready(Err(error)) => {
                call.finish(Outcome::Failure);
                Poll::Ready(Err(error))
            }
        }
    }

    #[cold]
    fn refuse<B: Body>(&self, rejection: Rejection) -> Response<ResponseBody<B>> {
        let respond = self
            .custom
            .as_ref()
            .and_then(|custom| custom.respond.as_deref());
        refusal(rejection, self.asked.protocol, respond).map(ResponseBody::refusal)
    }
}

impl<S, R, B> State<S, R, B>
where
    S: Service<Request<R>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: Send + 'static,
    B: Body<Data: From<Bytes> + Send, Error: Send> + Send + 'static,
{
    /// Makes an admitted call where the compartment wants it made.
    pub(crate) fn begin(
        mut inner: S,
        request: Request<R>,
        call: Call,
        how: &How,
        compartment: &Compartment,
    ) -> Self {
        let Some(threads) = compartment.threads() else {
            return Self::Running {
                future: inner.call(request),
                call,
            };
        };
        let (how, here) = (how.clone(), threads.clone());
        let work = async move {
            let mut call = call;
            match inner.call(request).await {
                // The guard is inside the body, so it is over there that the end is judged.
                Ok(response) => Ok(how.guard(response, call, |body| here.body(body, ()))),
                Err(error) => {
                    call.finish(Outcome::Failure);
                    Err(error)
                }
            }
        };
        Self::Elsewhere(Elsewhere::Remote(threads.spawn(work), compartment.clone()))
    }

    /// Everything but a call that runs right here.
    ///
    /// Apart, and answering by itself: so the usual case is compiled as if there were no other.
    #[cold]
    #[inline(never)]
    fn poll_elsewhere(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        how: &How,
    ) -> Poll<Answer<B, S::Error>> {
        loop {
            let next = match self.as_mut().project() {
                Doing::Running { future, call } => return how.poll_here(future, call, cx),
                Doing::Elsewhere(Elsewhere::Remote(task, compartment)) => {
                    return Poll::Ready(match ready!(Pin::new(task).poll(cx)) {
                        Ok(Ok(response)) => Ok(response.map(ResponseBody::remote)),
                        Ok(Err(error)) => Err(error),
                        // The call told its end over there.
                        Err(lost) => Ok(how.refuse(compartment.rejection(lost.kind()))),
                    });
                }
                Doing::Elsewhere(Elsewhere::Refused(rejection)) => {
                    return rejection.take().map_or(Poll::Pending, |rejection| {
                        Poll::Ready(Ok(how.refuse(rejection)))
                    });
                }
                Doing::Elsewhere(Elsewhere::Waiting(queued, compartment)) => {
                    match ready!(queued.as_mut().poll(cx)) {
                        Ok((call, inner, request)) => {
                            Self::begin(inner, request, call, how, compartment)
                        }
                        Err(rejection) => return Poll::Ready(Ok(how.refuse(rejection))),
                    }
                }
            };
            self.set(next);
        }
    }
}

impl<S, R, B> Future for ResponseFuture<S, R, B>
where
    S: Service<Request<R>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: Send + 'static,
    B: Body<Data: From<Bytes> + Send, Error: Send> + Send + 'static,
{
    type Output = Result<Response<ResponseBody<B>>, S::Error>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut state = this.state;
        match state.as_mut().project() {
            Doing::Running { future, call } => this.how.poll_here(future, call, cx),
            // Through a place of its own, as in `guard`.
            Doing::Elsewhere(_) => match state.poll_elsewhere(cx, this.how) {
                Poll::Ready(Ok(response)) => {
                    let (parts, body) = response.into_parts();
                    Poll::Ready(Ok(Response::from_parts(parts, body)))
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

impl<S, R, B> std::fmt::Debug for ResponseFuture<S, R, B>
where
    S: Service<Request<R>, Response = Response<B>>,
    B: Body,
{
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match &self.state {
            State::Running { .. } => "running",
            State::Elsewhere(Elsewhere::Remote(..)) => "running on the compartment's threads",
            State::Elsewhere(Elsewhere::Waiting(..)) => "waiting",
            State::Elsewhere(Elsewhere::Refused(_)) => "refused",
        };
        f.debug_struct("ResponseFuture")
            .field("state", &state)
            .finish_non_exhaustive()
    }
}
