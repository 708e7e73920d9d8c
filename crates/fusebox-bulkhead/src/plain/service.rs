use std::{
    marker::PhantomData,
    task::{Context, Poll},
};

use fusebox_core::CallError;
use tower_service::Service;

use super::{
    future::{Elsewhere, ResponseFuture, State},
    place::{Anywhere, Local, Place},
};
use crate::{Compartment, Everyone, Key, KeyOf, Whose, shared::Admission, waiting::Queued};

/// A service in a compartment. See [`PlainBulkheadLayer`](crate::PlainBulkheadLayer).
pub struct PlainBulkhead<S, K = Everyone, W = Anywhere> {
    pub(super) compartment: Compartment,
    pub(super) inner: S,
    pub(super) key: K,
    pub(super) place: PhantomData<fn() -> W>,
}

impl<S: Clone, K: Clone, W> Clone for PlainBulkhead<S, K, W> {
    fn clone(&self) -> Self {
        Self {
            compartment: self.compartment.clone(),
            inner: self.inner.clone(),
            key: self.key.clone(),
            place: PhantomData,
        }
    }
}

impl<S, K, R> Service<R> for PlainBulkhead<S, K, Anywhere>
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
        self.call_at(request)
    }
}

impl<S, K, R> Service<R> for PlainBulkhead<S, K, Local>
where
    K: KeyOf<R>,
    S: Service<R> + Clone,
{
    type Response = S::Response;
    type Error = CallError<S::Error>;
    type Future = ResponseFuture<S, R, Local>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(CallError::Inner)
    }

    #[inline]
    fn call(&mut self, request: R) -> Self::Future {
        self.call_at(request)
    }
}

impl<S, K, W> PlainBulkhead<S, K, W> {
    #[inline(always)]
    fn call_at<R>(&mut self, request: R) -> ResponseFuture<S, R, W>
    where
        K: KeyOf<R>,
        S: Service<R> + Clone,
        W: Place<S, R>,
    {
        match self.key.whose(&request) {
            Whose::Anybodys => {}
            Whose::Of(key) => return self.call_as(Some(key), request),
            Whose::Unknown => return self.call_as(None, request),
        }
        if W::MAY_BE_ELSEWHERE && self.compartment.threads().is_some() {
            return self.call_over_there(request);
        }
        match self.compartment.enter() {
            // Put together here, whole: it is not moved again.
            Some(call) => ResponseFuture {
                state: State::Running {
                    // The call exists before the inner service is called: a panic in there gives the slot back.
                    future: self.inner.call(request),
                    call,
                },
                place: PhantomData,
            },
            None => self.call_without_a_slot(request),
        }
    }

    // The calls that do not simply run right here, each compiled apart from those that do.

    /// On the threads of the compartment.
    #[inline(never)]
    fn call_over_there<R>(&mut self, request: R) -> ResponseFuture<S, R, W>
    where
        S: Service<R> + Clone,
        W: Place<S, R>,
    {
        match self.compartment.enter() {
            Some(call) => W::begin(&mut self.inner, request, call, &self.compartment).into(),
            None => self.call_without_a_slot(request),
        }
    }

    /// Wait, refuse, or let through in shadow mode.
    #[cold]
    #[inline(never)]
    fn call_without_a_slot<R>(&mut self, request: R) -> ResponseFuture<S, R, W>
    where
        S: Service<R> + Clone,
        W: Place<S, R>,
    {
        let admission = self.compartment.without_a_slot();
        self.go_on(admission, request)
    }

    /// As one of its key's; `None` is nobody's.
    #[inline(never)]
    fn call_as<R>(&mut self, key: Option<Key>, request: R) -> ResponseFuture<S, R, W>
    where
        S: Service<R> + Clone,
        W: Place<S, R>,
    {
        let admission = self.compartment.enter_as(key);
        self.go_on(admission, request)
    }

    fn go_on<R>(&mut self, admission: Admission, request: R) -> ResponseFuture<S, R, W>
    where
        S: Service<R> + Clone,
        W: Place<S, R>,
    {
        let state: State<S, R> = match admission {
            Admission::Refused(rejection) => Elsewhere::Refused(Some(rejection)).into(),
            Admission::Admitted(call) => {
                W::begin(&mut self.inner, request, call, &self.compartment)
            }
            Admission::Queued(waiting) => {
                // The instance that is ready waits; the next caller gets a clone, which has to become ready itself.
                let clone = self.inner.clone();
                let inner = std::mem::replace(&mut self.inner, clone);
                let queued = Queued::new(waiting, inner, request);
                Elsewhere::Waiting(Box::pin(queued), self.compartment.clone()).into()
            }
        };
        state.into()
    }
}

impl<S: std::fmt::Debug, K, W> std::fmt::Debug for PlainBulkhead<S, K, W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlainBulkhead")
            .field("compartment", &self.compartment)
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
