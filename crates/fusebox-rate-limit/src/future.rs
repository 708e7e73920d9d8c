//! The future of [`RateLimit`](crate::RateLimit).

use std::future::Future;
use std::hint::cold_path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use fusebox_core::{Outcome, Rejection, RejectionKind};
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
    pub(crate) rest: Option<Box<Rest<S, R, St>>>,
}

/// What most calls do not need.
pub(crate) enum Rest<S, R, St: QuotaStore> {
    /// The inner service is not called yet.
    Before(Before<S, R, St>, Tells<St>),
    /// It will not be.
    // An answer already: to be made one later, it would have to take along what that needs.
    Refused(Response<Bytes>),
    /// It is, and its answer is to be read or written into.
    Tells(Tells<St>),
}

/// What it takes to decide, and to tell of quotas.
pub(crate) struct Tells<St> {
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
    /// Waits for its verdict: given up meanwhile, it is told as any other.
    pub(crate) next: Option<(Call<St>, S, R)>,
}

// Two small variants, and no part of it is ever lent to anything that is not compiled into `poll`: so a caller that polls it
// where it is made keeps it, and the answer, in registers.
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
    /// See the rest.
    Before,
}

/// What there is before the inner service is called.
pub(crate) enum Before<S, R, St: QuotaStore> {
    Waiting(Pin<Box<Waiting<S, R, St>>>),
    Asking(Box<Asking<S, R, St>>),
}

impl<St: QuotaStore> Tells<St> {
    /// Asks for a call that was held back until now.
    fn ask<S, R>(
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
            Answer::Later(later) => Next::Before(Before::Asking(Box::new(Asking {
                later,
                charge,
                next: Some((call, inner, request)),
            }))),
        }
    }

    /// What becomes of a call that has waited for its verdict.
    fn answered<S, R>(
        &mut self,
        charge: Charge,
        mut verdict: Result<Verdict, StoreError>,
        waited: Call<St>,
        inner: S,
        request: R,
        protocol: Protocol,
    ) -> Next<S, R, St> {
        // Either the call that follows tells of it, or the refusal.
        let started = waited.forget();
        if let Ok(verdict) = &mut verdict {
            let standings = verdict.standings.take();
            self.standings = standings.map(|all| Standings::of(&charge, all));
        }
        match self.rules.fate(&self.limiter, charge, verdict) {
            Fate::Call(mut call, wait) => {
                // The server may have said something while the store was asked.
                let now = self.limiter.shared.clock.now();
                // What it waited for its verdict; if it came with its question, only where somebody wants to know.
                if started < charge.at || call.is_followed() {
                    call.began(started, now);
                }
                let heed = self.rules.heed();
                let held = heed.is_some_and(|heed| !heed.rest(now).is_zero());
                // Whose refusal is not acted on is not made to wait either.
                if call.is_let_through() || (wait.is_zero() && !held) {
                    return Next::Calls(call, inner, request);
                }
                let next = (call, inner, request);
                let waiting = Waiting::in_line(&self.limiter, charge, charge.at + wait, next);
                Next::Before(Before::Waiting(Box::pin(waiting)))
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
enum Next<S, R, St: QuotaStore> {
    Calls(Call<St>, S, R),
    Before(Before<S, R, St>),
    Answer(Response<Bytes>),
}

/// What becomes of a call that does not run yet.
enum Polled<S, R, St: QuotaStore> {
    Calls(Call<St>, S, R, Box<Rest<S, R, St>>),
    Answer(Response<Bytes>),
    Pending(Box<Rest<S, R, St>>),
}

/// Everything before the inner service is called.
#[cold]
#[inline(never)]
fn poll_before<S, R, St: QuotaStore>(
    mut rest: Box<Rest<S, R, St>>,
    cx: &mut Context<'_>,
    protocol: Protocol,
) -> Polled<S, R, St> {
    loop {
        let (before, mut tells) = match *rest {
            Rest::Before(before, tells) => (before, tells),
            Rest::Refused(answer) => return Polled::Answer(answer),
            Rest::Tells(_) => return Polled::Pending(rest),
        };
        let next = match before.poll(cx, protocol, &mut tells) {
            Ok(Next::Answer(answer)) => return Polled::Answer(answer),
            Ok(Next::Calls(call, inner, request)) => {
                *rest = Rest::Tells(tells);
                return Polled::Calls(call, inner, request, rest);
            }
            Ok(Next::Before(before)) => (Ok(()), before),
            Err(before) => (Err(()), before),
        };
        *rest = Rest::Before(next.1, tells);
        if next.0.is_err() {
            return Polled::Pending(rest);
        }
    }
}

impl<S, R, St: QuotaStore> Before<S, R, St> {
    /// What it leads to; itself if it is to be polled again.
    fn poll(
        mut self,
        cx: &mut Context<'_>,
        protocol: Protocol,
        tells: &mut Tells<St>,
    ) -> Result<Next<S, R, St>, Self> {
        match &mut self {
            Self::Waiting(waiting) => loop {
                if waiting.as_mut().poll(cx).is_pending() {
                    return Err(self);
                }
                return Ok(match waiting.as_mut().wake(&tells.limiter, &tells.rules) {
                    Woken::TooEarly => continue,
                    Woken::Begins(call, inner, request) => Next::Calls(call, inner, request),
                    Woken::Asks(charge, call, inner, request) => {
                        tells.ask(charge, call, inner, request, protocol)
                    }
                    Woken::Refused(refused) => Next::Answer(tells.refuse(refused, protocol)),
                    Woken::Over => return Err(self),
                });
            },
            Self::Asking(asking) => {
                let Poll::Ready(verdict) = Pin::new(&mut asking.later).poll(cx) else {
                    return Err(self);
                };
                let Some((call, inner, request)) = asking.next.take() else {
                    return Err(self);
                };
                Ok(tells.answered(asking.charge, verdict, call, inner, request, protocol))
            }
        }
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
                        if let Some(call) = call.take() {
                            if this.rest.is_some() || call.is_followed() {
                                cold_path();
                                let rest = this.rest.take();
                                let answer = answer(response, call, *this.asked, rest);
                                return Poll::Ready(Ok(answer));
                            }
                            call.count(at_its_head(*this.asked, &response, &Standard));
                        }
                        Poll::Ready(Ok(response.map(ResponseBody::inner)))
                    }
                    Poll::Ready(Err(error)) => {
                        if let Some(call) = call.take() {
                            call.finish(Outcome::Failure);
                        }
                        Poll::Ready(Err(error))
                    }
                };
            }
            cold_path();
            let Some(rest) = this.rest.take() else {
                return Poll::Pending;
            };
            match poll_before(rest, cx, this.asked.protocol) {
                Polled::Calls(call, mut inner, request, rest) => {
                    *this.rest = Some(rest);
                    state.set(State::Running {
                        future: inner.call(request),
                        call: Some(call),
                    });
                }
                Polled::Answer(answer) => {
                    return Poll::Ready(Ok(answer.map(ResponseBody::refusal)));
                }
                Polled::Pending(rest) => {
                    *this.rest = Some(rest);
                    return Poll::Pending;
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
fn answer<S, R, B: Body, St: QuotaStore>(
    mut response: Response<B>,
    mut call: Call<St>,
    asked: Asked,
    rest: Option<Box<Rest<S, R, St>>>,
) -> Response<ResponseBody<B, St>> {
    call.answered(&response);
    let mut classify = None;
    let rest = rest.as_deref();
    if let Some(Rest::Tells(tells)) = rest {
        if let Some(special) = &tells.rules.special {
            // A refusal of a layer in this process is no word of the server's.
            if let Some(heed) = &special.heed
                && response.extensions().get::<Rejection>().is_none()
            {
                let now = tells.limiter.shared.clock.now();
                heed.hear(response.status(), response.headers(), now);
            }
            classify = special.classify.as_ref();
        }
        let Tells {
            limiter,
            rules,
            standings,
        } = tells;
        tell(response.headers_mut(), limiter, rules, standings.as_ref());
    }
    if call.is_followed() {
        let body = GuardedBody::wrap(response, asked, classify.cloned(), call);
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
    if let Some(policies) = limiter.shared.tiers.get(refused.tier.0)
        && let Some(template) = rules.templates.get(refused.tier.0)
        && let Some(after) = refused.rejection.retry_after()
        && refused.rejection.kind() == RejectionKind::QuotaExceeded
        && protocol == Protocol::Http
        && special.is_none_or(|special| special.respond.is_none())
        && policies.is_unchanged()
        && standings.map_or(!rules.telling.anything(), Standings::is_whole)
    {
        let problem = policies.problem(refused.violated);
        let told = standings.map(|standings| (policies, standings));
        return template.refusal(rules.telling, refused.rejection, after, problem, told);
    }
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
        let state = match (&self.state, self.rest.as_deref()) {
            (State::Running { .. }, _) => "running",
            (_, Some(Rest::Before(Before::Waiting(_), _))) => "waiting",
            (_, Some(Rest::Before(Before::Asking(_), _))) => "asking the store",
            (_, Some(Rest::Refused(_))) => "refused",
            _ => "over",
        };
        f.debug_struct("ResponseFuture")
            .field("state", &state)
            .finish_non_exhaustive()
    }
}
