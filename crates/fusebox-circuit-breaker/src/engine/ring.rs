use fusebox_core::sync::{AtomicU32, AtomicU64, Ordering};

use super::{
    tally::{Tally, newer},
    window::{Class, Totals},
};

/// The last N calls, each in a place of its own: when a call is added, the one N before it is gone.
///
/// A place says which generation wrote it, so starting anew clears nothing. The sums move by what
/// the *exchange* of a place has returned, so they are always the sums of what is in the places,
/// whoever overtakes whom. While all is well every place says the same already and nothing but the
/// cursor is written.
#[derive(Debug)]
pub(super) struct Ring {
    cursor: Cursor,
    /// Generation (29 bits) and class (3).
    places: Box<[AtomicU32]>,
    failed: Tally,
    slow: Tally,
    cancelled: Tally,
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

impl Ring {
    pub(super) fn new(places: u32) -> Self {
        Self {
            cursor: Cursor(AtomicU64::new(0)),
            places: (0..places).map(|_| AtomicU32::new(0)).collect(),
            failed: Tally::new(),
            slow: Tally::new(),
            cancelled: Tally::new(),
        }
    }

    #[inline]
    pub(super) fn add(&self, generation: u32, class: Class) {
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

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the number of places is a u32"
    )]
    pub(super) fn totals(&self, generation: u32) -> Totals {
        let (of, at) = parts(self.cursor.0.load(Ordering::Relaxed));
        let filled = match at & FULL {
            _ if of != generation => 0,
            0 => at,
            _ => self.places.len() as u32,
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

    fn add(ring: &Ring, generation: u32, class: Class, times: u32) {
        for _ in 0..times {
            ring.add(generation, class);
        }
    }

    #[test]
    fn the_oldest_call_leaves_when_a_new_one_comes() {
        let ring = Ring::new(10);
        add(&ring, 1, Class::GOOD, 1_000);
        add(&ring, 1, Class::FAILED, 10);
        let totals = ring.totals(1);
        assert_eq!((totals.calls, totals.failed), (10, 10));
        add(&ring, 1, Class::GOOD, 4);
        assert_eq!(ring.totals(1).failed, 6);
    }

    #[test]
    fn a_new_generation_starts_empty() {
        let ring = Ring::new(10);
        add(&ring, 1, Class::FAILED, 10);
        assert_eq!(ring.totals(2).calls, 0);
        add(&ring, 2, Class::GOOD, 3);
        add(&ring, 1, Class::FAILED, 5);
        let totals = ring.totals(2);
        assert_eq!((totals.calls, totals.failed), (3, 0));
    }

    #[test]
    fn one_place_remembers_one_call() {
        let ring = Ring::new(1);
        add(&ring, 0, Class::FAILED, 3);
        assert_eq!(ring.totals(0).failed, 1);
        add(&ring, 0, Class::GOOD, 1);
        assert_eq!((ring.totals(0).calls, ring.totals(0).failed), (1, 0));
    }
}
