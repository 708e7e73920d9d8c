use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use fusebox_http::{Asked, GuardedBody, Protocol, retry_after};
use http::{HeaderMap, Response};
use http_body::Body;
use pin_project::pin_project;

use crate::{JudgeError, LooksIntoBoxes, Pass, ResponseBody, layer::HttpPolicy};

/// The response of a [`CircuitBreaker`](crate::CircuitBreaker).
///
/// # Cancel safety
/// Dropping it drops the inner call, which counts as cancelled.
#[pin_project]
pub struct ResponseFuture<F, J = LooksIntoBoxes> {
    #[pin]
    state: State<F>,
    how: How,
    errors: J,
}

/// What is known of a call besides the request itself.
pub(crate) struct How {
    pub(crate) asked: Asked,
    pub(crate) policy: HttpPolicy,
}

#[pin_project(project = StateOf)]
enum State<F> {
    Running {
        // Dropped before the pass: the inner call is over when its end is told.
        #[pin]
        future: F,
        pass: Pass,
    },
    // Boxed, for it is four times as large as a call under way; this is not the admit path.
    Refused(Option<Box<Response<Bytes>>>),
}

type Answer<B, E> = Result<Response<ResponseBody<B>>, E>;

impl<F, J> ResponseFuture<F, J> {
    #[inline(always)]
    pub(crate) const fn running(future: F, pass: Pass, how: How, errors: J) -> Self {
        let state = State::Running { future, pass };
        Self { state, how, errors }
    }

    #[inline(always)]
    pub(crate) const fn refused(response: Box<Response<Bytes>>, how: How, errors: J) -> Self {
        let state = State::Refused(Some(response));
        Self { state, how, errors }
    }
}

impl How {
    #[inline(always)]
    fn poll<F, B, E>(
        &self,
        future: Pin<&mut F>,
        pass: &mut Pass,
        cx: &mut Context<'_>,
        errors: &impl JudgeError<E>,
    ) -> Poll<Answer<B, E>>
    where
        F: Future<Output = Result<Response<B>, E>>,
        B: Body,
    {
        if pass.is_over() {
            return Poll::Pending;
        }
        pass.runs();
        let polled = future.poll(cx);
        pass.returned();
        match polled {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(mut response)) => {
                // The outcome may still be decided by the end. What the head says is enough for a call that may never
                // come to one; only the status, because a reference to the response would keep it in memory.
                let status = response.status();
                pass.answered_so(|| self.policy.may_be_well(status));
                if may_ask_for_time(self.asked, &response) {
                    let headers = std::mem::take(response.headers_mut());
                    let (headers, wish) = wish_in(headers);
                    *response.headers_mut() = headers;
                    pass.asked_for(wish);
                }
                let classify = self.policy.classify();
                let asked = self.policy.asked(self.asked);
                let into = ResponseBody::guarded;
                let guarded = GuardedBody::wrap_into(response, asked, classify, pass.take(), into);
                Poll::Ready(Ok(guarded))
            }
            Poll::Ready(Err(error)) => {
                pass.tell(errors.judge_error(&error));
                Poll::Ready(Err(error))
            }
        }
    }
}

impl<F, J, B, E> Future for ResponseFuture<F, J>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data: From<Bytes>>,
    J: JudgeError<E>,
{
    type Output = Answer<B, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.state.project() {
            StateOf::Running { future, pass } => this.how.poll(future, pass, cx, this.errors),
            StateOf::Refused(response) => match response.take() {
                Some(response) => Poll::Ready(Ok(response.map(ResponseBody::refusal))),
                None => Poll::Pending,
            },
        }
    }
}

/// How long the dependency asked to be left alone.
// The headers there and back, which is rare, and not a reference to them: the compiler would have to keep the response
// where that points to, and move it from there once more for every call.
#[cold]
#[inline(never)]
fn wish_in(headers: HeaderMap) -> (HeaderMap, Option<Duration>) {
    let wish = retry_after(&headers);
    (headers, wish)
}

/// Whether the head is one that says when to come back: an error, or all there is of a gRPC answer.
#[inline]
fn may_ask_for_time<B: Body>(asked: Asked, response: &Response<B>) -> bool {
    response.status().as_u16() >= 400
        || (asked.protocol != Protocol::Http && response.body().is_end_stream())
}

impl<F, J> std::fmt::Debug for ResponseFuture<F, J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match &self.state {
            State::Running { .. } => "running",
            State::Refused(_) => "refused",
        };
        f.debug_struct("ResponseFuture")
            .field("state", &state)
            .finish_non_exhaustive()
    }
}
