//! Fixed and sliding windows.
//!
//! A window's state is its number and what was spent in it. Windows are numbered by a clock that makes
//! one revolution per window, from the start of the process: not aligned with the wall clock, so that
//! not all clients of the world come back at the same second.
//!
//! The sliding window is the two-counter estimate that API gateways use (Cloudflare, *How we built rate
//! limiting capable of scaling to millions of domains*, 2017): the window before counts for the part of
//! it that would still be inside a window ending now, as if it had been spent evenly.
//!
//! # Bound
//! In each numbered window at most the limit is admitted, so over any stretch of time `T` at most
//! `limit * (ceil(T / W) + 1)`. The sliding estimate never admits more than that, and right after a window
//! that was spent to the limit it admits at an even rate: until the fraction `f` of the new window has
//! passed, no more than `f * limit`.

use std::time::Duration;

use fusebox_core::Timestamp;

use super::pace::{Pace, Running};
use super::quota::{Quota, QuotaError};
use super::{STATE_MASK, Step};

/// The bits of the count: up to 16,777,215 per window. The other 15 number the window.
const COUNT_BITS: u32 = 24;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const NUMBER_MASK: u64 = STATE_MASK >> COUNT_BITS;
/// The most that a window counts.
pub const MOST_COUNT: u64 = COUNT_MASK;
/// The finest division of a window.
const FINEST: u32 = 24;
/// The shortest window: below it, the division would be coarser than the clock's own steps matter.
pub const SHORTEST: Duration = Duration::from_micros(1);
/// How long a thread may sleep between reading the clock and deciding before its decision could take
/// a window that is not over for an old one.
const SKEW: Duration = Duration::from_secs(1);

/// The arithmetic of one policy.
///
/// # How states age
/// Window numbers have 15 bits. A client that was away for more than 32,768 windows may, three times in
/// 32,768, meet its own old count as if it were new. The error is against the client, never for it.
#[derive(Debug)]
pub struct Window {
    pace: Pace,
    /// A window has `1 << division` ticks.
    division: u32,
    /// How many windows ahead of now still count as running: threads do not agree on now.
    skew: u64,
    sliding: bool,
}

/// The arithmetic at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The number of the window.
    number: u64,
    /// How far into it, in ticks.
    into: u64,
    running: Running,
    division: u32,
    skew: u64,
    sliding: bool,
}

impl Window {
    /// Windows of the quota's period, each with its amount.
    ///
    /// # Errors
    /// [`QuotaError`] when the quota is none, counts higher than [`MOST_COUNT`], or the window is shorter
    /// than [`SHORTEST`].
    pub fn new(quota: Quota, sliding: bool) -> Result<Self, QuotaError> {
        check(quota)?;
        let division = quota.period().as_nanos().ilog2().min(FINEST);
        let pace = Pace::new(1 << division, quota.period(), quota.amount(), 0);
        let skew = SKEW.as_nanos() / quota.period().as_nanos();
        Ok(Self {
            pace,
            division,
            skew: u64::try_from(skew).unwrap_or(u64::MAX).clamp(1, 1_024),
            sliding,
        })
    }

    /// Changes limit and length from `now` on. What was spent in the window stays spent; a window whose
    /// length changes keeps its number and the part of it that is over.
    ///
    /// # Errors
    /// As for a new one; also when the new window has fewer nanoseconds than the first one had ticks.
    pub fn change(&self, now: Timestamp, quota: Quota) -> Result<(), QuotaError> {
        check(quota)?;
        let least = Duration::from_nanos(1 << self.division);
        if quota.period() < least {
            let given = quota.period();
            return Err(QuotaError::WindowTooShort { given, least });
        }
        self.pace
            .change(now, 1 << self.division, quota.period(), quota.amount(), 0);
        Ok(())
    }

    /// Whether the window before counts too.
    #[must_use]
    pub const fn slides(&self) -> bool {
        self.sliding
    }

    /// The moment at which something was spent that is to be given back; `None` if the quota was changed since, and
    /// nobody can tell any more in which window that was.
    #[must_use]
    pub fn at_spending(&self, then: Timestamp) -> Option<Moment> {
        let moment = self.at(then);
        moment.running.knows(then).then_some(moment)
    }

    /// Everything a decision needs to know of `now`.
    #[inline]
    #[must_use]
    pub fn at(&self, now: Timestamp) -> Moment {
        let running = self.pace.running();
        let ticks = running.ticks(now);
        Moment {
            number: ticks >> self.division,
            into: ticks & ((1 << self.division) - 1),
            running,
            division: self.division,
            skew: self.skew,
            sliding: self.sliding,
        }
    }
}

fn check(quota: Quota) -> Result<(), QuotaError> {
    // A window knows no burst.
    quota.burst(1).check()?;
    if quota.amount() > MOST_COUNT {
        return Err(QuotaError::TooMany {
            field: "amount",
            given: quota.amount(),
            most: MOST_COUNT,
        });
    }
    if quota.period() < SHORTEST {
        return Err(QuotaError::WindowTooShort {
            given: quota.period(),
            least: SHORTEST,
        });
    }
    Ok(())
}

impl Moment {
    /// The number of the window. A sliding window keeps even and odd windows apart, so that the one
    /// before is still there when the next has begun.
    #[inline]
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Whether the window before counts too.
    #[must_use]
    pub const fn slides(&self) -> bool {
        self.sliding
    }

    /// The state of a client nobody has seen in this window.
    #[inline]
    #[must_use]
    pub const fn full(&self) -> u64 {
        (self.number & NUMBER_MASK) << COUNT_BITS
    }

    /// How many windows ahead of now the state's is.
    #[inline]
    const fn ahead(&self, state: u64) -> u64 {
        (state >> COUNT_BITS).wrapping_sub(self.number) & NUMBER_MASK
    }

    /// Whether forgetting this state loses nothing.
    #[inline]
    #[must_use]
    pub const fn idle(&self, state: u64) -> bool {
        if state & COUNT_MASK == 0 {
            return true;
        }
        let ahead = self.ahead(state);
        // The window before still counts when sliding.
        ahead > self.skew && !(self.sliding && ahead == NUMBER_MASK)
    }

    /// What was spent in this window, and the window's number as the state has it: a thread that is
    /// late finds that the next window has begun, and spends in that one.
    #[inline]
    const fn standing(&self, state: u64) -> (u64, u64) {
        if self.ahead(state) > self.skew {
            (self.full(), 0)
        } else {
            (state & !COUNT_MASK & STATE_MASK, state & COUNT_MASK)
        }
    }

    /// What was spent in the window before this one, if `state` is its.
    #[inline]
    #[must_use]
    pub const fn before(&self, state: u64) -> u64 {
        if self.ahead(state) == NUMBER_MASK {
            state & COUNT_MASK
        } else {
            0
        }
    }

    /// The part of what was spent before that still counts, rounded up.
    const fn carried(&self, before: u64) -> u64 {
        if before == 0 {
            return 0;
        }
        let window = 1_u64 << self.division;
        // At most 24 + 24 bits.
        (before * (window - self.into)).div_ceil(window)
    }

    /// Spends `cost`, if the limit leaves room for it. `before` is what was spent in the window before,
    /// 0 unless sliding.
    #[inline]
    #[must_use]
    pub const fn spend(&self, state: u64, before: u64, cost: u64) -> Step {
        let limit = self.running.limit;
        let (window, count) = self.standing(state);
        if cost > limit {
            return Step::Denied { wait: u64::MAX };
        }
        let used = count + self.carried(before);
        if used.saturating_add(cost) > limit {
            return Step::Denied {
                wait: self.wait(count, before, cost),
            };
        }
        Step::Spent {
            state: window | (count + cost),
            wait: 0,
        }
    }

    /// Ticks until `cost` fits, if nobody spends meanwhile.
    const fn wait(&self, count: u64, before: u64, cost: u64) -> u64 {
        let window = 1_u64 << self.division;
        let rest = window - self.into;
        let limit = self.running.limit;
        if count + cost <= limit {
            // When as little of the window before is left as there is room for. `before` is not 0 here.
            let room = limit - count - cost;
            return rest.saturating_sub(room * window / before);
        }
        if !self.sliding {
            return rest;
        }
        // In the next window, of which this one is then the one before.
        let room = limit - cost;
        rest + window.saturating_sub(room * window / count)
    }

    /// Gives back what was spent in the window of this moment, if the state is still that window's.
    #[must_use]
    pub const fn refund(&self, state: u64, cost: u64) -> u64 {
        if self.ahead(state) != 0 {
            return state;
        }
        (state & !COUNT_MASK) | (state & COUNT_MASK).saturating_sub(cost)
    }

    /// Counts `cost` whether or not there is room; the count ends at twice the limit.
    #[must_use]
    pub const fn penalise(&self, state: u64, cost: u64) -> u64 {
        let (window, count) = self.standing(state);
        let most = self.running.limit * 2;
        let most = if most > COUNT_MASK { COUNT_MASK } else { most };
        let most = if count > most { count } else { most };
        let sum = count.saturating_add(cost);
        window | if sum > most { most } else { sum }
    }

    /// What is left in this window.
    #[must_use]
    pub const fn remaining(&self, state: u64, before: u64) -> u64 {
        let (_, count) = self.standing(state);
        let used = count + self.carried(before);
        self.running.limit.saturating_sub(used)
    }

    /// How long until the window ends.
    #[must_use]
    pub fn reset(&self) -> Duration {
        self.running.duration((1 << self.division) - self.into)
    }

    /// How long so many ticks take.
    #[must_use]
    pub fn duration(&self, ticks: u64) -> Duration {
        self.running.duration(ticks)
    }
}
