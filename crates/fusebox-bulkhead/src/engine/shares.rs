use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, RandomState},
};

use fusebox_core::sync::{AtomicU32, AtomicUsize, Mutex, Ordering, lock};

/// Keys are spread over so many locks, so that none is shared by all. A power of two.
const SHARDS: usize = 16;

/// How much of a compartment each key holds: a count for every key that holds anything.
///
/// A key that holds nothing takes no memory, so there is nothing to evict and nothing that an eviction
/// could forget: the table is as large as what is in flight, and never larger than its bound.
#[derive(Debug)]
pub struct Shares {
    shards: Box<[Mutex<HashMap<u128, u32, RandomState>>]>,
    /// The standard library's keyed hash: clients have a say in their keys.
    spread: RandomState,
    active: AtomicUsize,
    per_key: AtomicU32,
    most_keys: usize,
}

/// Why a key gets no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoShare {
    /// It holds all that one key may hold.
    Full,
    /// It holds nothing, and as many others as there may be hold something.
    TooManyKeys,
}

impl Shares {
    /// Up to `per_key` for each of up to `most_keys` keys at once.
    #[must_use]
    pub fn new(per_key: u32, most_keys: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            spread: RandomState::new(),
            active: AtomicUsize::new(0),
            per_key: AtomicU32::new(per_key),
            most_keys,
        }
    }

    /// Takes one more for `key`, which owes a [`leave`](Self::leave).
    ///
    /// # Errors
    /// [`NoShare`] when there is none.
    pub fn enter(&self, key: u128) -> Result<(), NoShare> {
        let Some(shard) = self.shard(key) else {
            return Err(NoShare::TooManyKeys);
        };
        match lock(shard).entry(key) {
            Entry::Occupied(mut held) if *held.get() < self.per_key() => {
                *held.get_mut() += 1;
                Ok(())
            }
            Entry::Occupied(_) => Err(NoShare::Full),
            Entry::Vacant(place) => {
                self.one_more_key()?;
                place.insert(1);
                Ok(())
            }
        }
    }

    /// Gives one of `key`'s back.
    pub fn leave(&self, key: u128) {
        let Some(shard) = self.shard(key) else { return };
        if let Entry::Occupied(mut held) = lock(shard).entry(key) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
                self.active.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// How many keys hold something.
    #[must_use]
    pub fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// How much one key may hold.
    #[must_use]
    pub fn per_key(&self) -> u32 {
        self.per_key.load(Ordering::Relaxed)
    }

    /// Changes how much one key may hold, and returns how much it was. Who holds more keeps it, and gets no more.
    pub fn resize(&self, per_key: u32) -> u32 {
        self.per_key.swap(per_key, Ordering::Relaxed)
    }

    /// How many keys may hold something at once.
    #[must_use]
    pub const fn most_keys(&self) -> usize {
        self.most_keys
    }

    fn one_more_key(&self) -> Result<(), NoShare> {
        // Relaxed: the count guards nothing but itself.
        self.active
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |active| {
                (active < self.most_keys).then_some(active + 1)
            })
            .map(drop)
            .map_err(|_full| NoShare::TooManyKeys)
    }

    fn shard(&self, key: u128) -> Option<&Mutex<HashMap<u128, u32, RandomState>>> {
        let spread = usize::try_from(self.spread.hash_one(key) >> 32).ok()?;
        self.shards.get(spread & (SHARDS - 1))
    }
}

#[cfg(all(test, not(fusebox_loom)))]
mod tests {
    use super::*;

    #[test]
    fn one_key_cannot_take_what_is_anothers() {
        let shares = Shares::new(2, 10);
        assert_eq!(
            [(); 3].map(|()| shares.enter(1)),
            [Ok(()), Ok(()), Err(NoShare::Full)]
        );
        assert_eq!(shares.enter(2), Ok(()));
        shares.leave(1);
        assert_eq!(shares.enter(1), Ok(()));
    }

    #[test]
    fn a_smaller_share_takes_nothing_away_and_gives_nothing_more() {
        let shares = Shares::new(2, 10);
        shares.enter(1).unwrap();
        shares.enter(1).unwrap();
        assert_eq!(shares.resize(1), 2);
        shares.leave(1);
        assert_eq!(shares.enter(1), Err(NoShare::Full));
        shares.leave(1);
        assert_eq!(shares.enter(1), Ok(()));
        assert_eq!(shares.resize(3), 1);
        assert_eq!(shares.enter(1), Ok(()));
    }

    #[test]
    fn a_key_that_holds_nothing_is_forgotten() {
        let shares = Shares::new(2, 1);
        shares.enter(1).unwrap();
        shares.enter(1).unwrap();
        assert_eq!(shares.enter(2), Err(NoShare::TooManyKeys));
        shares.leave(1);
        assert_eq!(shares.enter(2), Err(NoShare::TooManyKeys));
        shares.leave(1);
        assert_eq!(shares.active(), 0);
        assert_eq!(shares.enter(2), Ok(()));
    }

    #[test]
    fn a_flood_of_keys_leaves_no_more_than_the_bound() {
        let shares = Shares::new(1, 100);
        let admitted = (0..100_000)
            .filter(|key| shares.enter(*key).is_ok())
            .count();
        assert_eq!((admitted, shares.active()), (100, 100));
        let kept: usize = shares.shards.iter().map(|shard| lock(shard).len()).sum();
        assert_eq!(kept, 100);
        (0..100_000).for_each(|key| shares.leave(key));
        assert_eq!(shares.active(), 0);
    }

    #[test]
    fn threads_lose_no_count() {
        let shares = Shares::new(u32::MAX, 1_000);
        std::thread::scope(|scope| {
            for thread in 0..4_u128 {
                let shares = &shares;
                scope.spawn(move || {
                    for round in 0..2_000 {
                        let key = (round + thread) % 7;
                        shares.enter(key).unwrap();
                        shares.leave(key);
                    }
                });
            }
        });
        assert_eq!(shares.active(), 0);
    }
}
