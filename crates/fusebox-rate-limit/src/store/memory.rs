//! The quotas of this process.

use std::fmt;
use std::future::Ready;
use std::time::Duration;

use fusebox_core::{Timestamp, Value};

use super::accounts::{Accounts, At, Counted, How, Said};
use super::hash::{Key, KeyHasher};
use super::table::FALSE_MATCH;
use super::{
    Act, Answer, Decision, Keys, MOST_POLICIES, Question, QuotaStore, Standing, StoreError, Verdict,
};
use crate::engine::quota::{Quota, QuotaError};

/// Quotas in the memory of this process: bounded, lock-free (but for exact logs), answered at once.
///
/// # Memory
/// [`Layout::capacity`](super::Layout::capacity) active keys take 16 bytes each, allocated when it is made, and never more; those of a sliding
/// window, which counts this window and the one before, take 24. An exact log takes eight bytes per entry of its limit,
/// three times, and about a hundred more; a higher limit later takes its part when it is set.
///
/// When as many keys are active as that, one new key in some ten million finds no place, with exact logs one in a hundred
/// thousand. Then [`Layout::overflow`](super::Layout::overflow) applies, to that key alone.
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

impl MemoryStore {
    /// How likely a new key is taken for one that is there, when as many are active as there is room
    /// for.
    pub const FALSE_MATCH_PROBABILITY: f64 = FALSE_MATCH;

    /// A store for these tiers, each with the accounts of its policies.
    ///
    /// # Errors
    /// [`TiersError`] when there is no tier, or when one has no policy or more than [`MOST_POLICIES`]: it would
    /// limit nobody, or not by all of them.
    pub fn new(tiers: Vec<Vec<Accounts>>) -> Result<Self, TiersError> {
        let numbers = tiers.iter().map(Vec::len).enumerate();
        let wrong = numbers
            .chain(tiers.is_empty().then_some((0, 0)))
            .find(|(_, given)| !(1..=MOST_POLICIES).contains(given));
        if let Some((tier, given)) = wrong {
            return Err(TiersError { tier, given });
        }
        Ok(Self {
            hasher: KeyHasher::new(),
            tiers: tiers.into_iter().map(Vec::into_boxed_slice).collect(),
        })
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

/// A store of which a tier has no policy, or more than [`MOST_POLICIES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TiersError {
    /// The tier's place.
    pub tier: usize,
    /// How many policies it has.
    pub given: usize,
}

impl fmt::Display for TiersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tier, given } = self;
        write!(
            f,
            "tier {tier}: must have 1 to {MOST_POLICIES} policies, got {given}"
        )
    }
}

impl std::error::Error for TiersError {}

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
