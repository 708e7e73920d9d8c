use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use crate::{Timestamp, time::nanos};

/// When a call began, if it is one of those whose time is taken.
///
/// Made by [`Reporter::begin`](crate::Reporter::begin), used up by [`Reporter::end`](crate::Reporter::end). One word,
/// because it travels with the call.
///
/// ```text
///  63        5 4      0
/// [nanoseconds][weight]     a weight of 0: its time is not taken
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun(u64);

const WEIGHT_BITS: u32 = 5;
/// Eighteen years after the clock's origin. A process that is older measures from there.
const LATEST: u64 = u64::MAX >> WEIGHT_BITS;

impl Begun {
    /// Nobody asks how long it takes.
    pub(super) const UNTIMED: Self = Self(0);

    /// A call that began then, and stands for itself alone.
    #[must_use]
    pub const fn at(started: Timestamp) -> Self {
        Self::standing_for(started, 1)
    }

    pub(super) const fn standing_for(started: Timestamp, weight: u32) -> Self {
        let nanos = started.as_nanos();
        let nanos = if nanos > LATEST { LATEST } else { nanos };
        Self(nanos << WEIGHT_BITS | weight as u64)
    }

    /// When it began; `None` if its time is not taken.
    #[must_use]
    #[inline]
    pub const fn started(self) -> Option<Timestamp> {
        if self.0 == 0 {
            None
        } else {
            Some(Timestamp::from_nanos(self.0 >> WEIGHT_BITS))
        }
    }

    /// The same call, begun later: what it had waited for is not part of it.
    #[must_use]
    pub fn restarted(self, now: impl FnOnce() -> Timestamp) -> Self {
        match self.0 {
            0 => self,
            _ => Self::standing_for(now(), self.weight()),
        }
    }

    /// How many calls it stands for.
    pub(super) const fn weight(self) -> u32 {
        (self.0 & ((1 << WEIGHT_BITS) - 1)) as u32
    }
}

/// Chooses which calls are timed: each one while there are few, one in sixteen when there are many.
///
/// To time a call is to read the clock twice, which takes longer than everything else a layer does with it. At a few
/// calls a second nobody notices, and no call may be missed, since the slow one is what one looks for. At tens of
/// thousands a second one in sixteen says the same.
///
/// A token bucket (in the arithmetic of the generic cell rate algorithm) has so many samples a second and 64
/// at once. When it is empty, a random number of calls goes by before the next sample: an even step would
/// fall into step with traffic that has a rhythm. A sample counts as often as calls went by before it, itself
/// included, so that a percentile over a minute with a burst in it is that of the calls and not of the samples.
///
/// It cannot know that a burst is over: what is left of a step, at most `MOST_SKIPPED` calls, goes by however long that
/// takes.
///
/// One for each shard, and no more than a hint: loads and stores, no read-modify-write. Threads that share a shard may
/// both take the same sample, or one may undo what another has counted of a step, so that a weight is off by less than
/// `MOST_SKIPPED`. All calls are counted elsewhere.
#[derive(Debug)]
pub struct Sampler {
    /// How many calls go by before the next sample.
    skip: AtomicU32,
    /// How many went by, or will have, when it is taken.
    skipped: AtomicU32,
    /// When the bucket is full again, in nanoseconds.
    full_at: AtomicU64,
    /// Nanoseconds between two samples.
    spacing: u64,
    most_skipped: u32,
}

/// Samples a second, of each shard. Timing so many takes less than a thousandth of a processor.
const PER_SECOND: u32 = 4_000;
/// As many calls as a busy page makes at once.
const AT_ONCE: u64 = 64;
/// At most so many go by, half as many in the mean: a sixteenth of the cost, and thousands of samples a second in any
/// traffic that makes one wish for less. Has to fit the weight of [`Begun`].
const MOST_SKIPPED: u32 = 30;

const _: () = assert!(MOST_SKIPPED + 1 < 1 << WEIGHT_BITS, "a weight must fit");

impl Default for Sampler {
    /// Four thousand samples a second, and beyond that one call in sixteen.
    fn default() -> Self {
        Self::new(PER_SECOND, MOST_SKIPPED)
    }
}

impl Sampler {
    /// At least so many samples `per_second`, and when they are used up at most so many calls between two
    /// samples: half as many in the mean.
    #[must_use]
    pub fn new(per_second: u32, most_skipped: u32) -> Self {
        Self {
            skip: AtomicU32::new(0),
            skipped: AtomicU32::new(0),
            full_at: AtomicU64::new(0),
            spacing: nanos(Duration::from_secs(1)) / u64::from(per_second.max(1)),
            most_skipped,
        }
    }

    /// Whether the next call goes by.
    #[inline(always)]
    pub fn skips(&self) -> bool {
        let skip = self.skip.load(Ordering::Relaxed);
        if skip == 0 {
            return false;
        }
        self.skip.store(skip - 1, Ordering::Relaxed);
        true
    }

    /// The next call does not go by: somebody has a new reason to want it timed.
    pub fn skip_none(&self) {
        let left = self.skip.swap(0, Ordering::Relaxed);
        let fewer = |skipped: u32| Some(skipped.saturating_sub(left));
        // Always done: the closure never says no.
        let _ = self
            .skipped
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
    }

    /// Takes a sample: a call that begins now. Says for how many it stands.
    pub fn take(&self, now: Timestamp) -> u32 {
        let weight = self.skipped.swap(0, Ordering::Relaxed) + 1;
        let (skip, full_at) = self.after(now, self.full_at.load(Ordering::Relaxed));
        self.full_at.store(full_at, Ordering::Relaxed);
        self.skipped.store(skip, Ordering::Relaxed);
        self.skip.store(skip, Ordering::Relaxed);
        weight
    }

    /// How many calls go by after a sample, and when the bucket is full again then.
    fn after(&self, now: Timestamp, full_at: u64) -> (u32, u64) {
        let full_at = full_at
            .max(now.as_nanos())
            .saturating_add(self.spacing)
            // Of the samples taken when there was no token left, one is paid for later, however many there are.
            .min(now.as_nanos().saturating_add((AT_ONCE + 1) * self.spacing));
        let empty = full_at - now.as_nanos() > AT_ONCE * self.spacing;
        let skip = if empty {
            some_of(self.most_skipped, now)
        } else {
            0
        };
        (skip, full_at)
    }
}

/// A number up to and including `most`, by the last digits of the time (Knuth's multiplicative hash).
fn some_of(most: u32, now: Timestamp) -> u32 {
    let scattered = now.as_nanos().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    ((scattered * (u64::from(most) + 1)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Drives calls at one interval and tells the samples: index and weight.
    fn samples(sampler: &Sampler, calls: u64, every: Duration, from: Timestamp) -> Vec<(u64, u32)> {
        let mut now = from;
        let mut taken = Vec::new();
        for call in 0..calls {
            if !sampler.skips() {
                taken.push((call, sampler.take(now)));
            }
            now = now + every;
        }
        taken
    }

    const LATER: Timestamp = Timestamp::from_nanos(1_000_000_000_000);

    #[test]
    fn each_call_is_timed_while_there_are_few() {
        let taken = samples(
            &Sampler::default(),
            10_000,
            Duration::from_micros(251),
            LATER,
        );
        assert_eq!(taken.len(), 10_000);
        assert!(taken.iter().all(|(_, weight)| *weight == 1));
    }

    #[test]
    fn each_call_of_a_small_burst_is_timed() {
        let sampler = Sampler::default();
        for burst in 0..10 {
            let from = LATER + Duration::from_secs(burst);
            assert_eq!(samples(&sampler, AT_ONCE, Duration::ZERO, from).len(), 64);
        }
    }

    #[test]
    fn about_one_in_sixteen_is_timed_when_there_are_many() {
        let taken = samples(
            &Sampler::default(),
            1_000_000,
            Duration::from_nanos(997),
            LATER,
        );
        // Sixteen in the mean, and the four thousand of that second.
        assert!((62_000..=68_000).contains(&taken.len()), "{}", taken.len());
    }

    #[test]
    fn the_samples_stand_for_all_calls() {
        for nanos in [0, 101, 50_001, 249_000, 1_000_000] {
            let calls = 100_000;
            let every = Duration::from_nanos(nanos);
            let taken = samples(&Sampler::default(), calls, every, LATER);
            let weights: u64 = taken.iter().map(|(_, weight)| u64::from(*weight)).sum();
            assert!(
                calls - weights <= MOST_SKIPPED.into(),
                "{weights} at {every:?}"
            );
        }
    }

    #[test]
    fn samples_do_not_fall_into_step_with_the_traffic() {
        // Every sixteenth call is the slow one.
        let taken = samples(
            &Sampler::default(),
            1_000_000,
            Duration::from_nanos(1_003),
            LATER,
        );
        let all = taken.iter().map(|(_, weight)| weight).sum::<u32>();
        let slow = taken.iter().filter(|(call, _)| call % 16 == 0);
        let slow = slow.map(|(_, weight)| weight).sum::<u32>();
        let share = f64::from(slow) / f64::from(all);
        assert!((0.05..0.075).contains(&share), "{share}");
    }

    #[test]
    fn after_a_burst_few_calls_go_untimed() {
        let sampler = Sampler::default();
        samples(&sampler, 1_000, Duration::ZERO, LATER);
        let slow = samples(
            &sampler,
            100,
            Duration::from_secs(1),
            LATER + Duration::from_secs(60),
        );
        assert!(slow.len() >= 100 - MOST_SKIPPED as usize);
    }

    #[test]
    fn a_new_reason_ends_the_skipping_and_changes_no_sum() {
        let sampler = Sampler::default();
        let before = samples(&sampler, 1_000, Duration::ZERO, LATER);
        sampler.skip_none();
        assert!(!sampler.skips());
        let weights: u32 = before.iter().map(|(_, weight)| weight).sum();
        assert_eq!(weights + sampler.take(LATER), 1_001);
    }

    #[test]
    fn begun_keeps_its_start_and_its_weight() {
        for nanos in [0, 1, 31, 32, LATEST] {
            let begun = Begun::standing_for(Timestamp::from_nanos(nanos), 31);
            assert_eq!(begun.started(), Some(Timestamp::from_nanos(nanos)));
            assert_eq!(begun.weight(), 31);
        }
        assert_eq!(
            Begun::at(Timestamp::MAX).started(),
            Some(Timestamp::from_nanos(LATEST))
        );
        assert_eq!(Begun::UNTIMED.started(), None);
    }

    #[test]
    fn a_restart_is_no_sample_that_was_not_taken() {
        let later = Timestamp::from_nanos(7);
        assert_eq!(Begun::UNTIMED.restarted(|| later), Begun::UNTIMED);
        let begun = Begun::standing_for(Timestamp::ZERO, 9).restarted(|| later);
        assert_eq!((begun.started(), begun.weight()), (Some(later), 9));
    }
}
