use std::collections::BTreeSet;

use fusebox_core::{
    Timestamp,
    sync::{Mutex, lock},
};

/// Keeps a family of circuits from all being open at once.
///
/// When most of them fail at the same time, the fault is more likely on this side (a network, a
/// configuration) than in every dependency: opening the rest would turn a bad hour into an outage. One
/// may always be open, however few there are (Envoy's `max_ejection_percent` has the same rule).
///
/// A circuit that is open holds a place until its cool-down is over, and a half-open one until the deadline of a
/// probe. After that it keeps the place only as long as nobody else needs it: a circuit finds out that its time is
/// over when it is called, and one that nobody calls any more would hold its place for ever.
// A lock, because only transitions come here; and calls that fail while the guard says no.
#[derive(Debug)]
pub struct Quorum {
    percent: u32,
    family: Mutex<Family>,
}

#[derive(Debug, Default)]
struct Family {
    members: u64,
    /// Until when each place is held, and by whom. In order: the first is the first that may be taken away.
    places: BTreeSet<(Timestamp, u64)>,
    next: u64,
    denied: u64,
}

/// A place among those that are open; to be looked up, for it may have been taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(Timestamp, u64);

impl Quorum {
    /// At most `percent` of the members.
    #[must_use]
    pub fn new(percent: u32) -> Self {
        Self {
            percent,
            family: Mutex::new(Family::default()),
        }
    }

    /// How often one of them was to open and could not.
    pub fn denied(&self) -> u64 {
        lock(&self.family).denied
    }

    pub(super) fn join(&self) {
        lock(&self.family).members += 1;
    }

    pub(super) fn leave(&self) {
        lock(&self.family).members -= 1;
    }

    /// A place until then, for who holds `before` or nothing; `None` if there is none.
    pub(super) fn hold(
        &self,
        before: Option<Place>,
        now: Timestamp,
        until: Timestamp,
    ) -> Option<Place> {
        let mut family = lock(&self.family);
        let held = before.is_some_and(|Place(until, id)| family.places.remove(&(until, id)));
        if !held && !family.has_room(self.percent, now) {
            family.denied += 1;
            return None;
        }
        family.next += 1;
        let place = (until, family.next);
        family.places.insert(place);
        Some(Place(place.0, place.1))
    }

    /// Who held it is not open any more.
    pub(super) fn give_back(&self, Place(until, id): Place) {
        lock(&self.family).places.remove(&(until, id));
    }
}

impl Family {
    /// Whether one more may open, if need be in the place of one whose time is over.
    fn has_room(&mut self, percent: u32, now: Timestamp) -> bool {
        let open = self.places.len() as u64;
        if open == 0 || (open + 1) * 100 <= self.members * u64::from(percent) {
            return true;
        }
        match self.places.first().copied() {
            Some(first) if first.0 <= now => self.places.remove(&first),
            _ => false,
        }
    }
}

#[cfg(all(test, not(fusebox_loom)))]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_nanos(10);
    const LATER: Timestamp = Timestamp::from_nanos(20);

    #[test]
    fn the_first_may_open_and_then_no_more_than_the_share() {
        let quorum = Quorum::new(50);
        quorum.join();
        let open = |quorum: &Quorum| quorum.hold(None, NOW, LATER);
        let first = open(&quorum).unwrap();
        assert_eq!(open(&quorum), None);
        for _ in 1..4 {
            quorum.join();
        }
        assert!(open(&quorum).is_some());
        assert_eq!(open(&quorum), None);
        quorum.give_back(first);
        assert!(open(&quorum).is_some());
        assert_eq!(quorum.denied(), 2);
    }

    #[test]
    fn a_place_whose_time_is_over_is_kept_until_somebody_needs_it() {
        let quorum = Quorum::new(50);
        quorum.join();
        let ghost = quorum.hold(None, NOW, LATER).unwrap();
        let ghost = quorum.hold(Some(ghost), LATER, LATER).unwrap();
        let other = quorum.hold(None, LATER, Timestamp::from_nanos(30));
        assert!(other.is_some());
        assert_eq!(quorum.hold(Some(ghost), LATER, Timestamp::MAX), None);
        // What is not there any more takes nobody's place with it.
        quorum.give_back(ghost);
        assert_eq!(quorum.hold(None, LATER, Timestamp::MAX), None);
    }
}
