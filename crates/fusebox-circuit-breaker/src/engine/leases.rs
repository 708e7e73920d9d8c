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
/// A word says until when its place is taken, whether it still is, and whether its holder has been answered. No word is ever used twice for
/// the same place (each is later than the one before), so whoever comes back with a word that is
/// not there any more came too late, and knows it.
#[derive(Debug)]
pub(super) struct Leases {
    /// The deadline in nanoseconds (62 bits), [`ANSWERED`] and [`TAKEN`].
    places: Box<[AtomicU64]>,
    term: Duration,
}

const TAKEN: u64 = 1;
/// The holder was answered, and all was well so far.
const ANSWERED: u64 = 1 << 1;

/// Seventy years: with it a deadline never comes near what a word can hold.
const LONGEST_TERM: Duration = Duration::from_nanos(u64::MAX >> 3);

const fn deadline(word: u64) -> u64 {
    word >> 2
}

/// A lease, and what became of the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) lease: Lease,
    /// If the holder before missed its deadline, and had been answered by then: when it took the place.
    pub(super) was_answered: Option<Timestamp>,
}

impl Leases {
    pub(super) fn new(probes: u32, term: Duration) -> Self {
        Self {
            places: (0..probes.max(1)).map(|_| AtomicU64::new(0)).collect(),
            term: term.min(LONGEST_TERM),
        }
    }

    /// Takes a place that is free, or whose holder has missed its deadline.
    pub(super) fn take(&self, now: Timestamp) -> Option<Taken> {
        for (place, word) in (0..).zip(&self.places) {
            let mut seen = word.load(Ordering::Acquire);
            while seen & TAKEN == 0 || deadline(seen) <= now.as_nanos() {
                let until = now
                    .as_nanos()
                    .saturating_add(nanos(self.term))
                    .max(deadline(seen).saturating_add(1));
                let new = until << 2 | TAKEN;
                match word.compare_exchange_weak(seen, new, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => {
                        let word = NonZeroU64::new(new)?;
                        let answered = seen & (TAKEN | ANSWERED) == TAKEN | ANSWERED;
                        return Some(Taken {
                            lease: Lease { place, word },
                            was_answered: answered.then(|| self.taken_at_in(seen)),
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
        self.change(lease, lease.word.get() & !(TAKEN | ANSWERED))
    }

    /// The lease of a holder that was answered; `None` when it was lost at the deadline.
    pub(super) fn answered(&self, lease: Lease) -> Option<Lease> {
        let word = lease.word | ANSWERED;
        let place = lease.place;
        (self.change(lease, word.get())).then_some(Lease { place, word })
    }

    fn change(&self, lease: Lease, to: u64) -> bool {
        self.places.get(lease.place as usize).is_some_and(|word| {
            word.compare_exchange(lease.word.get(), to, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
        })
    }

    /// When it was taken.
    pub(super) fn taken_at(&self, lease: Lease) -> Timestamp {
        self.taken_at_in(lease.word.get())
    }

    fn taken_at_in(&self, word: u64) -> Timestamp {
        Timestamp::from_nanos(deadline(word).saturating_sub(nanos(self.term)))
    }

    /// How many are held and in time.
    pub(super) fn held(&self, now: Timestamp) -> usize {
        let held = |word: u64| word & TAKEN != 0 && deadline(word) > now.as_nanos();
        self.places
            .iter()
            .filter(|word| held(word.load(Ordering::Acquire)))
            .count()
    }
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
        let late = leases.take(at(0)).unwrap().lease;
        assert_eq!(leases.take(at(99)), None);
        let next = leases.take(at(100)).unwrap().lease;
        assert!(!leases.give_back(late));
        assert_eq!(leases.held(at(100)), 1);
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
    fn a_lease_given_back_in_the_same_instant_is_another_one() {
        let leases = Leases::new(1, TERM);
        let first = leases.take(at(5)).unwrap().lease;
        assert!(leases.give_back(first));
        let second = leases.take(at(5)).unwrap().lease;
        assert_ne!(first, second);
        assert!(!leases.give_back(first));
    }
}
