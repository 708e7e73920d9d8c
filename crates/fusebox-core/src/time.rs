//! Monotonic time as a number.
//!
//! Engines never read a clock: they take a [`Timestamp`], so a test drives them with plain numbers
//! and the shell decides which clock is asked, and how often.

use std::time::Duration;

/// A point on a monotonic clock: nanoseconds since an origin that only the clock knows.
///
/// Two timestamps mean something to each other only when they come from the same clock. Sixty-four
/// bits of nanoseconds last 584 years, so the arithmetic saturates instead of failing.
///
/// ```
/// use std::time::Duration;
/// use fusebox_core::Timestamp;
///
/// let start = Timestamp::from_nanos(1_000);
/// let later = start + Duration::from_micros(2);
/// assert_eq!(later.since(start), Duration::from_micros(2));
/// assert_eq!(start.since(later), Duration::ZERO, "time never runs backwards");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The origin of its clock.
    pub const ZERO: Self = Self(0);
    /// Later than anything a clock will say.
    pub const MAX: Self = Self(u64::MAX);

    /// The point `nanos` nanoseconds after the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;

    /// Saturates at [`Timestamp::MAX`]: "wait for ever" stays for ever.
    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(nanos(by)))
    }
}

/// A duration in nanoseconds, saturating at 584 years.
#[must_use]
#[inline]
pub const fn nanos(of: Duration) -> u64 {
    // Not `as_nanos`: its 128-bit product costs more than the two words it is made of.
    of.as_secs()
        .saturating_mul(1_000_000_000)
        .saturating_add(of.subsec_nanos() as u64)
}

#[cfg(feature = "tokio")]
pub use clock::Clock;

#[cfg(feature = "tokio")]
mod clock {
    use std::{
        hash::{Hash, Hasher},
        time::Duration,
    };

    use tokio::time::Instant;

    use super::{Timestamp, nanos};

    /// Reads tokio's clock as [`Timestamp`]s.
    ///
    /// In production that is the operating system's monotonic clock. Under `tokio::time::pause` it
    /// is the runtime's paused clock, so a user's test can move a layer through minutes at once.
    /// Every handle owns one; copies agree with each other.
    #[derive(Clone, Copy, Debug)]
    pub struct Clock {
        origin: Instant,
        /// The number inside the origin; if instants do not show theirs, one that is later than all.
        number: u64,
    }

    const NOT_SHOWN: u64 = u64::MAX;

    impl Clock {
        /// A clock whose origin is now.
        #[must_use]
        pub fn new() -> Self {
            Self::from(Instant::now())
        }

        fn from(origin: Instant) -> Self {
            Self {
                origin,
                number: if shows_its_number(origin) {
                    number(origin)
                } else {
                    NOT_SHOWN
                },
            }
        }

        /// The time now.
        #[inline]
        #[must_use]
        pub fn now(&self) -> Timestamp {
            let now = Instant::now();
            // One comparison for two questions: whether the number is known, and whether it is later.
            match number(now).checked_sub(self.number) {
                Some(nanos) => Timestamp(nanos),
                None => self.subtract(now),
            }
        }

        #[cold]
        fn subtract(&self, now: Instant) -> Timestamp {
            Timestamp(nanos(now.saturating_duration_since(self.origin)))
        }

        /// The instant a timer of tokio needs for `at`.
        ///
        /// A point too far away for the platform is a day from now: every user of a timer here
        /// looks at the clock again when it fires.
        #[must_use]
        pub fn instant(&self, at: Timestamp) -> Instant {
            self.origin
                .checked_add(Duration::from_nanos(at.0))
                .unwrap_or_else(|| Instant::now() + Duration::from_secs(86_400))
        }
    }

    impl Default for Clock {
        fn default() -> Self {
            Self::new()
        }
    }

    /// The number inside an instant, in nanoseconds since an origin of its own, as its `Hash` shows it.
    ///
    /// An instant can only be asked for its distance from another one, and that subtraction costs more than
    /// reading the clock: 45 instructions on top of 32, where this takes 4 (x86-64, counted by valgrind), and each layer
    /// would pay it twice for a call that is timed, which is 340 instructions in all for a bulkhead. Its seconds and
    /// nanoseconds are what it feeds to a hasher, and a hasher that keeps them costs nothing. Nothing promises that, so
    /// [`shows_its_number`] tries it out before a clock relies on it; where it is otherwise, the clock subtracts.
    #[inline]
    fn number(instant: Instant) -> u64 {
        let mut parts = Parts::default();
        instant.hash(&mut parts);
        parts.finish()
    }

    /// Whether the numbers inside instants are as far apart as the instants.
    fn shows_its_number(origin: Instant) -> bool {
        // With and without a carry from nanoseconds to seconds, wherever the origin is between two.
        [
            1,
            499_999_999,
            999_999_999,
            1_000_000_000,
            86_400_000_000_001,
        ]
        .into_iter()
        .all(|nanos| {
            origin
                .checked_add(Duration::from_nanos(nanos))
                .is_some_and(|later| number(later).wrapping_sub(number(origin)) == nanos)
        })
    }

    #[derive(Default)]
    struct Parts {
        seconds: u64,
        nanos: u64,
    }

    impl Hasher for Parts {
        #[inline]
        fn write_i64(&mut self, seconds: i64) {
            self.seconds = seconds.cast_unsigned();
        }

        #[inline]
        fn write_u64(&mut self, seconds: u64) {
            self.seconds = seconds;
        }

        #[inline]
        fn write_u32(&mut self, nanos: u32) {
            self.nanos = nanos.into();
        }

        /// Some other kind of instant: not a number that passes the trial.
        fn write(&mut self, _bytes: &[u8]) {
            self.seconds = 0;
        }

        #[inline]
        fn finish(&self) -> u64 {
            self.seconds
                .wrapping_mul(1_000_000_000)
                .wrapping_add(self.nanos)
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_number_inside_an_instant_is_found_here() {
            assert_ne!(Clock::new().number, NOT_SHOWN, "clocks are slow here");
        }

        #[tokio::test(start_paused = true)]
        async fn a_clock_that_has_to_subtract_says_the_same() {
            let fast = Clock::new();
            let slow = Clock {
                number: NOT_SHOWN,
                ..fast
            };
            for nanos in [0, 1, 999_999_999, 1_000_000_000, 3_600_000_000_001] {
                tokio::time::advance(Duration::from_nanos(nanos)).await;
                assert_eq!(fast.now(), slow.now());
            }
        }

        #[test]
        fn time_before_the_origin_is_the_origin() {
            let hour = Duration::from_secs(3_600);
            let clock = Clock::from(Instant::now() + hour);
            assert_eq!(clock.now(), Timestamp::ZERO);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Timestamp::MAX + Duration::from_secs(1), Timestamp::MAX);
        assert_eq!(Timestamp::ZERO + Duration::MAX, Timestamp::MAX);
        assert_eq!(Timestamp::ZERO.since(Timestamp::MAX), Duration::ZERO);
        assert_eq!(nanos(Duration::MAX), u64::MAX);
    }

    #[cfg(feature = "tokio")]
    #[tokio::test(start_paused = true)]
    async fn a_paused_runtime_moves_the_clock() {
        let clock = Clock::new();
        let before = clock.now();
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(clock.now().since(before), Duration::from_secs(90));
        assert_eq!(clock.instant(clock.now()), tokio::time::Instant::now());
    }
}
