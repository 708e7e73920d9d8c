//! Time in the unit a quota is counted in.
//!
//! Tokens are divided into ticks, and a policy's clock runs in them: while the quota gives twenty
//! tokens per second, the clock advances by twenty tokens' worth of ticks per second. What a client has
//! spent is then a plain difference of two readings, and **changing the rate changes nothing but the
//! speed of the clock**: nobody's spending is converted, forgotten or written again.
//!
//! The idea is the virtual clock of Zhang, *`VirtualClock`: a new traffic control algorithm for
//! packet-switched networks* (1991).

use std::time::Duration;

use fusebox_core::Timestamp;

use super::steady::Steady;

/// A clock whose speed can be changed while it is read, and two numbers that change with it.
#[derive(Debug)]
pub(super) struct Pace(Steady<5>);

/// A clock at one moment: how fast it runs, and the number that goes with the speed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Running {
    since: u64,
    base: u64,
    /// Ticks per nanosecond, as a fraction of 2^64.
    speed: u64,
    /// A limit, in whatever unit the algorithm likes.
    pub(super) limit: u64,
    /// How far ahead of the clock a state may be; it only grows.
    pub(super) span: u64,
}

impl Pace {
    /// A clock at zero that makes `ticks` per `period` (at most one per nanosecond).
    pub(super) fn new(ticks: u64, period: Duration, limit: u64, span: u64) -> Self {
        Self(Steady::new([0, 0, speed(ticks, period), limit, span]))
    }

    #[inline]
    pub(super) fn running(&self) -> Running {
        let [since, base, speed, limit, span] = self.0.get();
        Running {
            since,
            base,
            speed,
            limit,
            span,
        }
    }

    /// From `now` on it makes `ticks` per `period`. It neither jumps nor forgets.
    pub(super) fn change(
        &self,
        now: Timestamp,
        ticks: u64,
        period: Duration,
        limit: u64,
        span: u64,
    ) {
        self.0.change(|[since, base, before, old, widest]| {
            let running = Running {
                since,
                base,
                speed: before,
                limit: old,
                span: widest,
            };
            // Two changes whose callers read the clock in the other order must not turn it back.
            let now = now.as_nanos().max(since);
            [
                now,
                running.ticks(Timestamp::from_nanos(now)),
                speed(ticks, period),
                limit,
                // Debts of before may still be that far ahead.
                span.max(widest),
            ]
        });
    }
}

impl Running {
    /// What the clock shows: rounded down, so that nothing is refilled too early.
    #[inline]
    pub(super) fn ticks(&self, now: Timestamp) -> u64 {
        // A reader that is late, with a time from before the change, sees the moment of the change.
        let elapsed = now.as_nanos().saturating_sub(self.since);
        self.base.wrapping_add(high(elapsed, self.speed))
    }

    /// Whether the clock has run at this speed since `then`. What it showed before that is not known any more.
    #[inline]
    pub(super) const fn knows(&self, then: Timestamp) -> bool {
        then.as_nanos() >= self.since
    }

    /// How far the clock has come from `then` to `now`; `None` if its speed was another one then.
    #[inline]
    pub(super) fn ticks_between(&self, then: Timestamp, now: u64) -> Option<u64> {
        self.knows(then).then(|| now.wrapping_sub(self.ticks(then)))
    }

    /// How many ticks the clock makes in that time: rounded down, so that they take no longer.
    pub(super) const fn ticks_in(&self, nanos: u64) -> u64 {
        high(nanos, self.speed)
    }

    /// How long the clock takes for so many ticks: rounded up, so that nobody comes back too early.
    pub(super) fn duration(&self, ticks: u64) -> Duration {
        if ticks == 0 {
            return Duration::ZERO;
        }
        if ticks == u64::MAX {
            return Duration::MAX;
        }
        // Not `div_ceil`, which divides twice: in 128 bits that is slow.
        let nanos = ((u128::from(ticks) << 64) - 1) / u128::from(self.speed.max(1)) + 1;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// `ticks` per `period` as a fraction of 2^64 per nanosecond. Rounded up: what that adds is less than a
/// tick in 584 years, and a time that divides evenly comes out even.
fn speed(ticks: u64, period: Duration) -> u64 {
    let speed = (u128::from(ticks) << 64).div_ceil(period.as_nanos().max(1));
    u64::try_from(speed).unwrap_or(u64::MAX)
}

#[inline]
const fn high(a: u64, b: u64) -> u64 {
    ((a as u128 * b as u128) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(secs)
    }

    #[test]
    fn runs_at_its_speed_and_goes_on_from_where_it_was_when_that_changes() {
        let pace = Pace::new(1_000, Duration::from_secs(1), 7, 0);
        // Rounded down once, and once more at the change.
        let close = |ticks: u64, expected: u64| ticks <= expected && ticks + 2 >= expected;
        assert!(close(pace.running().ticks(at(10)), 10_000));
        pace.change(at(10), 10, Duration::from_secs(1), 8, 0);
        assert_eq!(pace.running().limit, 8);
        assert!(close(pace.running().ticks(at(10)), 10_000));
        assert!(close(pace.running().ticks(at(20)), 10_100));
        assert!(close(pace.running().ticks(at(5)), 10_000), "a late reader");
    }

    #[test]
    fn a_time_that_divides_evenly_comes_out_even() {
        for (ticks, secs) in [(49_152, 3), (16_384, 60), (16_384 * 86_400, 86_400), (7, 7)] {
            let running = Pace::new(ticks, Duration::from_secs(secs), 0, 0).running();
            assert_eq!(
                running.duration(ticks),
                Duration::from_secs(secs),
                "{ticks} in {secs}"
            );
        }
    }

    #[test]
    fn a_duration_is_never_too_short() {
        let running = Pace::new(3, Duration::from_secs(1), 0, 0).running();
        for ticks in [1, 2, 3, 1_000] {
            let after = Timestamp::ZERO + running.duration(ticks);
            assert!(running.ticks(after) >= ticks, "{ticks}");
        }
    }
}
