//! The flavour for any `Service<Request>`: requests and responses are opaque, a refusal is an error.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use fusebox_core::{CallError, Rejection};
use pin_project::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    Compartment, ConfigError, Everyone, Key, KeyOf, Whose, call::Call, compartment::outcome,
    shared::Admission, threads::Task, waiting::Queued,
};

/// Puts services of any kind into a compartment. Made by [`Compartment::plain_layer`].
///
/// A call is over when its future is ready or dropped. A refusal is [`CallError::Rejected`]; the inner
/// service's own errors are [`CallError::Inner`].
///
/// ```
/// use std::convert::Infallible;
/// use fusebox_bulkhead::Compartment;
/// use fusebox_core::CallError;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// async fn double(number: u32) -> Result<u32, Infallible> {
///     Ok(number * 2)
/// }
///
/// let reports = Compartment::builder("reports").slots(1).build()?;
/// let service = ServiceBuilder::new().layer(reports.plain_layer()).service(service_fn(double));
///
/// assert_eq!(service.clone().oneshot(21).await, Ok(42));
///
/// let taken = reports.try_acquire()?;
/// assert!(matches!(service.oneshot(21).await, Err(CallError::Rejected(_))));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PlainBulkheadLayer<K = Everyone> {
    compartment: Compartment,
    key: K,
    keyed: bool,
}

impl Compartment {
    /// A layer that puts services of any kind into this compartment.
    #[must_use]
    pub fn plain_layer(&self) -> PlainBulkheadLayer {
        PlainBulkheadLayer {
            compartment: self.clone(),
            key: Everyone,
            keyed: false,
        }
    }
}

impl<K> PlainBulkheadLayer<K> {
    /// Says whose a request is, so that nobody holds more than
    /// [`slots_per_key`](crate::CompartmentBuilder::slots_per_key).
    ///
    /// # Errors
    /// [`ConfigError::Without`] when the compartment is not divided.
    pub fn by_key<F>(self, key: F) -> Result<PlainBulkheadLayer<F>, ConfigError> {
        if !self.compartment.has_shares() {
            return Err(ConfigError::Without {
                field: "by_key",
                needs: "slots_per_key",
            });
        }
        Ok(PlainBulkheadLayer {
            compartment: self.compartment,
            key,
            keyed: true,
        })
    }
}

impl<S, K: Clone> Layer<S> for PlainBulkheadLayer<K> {
    type Service = PlainBulkhead<S, K>;

    fn layer(&self, inner: S) -> PlainBulkhead<S, K> {
        if !self.keyed {
            self.compartment.is_used_without_keys();
        }
        PlainBulkhead {
            compartment: self.compartment.clone(),
            inner,
            key: self.key.clone(),
        }
    }
}

impl<K> std::fmt::Debug for PlainBulkheadLayer<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlainBulkheadLayer")
            .field("compartment", &self.compartment)
            .finish_non_exhaustive()
    }
}

/// A service in a compartment. See [`PlainBulkheadLayer`].
#[derive(Clone)]
pub struct PlainBulkhead<S, K = Everyone> {
    compartment: Compartment,
    inner: S,
    key: K,
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

/// The future of [`PlainBulkhead`] and of [`Backpressure`](crate::Backpressure).
///
/// # Cancel safety
/// Dropped at any point it gives back its slot or its place in the queue, and the call counts as
/// cancelled. In a compartment with threads the work over there is dropped at its next await.
#[pin_project]
pub struct ResponseFuture<S: Service<R>, R> {
    #[pin]
    pub(crate) state: State<S, R>,
}

impl<S: Service<R>, R> From<State<S, R>> for ResponseFuture<S, R> {
    fn from(state: State<S, R>) -> Self {
        Self { state }
    }
}

type Answer<S, R> = Result<<S as Service<R>>::Response, CallError<<S as Service<R>>::Error>>;

#[pin_project(project = Doing)]
pub(crate) enum State<S: Service<R>, R> {
    Running {
        // Dropped before the call: the slot is free when the work is gone.
        #[pin]
        future: S::Future,
        call: Call,
    },
    Elsewhere(Elsewhere<S, R>),
}

/// Where a call is that does not run right here.
pub(crate) enum Elsewhere<S: Service<R>, R> {
    /// On the threads of the compartment.
    Remote(Task<Result<S::Response, S::Error>>, Compartment),
    // Boxed, so that a call that need not wait does not carry a timer about.
    Waiting(Pin<Box<Queued<S, R>>>, Compartment),
    Refused(Option<Rejection>),
}

impl<S: Service<R>, R> From<Elsewhere<S, R>> for State<S, R> {
    #[inline]
    fn from(elsewhere: Elsewhere<S, R>) -> Self {
        Self::Elsewhere(elsewhere)
    }
}

impl<S, R> State<S, R>
where
    S: Service<R> + Send + 'static,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
    R: Send + 'static,
{
    /// Makes an admitted call where the compartment wants it made.
    pub(crate) fn begin(
        mut inner: S,
        request: R,
        mut call: Call,
        compartment: &Compartment,
    ) -> Self {
        let Some(threads) = compartment.threads() else {
            return Self::Running {
                future: inner.call(request),
                call,
            };
        };
        let work = async move {
            let result = inner.call(request).await;
            call.finish(outcome(&result));
            result
        };
        Elsewhere::Remote(threads.spawn(work), compartment.clone()).into()
    }

    /// Everything but a call that runs right here.
    ///
    /// Apart, and answering by itself: so the usual case is compiled as if there were no other.
    #[cold]
    #[inline(never)]
    fn poll_elsewhere(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer<S, R>> {
        loop {
            let next = match self.as_mut().project() {
                Doing::Running { future, call } => return poll_here(future, call, cx),
                Doing::Elsewhere(Elsewhere::Remote(task, compartment)) => {
                    return Poll::Ready(match ready!(Pin::new(task).poll(cx)) {
                        Ok(result) => result.map_err(CallError::Inner),
                        // The call told its end over there.
                        Err(lost) => Err(CallError::Rejected(compartment.rejection(lost.kind()))),
                    });
                }
                Doing::Elsewhere(Elsewhere::Refused(rejection)) => {
                    return refused(rejection);
                }
                Doing::Elsewhere(Elsewhere::Waiting(queued, compartment)) => {
                    let (call, inner, request) = ready!(queued.as_mut().poll(cx))?;
                    Self::begin(inner, request, call, compartment)
                }
            };
            self.set(next);
        }
    }
}

/// The answer to a call that was refused; after that it is pending for ever.
#[inline]
fn refused<T, E>(rejection: &mut Option<Rejection>) -> Poll<Result<T, CallError<E>>> {
    rejection.take().map_or(Poll::Pending, |rejection| {
        Poll::Ready(Err(CallError::Rejected(rejection)))
    })
}

/// A call that runs right here.
#[inline(always)]
fn poll_here<F, T, E>(
    future: Pin<&mut F>,
    call: &mut Call,
    cx: &mut Context<'_>,
) -> Poll<Result<T, CallError<E>>>
where
    F: Future<Output = Result<T, E>>,
{
    let result = ready!(future.poll(cx));
    call.finish(outcome(&result));
    Poll::Ready(match result {
        Ok(response) => Ok(response),
        Err(error) => Err(CallError::Inner(error)),
    })
}

impl<S, R> Future for ResponseFuture<S, R>
where
    S: Service<R> + Send + 'static,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
    R: Send + 'static,
{
    type Output = Result<S::Response, CallError<S::Error>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        match state.as_mut().project() {
            Doing::Running { future, call } => poll_here(future, call, cx),
            // Under attack this is the usual case.
            Doing::Elsewhere(Elsewhere::Refused(rejection)) => refused(rejection),
            Doing::Elsewhere(_) => state.poll_elsewhere(cx),
        }
    }
}

impl<S: Service<R>, R> std::fmt::Debug for ResponseFuture<S, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match &self.state {
            State::Running { .. } => "running",
            State::Elsewhere(Elsewhere::Remote(..)) => "running on the compartment's threads",
            State::Elsewhere(Elsewhere::Waiting(..)) => "waiting",
            State::Elsewhere(Elsewhere::Refused(_)) => "refused",
        };
        f.debug_struct("ResponseFuture")
            .field("state", &state)
            .finish()
    }
}
