use fusebox_core::sync::{AtomicU64, Ordering};

/// A tag and a count in one word, so that a count is never added to by anyone who means another tag.
///
/// The tag is a generation, or a bucket of time. Starting anew is to use the next tag: nothing is ever
/// cleared, so there is no moment at which a late call could slip into the fresh count. A count of
/// zero says nothing, whatever its tag: a new word is one.
#[derive(Debug, Default)]
pub(super) struct Tally(AtomicU64);

/// A tag this much ahead is a newer one; anything else that differs is old. A writer that is late
/// enough to be taken for newer would have to sleep through that many buckets within one addition.
const AHEAD: u32 = 1 << 16;

/// Whether `other` is newer than `tag`, on a circle.
pub(super) const fn newer(other: u32, tag: u32) -> bool {
    other != tag && other.wrapping_sub(tag) < AHEAD
}

/// A count that nobody adds to.
pub(super) const SEALED: u32 = u32::MAX;

/// One more of the same tag.
const ONE: u64 = 1 << 32;

const fn pack(tag: u32, count: u32) -> u64 {
    (count as u64) << 32 | tag as u64
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the two halves are taken apart"
)]
const fn unpack(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

impl Tally {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// One more for `tag` if that is what is counted here, and nobody comes between; `false` if it was not
    /// counted. This is all that nearly every call needs.
    #[inline(always)]
    pub(super) fn add_at_once(&self, tag: u32) -> bool {
        let seen = self.0.load(Ordering::Relaxed);
        // The count is above the tag, so that its half is a look at a sign.
        unpack(seen).0 == tag
            && seen.cast_signed() >= 0
            && self
                .0
                .compare_exchange(seen, seen + ONE, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// One more for `tag`; what was counted for an older one is forgotten. Late ones are dropped.
    #[inline(always)]
    pub(super) fn add(&self, tag: u32) {
        if !self.add_at_once(tag) {
            self.add_slowly(tag);
        }
    }

    #[cold]
    #[inline(never)]
    fn add_slowly(&self, tag: u32) {
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            let (of, count) = unpack(seen);
            let next = if of == tag {
                pack(tag, count.saturating_add(1))
            } else if count != 0 && newer(of, tag) {
                return;
            } else {
                pack(tag, 1)
            };
            match self
                .0
                .compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// As [`add`](Self::add), but the count stops at `most`; `false` if it is [`SEALED`].
    pub(super) fn add_up_to(&self, tag: u32, most: u32) -> bool {
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            let (of, count) = unpack(seen);
            let next = if of == tag && count == SEALED {
                return false;
            } else if of == tag {
                pack(tag, count.min(most - 1) + 1)
            } else if count != 0 && newer(of, tag) {
                return true;
            } else {
                pack(tag, 1)
            };
            match self
                .0
                .compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
    }

    /// Sets the count of `tag` and returns what it was; `None` and nothing is done where a newer one is
    /// counted.
    pub(super) fn swap(&self, tag: u32, count: u32) -> Option<u32> {
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            let (of, before) = unpack(seen);
            if before != 0 && newer(of, tag) {
                return None;
            }
            let next = pack(tag, count);
            match self
                .0
                .compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return Some(if of == tag { before } else { 0 }),
                Err(now) => seen = now,
            }
        }
    }

    /// As [`add`](Self::add), by any amount, and below zero: where one thread takes off what another
    /// has not yet put on.
    pub(super) fn shift(&self, tag: u32, by: i32) {
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            let (of, count) = unpack(seen);
            let base = if of == tag {
                count
            } else if count != 0 && newer(of, tag) {
                return;
            } else {
                0
            };
            let next = pack(tag, base.wrapping_add_signed(by));
            match self
                .0
                .compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// Sets the count of `tag` unless a newer tag is there.
    #[cold]
    #[inline(never)]
    pub(super) fn set(&self, tag: u32, count: u32) {
        // Not once only: whoever comes between has not said the same.
        let _before = self.swap(tag, count);
    }

    /// Whether anything is counted, whatever the tag.
    #[inline(always)]
    pub(super) fn counts(&self) -> bool {
        unpack(self.0.load(Ordering::Relaxed)).1 != 0
    }

    /// The count of `tag`; 0 when the word speaks of another.
    #[inline]
    pub(super) fn get(&self, tag: u32) -> u32 {
        self.peek(tag).unwrap_or(0)
    }

    /// The count of `tag` for a tally that is [shifted](Self::shift): below zero is zero.
    pub(super) fn above_zero(&self, tag: u32) -> u32 {
        self.get(tag).cast_signed().max(0).cast_unsigned()
    }

    /// The count of `tag`, if the word speaks of it.
    #[inline]
    pub(super) fn peek(&self, tag: u32) -> Option<u32> {
        let (of, count) = unpack(self.0.load(Ordering::Relaxed));
        (of == tag).then_some(count)
    }

    /// Tag and count.
    #[inline]
    pub(super) fn read(&self) -> (u32, u32) {
        unpack(self.0.load(Ordering::Relaxed))
    }
}

#[cfg(all(test, not(fusebox_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_new_tag_starts_at_zero_and_an_old_one_moves_nothing() {
        let tally = Tally::new();
        tally.add(1);
        tally.add(1);
        assert_eq!(tally.get(1), 2);
        tally.add(2);
        assert_eq!((tally.get(1), tally.get(2)), (0, 1));
        tally.add(1);
        tally.shift(1, 5);
        tally.set(1, 9);
        assert_eq!((tally.get(1), tally.get(2)), (0, 1));
    }

    #[test]
    fn tags_go_round() {
        let tally = Tally::new();
        tally.add(u32::MAX);
        tally.add(0);
        assert_eq!(tally.get(0), 1);
        tally.add(u32::MAX);
        assert_eq!(tally.get(0), 1);
    }

    #[test]
    fn a_word_that_was_left_alone_for_half_the_circle_is_old_and_not_new() {
        let tally = Tally::new();
        tally.add(5);
        tally.add(5 + (1 << 31) + 1);
        assert_eq!(tally.get(5 + (1 << 31) + 1), 1);
    }

    #[test]
    fn what_is_taken_off_first_is_put_on_later() {
        let tally = Tally::new();
        tally.shift(1, -1);
        assert_eq!(tally.above_zero(1), 0);
        tally.shift(1, 3);
        assert_eq!(tally.above_zero(1), 2);
    }
}
