//! The handle: a store, a clock, what is told, and what an operator can do.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fusebox_core::time::{Clock, nanos};
use fusebox_core::{
    Call, Change, EventKind, LayerKind, Live, Mode, ModeCell, Name, Outcome, Rejection,
    RejectionKind, Reporter, Snapshot, Timestamp, Value, Verdict as Told,
};

use crate::config::{RateLimiterBuilder, TierSettings};
use crate::policies::Policies;
use crate::store::{
    Act, Answer, Decision, Key, KeyHasher, Keys, MemoryStore, Question, QuotaStore, StoreError,
    Terms, Verdict,
};
use crate::{Quota, QuotaError};

/// Which policies apply to a request: one of the limiter's tiers, found by [`RateLimiter::tier`].
///
/// It is a place among the tiers of the limiter that found it. Another limiter takes it for its own tier in that
/// place, and for its first one if it has none there: never for no limit at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tier(pub(crate) usize);

/// Limits what each key may do in a time. Cheap to clone; all clones are the same limiter.
///
/// It makes the layers ([`layer`](Self::layer), [`plain_layer`](Self::plain_layer)), shows and changes what they do, and decides by itself for those who have no
/// tower service at all.
///
/// ```
/// use fusebox_rate_limit::{Key, Policy, Quota, RateLimiter};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limiter = RateLimiter::builder("logins")
///     .policy(Policy::new("per_account", Quota::per_minute(5).burst(2)))
///     .build()?;
///
/// let account = limiter.text_key(b"alice");
/// assert!(limiter.check(account).is_ok());
/// assert!(limiter.check(account).is_ok());
/// let refused = limiter.check(account).unwrap_err();
/// // One every twelve seconds.
/// assert!(refused.retry_after().is_some_and(|after| after.as_secs_f64() > 11.0));
/// assert!(limiter.check(limiter.text_key(b"bob")).is_ok());
/// # Ok(())
/// # }
/// ```
pub struct RateLimiter<St = MemoryStore> {
    pub(crate) shared: Arc<Shared<St>>,
}

pub(crate) struct Shared<St> {
    pub(crate) store: St,
    pub(crate) clock: Clock,
    pub(crate) mode: ModeCell,
    pub(crate) reporter: Reporter,
    pub(crate) tiers: Box<[Policies]>,
    pub(crate) cost: u64,
    pub(crate) latency: bool,
    open_when_store_fails: bool,
    /// Held by who changes a quota: what the store goes by and what is told of it must be the same one's.
    changing: Mutex<()>,
    /// Questions to which the store had no answer.
    unanswered: AtomicU64,
    hasher: KeyHasher,
}

/// What a handle is asked: under which key, at which cost, in which tier.
///
/// A [`Key`] is one: the usual cost, the usual tier.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    keys: Keys<'a>,
    tier: Tier,
    cost: Option<u64>,
}

impl<'a> Ask<'a> {
    /// Under this key.
    #[must_use]
    pub const fn key(key: Key) -> Self {
        Self {
            keys: Keys::One(key),
            tier: Tier(0),
            cost: None,
        }
    }

    /// Under one key for each policy of the tier, in their order.
    #[must_use]
    pub const fn keys(keys: &'a [Key]) -> Self {
        Self {
            keys: Keys::Each(keys),
            tier: Tier(0),
            cost: None,
        }
    }

    /// In this tier.
    #[must_use]
    pub const fn tier(mut self, tier: Tier) -> Self {
        self.tier = tier;
        self
    }

    pub(crate) const fn in_tier(&self) -> Tier {
        self.tier
    }

    /// At this cost.
    #[must_use]
    pub const fn cost(mut self, cost: u64) -> Self {
        self.cost = Some(cost);
        self
    }
}

impl From<Key> for Ask<'_> {
    fn from(key: Key) -> Self {
        Self::key(key)
    }
}

/// A request's share of its quotas, held until it is known what the request was worth.
///
/// The turn that a [shaper](crate::Algorithm::Shaper) gave is not given back.
///
/// # Cancel safety
/// Dropped, it gives everything back.
#[must_use = "dropped, it gives back what it holds"]
pub struct Reservation<'l, St: QuotaStore = MemoryStore> {
    limiter: &'l RateLimiter<St>,
    ask: Ask<'l>,
    cost: u64,
    at: Timestamp,
}

impl<St: QuotaStore> Reservation<'_, St> {
    /// It was worth what was reserved.
    pub fn commit(mut self) {
        self.cost = 0;
    }

    /// It was worth this: less is given back, more is taken, whether or not it is there.
    pub fn commit_cost(mut self, cost: u64) {
        let reserved = std::mem::take(&mut self.cost);
        let shared = &self.limiter.shared;
        shared.adjust(self.ask.tier, self.ask.keys, reserved, cost, self.at);
    }

    /// It was worth nothing.
    pub fn refund(self) {
        drop(self);
    }
}

impl<St: QuotaStore> Drop for Reservation<'_, St> {
    fn drop(&mut self) {
        let shared = &self.limiter.shared;
        shared.adjust(self.ask.tier, self.ask.keys, self.cost, 0, self.at);
    }
}

impl<St: QuotaStore> std::fmt::Debug for Reservation<'_, St> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reservation")
            .field("cost", &self.cost)
            .finish_non_exhaustive()
    }
}

impl RateLimiter {
    /// Begins the settings of a limiter. The name is shown in logs, metrics and snapshots.
    pub fn builder(name: impl Into<Name>) -> RateLimiterBuilder {
        RateLimiterBuilder::new(name.into())
    }

    /// Spends the cost, or says why not. Never waits; where a policy allows waiting, a request whose turn
    /// has not come is refused here (see [`wait`](Self::wait)).
    ///
    /// In shadow mode it says `Ok` to what it would refuse, and counts it.
    ///
    /// # Errors
    /// The refusal, with the time to come back.
    #[inline]
    pub fn check<'a>(&self, ask: impl Into<Ask<'a>>) -> Result<(), Rejection> {
        let ask = ask.into();
        let shared = &*self.shared;
        let clock = || shared.clock.now();
        let Keys::One(key) = ask.keys else {
            return self.take(ask, clock()).map(drop);
        };
        let (tier, cost) = (ask.tier, ask.cost.unwrap_or(shared.cost));
        match shared.store.spend_at_once(tier.0, key, cost, clock) {
            (_, true) => Ok(()),
            (now, false) => self.take_key(key, tier, cost, now),
        }
    }

    /// What was asked, put together again for whoever needs it whole: otherwise it would be written to memory at once.
    #[cold]
    #[inline(never)]
    fn take_key(&self, key: Key, tier: Tier, cost: u64, now: Timestamp) -> Result<(), Rejection> {
        let ask = Ask::key(key).tier(tier).cost(cost);
        self.take(ask, now).map(drop)
    }

    /// As [`check`](Self::check), but what is spent can be given back.
    ///
    /// # Errors
    /// The refusal, with the time to come back.
    pub fn reserve<'l>(&'l self, ask: impl Into<Ask<'l>>) -> Result<Reservation<'l>, Rejection> {
        let (ask, at) = (ask.into(), self.shared.clock.now());
        let spent = self.take(ask, at)?;
        let cost = if spent {
            ask.cost.unwrap_or(self.shared.cost)
        } else {
            0
        };
        Ok(Reservation {
            limiter: self,
            ask,
            cost,
            at,
        })
    }

    /// Whether anything was spent, which it is not where a refusal was let through.
    #[inline(never)]
    fn take(&self, ask: Ask<'_>, now: Timestamp) -> Result<bool, Rejection> {
        let shared = &*self.shared;
        let verdict = shared
            .store
            .consider(&shared.question(now, ask, Act::SpendNow, false));
        match verdict.decision {
            Decision::Admitted { .. } => Ok(true),
            _ => {
                let rejection = shared.rejection_of(ask.tier, &verdict);
                shared.refuse(now, rejection).map(|()| false)
            }
        }
    }

    /// What [`check`](Self::check) would say, and how each policy stands. Spends nothing.
    #[must_use]
    pub fn peek<'a>(&self, ask: impl Into<Ask<'a>>) -> Verdict {
        let shared = &self.shared;
        let now = shared.clock.now();
        shared
            .store
            .decide(&shared.question(now, ask.into(), Act::Peek, true))
    }

    /// Counts the cost whether or not it is there, for what a handler finds out: a failed login, a query
    /// that was dearer than it looked. What a key can owe is at most two bursts, or twice a window's limit.
    pub fn penalise<'a>(&self, ask: impl Into<Ask<'a>>) {
        let shared = &self.shared;
        let now = shared.clock.now();
        let _ = shared
            .store
            .decide(&shared.question(now, ask.into(), Act::Penalise, false));
    }
}

impl<St: QuotaStore> RateLimiter<St> {
    pub(crate) fn new(settings: RateLimiterBuilder, store: St) -> Self {
        let (limiter_name, tiers) = (settings.name.clone(), settings.tiers.iter());
        let limiter = Self {
            shared: Arc::new(Shared {
                store,
                clock: Clock::new(),
                mode: ModeCell::new(settings.mode),
                reporter: Reporter::new(LayerKind::RateLimit, settings.name, settings.observers),
                tiers: tiers
                    .map(|TierSettings { name, policies }| {
                        Policies::new(&limiter_name, name, policies)
                    })
                    .collect(),
                cost: settings.cost,
                latency: settings.latency,
                open_when_store_fails: settings.open_when_store_fails,
                changing: Mutex::new(()),
                unanswered: AtomicU64::new(0),
                hasher: settings
                    .hash_key
                    .map_or_else(KeyHasher::new, KeyHasher::with_text_key),
            }),
        };
        let live: Arc<dyn Live> = limiter.shared.clone();
        settings.registration.list(Arc::downgrade(&live));
        limiter
    }

    /// Gives a policy another quota from now on. What clients have spent stays spent.
    ///
    /// # Errors
    /// [`QuotaError`] when there is no such policy, its algorithm cannot count the quota, or a request
    /// would cost more than the new burst. Nothing is changed then.
    pub fn set_quota(&self, tier: Tier, policy: &str, quota: Quota) -> Result<(), QuotaError> {
        let shared = &self.shared;
        let policies = shared.tiers.get(tier.0).ok_or(QuotaError::Unknown)?;
        let at = policies.find(policy).ok_or(QuotaError::Unknown)?;
        policies.fits(at, quota, shared.cost)?;
        let changing = shared.changing.lock();
        let changing = changing.unwrap_or_else(PoisonError::into_inner);
        let now = shared.clock.now();
        shared.store.change(now, tier.0, at, quota)?;
        let from = policies.set(at, quota);
        drop(changing);
        let changes = [
            ("amount", from.amount(), quota.amount()),
            ("period_ns", nanos(from.period()), nanos(quota.period())),
            ("burst", from.burst_size(), quota.burst_size()),
        ];
        for (what, from, to) in changes {
            if from != to {
                let change = Change::Limit { what, from, to };
                shared.reporter.report(now, EventKind::Change(change));
            }
        }
        Ok(())
    }

    /// The tier of that name.
    #[must_use]
    pub fn tier(&self, name: &str) -> Option<Tier> {
        let tiers = &self.shared.tiers;
        tiers
            .iter()
            .position(|tier| tier.name().as_str() == name)
            .map(Tier)
    }

    /// The key of some text: an API key, an account, a path. A keyed hash; the text is not kept.
    #[must_use]
    pub fn text_key(&self, text: &[u8]) -> Key {
        self.shared.hasher.text(0, text)
    }

    /// The key that [`KeyBy::Header`](crate::KeyBy::Header) gives to a request with this value. Blanks around it are
    /// not part of it.
    #[must_use]
    pub fn header_key(&self, value: &[u8]) -> Key {
        self.key_in(crate::policy::HEADER, value.trim_ascii())
    }

    /// The key that [`KeyBy::Path`](crate::KeyBy::Path) gives to a request for this path.
    #[must_use]
    pub fn path_key(&self, path: &str) -> Key {
        self.key_in(crate::policy::PATH, path.as_bytes())
    }

    /// The key of a text that is of another kind than other texts.
    pub(crate) fn key_in(&self, domain: u8, text: &[u8]) -> Key {
        self.shared.hasher.text(domain, text)
    }

    /// Spends the cost, waiting for it as long as the policies allow, or says why not. Needs a tokio
    /// runtime with its timer enabled where a policy lets requests wait, and is the way to ask a store that is not in
    /// memory.
    ///
    /// # Errors
    /// The refusal, with the time to come back.
    ///
    /// # Cancel safety
    /// Dropped while it waits, it has spent its turn: whoever came later was promised theirs after it.
    pub async fn wait(&self, ask: impl Into<Ask<'_>>) -> Result<(), Rejection> {
        let (ask, now) = (ask.into(), self.shared.clock.now());
        let shared = &self.shared;
        let answered = match shared
            .store
            .ask(&shared.question(now, ask, Act::Spend, false))
        {
            Answer::Now(verdict) => Ok(verdict),
            Answer::Later(later) => later.await,
        };
        match answered {
            Ok(Verdict {
                decision: Decision::Admitted { wait },
                ..
            }) => {
                if !wait.is_zero() && shared.mode.enforces_next() {
                    tokio::time::sleep_until(shared.clock.instant(now + wait)).await;
                }
                Ok(())
            }
            Ok(verdict) => {
                let rejection = shared.rejection_of(ask.tier, &verdict);
                shared.refuse(now, rejection)
            }
            Err(error) => shared
                .unanswered(ask.tier, &error)
                .map_or(Ok(()), |rejection| shared.refuse(now, rejection)),
        }
    }

    /// The mode now.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.shared.mode.get()
    }

    /// Changes the mode for every request from now on.
    pub fn set_mode(&self, mode: Mode) {
        self.shared.set_mode(mode);
    }

    /// Settings, counters and gauges now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Live::snapshot(&*self.shared)
    }

    /// The counters alone.
    ///
    /// What admitted calls are counted as is said by the heads of their answers, unless somebody has them
    /// [followed to their end](RateLimiterBuilder::measure_latency).
    #[must_use]
    pub fn stats(&self) -> fusebox_core::stats::StatsSnapshot {
        self.shared.reporter.stats(self.shared.clock.now())
    }
}

impl<St> Shared<St> {
    /// Whether calls are followed to their end: to be told to somebody, or for their latency.
    #[inline]
    pub(crate) fn follows(&self) -> bool {
        self.latency || self.reporter.listens()
    }
}

impl<St: QuotaStore> Shared<St> {
    /// The first tier in the place of one that this limiter does not have.
    #[inline]
    pub(crate) fn known(&self, tier: Tier) -> Tier {
        if tier.0 < self.tiers.len() {
            tier
        } else {
            Tier::default()
        }
    }

    pub(crate) fn terms(&self, tier: Tier) -> Terms<'_> {
        let policies = self.tiers.get(self.known(tier).0);
        policies.map_or_else(Terms::default, Policies::terms)
    }

    #[inline]
    pub(crate) fn question<'a>(
        &'a self,
        now: Timestamp,
        ask: Ask<'a>,
        act: Act,
        detail: bool,
    ) -> Question<'a> {
        Question {
            now,
            tier: self.known(ask.tier).0,
            terms: self.terms(ask.tier),
            keys: ask.keys,
            cost: ask.cost.unwrap_or(self.cost),
            act,
            detail,
        }
    }

    /// Turns what was reserved into what it was worth.
    pub(crate) fn adjust(
        &self,
        tier: Tier,
        keys: Keys<'_>,
        reserved: u64,
        worth: u64,
        spent_at: Timestamp,
    ) {
        let (cost, act) = if worth < reserved {
            (reserved - worth, Act::Refund { spent_at })
        } else {
            (worth - reserved, Act::Penalise)
        };
        if cost == 0 {
            return;
        }
        let now = self.clock.now();
        let question = Question {
            now,
            tier: self.known(tier).0,
            terms: self.terms(tier),
            keys,
            cost,
            act,
            detail: false,
        };
        // A store elsewhere is told in the background, if there is a background.
        if let Answer::Later(later) = self.store.ask(&question)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            drop(runtime.spawn(later));
        }
    }

    /// The refusal in the name of the first violated policy.
    pub(crate) fn rejection(&self, tier: Tier, violated: u8, kind: RejectionKind) -> Rejection {
        let policies = self.tiers.get(self.known(tier).0);
        let name = policies.and_then(|policies| policies.name_of(violated.trailing_zeros()));
        let name = name.unwrap_or_else(|| self.reporter.policy().clone());
        Rejection::new(LayerKind::RateLimit, name, kind)
    }

    #[cold]
    pub(crate) fn rejection_of(&self, tier: Tier, verdict: &Verdict) -> Rejection {
        let (kind, retry_after) = match verdict.decision {
            Decision::Refused { retry_after } => (RejectionKind::QuotaExceeded, retry_after),
            _ => (RejectionKind::TooManyKeys, None),
        };
        let rejection = self.rejection(tier, verdict.violated, kind);
        match retry_after {
            Some(after) => rejection.with_retry_after(after),
            None => rejection,
        }
    }

    /// What becomes of a request when the store does not answer.
    #[cold]
    pub(crate) fn unanswered(&self, tier: Tier, _error: &StoreError) -> Option<Rejection> {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
        if self.open_when_store_fails {
            return None;
        }
        Some(self.rejection(tier, 1, RejectionKind::TooManyKeys))
    }

    /// Tells a refusal of the handle; an error if it is acted on.
    #[cold]
    fn refuse(&self, now: Timestamp, rejection: Rejection) -> Result<(), Rejection> {
        let enforced = self.mode.enforces_next();
        self.tell_refusal(now, rejection.kind(), enforced, None, Duration::ZERO);
        if enforced { Err(rejection) } else { Ok(()) }
    }

    pub(crate) fn tell_refusal(
        &self,
        now: Timestamp,
        kind: RejectionKind,
        enforced: bool,
        outcome: Option<Outcome>,
        ran: Duration,
    ) {
        let call = Call {
            verdict: Told::Refused { kind, enforced },
            outcome,
            waited: Duration::ZERO,
            ran,
        };
        self.reporter.report(now, EventKind::Call(call));
    }
}

impl<St: QuotaStore> Live for Shared<St> {
    fn layer(&self) -> LayerKind {
        LayerKind::RateLimit
    }

    fn name(&self) -> Name {
        self.reporter.policy().clone()
    }

    fn snapshot(&self) -> Snapshot {
        let now = self.clock.now();
        let mut snapshot = Snapshot::new(self.layer(), self.name(), self.mode());
        let quotas = self.tiers.iter().flat_map(|tier| {
            let told = |(name, quota)| format!("{}/{name}: {quota}", tier.name());
            tier.quotas().map(told).collect::<Vec<_>>()
        });
        let quotas = quotas.collect::<Vec<_>>().join("; ");
        snapshot = snapshot.with("quotas", Value::Text(quotas));
        for (name, value) in self.store.fields(now) {
            snapshot = snapshot.with(name, value);
        }
        let unanswered = self.unanswered.load(Ordering::Relaxed);
        snapshot = snapshot.with("unanswered", Value::Count(unanswered));
        for (name, value) in self.reporter.stats(now).fields() {
            // Times that nobody measures would be shown as none.
            if self.follows() || !matches!(name, "latency" | "wait") {
                snapshot = snapshot.with(name, value);
            }
        }
        snapshot
    }

    fn mode(&self) -> Mode {
        self.mode.get()
    }

    fn set_mode(&self, mode: Mode) {
        let from = self.mode.get();
        self.mode.set(mode);
        if from != mode {
            let change = EventKind::Change(Change::Mode { from, to: mode });
            self.reporter.report(self.clock.now(), change);
        }
    }
}

impl<St> Clone for RateLimiter<St> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<St: QuotaStore> std::fmt::Debug for RateLimiter<St> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RateLimiter")
            .field("name", self.shared.reporter.policy())
            .field("mode", &self.mode())
            .finish_non_exhaustive()
    }
}
