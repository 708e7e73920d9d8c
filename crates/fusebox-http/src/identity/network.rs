//! A set of networks that answers "is this address one of them?".

use std::net::{IpAddr, Ipv6Addr};

use super::address::{Address, IPV4, bits, prefix_mask};
use super::error::IdentityConfigError;

/// `2000::/3`, where every IPv6 client on the internet is.
const GLOBAL_IPV6: (u128, u128) = (0b001 << 125, (0b010 << 125) - 1);

/// Ranges of addresses, sorted and disjoint, so that a look-up is a binary search: the published lists
/// of a large CDN have hundreds of entries.
#[derive(Debug)]
pub(super) struct NetworkSet(Box<[(u128, u128)]>);

impl NetworkSet {
    /// Every address there is.
    pub(super) fn everything() -> Self {
        Self(Box::new([(0, u128::MAX)]))
    }

    /// Reads addresses and CIDR blocks.
    pub(super) fn parse(
        field: &'static str,
        networks: &[String],
    ) -> Result<Self, IdentityConfigError> {
        let mut ranges = Vec::with_capacity(networks.len());
        for text in networks {
            ranges.push(parse_network(text).map_err(|reason| {
                let value = text.clone();
                IdentityConfigError::Network {
                    field,
                    value,
                    reason,
                }
            })?);
        }
        let ranges = merge(ranges);
        // Also when it is made of parts, such as 0.0.0.0/1 and 128.0.0.0/1.
        let everyone = [IPV4, GLOBAL_IPV6];
        if ranges.iter().any(|range| {
            everyone
                .iter()
                .any(|all| range.0 <= all.0 && all.1 <= range.1)
        }) {
            let value = networks.join(", ");
            return Err(IdentityConfigError::EveryAddress { field, value });
        }
        Ok(Self(ranges))
    }

    /// First and last address of each range.
    pub(super) fn ranges(&self) -> impl Iterator<Item = (IpAddr, IpAddr)> {
        let address = |bits| IpAddr::V6(Ipv6Addr::from_bits(bits)).to_canonical();
        self.0
            .iter()
            .map(move |(first, last)| (address(*first), address(*last)))
    }

    /// Whether the address is in the set.
    pub(super) fn contains(&self, address: Address) -> bool {
        let bits = address.bits();
        let after = self.0.partition_point(|(first, _)| *first <= bits);
        after
            .checked_sub(1)
            .and_then(|at| self.0.get(at))
            .is_some_and(|(_, last)| bits <= *last)
    }
}

/// Sorts ranges and joins those that touch.
fn merge(mut ranges: Vec<(u128, u128)>) -> Box<[(u128, u128)]> {
    ranges.sort_unstable();
    let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(open) if first <= open.1.saturating_add(1) => open.1 = last.max(open.1),
            _ => merged.push((first, last)),
        }
    }
    merged.into_boxed_slice()
}

/// Reads `10.0.0.0/8`, `2001:db8::/32` or a single address.
///
/// Bits beyond the prefix are an error: whoever writes `10.1.2.3/8` means one host or sixteen million,
/// and here that decides who may name clients.
fn parse_network(text: &str) -> Result<(u128, u128), &'static str> {
    let text = text.trim();
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address
        .parse()
        .map_err(|_| "not an IP address or CIDR block")?;
    let width: u8 = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        None => width,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => match digits.parse() {
            Ok(length) if length <= width => length,
            _ => return Err("the prefix length is missing or longer than the address"),
        },
        Some(_) => return Err("the prefix length is not a number"),
    };
    let (bits, mask) = (bits(address), prefix_mask(128 - width + length));
    if bits & !mask != 0 {
        return Err("bits are set beyond the prefix");
    }
    Ok((bits, bits | !mask))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn set(networks: &[&str]) -> Result<NetworkSet, IdentityConfigError> {
        let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
        NetworkSet::parse("trusted_proxies", &networks)
    }

    fn address(text: &str) -> Address {
        Address::new(text.parse().unwrap()).unwrap()
    }

    #[test]
    fn contains_the_first_and_the_last_address_of_a_block_and_not_their_neighbours() {
        let set = set(&["10.1.0.0/16", "192.0.2.7", "2001:db8::/32", "::1"]).unwrap();
        for inside in [
            "10.1.0.0",
            "10.1.255.255",
            "::ffff:10.1.0.0",
            "192.0.2.7",
            "2001:db8::",
            "::1",
            "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
        ] {
            assert!(set.contains(address(inside)), "{inside}");
        }
        for outside in [
            "10.0.255.255",
            "10.2.0.0",
            "192.0.2.6",
            "192.0.2.8",
            "0.0.0.1",
            "255.255.255.255",
            "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001:db9::",
            "::2",
            "::a01:0",
        ] {
            assert!(!set.contains(address(outside)), "{outside}");
        }
    }

    #[test]
    fn everything_contains_all() {
        for inside in ["0.0.0.1", "255.255.255.255", "::1", "fe80::1"] {
            assert!(NetworkSet::everything().contains(address(inside)));
        }
    }

    #[test]
    fn a_block_of_mapped_addresses_is_an_ipv4_block() {
        let set = set(&["::ffff:10.0.0.0/104"]).unwrap();
        assert!(set.contains(address("10.255.255.255")));
        assert!(!set.contains(address("11.0.0.0")));
    }

    #[test]
    fn touching_and_nested_blocks_become_one_range() {
        let set = set(&["10.0.1.0/24", "10.0.0.0/24", "10.0.0.128/25", "10.0.3.0/24"]).unwrap();
        assert_eq!(set.0.len(), 2);
    }

    #[test]
    fn text_that_is_no_network_is_named_in_the_error() {
        for text in [
            "",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/+8",
            "10.0.0/8",
            "proxy.internal",
            "10.0.0.1/8",
            "2001:db8::1/32",
            "10.0.0.0/8/8",
            "fe80::1%eth0",
            "10.0.0.0/-1",
            "10.0.0.0/999",
        ] {
            match set(&["192.0.2.1", text]) {
                Err(IdentityConfigError::Network {
                    field: "trusted_proxies",
                    value,
                    ..
                }) => {
                    assert_eq!(value, text);
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_list_that_covers_every_address_is_refused_however_it_is_written() {
        for networks in [
            &["0.0.0.0/0"][..],
            &["::/0"],
            &["0.0.0.0/1", "128.0.0.0/1"],
            &["::ffff:0:0/96"],
            // Has all of IPv4 in it, in its mapped form.
            &["::/1"],
            &["10.0.0.0/8", "2000::/4", "3000::/4"],
        ] {
            let refused = matches!(set(networks), Err(IdentityConfigError::EveryAddress { .. }));
            assert!(refused, "{networks:?}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_comparing_prefixes_one_by_one(
            blocks in proptest::collection::vec((any::<u32>(), 2..=32_u32), 0..12),
            probes in proptest::collection::vec(any::<u32>(), 1..20),
        ) {
            let mask = |length: u32| u32::MAX << (32 - length);
            let blocks: Vec<_> = blocks.iter().map(|(bits, len)| (bits & mask(*len), *len)).collect();
            let texts: Vec<_> =
                blocks.iter().map(|(bits, len)| format!("{}/{len}", Ipv4Addr::from_bits(*bits))).collect();
            let set = NetworkSet::parse("trusted_proxies", &texts);
            // Four blocks of a quarter each are everyone.
            prop_assume!(set.is_ok());
            let set = set.unwrap();
            let edges = blocks.iter().flat_map(|(bits, len)| {
                let last = bits | !mask(*len);
                [*bits, last, bits.wrapping_sub(1), last.wrapping_add(1)]
            });
            for probe in probes.iter().copied().chain(edges) {
                let Some(address) = Address::new(Ipv4Addr::from_bits(probe).into()) else { continue };
                let naive = blocks.iter().any(|(bits, len)| probe & mask(*len) == *bits);
                prop_assert_eq!(set.contains(address), naive);
            }
        }
    }
}
