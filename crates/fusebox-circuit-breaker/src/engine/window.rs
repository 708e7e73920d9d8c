use fusebox_core::Timestamp;

use super::{
    ring::Ring,
    settings::WindowSettings,
    wheel::{BUCKETS, Wheel},
};

/// What a call that is over counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class(u8);

impl Class {
    /// It did what it should.
    pub(super) const GOOD: Self = Self(0);
    /// It failed.
    pub(super) const FAILED: Self = Self(1);
    /// It took too long.
    pub(super) const SLOW: Self = Self(2);
    /// Nobody waited for it, and the policy wants to know how many.
    pub(super) const CANCELLED: Self = Self(4);

    pub(super) const fn bits(self) -> u8 {
        self.0
    }

    #[expect(clippy::cast_possible_truncation, reason = "three bits")]
    pub(super) const fn from_bits(bits: u32) -> Self {
        Self(bits as u8 & 7)
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn good(self) -> bool {
        self.0 == 0
    }

    pub(super) const fn failed(self) -> bool {
        self.0 & Self::FAILED.0 != 0
    }

    pub(super) const fn slow(self) -> bool {
        self.0 & Self::SLOW.0 != 0
    }

    pub(super) const fn cancelled(self) -> bool {
        self.0 & Self::CANCELLED.0 != 0
    }
}

/// What is in the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Calls that were judged; not the cancelled ones.
    pub calls: u32,
    /// Those that failed.
    pub failed: u32,
    /// Those that took too long, whether they failed or not.
    pub slow: u32,
    /// Calls nobody waited for, if the policy counts them.
    pub cancelled: u32,
}

/// The calls a circuit remembers: those of the last while, or the last so many.
#[derive(Debug)]
pub(super) enum Window {
    Time {
        /// Nanoseconds per bucket, at least one.
        bucket: u64,
        /// Each thread counts for itself; who wants to know adds them up.
        shards: Box<[Shard]>,
    },
    // Boxed: it is large, to keep its cursor away from everything else.
    Count(Box<Ring>),
}

/// The counts of some threads; 128 because the adjacent-line prefetcher pulls lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Shard {
    calls: Wheel,
    failed: Wheel,
    slow: Wheel,
    cancelled: Wheel,
}

impl Window {
    pub(super) fn new(settings: WindowSettings, shards: usize) -> Self {
        match settings {
            WindowSettings::Time { bucket } => Self::Time {
                bucket: bucket.max(1),
                shards: (0..shards.max(1)).map(|_| Shard::default()).collect(),
            },
            WindowSettings::Count { calls } => Self::Count(Box::new(Ring::new(calls))),
        }
    }

    /// Remembers a call of that generation. A window of calls does not ask for the time.
    #[inline(always)]
    pub(super) fn add(
        &self,
        shard: usize,
        generation: u32,
        now: impl FnOnce() -> Timestamp,
        class: Class,
    ) {
        match self {
            Self::Time { bucket, shards } => {
                let number = bucket_number(generation, now(), *bucket);
                if let Some(shard) = shards.get(shard) {
                    if class.good() {
                        shard.calls.add(number);
                    } else {
                        shard.add_bad(number, class);
                    }
                }
            }
            Self::Count(ring) => ring.add(generation, class),
        }
    }

    /// What that generation has done lately.
    pub(super) fn totals(&self, generation: u32, now: Timestamp) -> Totals {
        match self {
            Self::Time { bucket, shards } => {
                let number = bucket_number(generation, now, *bucket);
                shards.iter().fold(Totals::default(), |sum, shard| Totals {
                    calls: sum.calls.saturating_add(shard.calls.sum(number)),
                    failed: sum.failed.saturating_add(shard.failed.sum(number)),
                    slow: sum.slow.saturating_add(shard.slow.sum(number)),
                    cancelled: sum.cancelled.saturating_add(shard.cancelled.sum(number)),
                })
            }
            Self::Count(ring) => ring.totals(generation),
        }
    }
}

impl Shard {
    #[cold]
    fn add_bad(&self, number: u32, class: Class) {
        if class.cancelled() {
            self.cancelled.add(number);
            return;
        }
        self.calls.add(number);
        if class.failed() {
            self.failed.add(number);
        }
        if class.slow() {
            self.slow.add(number);
        }
    }
}

/// Numbers the buckets so that each generation begins a whole window after the one before it: to a
/// new generation everything of the old ones has left the window, and no word has to say so.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "buckets are numbered modulo 2^32"
)]
pub(super) const fn bucket_number(generation: u32, now: Timestamp, bucket: u64) -> u32 {
    ((now.as_nanos() / bucket) as u32).wrapping_add(generation.wrapping_mul(BUCKETS))
}
