use std::sync::Arc;

use fusebox_core::sync::{AtomicU32, AtomicU64, Mutex, MutexGuard, Ordering, fence, lock};

use super::{
    shard::Shard,
    tally::{SEALED, Tally, newer},
    window::{Class, Totals},
};

/// The last N calls.
///
/// While they are all good there is nothing to remember of each: each thread counts how many there were, and
/// which one leaves when another comes makes no difference. The first that is not good *seals* those
/// counts, and from then on every call has a place of its own: when one is added, the one N before it is
/// gone. When the last of those that are not good is gone the seal is broken again.
///
/// A place says which generation wrote it, so starting anew clears nothing. The sums move by what
/// the *exchange* of a place has returned, so they are always the sums of what is in the places,
/// whoever overtakes whom.
#[derive(Debug)]
pub(super) struct Ring {
    cursor: Cursor,
    /// Generation (29 bits) and class (3).
    places: Box<[AtomicU32]>,
    failed: Tally,
    slow: Tally,
    cancelled: Tally,
    /// The generation whose counts are sealed, and one; zero for none. Written with `sealing` held.
    sealed: AtomicU64,
    sealing: Mutex<()>,
}

/// Generation (32 bits), whether it has been full once (1), the next place (31).
///
/// Every call writes it, so it is kept away from what every call reads; 128 because the adjacent-line
/// prefetcher pulls lines in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Cursor(AtomicU64);

const FULL: u32 = 1 << 31;
const CLASS_BITS: u32 = 3;
const CLASS_MASK: u32 = (1 << CLASS_BITS) - 1;
/// What a generation is in a place.
const GENERATION_MASK: u32 = u32::MAX >> CLASS_BITS;

const fn seal_of(generation: u32) -> u64 {
    generation as u64 + 1
}

impl Ring {
    pub(super) fn new(places: u32) -> Self {
        Self {
            cursor: Cursor(AtomicU64::new(0)),
            places: (0..places).map(|_| AtomicU32::new(0)).collect(),
            failed: Tally::new(),
            slow: Tally::new(),
            cancelled: Tally::new(),
            sealed: AtomicU64::new(0),
            sealing: Mutex::new(()),
        }
    }

    /// Adds a good call.
    #[inline(always)]
    pub(super) fn add_good(&self, shards: &[Arc<Shard>], shard: &Shard, generation: u32) {
        if !shard.calls.of(generation).add_at_once(generation) {
            self.add_good_slowly(shards, shard, generation);
        }
    }

    /// The first good one of a generation here, or one that needs a place, or one that comes late.
    #[cold]
    #[inline(never)]
    fn add_good_slowly(&self, shards: &[Arc<Shard>], shard: &Shard, generation: u32) {
        let (count, most) = (shard.calls.of(generation), self.most());
        // Ends: whoever goes round again has found a seal that somebody has broken meanwhile.
        while !count.add_up_to(generation, most) {
            if self.is_sealed(generation) {
                self.push(generation, Class::GOOD);
                if self.all_good(generation) {
                    self.unseal(shards, generation);
                }
                return;
            }
            // Somebody sets or breaks the seal just now, and holds this until it is done. If nobody does, it is
            // that of a generation which has ended with it: too late.
            let _settled = lock(&self.sealing);
            if count.get(generation) == SEALED && !self.is_sealed(generation) {
                return;
            }
        }
    }

    /// Adds any other call.
    pub(super) fn add_bad(&self, shards: &[Arc<Shard>], generation: u32, class: Class) {
        self.seal(shards, generation);
        self.push(generation, class);
        // Who broke the seal before this was counted looks for it once more after that, or is seen here.
        fence(Ordering::SeqCst);
        self.seal(shards, generation);
    }

    fn is_sealed(&self, generation: u32) -> bool {
        self.sealed.load(Ordering::Acquire) == seal_of(generation)
    }

    /// Whether every place is taken, and none by a call that is not good. It may have been put there just
    /// now and not be counted yet.
    fn all_good(&self, generation: u32) -> bool {
        let (of, at) = parts(self.cursor.0.load(Ordering::Relaxed));
        let sums = [&self.failed, &self.slow, &self.cancelled];
        let full = of == generation && at & FULL != 0;
        full && sums.iter().all(|sum| sum.get(generation) == 0)
    }

    /// From now on every call of that generation gets a place.
    fn seal(&self, shards: &[Arc<Shard>], generation: u32) {
        if !self.is_sealed(generation) {
            let sealing = lock(&self.sealing);
            self.seal_with(shards, generation, &sealing);
        }
    }

    #[cold]
    fn seal_with(&self, shards: &[Arc<Shard>], generation: u32, _sealing: &MutexGuard<'_, ()>) {
        let (of, at) = parts(self.cursor.0.load(Ordering::Relaxed));
        if self.is_sealed(generation) || newer(of, generation) {
            return;
        }
        let counts = shards.iter().map(|shard| {
            let count = shard.calls.of(generation);
            count.swap(generation, SEALED).unwrap_or(0)
        });
        let calls = counts.fold(0_u32, u32::saturating_add);
        // The good ones have the first places, which is where they would have gone one by one.
        let place = if of == generation { at & !FULL } else { 0 };
        let next = if calls >= self.most() {
            FULL | place
        } else {
            calls
        };
        self.cursor.0.store(
            u64::from(generation) << 32 | u64::from(next),
            Ordering::Relaxed,
        );
        self.sealed.store(seal_of(generation), Ordering::Release);
    }

    /// All are good again: from now on it is enough to count them.
    #[cold]
    fn unseal(&self, shards: &[Arc<Shard>], generation: u32) {
        let sealing = lock(&self.sealing);
        if !self.is_sealed(generation) || !self.all_good(generation) {
            return;
        }
        self.sealed.store(0, Ordering::Release);
        // As many as there are places, all of them here: no thread's share is known any more.
        let mut calls = self.most();
        for shard in shards {
            let count = shard.calls.of(generation);
            count.swap(generation, calls);
            calls = 0;
        }
        // See `add_bad`.
        fence(Ordering::SeqCst);
        if !self.all_good(generation) {
            self.seal_with(shards, generation, &sealing);
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the number of places is a u32"
    )]
    fn most(&self) -> u32 {
        self.places.len() as u32
    }

    /// Gives a call a place.
    fn push(&self, generation: u32, class: Class) {
        let Some(place) = self
            .next(generation)
            .and_then(|place| self.places.get(place as usize))
        else {
            return;
        };
        let new = generation << CLASS_BITS | u32::from(class.bits());
        let mut seen = place.load(Ordering::Relaxed);
        while seen != new {
            if newer_place(seen, generation) {
                return;
            }
            match place.compare_exchange_weak(seen, new, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    self.count(generation, seen, class);
                    return;
                }
                Err(now) => seen = now,
            }
        }
    }

    /// Takes the next place; `None` for a generation that is over.
    #[inline]
    fn next(&self, generation: u32) -> Option<u32> {
        let mut seen = self.cursor.0.load(Ordering::Relaxed);
        loop {
            let (of, at) = parts(seen);
            if newer(of, generation) {
                return None;
            }
            let (full, place) = if of == generation {
                (at & FULL, at & !FULL)
            } else {
                (0, 0)
            };
            let next = if place as usize + 1 >= self.places.len() {
                FULL
            } else {
                full | (place + 1)
            };
            match self.cursor.0.compare_exchange_weak(
                seen,
                u64::from(generation) << 32 | u64::from(next),
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(place),
                Err(now) => seen = now,
            }
        }
    }

    /// Moves the sums from what was in a place to what is in it now.
    fn count(&self, generation: u32, old: u32, class: Class) {
        let old = if old >> CLASS_BITS == generation & GENERATION_MASK {
            Class::from_bits(old & CLASS_MASK)
        } else {
            Class::GOOD
        };
        for (sum, was, is) in [
            (&self.failed, old.failed(), class.failed()),
            (&self.slow, old.slow(), class.slow()),
            (&self.cancelled, old.cancelled(), class.cancelled()),
        ] {
            match (was, is) {
                (false, true) => sum.shift(generation, 1),
                (true, false) => sum.shift(generation, -1),
                _ => {}
            }
        }
    }

    pub(super) fn totals(&self, shards: &[Arc<Shard>], generation: u32) -> Totals {
        if !self.is_sealed(generation) {
            let counts = shards
                .iter()
                .map(|shard| shard.calls.of(generation).get(generation));
            return Totals {
                calls: counts.fold(0, u32::saturating_add).min(self.most()),
                ..Totals::default()
            };
        }
        let (of, at) = parts(self.cursor.0.load(Ordering::Relaxed));
        let filled = match at & FULL {
            _ if of != generation => 0,
            0 => at,
            _ => self.most(),
        };
        let cancelled = self.cancelled.above_zero(generation);
        Totals {
            calls: filled.saturating_sub(cancelled),
            failed: self.failed.above_zero(generation),
            slow: self.slow.above_zero(generation),
            cancelled,
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the two halves are taken apart"
)]
const fn parts(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

/// Whether a place was written by a newer generation, on the smaller circle of a place.
const fn newer_place(place: u32, generation: u32) -> bool {
    newer(place & !CLASS_MASK, generation << CLASS_BITS)
}

#[cfg(all(test, not(fusebox_loom)))]
mod tests {
    use super::*;

    /// A ring and the two shards that count for it.
    struct Calls {
        ring: Ring,
        shards: [Arc<Shard>; 2],
    }

    impl Calls {
        fn window(calls: u32) -> Self {
            Self {
                ring: Ring::new(calls),
                shards: [0, 1].map(|index| Arc::new(Shard::new(index))),
            }
        }

        /// By turns from either shard.
        fn add(&self, generation: u32, class: Class, times: usize) {
            for shard in self.shards.iter().cycle().take(times) {
                if class.good() {
                    self.ring.add_good(&self.shards, shard, generation);
                } else {
                    self.ring.add_bad(&self.shards, generation, class);
                }
            }
        }

        fn totals(&self, generation: u32) -> Totals {
            self.ring.totals(&self.shards, generation)
        }
    }

    #[test]
    fn the_oldest_call_leaves_when_a_new_one_comes() {
        let calls = Calls::window(10);
        calls.add(1, Class::GOOD, 1_000);
        calls.add(1, Class::FAILED, 10);
        let totals = calls.totals(1);
        assert_eq!((totals.calls, totals.failed), (10, 10));
        calls.add(1, Class::GOOD, 4);
        assert_eq!(calls.totals(1).failed, 6);
    }

    #[test]
    fn a_new_generation_starts_empty() {
        let calls = Calls::window(10);
        calls.add(1, Class::FAILED, 10);
        assert_eq!(calls.totals(2).calls, 0);
        calls.add(2, Class::GOOD, 3);
        calls.add(1, Class::FAILED, 5);
        calls.add(1, Class::GOOD, 5);
        let totals = calls.totals(2);
        assert_eq!((totals.calls, totals.failed), (3, 0));
        calls.add(2, Class::FAILED, 1);
        let totals = calls.totals(2);
        assert_eq!((totals.calls, totals.failed), (4, 1));
    }

    #[test]
    fn a_good_call_that_is_late_for_a_generation_that_ended_sealed_moves_nothing() {
        let calls = Calls::window(10);
        calls.add(1, Class::FAILED, 1);
        // The next one is sealed, and after that none.
        for class in [Class::FAILED, Class::GOOD] {
            calls.add(4, class, 10);
            let before = calls.totals(4);
            calls.add(1, Class::GOOD, 2);
            assert_eq!(calls.totals(4), before);
        }
    }

    #[test]
    fn one_place_remembers_one_call() {
        let calls = Calls::window(1);
        calls.add(0, Class::FAILED, 3);
        assert_eq!(calls.totals(0).failed, 1);
        calls.add(0, Class::GOOD, 1);
        let totals = calls.totals(0);
        assert_eq!((totals.calls, totals.failed), (1, 0));
    }

    #[test]
    fn what_was_good_is_counted_across_threads_when_the_first_failure_comes() {
        let calls = Calls::window(10);
        calls.add(1, Class::GOOD, 7);
        calls.add(1, Class::FAILED, 1);
        let totals = calls.totals(1);
        assert_eq!((totals.calls, totals.failed), (8, 1));
        // Two fill it, seven push the other good ones out, one the failure.
        calls.add(1, Class::GOOD, 9);
        assert_eq!(calls.totals(1).failed, 1);
        calls.add(1, Class::GOOD, 1);
        let totals = calls.totals(1);
        assert_eq!((totals.calls, totals.failed), (10, 0));
    }

    #[test]
    fn nothing_is_written_but_counts_once_the_last_failure_has_left() {
        let calls = Calls::window(10);
        calls.add(1, Class::FAILED, 2);
        calls.add(1, Class::GOOD, 10);
        assert!(!calls.ring.is_sealed(1));
        let cursor = calls.ring.cursor.0.load(Ordering::Relaxed);
        calls.add(1, Class::GOOD, 100);
        assert_eq!(calls.ring.cursor.0.load(Ordering::Relaxed), cursor);
        calls.add(1, Class::SLOW, 1);
        let totals = calls.totals(1);
        assert_eq!((totals.calls, totals.slow), (10, 1));
        calls.add(1, Class::GOOD, 9);
        assert_eq!(calls.totals(1).slow, 1);
        calls.add(1, Class::GOOD, 1);
        assert_eq!(calls.totals(1).slow, 0);
    }
}
