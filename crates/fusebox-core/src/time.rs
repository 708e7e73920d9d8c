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
pub use clock::{Clock, Moment};

#[cfg(feature = "tokio")]
mod clock {
    use std::time::Duration;

    use super::{Timestamp, nanos};

    /// Reads tokio's clock as [`Timestamp`]s.
    ///
    /// In production that is the operating system's monotonic clock. Under `tokio::time::pause` it
    /// is the runtime's paused clock, so a user's test can move a layer through minutes at once.
    /// Every handle owns one; copies agree with each other.
    #[derive(Clone, Copy, Debug)]
    pub struct Clock {
        origin: tokio::time::Instant,
    }

    impl Clock {
        /// A clock whose origin is now.
        #[must_use]
        pub fn new() -> Self {
            Self {
                origin: tokio::time::Instant::now(),
            }
        }

        /// The time now.
        #[inline]
        #[must_use]
        pub fn now(&self) -> Timestamp {
            self.at(self.read())
        }

        /// Reads the clock and leaves it at that.
        ///
        /// To turn a reading into a [`Timestamp`] costs more than to take it, and a call that is only
        /// timed needs the difference of two readings and no timestamp at all.
        #[inline]
        #[must_use]
        pub fn read(&self) -> Moment {
            Moment(tokio::time::Instant::now())
        }

        /// The timestamp of a reading.
        #[inline]
        #[must_use]
        pub fn at(&self, moment: Moment) -> Timestamp {
            Timestamp(nanos(moment.since(Moment(self.origin))))
        }

        /// The instant a timer of tokio needs for `at`.
        ///
        /// A point too far away for the platform is a day from now: every user of a timer here
        /// looks at the clock again when it fires.
        #[must_use]
        pub fn instant(&self, at: Timestamp) -> tokio::time::Instant {
            self.origin
                .checked_add(Duration::from_nanos(at.0))
                .unwrap_or_else(|| tokio::time::Instant::now() + Duration::from_secs(86_400))
        }
    }

    /// A reading of a [`Clock`], before it is a [`Timestamp`].
    #[derive(Clone, Copy, Debug)]
    pub struct Moment(tokio::time::Instant);

    impl Moment {
        /// How long after `earlier` this is; zero when it is not after it.
        #[inline]
        #[must_use]
        pub fn since(self, earlier: Self) -> Duration {
            self.0.saturating_duration_since(earlier.0)
        }
    }

    impl Default for Clock {
        fn default() -> Self {
            Self::new()
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
