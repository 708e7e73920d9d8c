use std::{
    mem::ManuallyDrop,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use fusebox_core::Outcome;
use fusebox_http::{Asked, Classify, GuardedBody, Protocol, Standard, retry_after};
use http::{Response, StatusCode};
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
            Poll::Ready(Ok(response)) => {
                // The outcome may still be decided by the end. What the head says is enough for a call that may never
                // come to one.
                let status = response.status();
                let own = self.policy.is_own();
                // Not dropped if that panics: a way on which it would be, would keep it in memory. It cannot panic, for
                // a classification of the user's own is asked elsewhere.
                let response = ManuallyDrop::new(response);
                if !own {
                    pass.answered_so(|| is_usually_well(status));
                }
                let response = ManuallyDrop::into_inner(response);
                let pass = pass.take();
                if own || may_ask_for_time(self.asked, &response) {
                    // There and back through places of its own, as [`GuardedBody::wrap_into`] does and says why.
                    let (parts, body) = response.into_parts();
                    let copy = Response::from_parts(parts, body);
                    let (parts, body) = self.guard_otherwise(pass, copy).into_parts();
                    return Poll::Ready(Ok(Response::from_parts(parts, body)));
                }
                let asked = self.policy.asked(self.asked);
                let guarded = GuardedBody::wrap_into(response, asked, pass, ResponseBody::guarded);
                Poll::Ready(Ok(guarded))
            }
            Poll::Ready(Err(error)) => {
                pass.tell(errors.judge_error(&error));
                Poll::Ready(Err(error))
            }
        }
    }
}

impl How {
    /// An answer that may say when to come back, or that is judged by a classification of the user's own.
    #[inline(never)]
    fn guard_otherwise<B: Body>(
        &self,
        mut pass: Pass,
        // Dropped before the pass, should a classification of the user's own panic.
        response: Response<B>,
    ) -> Response<ResponseBody<B>> {
        if self.policy.is_own() {
            pass.answered_so(|| self.policy.may_be_well(response.status()));
        }
        if may_ask_for_time(self.asked, &response) {
            pass.asked_for(retry_after(response.headers()));
        }
        let (asked, classify) = (self.policy.asked(self.asked), self.policy.classify());
        GuardedBody::wrap(response, asked, classify, pass).map(ResponseBody::guarded)
    }
}

impl<F, J, B, E> Future for ResponseFuture<F, J>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data: From<Bytes>>,
    J: JudgeError<E>,
{
    type Output = Answer<B, E>;

    #[inline(always)]
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

/// Whether the head with this status may be that of a success, by the usual classification.
fn is_usually_well(status: StatusCode) -> bool {
    Standard.http(status) == Outcome::Success
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
