//! From settings to other settings, while calls are under way.

use std::time::Duration;

use fusebox_core::time::nanos;

use super::{BreakerBuilder, ConfigError, check::BUCKETS};
use crate::engine::{Closing, CoolDown, Hanging, Settings, Share, WindowSettings};

impl BreakerBuilder {
    /// The settings, for a circuit that was built with others.
    pub(crate) fn settings_instead_of(&self, before: &Settings) -> Result<Settings, ConfigError> {
        let after = self.settings()?;
        let texts = |settings: &Settings| {
            [
                ("window", window_text(settings.window)),
                ("hanging_calls", hanging_text(settings.hanging)),
            ]
        };
        for ((field, built_with), (_, given)) in texts(before).into_iter().zip(texts(&after)) {
            if built_with != given {
                return Err(ConfigError::Fixed {
                    field,
                    built_with,
                    given,
                });
            }
        }
        Ok(after)
    }
}

fn window_text(window: WindowSettings) -> String {
    match window {
        WindowSettings::Time { bucket } => {
            format!("{:?}", Duration::from_nanos(bucket.saturating_mul(BUCKETS)))
        }
        WindowSettings::Count { calls } => format!("{calls} calls"),
    }
}

fn hanging_text(hanging: Option<Hanging>) -> String {
    hanging.map_or_else(
        || "none".to_owned(),
        |hanging: Hanging| format!("{:?}", Duration::from_nanos(hanging.longer_than)),
    )
}

/// What differs between two settings, as numbers: shares in millionths, times in nanoseconds, 0 for what is off.
pub(crate) fn changes(
    before: &Settings,
    after: &Settings,
) -> impl Iterator<Item = (&'static str, u64, u64)> {
    numbers(before)
        .into_iter()
        .zip(numbers(after))
        .filter(|(before, after)| before != after)
        .map(|((what, from), (_, to))| (what, from, to))
}

fn numbers(settings: &Settings) -> [(&'static str, u64); 17] {
    let share = |share: Option<Share>| share.map_or(0, |share| share.millionths().into());
    let (first, most) = match settings.cool_down {
        CoolDown::Fixed(length) => (nanos(length), nanos(length)),
        CoolDown::Exponential { first, most, .. } => (nanos(first), nanos(most)),
    };
    let (ratio, probes) = match settings.closing {
        Closing::Successes(enough) => (Share::new(1.0), enough),
        Closing::Share { share, of } => (Some(share), of),
    };
    [
        ("minimum_calls", settings.minimum_calls.into()),
        ("failure_ratio", share(settings.failures)),
        (
            "consecutive_failures",
            settings.consecutive.unwrap_or(0).into(),
        ),
        ("slow_calls", settings.slow.map_or(0, |slow| slow.at_least)),
        (
            "slow_calls.ratio",
            share(settings.slow.map(|slow| slow.share)),
        ),
        (
            "hanging_calls",
            settings.hanging.map_or(0, |hanging| hanging.calls.into()),
        ),
        ("throttled", settings.throttled as u64),
        ("cancelled", settings.cancelled as u64),
        ("cancelled.ratio", share(settings.cancellations)),
        ("cool_down", first),
        ("cool_down.most", most),
        ("longest_retry_after", nanos(settings.longest_retry_after)),
        ("probes", settings.probes.into()),
        ("probe_deadline", nanos(settings.probe_deadline)),
        ("close_after", probes.into()),
        ("close_at_ratio", share(ratio)),
        ("ramp", settings.ramp.map_or(0, |ramp| ramp.over)),
    ]
}
