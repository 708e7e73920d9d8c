//! IPv4: flat ranges behind an index of the upper bits.
//!
//! DXR (Zec, Rizzo, Mikuc, "DXR: Towards a Billion Routing Lookups per Second in Software", ACM CCR 2012): the upper
//! bits of an address select a chunk, and a chunk is the few ranges in there, so short that one line of the cache has
//! it. Here most answers are "none" and most ranges a single address, so a chunk has ranges and not the borders
//! between them: half as much, and what is small enough for the cache is what is quick.
//!
//! Alternatives that were weighed: `DIR-24-8` (Gupta and others, INFOCOM 1998) takes 32 MB at least; Poptrie (Asai,
//! Ohara, SIGCOMM 2015) walks dependent loads, more of them the longer the prefix; arrays of firsts, lasts and numbers
//! behind a bitmap of what is listed (what was here before) are five loads far from one another.

use super::ranges::{Block, Ranges};

/// Ranges for each slot of the index: half a line of the cache.
const PER_SLOT: usize = 8;
/// The logarithm of the slots. Least: the rest of an address has 16 bits. Most: 4 MB.
const LOG: (u32, u32) = (16, 20);

#[derive(Debug, Default)]
pub(super) struct V4 {
    /// Where the chunk of each slot begins, and where the last one ends.
    index: Box<[u32]>,
    /// How many bits of an address are not in the index.
    rest: u32,
    /// The ranges of each slot, in order: what is left of the first address, then of the last one.
    ranges: Box<[u32]>,
    /// Which list each is on.
    numbers: Box<[u8]>,
}

impl V4 {
    pub(super) fn new(blocks: Vec<Block<u32>>) -> Self {
        let flat = Ranges::flatten(blocks);
        if flat.len() == 0 {
            return Self::default();
        }
        let slots = (flat.len() / PER_SLOT).next_power_of_two();
        Self::with_log(&flat, slots.trailing_zeros().clamp(LOG.0, LOG.1))
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "tags are lists' numbers here"
    )]
    fn with_log(flat: &Ranges<u32>, log: u32) -> Self {
        let rest = 32 - log;
        let mut index = Vec::with_capacity((1 << log) + 1);
        let (mut ranges, mut numbers) = (
            Vec::with_capacity(flat.len()),
            Vec::with_capacity(flat.len()),
        );
        let mut coming = flat.iter();
        let mut next = coming.next();
        for slot in 0..1_u32 << log {
            index.push(position(ranges.len()));
            let (begin, end) = (slot << rest, slot << rest | !(u32::MAX << rest));
            while let Some((first, last, tag)) = next.filter(|range| range.0 <= end) {
                ranges.push((first.max(begin) - begin) << 16 | (last.min(end) - begin));
                numbers.push(tag as u8);
                if last > end {
                    // Goes on in the next slot.
                    break;
                }
                next = coming.next();
            }
        }
        index.push(position(ranges.len()));
        Self {
            index: index.into(),
            rest,
            ranges: ranges.into(),
            numbers: numbers.into(),
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub(super) fn memory(&self) -> usize {
        size_of_val(&*self.index) + size_of_val(&*self.ranges) + size_of_val(&*self.numbers)
    }

    #[inline]
    pub(super) fn find(&self, address: u32) -> Option<u8> {
        let slot = address.checked_shr(self.rest)? as usize;
        let (from, to) = (*self.index.get(slot)?, *self.index.get(slot + 1)?);
        let chunk = self.ranges.get(from as usize..to as usize)?;
        let here = address & !(u32::MAX << self.rest);
        // As a range that begins here would be, with the largest of all ends.
        let behind = chunk.partition_point(|range| *range <= here << 16 | 0xffff);
        let at = behind.checked_sub(1)?;
        if here > chunk.get(at)? & 0xffff {
            return None;
        }
        self.numbers.get(from as usize + at).copied()
    }
}

/// Fewer than 2^32: one for each record of 255 lists, and one for each slot.
fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_looking_at_all_ranges(
            borders in proptest::collection::btree_set(prop_oneof![any::<u32>(), (0..64_u32).prop_map(|bits| bits << 12), Just(u32::MAX)], 0..40),
            log in LOG.0..=LOG.1,
        ) {
            let borders: Vec<u32> = borders.into_iter().collect();
            let blocks: Vec<Block<u32>> = borders
                .chunks_exact(2)
                .zip(0..)
                .map(|(ends, number)| (ends[0], ends[1], number))
                .collect();
            let v4 = V4::with_log(&Ranges::flatten(blocks.clone()), log);
            let near = |border: &u32| [border.wrapping_sub(1), *border, border.wrapping_add(1)];
            for address in borders.iter().flat_map(near) {
                let naive = blocks.iter().find(|(first, last, _)| (*first..=*last).contains(&address));
                prop_assert_eq!(v4.find(address).map(u16::from), naive.map(|block| block.2), "{}", address);
            }
        }
    }
}
