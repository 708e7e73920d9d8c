use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use fusebox_core::Outcome;

use super::{
    cool_down::CoolDown,
    leases::Terms,
    wheel::BUCKETS,
    window::{Class, Totals},
};

/// Everything the engine decides by. The builder has seen to it that it makes sense.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Which calls count.
    pub window: WindowSettings,
    /// With fewer calls in the window no ratio is looked at.
    pub minimum_calls: u32,
    /// Trips at this share of failures.
    pub failures: Option<Share>,
    /// Trips at so many failures in a row.
    pub consecutive: Option<u32>,
    /// Trips at this share of slow calls.
    pub slow: Option<Slow>,
    /// Trips when so many calls in flight hang.
    pub hanging: Option<Hanging>,
    /// What a call counts as that the dependency turned away.
    pub throttled: CountsAs,
    /// What a call counts as that nobody waited for.
    pub cancelled: CountsAs,
    /// Trips at this share of cancelled calls.
    pub cancellations: Option<Share>,
    /// How long it stays open.
    pub cool_down: CoolDown,
    /// The most that a dependency's own wish may lengthen the cool-down to.
    pub longest_retry_after: Duration,
    /// How many probes may be under way at once.
    pub probes: u32,
    /// When a probe has lost its place to the next one.
    pub probe_deadline: Duration,
    /// When a half-open circuit closes.
    pub closing: Closing,
    /// How traffic comes back after closing.
    pub ramp: Option<Ramp>,
}

/// The settings of one circuit or of a family of them, which may be changed while calls are under way.
///
/// Not those that say what is remembered, and in what room: the window, and how old a call is that hangs. A
/// circuit reads them once, when it is made.
#[derive(Clone, Debug)]
pub struct Tunable(Arc<ArcSwap<Settings>>);

impl Tunable {
    /// The settings now.
    #[must_use]
    pub fn get(&self) -> Arc<Settings> {
        self.0.load_full()
    }

    /// Other settings, for all that is decided from now on.
    pub fn set(&self, settings: Settings) {
        self.0.store(Arc::new(settings));
    }

    /// What comes of looking at the settings now.
    pub(super) fn with<T>(&self, look: impl FnOnce(&Settings) -> T) -> T {
        look(&self.0.load())
    }
}

impl From<Settings> for Tunable {
    fn from(settings: Settings) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(settings)))
    }
}

/// Which calls the ratios are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowSettings {
    /// Those of the last sixteen buckets of so many nanoseconds.
    Time {
        /// Nanoseconds per bucket, at least two.
        bucket: u64,
    },
    /// The last so many.
    Count {
        /// Calls.
        calls: u32,
    },
}

/// A share between none and all, in millionths: shares are compared without rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

impl Share {
    const WHOLE: u32 = 1_000_000;

    /// `ratio` in 0..=1; `None` when it is not.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and a million"
    )]
    pub fn new(ratio: f64) -> Option<Self> {
        (0.0..=1.0)
            .contains(&ratio)
            .then(|| Self((ratio * f64::from(Self::WHOLE)).round() as u32))
    }

    /// Millionths.
    #[must_use]
    pub const fn millionths(self) -> u32 {
        self.0
    }

    /// Whether `part` of `whole` is at least this share.
    #[must_use]
    pub const fn reached(self, part: u32, whole: u32) -> bool {
        part as u64 * Self::WHOLE as u64 >= whole as u64 * self.0 as u64
    }
}

/// What a slow call is, and how many are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slow {
    /// A call that runs at least so many nanoseconds is slow.
    pub at_least: u64,
    /// Trips at this share.
    pub share: Share,
}

/// What a hanging call is, and how many are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hanging {
    /// Trips at so many.
    pub calls: u32,
    /// A call without an answer for so many nanoseconds hangs.
    pub longer_than: u64,
}

/// What an outcome counts for that is neither success nor failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CountsAs {
    /// Nothing: as if the call had not been made.
    #[default]
    Nothing,
    /// A success.
    Success,
    /// A failure.
    Failure,
}

/// When a half-open circuit closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// After so many successful probes; the first failure opens it again.
    Successes(u32),
    /// After so many probes that were judged, if this share of them succeeded; else it opens again.
    Share {
        /// At least this share of successes.
        share: Share,
        /// Probes.
        of: u32,
    },
}

/// How traffic comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ramp {
    /// The share that passes at once.
    pub from: Share,
    /// Nanoseconds until everything passes.
    pub over: u64,
}

impl Ramp {
    /// The share that passes `elapsed` nanoseconds after closing, in millionths; `None` when it is all.
    #[expect(clippy::cast_possible_truncation, reason = "at most a million")]
    pub(super) fn share_at(self, elapsed: u64) -> Option<u32> {
        if elapsed >= self.over {
            return None;
        }
        let rest = u128::from(Share::WHOLE - self.from.millionths());
        let grown = rest * u128::from(elapsed) / u128::from(self.over.max(1));
        Some(self.from.millionths() + grown as u32)
    }
}

impl Settings {
    /// What a call counts as that ran for `ran` nanoseconds; `None` for nothing at all.
    #[inline]
    pub(super) fn class(&self, outcome: Outcome, ran: u64) -> Option<Class> {
        let class = match outcome {
            Outcome::Success => Class::GOOD,
            Outcome::Failure => Class::FAILED,
            Outcome::Throttled => counted_as(self.throttled)?,
            // Whether it was slow nobody knows: it was not seen to its end.
            Outcome::Cancelled => {
                return match counted_as(self.cancelled) {
                    None if self.cancellations.is_some() => Some(Class::CANCELLED),
                    counted => counted,
                };
            }
        };
        match self.slow {
            Some(slow) if ran >= slow.at_least => Some(class.and(Class::SLOW)),
            _ => Some(class),
        }
    }

    pub(super) const fn terms(&self) -> Terms {
        Terms {
            probes: self.probes,
            deadline: self.probe_deadline,
        }
    }

    /// For how many nanoseconds a wish to be left alone says something about what happens now: as long as the calls that
    /// brought it may be in the window. A window of calls knows no time: then for one cool-down.
    pub(super) fn wishes_are_fresh_for(&self) -> u64 {
        match self.window {
            WindowSettings::Time { bucket } => bucket.saturating_mul(BUCKETS.into()),
            WindowSettings::Count { .. } => self.cool_down.first(),
        }
    }

    /// Whether what is in the window is too much.
    pub(super) fn too_bad(&self, totals: Totals) -> bool {
        let judged = totals.calls >= self.minimum_calls;
        if judged
            && self
                .failures
                .is_some_and(|share| share.reached(totals.failed, totals.calls))
        {
            return true;
        }
        if judged
            && self
                .slow
                .is_some_and(|slow| slow.share.reached(totals.slow, totals.calls))
        {
            return true;
        }
        let all = totals.calls.saturating_add(totals.cancelled);
        all >= self.minimum_calls
            && self
                .cancellations
                .is_some_and(|share| share.reached(totals.cancelled, all))
    }
}

const fn counted_as(counts: CountsAs) -> Option<Class> {
    match counts {
        CountsAs::Nothing => None,
        CountsAs::Success => Some(Class::GOOD),
        CountsAs::Failure => Some(Class::FAILED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_reached_without_rounding() {
        let third = Share::new(1.0 / 3.0).unwrap();
        assert!(third.reached(1, 3));
        assert!(!third.reached(333_332, 1_000_000));
        let half = Share::new(0.5).unwrap();
        assert!(half.reached(10, 20) && !half.reached(9, 19));
        assert!(half.reached(u32::MAX / 2 + 1, u32::MAX));
        for wrong in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Share::new(wrong), None);
        }
    }

    #[test]
    fn a_ramp_grows_from_its_share_to_everything() {
        let ramp = Ramp {
            from: Share::new(0.1).unwrap(),
            over: 1_000,
        };
        assert_eq!(ramp.share_at(0), Some(100_000));
        assert_eq!(ramp.share_at(500), Some(550_000));
        assert_eq!(ramp.share_at(999), Some(999_100));
        assert_eq!(ramp.share_at(1_000), None);
    }
}
