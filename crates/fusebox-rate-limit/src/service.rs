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
use crate::future::{How, Parked, Refused, ResponseFuture, State};
use crate::layer::Rules;
use crate::limiter::RateLimiter;
use crate::policy::{Found, Head};
use crate::store::{
    Act, Answer, Decision, Key, Keys, MOST_POLICIES, MemoryStore, Question, QuotaStore, Standing,
    StoreError, Verdict,
};

/// An HTTP service behind a rate limit. See [`RateLimitLayer`](crate::RateLimitLayer).
pub struct RateLimit<S, St = MemoryStore> {
    inner: S,
    limiter: RateLimiter<St>,
    rules: Arc<Rules>,
}

/// What a request is charged: to whom, by whose policies, how much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Charge {
    pub(crate) at: Timestamp,
    pub(crate) tier: Tier,
    pub(crate) key: Key,
    pub(crate) cost: u64,
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
        let head = Head::of(&request);
        let charge = self.rules.charge(&head, &self.limiter);
        let Ok(Some(charge)) = charge else {
            return self.call_uncharged(request, asked, charge.err());
        };
        if let Some(special) = &self.rules.special
            && let Some(heed) = &special.heed
            && !heed.rest(charge.at).is_zero()
        {
            return self.call_held(request, asked, charge, heed.rest(charge.at), heed.max_wait);
        }
        match self.limiter.shared.store.ask(&self.rules.question(&charge)) {
            // By far the most: admitted at once, with nothing else to do or to tell.
            Answer::Now(Verdict {
                decision: Decision::Admitted { wait },
                standings: None,
                ..
            }) if wait.is_zero() && self.rules.special.is_none() => {
                // The call exists before the inner service is called: a panic in there tells its end.
                let call = Call::admitted(self.limiter.shared.clone(), charge.at);
                ResponseFuture {
                    state: State::Running {
                        future: self.inner.call(request),
                        call: Some(call),
                    },
                    how: How {
                        asked,
                        standings: None,
                    },
                    rules: None,
                }
            }
            answer => self.call_charged(request, asked, charge, answer, Duration::ZERO),
        }
    }
}

impl<S, St: QuotaStore> RateLimit<S, St> {
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
        let state = match unidentified.map(|at| self.unidentified(at)) {
            None => State::Exempt(self.inner.call(request)),
            Some(Fate::Call(call, _)) => State::Running {
                future: self.inner.call(request),
                call: Some(call),
            },
            Some(Fate::Refused(refused)) => State::Refused(Some(refused)),
        };
        self.future(state, asked, None)
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
        let kind = RejectionKind::QuotaExceeded;
        let state = if rest <= max_wait {
            let answer = shared.store.ask(&self.rules.question(&charge));
            return self.call_charged(request, asked, charge, answer, rest);
        } else if shared.mode.enforces_next() {
            shared.tell_refusal(charge.at, kind, true, None, Duration::ZERO);
            let rejection = shared.rejection(charge.tier, 0, kind);
            State::Refused(Some(Refused {
                rejection: rejection.with_retry_after(rest),
                violated: 0,
                tier: charge.tier,
            }))
        } else {
            let call = Call::shadowed(shared.clone(), charge.at, Some(kind));
            State::Running {
                future: self.inner.call(request),
                call: Some(call),
            }
        };
        self.future(state, asked, None)
    }

    /// A request that waits, is refused, is to be settled, or whose answer tells of its quotas.
    #[inline(never)]
    fn call_charged<R>(
        &mut self,
        request: R,
        asked: Asked,
        charge: Charge,
        answer: Answer<St::Later>,
        held: Duration,
    ) -> ResponseFuture<S, R, St>
    where
        S: Service<R> + Clone,
    {
        let mut standings = None;
        let state = match answer {
            Answer::Now(mut verdict) => {
                let told = verdict.standings.take();
                standings = told.map(|told| (charge.tier, told));
                match self.rules.fate(&self.limiter, charge, Ok(verdict)) {
                    Fate::Call(call, wait) if wait.max(held).is_zero() => State::Running {
                        future: self.inner.call(request),
                        call: Some(call),
                    },
                    Fate::Call(call, wait) => {
                        let wait = wait.max(held);
                        let start = self.limiter.shared.clock.instant(charge.at + wait);
                        let parked = Parked::until(start, wait, call, self.ready_one(), request);
                        State::Parked(Box::pin(parked))
                    }
                    Fate::Refused(refused) => State::Refused(Some(refused)),
                }
            }
            Answer::Later(later) => {
                State::Asking(Box::new((later, charge, Some((self.ready_one(), request)))))
            }
        };
        self.future(state, asked, standings)
    }

    fn future<R>(
        &self,
        state: State<S, R, St>,
        asked: Asked,
        standings: Standings,
    ) -> ResponseFuture<S, R, St>
    where
        S: Service<R>,
    {
        ResponseFuture {
            state,
            how: How { asked, standings },
            rules: Some((self.limiter.clone(), self.rules.clone())),
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

impl Rules {
    /// What the request is charged; `None` if it is exempt, the time if nobody knows whom to charge.
    #[inline]
    fn charge<St: QuotaStore>(
        &self,
        head: &Head<'_>,
        limiter: &RateLimiter<St>,
    ) -> Result<Option<Charge>, Timestamp> {
        let shared = &limiter.shared;
        let (mut tier, mut cost) = (Tier(0), shared.cost);
        if let Some(special) = &self.special {
            if special.exempt_methods.contains(head.method)
                || special.exempts.iter().any(|exempts| exempts(head))
            {
                return Ok(None);
            }
            if let Some(tier_of) = &special.tier {
                tier = tier_of(head).unwrap_or_default();
            }
            if let Some(cost_of) = &special.cost {
                cost = cost_of(head);
            }
        }
        if cost == 0 {
            return Ok(None);
        }
        match self.key.find(head, limiter) {
            Found::Key(key) => Ok(Some(Charge {
                at: shared.clock.now(),
                tier,
                key,
                cost,
            })),
            Found::Exempt => Ok(None),
            Found::Unidentified => Err(shared.clock.now()),
        }
    }

    #[inline]
    pub(crate) const fn question(&self, charge: &Charge) -> Question<'static> {
        Question {
            now: charge.at,
            tier: charge.tier.0,
            keys: Keys::One(charge.key),
            cost: charge.cost,
            act: Act::Spend,
            detail: self.telling.anything(),
        }
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
            return Fate::Call(call, wait);
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

/// How the policies of a tier stand.
pub(crate) type Standings = Option<(Tier, Box<[Standing; MOST_POLICIES]>)>;

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
