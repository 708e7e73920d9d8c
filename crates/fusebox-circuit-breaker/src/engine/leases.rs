use std::{num::NonZeroU64, sync::OnceLock, time::Duration};

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
    /// Those beyond, once somebody wants more: as many as there may ever be.
    more: OnceLock<Box<[AtomicU64]>>,
}

/// What may be changed about them at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// How many places are given away.
    pub(super) probes: u32,
    /// For how long each; also those that are held.
    pub(super) deadline: Duration,
}

/// Probes beyond this many are traffic.
pub(crate) const MOST_PROBES: u32 = 1_024;

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
    /// Room for so many, and for more when they are asked for.
    pub(super) fn new(probes: u32) -> Self {
        Self {
            places: places(probes.max(1)),
            more: OnceLock::new(),
        }
    }

    /// Those that there are, in order.
    fn all(&self) -> impl Iterator<Item = &AtomicU64> {
        self.places
            .iter()
            .chain(self.more.get().into_iter().flatten())
    }

    fn place(&self, number: u32) -> Option<&AtomicU64> {
        let number = number as usize;
        self.places.get(number).or_else(|| {
            let more = self.more.get()?;
            more.get(number - self.places.len())
        })
    }

    fn make_room(&self, probes: u32) {
        if probes as usize > self.places.len() {
            self.more.get_or_init(|| places(MOST_PROBES));
        }
    }

    /// Takes a place that is free, or whose holder has missed its deadline.
    pub(super) fn take(&self, terms: Terms, now: Timestamp) -> Option<Taken> {
        self.take_as(TAKEN, terms, now)
    }

    /// As [`take`](Self::take), for a probe that has to wait before it [begins](Self::begins).
    pub(super) fn reserve(&self, terms: Terms, now: Timestamp) -> Option<Taken> {
        self.take_as(TAKEN | RESERVED, terms, now)
    }

    fn take_as(&self, flags: u64, terms: Terms, now: Timestamp) -> Option<Taken> {
        self.make_room(terms.probes);
        for (place, word) in (0..terms.probes).zip(self.all()) {
            let mut seen = word.load(Ordering::Acquire);
            while !is_held(seen, terms, now) {
                // Right before it is taken: who took one meanwhile is seen.
                if self.are_enough(terms, now) {
                    return None;
                }
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

    /// Whether those who hold the places beyond, given away when there were more, leave nothing of the places there are
    /// now.
    fn are_enough(&self, terms: Terms, now: Timestamp) -> bool {
        let probes = terms.probes as usize;
        let beyond = |word: &AtomicU64| is_held(word.load(Ordering::Acquire), terms, now);
        self.all().skip(probes).any(beyond) && self.held(terms, now) >= probes
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
        for word in self.all() {
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
        let word = self.place(lease.place);
        word.is_some_and(|word| word.load(Ordering::Acquire) == lease.word.get())
    }

    fn change(&self, lease: Lease, to: u64) -> bool {
        self.place(lease.place).is_some_and(|word| {
            word.compare_exchange(lease.word.get(), to, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
        })
    }

    /// When it was taken.
    pub(super) fn taken_at(lease: Lease) -> Timestamp {
        Timestamp::from_nanos(taken_at(lease.word.get()))
    }

    /// How many are held and in time.
    pub(super) fn held(&self, terms: Terms, now: Timestamp) -> usize {
        self.all()
            .filter(|word| is_held(word.load(Ordering::Acquire), terms, now))
            .count()
    }
}

fn places(number: u32) -> Box<[AtomicU64]> {
    (0..number).map(|_| AtomicU64::new(0)).collect()
}

fn is_held(word: u64, terms: Terms, now: Timestamp) -> bool {
    let deadline = taken_at(word).saturating_add(nanos(terms.deadline));
    word & TAKEN != 0 && now.as_nanos() < deadline
}

/// The word of a place that is taken now, before it says that it is: later than the one before.
fn from(now: Timestamp, before: u64) -> u64 {
    now.as_nanos().max(taken_at(before).saturating_add(1)) << FLAGS
}

#[cfg(all(test, not(fusebox_loom)))]
mod tests {
    use super::*;

    const TERMS: Terms = Terms {
        probes: 2,
        deadline: Duration::from_nanos(100),
    };
    const ONE: Terms = Terms { probes: 1, ..TERMS };

    fn at(nanos: u64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    #[test]
    fn gives_as_many_as_there_are() {
        let leases = Leases::new(2);
        let first = leases.take(TERMS, at(0)).unwrap().lease;
        assert!(leases.take(TERMS, at(1)).is_some());
        assert_eq!(leases.take(TERMS, at(2)), None);
        assert!(leases.give_back(first));
        assert!(leases.take(TERMS, at(3)).is_some());
        assert_eq!(leases.held(TERMS, at(3)), 2);
    }

    #[test]
    fn takes_a_place_from_who_missed_the_deadline_and_tells_them_so() {
        let leases = Leases::new(1);
        let late = leases.take(ONE, at(1)).unwrap().lease;
        assert_eq!(leases.take(ONE, at(100)), None);
        let next = leases.take(ONE, at(101)).unwrap().lease;
        assert!(!leases.give_back(late));
        assert_eq!(leases.held(ONE, at(101)), 1);
        assert!(leases.give_back(next));
        assert!(!leases.give_back(next), "and only once");
    }

    #[test]
    fn who_takes_a_place_learns_whether_the_one_before_was_answered() {
        let leases = Leases::new(1);
        let hung = leases.take(ONE, at(7)).unwrap().lease;
        let next = leases.take(ONE, at(107)).unwrap();
        assert_eq!(next.was_answered, None);
        assert_eq!(leases.answered(hung), None, "too late");
        leases.answered(next.lease).unwrap();
        let next = leases.take(ONE, at(207)).unwrap();
        assert_eq!(next.was_answered, Some(at(107)));
        let over = leases.answered(next.lease).unwrap();
        assert!(leases.give_back(over));
        assert_eq!(
            leases.take(ONE, at(208)).unwrap().was_answered,
            None,
            "was over"
        );
    }

    #[test]
    fn a_holder_that_begins_later_has_all_of_its_time_from_then_on() {
        let leases = Leases::new(1);
        let waiting = leases.reserve(ONE, at(1)).unwrap().lease;
        let begun = leases.begins(waiting, at(90)).unwrap();
        assert!(!leases.holds(waiting) && leases.holds(begun));
        assert_eq!(leases.take(ONE, at(189)), None);
        let next = leases.take(ONE, at(190)).unwrap();
        assert!(next.overdue);
        assert_eq!(leases.begins(begun, at(191)), None, "too late");
    }

    #[test]
    fn what_was_reserved_and_never_begun_can_be_forgotten() {
        let leases = Leases::new(2);
        let waiting = leases.reserve(TERMS, at(1)).unwrap().lease;
        let begun = leases.reserve(TERMS, at(1)).unwrap().lease;
        let begun = leases.begins(begun, at(1)).unwrap();
        leases.forget_reserved();
        assert!(!leases.holds(waiting) && leases.holds(begun));
        assert_eq!(leases.begins(waiting, at(2)), None);
        assert!(leases.take(TERMS, at(2)).is_some());
        assert!(!leases.give_back(waiting));
    }

    #[test]
    fn there_may_be_more_of_them_later_and_fewer_and_other_deadlines() {
        let leases = Leases::new(1);
        let first = leases.take(ONE, at(1)).unwrap().lease;
        assert_eq!(leases.take(ONE, at(1)), None);
        let three = Terms { probes: 3, ..TERMS };
        let second = leases.take(three, at(2)).unwrap().lease;
        let third = leases.take(three, at(2)).unwrap().lease;
        assert_eq!(leases.take(three, at(2)), None);
        // Nobody is put out; but nobody comes after them, wherever the free place is.
        assert!(leases.give_back(first) && leases.give_back(third));
        assert_eq!(leases.held(ONE, at(3)), 1);
        assert_eq!(leases.take(ONE, at(3)), None);
        assert!(leases.give_back(second));
        let first = leases.take(ONE, at(3)).unwrap().lease;
        assert_eq!(leases.take(ONE, at(3)), None);
        let sooner = Terms {
            deadline: Duration::from_nanos(10),
            ..ONE
        };
        assert!(leases.take(sooner, at(13)).unwrap().overdue);
        assert!(!leases.give_back(first));
    }

    #[test]
    fn who_is_beyond_the_last_place_and_misses_the_deadline_keeps_nobody_out() {
        let leases = Leases::new(2);
        let first = leases.take(TERMS, at(1)).unwrap().lease;
        leases.take(TERMS, at(1)).unwrap();
        assert!(leases.give_back(first));
        assert_eq!(leases.take(ONE, at(100)), None);
        assert!(leases.take(ONE, at(101)).is_some());
    }

    #[test]
    fn a_lease_given_back_in_the_same_instant_is_another_one() {
        let leases = Leases::new(1);
        let first = leases.take(ONE, at(5)).unwrap().lease;
        assert!(leases.give_back(first));
        let second = leases.take(ONE, at(5)).unwrap().lease;
        assert_ne!(first, second);
        assert!(!leases.give_back(first));
    }
}
