use std::{collections::HashMap, hash::Hash};

/// How many places are looked at for a new key. With a bound the price of a new key does not depend on how
/// many there are, and a client that makes up keys gets no long walks for them.
const LOOKS: usize = 16;

/// A bounded map that makes room by the clock algorithm (Corbató, "A Paging Experiment with the Multics
/// System", 1968): a key that was used since the hand last passed stays for another round.
#[derive(Debug)]
pub(super) struct Slots<K, V> {
    places: HashMap<K, usize>,
    entries: Vec<Entry<K, V>>,
    hand: usize,
    capacity: usize,
}

#[derive(Debug)]
struct Entry<K, V> {
    key: K,
    value: V,
    used: bool,
}

impl<K: Hash + Eq + Clone, V> Slots<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            places: HashMap::new(),
            entries: Vec::new(),
            hand: 0,
            capacity,
        }
    }

    /// What is kept for that key.
    pub(super) fn get(&mut self, key: &K) -> Option<&V> {
        let place = *self.places.get(key)?;
        let entry = self.entries.get_mut(place)?;
        entry.used = true;
        Some(&entry.value)
    }

    /// Keeps `value` for a key that is not there yet, if there is room, or something idle that may go.
    /// Returns what had to go; or `Err` with the value.
    pub(super) fn insert(
        &mut self,
        key: K,
        value: V,
        may_go: impl Fn(&V) -> bool,
    ) -> Result<Option<V>, V> {
        let entry = Entry {
            key,
            value,
            used: true,
        };
        if self.entries.len() < self.capacity {
            self.places.insert(entry.key.clone(), self.entries.len());
            self.entries.push(entry);
            return Ok(None);
        }
        let Some(place) = self.find_idle(may_go) else {
            return Err(entry.value);
        };
        let Some(old) = self.entries.get_mut(place) else {
            return Err(entry.value);
        };
        self.places.remove(&old.key);
        self.places.insert(entry.key.clone(), place);
        Ok(Some(std::mem::replace(old, entry).value))
    }

    fn find_idle(&mut self, may_go: impl Fn(&V) -> bool) -> Option<usize> {
        for _ in 0..LOOKS.min(2 * self.entries.len()) {
            let place = self.hand;
            self.hand = (place + 1) % self.entries.len().max(1);
            let entry = self.entries.get_mut(place)?;
            if !std::mem::replace(&mut entry.used, false) && may_go(&entry.value) {
                return Some(place);
            }
        }
        None
    }
}

impl<K, V> Slots<K, V> {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|entry| (&entry.key, &entry.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_use_outlives_one_that_is_not() {
        let mut slots = Slots::new(2);
        slots.insert("used", 1, |_| true).unwrap();
        slots.insert("idle", 2, |_| true).unwrap();
        // The first new key takes everybody's second chance, and a place.
        assert_eq!(slots.insert("new", 3, |_| true), Ok(Some(1)));
        slots.get(&"new");
        assert_eq!(slots.insert("newer", 4, |_| true), Ok(Some(2)));
        assert!(slots.get(&"new").is_some());
        assert_eq!(slots.len(), 2);
    }

    #[test]
    fn what_must_stay_stays_and_the_newcomer_gets_nothing() {
        let mut slots = Slots::new(2);
        slots.insert("a", 1, |_| false).unwrap();
        slots.insert("b", 2, |_| false).unwrap();
        for _ in 0..100 {
            assert_eq!(slots.insert("c", 3, |_| false), Err(3));
        }
        assert!(slots.get(&"a").is_some() && slots.get(&"b").is_some());
    }

    #[test]
    fn looks_at_a_bounded_number_of_places() {
        let mut slots = Slots::new(1_000);
        for key in 0..1_000 {
            slots.insert(key, key, |_| false).unwrap();
        }
        let looks = std::cell::Cell::new(0);
        let _ = slots.insert(1_000, 0, |_| {
            looks.set(looks.get() + 1);
            false
        });
        let _ = slots.insert(1_000, 0, |_| {
            looks.set(looks.get() + 1);
            false
        });
        assert!(looks.get() <= 2 * LOOKS);
    }
}
