//! Who cannot be jailed, by construction.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::network::{Network, bits_of};

const fn v4(a: u8, b: u8, length: u8) -> Network {
    Network::around(IpAddr::V4(Ipv4Addr::new(a, b, 0, 0)), length)
}

const fn v6(a: u16, b: u16, length: u8) -> Network {
    Network::around(IpAddr::V6(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0)), length)
}

/// The well-known prefix of translators and its local sibling (RFC 6052, RFC 8215): behind it, all IPv4 clients of a
/// network are one /64.
const TRANSLATORS: Network = v6(0x64, 0xff9b, 32);

/// Blocks whose addresses no list may contain: nothing on the internet comes from them, so a feed that has them
/// is broken, poisoned, or a list of bogons that was meant for a border router. Private use (RFC 1918, RFC 4193),
/// shared (RFC 6598), loopback, link-local, multicast, reserved.
const SPECIAL: [Network; 13] = [
    v4(0, 0, 8),
    v4(10, 0, 8),
    v4(100, 64, 10),
    v4(127, 0, 8),
    v4(169, 254, 16),
    v4(172, 16, 12),
    v4(192, 168, 16),
    v4(224, 0, 3),
    // Not all of `::/16`: the IPv4-mapped block in it is the internet.
    v6(0, 0, 96),
    TRANSLATORS,
    v6(0xfc00, 0, 7),
    v6(0xfe80, 0, 10),
    v6(0xff00, 0, 8),
];

/// Never jailed, whatever is listed.
const ALWAYS: [Network; 3] = [
    v4(127, 0, 8),
    Network::host(IpAddr::V6(Ipv6Addr::LOCALHOST)),
    TRANSLATORS,
];

/// Addresses that can never be jailed, whoever asks.
#[derive(Clone, Debug)]
pub struct Never {
    /// First and last address of each range, in order, apart from one another. Published lists of a CDN's networks have
    /// thousands, and each record of a feed is compared with them.
    ranges: Box<[(u128, u128)]>,
}

impl Default for Never {
    fn default() -> Self {
        Self::new([])
    }
}

impl Never {
    /// Besides loopback and translators, these: your proxies, your monitoring, your own networks.
    #[must_use]
    pub fn new(networks: impl IntoIterator<Item = Network>) -> Self {
        let all = ALWAYS.into_iter().chain(networks);
        Self::merged(
            all.map(|network| (network.first(), network.last()))
                .collect(),
        )
    }

    /// These ranges as well, each by its first and its last address.
    #[must_use]
    pub fn and_ranges(&self, ranges: impl IntoIterator<Item = (IpAddr, IpAddr)>) -> Self {
        let more = ranges
            .into_iter()
            .map(|(first, last)| (bits_of(first), bits_of(last)));
        Self::merged(self.ranges.iter().copied().chain(more).collect())
    }

    fn merged(mut ranges: Vec<(u128, u128)>) -> Self {
        ranges.sort_unstable();
        ranges.dedup_by(|next, open| {
            let joined = next.0 <= open.1.saturating_add(1);
            if joined {
                open.1 = open.1.max(next.1);
            }
            joined
        });
        Self {
            ranges: ranges.into(),
        }
    }

    /// Whether the block has an address that must not be jailed.
    #[must_use]
    pub fn covers(&self, network: Network) -> bool {
        let begun = self
            .ranges
            .partition_point(|(first, _)| *first <= network.last());
        begun
            .checked_sub(1)
            .and_then(|at| self.ranges.get(at))
            .is_some_and(|(_, last)| network.first() <= *last)
    }

    /// Whether this one address must not be jailed.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        self.covers(Network::host(address))
    }

    /// Whether a published list must not have this block: it covers one of the above, or addresses that are not
    /// on the internet at all.
    #[must_use]
    pub fn forbids_in_a_list(&self, network: Network) -> bool {
        self.covers(network) || SPECIAL.iter().any(|block| block.overlaps(network))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn loopback_and_translators_are_never_jailed_whatever_is_listed() {
        let never = Never::default();
        for text in [
            "127.0.0.1/32",
            "127.0.0.0/8",
            "::1/128",
            "64:ff9b::/96",
            "0.0.0.0/0",
            "::/0",
        ] {
            assert!(never.covers(network(text)), "{text}");
        }
        assert!(!never.covers(network("192.0.2.1/32")));
    }

    #[test]
    fn a_block_around_a_listed_address_is_covered_and_its_neighbour_is_not() {
        let never = Never::new([network("2001:db8::5/128"), network("198.51.100.0/24")]);
        assert!(never.covers(network("2001:db8::/64")));
        assert!(never.covers(network("198.51.100.7/32")));
        assert!(!never.covers(network("2001:db8:0:1::/64")));
        assert!(!never.covers(network("198.51.101.0/24")));
    }

    #[test]
    fn a_list_must_not_have_what_is_not_on_the_internet() {
        let never = Never::default();
        for text in [
            "10.1.2.0/24",
            "0.0.0.0/0",
            "192.168.0.0/16",
            "172.0.0.0/8",
            "100.64.0.1/32",
            "240.0.0.1/32",
            "fe80::/64",
            "fd00::/48",
            "ff00::/8",
            "::1/128",
            "::/0",
        ] {
            assert!(never.forbids_in_a_list(network(text)), "{text}");
        }
        for text in [
            "192.0.2.0/24",
            "8.8.8.0/24",
            "2001:db8::/32",
            "223.255.255.0/24",
            "2a00::/16",
        ] {
            assert!(!never.forbids_in_a_list(network(text)), "{text}");
        }
    }

    #[test]
    fn ranges_join_what_is_there() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let never = Never::new([network("198.51.100.0/25")])
            .and_ranges([(ip("198.51.100.128"), ip("198.51.100.200"))])
            .and_ranges([(ip("2001:db8::3"), ip("2001:db8::9"))]);
        for (text, covered) in [
            ("198.51.100.200/32", true),
            ("198.51.100.201/32", false),
            ("198.51.100.0/24", true),
            ("198.51.99.255/32", false),
            ("2001:db8::9/128", true),
            ("2001:db8::a/128", false),
            ("2001:db8::/64", true),
            ("127.0.0.1/32", true),
        ] {
            assert_eq!(never.covers(network(text)), covered, "{text}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_comparing_networks_one_by_one(
            never in proptest::collection::vec((0..64_u32, 26..=32_u8), 0..12),
            asked in (0..64_u32, 24..=32_u8),
        ) {
            let block = |(bits, length): (u32, u8)| Network::around(Ipv4Addr::from_bits(0xc000_0200 + bits).into(), length);
            let networks: Vec<_> = never.into_iter().map(block).collect();
            let asked = block(asked);
            let naive = networks.iter().any(|network| network.overlaps(asked));
            prop_assert_eq!(Never::new(networks).covers(asked), naive);
        }
    }
}
