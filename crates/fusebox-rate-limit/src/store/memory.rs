//! The quotas of this process.

use std::future::Ready;
use std::time::Duration;

use fusebox_core::{Timestamp, Value};

use super::hash::{Key, KeyHasher};
use super::log_table::LogTable;
use super::table::{Aging, FALSE_MATCH, NoPlace, Overflow, Room, Spot, Table, either_word};
use super::{
    Act, Answer, Decision, Keys, MOST_POLICIES, Question, QuotaStore, Standing, StoreError, Verdict,
};
use crate::engine::gcra::{self, Gcra};
use crate::engine::log::{Changing, Log};
use crate::engine::quota::{Quota, QuotaError};
use crate::engine::window::{self, Window};
use crate::engine::{STATE_MASK, Step};

/// Quotas in the memory of this process: bounded, lock-free (but for exact logs), answered at once.
///
/// # Memory
/// [`Layout::capacity`] active keys take 16 bytes each, allocated when it is made, and never more; those of a sliding
/// window, which counts this window and the one before, take 24. An exact log takes eight bytes per entry of its limit,
/// three times, and about a hundred more; a higher limit later takes its part when it is set.
///
/// When as many keys are active as that, one new key in some ten million finds no place, with exact logs one in a hundred
/// thousand. Then [`Layout::overflow`] applies, to that key alone.
///
/// # Accuracy
/// Two keys are taken for one with a probability of `8 / 2^24`, about one in two million for each new
/// key when the table is full of active ones; in a sliding window, whose table is fuller and looked into twice, one in
/// eight hundred thousand; with exact logs never. They then share a quota: the error is against clients, never for
/// them. Which keys are taken for one is decided by a secret, so it cannot be brought about.
///
/// # Many policies at once
/// A request spends with all policies of its tier or with none. All but one are asked first, and only if all
/// agree is anything spent; should another thread have been faster meanwhile, what was spent is given back
/// at once. So no policy ever admits more than it has. A request of another key that shares *one* of
/// the policies may, for the nanoseconds until then, find it more spent than it will turn out to be. A shaper gives its turn
/// last, when all others have agreed; of two shapers in one tier the first may have given a turn that nobody takes.
#[derive(Debug)]
pub struct MemoryStore {
    hasher: KeyHasher,
    tiers: Box<[Box<[Accounts]>]>,
}

/// What a policy's accounts are to be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// How many keys may be active at once.
    pub capacity: usize,
    /// What happens to those beyond.
    pub overflow: Overflow,
}

/// What one policy has counted: its rules, and a state for each key.
#[derive(Debug)]
pub struct Accounts(Kind);

#[derive(Debug)]
enum Kind {
    Bucket(Gcra, Table),
    Window(Window, Table),
    Log(Changing, LogTable),
}

/// What one policy says.
#[derive(Clone, Copy)]
enum Said {
    Yes(Duration),
    No(Duration),
    NoPlace,
}

impl Accounts {
    /// Of a token bucket, or of a leaky bucket; see [`Gcra`].
    #[must_use]
    pub fn bucket(rules: Gcra, layout: Layout) -> Self {
        Self(Kind::Bucket(rules, layout.table(Room::ONE_WORD)))
    }

    /// Of windows.
    #[must_use]
    pub fn window(rules: Window, layout: Layout) -> Self {
        let room = if rules.slides() {
            Room::TWO_WORDS
        } else {
            Room::ONE_WORD
        };
        Self(Kind::Window(rules, layout.table(room)))
    }

    /// Of exact logs.
    #[must_use]
    pub fn log(rules: Log, layout: Layout) -> Self {
        let table = LogTable::new(layout.capacity, rules, layout.overflow);
        Self(Kind::Log(Changing::new(rules), table))
    }

    fn change(&self, now: Timestamp, quota: Quota) -> Result<(), QuotaError> {
        match &self.0 {
            Kind::Bucket(rules, _) => rules.change(now, quota),
            Kind::Window(rules, _) => rules.change(now, quota),
            Kind::Log(rules, table) => {
                let log = Log::new(quota)?;
                // Before anybody spends by it: no decision allocates.
                table.make_room(log.limit());
                rules.change(log);
                Ok(())
            }
        }
    }

    /// Spends in a bucket of which the key is known and has enough; otherwise does nothing but to look at the clock.
    ///
    /// By far the most of all requests, and all that is compiled into whoever asks: what is left to a call
    /// would have to be put into memory for it. The key's line is on its way while the clock is read; in a table that
    /// is in no cache that is a third of the time.
    #[inline(always)]
    fn spend_at_once(
        &self,
        hasher: &KeyHasher,
        key: Key,
        cost: u64,
        clock: impl FnOnce() -> Timestamp,
    ) -> (Timestamp, bool) {
        let Kind::Bucket(rules, table) = &self.0 else {
            return (clock(), false);
        };
        let spot = table.spot(hasher.place(key, 0));
        let now = clock();
        let moment = rules.at(now);
        let spent = table.advance(spot, |state| moment.spend_at_once(state, cost));
        (
            now,
            spent.unwrap_or_else(|| seldom(rules, table, spot, now, cost)),
        )
    }

    /// Whether it gives turns that it cannot take back.
    const fn shapes(&self) -> bool {
        match &self.0 {
            Kind::Bucket(rules, _) => rules.shapes(),
            Kind::Window(..) | Kind::Log(..) => false,
        }
    }

    /// Has the key's line fetched while others are asked.
    fn foresee(&self, at: &At<'_>) {
        match &self.0 {
            Kind::Bucket(_, table) => drop(table.spot(at.place(0))),
            Kind::Window(rules, table) => {
                let moment = rules.at(at.now);
                let salt = parity(&moment);
                table.spot(at.window(&moment, salt));
                if rules.slides() {
                    table.spot(at.window(&moment, salt ^ 1));
                }
            }
            Kind::Log(..) => {}
        }
    }

    /// Spends, or says what would happen.
    #[inline(never)]
    fn spend(&self, at: &At<'_>, cost: u64, How { really, waits }: How) -> Said {
        match &self.0 {
            Kind::Bucket(rules, table) => {
                let moment = rules.at(at.now);
                let step = table.update(at.place(0), &moment, |state| {
                    match moment.spend(state, cost) {
                        Step::Spent { wait, .. } if wait > 0 && !waits => (None, Err(wait)),
                        step => taken(step, really),
                    }
                });
                said(step, |ticks| moment.duration(ticks))
            }
            Kind::Window(rules, table) => {
                let moment = rules.at(at.now);
                let (salt, before) = windows(&moment, table, at);
                let step = table.update(at.window(&moment, salt), &moment, |state| {
                    taken(moment.spend(state, before, cost), really)
                });
                said(step, |ticks| moment.duration(ticks))
            }
            Kind::Log(rules, table) => {
                let rules = rules.now();
                let spent = table.update(at.place(0), &rules, at.now, |moments| {
                    let spent = rules.spend(moments, at.now, cost);
                    if spent.is_ok() && !really {
                        rules.refund(moments, at.now, at.now, cost);
                    }
                    spent
                });
                match spent {
                    Ok(Ok(())) => Said::Yes(Duration::ZERO),
                    Ok(Err(wait)) => Said::No(wait),
                    Err(NoPlace) => Said::NoPlace,
                }
            }
        }
    }

    fn penalise(&self, at: &At<'_>, cost: u64) {
        // No place, no penalty: the key is refused anyway.
        let _ = match &self.0 {
            Kind::Bucket(rules, table) => {
                let moment = rules.at(at.now);
                table.update(at.place(0), &moment, |state| {
                    (Some(moment.penalise(state, cost)), ())
                })
            }
            Kind::Window(rules, table) => {
                let moment = rules.at(at.now);
                let salt = parity(&moment);
                table.update(at.window(&moment, salt), &moment, |state| {
                    (Some(moment.penalise(state, cost)), ())
                })
            }
            Kind::Log(rules, table) => {
                let rules = rules.now();
                table.update(at.place(0), &rules, at.now, |moments| {
                    rules.penalise(moments, at.now, cost);
                })
            }
        };
    }

    /// Gives back what was spent then.
    ///
    /// A key without a place has nothing to give back to, unless it has to share. There only what is its own to give
    /// back may go back: what it had spent where it once had a place is paid back, or it would have that place still.
    fn refund(&self, at: &At<'_>, spent_at: Timestamp, cost: u64) {
        match &self.0 {
            Kind::Bucket(rules, _) if rules.shapes() => {}
            Kind::Bucket(rules, table) => {
                let (place, moment) = (at.place(0), rules.at(at.now));
                let refund = |state| (!moment.idle(state)).then(|| moment.refund(state, cost));
                if !table.update_own(place, refund) {
                    let outstanding = moment.outstanding(cost, spent_at);
                    table.update_share(place, &moment, |state| {
                        let owing = !moment.idle(state) && outstanding > 0;
                        owing.then(|| moment.refund_ticks(state, outstanding))
                    });
                }
            }
            Kind::Window(rules, table) => {
                let Some(then) = rules.at_spending(spent_at) else {
                    return;
                };
                let now = rules.at(at.now);
                let place = at.window(&then, parity(&then));
                // A window that is not over keeps its place, and of one that is nothing is given back.
                let refund = |state| {
                    let after = then.refund(state, cost);
                    (after != state).then_some(after)
                };
                if !table.update_own(place, refund) {
                    table.update_share(place, &now, refund);
                }
            }
            Kind::Log(rules, table) => {
                let rules = rules.now();
                let _ = table.update(at.place(0), &rules, at.now, |moments| {
                    rules.refund(moments, at.now, spent_at, cost);
                });
            }
        }
    }

    /// How long until `cost` is there, or one if so much never is.
    fn next(&self, at: &At<'_>, cost: u64) -> Option<Duration> {
        let how = How {
            really: false,
            waits: true,
        };
        let mut waits = [cost.max(1), 1].into_iter();
        waits.find_map(|cost| match self.spend(at, cost, how) {
            Said::Yes(wait) | Said::No(wait) => Some(wait).filter(|wait| *wait < Duration::MAX),
            Said::NoPlace => None,
        })
    }

    /// How much is left, and how long until all is there again.
    fn left(&self, at: &At<'_>) -> Standing {
        let standing = match &self.0 {
            Kind::Bucket(rules, table) => {
                let moment = rules.at(at.now);
                table.update(at.place(0), &moment, |state| {
                    let (remaining, reset) = (moment.remaining(state), moment.reset(state));
                    (None, Standing { remaining, reset })
                })
            }
            Kind::Window(rules, table) => {
                let moment = rules.at(at.now);
                let (salt, before) = windows(&moment, table, at);
                table.update(at.window(&moment, salt), &moment, |state| {
                    let remaining = moment.remaining(state, before);
                    let reset = moment.reset();
                    (None, Standing { remaining, reset })
                })
            }
            Kind::Log(rules, table) => {
                let rules = rules.now();
                table.update(at.place(0), &rules, at.now, |moments| {
                    let remaining = rules.remaining(moments);
                    let reset = rules.reset(moments, at.now);
                    Standing { remaining, reset }
                })
            }
        };
        // Without a place nothing is left.
        standing.unwrap_or_default()
    }

    fn counted(&self, now: Timestamp) -> Counted {
        match &self.0 {
            Kind::Bucket(rules, table) => Counted::of(table, &rules.at(now)),
            Kind::Window(rules, table) => Counted::of(table, &rules.at(now)),
            Kind::Log(rules, table) => Counted {
                active: table.active(&rules.now(), now),
                evicted: 0,
                overflowed: table.overflowed(),
                bytes: table.bytes() as u64,
            },
        }
    }
}

impl Layout {
    fn table(self, room: Room) -> Table {
        Table::new(self.capacity, room, self.overflow)
    }
}

/// [`Accounts::spend_at_once`] for one key in twenty, which is in its other line: when as many are active as there is room for.
#[inline(never)]
fn seldom(rules: &Gcra, table: &Table, spot: Spot<'_>, now: Timestamp, cost: u64) -> bool {
    let moment = rules.at(now);
    let next = |state| moment.spend_at_once(state, cost);
    table.advance(table.other_spot(spot), next) == Some(true)
}

/// How something is spent.
#[derive(Clone, Copy)]
struct How {
    /// Or only asked for.
    really: bool,
    /// Or refused if not at once.
    waits: bool,
}

/// A key at a moment.
struct At<'a> {
    hasher: &'a KeyHasher,
    key: Key,
    now: Timestamp,
}

impl At<'_> {
    #[inline]
    fn place(&self, salt: u64) -> u64 {
        self.hasher.place(self.key, salt)
    }

    /// The place of the even or of the odd window. Where both count, no key's odd one shares anything with any key's even
    /// one, which would forget what was spent in it.
    #[inline]
    fn window(&self, moment: &window::Moment, parity: u64) -> u64 {
        let place = self.place(parity);
        if moment.slides() {
            either_word(place, parity == 1)
        } else {
            place
        }
    }
}

struct Counted {
    active: u64,
    evicted: u64,
    overflowed: u64,
    bytes: u64,
}

impl Counted {
    fn of(table: &Table, aging: &impl Aging) -> Self {
        let (evicted, overflowed) = table.counted();
        Self {
            active: table.active(aging),
            evicted,
            overflowed,
            bytes: table.bytes() as u64,
        }
    }
}

impl Aging for gcra::Moment {
    #[inline]
    fn full(&self) -> u64 {
        gcra::Moment::full(self)
    }

    #[inline]
    fn idle(&self, state: u64) -> bool {
        gcra::Moment::idle(self, state)
    }
}

impl Aging for window::Moment {
    fn full(&self) -> u64 {
        window::Moment::full(self)
    }

    fn idle(&self, state: u64) -> bool {
        window::Moment::idle(self, state)
    }
}

/// Even and odd windows are kept apart.
fn parity(moment: &window::Moment) -> u64 {
    moment.number() & 1
}

/// Which of a key's two windows is now, and what was spent in the other, if that still counts.
fn windows(moment: &window::Moment, table: &Table, at: &At<'_>) -> (u64, u64) {
    let salt = parity(moment);
    if !moment.slides() {
        return (salt, 0);
    }
    let before = table.update(at.window(moment, salt ^ 1), moment, |state| {
        (None, moment.before(state))
    });
    (salt, before.unwrap_or(0))
}

#[inline]
fn taken(step: Step, really: bool) -> (Option<u64>, Result<u64, u64>) {
    match step {
        Step::Spent { state, wait } => (really.then_some(state & STATE_MASK), Ok(wait)),
        Step::Denied { wait } => (None, Err(wait)),
    }
}

fn said(step: Result<Result<u64, u64>, NoPlace>, duration: impl FnOnce(u64) -> Duration) -> Said {
    match step {
        Ok(Ok(0)) => Said::Yes(Duration::ZERO),
        Ok(Ok(ticks)) => Said::Yes(duration(ticks)),
        Ok(Err(ticks)) => Said::No(duration(ticks)),
        Err(NoPlace) => Said::NoPlace,
    }
}

impl MemoryStore {
    /// How likely a new key is taken for one that is there, when as many are active as there is room
    /// for.
    pub const FALSE_MATCH_PROBABILITY: f64 = FALSE_MATCH;

    /// A store for these tiers, each with the accounts of its policies.
    #[must_use]
    pub fn new(tiers: Vec<Vec<Accounts>>) -> Self {
        Self {
            hasher: KeyHasher::new(),
            tiers: tiers.into_iter().map(Vec::into_boxed_slice).collect(),
        }
    }

    /// Gives a policy another quota from `now` on. What clients have spent stays spent.
    ///
    /// # Errors
    /// [`QuotaError`] when the policy's algorithm cannot count it. Nothing is changed then.
    pub fn change(
        &self,
        now: Timestamp,
        tier: usize,
        policy: usize,
        quota: Quota,
    ) -> Result<(), QuotaError> {
        match self.tiers.get(tier).and_then(|tier| tier.get(policy)) {
            Some(accounts) => accounts.change(now, quota),
            None => Err(QuotaError::Unknown),
        }
    }

    /// Answers at once.
    #[inline(always)]
    #[must_use]
    pub fn decide(&self, question: &Question<'_>) -> Verdict {
        if let (Act::Spend | Act::SpendNow, false, Keys::One(key)) =
            (question.act, question.detail, question.keys)
            && let (_, true) =
                self.spend_at_once(question.tier, key, question.cost, || question.now)
        {
            return ADMITTED;
        }
        self.consider(question)
    }

    /// Answers anything.
    #[inline(never)]
    pub(crate) fn consider(&self, question: &Question<'_>) -> Verdict {
        // A tier that is not there is the first one: a mistake must not lift the limit.
        let tier = self.tiers.get(question.tier).or_else(|| self.tiers.first());
        let tier = tier.map_or(&[][..], |tier| tier);
        let mut verdict = match question.act {
            Act::Spend => self.spend(tier, question, true),
            Act::SpendNow => self.spend(tier, question, false),
            Act::Peek => self.peek(tier, question),
            Act::Penalise => {
                for (_, accounts, at) in self.counting(tier, question) {
                    accounts.penalise(&at, question.cost);
                }
                ADMITTED
            }
            Act::Refund { spent_at } => {
                for (_, accounts, at) in self.counting(tier, question) {
                    accounts.refund(&at, spent_at, question.cost);
                }
                ADMITTED
            }
        };
        if question.detail {
            verdict.standings = Some(Box::new(self.standings(tier, question, &verdict)));
        }
        verdict
    }

    #[inline]
    fn at(&self, question: &Question<'_>, policy: usize) -> At<'_> {
        At {
            hasher: &self.hasher,
            key: question.keys.get(policy),
            now: question.now,
        }
    }

    /// The policies that count the question, and under which key.
    fn counting<'a>(
        &'a self,
        tier: &'a [Accounts],
        question: &'a Question<'_>,
    ) -> impl Iterator<Item = (usize, &'a Accounts, At<'a>)> {
        let policies = tier.iter().enumerate();
        policies
            .map(|(policy, accounts)| (policy, accounts, self.at(question, policy)))
            .filter(|(_, _, at)| at.key != Key::UNCOUNTED)
    }

    /// Asks all, spends nothing.
    fn peek(&self, tier: &[Accounts], question: &Question<'_>) -> Verdict {
        let (really, waits) = (false, true);
        self.counting(tier, question)
            .map(|(policy, accounts, at)| {
                let said = accounts.spend(&at, question.cost, How { really, waits });
                (policy, said)
            })
            .fold(ADMITTED, worst)
    }

    /// All but one are asked first, and that one spends: it is asked and told at once. Only then do the others spend, which
    /// another thread may have made impossible meanwhile. What was spent goes back then. A shaper is the last to spend,
    /// because it cannot take back a turn behind which others stand already.
    fn spend(&self, tier: &[Accounts], question: &Question<'_>, waits: bool) -> Verdict {
        let spend = |accounts: &Accounts, at: &At<'_>, really| {
            accounts.spend(at, question.cost, How { really, waits })
        };
        if let ([only], Keys::One(_)) = (tier, question.keys) {
            return worst(ADMITTED, (0, spend(only, &self.at(question, 0), true)));
        }
        let counting = || self.counting(tier, question);
        for (_, accounts, at) in counting() {
            accounts.foresee(&at);
        }
        let pivot = counting()
            .filter(|(_, accounts, _)| !accounts.shapes())
            .last();
        let Some((first, accounts, at)) = pivot.or_else(|| counting().last()) else {
            return ADMITTED;
        };
        let others = || counting().filter(|(policy, ..)| *policy != first);
        let verdict = others()
            .map(|(policy, accounts, at)| (policy, spend(accounts, &at, false)))
            .fold(ADMITTED, worst);
        let really = matches!(verdict.decision, Decision::Admitted { .. });
        let mut verdict = worst(verdict, (first, spend(accounts, &at, really)));
        if !matches!(verdict.decision, Decision::Admitted { .. }) {
            return verdict;
        }
        let mut spent = 1_u8 << first;
        for shapers in [false, true] {
            for (policy, accounts, at) in others().filter(|(_, it, _)| it.shapes() == shapers) {
                let said = spend(accounts, &at, true);
                verdict = worst(verdict, (policy, said));
                if !matches!(said, Said::Yes(_)) {
                    for (_, accounts, at) in counting().filter(|(it, ..)| spent >> it & 1 == 1) {
                        accounts.refund(&at, question.now, question.cost);
                    }
                    return verdict;
                }
                spent |= 1 << policy;
            }
        }
        verdict
    }

    fn standings(
        &self,
        tier: &[Accounts],
        question: &Question<'_>,
        verdict: &Verdict,
    ) -> [Standing; MOST_POLICIES] {
        let mut standings = [Standing::default(); MOST_POLICIES];
        for (policy, (standing, accounts)) in standings.iter_mut().zip(tier).enumerate() {
            let at = self.at(question, policy);
            *standing = accounts.left(&at);
            if standing.remaining > 0 {
                continue;
            }
            // Whoever has nothing left wants to know when to come back, not when all is there that there could be.
            let known = match verdict.decision {
                Decision::Refused { retry_after } if verdict.violated == 1 << policy => retry_after,
                _ => None,
            };
            if let Some(wait) = known.or_else(|| accounts.next(&at, question.cost)) {
                standing.reset = wait;
            }
        }
        standings
    }
}

const ADMITTED: Verdict = Verdict {
    decision: Decision::Admitted {
        wait: Duration::ZERO,
    },
    violated: 0,
    standings: None,
};

/// The longest wait of those who admit; of those who refuse, the latest time to come back.
fn worst(verdict: Verdict, (policy, said): (usize, Said)) -> Verdict {
    let violated = verdict.violated | 1 << policy;
    match (verdict.decision, said) {
        (Decision::Admitted { wait }, Said::Yes(other)) => Verdict {
            decision: Decision::Admitted {
                wait: wait.max(other),
            },
            ..verdict
        },
        (_, Said::Yes(_)) => verdict,
        (Decision::NoPlace, _) | (_, Said::NoPlace) => Verdict {
            decision: Decision::NoPlace,
            violated,
            ..verdict
        },
        (before, Said::No(wait)) => {
            let never = wait == Duration::MAX;
            let retry_after = match before {
                Decision::Refused { retry_after: None } => None,
                _ if never => None,
                Decision::Refused {
                    retry_after: Some(other),
                } => Some(other.max(wait)),
                _ => Some(wait),
            };
            Verdict {
                decision: Decision::Refused { retry_after },
                violated,
                ..verdict
            }
        }
    }
}

impl QuotaStore for MemoryStore {
    type Later = Ready<Result<Verdict, StoreError>>;

    #[inline(always)]
    fn ask(&self, question: &Question<'_>) -> Answer<Self::Later> {
        Answer::Now(self.decide(question))
    }

    /// Spends, if the tier has one policy, that is a bucket, the key is known, and its bucket has enough;
    /// otherwise does nothing.
    #[inline(always)]
    fn spend_at_once(
        &self,
        tier: usize,
        key: Key,
        cost: u64,
        clock: impl FnOnce() -> Timestamp,
    ) -> (Timestamp, bool) {
        match self.tiers.get(tier).map(|tier| &**tier) {
            Some([only]) => only.spend_at_once(&self.hasher, key, cost, clock),
            _ => (clock(), false),
        }
    }

    fn change(
        &self,
        now: Timestamp,
        tier: usize,
        policy: usize,
        quota: Quota,
    ) -> Result<(), QuotaError> {
        Self::change(self, now, tier, policy, quota)
    }

    fn fields(&self, now: Timestamp) -> Vec<(&'static str, Value)> {
        let mut sum = Counted {
            active: 0,
            evicted: 0,
            overflowed: 0,
            bytes: 0,
        };
        for accounts in self.tiers.iter().flatten() {
            let counted = accounts.counted(now);
            sum.active += counted.active;
            sum.evicted += counted.evicted;
            sum.overflowed += counted.overflowed;
            sum.bytes += counted.bytes;
        }
        vec![
            ("keys", Value::Gauge(sum.active)),
            ("evicted", Value::Count(sum.evicted)),
            ("overflowed", Value::Count(sum.overflowed)),
            ("bytes", Value::Gauge(sum.bytes)),
        ]
    }
}
