//! How much per how long.

use std::fmt;
use std::time::Duration;

/// So many per period, and so many at once.
///
/// `Quota::per_second(20).burst(40)` means twenty per second, and forty at once after a silence. The
/// numbers are of the unit that requests cost: requests, if each costs one. Without
/// [`burst`](Self::burst) as many may come at once as come in a period.
///
/// Windowed algorithms count per period and know no burst.
///
/// ```
/// use std::time::Duration;
/// use fusebox_rate_limit::Quota;
///
/// let quota = Quota::per_second(20).burst(40);
/// assert_eq!((quota.amount(), quota.period(), quota.burst_size()), (20, Duration::from_secs(1), 40));
/// assert!(Quota::per_second(0).check().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    amount: u64,
    period: Duration,
    burst: Option<u64>,
}

impl Quota {
    /// `amount` per `period`. Checked when a limiter is built of it.
    #[must_use]
    pub const fn per(amount: u64, period: Duration) -> Self {
        Self {
            amount,
            period,
            burst: None,
        }
    }

    /// `amount` per second.
    #[must_use]
    pub const fn per_second(amount: u64) -> Self {
        Self::per(amount, Duration::from_secs(1))
    }

    /// `amount` per minute.
    #[must_use]
    pub const fn per_minute(amount: u64) -> Self {
        Self::per(amount, Duration::from_secs(60))
    }

    /// `amount` per hour.
    #[must_use]
    pub const fn per_hour(amount: u64) -> Self {
        Self::per(amount, Duration::from_secs(3_600))
    }

    /// `amount` per day of 24 hours.
    #[must_use]
    pub const fn per_day(amount: u64) -> Self {
        Self::per(amount, Duration::from_secs(86_400))
    }

    /// At most so many at once.
    #[must_use]
    pub const fn burst(mut self, burst: u64) -> Self {
        self.burst = Some(burst);
        self
    }

    /// How many per [`period`](Self::period).
    #[must_use]
    pub const fn amount(&self) -> u64 {
        self.amount
    }

    /// The length of a period.
    #[must_use]
    pub const fn period(&self) -> Duration {
        self.period
    }

    /// How many at once.
    #[must_use]
    pub const fn burst_size(&self) -> u64 {
        match self.burst {
            Some(burst) => burst,
            None => self.amount,
        }
    }

    /// Whether it is a quota at all.
    ///
    /// # Errors
    /// [`QuotaError`] naming what is wrong: nothing per period, no period, no burst, or numbers whose
    /// product is beyond the arithmetic.
    pub const fn check(&self) -> Result<(), QuotaError> {
        if self.amount == 0 {
            return Err(QuotaError::NoAmount);
        }
        if self.period.is_zero() {
            return Err(QuotaError::NoPeriod);
        }
        if self.burst_size() == 0 {
            return Err(QuotaError::NoBurst);
        }
        // The time that an empty bucket needs to fill, in nanoseconds; a quarter of the range leaves
        // room for debts and penalties on top of it.
        let refill = match self
            .period
            .as_nanos()
            .checked_mul(self.burst_size() as u128)
        {
            Some(product) => product / self.amount as u128,
            None => u128::MAX,
        };
        if refill > (u64::MAX / 4) as u128 {
            return Err(QuotaError::Overflow {
                period: self.period,
                burst: self.burst_size(),
            });
        }
        // One per nanosecond is as fine as the clock.
        if self.amount as u128 > self.period.as_nanos() {
            return Err(QuotaError::TooFast {
                amount: self.amount,
                period: self.period,
            });
        }
        Ok(())
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} per {:?}", self.amount, self.period)?;
        match self.burst {
            Some(burst) => write!(f, ", {burst} at once"),
            None => Ok(()),
        }
    }
}

/// Why a [`Quota`] is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuotaError {
    /// `amount` is 0: nobody could ever pass.
    NoAmount,
    /// `period` is 0.
    NoPeriod,
    /// `burst` is 0: nobody could ever pass.
    NoBurst,
    /// `burst` is below what one request costs: it could never pass.
    BurstBelowCost {
        /// The burst (for a windowed algorithm: the amount).
        burst: u64,
        /// The cost of one request.
        cost: u64,
    },
    /// `amount` is more than one per nanosecond of `period`; or, where a quota is changed, more than the
    /// ticks of the first one can count.
    TooFast {
        /// The amount.
        amount: u64,
        /// The period.
        period: Duration,
    },
    /// `period` times `burst` is beyond the arithmetic: an emptied bucket would need more than a
    /// century to fill.
    Overflow {
        /// The period.
        period: Duration,
        /// The burst.
        burst: u64,
    },
    /// The algorithm counts no higher.
    TooMany {
        /// `amount` or `burst`.
        field: &'static str,
        /// What was given.
        given: u64,
        /// The most that the algorithm can count.
        most: u64,
    },
    /// There is no such policy.
    Unknown,
    /// The period is too short for a window.
    WindowTooShort {
        /// What was given.
        given: Duration,
        /// The shortest.
        least: Duration,
    },
    /// Where requests wait: nobody would wait long enough for the next one to be paid for.
    WaitTooShort {
        /// How long they may wait.
        max_wait: Duration,
        /// How long it takes.
        needed: Duration,
    },
}

impl fmt::Display for QuotaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAmount => f.write_str("amount: must be at least 1, got 0"),
            Self::NoPeriod => f.write_str("period: must be longer than zero"),
            Self::NoBurst => f.write_str("burst: must be at least 1, got 0"),
            Self::BurstBelowCost { burst, cost } => {
                write!(
                    f,
                    "burst: must be at least the cost of one request ({cost}), got {burst}"
                )
            }
            Self::TooFast { amount, period } => {
                write!(
                    f,
                    "amount: faster than the clock can count, got {amount} per {period:?}"
                )
            }
            Self::Overflow { period, burst } => {
                write!(
                    f,
                    "burst: a burst of {burst} with a period of {period:?} takes too long to refill"
                )
            }
            Self::TooMany { field, given, most } => {
                write!(f, "{field}: this algorithm counts to {most}, got {given}")
            }
            Self::Unknown => f.write_str("policy: there is none of that name"),
            Self::WindowTooShort { given, least } => {
                write!(
                    f,
                    "period: a window must be at least {least:?}, got {given:?}"
                )
            }
            Self::WaitTooShort { max_wait, needed } => write!(
                f,
                "max_wait: one more request takes {needed:?} at this rate, and may wait for {max_wait:?}"
            ),
        }
    }
}

impl std::error::Error for QuotaError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_nobody_could_use_is_an_error_that_names_the_field() {
        let second = Duration::from_secs(1);
        for (quota, error) in [
            (Quota::per_second(0), QuotaError::NoAmount),
            (Quota::per(1, Duration::ZERO), QuotaError::NoPeriod),
            (Quota::per_second(1).burst(0), QuotaError::NoBurst),
            (
                Quota::per(2_000_000_000, second),
                QuotaError::TooFast {
                    amount: 2_000_000_000,
                    period: second,
                },
            ),
            (
                Quota::per(1, Duration::MAX),
                QuotaError::Overflow {
                    period: Duration::MAX,
                    burst: 1,
                },
            ),
            (
                Quota::per_day(1).burst(u64::MAX),
                QuotaError::Overflow {
                    period: Duration::from_secs(86_400),
                    burst: u64::MAX,
                },
            ),
        ] {
            assert_eq!(quota.check(), Err(error), "{quota}");
            assert!(error.to_string().contains(": "), "{error}");
        }
    }

    #[test]
    fn ordinary_quotas_are_quotas() {
        for quota in [
            Quota::per_second(1),
            Quota::per_second(1_000_000_000),
            Quota::per_day(10_000),
            Quota::per_minute(100).burst(1),
            Quota::per(1, Duration::from_secs(365 * 86_400)).burst(12),
        ] {
            assert_eq!(quota.check(), Ok(()), "{quota}");
        }
    }
}
