use std::{num::NonZeroU64, time::Duration};

use fusebox_core::{
    Timestamp,
    sync::{AtomicU64, Ordering},
    time::nanos,
};

/// The right to make one probe, until a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    place: u32,
    /// What was written into the place; never zero, for it says `TAKEN`.
    word: NonZeroU64,
}

impl Lease {
    /// Place and word.
    pub(super) const fn parts(self) -> (u32, u64) {
        (self.place, self.word.get())
    }

    /// A lease from its [parts](Self::parts).
    pub(super) fn from_parts(place: u32, word: u64) -> Option<Self> {
        NonZeroU64::new(word).map(|word| Self { place, word })
    }
}

/// The places for probes: as many as may be under way at once.
///
/// A word says since when its place is taken, whether it still is, and whether its holder has been answered. No
/// word is ever used twice for the same place (each is later than the one before), so whoever comes back with a
/// word that is not there any more came too late, and knows it.
#[derive(Debug)]
pub(super) struct Leases {
    /// When it was taken in nanoseconds (61 bits, 73 years), [`RESERVED`], [`ANSWERED`] and [`TAKEN`].
    places: Box<[AtomicU64]>,
    term: Duration,
}

const TAKEN: u64 = 1;
/// The holder was answered, and all was well so far.
const ANSWERED: u64 = 1 << 1;
/// The holder has not begun yet: nothing is under way.
const RESERVED: u64 = 1 << 2;
const FLAGS: u32 = 3;

const fn taken_at(word: u64) -> u64 {
    word >> FLAGS
}

/// A lease, and what became of the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) lease: Lease,
    /// Whether the holder before missed its deadline, and may not know it yet.
    pub(super) overdue: bool,
    /// If it had been answered by then: when it took the place.
    pub(super) was_answered: Option<Timestamp>,
}

impl Leases {
    pub(super) fn new(probes: u32, term: Duration) -> Self {
        Self {
            places: (0..probes.max(1)).map(|_| AtomicU64::new(0)).collect(),
            term,
        }
    }

    /// Takes a place that is free, or whose holder has missed its deadline.
    pub(super) fn take(&self, now: Timestamp) -> Option<Taken> {
        self.take_as(TAKEN, now)
    }

    /// As [`take`](Self::take), for a probe that has to wait before it [begins](Self::begins).
    pub(super) fn reserve(&self, now: Timestamp) -> Option<Taken> {
        self.take_as(TAKEN | RESERVED, now)
    }

    fn take_as(&self, flags: u64, now: Timestamp) -> Option<Taken> {
        for (place, word) in (0..).zip(&self.places) {
            let mut seen = word.load(Ordering::Acquire);
            while !self.is_held(seen, now) {
                let new = from(now, seen) | flags;
                match word.compare_exchange_weak(seen, new, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => {
                        let word = NonZeroU64::new(new)?;
                        let overdue = seen & TAKEN != 0;
                        let answered = overdue && seen & ANSWERED != 0;
                        return Some(Taken {
                            lease: Lease { place, word },
                            overdue,
                            was_answered: answered.then(|| Timestamp::from_nanos(taken_at(seen))),
                        });
                    }
                    Err(now) => seen = now,
                }
            }
        }
        None
    }

    /// Gives a place back; `false` when it was lost at the deadline.
    pub(super) fn give_back(&self, lease: Lease) -> bool {
        self.change(lease, lease.word.get() & !(TAKEN | ANSWERED | RESERVED))
    }

    /// The lease of a holder that was answered; `None` when it was lost at the deadline.
    pub(super) fn answered(&self, lease: Lease) -> Option<Lease> {
        let word = lease.word | ANSWERED;
        let place = lease.place;
        (self.change(lease, word.get())).then_some(Lease { place, word })
    }

    /// The lease of a holder that begins only now, with all of its time before it; `None` when it was lost at the
    /// deadline.
    pub(super) fn begins(&self, lease: Lease, now: Timestamp) -> Option<Lease> {
        // In the same instant it is the same word but for the flag, and no other can have been it.
        let since = now.as_nanos().max(taken_at(lease.word.get()));
        let word = NonZeroU64::new(since << FLAGS | TAKEN)?;
        let place = lease.place;
        (self.change(lease, word.get())).then_some(Lease { place, word })
    }

    /// Frees the places of those that have not begun: what they were reserved for is over.
    pub(super) fn forget_reserved(&self) {
        for word in &self.places {
            let seen = word.load(Ordering::Acquire);
            if seen & RESERVED != 0 {
                let free = seen & !(TAKEN | ANSWERED | RESERVED);
                // If it has changed, it is reserved no more.
                let _ = word.compare_exchange(seen, free, Ordering::AcqRel, Ordering::Acquire);
            }
        }
    }

    /// Whether the place is still its holder's.
    pub(super) fn holds(&self, lease: Lease) -> bool {
        let word = self.places.get(lease.place as usize);
        word.is_some_and(|word| word.load(Ordering::Acquire) == lease.word.get())
    }

    fn change(&self, lease: Lease, to: u64) -> bool {
        self.places.get(lease.place as usize).is_some_and(|word| {
            word.compare_exchange(lease.word.get(), to, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
        })
    }

    /// When it was taken.
    pub(super) fn taken_at(lease: Lease) -> Timestamp {
        Timestamp::from_nanos(taken_at(lease.word.get()))
    }

    /// How many are held and in time.
    pub(super) fn held(&self, now: Timestamp) -> usize {
        self.places
            .iter()
            .filter(|word| self.is_held(word.load(Ordering::Acquire), now))
            .count()
    }

    fn is_held(&self, word: u64, now: Timestamp) -> bool {
        let deadline = taken_at(word).saturating_add(nanos(self.term));
        word & TAKEN != 0 && now.as_nanos() < deadline
    }
}

/// The word of a place that is taken now, before it says that it is: later than the one before.
fn from(now: Timestamp, before: u64) -> u64 {
    now.as_nanos().max(taken_at(before).saturating_add(1)) << FLAGS
}

#[cfg(all(test, not(fusebox_loom)))]
mod tests {
    use super::*;

    const TERM: Duration = Duration::from_nanos(100);

    fn at(nanos: u64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    #[test]
    fn gives_as_many_as_there_are() {
        let leases = Leases::new(2, TERM);
        let first = leases.take(at(0)).unwrap().lease;
        assert!(leases.take(at(1)).is_some());
        assert_eq!(leases.take(at(2)), None);
        assert!(leases.give_back(first));
        assert!(leases.take(at(3)).is_some());
        assert_eq!(leases.held(at(3)), 2);
    }

    #[test]
    fn takes_a_place_from_who_missed_the_deadline_and_tells_them_so() {
        let leases = Leases::new(1, TERM);
        let late = leases.take(at(1)).unwrap().lease;
        assert_eq!(leases.take(at(100)), None);
        let next = leases.take(at(101)).unwrap().lease;
        assert!(!leases.give_back(late));
        assert_eq!(leases.held(at(101)), 1);
        assert!(leases.give_back(next));
        assert!(!leases.give_back(next), "and only once");
    }

    #[test]
    fn who_takes_a_place_learns_whether_the_one_before_was_answered() {
        let leases = Leases::new(1, TERM);
        let hung = leases.take(at(7)).unwrap().lease;
        let next = leases.take(at(107)).unwrap();
        assert_eq!(next.was_answered, None);
        assert_eq!(leases.answered(hung), None, "too late");
        leases.answered(next.lease).unwrap();
        let next = leases.take(at(207)).unwrap();
        assert_eq!(next.was_answered, Some(at(107)));
        let over = leases.answered(next.lease).unwrap();
        assert!(leases.give_back(over));
        assert_eq!(leases.take(at(208)).unwrap().was_answered, None, "was over");
    }

    #[test]
    fn a_holder_that_begins_later_has_all_of_its_time_from_then_on() {
        let leases = Leases::new(1, TERM);
        let waiting = leases.reserve(at(1)).unwrap().lease;
        let begun = leases.begins(waiting, at(90)).unwrap();
        assert!(!leases.holds(waiting) && leases.holds(begun));
        assert_eq!(leases.take(at(189)), None);
        let next = leases.take(at(190)).unwrap();
        assert!(next.overdue);
        assert_eq!(leases.begins(begun, at(191)), None, "too late");
    }

    #[test]
    fn what_was_reserved_and_never_begun_can_be_forgotten() {
        let leases = Leases::new(2, TERM);
        let waiting = leases.reserve(at(1)).unwrap().lease;
        let begun = leases.reserve(at(1)).unwrap().lease;
        let begun = leases.begins(begun, at(1)).unwrap();
        leases.forget_reserved();
        assert!(!leases.holds(waiting) && leases.holds(begun));
        assert_eq!(leases.begins(waiting, at(2)), None);
        assert!(leases.take(at(2)).is_some());
        assert!(!leases.give_back(waiting));
    }

    #[test]
    fn a_lease_given_back_in_the_same_instant_is_another_one() {
        let leases = Leases::new(1, TERM);
        let first = leases.take(at(5)).unwrap().lease;
        assert!(leases.give_back(first));
        let second = leases.take(at(5)).unwrap().lease;
        assert_ne!(first, second);
        assert!(!leases.give_back(first));
    }
}
