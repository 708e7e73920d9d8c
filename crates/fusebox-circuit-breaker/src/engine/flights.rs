use fusebox_core::{
    Timestamp,
    sync::{AtomicU64, Ordering},
};

use super::{settings::Hanging, tally::Tally};

/// The calls in flight, by when they began, so that those that hang are seen before any of them ends.
///
/// Time is cut in quarters of what counts as hanging. A call is counted in the quarter it began in;
/// a quarter that is long enough ago is emptied into `hung` by whoever comes along first. A call that
/// ends takes itself off where it is counted then.
#[derive(Debug)]
pub(super) struct Flights {
    /// Nanoseconds per quarter, at least one.
    quarter: u64,
    shards: Box<[Shard]>,
    /// The last quarter in which somebody looked.
    swept: AtomicU64,
    hung: Tally,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    /// Generation (16 bits), quarter (28), calls (20).
    began: [AtomicU64; QUARTERS as usize],
}

/// A call is hanging when four whole quarters lie between the one it began in and now, so five are
/// alive at a time; the next power of two makes the place a mask.
const QUARTERS: u32 = 8;
const HANGING_AFTER: u32 = 5;

const COUNT_BITS: u32 = 20;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const QUARTER_BITS: u32 = 28;
const QUARTER_MASK: u32 = (1 << QUARTER_BITS) - 1;

/// Generation and quarter, as a word carries them above its count.
const fn label(generation: u32, quarter: u32) -> u64 {
    (generation as u64 & 0xFFFF) << QUARTER_BITS | (quarter & QUARTER_MASK) as u64
}

impl Flights {
    pub(super) fn new(hanging: Hanging, shards: usize) -> Self {
        Self {
            quarter: hanging.longer_than.div_ceil(4).max(1),
            shards: (0..shards.max(1)).map(|_| Shard::default()).collect(),
            swept: AtomicU64::new(0),
            hung: Tally::new(),
        }
    }

    /// A call begins; says in which quarter.
    pub(super) fn begin(&self, shard: usize, generation: u32, now: Timestamp) -> u32 {
        let quarter = self.quarter_of(now);
        let Some(word) = self.word(shard, quarter) else {
            return quarter;
        };
        let mine = label(generation, quarter);
        let mut seen = word.load(Ordering::Relaxed);
        loop {
            let next = if seen >> COUNT_BITS == mine {
                // A million calls in one quarter: the rest of them is not watched.
                if seen & COUNT_MASK == COUNT_MASK {
                    return quarter;
                }
                seen + 1
            } else {
                mine << COUNT_BITS | 1
            };
            match word.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    if seen >> COUNT_BITS != mine {
                        self.emptied(generation, seen);
                    }
                    return quarter;
                }
                Err(now) => seen = now,
            }
        }
    }

    /// A call that began in `quarter` is over, or has been answered.
    pub(super) fn end(&self, shard: usize, generation: u32, quarter: u32) {
        let Some(word) = self.word(shard, quarter) else {
            return;
        };
        let mine = label(generation, quarter);
        let mut seen = word.load(Ordering::Relaxed);
        while seen >> COUNT_BITS == mine && seen & COUNT_MASK > 0 {
            match word.compare_exchange_weak(seen, seen - 1, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
        self.hung.shift(generation, -1);
    }

    /// How many calls of this generation hang now.
    ///
    /// Looks through the shards once per quarter; in between this is two loads.
    pub(super) fn hanging_at(&self, generation: u32, now: Timestamp) -> u32 {
        let quarter = self.quarter_of(now);
        let swept = self.swept.load(Ordering::Relaxed);
        if swept != u64::from(quarter)
            && self
                .swept
                .compare_exchange(
                    swept,
                    u64::from(quarter),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok()
        {
            self.sweep(generation, quarter);
        }
        self.hung.above_zero(generation)
    }

    /// How many calls of this generation hang, as far as somebody has looked.
    pub(super) fn hanging(&self, generation: u32) -> u32 {
        self.hung.above_zero(generation)
    }

    #[cold]
    fn sweep(&self, generation: u32, quarter: u32) {
        for word in self.shards.iter().flat_map(|shard| &shard.began) {
            let mut seen = word.load(Ordering::Relaxed);
            while seen & COUNT_MASK > 0 && self.is_over(seen, quarter) {
                // The label stays, with nobody in it: who began then finds no one to take off here.
                let emptied = seen & !COUNT_MASK;
                match word.compare_exchange_weak(
                    seen,
                    emptied,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => {
                        self.emptied(generation, seen);
                        break;
                    }
                    Err(now) => seen = now,
                }
            }
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "masked to 28 bits")]
    #[expect(clippy::unused_self, reason = "reads better beside its siblings")]
    const fn is_over(&self, word: u64, quarter: u32) -> bool {
        let began = (word >> COUNT_BITS) as u32 & QUARTER_MASK;
        let age = quarter.wrapping_sub(began) & QUARTER_MASK;
        // A quarter that seems to lie ahead belongs to a caller whose clock reading is fresher.
        age >= HANGING_AFTER && age < QUARTER_MASK / 2
    }

    /// Those who were in a word hang now; those of an older generation are nobody's concern.
    fn emptied(&self, generation: u32, word: u64) {
        let count = (word & COUNT_MASK) as i32;
        if count > 0 && word >> (COUNT_BITS + QUARTER_BITS) == u64::from(generation & 0xFFFF) {
            self.hung.shift(generation, count);
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "quarters are numbered modulo 2^28"
    )]
    fn quarter_of(&self, now: Timestamp) -> u32 {
        (now.as_nanos() / self.quarter) as u32 & QUARTER_MASK
    }

    fn word(&self, shard: usize, quarter: u32) -> Option<&AtomicU64> {
        self.shards
            .get(shard)?
            .began
            .get((quarter % QUARTERS) as usize)
    }
}

#[cfg(all(test, not(fusebox_loom)))]
mod tests {
    use super::*;

    fn flights() -> Flights {
        Flights::new(
            Hanging {
                calls: 1,
                longer_than: 400,
            },
            2,
        )
    }

    fn at(nanos: u64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    #[test]
    fn calls_hang_when_they_are_older_than_that_and_never_earlier() {
        let flights = flights();
        flights.begin(0, 1, at(99));
        flights.begin(1, 1, at(99));
        assert_eq!(flights.hanging_at(1, at(499)), 0);
        assert_eq!(flights.hanging_at(1, at(500)), 2);
    }

    #[test]
    fn a_call_that_ends_is_taken_off_before_and_after_it_hung() {
        let flights = flights();
        let first = flights.begin(0, 1, at(0));
        flights.end(0, 1, first);
        assert_eq!(flights.hanging_at(1, at(900)), 0);
        let second = flights.begin(0, 1, at(1_000));
        assert_eq!(flights.hanging_at(1, at(1_600)), 1);
        flights.end(0, 1, second);
        assert_eq!(flights.hanging_at(1, at(1_700)), 0);
    }

    #[test]
    fn a_new_generation_does_not_hang_because_of_the_old_one() {
        let flights = flights();
        let old = flights.begin(0, 1, at(0));
        assert_eq!(flights.hanging_at(2, at(900)), 0);
        flights.begin(0, 2, at(850));
        flights.end(0, 1, old);
        assert_eq!(flights.hanging(2), 0);
        assert_eq!(flights.hanging_at(2, at(1_400)), 1);
    }

    #[test]
    fn silence_longer_than_the_ring_loses_nobody() {
        let flights = flights();
        flights.begin(0, 1, at(0));
        // The same place, eight quarters on, before anybody has swept.
        flights.begin(0, 1, at(800));
        assert_eq!(flights.hanging(1), 1);
    }
}
