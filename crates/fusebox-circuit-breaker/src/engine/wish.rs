use std::time::Duration;

use fusebox_core::{
    Timestamp,
    sync::{AtomicU64, Ordering},
    time::nanos,
};

/// Until when the dependency has asked to be left alone, and when it did: the last wish that is not outdone by one
/// before.
///
/// One word, for every call that is turned away brings one: the end in units (44 bits) and the [length](pack) of the
/// wish (20 bits), zero for none. The end is rounded up. It is read relative to now, so it may go round: with the
/// shortest unit after five hours, with the usual one after five hundred years. A word of the last round may then be
/// read as one of now; who asks sees to it that even so nobody waits for longer than for the longest wish.
#[derive(Debug)]
pub(super) struct Wish {
    word: AtomicU64,
    /// Nanoseconds, a power of ten.
    unit: u64,
}

const LENGTH_BITS: u32 = 20;
/// The longest wish there is to be takes no more units than that.
const FINEST: u64 = (1 << LENGTH_BITS) - 1;
const END_MASK: u64 = u64::MAX >> LENGTH_BITS;
/// In units: what ends later than half the circle from now would be read as long over.
const LONGEST: u64 = END_MASK >> 2;

/// Digits of a length; the five bits above are its magnitude.
const DIGITS: u32 = 15;
/// By so much may a wish be heard after now: the threads look at the clock before they look here.
const SKEW: u64 = 1_000_000_000;

impl Wish {
    /// For wishes up to that length, mostly. A longer one is heard as well, if it is not of hours where that length is
    /// a millisecond.
    pub(super) fn up_to(longest: Duration) -> Self {
        let mut unit = 1;
        while nanos(longest) / unit > FINEST {
            unit *= 10;
        }
        Self {
            word: AtomicU64::new(0),
            unit,
        }
    }

    /// The dependency asks to be left alone for so long. A wish that was heard within `fresh` and ends later stays.
    pub(super) fn hear(&self, wish: Duration, now: Timestamp, fresh: u64) {
        let wish = nanos(wish).min(LONGEST.saturating_mul(self.unit));
        let end = now.as_nanos().saturating_add(wish).div_ceil(self.unit);
        let length = wish.div_ceil(self.unit).max(1);
        let new = (end & END_MASK) << LENGTH_BITS | pack(length);
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
        let length = unpack(word & FINEST);
        let heard = end.saturating_sub(length);
        // Both ends were rounded, and the digits of a long one are not all there.
        let rounding = 1 + (length >> (DIGITS - 1));
        let not_yet = heard > at.saturating_add(SKEW.div_ceil(self.unit) + rounding);
        let fresh = at.saturating_sub(heard) <= fresh.div_ceil(self.unit);
        // What is to be heard only in a while was heard long ago, half the circle and more.
        (fresh && !not_yet).then_some(end)
    }
}

/// A length in 20 bits: its first fifteen digits, and how many more there are. Never zero, if the length is not.
fn pack(length: u64) -> u64 {
    let more = (u64::BITS - length.leading_zeros()).saturating_sub(DIGITS);
    u64::from(more) << DIGITS | length >> more
}

/// The length in that word, or a little less.
const fn unpack(packed: u64) -> u64 {
    (packed & ((1 << DIGITS) - 1)) << (packed >> DIGITS)
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

    #[test]
    fn a_wish_of_hours_ago_is_not_one_of_now_however_short_they_are() {
        const HOUR: u64 = 3_600;
        for (longest, hours) in [(Duration::ZERO, 3), (Duration::from_millis(10), 48)] {
            let wish = Wish::up_to(longest);
            wish.hear(longest, at(7), FRESH);
            for passed in 1..=hours {
                let now = at(7 + passed * HOUR);
                assert_eq!(wish.until(now, FRESH), None, "after {passed} h");
            }
            // Nor does it keep a new one from being heard.
            let now = at(7 + hours * HOUR);
            wish.hear(longest, now, FRESH);
            let until = wish.until(now, FRESH).unwrap();
            assert!(until.since(now) <= longest + Duration::from_nanos(10));
        }
    }

    #[test]
    fn a_wish_may_be_longer_than_was_to_be_expected() {
        for longest in [Duration::ZERO, Duration::from_millis(10), 300 * SECOND] {
            let wish = Wish::up_to(longest);
            wish.hear(1_000 * SECOND, at(7), FRESH);
            for now in [7, 16] {
                assert_eq!(wish.until(at(now), FRESH), Some(at(1_007)), "{longest:?}");
            }
            assert_eq!(wish.until(at(18), FRESH), None, "{longest:?}");
            wish.hear(Duration::MAX, at(18), FRESH);
            assert!(wish.until(at(19), FRESH) > Some(at(3_600)), "{longest:?}");
        }
    }

    #[test]
    fn a_wish_that_another_thread_has_heard_a_moment_later_counts() {
        let wish = Wish::up_to(300 * SECOND);
        wish.hear(SECOND, at(8), FRESH);
        let before = Timestamp::from_nanos(7_900_000_000);
        assert_eq!(wish.until(before, FRESH), Some(at(9)));
    }

    #[test]
    fn lengths_lose_little_and_only_where_they_are_long() {
        for bits in 0..44 {
            for length in [1 << bits, (1 << bits) + 1, (2 << bits) - 1] {
                let packed = pack(length);
                assert!(packed > 0 && packed <= FINEST);
                let lost = length - unpack(packed);
                assert!(lost <= length >> (DIGITS - 1), "{length} {lost}");
                assert!(lost == 0 || length >= 1 << DIGITS);
            }
        }
    }
}
