use std::{
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use fusebox_http::Asked;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::{
    Compartment, Everyone, Key, KeyOf, ResponseBody, Whose,
    future::{Elsewhere, How, ResponseFuture, State},
    layer::Custom,
    shared::Admission,
    waiting::Queued,
};

/// An HTTP service in a compartment. See [`BulkheadLayer`](crate::BulkheadLayer).
#[derive(Clone)]
pub struct Bulkhead<S, K = Everyone> {
    pub(crate) inner: S,
    pub(crate) compartment: Compartment,
    pub(crate) custom: Option<Arc<Custom>>,
    pub(crate) key: K,
}

impl<S, K, R, B> Service<Request<R>> for Bulkhead<S, K>
where
    K: KeyOf<Request<R>>,
    S: Service<Request<R>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: Send + 'static,
    B: Body<Data: From<Bytes> + Send, Error: Send> + Send + 'static,
{
    type Response = Response<ResponseBody<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, R, B>;

    #[inline(always)]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline(always)]
    fn call(&mut self, request: Request<R>) -> Self::Future {
        let how = How {
            asked: Asked::by(&request),
            hold_until: self.compartment.hold_until(),
            custom: self.custom.clone(),
        };
        match self.key.whose(&request) {
            Whose::Anybodys => {}
            Whose::Of(key) => return self.call_as(Some(key), request, how),
            Whose::Unknown => return self.call_as(None, request, how),
        }
        if self.compartment.threads().is_some() {
            return self.call_over_there(request, how);
        }
        match self.compartment.enter() {
            // The call exists before the inner service is called: a panic in there gives the slot back.
            Some(call) => ResponseFuture {
                state: State::Running {
                    future: self.inner.call(request),
                    call,
                },
                how,
            },
            None => self.call_without_a_slot(request, how),
        }
    }
}

/// The calls that do not simply run right here, each compiled apart from those that do.
///
/// A trait, so that the bounds of all of them are said once.
trait Aside<R> {
    type Future;

    /// On the threads of the compartment.
    fn call_over_there(&mut self, request: R, how: How) -> Self::Future;

    /// Wait, refuse, or let through in shadow mode.
    fn call_without_a_slot(&mut self, request: R, how: How) -> Self::Future;

    /// As one of its key's; `None` is nobody's.
    fn call_as(&mut self, key: Option<Key>, request: R, how: How) -> Self::Future;

    fn go_on(&mut self, admission: Admission, request: R, how: How) -> Self::Future;
}

impl<S, K, R, B> Aside<Request<R>> for Bulkhead<S, K>
where
    S: Service<Request<R>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: Send + 'static,
    B: Body<Data: From<Bytes> + Send, Error: Send> + Send + 'static,
{
    type Future = ResponseFuture<S, R, B>;

    #[inline(never)]
    fn call_over_there(&mut self, request: Request<R>, how: How) -> Self::Future {
        match self.compartment.enter() {
            Some(call) => {
                let inner = self.ready_one();
                let state = State::begin(inner, request, call, &how, &self.compartment);
                ResponseFuture { state, how }
            }
            None => self.call_without_a_slot(request, how),
        }
    }

    #[cold]
    #[inline(never)]
    fn call_without_a_slot(&mut self, request: Request<R>, how: How) -> Self::Future {
        let admission = self.compartment.without_a_slot();
        self.go_on(admission, request, how)
    }

    #[inline(never)]
    fn call_as(&mut self, key: Option<Key>, request: Request<R>, how: How) -> Self::Future {
        let admission = self.compartment.enter_as(key);
        self.go_on(admission, request, how)
    }

    fn go_on(&mut self, admission: Admission, request: Request<R>, how: How) -> Self::Future {
        let state = match admission {
            Admission::Refused(rejection) => State::Elsewhere(Elsewhere::Refused(Some(rejection))),
            Admission::Admitted(call) => {
                let inner = self.ready_one();
                State::begin(inner, request, call, &how, &self.compartment)
            }
            Admission::Queued(waiting) => {
                let queued = Queued::new(waiting, self.ready_one(), request);
                State::Elsewhere(Elsewhere::Waiting(
                    Box::pin(queued),
                    self.compartment.clone(),
                ))
            }
        };
        ResponseFuture { state, how }
    }
}

impl<S: Clone, K> Bulkhead<S, K> {
    /// The instance that is ready; the next caller gets a clone, which has to become ready itself.
    fn ready_one(&mut self) -> S {
        let clone = self.inner.clone();
        std::mem::replace(&mut self.inner, clone)
    }
}

impl<S: std::fmt::Debug, K> std::fmt::Debug for Bulkhead<S, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bulkhead")
            .field("inner", &self.inner)
            .field("compartment", &self.compartment)
            .field("custom", &self.custom)
            .finish_non_exhaustive()
    }
}
