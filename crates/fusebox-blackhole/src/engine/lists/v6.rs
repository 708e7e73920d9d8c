//! IPv6: a hash table for each length that many prefixes have, and ranges for the few others.
//!
//! One probe for each length, from the longest down (Dharmapurikar, Krishnamurthy, Taylor, "Longest prefix matching
//! using Bloom filters", SIGCOMM 2003, without the filters: one is in front of all this already). None waits for the one
//! before, so they cost little more than the slowest of them. Lists have few lengths: what registries give
//! (/29, /32), what sites have (/48), what customers have (/56, /64), and hosts.
//!
//! Alternatives that were weighed: binary search over the lengths (Waldvogel and others, SIGCOMM 1997) probes fewer
//! tables where there are dozens of lengths, and each probe waits for the one before; a search over all ranges has
//! four loads that are far away, one after the other; a hash of the first 48 bits and ranges behind it (what was here
//! before) took six, and ten times as long.

use std::collections::BTreeMap;

use super::{
    super::network::{Network, mask},
    exact::Exact,
    ranges::Ranges,
};

/// A length that more prefixes have gets a table of its own. So many together take eight steps in 4 KB.
const FEW: usize = 256;

#[derive(Debug, Default)]
pub(super) struct V6 {
    /// Lengths of more than 64 bits, longest first.
    hosts: Vec<Level<u128, 3>>,
    /// Lengths of 64 bits and less, longest first.
    sites: Vec<Level<u64, 7>>,
    /// All other lengths, flattened. Each with its length as well, in the upper byte of the tag.
    few: Ranges<u128>,
    /// The longest of them.
    longest_few: u8,
}

/// Prefixes of one length.
#[derive(Debug)]
struct Level<K, const N: usize> {
    length: u8,
    mask: K,
    prefixes: Exact<K, N>,
}

impl V6 {
    pub(super) fn new(networks: Vec<(Network, u8)>, seed: u64) -> Self {
        Self::with_few(networks, seed, FEW)
    }

    fn with_few(networks: Vec<(Network, u8)>, seed: u64, few: usize) -> Self {
        let mut by_length: BTreeMap<u8, Vec<(Network, u8)>> = BTreeMap::new();
        for (network, list) in networks {
            by_length
                .entry(network.length())
                .or_default()
                .push((network, list));
        }
        let mut v6 = Self::default();
        let mut others = Vec::new();
        for (length, networks) in by_length.into_iter().rev() {
            if networks.len() <= few {
                v6.longest_few = v6.longest_few.max(length);
                others.extend(networks.into_iter().map(|(network, list)| {
                    let tag = u16::from(length) << 8 | u16::from(list);
                    (network.first(), network.last(), tag)
                }));
            } else if length > 64 {
                let keys: Vec<_> = networks
                    .into_iter()
                    .map(|(network, list)| (network.first(), list))
                    .collect();
                v6.hosts.push(Level {
                    length,
                    mask: mask(length),
                    prefixes: Exact::new(&keys, seed),
                });
            } else {
                let keys: Vec<_> = networks
                    .into_iter()
                    .map(|(network, list)| (upper(network.first()), list))
                    .collect();
                v6.sites.push(Level {
                    length,
                    mask: upper(mask(length)),
                    prefixes: Exact::new(&keys, seed),
                });
            }
        }
        v6.few = Ranges::flatten(others);
        v6
    }

    pub(super) fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.sites.is_empty() && self.few.len() == 0
    }

    pub(super) fn memory(&self) -> usize {
        self.hosts
            .iter()
            .map(|level| level.prefixes.memory())
            .sum::<usize>()
            + self
                .sites
                .iter()
                .map(|level| level.prefixes.memory())
                .sum::<usize>()
            + self.few.memory()
    }

    #[inline]
    pub(super) fn find(&self, address: u128) -> Option<u8> {
        let many = self.find_many(address);
        if let Some((length, list)) = many
            && length > self.longest_few
        {
            return Some(list);
        }
        let [length, list] = match self.few.find(address) {
            Some(tag) => tag.to_be_bytes(),
            None => return many.map(|(_, list)| list),
        };
        match many {
            Some((longer, other)) if longer > length => Some(other),
            _ => Some(list),
        }
    }

    #[inline]
    fn find_many(&self, address: u128) -> Option<(u8, u8)> {
        for level in &self.hosts {
            if let Some(list) = level.prefixes.find(address & level.mask) {
                return Some((level.length, list));
            }
        }
        for level in &self.sites {
            if let Some(list) = level.prefixes.find(upper(address) & level.mask) {
                return Some((level.length, list));
            }
        }
        None
    }
}

#[inline]
const fn upper(bits: u128) -> u64 {
    (bits >> 64) as u64
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However the lengths are divided between tables and ranges.
        #[test]
        fn agrees_with_comparing_prefixes_one_by_one(
            records in proptest::collection::vec((0..256_u128, prop_oneof![0..=128_u8, Just(48), Just(64), Just(128)], 0..4_u8), 0..60),
            few in 0..8_usize,
            seed in any::<u64>(),
        ) {
            // Few bits vary, so that blocks lie inside one another.
            let spread = |bits: u128| 0x2001_0db8 << 96 | (bits & 0xc0) << 88 | (bits & 0x38) << 60 | bits & 7;
            let networks: Vec<_> = records
                .iter()
                .map(|(bits, length, list)| (Network::around(Ipv6Addr::from_bits(spread(*bits)).into(), *length), *list))
                .filter(|(network, _)| !network.is_ipv4())
                .collect();
            let v6 = V6::with_few(networks.clone(), seed, few);
            for bits in 0..256 {
                let address = spread(bits);
                let naive = networks
                    .iter()
                    .filter(|(network, _)| network.contains(Ipv6Addr::from_bits(address).into()))
                    .max_by_key(|(network, list)| (network.length(), std::cmp::Reverse(*list)));
                prop_assert_eq!(v6.find(address), naive.map(|(_, list)| *list), "{:x}", address);
            }
        }
    }
}
