//! Which published list an address is on: the longest prefix that has it.
//!
//! Built once, never changed, swapped whole. Nearly everybody who asks is on no list, so the structure is made for
//! "no": a bitmap small enough for the cache answers most, and only then is a range looked for.
//!
//! - **IPv4**: one bit for each block of equal size (a /24 where there are a million prefixes) that has anything
//!   listed in it; then an index by the upper bits into sorted ranges, some four to a slot.
//! - **IPv6**: a bitmap over the upper bits would be all of it in one corner, so prefixes are split at a length that
//!   few are shorter than (/48, say). The few are sorted ranges of 64-bit numbers; the many are reached through a
//!   hash of their first 48 bits, behind a bitmap of such hashes. Whatever is found among the many is longer than
//!   anything among the few.
//!
//! Alternatives that were weighed: `DIR-24-8` (Gupta and others, INFOCOM 1998) takes 32 MB and a cache miss for each
//! innocent; Poptrie (Asai, Ohara, 2015) walks at least two dependent loads per address, and four to six for IPv6;
//! both answer "which of many next hops", where here the usual answer is none.

use std::{
    collections::HashMap,
    hash::BuildHasher,
    net::{IpAddr, Ipv4Addr},
};

use foldhash::fast::FixedState;

use super::{
    network::{Network, mask},
    ranges::{Block, Ranges},
};

/// An immutable table of prefixes, each with the number of the list it is from.
///
/// ```
/// use fusebox_blackhole::engine::Lists;
///
/// # fn main() -> Result<(), fusebox_blackhole::engine::NetworkError> {
/// let lists = Lists::new([("192.0.2.0/24".parse()?, 0), ("192.0.2.7".parse()?, 1)], 42);
/// assert_eq!(lists.find([192, 0, 2, 1].into()), Some(0));
/// assert_eq!(lists.find([192, 0, 2, 7].into()), Some(1), "the longer prefix");
/// assert_eq!(lists.find([192, 0, 3, 1].into()), None);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Lists {
    v4: V4,
    v6: V6,
}

impl Lists {
    /// Builds the table. Of equal prefixes the one with the smaller number has the say. `seed` is for a hash table
    /// whose keys are the lists' authors' choice.
    ///
    /// Sorting is what it costs: a million prefixes take some tenths of a second, so build it off the runtime.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "IPv4 is the lower quarter")]
    pub fn new(networks: impl IntoIterator<Item = (Network, u8)>, seed: u64) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (network, list) in networks {
            if network.is_ipv4() {
                v4.push((network.first() as u32, network.last() as u32, list));
            } else {
                v6.push((network, list));
            }
        }
        Self {
            v4: V4::new(v4),
            v6: V6::new(v6, seed),
        }
    }

    /// The list of the longest prefix that has the address.
    #[inline]
    #[must_use]
    pub fn find(&self, address: IpAddr) -> Option<u8> {
        match address {
            IpAddr::V4(v4) => self.v4.find(v4),
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) => self.v4.find(v4),
                None => self.v6.find(v6.to_bits()),
            },
        }
    }

    /// Whether nothing is listed at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.ranges.len() == 0 && self.v6.is_empty()
    }

    /// The bytes it takes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.v4.any.memory()
            + size_of_val(&*self.v4.index)
            + self.v4.ranges.memory()
            + self.v6.any.memory()
            + self.v6.short.memory()
            + self.v6.long.memory()
            // As hashbrown lays it out: slots for 8/7 of the capacity, and a byte for each.
            + self.v6.slices.capacity() * 8 / 7 * (size_of::<(u64, (u32, u32))>() + 1)
    }
}

/// One bit for each of a power of two.
#[derive(Debug, Default)]
struct Bits(Box<[u64]>);

impl Bits {
    fn new(log: u32) -> Self {
        Self(vec![0; (1 << log.saturating_sub(6)).max(1)].into())
    }

    fn set(&mut self, bit: usize) {
        if let Some(word) = self.0.get_mut(bit / 64) {
            *word |= 1 << (bit % 64);
        }
    }

    #[inline]
    fn has(&self, bit: usize) -> bool {
        self.0
            .get(bit / 64)
            .is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }

    fn memory(&self) -> usize {
        size_of_val(&*self.0)
    }
}

/// The power of two that is at least this.
const fn log_of(number: usize) -> u32 {
    number.next_power_of_two().trailing_zeros()
}

#[derive(Debug, Default)]
struct V4 {
    ranges: Ranges<u32>,
    /// Whether anything in a block of addresses is listed, by the upper bits.
    any: Bits,
    any_shift: u32,
    /// How many ranges begin before each block of addresses, by the upper bits.
    index: Box<[u32]>,
    index_shift: u32,
}

impl V4 {
    fn new(blocks: Vec<Block<u32>>) -> Self {
        let ranges = Ranges::flatten(blocks, |_| false);
        // Sixteen bits for each range: at most one innocent in sixteen has to look further, if the ranges are
        // scattered. More than /24 would be more than 2 MB, which is more than the cache has.
        let any_log = log_of(ranges.len() * 16).clamp(12, 24);
        let any_shift = 32 - any_log;
        let mut any = Bits::new(any_log);
        for (first, last) in ranges.iter() {
            (first >> any_shift..=last >> any_shift).for_each(|bit| any.set(bit as usize));
        }
        let index_log = log_of(ranges.len() / 4).clamp(4, 20);
        let index_shift = 32 - index_log;
        let mut begun = 0;
        let index = (0..=1_u64 << index_log)
            .map(|slot| {
                let firsts = ranges.firsts().get(begun as usize..).unwrap_or_default();
                let here = firsts
                    .iter()
                    .take_while(|first| u64::from(**first) < slot << index_shift);
                begun += here.fold(0, |count, _| count + 1);
                begun
            })
            .collect();
        Self {
            ranges,
            any,
            any_shift,
            index,
            index_shift,
        }
    }

    #[inline]
    fn find(&self, address: Ipv4Addr) -> Option<u8> {
        let bits = address.to_bits();
        if self.any.has((bits.checked_shr(self.any_shift)?) as usize) {
            self.search(bits)
        } else {
            None
        }
    }

    #[inline(never)]
    fn search(&self, bits: u32) -> Option<u8> {
        let slot = (bits >> self.index_shift) as usize;
        let (from, to) = (*self.index.get(slot)?, *self.index.get(slot + 1)?);
        // The last one that began before this block may reach into it.
        self.ranges
            .find(bits, from.saturating_sub(1) as usize, to as usize)
    }
}

#[derive(Debug, Default)]
struct V6 {
    /// Prefixes shorter than `split`, by the upper half of their addresses.
    short: Ranges<u64>,
    /// The others. None of them reaches over a block of `split` bits.
    long: Ranges<u128>,
    split: u8,
    /// Whether anything long is listed under a hash of an address' first `split` bits.
    any: Bits,
    any_shift: u32,
    /// From which and to which range, by the first `split` bits.
    slices: HashMap<u64, (u32, u32), FixedState>,
}

impl V6 {
    /// Lengths at which prefixes may be split: what providers are given, and what they give.
    const SPLITS: [u8; 5] = [64, 56, 48, 40, 32];

    fn new(networks: Vec<(Network, u8)>, seed: u64) -> Self {
        // So many take some ten steps in 8 KB.
        let few = (networks.len() / 256).max(1_024);
        let shorter = |split: u8| {
            networks
                .iter()
                .filter(|(network, _)| network.length() < split)
                .count()
        };
        let split = Self::SPLITS
            .into_iter()
            .find(|split| shorter(*split) <= few)
            .unwrap_or(32);
        let (short, long): (Vec<_>, Vec<_>) = networks
            .into_iter()
            .partition(|(network, _)| network.length() < split);
        let short = short
            .into_iter()
            .map(|(network, list)| (upper(network.first()), upper(network.last()), list));
        let long = long
            .into_iter()
            .map(|(network, list)| (network.first(), network.last(), list));
        let (short, long) = (
            Ranges::flatten(short.collect(), |_| false),
            Ranges::flatten(long.collect(), |first| first & !mask(split) == 0),
        );

        let mut slices: HashMap<u64, (u32, u32), FixedState> =
            HashMap::with_hasher(FixedState::with_seed(seed));
        for (at, (first, _)) in (0_u32..).zip(long.iter()) {
            let slice = slices.entry(upper(first & mask(split))).or_insert((at, at));
            slice.1 = at + 1;
        }
        slices.shrink_to_fit();
        let any_log = log_of(slices.len() * 16).clamp(12, 24);
        let any_shift = 64 - any_log;
        let mut any = Bits::new(any_log);
        for block in slices.keys() {
            any.set(place(slices.hasher().hash_one(*block), any_shift));
        }
        Self {
            short,
            long,
            split,
            any,
            any_shift,
            slices,
        }
    }

    fn is_empty(&self) -> bool {
        self.short.len() + self.long.len() == 0
    }

    #[inline]
    fn find(&self, bits: u128) -> Option<u8> {
        if self.slices.is_empty() {
            return self.short.find(upper(bits), 0, self.short.len());
        }
        let block = upper(bits & mask(self.split));
        let hash = self.slices.hasher().hash_one(block);
        if self.any.has(place(hash, self.any_shift))
            && let Some((from, to)) = self.slices.get(&block)
            && let Some(list) = self.long.find(bits, *from as usize, *to as usize)
        {
            return Some(list);
        }
        self.short.find(upper(bits), 0, self.short.len())
    }
}

#[inline]
const fn upper(bits: u128) -> u64 {
    (bits >> 64) as u64
}

#[expect(clippy::cast_possible_truncation, reason = "at most 24 bits are left")]
#[inline]
const fn place(hash: u64, shift: u32) -> usize {
    (hash >> shift) as usize
}
