//! The future of [`Waf`](crate::Waf).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use fusebox_core::{Name, Outcome};
use fusebox_http::{Asked, GuardedBody, Judge, Protocol, Standard};
use http::{Request, Response, StatusCode, Version};
use http_body::Body;
use pin_project::pin_project;
use tower_service::Service;

use crate::answer::Answer;
use crate::arrival::{Arrival, Decided};
use crate::call::{Call, Refused};
use crate::layer::Custom;
use crate::{InspectedBody, ResponseBody, refusal};

/// The future of [`Waf`](crate::Waf): reads and inspects the body if the rules look into it, then waits for the inner service,
/// and inspects its response if that was asked for.
///
/// # Cancel safety
/// Dropped at any point, the call counts as cancelled and nothing of the request is kept. Before the verdict the inner service
/// has not been called.
#[pin_project]
pub struct ResponseFuture<S, R, B>
where
    S: Service<Request<InspectedBody<R>>>,
    R: Body,
    B: Body,
{
    #[pin]
    pub(crate) state: State<S, R, B>,
    pub(crate) how: How,
}

/// What is known of a call besides the request itself.
pub(crate) struct How {
    pub(crate) asked: Asked,
    pub(crate) version: Version,
    pub(crate) policy: Name,
    pub(crate) custom: Option<Arc<Custom>>,
}

#[pin_project(project = Doing)]
pub(crate) enum State<S, R, B>
where
    S: Service<Request<InspectedBody<R>>>,
    R: Body,
    B: Body,
{
    // Boxed, so that a call without a body does not carry its parts about.
    Arriving(Box<Arrival<S, R>>),
    Running {
        #[pin]
        future: S::Future,
        call: Option<Call>,
    },
    Answering(Box<Answer<B>>),
    Refused(Option<Refused>),
}

impl<S, R, B> Future for ResponseFuture<S, R, B>
where
    S: Service<Request<InspectedBody<R>>, Response = Response<B>>,
    R: Body<Data: From<Bytes>>,
    B: Body<Data: From<Bytes>>,
{
    type Output = Result<Response<ResponseBody<B>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut state = this.state;
        loop {
            let next = match state.as_mut().project() {
                Doing::Arriving(arrival) => match ready!(arrival.poll(cx)) {
                    Decided::Refused(refused) => State::Refused(Some(refused)),
                    Decided::Call(mut inner, request, call) => State::Running {
                        future: inner.call(request),
                        call: Some(call),
                    },
                },
                Doing::Running { future, call } => {
                    let result = ready!(future.poll(cx));
                    let Some(mut call) = call.take() else {
                        return Poll::Pending;
                    };
                    let response = match result {
                        Ok(response) => response,
                        Err(error) => {
                            call.finish(Outcome::Failure);
                            return Poll::Ready(Err(error));
                        }
                    };
                    match answered(response, call, this.how) {
                        Next::Done(response, call) => {
                            let response = response.map(InspectedBody::direct);
                            return Poll::Ready(Ok(this.how.wrap(response, call)));
                        }
                        Next::State(next) => next,
                    }
                }
                Doing::Answering(answer) => {
                    return Poll::Ready(Ok(match ready!(answer.poll(cx)) {
                        Ok((response, call)) => this.how.wrap(response, call),
                        Err(refused) => this.how.refuse(refused),
                    }));
                }
                Doing::Refused(refused) => match refused.take() {
                    Some(refused) => return Poll::Ready(Ok(this.how.refuse(refused))),
                    None => return Poll::Pending,
                },
            };
            state.set(next);
        }
    }
}

enum Next<S, R, B>
where
    S: Service<Request<InspectedBody<R>>>,
    R: Body,
    B: Body,
{
    Done(Response<B>, Call),
    State(State<S, R, B>),
}

/// Inspects the head of the response, if that was asked for.
#[inline]
fn answered<S, R, B>(response: Response<B>, mut call: Call, how: &How) -> Next<S, R, B>
where
    S: Service<Request<InspectedBody<R>>>,
    R: Body,
    B: Body<Data: From<Bytes>>,
{
    let Some(exam) = &mut call.exam else {
        return Next::Done(response, call);
    };
    let judge = how.judge(&response);
    // What is a stream in both directions, or another protocol from here on, is nobody's response.
    if how.asked.protocol != Protocol::Http || response.status() == StatusCode::SWITCHING_PROTOCOLS
    {
        let _ = call.settle_answer(None, judge.dropped());
        return Next::Done(response, call);
    }
    let stop = exam.answer_head(&response);
    if stop.is_none()
        && exam.looks_into_answer(&response)
        && let Some(limit) = exam.answer_limit()
    {
        let deadline = exam.limits().response_deadline;
        let answer = Answer::new(response, call, limit, deadline, judge);
        return Next::State(State::Answering(Box::new(answer)));
    }
    match call.settle_answer(stop, judge.dropped()) {
        Some(refused) => Next::State(State::Refused(Some(refused))),
        None => Next::Done(response, call),
    }
}

impl How {
    /// Lets the body of an answer hold the call.
    #[inline]
    fn wrap<B: Body<Data: From<Bytes>>>(
        &self,
        response: Response<InspectedBody<B>>,
        call: Call,
    ) -> Response<ResponseBody<B>> {
        let custom = self.custom.as_ref();
        let classify = custom.and_then(|custom| custom.classify.clone());
        GuardedBody::wrap(response, self.asked, classify, call).map(ResponseBody::admitted)
    }

    /// Looks at the head of an answer, in case it has to be withheld.
    fn judge<B: Body>(&self, response: &Response<B>) -> Judge {
        let length = response.body().size_hint().exact();
        let custom = self.custom.as_ref();
        match custom.and_then(|custom| custom.classify.as_deref()) {
            None => Judge::of(self.asked, response, length, &Standard),
            Some(own) => Judge::of(self.asked, response, length, own),
        }
    }

    #[cold]
    fn refuse<B: Body>(&self, refused: Refused) -> Response<ResponseBody<B>> {
        let respond = self
            .custom
            .as_ref()
            .and_then(|custom| custom.respond.as_ref());
        refusal::response(refused, self, respond).map(ResponseBody::refusal)
    }
}

impl<S, R, B> std::fmt::Debug for ResponseFuture<S, R, B>
where
    S: Service<Request<InspectedBody<R>>>,
    R: Body,
    B: Body,
{
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match &self.state {
            State::Arriving(_) => "inspecting the request",
            State::Running { .. } => "running",
            State::Answering(_) => "inspecting the response",
            State::Refused(_) => "refused",
        };
        f.debug_struct("ResponseFuture")
            .field("state", &state)
            .finish_non_exhaustive()
    }
}
