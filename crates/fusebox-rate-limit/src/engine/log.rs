//! The exact sliding log, for small quotas.
//!
//! Five logins in a quarter of an hour is a promise people check by hand. The log keeps the moment of
//! each and admits another only when fewer than the limit lie within the last window.
//!
//! # Bound
//! At most the limit in any window, wherever it begins: exactly.
//!
//! When the quota changes, what the log holds stays in it and is held against the new limit and the new window. A window that
//! is made longer counts what lay within the shorter one, and all that comes after.

use std::time::Duration;

use fusebox_core::{Timestamp, time::nanos};

use super::quota::{Quota, QuotaError};
use super::steady::Steady;

/// The most that a log keeps for one client: eight bytes each.
pub const MOST_ENTRIES: u64 = 64;

/// The rules of a log: how many, and how far back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    limit: usize,
    window: u64,
}

/// Rules that may change while others go by them.
#[derive(Debug)]
pub(crate) struct Changing(Steady<2>);

impl Changing {
    pub(crate) fn new(log: Log) -> Self {
        Self(Steady::new([log.limit as u64, log.window]))
    }

    pub(crate) fn now(&self) -> Log {
        let [limit, window] = self.0.get();
        Log {
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            window,
        }
    }

    pub(crate) fn change(&self, log: Log) {
        self.0.change(|_| [log.limit as u64, log.window]);
    }
}

impl Log {
    /// The quota's amount in any window of its period.
    ///
    /// # Errors
    /// [`QuotaError`] when the quota is none or its amount is above [`MOST_ENTRIES`].
    pub fn new(quota: Quota) -> Result<Self, QuotaError> {
        quota.burst(1).check()?;
        let given = quota.amount();
        let (field, most) = ("amount", MOST_ENTRIES);
        let limit = usize::try_from(given)
            .ok()
            .filter(|_| given <= most)
            .ok_or(QuotaError::TooMany { field, given, most })?;
        let window = nanos(quota.period());
        Ok(Self { limit, window })
    }

    /// The limit.
    #[must_use]
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// Drops what lies too far back. An empty log is as good as none.
    pub fn expire(&self, moments: &mut Vec<u64>, now: Timestamp) {
        let now = now.as_nanos();
        moments.retain(|moment| now.saturating_sub(*moment) < self.window);
    }

    /// Whether nothing lies within the window.
    #[must_use]
    pub fn is_over(&self, moments: &[u64], now: Timestamp) -> bool {
        moments
            .last()
            .is_none_or(|last| now.as_nanos().saturating_sub(*last) >= self.window)
    }

    /// Spends `cost`, if the window has room for it. `moments` must have been
    /// [expired](Self::expire).
    ///
    /// # Errors
    /// How long until there is room; [`Duration::MAX`] if `cost` is above the limit.
    pub fn spend(&self, moments: &mut Vec<u64>, now: Timestamp, cost: u64) -> Result<(), Duration> {
        let cost = usize::try_from(cost).unwrap_or(usize::MAX);
        if cost > self.limit {
            return Err(Duration::MAX);
        }
        let over = (moments.len() + cost).saturating_sub(self.limit);
        if over > 0 {
            // The oldest `over` must leave the window. They are kept in order.
            let last = moments.get(over - 1).copied().unwrap_or(0);
            let leaves = Timestamp::from_nanos(last.saturating_add(self.window));
            return Err(leaves.since(now));
        }
        // A thread that read the clock earlier and got here later must not break the order.
        let at = moments.last().copied().unwrap_or(0).max(now.as_nanos());
        moments.extend(std::iter::repeat_n(at, cost));
        Ok(())
    }

    /// Takes back what was spent at that moment, unless it has left the window by `now`.
    ///
    /// Only what bears that moment: it may be gone, pushed out by a [penalty](Self::penalise) or by a window that was
    /// shorter for a while, and a later entry is somebody else's. A spend that another thread was ahead of bears a later
    /// moment and is not found, which is against the client; taken back in the moment it was made it is, because nothing
    /// can be gone by then.
    pub fn refund(&self, moments: &mut Vec<u64>, now: Timestamp, spent_at: Timestamp, cost: u64) {
        if now.as_nanos().saturating_sub(spent_at.as_nanos()) >= self.window {
            return;
        }
        let at_once = now == spent_at;
        for _ in 0..cost {
            let at = moments.partition_point(|moment| *moment < spent_at.as_nanos());
            match moments.get(at) {
                Some(moment) if at_once || *moment == spent_at.as_nanos() => moments.remove(at),
                _ => return,
            };
        }
    }

    /// Counts `cost` whether or not there is room, at the price of what lies furthest back.
    pub fn penalise(&self, moments: &mut Vec<u64>, now: Timestamp, cost: u64) {
        let at = moments.last().copied().unwrap_or(0).max(now.as_nanos());
        for _ in 0..cost.min(self.limit as u64) {
            if moments.len() >= self.limit {
                moments.remove(0);
            }
            moments.push(at);
        }
    }

    /// How much may be spent now.
    #[must_use]
    pub fn remaining(&self, moments: &[u64]) -> u64 {
        self.limit.saturating_sub(moments.len()) as u64
    }

    /// How long until nothing is in the window.
    #[must_use]
    pub fn reset(&self, moments: &[u64], now: Timestamp) -> Duration {
        moments.last().map_or(Duration::ZERO, |last| {
            Timestamp::from_nanos(last.saturating_add(self.window)).since(now)
        })
    }
}
