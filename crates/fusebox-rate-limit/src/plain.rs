//! The flavour for any `Service<Request>`: requests and responses are opaque, a refusal is an error.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use fusebox_core::{CallError, Outcome, Rejection};
use pin_project::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::call::Call;
use crate::limiter::{Ask, RateLimiter};
use crate::store::{Act, Decision, Key, MemoryStore};
use crate::waiting::Parked;

/// Says under which key a request counts, and at what price.
type AskOf<R> = Arc<dyn Fn(&R) -> Ask<'static> + Send + Sync>;

/// Limits the rate of calls to services of any kind. Made by [`RateLimiter::plain_layer`].
///
/// A call is over when its future is ready or dropped. A refusal is [`CallError::Rejected`]; the inner
/// service's own errors are [`CallError::Inner`]. For clients: with [`max_wait`](crate::Policy::max_wait) a
/// call waits for its turn, so that a server's limit is kept rather than hit.
///
/// ```
/// use std::convert::Infallible;
/// use fusebox_core::CallError;
/// use fusebox_rate_limit::{Policy, Quota, RateLimiter};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// async fn double(number: u32) -> Result<u32, Infallible> {
///     Ok(number * 2)
/// }
///
/// let limiter = RateLimiter::builder("doubling")
///     .policy(Policy::new("burst", Quota::per_hour(1)))
///     .build()?;
/// let service = ServiceBuilder::new().layer(limiter.plain_layer()).service(service_fn(double));
///
/// assert_eq!(service.clone().oneshot(21).await, Ok(42));
/// assert!(matches!(service.oneshot(21).await, Err(CallError::Rejected(_))));
/// # Ok(())
/// # }
/// ```
pub struct PlainRateLimitLayer<R> {
    limiter: RateLimiter,
    ask: AskOf<R>,
}

impl RateLimiter {
    /// A layer that limits calls to services of any kind, all under one key.
    #[must_use]
    pub fn plain_layer<R>(&self) -> PlainRateLimitLayer<R> {
        self.plain_layer_by(|_| Ask::key(Key::SHARED))
    }

    /// A layer that limits calls to services of any kind, each under the key and at the cost that this says.
    #[must_use]
    pub fn plain_layer_by<R>(
        &self,
        ask: impl Fn(&R) -> Ask<'static> + Send + Sync + 'static,
    ) -> PlainRateLimitLayer<R> {
        PlainRateLimitLayer {
            limiter: self.clone(),
            ask: Arc::new(ask),
        }
    }
}

impl<S, R> Layer<S> for PlainRateLimitLayer<R> {
    type Service = PlainRateLimit<S, R>;

    fn layer(&self, inner: S) -> PlainRateLimit<S, R> {
        PlainRateLimit {
            limiter: self.limiter.clone(),
            ask: self.ask.clone(),
            inner,
        }
    }
}

/// A service behind a rate limit. See [`PlainRateLimitLayer`].
pub struct PlainRateLimit<S, R> {
    limiter: RateLimiter,
    ask: AskOf<R>,
    inner: S,
}

impl<S, R> Service<R> for PlainRateLimit<S, R>
where
    S: Service<R> + Clone,
{
    type Response = S::Response;
    type Error = CallError<S::Error>;
    type Future = PlainFuture<S, R>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(CallError::Inner)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let ask = (self.ask)(&request);
        let shared = &self.limiter.shared;
        let at = shared.clock.now();
        let verdict = shared
            .store
            .decide(&shared.question(at, ask, Act::Spend, false));
        let (shadowed, wait) = match verdict.decision {
            // To be made to wait is to be acted on.
            Decision::Admitted { wait } if wait.is_zero() || shared.mode.enforces_next() => {
                (None, wait)
            }
            Decision::Admitted { .. } => (None, Duration::ZERO),
            _ => {
                let rejection = shared.rejection_of(ask.in_tier(), &verdict);
                if shared.mode.enforces_next() {
                    shared.tell_refusal(at, rejection.kind(), true, None, Duration::ZERO);
                    return PlainFuture {
                        state: State::Refused(Some(rejection)),
                    };
                }
                (Some(rejection.kind()), Duration::ZERO)
            }
        };
        // It exists before the inner service is called: a panic in there tells its end.
        let call = match shadowed {
            None => Call::admitted(shared.clone(), at),
            kind => Call::shadowed(shared.clone(), at, kind),
        };
        let state = if wait.is_zero() {
            State::Running {
                future: self.inner.call(request),
                call: Some(call),
            }
        } else {
            let clone = self.inner.clone();
            let ready = std::mem::replace(&mut self.inner, clone);
            let parked = Parked::until(&self.limiter, at + wait, (call, ready, request));
            State::Parked(Box::pin(parked))
        };
        PlainFuture { state }
    }
}

/// The future of [`PlainRateLimit`].
///
/// # Cancel safety
/// Dropped at any point, the call counts as cancelled and its cost, and the turn it waited for, as spent.
#[pin_project]
pub struct PlainFuture<S: Service<R>, R> {
    #[pin]
    state: State<S, R>,
}

#[pin_project(project = Doing)]
enum State<S: Service<R>, R> {
    Running {
        #[pin]
        future: S::Future,
        call: Option<Call<MemoryStore>>,
    },
    Parked(Pin<Box<Parked<S, R, MemoryStore>>>),
    Refused(Option<Rejection>),
}

impl<S: Service<R>, R> Future for PlainFuture<S, R> {
    type Output = Result<S::Response, CallError<S::Error>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                Doing::Running { future, call } => {
                    let result = ready!(future.poll(cx));
                    if let Some(call) = call.take() {
                        call.finish(match result {
                            Ok(_) => Outcome::Success,
                            Err(_) => Outcome::Failure,
                        });
                    }
                    return Poll::Ready(result.map_err(CallError::Inner));
                }
                Doing::Parked(parked) => {
                    let (call, mut inner, request) = ready!(parked.as_mut().poll(cx));
                    State::Running {
                        future: inner.call(request),
                        call: Some(call),
                    }
                }
                Doing::Refused(rejection) => {
                    return match rejection.take() {
                        Some(rejection) => Poll::Ready(Err(CallError::Rejected(rejection))),
                        None => Poll::Pending,
                    };
                }
            };
            state.set(next);
        }
    }
}

impl<R> Clone for PlainRateLimitLayer<R> {
    fn clone(&self) -> Self {
        Self {
            limiter: self.limiter.clone(),
            ask: self.ask.clone(),
        }
    }
}

impl<S: Clone, R> Clone for PlainRateLimit<S, R> {
    fn clone(&self) -> Self {
        Self {
            limiter: self.limiter.clone(),
            ask: self.ask.clone(),
            inner: self.inner.clone(),
        }
    }
}

impl<R> std::fmt::Debug for PlainRateLimitLayer<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlainRateLimitLayer")
            .field("limiter", &self.limiter)
            .finish_non_exhaustive()
    }
}

impl<S: std::fmt::Debug, R> std::fmt::Debug for PlainRateLimit<S, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlainRateLimit")
            .field("limiter", &self.limiter)
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl<S: Service<R>, R> std::fmt::Debug for PlainFuture<S, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlainFuture").finish_non_exhaustive()
    }
}
