use std::sync::Arc;

use fusebox_core::Timestamp;

use super::{
    ring::Ring,
    settings::WindowSettings,
    shard::Shard,
    state::State,
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
pub(super) struct Window {
    shards: Box<[Arc<Shard>]>,
    /// There is one, whatever is asked for.
    first: Arc<Shard>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Time(Buckets),
    // Boxed: it is large, to keep its cursor away from everything else.
    Count(Box<Ring>),
}

impl Window {
    pub(super) fn new(settings: WindowSettings, shards: usize) -> Self {
        let first = Arc::new(Shard::new(0));
        let others = (1..u32::try_from(shards).unwrap_or(u32::MAX)).map(Shard::new);
        let shards = std::iter::once(first.clone()).chain(others.map(Arc::new));
        let kind = match settings {
            WindowSettings::Time { bucket } => Kind::Time(Buckets::of(bucket)),
            WindowSettings::Count { calls } => Kind::Count(Box::new(Ring::new(calls))),
        };
        Self {
            shards: shards.collect(),
            first,
            kind,
        }
    }

    /// Where the calls of some threads are counted.
    pub(super) fn shards(&self) -> &[Arc<Shard>] {
        &self.shards
    }

    /// The shard of that number, as often around as need be.
    pub(super) fn shard(&self, number: usize) -> &Arc<Shard> {
        let place = number % self.shards.len().max(1);
        self.shards.get(place).unwrap_or(&self.first)
    }

    /// Remembers a call of that state's generation which did what it should. A window of calls does not ask for
    /// the time.
    #[inline(always)]
    pub(super) fn add_good(&self, shard: &Shard, state: State, now: impl FnOnce() -> Timestamp) {
        match &self.kind {
            Kind::Time(buckets) => shard.calls.add(buckets.number(state, now())),
            Kind::Count(ring) => ring.add_good(&self.shards, shard, state.generation()),
        }
    }

    /// Remembers any other call.
    pub(super) fn add_bad(&self, shard: &Shard, state: State, now: Timestamp, class: Class) {
        match &self.kind {
            Kind::Time(buckets) => shard.add_bad(buckets.number(state, now), class),
            Kind::Count(ring) => ring.add_bad(&self.shards, state.generation(), class),
        }
    }

    /// As [`totals`](Self::totals), for who has just added what was not good. Somebody else may have done so at the same
    /// moment in the next bucket already, and have missed this one.
    pub(super) fn totals_with_others(&self, state: State, now: Timestamp) -> Totals {
        let Kind::Time(buckets) = &self.kind else {
            return self.totals(state, now);
        };
        let number = buckets.number(state, now);
        let next = number.wrapping_add(1);
        let others = |shard: &Arc<Shard>| {
            let wheels = [&shard.failed, &shard.slow, &shard.cancelled];
            wheels.into_iter().any(|wheel| wheel.counts_in(next))
        };
        let others = self.shards.iter().any(others);
        if others {
            // Not what somebody has summed up and may be about to correct.
            self.totals_by(|wheel| wheel.sum_anew(next))
        } else {
            self.totals_by(|wheel| wheel.sum(number))
        }
    }

    fn totals_by(&self, sum_of: impl Fn(&Wheel) -> u32) -> Totals {
        let shards = self.shards.iter();
        shards.fold(Totals::default(), |sum, shard| Totals {
            calls: sum.calls.saturating_add(sum_of(&shard.calls)),
            failed: sum.failed.saturating_add(sum_of(&shard.failed)),
            slow: sum.slow.saturating_add(sum_of(&shard.slow)),
            cancelled: sum.cancelled.saturating_add(sum_of(&shard.cancelled)),
        })
    }

    /// What the generation of that state has done lately.
    pub(super) fn totals(&self, state: State, now: Timestamp) -> Totals {
        match &self.kind {
            Kind::Time(buckets) => {
                let number = buckets.number(state, now);
                self.totals_by(|wheel| wheel.sum(number))
            }
            Kind::Count(ring) => ring.totals(&self.shards, state.generation()),
        }
    }
}

/// Time, cut into buckets.
#[derive(Debug)]
struct Buckets {
    /// 2^64 through the nanoseconds of a bucket, rounded up. A multiplication costs a tenth of a division.
    ///
    /// The rounding makes a bucket of a minute 0.2 microseconds shorter.
    per_nano: u64,
}

impl Buckets {
    fn of(nanos: u64) -> Self {
        Self {
            // For one nanosecond it would not fit into 64 bits.
            per_nano: u64::MAX / nanos.max(2) + 1,
        }
    }

    /// Numbers the buckets so that each generation begins a whole window after the one before it: to a
    /// new generation everything of the old ones has left the window, and no word has to say so.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "buckets are numbered modulo 2^32"
    )]
    const fn number(&self, state: State, now: Timestamp) -> u32 {
        let number = (now.as_nanos() as u128 * self.per_nano as u128) >> 64;
        (number as u32).wrapping_add(state.generations_of(BUCKETS))
    }
}
