//! The time of day, for rules that ask for it, without a second look at a clock for each request.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fusebox_core::Timestamp;

/// How long what is known of the time of day is good for: a clock that is set shows within that time.
const GOOD_FOR: Duration = Duration::from_secs(1);
const NEVER: u64 = u64::MAX;

/// How far the time of day is from the handle's own clock.
#[derive(Debug)]
pub(crate) struct Wall {
    /// Nanoseconds since 1970 at the handle's zero; wraps, should somebody's clock say less.
    zero: AtomicU64,
    /// When that was found, on the handle's clock.
    found: AtomicU64,
}

impl Wall {
    pub(crate) const fn new() -> Self {
        Self {
            zero: AtomicU64::new(0),
            found: AtomicU64::new(NEVER),
        }
    }

    /// The time of day at `now`; `read` looks at the clock on the wall if it must.
    pub(crate) fn at(&self, now: Timestamp, read: impl FnOnce() -> SystemTime) -> SystemTime {
        let nanos = now.as_nanos();
        let found = self.found.load(Ordering::Acquire);
        let is_good =
            found != NEVER && u128::from(nanos.saturating_sub(found)) < GOOD_FOR.as_nanos();
        if !is_good {
            let wall = read().duration_since(UNIX_EPOCH).unwrap_or_default();
            let wall = u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX);
            self.zero.store(wall.wrapping_sub(nanos), Ordering::Relaxed);
            // Behind it: who sees that it was found must not see the nothing of before.
            self.found.store(nanos, Ordering::Release);
        }
        let zero = self.zero.load(Ordering::Relaxed);
        UNIX_EPOCH + Duration::from_nanos(zero.wrapping_add(nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_is_looked_at_once_a_second_and_followed_in_between() {
        let wall = Wall::new();
        let day = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let at = |millis: u64| Timestamp::from_nanos(millis * 1_000_000);
        let half = Duration::from_millis(500);
        assert_eq!(wall.at(at(5_000), || day(1_000)), day(1_000));
        assert_eq!(wall.at(at(5_500), || unreachable!()), day(1_000) + half);
        // It was set back.
        assert_eq!(wall.at(at(6_000), || day(7)), day(7));
        assert_eq!(wall.at(at(6_500), || unreachable!()), day(7) + half);
    }

    #[test]
    fn a_request_that_began_before_it_was_looked_at_is_told_its_own_time() {
        let wall = Wall::new();
        let day = UNIX_EPOCH + Duration::from_secs(1_000);
        wall.at(Timestamp::from_nanos(5_000), || day);
        let before = wall.at(Timestamp::from_nanos(4_000), || unreachable!());
        assert_eq!(before, day - Duration::from_nanos(1_000));
    }
}
