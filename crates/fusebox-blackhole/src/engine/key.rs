//! What is jailed: a client, in eight bytes.

use std::net::{IpAddr, Ipv6Addr};

use super::network::{Network, bits_of};

/// A client as the jail knows it: an IPv4 address, an IPv6 /64, or the hash of a credential.
///
/// IPv6 is always judged by /64, whatever a limiter in the same stack counts by: a subscriber has at least that
/// much, and the other 64 bits cost nothing to change (RFC 4291, section 2.5.1). Wider IPv6 networks have keys
/// too, made by the jail when many neighbours are in.
///
/// Eight bytes and a width rather than the sixteen of an address: half of what a jailed client costs in memory
/// would otherwise be zeroes. `Debug` tells the kind and never the address.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    bits: u64,
    width: Width,
}

/// How much of the internet a [`Key`] stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Width {
    /// One client: an IPv4 address, an IPv6 /64, a credential.
    Client,
    /// An IPv6 /56: what many providers give one household.
    Net56,
    /// An IPv6 /48: one site (RFC 6177).
    Net48,
}

/// IPv4 addresses lie above this, in `0:ffff::/32`, which is reserved (RFC 4291, section 2.4: all of `::/8` that is
/// not assigned is) and refused as a client below.
const IPV4: u64 = 0xffff_0000_0000;
/// Hashes lie in `ff00::/8`, multicast, which is no client's address. 56 bits of the hash remain: among a million
/// jailed credentials the odds that an innocent one meets another's are one in 70 billion.
const HASHED: u64 = 0xff << 56;

impl Key {
    /// The client at this address. None where no single client can be: unspecified and multicast addresses,
    /// loopback, and what of `::/16` is not IPv4-mapped.
    #[inline]
    #[must_use]
    pub const fn of_address(address: IpAddr) -> Option<Self> {
        Self::of_bits(bits_of(address))
    }

    /// The client with this identity key, in the 128-bit form that resolvers share: an IPv6 address, IPv4 mapped,
    /// and in `ff00::/8` the hash of a credential.
    #[inline]
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "halves and quarters are cut on purpose"
    )]
    pub const fn of_bits(bits: u128) -> Option<Self> {
        let (high, low) = ((bits >> 64) as u64, bits as u64);
        let bits = if high == 0 && low >> 32 == 0xffff {
            let v4 = low as u32;
            // 0.0.0.0/8, 127.0.0.0/8 and multicast.
            if matches!(v4 >> 24, 0 | 127) || v4 >> 28 == 0xe {
                return None;
            }
            IPV4 | v4 as u64
        } else if high >> 56 == 0xff {
            HASHED | low & !HASHED
        } else if high >> 48 == 0 {
            return None;
        } else {
            high
        };
        Some(Self {
            bits,
            width: Width::Client,
        })
    }

    /// The client at an address that came out of a packet: never a credential, so `ff00::/8` is refused.
    #[inline]
    #[must_use]
    pub const fn of_peer(address: IpAddr) -> Option<Self> {
        match Self::of_address(address) {
            Some(key) if key.is_hashed() => None,
            key => key,
        }
    }

    /// The bits that the key of this IPv4 address has, or would have.
    #[inline]
    pub(super) const fn bits_of_v4(address: u32) -> u64 {
        IPV4 | address as u64
    }

    pub(super) const fn of_parts(bits: u64, width: Width) -> Self {
        Self { bits, width }
    }

    pub(super) const fn parts(self) -> (u64, Width) {
        (self.bits, self.width)
    }

    /// How much it stands for.
    #[must_use]
    pub const fn width(self) -> Width {
        self.width
    }

    /// Whether this is a credential rather than an address.
    #[must_use]
    pub const fn is_hashed(self) -> bool {
        self.bits >= HASHED
    }

    /// Whether this is an IPv6 network.
    #[inline]
    #[must_use]
    pub const fn is_ipv6(self) -> bool {
        self.bits < HASHED && self.bits >> 48 != 0
    }

    /// The wider network this one lies in. Only IPv6 has any.
    #[inline]
    #[must_use]
    pub const fn widened(self, width: Width) -> Option<Self> {
        if !self.is_ipv6() {
            return None;
        }
        let bits = match width {
            Width::Client => self.bits,
            Width::Net56 => self.bits & !0xff,
            Width::Net48 => self.bits & !0xffff,
        };
        Some(Self { bits, width })
    }

    /// The addresses it stands for; none for a credential.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "IPv4 is the lower half")]
    pub const fn network(self) -> Option<Network> {
        if self.is_hashed() {
            return None;
        }
        if !self.is_ipv6() {
            let address = std::net::Ipv4Addr::from_bits(self.bits as u32);
            return Some(Network::host(IpAddr::V4(address)));
        }
        let address = IpAddr::V6(Ipv6Addr::from_bits((self.bits as u128) << 64));
        Some(Network::around(
            address,
            match self.width {
                Width::Client => 64,
                Width::Net56 => 56,
                Width::Net48 => 48,
            },
        ))
    }

    /// As text that [`from_text`](Self::from_text) reads: the block of addresses, or `hashed:` and the hash. For
    /// files and stores, and personal data like the address it is.
    #[must_use]
    pub fn to_text(self) -> String {
        match self.network() {
            Some(network) => network.to_string(),
            None => format!("hashed:{:014x}", self.bits & !HASHED),
        }
    }

    /// Reads what [`to_text`](Self::to_text) wrote.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        if let Some(hash) = text.strip_prefix("hashed:") {
            let bits = u64::from_str_radix(hash, 16).ok()?;
            return (bits >> 56 == 0).then_some(Self {
                bits: HASHED | bits,
                width: Width::Client,
            });
        }
        Self::of_network(text.parse().ok()?)
    }

    /// The key of a block that is exactly one client, or exactly one of the wider networks.
    #[must_use]
    pub fn of_network(network: Network) -> Option<Self> {
        let key = Self::of_peer(network.address())?;
        [Width::Client, Width::Net56, Width::Net48]
            .into_iter()
            .filter_map(|width| match width {
                Width::Client => Some(key),
                wider => key.widened(wider),
            })
            .find(|key| key.network() == Some(network))
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match (self.is_hashed(), self.is_ipv6(), self.width) {
            (true, ..) => "hashed",
            (_, false, _) => "ipv4/32",
            (_, _, Width::Client) => "ipv6/64",
            (_, _, Width::Net56) => "ipv6/56",
            (_, _, Width::Net48) => "ipv6/48",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Option<Key> {
        Key::of_address(text.parse().unwrap())
    }

    fn shown(key: Option<Key>) -> String {
        key.and_then(Key::network).unwrap().to_string()
    }

    #[test]
    fn ipv6_is_one_client_per_64_and_ipv4_per_address() {
        assert_eq!(key("2001:db8:0:1::1"), key("2001:db8:0:1:ffff::2"));
        assert_ne!(key("2001:db8:0:1::1"), key("2001:db8:0:2::1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
        assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.1"));
        assert_eq!(shown(key("192.0.2.1")), "192.0.2.1/32");
        assert_eq!(shown(key("2001:db8:0:1::1")), "2001:db8:0:1::/64");
    }

    #[test]
    fn where_no_single_client_can_be_there_is_no_key() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "224.0.0.1",
            "239.1.1.1",
            "::",
            "::1",
            "::192.0.2.1",
            "0:ffff:c000:201::",
            "64::1",
        ] {
            let expected = text == "64::1";
            assert_eq!(key(text).is_some(), expected, "{text}");
        }
        assert_eq!(Key::of_peer("ff02::1".parse().unwrap()), None);
    }

    #[test]
    fn kinds_of_keys_cannot_meet() {
        // The reserved networks whose upper halves look like an IPv4 key.
        assert_eq!(key("0:ffff:c000:201:1:2:3:4"), None);
        let hashed = Key::of_bits(0xff << 120 | 0xffff_c000_0201).unwrap();
        assert!(hashed.is_hashed() && hashed.network().is_none());
        assert_eq!(hashed.widened(Width::Net48), None);
    }

    #[test]
    fn only_ipv6_widens() {
        let client = key("2001:db8:aaaa:bbcc::1").unwrap();
        assert_eq!(
            shown(client.widened(Width::Net56)),
            "2001:db8:aaaa:bb00::/56"
        );
        assert_eq!(shown(client.widened(Width::Net48)), "2001:db8:aaaa::/48");
        assert_eq!(key("192.0.2.1").unwrap().widened(Width::Net56), None);
    }

    #[test]
    fn a_network_that_is_no_single_client_has_no_key() {
        for (text, has) in [
            ("192.0.2.1/32", true),
            ("192.0.2.0/24", false),
            ("2001:db8:0:1::/64", true),
            ("2001:db8:0:100::/56", true),
            ("2001:db8::/48", true),
            ("2001:db8::/47", false),
            ("2001:db8::1/128", false),
        ] {
            let network = text.parse().unwrap();
            let key = Key::of_network(network);
            assert_eq!(key.is_some(), has, "{text}");
            assert!(key.and_then(Key::network).is_none_or(|own| own == network));
        }
    }

    #[test]
    fn is_read_from_the_text_it_was_written_as() {
        let client = key("2001:db8:aaaa:bbcc::1").unwrap();
        let keys = [
            client,
            client.widened(Width::Net56).unwrap(),
            client.widened(Width::Net48).unwrap(),
            key("192.0.2.1").unwrap(),
            Key::of_bits(0xff << 120 | 0xabcd).unwrap(),
        ];
        for key in keys {
            assert_eq!(
                Key::from_text(&key.to_text()),
                Some(key),
                "{}",
                key.to_text()
            );
        }
        for text in [
            "",
            "192.0.2.0/24",
            "hashed:",
            "hashed:ff00000000000000",
            "hashed:x",
            "127.0.0.1",
        ] {
            assert_eq!(Key::from_text(text), None, "{text}");
        }
    }

    #[test]
    fn debug_shows_no_address() {
        assert_eq!(format!("{:?}", key("192.0.2.1").unwrap()), "ipv4/32");
    }
}
