//! Who cannot be jailed, by construction.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::network::Network;

/// Blocks whose addresses no list may contain: nothing on the internet comes from them, so a feed that has them
/// is broken, poisoned, or a list of bogons that was meant for a border router. Private use (RFC 1918, RFC 4193),
/// shared (RFC 6598), loopback, link-local, multicast, reserved, and the well-known prefix of translators
/// (RFC 6052): behind that one, all IPv4 clients of a network are one /64.
const SPECIAL: [(&str, u8); 13] = [
    ("0.0.0.0", 8),
    ("10.0.0.0", 8),
    ("100.64.0.0", 10),
    ("127.0.0.0", 8),
    ("169.254.0.0", 16),
    ("172.16.0.0", 12),
    ("192.168.0.0", 16),
    ("224.0.0.0", 3),
    ("::", 16),
    ("64:ff9b::", 32),
    ("fc00::", 7),
    ("fe80::", 10),
    ("ff00::", 8),
];

/// Never jailed, whatever is listed: loopback, and the translators' prefix (see `SPECIAL`).
const ALWAYS: [(IpAddr, u8); 3] = [
    (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
    (IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
    (
        IpAddr::V6(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0)),
        32,
    ),
];

/// Blocks that can never be jailed, whoever asks.
#[derive(Clone, Debug)]
pub struct Never {
    networks: Box<[Network]>,
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
        let always = ALWAYS
            .into_iter()
            .map(|(address, length)| Network::around(address, length));
        Self {
            networks: always.chain(networks).collect(),
        }
    }

    /// Whether the block has an address that must not be jailed.
    ///
    /// Looked at when somebody is about to go in, not for each request, and such lists are short.
    #[must_use]
    pub fn covers(&self, network: Network) -> bool {
        self.networks.iter().any(|never| never.overlaps(network))
    }

    /// Whether a published list must not have this block: it covers one of the above, or addresses that are not
    /// on the internet at all.
    #[must_use]
    pub fn forbids_in_a_list(&self, network: Network) -> bool {
        self.covers(network) || special().any(|block| block.overlaps(network))
    }
}

fn special() -> impl Iterator<Item = Network> {
    SPECIAL.into_iter().filter_map(|(address, length)| {
        let address = address.parse().ok()?;
        // All of `::/16` has the IPv4-mapped block in it, which is the internet: what is meant is `::/96`.
        let length = if address == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
            96
        } else {
            length
        };
        Some(Network::around(address, length))
    })
}

#[cfg(test)]
mod tests {
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
    fn every_special_block_is_read() {
        assert_eq!(special().count(), SPECIAL.len());
    }
}
