use std::{
    collections::{HashMap, hash_map},
    hash::RandomState,
    sync::Arc,
    task::Waker,
};

use fusebox_core::{
    Timestamp,
    sync::{AtomicUsize, Mutex, Ordering, lock},
};

use super::{Entry, Place, Queue, Slots, Waited};

/// Keys are spread over so many locks, so that none is shared by all. A power of two.
#[cfg(not(fusebox_loom))]
const SHARDS: usize = 16;
/// As few as can still be two: each is one more thing for a model to interleave.
#[cfg(fusebox_loom)]
const SHARDS: usize = 2;

/// How much of a compartment each key holds: [`Slots`] of its own for every key that holds anything, with a bounded
/// queue in front of them.
///
/// A key that holds nothing takes no memory, so there is nothing to evict and nothing that an eviction
/// could forget: the table is as large as what is in flight, and never larger than its bound.
///
/// ```
/// use fusebox_bulkhead::engine::{NoShare, Queue, Shares};
/// use fusebox_core::Timestamp;
///
/// let shares = Shares::new(1, Queue::NONE, 100);
/// let held = shares.try_enter(7).expect("it holds nothing yet");
/// assert_eq!(shares.try_enter(7).err(), Some(NoShare::Full));
/// shares.leave(held, || Timestamp::ZERO);
/// assert_eq!(shares.active(), 0);
/// ```
#[derive(Debug)]
pub struct Shares {
    shards: Box<[Mutex<Shard>]>,
    /// The standard library's keyed hash: clients have a say in their keys.
    spread: RandomState,
    active: AtomicUsize,
    most_keys: usize,
    /// What holds for every key, and how often it was changed. For operators: each shard has a copy.
    terms: Mutex<(Terms, u64)>,
}

#[derive(Debug)]
struct Shard {
    tenants: HashMap<u128, Tenant, RandomState>,
    terms: Terms,
}

/// A key that holds something or waits for it.
#[derive(Debug)]
struct Tenant {
    slots: Arc<Slots>,
    /// How many calls do. Not what the slots say: one that gives its slot back still uses them, to wake the next.
    users: usize,
}

/// What a key may have.
#[derive(Clone, Copy, Debug)]
struct Terms {
    per_key: u32,
    queue: Queue,
    closed: bool,
}

/// A part of what a key may hold, or a place in the line for it.
///
/// Whoever has one owes the [`Shares`] it is of a [`leave`](Shares::leave), or as long as it waits an
/// [`abandon`](Shares::abandon), or a [`forget`](Shares::forget) when it has waited in vain.
#[derive(Debug)]
pub struct Part {
    key: u128,
    slots: Arc<Slots>,
}

impl Part {
    /// Asks for a part that is waited for: as [`Slots::poll_turn`].
    pub fn poll_turn(&self, place: &mut Option<Place>, now: Timestamp, waker: &Waker) -> Waited {
        self.slots.poll_turn(place, now, waker)
    }
}

/// Why a key gets no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoShare {
    /// It holds all that one key may hold, and no place is left in its line.
    Full,
    /// It holds nothing, and as many others as there may be hold something.
    TooManyKeys,
    /// Nobody is admitted any more.
    Closed,
}

impl Shares {
    /// Up to `per_key` for each of up to `most_keys` keys at once, each with that queue in front of it.
    #[must_use]
    pub fn new(per_key: u32, queue: Queue, most_keys: usize) -> Self {
        let terms = Terms {
            per_key,
            queue,
            closed: false,
        };
        let shard = || Shard {
            tenants: HashMap::default(),
            terms,
        };
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(shard())).collect(),
            spread: RandomState::new(),
            active: AtomicUsize::new(0),
            most_keys,
            terms: Mutex::new((terms, 0)),
        }
    }

    /// Takes one more for `key` if it may have it at once.
    ///
    /// # Errors
    /// [`NoShare`] when it may not. Nobody waits here.
    pub fn try_enter(&self, key: u128) -> Result<Part, NoShare> {
        self.with(key, |tenant| {
            if tenant.try_enter() {
                Ok(None)
            } else if tenant.is_closed() {
                Err(NoShare::Closed)
            } else {
                Err(NoShare::Full)
            }
        })
        .map(|(part, _)| part)
    }

    /// Takes one more for `key`, or a place in its line; `now` is asked only if it has to wait.
    ///
    /// # Errors
    /// [`NoShare`] when there is neither.
    pub fn enter(
        &self,
        key: u128,
        now: impl FnOnce() -> Timestamp,
    ) -> Result<(Part, Option<Place>), NoShare> {
        self.with(key, |tenant| match tenant.enter(now) {
            Entry::Admitted => Ok(None),
            Entry::Queued(place) => Ok(Some(place)),
            Entry::Full => Err(NoShare::Full),
            Entry::Closed => Err(NoShare::Closed),
        })
    }

    /// Gives one back, or on to whoever of the same key waits for it; `now` is asked only if somebody does.
    pub fn leave(&self, part: Part, now: impl FnOnce() -> Timestamp) {
        part.slots.leave(now);
        self.forget(part);
    }

    /// Gives up a place in a key's line, and what it had come to meanwhile.
    pub fn abandon(&self, part: Part, place: Place, now: Timestamp) {
        part.slots.abandon(place, now);
        self.forget(part);
    }

    /// Forgets a call that has waited in vain.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "it is over with the part: nobody gives it back twice"
    )]
    pub fn forget(&self, part: Part) {
        let Some(shard) = self.shard(part.key) else {
            return;
        };
        if let hash_map::Entry::Occupied(mut tenant) = lock(shard).tenants.entry(part.key) {
            tenant.get_mut().users -= 1;
            if tenant.get().users == 0 {
                tenant.remove();
                // Relaxed, here and below: the count guards nothing but itself.
                self.active.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// How many keys hold something.
    #[must_use]
    pub fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// How many calls wait for a part of what their key may hold.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let waiting = |shard: &Mutex<Shard>| {
            let shard = lock(shard);
            let waiting = shard.tenants.values().map(|tenant| tenant.slots.waiting());
            waiting.map(|waiting| waiting as usize).sum::<usize>()
        };
        self.shards.iter().map(waiting).sum()
    }

    /// How much one key may hold.
    #[must_use]
    pub fn per_key(&self) -> u32 {
        lock(&self.terms).0.per_key
    }

    /// The queue in front of what one key may hold.
    #[must_use]
    pub fn queue(&self) -> Queue {
        lock(&self.terms).0.queue
    }

    /// How many keys may hold something at once.
    #[must_use]
    pub const fn most_keys(&self) -> usize {
        self.most_keys
    }

    /// Changes how much one key may hold, and returns how much it was. Who holds more keeps it, and gets no more; who
    /// waits gets what is more at once.
    pub fn resize(&self, per_key: u32, now: Timestamp) -> u32 {
        self.change(now, |terms| terms.per_key = per_key).per_key
    }

    /// Changes the queue of each key, and returns what it was; see [`Slots::change_queue`].
    pub fn change_queue(&self, now: Timestamp, change: impl FnOnce(&mut Queue)) -> Queue {
        self.change(now, |terms| change(&mut terms.queue)).queue
    }

    /// Admits nobody any more, and sends away those who wait.
    pub fn close(&self, now: Timestamp) {
        self.change(now, |terms| terms.closed = true);
    }

    /// Changes what holds for every key, those that hold something included, and returns what it was.
    fn change(&self, now: Timestamp, change: impl FnOnce(&mut Terms)) -> Terms {
        let (before, mut terms, mut changes) = {
            let mut current = lock(&self.terms);
            let before = current.0;
            change(&mut current.0);
            current.1 += 1;
            (before, current.0, current.1)
        };
        loop {
            for shard in &self.shards {
                let tenants: Vec<_> = {
                    let mut shard = lock(shard);
                    shard.terms = terms;
                    let tenants = shard.tenants.values();
                    tenants.map(|tenant| tenant.slots.clone()).collect()
                };
                // After the lock: who waits is woken.
                for tenant in tenants {
                    tenant.change_queue(|queue| *queue = terms.queue);
                    tenant.resize(terms.per_key, now);
                    if terms.closed {
                        tenant.close();
                    }
                }
            }
            // Another operator may have gone by. Whoever is the last to arrive here has brought the newest everywhere.
            let current = lock(&self.terms);
            if current.1 == changes {
                return before;
            }
            (terms, changes) = *current;
        }
    }

    /// What `enter` says of the slots of that key, which are made if there are none.
    fn with(
        &self,
        key: u128,
        enter: impl FnOnce(&Slots) -> Result<Option<Place>, NoShare>,
    ) -> Result<(Part, Option<Place>), NoShare> {
        let mut shard = lock(self.shard(key).ok_or(NoShare::TooManyKeys)?);
        let Shard { tenants, terms } = &mut *shard;
        match tenants.entry(key) {
            hash_map::Entry::Occupied(mut tenant) => {
                let tenant = tenant.get_mut();
                let place = enter(&tenant.slots)?;
                tenant.users += 1;
                let slots = tenant.slots.clone();
                Ok((Part { key, slots }, place))
            }
            hash_map::Entry::Vacant(_) if terms.closed => Err(NoShare::Closed),
            hash_map::Entry::Vacant(vacant) => {
                self.one_more_key()?;
                let slots = Arc::new(Slots::new(terms.per_key, terms.queue));
                match enter(&slots) {
                    Ok(place) => {
                        let (users, slots) = (1, slots.clone());
                        let tenant = vacant.insert(Tenant { slots, users });
                        let slots = tenant.slots.clone();
                        Ok((Part { key, slots }, place))
                    }
                    Err(none) => {
                        self.active.fetch_sub(1, Ordering::Relaxed);
                        Err(none)
                    }
                }
            }
        }
    }

    fn one_more_key(&self) -> Result<(), NoShare> {
        self.active
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |active| {
                (active < self.most_keys).then_some(active + 1)
            })
            .map(drop)
            .map_err(|_full| NoShare::TooManyKeys)
    }

    fn shard(&self, key: u128) -> Option<&Mutex<Shard>> {
        let spread = spread(&self.spread, key);
        self.shards.get(spread & (SHARDS - 1))
    }
}

#[cfg(not(fusebox_loom))]
fn spread(hash: &RandomState, key: u128) -> usize {
    use std::hash::BuildHasher;
    // Other bits than those that the table of the shard goes by.
    usize::try_from(hash.hash_one(key) >> 32).unwrap_or_default()
}

/// The same in every run of a model.
#[cfg(fusebox_loom)]
fn spread(_: &RandomState, key: u128) -> usize {
    key as usize
}

#[cfg(all(test, not(fusebox_loom)))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::QueueOrder;

    const NOW: Timestamp = Timestamp::ZERO;

    fn shares(per_key: u32, most_keys: usize) -> Shares {
        Shares::new(per_key, Queue::NONE, most_keys)
    }

    /// A queue of so many places, a second each.
    fn queue(length: u32) -> Queue {
        Queue {
            length,
            max_wait: Duration::from_secs(1),
            order: QueueOrder::Fifo,
        }
    }

    fn in_line(shares: &Shares, key: u128) -> (Part, Option<Place>) {
        let Ok((part, Some(place))) = shares.enter(key, || NOW) else {
            unreachable!("what it may hold is taken, and there is room in its line");
        };
        (part, Some(place))
    }

    fn look(waiting: &mut (Part, Option<Place>), now: Timestamp) -> Waited {
        let (part, place) = waiting;
        part.poll_turn(place, now, Waker::noop())
    }

    #[test]
    fn one_key_cannot_take_what_is_anothers() {
        let shares = shares(2, 10);
        let [first, _second] = [(); 2].map(|()| shares.try_enter(1).unwrap());
        assert_eq!(shares.try_enter(1).err(), Some(NoShare::Full));
        assert!(shares.try_enter(2).is_ok());
        shares.leave(first, || NOW);
        assert!(shares.try_enter(1).is_ok());
    }

    #[test]
    fn a_smaller_share_takes_nothing_away_and_gives_nothing_more() {
        let shares = shares(2, 10);
        let [first, second] = [(); 2].map(|()| shares.try_enter(1).unwrap());
        assert_eq!(shares.resize(1, NOW), 2);
        shares.leave(first, || NOW);
        assert_eq!(shares.try_enter(1).err(), Some(NoShare::Full));
        shares.leave(second, || NOW);
        let _first = shares.try_enter(1).unwrap();
        assert_eq!(shares.resize(3, NOW), 1);
        assert!(shares.try_enter(1).is_ok());
        assert!(shares.try_enter(2).is_ok(), "and so has every other key");
    }

    #[test]
    fn a_key_that_holds_nothing_is_forgotten() {
        let shares = shares(2, 1);
        let [first, second] = [(); 2].map(|()| shares.try_enter(1).unwrap());
        assert_eq!(shares.try_enter(2).err(), Some(NoShare::TooManyKeys));
        shares.leave(first, || NOW);
        assert_eq!(shares.try_enter(2).err(), Some(NoShare::TooManyKeys));
        shares.leave(second, || NOW);
        assert_eq!(shares.active(), 0);
        assert!(shares.try_enter(2).is_ok());
    }

    #[test]
    fn a_flood_of_keys_leaves_no_more_than_the_bound() {
        let shares = shares(1, 100);
        let admitted: Vec<_> = (0..100_000)
            .filter_map(|key| shares.try_enter(key).ok())
            .collect();
        assert_eq!((admitted.len(), shares.active()), (100, 100));
        let kept = |shares: &Shares| -> usize {
            let shards = shares.shards.iter();
            shards.map(|shard| lock(shard).tenants.len()).sum()
        };
        assert_eq!(kept(&shares), 100);
        admitted
            .into_iter()
            .for_each(|share| shares.leave(share, || NOW));
        assert_eq!((shares.active(), kept(&shares)), (0, 0));
    }

    #[test]
    fn a_key_has_a_line_of_its_own_and_a_bounded_one() {
        let shares = Shares::new(1, queue(1), 10);
        let held = shares.try_enter(1).unwrap();
        let mut waiting = in_line(&shares, 1);
        assert_eq!(shares.enter(1, || NOW).err(), Some(NoShare::Full));
        assert_eq!(shares.waiting(), 1);
        assert!(shares.try_enter(2).is_ok(), "another's line is no obstacle");
        assert_eq!(look(&mut waiting, NOW), Waited::Pending);
        shares.leave(held, || NOW);
        assert_eq!(
            shares.try_enter(1).err(),
            Some(NoShare::Full),
            "nobody overtakes"
        );
        assert_eq!(look(&mut waiting, NOW), Waited::Admitted);
        shares.leave(waiting.0, || NOW);
        assert_eq!((shares.active(), shares.waiting()), (1, 0));
    }

    #[test]
    fn who_waits_too_long_or_gives_up_is_forgotten() {
        let shares = Shares::new(1, queue(2), 10);
        let held = shares.try_enter(1).unwrap();
        let mut late = in_line(&shares, 1);
        let (part, place) = in_line(&shares, 1);
        shares.abandon(part, place.unwrap(), NOW);
        assert_eq!(
            look(&mut late, NOW + Duration::from_secs(1)),
            Waited::Expired
        );
        shares.forget(late.0);
        shares.leave(held, || NOW);
        assert_eq!((shares.active(), shares.waiting()), (0, 0));
    }

    #[test]
    fn what_is_given_up_goes_to_the_next_in_line() {
        let shares = Shares::new(1, queue(2), 10);
        let held = shares.try_enter(1).unwrap();
        let (part, place) = in_line(&shares, 1);
        let mut next = in_line(&shares, 1);
        shares.leave(held, || NOW);
        shares.abandon(part, place.unwrap(), NOW);
        assert_eq!(look(&mut next, NOW), Waited::Admitted);
    }

    #[test]
    fn a_change_reaches_the_keys_that_hold_something_and_those_to_come() {
        let shares = shares(1, 10);
        let held = shares.try_enter(1).unwrap();
        assert_eq!(shares.enter(1, || NOW).err(), Some(NoShare::Full));
        assert_eq!(
            shares.change_queue(NOW, |terms| *terms = queue(1)),
            Queue::NONE
        );
        let mut waiting = in_line(&shares, 1);
        let _other = shares.try_enter(2).unwrap();
        assert!(in_line(&shares, 2).1.is_some());
        shares.resize(2, NOW);
        assert_eq!(look(&mut waiting, NOW), Waited::Admitted);
        shares.leave(held, || NOW);
        shares.leave(waiting.0, || NOW);
    }

    #[test]
    fn closed_it_keeps_nobody_waiting() {
        let shares = Shares::new(1, queue(1), 10);
        let held = shares.try_enter(1).unwrap();
        let mut waiting = in_line(&shares, 1);
        shares.close(NOW);
        assert_eq!(look(&mut waiting, NOW), Waited::Closed);
        shares.forget(waiting.0);
        for key in [1, 2] {
            assert_eq!(shares.try_enter(key).err(), Some(NoShare::Closed));
            assert_eq!(shares.enter(key, || NOW).err(), Some(NoShare::Closed));
        }
        shares.leave(held, || NOW);
        assert_eq!(shares.active(), 0);
    }

    #[test]
    fn threads_lose_no_count() {
        let shares = shares(u32::MAX, 1_000);
        std::thread::scope(|scope| {
            for thread in 0..4_u128 {
                let shares = &shares;
                scope.spawn(move || {
                    for round in 0..2_000 {
                        let key = (round + thread) % 7;
                        let share = shares.try_enter(key).unwrap();
                        shares.leave(share, || NOW);
                    }
                });
            }
        });
        assert_eq!(shares.active(), 0);
    }
}
