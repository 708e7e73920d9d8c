use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use fusebox_core::Outcome;
use fusebox_http::{Asked, Classify, GuardedBody, Protocol, retry_after};
use http::Response;
use http_body::Body;
use pin_project::pin_project;

use crate::{Pass, ResponseBody};

/// The response of a [`CircuitBreaker`](crate::CircuitBreaker).
///
/// # Cancel safety
/// Dropping it drops the inner call, which counts as cancelled.
#[pin_project]
pub struct ResponseFuture<F> {
    #[pin]
    state: State<F>,
}

#[pin_project(project = StateOf)]
enum State<F> {
    Running {
        #[pin]
        future: F,
        /// `None` once the body has it.
        pass: Option<Pass>,
        asked: Asked,
        classify: Option<Arc<dyn Classify>>,
    },
    // Boxed, for it is four times as large as a call under way; this is not the admit path.
    Refused(Option<Box<Response<Bytes>>>),
}

impl<F> ResponseFuture<F> {
    #[inline]
    pub(crate) const fn running(
        future: F,
        pass: Pass,
        asked: Asked,
        classify: Option<Arc<dyn Classify>>,
    ) -> Self {
        Self {
            state: State::Running {
                future,
                pass: Some(pass),
                asked,
                classify,
            },
        }
    }

    pub(crate) fn refused(response: Response<Bytes>) -> Self {
        Self {
            state: State::Refused(Some(Box::new(response))),
        }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data: From<Bytes>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateOf::Running {
                future,
                pass,
                asked,
                classify,
            } => {
                if let Some(pass) = pass {
                    pass.runs();
                }
                let polled = future.poll(cx);
                if let Some(pass) = pass {
                    pass.returned();
                }
                let result = ready!(polled);
                // Taken at the first answer; who polls again after that gets what the inner future says.
                let Some(mut pass) = pass.take() else {
                    return Poll::Pending;
                };
                match result {
                    Ok(response) => {
                        pass.answered();
                        if may_ask_for_time(*asked, &response) {
                            pass.asked_for(retry_after(response.headers()));
                        }
                        let guarded = GuardedBody::wrap(response, *asked, classify.take(), pass);
                        Poll::Ready(Ok(guarded.map(ResponseBody::guarded)))
                    }
                    Err(error) => {
                        pass.end(Outcome::Failure);
                        Poll::Ready(Err(error))
                    }
                }
            }
            StateOf::Refused(response) => match response.take() {
                Some(response) => Poll::Ready(Ok(response.map(ResponseBody::refusal))),
                None => Poll::Pending,
            },
        }
    }
}

/// Whether the head is one that says when to come back: an error, or all there is of a gRPC answer.
#[inline]
fn may_ask_for_time<B: Body>(asked: Asked, response: &Response<B>) -> bool {
    response.status().as_u16() >= 400
        || (asked.protocol != Protocol::Http && response.body().is_end_stream())
}

impl<F> std::fmt::Debug for ResponseFuture<F> {
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
