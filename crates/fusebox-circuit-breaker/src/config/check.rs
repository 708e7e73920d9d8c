//! From what was asked for to what the engine decides by, or what is wrong with it.

use std::time::Duration;

use fusebox_core::time::nanos;

use super::{BreakerBuilder, Cancelled, Close, ConfigError, Cooling, Window};
use crate::engine::{
    Closing, CoolDown, CountsAs, Hanging, MOST_PROBES, Ramp, Settings, Share, Slow, WindowSettings,
};

/// A count window keeps four bytes for each call.
const LONGEST_COUNT: u32 = 1 << 20;
/// What a window is cut into; see [`Window::Time`](super::Window::Time).
pub(super) const BUCKETS: u64 = 16;

impl BreakerBuilder {
    pub(crate) fn settings(&self) -> Result<Settings, ConfigError> {
        let minimum_calls = self.checked_minimum()?;
        let settings = Settings {
            window: self.checked_window()?,
            minimum_calls,
            failures: self
                .failure_ratio
                .map(|given| some_ratio("failure_ratio", given))
                .transpose()?,
            consecutive: self
                .consecutive_failures
                .map(|given| positive("consecutive_failures", given))
                .transpose()?,
            slow: self.checked_slow()?,
            hanging: self.checked_hanging()?,
            throttled: self.throttled,
            cancelled: match self.cancelled {
                Cancelled::Failure => CountsAs::Failure,
                Cancelled::Ignored | Cancelled::TripsAt(_) => CountsAs::Nothing,
            },
            cancellations: match self.cancelled {
                Cancelled::TripsAt(given) => Some(some_ratio("cancelled", given)?),
                Cancelled::Ignored | Cancelled::Failure => None,
            },
            cool_down: self.checked_cool_down()?,
            longest_retry_after: self.longest_retry_after,
            probes: at_most("probes", positive("probes", self.probes)?, MOST_PROBES)?,
            probe_deadline: some_time("probe_deadline", self.probe_deadline)?,
            closing: self.checked_closing()?,
            ramp: self.checked_ramp()?,
        };
        let reasons = [
            settings.failures.is_some(),
            settings.consecutive.is_some(),
            settings.slow.is_some(),
            settings.hanging.is_some(),
            settings.cancellations.is_some(),
        ];
        if reasons.contains(&true) {
            Ok(settings)
        } else {
            Err(ConfigError::NeverTrips)
        }
    }

    fn checked_window(&self) -> Result<WindowSettings, ConfigError> {
        Ok(match self.window {
            Window::Time(length) => WindowSettings::Time {
                bucket: nanos(some_time("window", length)?).div_ceil(BUCKETS),
            },
            Window::Calls(calls) => WindowSettings::Count {
                calls: at_most("window", positive("window", calls)?, LONGEST_COUNT)?,
            },
        })
    }

    fn checked_minimum(&self) -> Result<u32, ConfigError> {
        let window = match self.window {
            Window::Time(_) => u32::MAX,
            Window::Calls(calls) => calls,
        };
        let Some(minimum_calls) = self.minimum_calls else {
            return Ok(window.min(20));
        };
        if minimum_calls > window {
            return Err(ConfigError::MinimumAboveWindow {
                minimum_calls,
                window,
            });
        }
        positive("minimum_calls", minimum_calls)
    }

    fn checked_slow(&self) -> Result<Option<Slow>, ConfigError> {
        let Some((at_least, share)) = self.slow_calls else {
            return Ok(None);
        };
        Ok(Some(Slow {
            at_least: nanos(some_time("slow_calls", at_least)?),
            share: some_ratio("slow_calls", share)?,
        }))
    }

    fn checked_hanging(&self) -> Result<Option<Hanging>, ConfigError> {
        let Some((calls, longer_than)) = self.hanging_calls else {
            return Ok(None);
        };
        Ok(Some(Hanging {
            calls: positive("hanging_calls", calls)?,
            longer_than: nanos(some_time("hanging_calls", longer_than)?),
        }))
    }

    fn checked_cool_down(&self) -> Result<CoolDown, ConfigError> {
        match self.cool_down {
            Cooling::Fixed(length) => Ok(CoolDown::Fixed(some_time("cool_down", length)?)),
            Cooling::Exponential {
                first,
                most,
                factor,
                jitter,
            } => {
                some_time("exponential_cool_down.first", first)?;
                if most < first {
                    return Err(ConfigError::Below {
                        field: "exponential_cool_down.most",
                        given: most,
                        other: "exponential_cool_down.first",
                        at_least: first,
                    });
                }
                Ok(CoolDown::Exponential {
                    first,
                    most,
                    factor: positive("exponential_cool_down.factor", factor)?,
                    jitter: ratio("exponential_cool_down.jitter", jitter)?,
                })
            }
        }
    }

    fn checked_closing(&self) -> Result<Closing, ConfigError> {
        Ok(match self.closing {
            Close::Successes(enough) => Closing::Successes(positive("close_after", enough)?),
            Close::Ratio(share, of) => Closing::Share {
                share: some_ratio("close_at_ratio", share)?,
                of: positive("close_at_ratio", of)?,
            },
        })
    }

    fn checked_ramp(&self) -> Result<Option<Ramp>, ConfigError> {
        let Some((from, over)) = self.ramp else {
            return Ok(None);
        };
        Ok(Some(Ramp {
            from: ratio("ramp", from)?,
            over: nanos(some_time("ramp", over)?),
        }))
    }
}

fn ratio(field: &'static str, given: f64) -> Result<Share, ConfigError> {
    Share::new(given).ok_or(ConfigError::NotARatio { field, given })
}

/// A ratio that is not reached by nothing at all.
fn some_ratio(field: &'static str, given: f64) -> Result<Share, ConfigError> {
    match ratio(field, given)? {
        share if share.millionths() == 0 => Err(ConfigError::Zero { field }),
        share => Ok(share),
    }
}

const fn positive(field: &'static str, given: u32) -> Result<u32, ConfigError> {
    match given {
        0 => Err(ConfigError::Zero { field }),
        given => Ok(given),
    }
}

fn at_most(field: &'static str, given: u32, most: u32) -> Result<u32, ConfigError> {
    if given <= most {
        return Ok(given);
    }
    Err(ConfigError::TooLarge {
        field,
        given: given.into(),
        most: most.into(),
    })
}

const fn some_time(field: &'static str, given: Duration) -> Result<Duration, ConfigError> {
    if given.is_zero() {
        Err(ConfigError::Zero { field })
    } else {
        Ok(given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(change: impl FnOnce(BreakerBuilder) -> BreakerBuilder) -> String {
        change(BreakerBuilder::new("test".into()))
            .settings()
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let settings = BreakerBuilder::new("test".into()).settings().unwrap();
        assert_eq!(settings.minimum_calls, 20);
        assert_eq!(settings.failures, Share::new(0.5));
        assert_eq!(settings.consecutive, Some(5));
        assert_eq!(settings.cool_down, CoolDown::Fixed(Duration::from_secs(30)));
        let bucket = 10_000_000_000 / 16;
        assert_eq!(settings.window, WindowSettings::Time { bucket });
        assert_eq!(
            (settings.probes, settings.closing),
            (1, Closing::Successes(1))
        );
    }

    #[test]
    fn a_ratio_outside_0_to_1_is_named_with_its_value() {
        assert_eq!(
            wrong(|builder| builder.failure_ratio(1.5)),
            "failure_ratio: must be between 0 and 1, got 1.5"
        );
        assert_eq!(
            wrong(|builder| builder.slow_calls(Duration::from_secs(1), -0.1)),
            "slow_calls: must be between 0 and 1, got -0.1"
        );
        assert_eq!(
            wrong(|builder| builder.cancelled(Cancelled::TripsAt(f64::NAN))),
            "cancelled: must be between 0 and 1, got NaN"
        );
        for change in [
            |builder: BreakerBuilder| builder.close_at_ratio(2.0, 3),
            |builder: BreakerBuilder| builder.ramp(f64::INFINITY, Duration::from_secs(1)),
        ] {
            assert!(wrong(change).contains("must be between 0 and 1"));
        }
    }

    #[test]
    fn zero_is_an_error_where_nothing_would_ever_happen() {
        for (field, change) in [
            (
                "window",
                (|builder| builder.window(Window::Time(Duration::ZERO))) as fn(BreakerBuilder) -> _,
            ),
            ("window", |builder| builder.window(Window::Calls(0))),
            ("minimum_calls", |builder| builder.minimum_calls(0)),
            ("consecutive_failures", |builder| {
                builder.consecutive_failures(0)
            }),
            ("cool_down", |builder| builder.cool_down(Duration::ZERO)),
            ("probes", |builder| builder.probes(0)),
            ("probe_deadline", |builder| {
                builder.probe_deadline(Duration::ZERO)
            }),
            ("close_after", |builder| builder.close_after(0)),
            ("failure_ratio", |builder| builder.failure_ratio(0.0)),
            // Less than a millionth is nothing.
            ("failure_ratio", |builder| builder.failure_ratio(1e-9)),
            ("close_at_ratio", |builder| builder.close_at_ratio(0.0, 3)),
            ("close_at_ratio", |builder| builder.close_at_ratio(0.5, 0)),
            ("slow_calls", |builder| {
                builder.slow_calls(Duration::from_secs(1), 0.0)
            }),
            ("cancelled", |builder| {
                builder.cancelled(Cancelled::TripsAt(0.0))
            }),
            ("ramp", |builder| builder.ramp(0.1, Duration::ZERO)),
            ("hanging_calls", |builder| {
                builder.hanging_calls(0, Duration::from_secs(1))
            }),
        ] {
            assert_eq!(
                wrong(change),
                format!("{field}: must be more than 0, got 0")
            );
        }
    }

    #[test]
    fn a_cap_below_the_first_cool_down_is_named_with_both_values() {
        assert_eq!(
            wrong(|builder| {
                builder.exponential_cool_down(Duration::from_secs(10), Duration::from_secs(5))
            }),
            "exponential_cool_down.most: must be at least exponential_cool_down.first (10s), got 5s"
        );
    }

    #[test]
    fn a_minimum_that_the_window_cannot_hold_is_an_error_and_the_default_fits_itself() {
        let ten = |builder: BreakerBuilder| builder.window(Window::Calls(10));
        assert_eq!(
            wrong(|builder| ten(builder).minimum_calls(11)),
            "minimum_calls: must be at most the calls of the window (10), got 11"
        );
        let settings = ten(BreakerBuilder::new("test".into())).settings().unwrap();
        assert_eq!(settings.minimum_calls, 10);
        assert_eq!(
            wrong(|builder| builder.window(Window::Calls(u32::MAX))),
            "window: must be at most 1048576, got 4294967295"
        );
    }

    #[test]
    fn a_circuit_that_could_never_open_is_an_error() {
        assert!(
            wrong(|builder| builder
                .without_failure_ratio()
                .without_consecutive_failures())
            .contains("never open")
        );
    }
}
