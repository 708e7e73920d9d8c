use std::time::Duration;

use fusebox_core::{
    Timestamp,
    sync::{AtomicU64, Ordering},
    time::nanos,
};

/// Until when the dependency has asked to be left alone, and when it did: the last wish that is not outdone by one
/// before.
///
/// One word, for every call that is turned away brings one: the end in units (44 bits) and the length (20 bits) of the
/// wish, zero for none. The end is rounded up. It is read relative to now, so it may go round: with the shortest unit
/// after five hours, with the usual one after five hundred years.
#[derive(Debug)]
pub(super) struct Wish {
    word: AtomicU64,
    /// Nanoseconds, a power of ten.
    unit: u64,
}

const LENGTH_BITS: u32 = 20;
const LONGEST: u64 = (1 << LENGTH_BITS) - 1;
const END_MASK: u64 = u64::MAX >> LENGTH_BITS;

impl Wish {
    /// For wishes up to that length. A longer one is heard as well, and stays fresh for longer than it should.
    pub(super) fn up_to(longest: Duration) -> Self {
        let mut unit = 1;
        while nanos(longest) / unit > LONGEST {
            unit *= 10;
        }
        Self {
            word: AtomicU64::new(0),
            unit,
        }
    }

    /// The dependency asks to be left alone for so long. A wish that was heard within `fresh` and ends later stays.
    pub(super) fn hear(&self, wish: Duration, now: Timestamp, fresh: u64) {
        let end = (now + wish).as_nanos().div_ceil(self.unit);
        let length = nanos(wish).div_ceil(self.unit).clamp(1, LONGEST);
        let new = (end & END_MASK) << LENGTH_BITS | length;
        let mut seen = self.word.load(Ordering::Relaxed);
        while seen != new && self.end(seen, now, fresh).is_none_or(|before| before < end) {
            match self
                .word
                .compare_exchange_weak(seen, new, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// Until when it wants to be left alone, if it has said so within `fresh`: what it said of another trouble, long
    /// ago, is not about this one.
    pub(super) fn until(&self, now: Timestamp, fresh: u64) -> Option<Timestamp> {
        let end = self.end(self.word.load(Ordering::Relaxed), now, fresh)?;
        Some(Timestamp::from_nanos(end.saturating_mul(self.unit)))
    }

    /// Forgets it: what comes is another trouble.
    pub(super) fn forget(&self) {
        self.word.store(0, Ordering::Relaxed);
    }

    /// The end in that word in units, if it was heard within `fresh`.
    fn end(&self, word: u64, now: Timestamp, fresh: u64) -> Option<u64> {
        if word == 0 {
            return None;
        }
        let at = now.as_nanos() / self.unit;
        // From now on or until now, whichever is nearer, on a circle of 44 bits.
        let ahead =
            ((word >> LENGTH_BITS).wrapping_sub(at) << LENGTH_BITS).cast_signed() >> LENGTH_BITS;
        let end = at.checked_add_signed(ahead)?;
        let heard = end.saturating_sub(word & LONGEST);
        (at.saturating_sub(heard) <= fresh.div_ceil(self.unit)).then_some(end)
    }
}

#[cfg(all(test, not(fusebox_loom)))]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const FRESH: u64 = 10_000_000_000;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn the_latest_end_counts_while_it_is_fresh() {
        let wish = Wish::up_to(300 * SECOND);
        assert_eq!(wish.until(at(7), FRESH), None);
        wish.hear(60 * SECOND, at(7), FRESH);
        wish.hear(5 * SECOND, at(8), FRESH);
        assert_eq!(wish.until(at(17), FRESH), Some(at(67)));
        assert_eq!(wish.until(at(18), FRESH), None, "was long ago");
        wish.hear(5 * SECOND, at(18), FRESH);
        assert_eq!(wish.until(at(18), FRESH), Some(at(23)));
        wish.forget();
        assert_eq!(wish.until(at(18), FRESH), None);
    }

    #[test]
    fn an_end_is_never_earlier_than_asked_for() {
        let wish = Wish::up_to(300 * SECOND);
        let now = Timestamp::from_nanos(1_234_567);
        wish.hear(SECOND, now, FRESH);
        let late = wish.until(now, FRESH).unwrap().since(now + SECOND);
        assert!(late < Duration::from_millis(1), "{late:?}");
    }

    #[test]
    fn ends_go_round() {
        let wish = Wish::up_to(Duration::from_nanos(100));
        let now = Timestamp::from_nanos((1 << 44) - 10);
        wish.hear(Duration::from_nanos(50), now, 1_000);
        let until = Timestamp::from_nanos((1 << 44) + 40);
        assert_eq!(wish.until(now, 1_000), Some(until));
        assert_eq!(wish.until(until, 1_000), Some(until));
    }
}
