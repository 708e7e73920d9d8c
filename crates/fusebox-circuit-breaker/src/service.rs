use std::task::{Context, Poll};

use bytes::Bytes;
use fusebox_core::Rejection;
use fusebox_http::{Asked, Respond, refusal};
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::{
    Breaker, Pass, ResponseBody, ResponseFuture, breaker::Admission, future::How,
    layer::HttpPolicy, readiness::Readiness,
};

/// The service made by [`CircuitBreakerLayer`](crate::CircuitBreakerLayer).
///
/// While the circuit is open it is ready at once, whatever the inner service says: an answer that has
/// to wait for a dependency that is down is no fast failure.
#[derive(Debug)]
pub struct CircuitBreaker<S> {
    inner: S,
    breaker: Breaker,
    policy: HttpPolicy,
    readiness: Readiness,
}

impl<S> CircuitBreaker<S> {
    pub(crate) const fn new(inner: S, breaker: Breaker, policy: HttpPolicy) -> Self {
        Self {
            inner,
            breaker,
            policy,
            readiness: Readiness::new(),
        }
    }
}

impl<S: Clone> Clone for CircuitBreaker<S> {
    fn clone(&self) -> Self {
        // Readiness is the instance's own.
        Self::new(
            self.inner.clone(),
            self.breaker.clone(),
            self.policy.clone(),
        )
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for CircuitBreaker<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body<Data: From<Bytes>>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let inner = &mut self.inner;
        self.readiness.poll(&self.breaker, || inner.poll_ready(cx))
    }

    #[inline]
    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let how = How {
            asked: Asked::by(&request),
            policy: self.policy.clone(),
        };
        // Not `admit_then`: a request is larger than a pass, and would be moved into the closure.
        match self.readiness.admit(&self.breaker) {
            Admission::Passed(pass) => begin(pass, &mut self.inner, request, how),
            Admission::Refused(rejection) => {
                let response = refuse(rejection, how.asked, how.policy.respond());
                ResponseFuture::refused(response, how)
            }
        }
    }
}

/// Makes the call.
#[inline(always)]
pub(crate) fn begin<S, R>(
    pass: Pass,
    inner: &mut S,
    request: Request<R>,
    how: How,
) -> ResponseFuture<S::Future>
where
    S: Service<Request<R>>,
{
    let mut pass = pass.watching();
    let future = inner.call(request);
    pass.returned();
    ResponseFuture::running(future, pass, how)
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
