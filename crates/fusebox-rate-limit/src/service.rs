use std::hint::cold_path;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use fusebox_core::{RejectionKind, Timestamp};
use fusebox_http::Asked;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::Tier;
use crate::body::ResponseBody;
use crate::call::Call;
use crate::charge::{Charge, Charged};
use crate::future::{Asking, Before, Refused, ResponseFuture, Rest, State, Tells, refuse};
use crate::headers::Standings;
use crate::heed::Heed;
use crate::layer::{Rules, Special};
use crate::limiter::RateLimiter;
use crate::policy::Head;
use crate::store::{Answer, Decision, MemoryStore, QuotaStore, StoreError, Verdict};
use crate::waiting::Waiting;

/// An HTTP service behind a rate limit. See [`RateLimitLayer`](crate::RateLimitLayer).
pub struct RateLimit<S, St = MemoryStore> {
    inner: S,
    limiter: RateLimiter<St>,
    rules: Arc<Rules>,
}

/// What becomes of a request.
pub(crate) enum Fate<St: QuotaStore> {
    /// It is called, now or after a wait.
    Call(Call<St>, Duration),
    Refused(Refused),
}

impl<S, St> RateLimit<S, St> {
    pub(crate) const fn new(inner: S, limiter: RateLimiter<St>, rules: Arc<Rules>) -> Self {
        Self {
            inner,
            limiter,
            rules,
        }
    }
}

impl<S, R, B, St> Service<Request<R>> for RateLimit<S, St>
where
    S: Service<Request<R>, Response = Response<B>> + Clone,
    B: Body<Data: From<Bytes>>,
    St: QuotaStore,
{
    type Response = Response<ResponseBody<B, St>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, Request<R>, St>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Request<R>) -> Self::Future {
        let asked = Asked::by(&request);
        match self.admit_at_once(&request) {
            Ok(call) => ResponseFuture {
                state: State::Running {
                    future: self.inner.call(request),
                    call: Some(call),
                },
                asked,
                rest: None,
            },
            Err(charge) => {
                cold_path();
                match charge {
                    Some(charge) => self.call_charged(request, asked, charge),
                    None => self.call_by_rules(request, asked),
                }
            }
        }
    }
}

impl<S, St: QuotaStore> RateLimit<S, St> {
    /// What nearly all requests are: charged as all others, and admitted at once, with nothing else to do or to tell.
    ///
    /// The call exists before the inner service is called: a panic in there tells its end.
    ///
    /// # Errors
    /// The charge, as far as it is known already.
    #[inline(always)]
    fn admit_at_once<R>(&self, request: &Request<R>) -> Result<Call<St>, Option<Charge>> {
        if !self.rules.usual {
            cold_path();
            return Err(None);
        }
        let Some(key) = self
            .rules
            .key
            .at_a_glance(request.headers(), request.extensions())
        else {
            cold_path();
            return Err(None);
        };
        let shared = &self.limiter.shared;
        let cost = shared.cost;
        let clock = || shared.clock.now();
        let (at, spent) = shared.store.spend_at_once(0, key, cost, clock);
        if spent {
            Ok(Call::admitted(shared.clone(), at))
        } else {
            cold_path();
            Err(Some(Charge {
                at,
                tier: Tier(0),
                to: Charged::One(key),
                cost,
            }))
        }
    }

    /// A request of which it has to be found out whom to charge, and how much.
    #[inline(never)]
    fn call_by_rules<R>(
        &mut self,
        request: Request<R>,
        asked: Asked,
    ) -> ResponseFuture<S, Request<R>, St>
    where
        S: Service<Request<R>> + Clone,
    {
        let charge = match self.rules.charge(&Head::of(&request), &self.limiter) {
            Ok(Some(charge)) => charge,
            Ok(None) => return self.call_uncharged(request, asked, None),
            Err(at) => return self.call_uncharged(request, asked, Some(at)),
        };
        if let Some(heed) = self.rules.heed() {
            let (rest, max_wait) = (heed.rest(charge.at), heed.max_wait);
            if !rest.is_zero() {
                return self.call_held(request, asked, charge, rest, max_wait);
            }
        }
        self.call_charged(request, asked, charge)
    }

    /// A request that nobody is charged for: exempt, or nobody knows whom to charge.
    #[cold]
    #[inline(never)]
    fn call_uncharged<R>(
        &mut self,
        request: R,
        asked: Asked,
        unidentified: Option<Timestamp>,
    ) -> ResponseFuture<S, R, St>
    where
        S: Service<R>,
    {
        match unidentified.map(|at| self.unidentified(at)) {
            None => self.begin(request, None, asked, None),
            Some(Fate::Call(call, _)) => self.begin(request, Some(call), asked, None),
            Some(Fate::Refused(refused)) => self.refused(refused, asked, None),
        }
    }

    /// A request to a server that wants to be left alone.
    #[cold]
    #[inline(never)]
    fn call_held<R>(
        &mut self,
        request: R,
        asked: Asked,
        charge: Charge,
        rest: Duration,
        max_wait: Duration,
    ) -> ResponseFuture<S, R, St>
    where
        S: Service<R> + Clone,
    {
        let shared = &self.limiter.shared;
        if !shared.mode.enforces_next() {
            if rest <= max_wait {
                return self.call_charged(request, asked, charge);
            }
            let kind = Some(RejectionKind::QuotaExceeded);
            let call = Call::shadowed(shared.clone(), charge.at, kind);
            return self.begin(request, Some(call), asked, None);
        }
        if rest > max_wait {
            let refused = self.limiter.left_alone(&charge, charge.at, rest);
            return self.refused(refused, asked, None);
        }
        let next = (self.ready_one(), request);
        let waiting = Waiting::held(&self.limiter, charge, rest, next);
        self.before(Before::Waiting(Box::pin(waiting)), asked, None)
    }

    /// A request that waits, is refused, is to be settled, or whose answer tells of its quotas.
    #[inline(never)]
    fn call_charged<R>(
        &mut self,
        request: R,
        asked: Asked,
        charge: Charge,
    ) -> ResponseFuture<S, R, St>
    where
        S: Service<R> + Clone,
    {
        let answer = self.rules.ask(&self.limiter, &charge);
        match answer {
            Answer::Now(mut verdict) => {
                let standings = verdict.standings.take();
                let standings = standings.map(|all| Standings::of(&charge, all));
                match self.rules.fate(&self.limiter, charge, Ok(verdict)) {
                    Fate::Call(call, wait) if wait.is_zero() => {
                        self.begin(request, Some(call), asked, standings)
                    }
                    Fate::Call(call, wait) => {
                        let until = charge.at + wait;
                        let next = (call, self.ready_one(), request);
                        let waiting = Waiting::in_line(&self.limiter, charge, until, next);
                        self.before(Before::Waiting(Box::pin(waiting)), asked, standings)
                    }
                    Fate::Refused(refused) => self.refused(refused, asked, standings.as_ref()),
                }
            }
            Answer::Later(later) => {
                let mut call = Call::admitted(self.limiter.shared.clone(), charge.at);
                call.parks();
                let asking = Asking {
                    later,
                    charge,
                    next: Some((call, self.ready_one(), request)),
                };
                self.before(Before::Asking(Box::new(asking)), asked, None)
            }
        }
    }

    /// Calls the inner service now.
    #[inline(never)]
    fn begin<R>(
        &mut self,
        request: R,
        call: Option<Call<St>>,
        asked: Asked,
        standings: Option<Standings>,
    ) -> ResponseFuture<S, R, St>
    where
        S: Service<R>,
    {
        let reads = self.rules.special.as_deref().is_some_and(Special::reads);
        let tells = (standings.is_some() || reads).then(|| self.tells(standings));
        ResponseFuture {
            state: State::Running {
                future: self.inner.call(request),
                call,
            },
            asked,
            rest: tells.map(|tells| Box::new(Rest::Tells(tells))),
        }
    }

    fn refused<R>(
        &self,
        refused: Refused,
        asked: Asked,
        standings: Option<&Standings>,
    ) -> ResponseFuture<S, R, St>
    where
        S: Service<R>,
    {
        let answer = refuse(
            refused,
            asked.protocol,
            &self.limiter,
            &self.rules,
            standings,
        );
        ResponseFuture {
            state: State::Before,
            asked,
            rest: Some(Box::new(Rest::Refused(answer))),
        }
    }

    fn before<R>(
        &self,
        before: Before<S, R, St>,
        asked: Asked,
        standings: Option<Standings>,
    ) -> ResponseFuture<S, R, St>
    where
        S: Service<R>,
    {
        ResponseFuture {
            state: State::Before,
            asked,
            rest: Some(Box::new(Rest::Before(before, self.tells(standings)))),
        }
    }

    fn tells(&self, standings: Option<Standings>) -> Tells<St> {
        Tells {
            limiter: self.limiter.clone(),
            rules: self.rules.clone(),
            standings,
        }
    }

    /// The instance that is ready; the next caller gets a clone, which has to become ready itself.
    fn ready_one(&mut self) -> S
    where
        S: Clone,
    {
        let clone = self.inner.clone();
        std::mem::replace(&mut self.inner, clone)
    }

    #[cold]
    fn unidentified(&self, at: Timestamp) -> Fate<St> {
        let kind = RejectionKind::Unidentified;
        let shared = &self.limiter.shared;
        if !shared.mode.enforces_next() {
            return Fate::Call(
                Call::shadowed(shared.clone(), at, Some(kind)),
                Duration::ZERO,
            );
        }
        shared.tell_refusal(at, kind, true, None, Duration::ZERO);
        let rejection = fusebox_core::Rejection::new(
            fusebox_core::LayerKind::RateLimit,
            shared.reporter.policy().clone(),
            kind,
        );
        Fate::Refused(Refused {
            rejection,
            violated: 0,
            tier: Tier(0),
        })
    }
}

impl<St: QuotaStore> RateLimiter<St> {
    /// The refusal of a request to a server that wants to be left alone for longer than anybody waits here.
    #[cold]
    pub(crate) fn left_alone(&self, charge: &Charge, now: Timestamp, rest: Duration) -> Refused {
        let (shared, kind) = (&self.shared, RejectionKind::QuotaExceeded);
        shared.tell_refusal(now, kind, true, None, Duration::ZERO);
        let rejection = shared.rejection(charge.tier, 0, kind);
        Refused {
            rejection: rejection.with_retry_after(rest),
            violated: 0,
            tier: charge.tier,
        }
    }
}

impl Rules {
    /// What the server has said, if it is listened to.
    pub(crate) fn heed(&self) -> Option<&Heed> {
        self.special.as_deref()?.heed.as_deref()
    }

    /// What a verdict means for a request.
    #[inline(always)]
    pub(crate) fn fate<St: QuotaStore>(
        &self,
        limiter: &RateLimiter<St>,
        charge: Charge,
        verdict: Result<Verdict, StoreError>,
    ) -> Fate<St> {
        let shared = &limiter.shared;
        if let Ok(Verdict {
            decision: Decision::Admitted { wait },
            ..
        }) = verdict
        {
            let mut call = Call::admitted(shared.clone(), charge.at);
            if let Some(special) = self.special.as_deref().filter(|special| special.settles) {
                call.settles(charge, special.worth.clone());
            }
            // To be made to wait is to be acted on.
            let waits = !wait.is_zero() && shared.mode.enforces_next();
            return Fate::Call(call, if waits { wait } else { Duration::ZERO });
        }
        self.denied(limiter, charge, verdict)
    }

    #[cold]
    fn denied<St: QuotaStore>(
        &self,
        limiter: &RateLimiter<St>,
        charge: Charge,
        verdict: Result<Verdict, StoreError>,
    ) -> Fate<St> {
        let shared = &limiter.shared;
        let pass = |kind| {
            let call = Call::shadowed(Arc::clone(shared), charge.at, kind);
            Fate::Call(call, Duration::ZERO)
        };
        let (rejection, violated) = match verdict {
            Ok(verdict) => (shared.rejection_of(charge.tier, &verdict), verdict.violated),
            Err(error) => match shared.unanswered(charge.tier, &error) {
                Some(rejection) => (rejection, 0),
                None => return pass(None),
            },
        };
        if !shared.mode.enforces_next() {
            return pass(Some(rejection.kind()));
        }
        shared.tell_refusal(charge.at, rejection.kind(), true, None, Duration::ZERO);
        Fate::Refused(Refused {
            rejection,
            violated,
            tier: charge.tier,
        })
    }
}

impl<S: Clone, St> Clone for RateLimit<S, St> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            limiter: self.limiter.clone(),
            rules: self.rules.clone(),
        }
    }
}

impl<S: std::fmt::Debug, St: QuotaStore> std::fmt::Debug for RateLimit<S, St> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RateLimit")
            .field("inner", &self.inner)
            .field("limiter", &self.limiter)
            .field("rules", &self.rules)
            .finish()
    }
}
