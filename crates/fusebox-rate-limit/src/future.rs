//! The future of [`RateLimit`](crate::RateLimit).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use fusebox_core::{Outcome, Rejection};
use fusebox_http::{Asked, GuardedBody};
use http::Response;
use http_body::Body;
use pin_project::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower_service::Service;

use crate::Tier;
use crate::body::ResponseBody;
use crate::call::Call;
use crate::layer::Rules;
use crate::limiter::RateLimiter;
use crate::refusal;
use crate::service::{Charge, Fate, Standings};
use crate::store::{MemoryStore, QuotaStore};

/// The future of [`RateLimit`](crate::RateLimit): asks the store and waits for its turn if it must,
/// then waits for the inner service.
///
/// # Cancel safety
/// Dropped at any point, the call counts as cancelled. What it has paid is settled as for any other end:
/// without a rule it stays paid, as the turn does for which it waited.
#[pin_project]
pub struct ResponseFuture<S, R, St = MemoryStore>
where
    S: Service<R>,
    St: QuotaStore,
{
    #[pin]
    pub(crate) state: State<S, R, St>,
    pub(crate) how: How,
    /// Only where something is left to be decided or told.
    pub(crate) rules: Option<(RateLimiter<St>, Arc<Rules>)>,
}

/// What is known of a call besides the request itself.
#[derive(Debug)]
pub(crate) struct How {
    pub(crate) asked: Asked,
    pub(crate) standings: Standings,
}

/// A refusal that is not an answer yet.
pub(crate) struct Refused {
    pub(crate) rejection: Rejection,
    pub(crate) violated: u8,
    pub(crate) tier: Tier,
}

/// A question that is not answered yet, and what is to be called then.
pub(crate) type Asking<S, R, St> = (<St as QuotaStore>::Later, Charge, Option<(S, R)>);

#[pin_project(project = Doing)]
pub(crate) enum State<S, R, St>
where
    S: Service<R>,
    St: QuotaStore,
{
    Running {
        #[pin]
        future: S::Future,
        call: Option<Call<St>>,
    },
    Exempt(#[pin] S::Future),
    // Boxed, so that a call that need not wait carries neither a timer nor the request about.
    Parked(Pin<Box<Parked<S, R, St>>>),
    Asking(Box<Asking<S, R, St>>),
    Refused(Option<Refused>),
}

/// A call that waits for its turn.
#[pin_project]
pub(crate) struct Parked<S, R, St: QuotaStore> {
    #[pin]
    timer: Sleep,
    wait: Duration,
    next: Option<(Call<St>, S, R)>,
}

impl<S, R, St: QuotaStore> Parked<S, R, St> {
    pub(crate) fn until(
        start: Instant,
        wait: Duration,
        call: Call<St>,
        inner: S,
        request: R,
    ) -> Self {
        Self {
            timer: sleep_until(start),
            wait,
            next: Some((call, inner, request)),
        }
    }
}

impl<S, R, St: QuotaStore> Future for Parked<S, R, St> {
    type Output = (Call<St>, S, R);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        ready!(this.timer.poll(cx));
        this.next
            .take()
            .map_or(Poll::Pending, |(mut call, inner, request)| {
                call.waited(*this.wait);
                Poll::Ready((call, inner, request))
            })
    }
}

/// What a step of a call that does not run yet leads to.
enum Next<S: Service<R>, R, St: QuotaStore> {
    State(State<S, R, St>),
    Answer(Refused),
}

impl<S, R, St> State<S, R, St>
where
    S: Service<R>,
    St: QuotaStore,
{
    fn begin(mut inner: S, request: R, call: Call<St>) -> Self {
        Self::Running {
            future: inner.call(request),
            call: Some(call),
        }
    }

    /// Everything before the inner service is called.
    #[cold]
    fn poll_before(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        how: &mut How,
        rules: Option<&(RateLimiter<St>, Arc<Rules>)>,
    ) -> Poll<Next<S, R, St>> {
        Poll::Ready(match self.project() {
            Doing::Parked(parked) => {
                let (call, inner, request) = ready!(parked.as_mut().poll(cx));
                Next::State(Self::begin(inner, request, call))
            }
            Doing::Asking(asking) => {
                let (later, charge, next) = &mut **asking;
                let mut verdict = ready!(Pin::new(later).poll(cx));
                let (Some((inner, request)), Some((limiter, rules))) = (next.take(), rules) else {
                    return Poll::Pending;
                };
                if let Ok(verdict) = &mut verdict {
                    let standings = verdict.standings.take();
                    how.standings = standings.map(|standings| (charge.tier, standings));
                }
                match rules.fate(limiter, *charge, verdict) {
                    Fate::Call(call, wait) if wait.is_zero() => {
                        Next::State(Self::begin(inner, request, call))
                    }
                    Fate::Call(call, wait) => {
                        let start = limiter.shared.clock.instant(charge.at + wait);
                        let parked = Parked::until(start, wait, call, inner, request);
                        Next::State(Self::Parked(Box::pin(parked)))
                    }
                    Fate::Refused(refused) => Next::Answer(refused),
                }
            }
            Doing::Refused(refused) => match refused.take() {
                Some(refused) => Next::Answer(refused),
                None => return Poll::Pending,
            },
            // They are polled as themselves.
            Doing::Running { .. } | Doing::Exempt(_) => return Poll::Pending,
        })
    }
}

impl<S, R, B, St> Future for ResponseFuture<S, R, St>
where
    S: Service<R, Response = Response<B>>,
    B: Body<Data: From<Bytes>>,
    St: QuotaStore,
{
    type Output = Result<Response<ResponseBody<B, St>>, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut state = this.state;
        loop {
            match state.as_mut().project() {
                Doing::Running { future, call } => {
                    let result = ready!(future.poll(cx));
                    let Some(mut call) = call.take() else {
                        return Poll::Pending;
                    };
                    return Poll::Ready(match result {
                        Ok(response) => Ok(answer(response, call, this.how, this.rules.as_ref())),
                        Err(error) => {
                            call.finish(Outcome::Failure);
                            Err(error)
                        }
                    });
                }
                Doing::Exempt(future) => {
                    let response = ready!(future.poll(cx));
                    return Poll::Ready(
                        response.map(|response| response.map(ResponseBody::exempt)),
                    );
                }
                _ => {}
            }
            match ready!(
                state
                    .as_mut()
                    .poll_before(cx, this.how, this.rules.as_ref())
            ) {
                Next::State(next) => state.set(next),
                Next::Answer(refused) => {
                    return Poll::Ready(Ok(refuse(refused, this.how, this.rules.as_ref())));
                }
            }
        }
    }
}

/// Lets the body of an answer hold the call.
#[inline]
fn answer<B: Body, St: QuotaStore>(
    mut response: Response<B>,
    mut call: Call<St>,
    how: &How,
    rules: Option<&(RateLimiter<St>, Arc<Rules>)>,
) -> Response<ResponseBody<B, St>> {
    let mut classify = None;
    if let Some((limiter, rules)) = rules {
        call.answered(&response);
        if let Some(heed) = rules
            .special
            .as_ref()
            .and_then(|special| special.heed.as_ref())
        {
            let now = limiter.shared.clock.now();
            heed.hear(response.status(), response.headers(), now);
        }
        classify = rules
            .special
            .as_ref()
            .and_then(|special| special.classify.clone());
        tell(response.headers_mut(), how, limiter, rules);
    }
    GuardedBody::wrap(response, how.asked, classify, call).map(ResponseBody::counted)
}

#[cold]
fn refuse<B, St: QuotaStore>(
    refused: Refused,
    how: &How,
    rules: Option<&(RateLimiter<St>, Arc<Rules>)>,
) -> Response<ResponseBody<B, St>> {
    let policies = rules.and_then(|(limiter, _)| limiter.shared.tiers.get(refused.tier.0));
    let special = rules.and_then(|(_, rules)| rules.special.as_ref());
    let mut response = refusal::response(
        refused.rejection,
        refused.violated,
        policies,
        how.asked.protocol,
        special.and_then(|special| special.respond.as_deref()),
    );
    if let Some((limiter, rules)) = rules {
        tell(response.headers_mut(), how, limiter, rules);
    }
    response.map(ResponseBody::refusal)
}

/// Adds the header fields that tell of quotas.
#[inline]
fn tell<St: QuotaStore>(
    headers: &mut http::HeaderMap,
    how: &How,
    limiter: &RateLimiter<St>,
    rules: &Rules,
) {
    if let Some((tier, standings)) = &how.standings
        && let Some(policies) = limiter.shared.tiers.get(tier.0)
    {
        rules.telling.write(headers, policies, standings);
    }
}

impl<S: Service<R>, R, St: QuotaStore> std::fmt::Debug for ResponseFuture<S, R, St> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match &self.state {
            State::Running { .. } => "running",
            State::Exempt(_) => "exempt",
            State::Parked(_) => "waiting",
            State::Asking(_) => "asking the store",
            State::Refused(_) => "refused",
        };
        f.debug_struct("ResponseFuture")
            .field("state", &state)
            .finish_non_exhaustive()
    }
}
