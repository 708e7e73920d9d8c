//! Token bucket and leaky bucket, as one number.
//!
//! The generic cell rate algorithm (ITU-T I.371, annex A, "virtual scheduling"): a client's state is
//! the moment at which its bucket will be full again, its *theoretical arrival time*. What it has spent
//! and not got back is the distance from now to then. Here both are readings of a clock that runs in
//! tokens (see [`pace`](super::pace)), so the distance *is* the debt, in ticks.
//!
//! A bucket that is full has a state in the past. It carries no information: forgetting it and keeping
//! it are the same. That is what makes a bounded table possible.
//!
//! # Bound
//! Over any stretch of time `T`, what was admitted and not given back costs at most
//! `burst + rate * T`, and a tick: the clock moves in steps, so a token may be there up to one step before
//! its time. A tick is at most 1/256 of a token, unless the burst is over 2^21. Errors do not add up. What is
//! given back within `T` and was spent before it adds to the bound, as it does to any bucket.

use std::time::Duration;

use fusebox_core::{Timestamp, time::nanos};

use super::pace::{Pace, Running};
use super::quota::{Quota, QuotaError};
use super::{STATE_BITS, STATE_MASK, Step};

/// The highest burst, and what a queue may add to it.
pub const MOST_BURST: u64 = 1 << 33;
/// The most ticks of a burst. Debts of up to twice as much, and clocks that disagree, must stay far
/// below the range of a state, so that old states can be told from new ones.
const MOST_TICKS: u64 = 1 << 33;
/// So many times larger a burst can be made later.
const GROWTH: u64 = 16;
/// Ticks per second that are more than enough: the state's range is then 388 days.
const ENOUGH_PER_SECOND: u128 = 1 << 14;
/// But a token is divided at least so finely, if its burst leaves room for it.
const COARSEST: u128 = 256;
/// How long a thread may sleep between reading the clock and deciding before its decision could take
/// a debt for an old one.
const SKEW: Duration = Duration::from_secs(10);

/// The arithmetic of one policy.
///
/// # How states age
/// A state is a reading of the policy's clock, of which 39 bits are kept. Ahead of now by up to a
/// span that every debt fits in, it is a debt; anything else is the past. So a client that was away
/// for about as long as the range lasts could be taken to owe something it had paid: with 20 per second and
/// a burst of 40, once in 40,000 returns after more than a year. The error is against the client, never for it.
#[derive(Debug)]
pub struct Gcra {
    pace: Pace,
    /// Ticks per token.
    unit: u64,
    patience: Patience,
    /// Whether each request waits for those before it, however large it is itself.
    shapes: bool,
}

/// The arithmetic at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    now: u64,
    running: Running,
    unit: u64,
    patience: Patience,
    shapes: bool,
}

/// What a queue may owe beyond the burst: what comes in so long a time, at the rate of now, and no more than so much.
#[derive(Clone, Copy, Debug)]
struct Patience {
    nanos: u64,
    ticks: u64,
}

impl Patience {
    /// In ticks, for a clock that makes so many of them in a period.
    fn owed(self, ticks: u64, period: Duration) -> u64 {
        let owed = u128::from(ticks) * u128::from(self.nanos) / period.as_nanos().max(1);
        // Clocks round their speed up.
        let owed = u64::try_from(owed).unwrap_or(u64::MAX).saturating_add(1);
        if self.nanos == 0 {
            0
        } else {
            owed.min(self.ticks)
        }
    }
}

impl Gcra {
    /// A token bucket, or a leaky bucket as a meter, which is the same seen from the other side.
    ///
    /// With a `patience` a request may also be admitted for later: after a wait of at most that.
    ///
    /// # Errors
    /// [`QuotaError`] when the quota is none or counts higher than [`MOST_BURST`].
    pub fn meter(quota: Quota, patience: Duration) -> Result<Self, QuotaError> {
        quota.check()?;
        // The wait must pay for itself: as many tokens as come in that time may be owed.
        Self::new(quota, quota.burst_size(), patience, None)
    }

    /// A leaky bucket as a shaper: one at a time, evenly spaced, while at most `queue` wait.
    ///
    /// # Errors
    /// As [`meter`](Self::meter); the queue counts as the burst.
    pub fn shaper(quota: Quota, queue: u64, patience: Duration) -> Result<Self, QuotaError> {
        quota.burst(1).check()?;
        Self::new(quota, 1, patience, Some(queue))
    }

    fn new(
        quota: Quota,
        burst: u64,
        patience: Duration,
        queue: Option<u64>,
    ) -> Result<Self, QuotaError> {
        let owed = tokens_in(quota, patience).min(queue.unwrap_or(u64::MAX));
        let most = burst.saturating_add(owed);
        if most > MOST_BURST {
            return Err(QuotaError::TooMany {
                field: "burst",
                given: most,
                most: MOST_BURST,
            });
        }
        let unit = unit(quota, most);
        let ticks = quota.amount().saturating_mul(unit);
        let limit = burst.saturating_mul(unit);
        let patience = Patience {
            nanos: nanos(patience),
            ticks: queue.map_or(u64::MAX, |queue| queue.saturating_mul(unit)),
        };
        let most = limit.saturating_add(patience.owed(ticks, quota.period()));
        Ok(Self {
            pace: Pace::new(ticks, quota.period(), limit, span(quota, unit, most)),
            unit,
            patience,
            shapes: queue.is_some(),
        })
    }

    /// Changes rate and burst from `now` on. What clients have spent stays spent, token for token. The longest wait
    /// stays what it was: at another rate, as many more or fewer may be in line.
    ///
    /// # Errors
    /// As for a new one; also when the new burst or rate is beyond what can be counted in the ticks that were right
    /// for the first one (sixteen times its burst can). Nothing is changed then.
    pub fn change(&self, now: Timestamp, quota: Quota) -> Result<(), QuotaError> {
        quota.check()?;
        let burst = if self.shapes { 1 } else { quota.burst_size() };
        let (amount, period) = (quota.amount(), quota.period());
        let ticks = u128::from(amount) * u128::from(self.unit);
        let Some(ticks) = u64::try_from(ticks)
            .ok()
            .filter(|_| ticks <= period.as_nanos())
        else {
            return Err(QuotaError::TooFast { amount, period });
        };
        let patience = self.patience.owed(ticks, period);
        let most = MOST_TICKS.saturating_sub(patience) / self.unit;
        if burst > most {
            return Err(QuotaError::TooMany {
                field: "burst",
                given: burst,
                most,
            });
        }
        let limit = burst.saturating_mul(self.unit);
        let span = span(quota, self.unit, limit + patience);
        self.pace.change(now, ticks, period, limit, span);
        Ok(())
    }

    /// Whether it gives each its turn, and takes none back.
    #[inline]
    #[must_use]
    pub const fn shapes(&self) -> bool {
        self.shapes
    }

    /// Everything a decision needs to know of `now`.
    #[inline]
    #[must_use]
    pub fn at(&self, now: Timestamp) -> Moment {
        let running = self.pace.running();
        Moment {
            now: running.ticks(now),
            running,
            unit: self.unit,
            patience: self.patience,
            shapes: self.shapes,
        }
    }
}

impl Moment {
    /// The state of a client nobody has seen: a full bucket.
    #[inline]
    #[must_use]
    pub const fn full(&self) -> u64 {
        self.now & STATE_MASK
    }

    /// What a queue may owe beyond the burst, in ticks. Not kept beside the rate: most decisions do not ask.
    const fn patience(&self) -> u64 {
        let owed = self.running.ticks_in(self.patience.nanos);
        if owed < self.patience.ticks {
            owed
        } else {
            self.patience.ticks
        }
    }

    /// Whether forgetting this state loses nothing.
    #[inline]
    #[must_use]
    pub const fn idle(&self, state: u64) -> bool {
        self.debt(state) == 0
    }

    /// What has been spent and has not come back, in ticks.
    #[inline]
    const fn debt(&self, state: u64) -> u64 {
        let ahead = state.wrapping_sub(self.now) & STATE_MASK;
        if ahead > self.running.span { 0 } else { ahead }
    }

    #[inline]
    const fn owing(&self, debt: u64) -> u64 {
        self.now.wrapping_add(debt) & STATE_MASK
    }

    /// The state after `cost` tokens are spent, if the bucket has them now.
    ///
    /// What [`spend`](Self::spend) says in the usual case, short enough to be compiled into whoever asks.
    #[inline]
    #[must_use]
    pub const fn spend_at_once(&self, state: u64, cost: u64) -> Option<u64> {
        let cost = cost.saturating_mul(self.unit);
        let owed = self.debt(state).saturating_add(cost);
        if owed <= self.running.limit {
            Some(self.owing(owed))
        } else {
            None
        }
    }

    /// Spends `cost` tokens, if the bucket has them, or (with patience) will have them soon enough.
    #[must_use]
    pub fn spend(&self, state: u64, cost: u64) -> Step {
        if let Some(state) = self.spend_at_once(state, cost) {
            return Step::Spent { state, wait: 0 };
        }
        let burst = self.running.limit;
        let cost = cost.saturating_mul(self.unit);
        let debt = self.debt(state);
        // A shaper lets each start when those before it are through, so its own size does not count.
        let due = if self.shapes { cost.min(burst) } else { cost };
        if due > burst {
            return Step::Denied { wait: u64::MAX };
        }
        let over = debt.saturating_add(due).saturating_sub(burst);
        let patience = self.patience();
        if over > patience {
            return Step::Denied {
                wait: over - patience,
            };
        }
        let owed = debt.saturating_add(cost);
        if owed > self.running.span {
            return Step::Denied { wait: u64::MAX };
        }
        Step::Spent {
            state: self.owing(owed),
            wait: over,
        }
    }

    /// Gives `cost` tokens back; a bucket does not get fuller than full. A shaper gives nothing back: a turn that was
    /// taken is over or promised, and another call in its place would start beside the next one.
    #[must_use]
    pub const fn refund(&self, state: u64, cost: u64) -> u64 {
        self.refund_ticks(state, cost.saturating_mul(self.unit))
    }

    /// As [`refund`](Self::refund), in ticks.
    #[must_use]
    pub const fn refund_ticks(&self, state: u64, ticks: u64) -> u64 {
        if self.shapes {
            return state;
        }
        self.owing(self.debt(state).saturating_sub(ticks))
    }

    /// How many ticks of `cost` tokens spent at that time have not come back by now, had nobody spent before; none if
    /// the rate was changed since.
    #[must_use]
    pub fn outstanding(&self, cost: u64, spent_at: Timestamp) -> u64 {
        match self.running.ticks_between(spent_at, self.now) {
            Some(came) => cost.saturating_mul(self.unit).saturating_sub(came),
            None => 0,
        }
    }

    /// Takes `cost` tokens, whether or not the bucket has them; nobody can owe more than two
    /// bursts, queues included.
    #[must_use]
    pub const fn penalise(&self, state: u64, cost: u64) -> u64 {
        let debt = self.debt(state);
        let most = self
            .running
            .limit
            .saturating_add(self.patience())
            .saturating_mul(2);
        let most = if most > debt { most } else { debt };
        let most = if most > self.running.span {
            self.running.span
        } else {
            most
        };
        let owed = debt.saturating_add(cost.saturating_mul(self.unit));
        self.owing(if owed > most { most } else { owed })
    }

    /// Whole tokens that can be spent now.
    #[must_use]
    pub const fn remaining(&self, state: u64) -> u64 {
        self.running.limit.saturating_sub(self.debt(state)) / self.unit
    }

    /// How long until the bucket is full again.
    #[must_use]
    pub fn reset(&self, state: u64) -> Duration {
        self.running.duration(self.debt(state))
    }

    /// How long so many ticks take.
    #[must_use]
    pub fn duration(&self, ticks: u64) -> Duration {
        self.running.duration(ticks)
    }
}

/// How many tokens come in `time`, rounded down.
fn tokens_in(quota: Quota, time: Duration) -> u64 {
    let tokens = time
        .as_nanos()
        .saturating_mul(u128::from(quota.amount()))
        .checked_div(quota.period().as_nanos())
        .unwrap_or(0);
    u64::try_from(tokens).unwrap_or(u64::MAX)
}

/// How far ahead of the clock a state may be: debts, penalties, and clocks that disagree.
fn span(quota: Quota, unit: u64, most: u64) -> u64 {
    let ticks =
        SKEW.as_nanos() * u128::from(quota.amount()) * u128::from(unit) / quota.period().as_nanos();
    let skew = u64::try_from(ticks).unwrap_or(u64::MAX);
    most.saturating_mul(4)
        .saturating_add(skew)
        .min(1 << (STATE_BITS - 1))
}

/// How many ticks a token has.
fn unit(quota: Quota, most: u64) -> u64 {
    let (amount, period) = (u128::from(quota.amount().max(1)), quota.period().as_nanos());
    let enough = ENOUGH_PER_SECOND * period / (amount * 1_000_000_000);
    let finest = u128::from(MOST_TICKS / GROWTH / most.max(1)).min(period / amount);
    let unit = enough.max(COARSEST).min(finest).max(1);
    u64::try_from(unit).unwrap_or(1)
}
