/// The most slots a compartment can have: 2³⁰ − 1, what the packed word has bits for.
pub const MOST_SLOTS: u32 = (1 << 30) - 1;

/// Everything an admission depends on, in one word, so that it is one compare-and-swap.
///
/// ```text
///  63           62..32   31        30       29..0
/// [line full] [limit] [waiting] [closed] [in flight]
/// ```
///
/// *Waiting* and *closed* sit above the count on purpose: either one makes the lower half larger than
/// any limit, so "is there a free slot, and is nobody in line, and is it open" is one comparison.
/// *Line full* is there so that a refusal needs no lock either. A compartment without a queue is one
/// whose line is always full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

/// One slot in use.
pub(super) const ONE: u64 = 1;
/// At least one call waits in line: newcomers must not overtake it.
pub(super) const WAITING: u64 = 1 << 31;
/// Nobody is admitted any more.
pub(super) const CLOSED: u64 = 1 << 30;
/// No place is left in the line.
pub(super) const LINE_FULL: u64 = 1 << 63;

const LIMIT_SHIFT: u32 = 32;
const LIMIT: u64 = (MOST_SLOTS as u64) << LIMIT_SHIFT;
const IN_FLIGHT: u64 = CLOSED - 1;

impl Word {
    /// An open, empty compartment without a place to wait.
    pub(super) fn new(limit: u32) -> Self {
        Self(LINE_FULL).with_limit(limit)
    }

    /// Whether a newcomer may take a slot.
    #[inline]
    pub(super) const fn has_room(self) -> bool {
        self.0 & (WAITING | CLOSED | IN_FLIGHT) < (self.0 & LIMIT) >> LIMIT_SHIFT
    }

    /// Whether the first in line may take a slot.
    pub(super) const fn has_room_for_the_line(self) -> bool {
        Self(self.0 & !WAITING).has_room()
    }

    /// Whether the end of a call has to look further than its own slot.
    #[inline]
    pub(super) const fn is_watched(self) -> bool {
        self.0 & (WAITING | CLOSED) != 0
    }

    pub(super) const fn is_waited_for(self) -> bool {
        self.0 & WAITING != 0
    }

    pub(super) const fn is_closed(self) -> bool {
        self.0 & CLOSED != 0
    }

    #[inline]
    pub(super) const fn has_line_full(self) -> bool {
        self.0 & LINE_FULL != 0
    }

    pub(super) const fn in_flight(self) -> u32 {
        (self.0 & IN_FLIGHT) as u32
    }

    pub(super) const fn limit(self) -> u32 {
        ((self.0 & LIMIT) >> LIMIT_SHIFT) as u32
    }

    /// The same with another limit; more than [`MOST_SLOTS`] is as many as that.
    pub(super) fn with_limit(self, limit: u32) -> Self {
        Self(self.0 & !LIMIT | u64::from(limit.min(MOST_SLOTS)) << LIMIT_SHIFT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_keeps_to_its_bits() {
        let word = Word::new(MOST_SLOTS);
        assert_eq!(word.limit(), MOST_SLOTS);
        assert_eq!(word.in_flight(), 0);
        let full = Word(word.0 | WAITING | CLOSED | IN_FLIGHT);
        assert_eq!(full.limit(), MOST_SLOTS);
        assert_eq!(full.in_flight(), MOST_SLOTS);
        assert_eq!(full.with_limit(0).limit(), 0);
        assert_eq!(full.with_limit(0).in_flight(), MOST_SLOTS);
        assert!(full.with_limit(0).is_closed() && full.with_limit(0).is_waited_for());
        assert_eq!(word.with_limit(u32::MAX).limit(), MOST_SLOTS);
        assert_eq!(LIMIT & (IN_FLIGHT | CLOSED | WAITING | LINE_FULL), 0);
    }

    #[test]
    fn there_is_room_below_the_limit_unless_somebody_waits_or_it_is_closed() {
        for limit in [0, 1, 2, MOST_SLOTS] {
            for in_flight in [0, 1, 2, 3, MOST_SLOTS] {
                let word = Word(Word::new(limit).0 + u64::from(in_flight));
                assert_eq!(word.has_room(), in_flight < limit, "{in_flight} of {limit}");
                assert!(!Word(word.0 | WAITING).has_room());
                assert!(!Word(word.0 | CLOSED).has_room());
                assert_eq!(
                    Word(word.0 | WAITING).has_room_for_the_line(),
                    word.has_room()
                );
                assert!(!Word(word.0 | WAITING | CLOSED).has_room_for_the_line());
            }
        }
    }
}
