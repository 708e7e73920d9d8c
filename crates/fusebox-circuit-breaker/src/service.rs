use std::task::{Context, Poll};

use bytes::Bytes;
use fusebox_core::Rejection;
use fusebox_http::{Asked, Respond, refusal};
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::{
    Breaker, JudgeError, LooksIntoBoxes, Pass, ResponseBody, ResponseFuture, breaker::Admission,
    future::How, layer::HttpPolicy, readiness::Readiness,
};

/// The service made by [`CircuitBreakerLayer`](crate::CircuitBreakerLayer).
///
/// While the circuit is open it is ready at once, whatever the inner service says: an answer that has
/// to wait for a dependency that is down is no fast failure. Those who wait for the inner service when it opens
/// are told at once, and so is everybody a half-open circuit has no place for. Only who is to be a probe waits, in
/// its place, which it gives back when it is dropped. An inner service that fails instead of getting ready has failed
/// a call. In [`Shadow`](fusebox_core::Mode::Shadow), or where only a share of the calls is refused, it is ready when
/// the inner service is: a call may then be made in spite of the verdict.
#[derive(Debug)]
pub struct CircuitBreaker<S, J = LooksIntoBoxes> {
    inner: S,
    breaker: Breaker,
    policy: HttpPolicy,
    errors: J,
    readiness: Readiness,
}

impl<S, J> CircuitBreaker<S, J> {
    pub(crate) const fn new(inner: S, breaker: Breaker, policy: HttpPolicy, errors: J) -> Self {
        Self {
            inner,
            breaker,
            policy,
            errors,
            readiness: Readiness::new(),
        }
    }
}

impl<S: Clone, J: Clone> Clone for CircuitBreaker<S, J> {
    fn clone(&self) -> Self {
        // Readiness is the instance's own.
        Self::new(
            self.inner.clone(),
            self.breaker.clone(),
            self.policy.clone(),
            self.errors.clone(),
        )
    }
}

impl<S, J, ReqBody, ResBody> Service<Request<ReqBody>> for CircuitBreaker<S, J>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body<Data: From<Bytes>>,
    J: JudgeError<S::Error> + Clone,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, J>;

    #[inline(always)]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let (inner, errors) = (&mut self.inner, &self.errors);
        let judge = |error: &S::Error| errors.judge_error(error);
        self.readiness
            .poll(&self.breaker, cx, |cx| inner.poll_ready(cx), judge)
    }

    #[inline(always)]
    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let how = How {
            asked: Asked::by(&request),
            policy: self.policy.clone(),
        };
        // Not `admit_then`: a request is larger than a pass, and would be moved into the closure.
        let errors = self.errors.clone();
        match self.readiness.admit(&self.breaker) {
            Admission::Passed(pass) => begin(pass, &mut self.inner, request, how, errors),
            Admission::Refused(rejection) => {
                let response = refuse(rejection, how.asked, how.policy.respond());
                ResponseFuture::refused(response, how, errors)
            }
        }
    }
}

/// Makes the call.
#[inline(always)]
pub(crate) fn begin<S, R, J>(
    pass: Pass,
    inner: &mut S,
    request: Request<R>,
    how: How,
    errors: J,
) -> ResponseFuture<S::Future, J>
where
    S: Service<Request<R>>,
{
    let mut pass = pass.watching();
    let future = inner.call(request);
    pass.returned();
    ResponseFuture::running(future, pass, how, errors)
}

/// Answers instead of making the call.
#[cold]
#[inline(never)]
pub(crate) fn refuse(
    rejection: Rejection,
    asked: Asked,
    respond: Option<&dyn Respond>,
) -> Box<Response<Bytes>> {
    Box::new(refusal(rejection, asked.protocol, respond))
}
