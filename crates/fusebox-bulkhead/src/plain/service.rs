use std::task::{Context, Poll};

use fusebox_core::CallError;
use tower_service::Service;

use crate::{
    Compartment, Everyone, Key, KeyOf, Whose,
    plain::future::{Elsewhere, ResponseFuture, State},
    shared::Admission,
    waiting::Queued,
};

/// A service in a compartment. See [`PlainBulkheadLayer`](crate::PlainBulkheadLayer).
#[derive(Clone)]
pub struct PlainBulkhead<S, K = Everyone> {
    pub(super) compartment: Compartment,
    pub(super) inner: S,
    pub(super) key: K,
}

impl<S, K, R> Service<R> for PlainBulkhead<S, K>
where
    K: KeyOf<R>,
    S: Service<R> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
    R: Send + 'static,
{
    type Response = S::Response;
    type Error = CallError<S::Error>;
    type Future = ResponseFuture<S, R>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(CallError::Inner)
    }

    #[inline]
    fn call(&mut self, request: R) -> Self::Future {
        match self.key.whose(&request) {
            Whose::Anybodys => {}
            Whose::Of(key) => return self.call_as(Some(key), request),
            Whose::Unknown => return self.call_as(None, request),
        }
        if self.compartment.threads().is_some() {
            return self.call_over_there(request);
        }
        match self.compartment.enter() {
            // The call exists before the inner service is called: a panic in there gives the slot back.
            Some(call) => ResponseFuture {
                state: State::Running {
                    future: self.inner.call(request),
                    call,
                },
            },
            None => self.call_without_a_slot(request),
        }
    }
}

/// The calls that do not simply run right here, each compiled apart from those that do.
///
/// A trait, so that the bounds of all of them are said once.
trait Aside<R> {
    type Future;

    /// On the threads of the compartment.
    fn call_over_there(&mut self, request: R) -> Self::Future;

    /// Wait, refuse, or let through in shadow mode.
    fn call_without_a_slot(&mut self, request: R) -> Self::Future;

    /// As one of its key's; `None` is nobody's.
    fn call_as(&mut self, key: Option<Key>, request: R) -> Self::Future;

    fn go_on(&mut self, admission: Admission, request: R) -> Self::Future;
}

impl<S, K, R> Aside<R> for PlainBulkhead<S, K>
where
    S: Service<R> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
    R: Send + 'static,
{
    type Future = ResponseFuture<S, R>;

    #[inline(never)]
    fn call_over_there(&mut self, request: R) -> Self::Future {
        match self.compartment.enter() {
            Some(call) => State::begin(self.ready_one(), request, call, &self.compartment).into(),
            None => self.call_without_a_slot(request),
        }
    }

    #[cold]
    #[inline(never)]
    fn call_without_a_slot(&mut self, request: R) -> Self::Future {
        let admission = self.compartment.without_a_slot();
        self.go_on(admission, request)
    }

    #[inline(never)]
    fn call_as(&mut self, key: Option<Key>, request: R) -> Self::Future {
        let admission = self.compartment.enter_as(key);
        self.go_on(admission, request)
    }

    fn go_on(&mut self, admission: Admission, request: R) -> Self::Future {
        let state: State<S, R> = match admission {
            Admission::Refused(rejection) => Elsewhere::Refused(Some(rejection)).into(),
            Admission::Admitted(call) => {
                State::begin(self.ready_one(), request, call, &self.compartment)
            }
            Admission::Queued(waiting) => {
                let queued = Queued::new(waiting, self.ready_one(), request);
                Elsewhere::Waiting(Box::pin(queued), self.compartment.clone()).into()
            }
        };
        state.into()
    }
}

impl<S: Clone, K> PlainBulkhead<S, K> {
    /// The instance that is ready; the next caller gets a clone, which has to become ready itself.
    fn ready_one(&mut self) -> S {
        let clone = self.inner.clone();
        std::mem::replace(&mut self.inner, clone)
    }
}

impl<S: std::fmt::Debug, K> std::fmt::Debug for PlainBulkhead<S, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlainBulkhead")
            .field("compartment", &self.compartment)
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
