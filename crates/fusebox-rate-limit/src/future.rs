//! The future of [`RateLimit`](crate::RateLimit).

use std::future::Future;
use std::hint::cold_path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use fusebox_core::{Outcome, Rejection};
use fusebox_http::{Asked, Classify, GrpcCode, GuardedBody, Protocol, Standard};
use http::Response;
use http_body::Body;
use pin_project::pin_project;
use tower_service::Service;

use crate::Tier;
use crate::body::ResponseBody;
use crate::call::Call;
use crate::charge::Charge;
use crate::headers::Standings;
use crate::layer::Rules;
use crate::limiter::RateLimiter;
use crate::refusal;
use crate::service::Fate;
use crate::store::{Answer, MemoryStore, QuotaStore, StoreError, Verdict};
use crate::waiting::{Waiting, Woken};

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
    pub(crate) asked: Asked,
    /// Only where something is left to be decided or told.
    pub(crate) rest: Option<Rest<St>>,
}

/// What it takes to decide and to tell the rest.
pub(crate) struct Rest<St> {
    pub(crate) limiter: RateLimiter<St>,
    pub(crate) rules: Arc<Rules>,
    pub(crate) standings: Option<Standings>,
}

/// A refusal that is no answer yet.
pub(crate) struct Refused {
    pub(crate) rejection: Rejection,
    pub(crate) violated: u8,
    pub(crate) tier: Tier,
}

/// A question that is not answered yet, and what is to be called then.
pub(crate) struct Asking<S, R, St: QuotaStore> {
    pub(crate) later: St::Later,
    pub(crate) charge: Charge,
    pub(crate) next: Option<(S, R)>,
    /// Waits for its verdict: given up meanwhile, it is told as any other.
    pub(crate) call: Call<St>,
}

#[pin_project(project = Doing)]
pub(crate) enum State<S, R, St>
where
    S: Service<R>,
    St: QuotaStore,
{
    Running {
        #[pin]
        future: S::Future,
        /// `None` if it is exempt.
        call: Option<Call<St>>,
    },
    // Boxed, so that a call that need not wait carries neither a timer nor the request about.
    Waiting(Pin<Box<Waiting<S, R, St>>>),
    Asking(Box<Asking<S, R, St>>),
    // An answer already: to be made one later, it would have to take along what that needs.
    Refused(Option<Response<Bytes>>),
}

impl<St: QuotaStore> Rest<St> {
    /// Asks for a call that was held back until now.
    fn ask<S: Service<R>, R>(
        &mut self,
        charge: Charge,
        call: Call<St>,
        inner: S,
        request: R,
        protocol: Protocol,
    ) -> Next<S, R, St> {
        match self.rules.ask(&self.limiter, &charge) {
            Answer::Now(verdict) => {
                self.answered(charge, Ok(verdict), call, inner, request, protocol)
            }
            Answer::Later(later) => Next::State(State::Asking(Box::new(Asking {
                later,
                charge,
                next: Some((inner, request)),
                call,
            }))),
        }
    }

    /// What becomes of a call that has waited for its verdict.
    fn answered<S: Service<R>, R>(
        &mut self,
        charge: Charge,
        mut verdict: Result<Verdict, StoreError>,
        mut waited: Call<St>,
        inner: S,
        request: R,
        protocol: Protocol,
    ) -> Next<S, R, St> {
        // Either the call that follows tells of it, or the refusal.
        let started = waited.forget().unwrap_or(charge.at);
        if let Ok(verdict) = &mut verdict {
            let standings = verdict.standings.take();
            self.standings = standings.map(|all| Standings::of(&charge, all));
        }
        match self.rules.fate(&self.limiter, charge, verdict) {
            Fate::Call(mut call, wait) => {
                call.began(started, charge.at);
                // The server may have said something while the store was asked.
                let now = self.limiter.shared.clock.now();
                let heed = self.rules.heed();
                let held = heed.is_some_and(|heed| !heed.rest(now).is_zero());
                if wait.is_zero() && !held {
                    return Next::State(State::begin(inner, request, call));
                }
                let next = (call, inner, request);
                let waiting = Waiting::in_line(&self.limiter, charge, charge.at + wait, next);
                Next::State(State::Waiting(Box::pin(waiting)))
            }
            Fate::Refused(refused) => Next::Answer(self.refuse(refused, protocol)),
        }
    }

    fn refuse(&self, refused: Refused, protocol: Protocol) -> Response<Bytes> {
        let standings = self.standings.as_ref();
        refuse(refused, protocol, &self.limiter, &self.rules, standings)
    }
}

/// What a step of a call that does not run yet leads to.
enum Next<S: Service<R>, R, St: QuotaStore> {
    State(State<S, R, St>),
    Answer(Response<Bytes>),
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
        protocol: Protocol,
        rest: Option<&mut Rest<St>>,
    ) -> Poll<Next<S, R, St>> {
        Poll::Ready(match self.project() {
            Doing::Waiting(waiting) => {
                let Some(rest) = rest else {
                    return Poll::Pending;
                };
                let mut waiting = waiting.as_mut();
                loop {
                    ready!(waiting.as_mut().poll(cx));
                    break match waiting.as_mut().wake(&rest.limiter, &rest.rules) {
                        Woken::TooEarly => continue,
                        Woken::Begins(call, inner, request) => {
                            Next::State(Self::begin(inner, request, call))
                        }
                        Woken::Asks(charge, call, inner, request) => {
                            rest.ask(charge, call, inner, request, protocol)
                        }
                        Woken::Refused(refused) => Next::Answer(rest.refuse(refused, protocol)),
                        Woken::Over => return Poll::Pending,
                    };
                }
            }
            Doing::Asking(asking) => {
                let verdict = ready!(Pin::new(&mut asking.later).poll(cx));
                let (Some((inner, request)), Some(rest)) = (asking.next.take(), rest) else {
                    return Poll::Pending;
                };
                let call = asking.call.take();
                rest.answered(asking.charge, verdict, call, inner, request, protocol)
            }
            Doing::Refused(answer) => match answer.take() {
                Some(answer) => Next::Answer(answer),
                None => return Poll::Pending,
            },
            // It is polled as itself.
            Doing::Running { .. } => return Poll::Pending,
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
            if let Doing::Running { future, call } = state.as_mut().project() {
                return match future.poll(cx) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(Ok(response)) => {
                        if let Some(call) = call {
                            if this.rest.is_some() || call.is_followed() {
                                cold_path();
                                let answer =
                                    answer(response, call, *this.asked, this.rest.as_ref());
                                return Poll::Ready(Ok(answer));
                            }
                            call.count(at_its_head(*this.asked, &response, &Standard));
                        }
                        Poll::Ready(Ok(response.map(ResponseBody::inner)))
                    }
                    Poll::Ready(Err(error)) => {
                        if let Some(call) = call {
                            call.finish(Outcome::Failure);
                        }
                        Poll::Ready(Err(error))
                    }
                };
            }
            cold_path();
            let protocol = this.asked.protocol;
            match ready!(state.as_mut().poll_before(cx, protocol, this.rest.as_mut())) {
                Next::State(next) => state.set(next),
                Next::Answer(answer) => {
                    return Poll::Ready(Ok(answer.map(ResponseBody::refusal)));
                }
            }
        }
    }
}

/// As what a call counts that nobody follows any further than to the head of its answer.
#[inline(always)]
fn at_its_head<B>(
    asked: Asked,
    response: &Response<B>,
    classify: &(impl Classify + ?Sized),
) -> Outcome {
    if asked.protocol != Protocol::Http
        && let Some(code) = GrpcCode::of(response.headers())
    {
        return classify.grpc(code);
    }
    classify.http(response.status())
}

/// Adds to an answer what is to be told, and lets its body hold the call if that is followed to its end.
#[inline(never)]
fn answer<B: Body, St: QuotaStore>(
    mut response: Response<B>,
    call: &mut Call<St>,
    asked: Asked,
    rest: Option<&Rest<St>>,
) -> Response<ResponseBody<B, St>> {
    let mut classify = None;
    if let Some(rest) = rest {
        call.answered(&response);
        if let Some(special) = &rest.rules.special {
            // A refusal of a layer in this process is no word of the server's.
            if let Some(heed) = &special.heed
                && response.extensions().get::<Rejection>().is_none()
            {
                let now = rest.limiter.shared.clock.now();
                heed.hear(response.status(), response.headers(), now);
            }
            classify = special.classify.as_ref();
        }
        let Rest {
            limiter,
            rules,
            standings,
        } = rest;
        tell(response.headers_mut(), limiter, rules, standings.as_ref());
    }
    if call.is_followed() {
        let body = GuardedBody::wrap(response, asked, classify.cloned(), call.take());
        return body.map(ResponseBody::followed);
    }
    call.count(match classify {
        Some(classify) => at_its_head(asked, &response, &**classify),
        None => at_its_head(asked, &response, &Standard),
    });
    response.map(ResponseBody::inner)
}

/// The answer to a refused request.
pub(crate) fn refuse<St: QuotaStore>(
    refused: Refused,
    protocol: Protocol,
    limiter: &RateLimiter<St>,
    rules: &Rules,
    standings: Option<&Standings>,
) -> Response<Bytes> {
    let special = rules.special.as_ref();
    let mut response = refusal::response(
        refused.rejection,
        refused.violated,
        limiter.shared.tiers.get(refused.tier.0),
        protocol,
        special.and_then(|special| special.respond.as_deref()),
        rules.telling.fields(),
    );
    tell(response.headers_mut(), limiter, rules, standings);
    response
}

/// Adds the header fields that tell of quotas.
#[inline]
fn tell<St>(
    headers: &mut http::HeaderMap,
    limiter: &RateLimiter<St>,
    rules: &Rules,
    standings: Option<&Standings>,
) {
    if let Some(standings) = standings
        && let Some(policies) = limiter.shared.tiers.get(standings.tier.0)
    {
        rules.telling.write(headers, policies, standings);
    }
}

impl<S: Service<R>, R, St: QuotaStore> std::fmt::Debug for ResponseFuture<S, R, St> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match &self.state {
            State::Running { .. } => "running",
            State::Waiting(_) => "waiting",
            State::Asking(_) => "asking the store",
            State::Refused(_) => "refused",
        };
        f.debug_struct("ResponseFuture")
            .field("state", &state)
            .finish_non_exhaustive()
    }
}
