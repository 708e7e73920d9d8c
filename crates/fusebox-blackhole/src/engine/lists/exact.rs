//! Prefixes of one length: which list each is on, in one load.
//!
//! A hash table of cache lines: keys, numbers and how many there are stand together, so whether it is a hit or not, one
//! line tells. What does not fit goes on in the next line, which is marked.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;

/// Four places in five are taken, so one line in five goes on in the next one, which is fetched with it. What is small
/// enough for the cache is what is quick: with three in five, a million prefixes took twice the time.
const FILL: (usize, usize) = (4, 5);
/// Set beside the number of keys in a line, if there are more of its keys in the next one.
const GOES_ON: u8 = 0x80;

/// Keys of one type, `N` of them in a line.
#[derive(Debug)]
pub(super) struct Exact<K, const N: usize> {
    hasher: FixedState,
    lines: Box<[Line<K, N>]>,
}

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line<K, const N: usize> {
    keys: [K; N],
    numbers: [u8; N],
    used: u8,
}

impl<K: Copy + Default + Eq + Hash, const N: usize> Exact<K, N> {
    /// Of equal keys the one with the smaller number stays.
    pub(super) fn new(keys: &[(K, u8)], seed: u64) -> Self {
        let empty = Line {
            keys: [K::default(); N],
            numbers: [0; N],
            used: 0,
        };
        let lines = (keys.len() * FILL.1).div_ceil(N * FILL.0).max(1);
        let mut exact = Self {
            hasher: FixedState::with_seed(seed),
            lines: vec![empty; lines].into(),
        };
        keys.iter()
            .for_each(|(key, number)| exact.add(*key, *number));
        exact
    }

    fn add(&mut self, key: K, number: u8) {
        let mut at = self.line_of(key);
        while let Some(line) = self.lines.get_mut(at) {
            if let Some(place) = line.place(key) {
                if let Some(known) = line.numbers.get_mut(place) {
                    *known = number.min(*known);
                }
                return;
            }
            let used = usize::from(line.used & !GOES_ON);
            if let (Some(free), Some(beside)) =
                (line.keys.get_mut(used), line.numbers.get_mut(used))
            {
                (*free, *beside) = (key, number);
                line.used += 1;
                return;
            }
            line.used |= GOES_ON;
            at = (at + 1) % self.lines.len();
        }
    }

    /// The number of a key.
    #[inline]
    pub(super) fn find(&self, key: K) -> Option<u8> {
        let mut at = self.line_of(key);
        loop {
            let line = self.lines.get(at)?;
            if let Some(place) = line.place(key) {
                return line.numbers.get(place).copied();
            }
            if line.used & GOES_ON == 0 {
                return None;
            }
            // There is always a line that is not full.
            at = (at + 1) % self.lines.len();
        }
    }

    #[inline]
    fn line_of(&self, key: K) -> usize {
        let hash = self.hasher.hash_one(key) >> 32;
        ((hash * self.lines.len() as u64) >> 32) as usize
    }

    pub(super) fn memory(&self) -> usize {
        size_of_val(&*self.lines)
    }
}

impl<K: Copy + Eq, const N: usize> Line<K, N> {
    /// Compares all keys, whether or not they are used: quicker than to find out when to stop.
    #[inline]
    fn place(&self, key: K) -> Option<usize> {
        let mut same = 0_u32;
        for (place, known) in self.keys.iter().enumerate() {
            same |= u32::from(*known == key) << place;
        }
        same &= (1 << (self.used & !GOES_ON)) - 1;
        (same != 0).then_some(same.trailing_zeros() as usize)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_is_a_line_of_the_cache() {
        assert_eq!(size_of::<Line<u64, 7>>(), 64);
        assert_eq!(size_of::<Line<u128, 3>>(), 64);
    }

    proptest! {
        #[test]
        fn agrees_with_a_map(keys in proptest::collection::vec((0..300_u64, any::<u8>()), 0..200), seed in any::<u64>()) {
            let mut map = HashMap::new();
            for (key, number) in &keys {
                let known = map.entry(*key).or_insert(*number);
                *known = (*known).min(*number);
            }
            let exact = Exact::<u64, 7>::new(&keys, seed);
            for key in 0..300 {
                prop_assert_eq!(exact.find(key), map.get(&key).copied());
            }
            let wide: Vec<_> = keys.iter().map(|(key, number)| (u128::from(*key) << 60, *number)).collect();
            let exact = Exact::<u128, 3>::new(&wide, seed);
            for key in 0..300_u64 {
                prop_assert_eq!(exact.find(u128::from(key) << 60), map.get(&key).copied());
            }
        }
    }
}
