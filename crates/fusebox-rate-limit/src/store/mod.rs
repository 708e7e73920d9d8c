//! Where quotas are kept: the question, the answer, and the memory of this process.
//!
//! A [`QuotaStore`] takes data and returns a verdict, so that it may as well be on the other side of a
//! network. [`MemoryStore`] answers at once.

mod accounts;
mod hash;
mod log_table;
mod memory;
mod table;
mod terms;

use std::time::Duration;

use fusebox_core::Timestamp;

use crate::{Quota, QuotaError};

pub use accounts::{Accounts, Layout};
pub use hash::{Key, KeyHasher};
pub use memory::{MemoryStore, TiersError};
pub use table::Overflow;
pub use terms::{PolicyTerms, Terms};

/// The most policies that one tier has.
pub const MOST_POLICIES: usize = 4;

/// What is asked of a store.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The time by the clock of whoever asks. Its origin is known to nobody else: to a store on another machine, or shared by
    /// several limiters, only the distance of two times means something (see [`spent_ago`](Self::spent_ago)), and now is what
    /// its own clock says.
    pub now: Timestamp,
    /// Whose policies apply: the place of the tier in the settings. A limiter asks only for tiers it has.
    pub tier: usize,
    /// What these policies are, for a store that does not have them by heart.
    pub terms: Terms<'a>,
    /// Under which keys.
    pub keys: Keys<'a>,
    /// How much, in the unit of the quotas.
    pub cost: u64,
    /// What to do.
    pub act: Act,
    /// Whether the answer is to say how each policy stands; it costs a few divisions.
    pub detail: bool,
}

impl Question<'_> {
    /// How long ago that was spent which is to be given back.
    #[must_use]
    pub fn spent_ago(&self) -> Option<Duration> {
        match self.act {
            Act::Refund { spent_at } => Some(self.now.since(spent_at)),
            _ => None,
        }
    }
}

/// The keys of a question.
#[derive(Clone, Copy, Debug)]
pub enum Keys<'a> {
    /// The same for all policies of the tier.
    One(Key),
    /// One for each policy of the tier, in their order. Where there are too few, the last is
    /// used for the rest. A policy whose key is [`Key::UNCOUNTED`] has no say.
    Each(&'a [Key]),
}

impl Keys<'_> {
    /// The key for the policy in that place.
    #[inline]
    #[must_use]
    pub fn get(&self, policy: usize) -> Key {
        match self {
            Self::One(key) => *key,
            Self::Each(keys) => keys
                .get(policy)
                .or_else(|| keys.last())
                .copied()
                .unwrap_or(Key::SHARED),
        }
    }
}

/// What a store does with the cost of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Spend it, if every policy allows; otherwise spend nothing. A policy may allow it for later.
    Spend,
    /// As [`Spend`](Self::Spend), for whoever will not wait: what would have to is refused, and spends nothing.
    SpendNow,
    /// Say what would happen.
    Peek,
    /// Count it whether or not it is allowed.
    Penalise,
    /// Give back what was spent at that time.
    Refund {
        /// When it was spent, by the clock of the question.
        spent_at: Timestamp,
    },
}

/// What a store answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it passes.
    pub decision: Decision,
    /// Which policies refuse: bit 0 is the tier's first.
    pub violated: u8,
    /// How each policy of the tier stands afterwards, if the question asked for it. Boxed, so that the
    /// answers that nearly everyone gets stay small.
    pub standings: Option<Box<[Standing; MOST_POLICIES]>>,
}

/// Whether something passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It does.
    Admitted {
        /// After this long; zero unless a policy lets its clients wait.
        wait: Duration,
    },
    /// It does not: a quota is spent.
    Refused {
        /// When it would, if nothing else happened; `None` if never, because it costs more than
        /// could ever be there.
        retry_after: Option<Duration>,
    },
    /// It does not: there is no place to count it in, and the rule is [`Overflow::Refuse`].
    NoPlace,
}

/// How one policy stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// How much is left.
    pub remaining: u64,
    /// How long until all is there again (buckets), or the window ends. Where nothing is left, how long until what the
    /// question costs is there, or one if so much never is: what `Retry-After` would say of this policy alone.
    pub reset: Duration,
}

/// A store could not answer.
///
/// Never the memory's answer. What a limiter does then is a setting of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreError {
    reason: std::borrow::Cow<'static, str>,
}

impl StoreError {
    /// Why, in words for a log.
    #[must_use]
    pub fn new(reason: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self {
            reason: reason.into(),
        }
    }
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the quota store does not answer: {}", self.reason)
    }
}

impl std::error::Error for StoreError {}

/// An answer, or the promise of one.
#[derive(Debug)]
pub enum Answer<F> {
    /// Here it is.
    Now(Verdict),
    /// It will come.
    Later(F),
}

/// Where quotas are kept.
///
/// It takes data and returns a verdict, so that it may be on the other side of a network: who asks for what, the
/// [terms](Terms) of the policies, which keys, how much. Keys of text are the same in other processes if the limiters have the
/// same [hash key](crate::RateLimiterBuilder::hash_key).
///
/// It must be atomic over the policies of a question: on refusal nothing is spent, and however many ask
/// at once, no policy admits more than it has.
pub trait QuotaStore: Send + Sync + 'static {
    /// What an answer that is not here yet is awaited with. Unpin, so that whoever waits need not box it.
    type Later: Future<Output = Result<Verdict, StoreError>> + Send + Unpin + 'static;

    /// Answers `question`.
    ///
    /// # Cancel safety
    /// Dropping the promise of an answer leaves open whether something was spent.
    fn ask(&self, question: &Question<'_>) -> Answer<Self::Later>;

    /// Spends, if that is certain without a closer look, and says when it looked at the clock and whether it did. What
    /// [`ask`](Self::ask) would do with most questions, without putting a question and a verdict together; nothing,
    /// unless overridden.
    ///
    /// The clock is looked at once, whatever happens. A memory can fetch what it needs for the key meanwhile.
    #[inline]
    fn spend_at_once(
        &self,
        tier: usize,
        key: Key,
        cost: u64,
        clock: impl FnOnce() -> Timestamp,
    ) -> (Timestamp, bool)
    where
        Self: Sized,
    {
        let _ = (tier, key, cost);
        (clock(), false)
    }

    /// Hears that a policy has another quota from `now` on. A store that goes by the terms of each question has nothing to do.
    ///
    /// # Errors
    /// [`QuotaError`] when it cannot count that; nothing is changed then.
    fn change(
        &self,
        now: Timestamp,
        tier: usize,
        policy: usize,
        quota: Quota,
    ) -> Result<(), QuotaError> {
        let _ = (now, tier, policy, quota);
        Ok(())
    }

    /// Fields for the snapshot of the handle: how full it is, what it refused for lack of room.
    fn fields(&self, now: Timestamp) -> Vec<(&'static str, fusebox_core::Value)> {
        let _ = now;
        Vec::new()
    }
}
