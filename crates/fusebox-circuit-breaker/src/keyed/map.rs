use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::{ArcSwapOption, Guard};

use super::KeyLike;

/// How many places are looked at for a new key. With a bound the price of a new key does not depend on how
/// many there are, and a client that makes up keys gets no long walks for them.
const LOOKS: usize = 16;
/// New keys are spread over so many locks,
const MOST_PARTS: usize = 16;
/// of which each is for so many keys at least, or chance would fill one long before the others.
const LEAST_OF_A_PART: usize = 64;

/// A bounded map. Who looks up a key that is there takes no lock, allocates nothing and writes to nothing that others
/// write to; who brings a new one takes one of a few locks.
///
/// It makes room by the clock algorithm (Corbató, "A Paging Experiment with the Multics System", 1968): a key that was
/// used since the hand last passed stays for another round.
pub(super) struct Map<K, V> {
    hasher: RandomState,
    parts: Box<[Part<K, V>]>,
}

struct Part<K, V> {
    /// Chains of nodes, as many as there may be keys, rounded up to a power of two.
    buckets: Box<[Link<K, V>]>,
    /// Who holds it may change the chains.
    clock: Mutex<Clock<K, V>>,
    capacity: usize,
}

type Link<K, V> = ArcSwapOption<Node<K, V>>;

/// A node that was there a moment ago, and is kept as long as it is looked at.
type Found<K, V> = Guard<Option<Arc<Node<K, V>>>>;

struct Clock<K, V> {
    nodes: Vec<Arc<Node<K, V>>>,
    hand: usize,
}

struct Node<K, V> {
    hash: u64,
    key: K,
    value: V,
    used: AtomicBool,
    /// A node that was taken out still leads on to where it did: who has come this far gets through, and if that is past
    /// a node which has come meanwhile, the second look is with the lock held.
    next: Link<K, V>,
}

impl<K, V> Map<K, V> {
    /// Room for so many keys, or a few more: each part has as many as the next.
    pub(super) fn new(capacity: usize) -> Self {
        let parts = parts(capacity);
        let each = capacity.div_ceil(parts);
        Self {
            hasher: RandomState::new(),
            parts: (0..parts).map(|_| Part::new(each)).collect(),
        }
    }

    /// How many keys there is room for, if that many are asked for.
    pub(super) fn room(capacity: usize) -> usize {
        parts(capacity) * capacity.div_ceil(parts(capacity))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(|part| part.lock().nodes.len()).sum()
    }

    /// Looks at each that is there. The parts are locked one after the other.
    pub(super) fn each(&self, mut look: impl FnMut(&K, &V)) {
        for part in &self.parts {
            for node in &part.lock().nodes {
                look(&node.key, &node.value);
            }
        }
    }

    /// What comes of looking at what is kept for that key. What `make` makes is kept if there is nothing yet, and room,
    /// or something idle that `may_go`; `None` if there is neither.
    #[inline(always)]
    pub(super) fn with<Q: KeyLike<K>, T>(
        &self,
        key: Q,
        make: impl FnOnce() -> V,
        may_go: impl Fn(&V) -> bool,
        look: impl FnOnce(&V) -> T,
    ) -> Option<T> {
        let hash = self.hasher.hash_one(&key);
        let part = self.part(hash)?;
        let found = part.find(hash, |other| key.is(other));
        if let Some(node) = found.as_ref().and_then(|found| found.as_ref()) {
            if !node.used.load(Ordering::Relaxed) {
                node.used.store(true, Ordering::Relaxed);
            }
            return Some(look(&node.value));
        }
        let node = part.bring(hash, key, make, may_go)?;
        Some(look(&node.value))
    }

    fn part(&self, hash: u64) -> Option<&Part<K, V>> {
        // The upper bits: the lower ones are the bucket's.
        let number = (hash >> 32) as usize;
        self.parts.get(number.checked_rem(self.parts.len())?)
    }
}

fn parts(capacity: usize) -> usize {
    (capacity / LEAST_OF_A_PART).clamp(1, MOST_PARTS)
}

impl<K, V> Part<K, V> {
    fn new(capacity: usize) -> Self {
        let buckets = capacity.next_power_of_two();
        Self {
            buckets: (0..buckets).map(|_| ArcSwapOption::empty()).collect(),
            clock: Mutex::new(Clock {
                nodes: Vec::new(),
                hand: 0,
            }),
            capacity,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Clock<K, V>> {
        // Nothing in there panics half-way: what is the user's runs before anything is changed.
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "any bits of a hash will do"
    )]
    fn bucket(&self, hash: u64) -> Option<&Link<K, V>> {
        self.buckets.get(hash as usize & (self.buckets.len() - 1))
    }

    #[inline(always)]
    fn find(&self, hash: u64, is: impl Fn(&K) -> bool) -> Option<Found<K, V>> {
        let mut at = self.bucket(hash)?.load();
        while let Some(node) = at.as_ref() {
            if node.hash == hash && is(&node.key) {
                return Some(at);
            }
            at = node.next.load();
        }
        None
    }

    /// Keeps a value for a key that is not there yet.
    #[cold]
    #[inline(never)]
    fn bring<Q: KeyLike<K>>(
        &self,
        hash: u64,
        key: Q,
        make: impl FnOnce() -> V,
        may_go: impl Fn(&V) -> bool,
    ) -> Option<Arc<Node<K, V>>> {
        let mut clock = self.lock();
        // Somebody may have been faster.
        let found = self.find(hash, |other| key.is(other));
        if let Some(node) = found.as_ref().and_then(|found| found.as_ref()) {
            return Some(node.clone());
        }
        let place = if clock.nodes.len() < self.capacity {
            None
        } else {
            Some(clock.find_idle(may_go)?)
        };
        let bucket = self.bucket(hash)?;
        let node = Arc::new(Node {
            hash,
            key: key.into_key(),
            value: make(),
            used: AtomicBool::new(true),
            next: ArcSwapOption::empty(),
        });
        let gone = match place.and_then(|place| clock.nodes.get_mut(place)) {
            None => {
                clock.nodes.push(node.clone());
                None
            }
            Some(old) => Some(std::mem::replace(old, node.clone())),
        };
        if let Some(gone) = &gone {
            self.take_out(gone);
        }
        node.next.store(bucket.load_full());
        bucket.store(Some(node.clone()));
        drop(clock);
        // With the lock free.
        drop(gone);
        Some(node)
    }

    fn take_out(&self, gone: &Arc<Node<K, V>>) {
        let Some(bucket) = self.bucket(gone.hash) else {
            return;
        };
        let is_gone = |link: &Link<K, V>| {
            let node = link.load();
            node.as_ref().is_some_and(|node| Arc::ptr_eq(node, gone))
        };
        if is_gone(bucket) {
            return bucket.store(gone.next.load_full());
        }
        let mut at = bucket.load_full();
        while let Some(node) = at {
            if is_gone(&node.next) {
                return node.next.store(gone.next.load_full());
            }
            at = node.next.load_full();
        }
    }
}

impl<K, V> Clock<K, V> {
    fn find_idle(&mut self, may_go: impl Fn(&V) -> bool) -> Option<usize> {
        for _ in 0..LOOKS.min(2 * self.nodes.len()) {
            let place = self.hand;
            self.hand = (place + 1) % self.nodes.len().max(1);
            let node = self.nodes.get(place)?;
            if !node.used.swap(false, Ordering::Relaxed) && may_go(&node.value) {
                return Some(place);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Numbers = Map<u64, u64>;

    /// Brings a key with a value; says what is there then.
    fn bring(map: &Numbers, key: u64, value: u64, may_go: impl Fn(&u64) -> bool) -> Option<u64> {
        map.with(key, || value, may_go, |kept| *kept)
    }

    fn keys(map: &Numbers) -> Vec<u64> {
        let mut keys = Vec::new();
        map.each(|key, _| keys.push(*key));
        keys.sort_unstable();
        keys
    }

    #[test]
    fn a_key_in_use_outlives_one_that_is_not() {
        let map = Map::new(2);
        bring(&map, 1, 10, |_| true).unwrap();
        bring(&map, 2, 20, |_| true).unwrap();
        // The first new key takes everybody's second chance, and a place.
        bring(&map, 3, 30, |_| true).unwrap();
        assert_eq!(keys(&map), [2, 3]);
        assert_eq!(bring(&map, 3, 31, |_| true), Some(30));
        bring(&map, 4, 40, |_| true).unwrap();
        assert_eq!(keys(&map), [3, 4]);
    }

    #[test]
    fn what_must_stay_stays_and_the_newcomer_gets_nothing() {
        let map = Map::new(2);
        bring(&map, 1, 10, |_| false).unwrap();
        bring(&map, 2, 20, |_| false).unwrap();
        for _ in 0..100 {
            assert_eq!(bring(&map, 3, 30, |_| false), None);
        }
        assert_eq!(keys(&map), [1, 2]);
    }

    #[test]
    fn looks_at_a_bounded_number_of_places() {
        let map = Map::new(1_000);
        for key in 0..20_000 {
            bring(&map, key, key, |_| false);
        }
        assert_eq!(map.len(), Numbers::room(1_000));
        let looks = std::cell::Cell::new(0);
        let look = |_: &u64| {
            looks.set(looks.get() + 1);
            false
        };
        bring(&map, 20_000, 0, look);
        bring(&map, 20_000, 0, look);
        assert!(looks.get() <= 2 * LOOKS);
    }

    #[test]
    fn every_key_that_is_there_is_found_whatever_came_and_went() {
        let map = Map::new(64);
        for key in 0..10_000 {
            // Without room if all that were looked at were in use.
            bring(&map, key, key, |_| true);
            let there = keys(&map);
            assert!(there.len() <= 64);
            if key % 97 == 0 {
                for key in there {
                    assert_eq!(bring(&map, key, u64::MAX, |_| false), Some(key));
                }
            }
        }
    }

    #[test]
    fn threads_that_bring_and_look_up_the_same_keys_find_one_value_for_each() {
        let map = Map::new(128);
        let made = std::sync::atomic::AtomicU64::new(0);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (map, made) = (&map, &made);
                scope.spawn(move || {
                    for turn in 0..5_000_u64 {
                        let key = (turn * (thread + 1)) % 100;
                        let make = || {
                            made.fetch_add(1, Ordering::Relaxed);
                            key
                        };
                        assert_eq!(map.with(key, make, |_| false, |kept| *kept), Some(key));
                    }
                });
            }
        });
        assert_eq!(made.load(Ordering::Relaxed), 100);
        assert_eq!(map.len(), 100);
    }

    #[test]
    fn threads_that_push_each_others_keys_out_never_find_anothers_value() {
        let map = Map::new(8);
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let map = &map;
                scope.spawn(move || {
                    for turn in 0..20_000 {
                        let key = (turn * 7 + thread) % 32;
                        let kept = map.with(key, || key, |_| true, |kept| *kept);
                        assert!(kept.is_none_or(|kept| kept == key));
                    }
                });
            }
        });
        assert!(map.len() <= 8);
    }
}
