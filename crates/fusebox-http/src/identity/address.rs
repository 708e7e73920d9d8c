//! One form for every address, what makes one client of several, and what cannot be a client.

use std::net::{IpAddr, Ipv6Addr};

/// The first and the last address of `::ffff:0:0/96`, where IPv4 is.
pub(super) const IPV4: (u128, u128) = (0xffff_0000_0000, 0xffff_ffff_ffff);

/// An address that a client can have, in the one form in which equal means the same: IPv6, with IPv4 in
/// its IPv4-mapped form. Canonicalising is then no step that somebody could forget.
///
/// Unspecified and multicast addresses are left out: no TCP connection comes from them. That also keeps
/// `ff00::/8` free for the keys of hashed headers; see [`IdentityKey`](super::IdentityKey).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Address(u128);

impl Address {
    /// None for an address that no client can have.
    #[inline]
    pub(super) fn new(address: IpAddr) -> Option<Self> {
        let bits = match address {
            IpAddr::V4(v4) => return Self::v4(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        match u32::try_from(bits & 0xffff_ffff) {
            Ok(v4) if ipv4(bits) => Self::v4(v4),
            _ => (bits != 0 && bits >> 120 != 0xff).then_some(Self(bits)),
        }
    }

    /// None for an address that no client can have.
    #[inline]
    pub(super) fn v4(bits: u32) -> Option<Self> {
        (bits != 0 && bits >> 28 != 0xe).then_some(Self(IPV4.0 | u128::from(bits)))
    }

    pub(super) const fn bits(self) -> u128 {
        self.0
    }

    /// IPv4-mapped addresses as IPv4.
    pub(super) const fn ip(self) -> IpAddr {
        Ipv6Addr::from_bits(self.0).to_canonical()
    }

    /// The network that counts as one client: the address itself for IPv4.
    #[inline]
    pub(super) const fn group(self, ipv6_prefix: u8) -> Self {
        if ipv4(self.0) {
            self
        } else {
            Self(self.0 & prefix_mask(ipv6_prefix))
        }
    }

    /// The length of that network's prefix, as people write it.
    pub(super) const fn group_prefix(self, ipv6_prefix: u8) -> u8 {
        if ipv4(self.0) { 32 } else { ipv6_prefix }
    }
}

/// Tells the family and nothing more: an address is personal data.
impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if ipv4(self.0) { "ipv4" } else { "ipv6" })
    }
}

/// The bits of the IPv6 form.
#[inline]
pub(super) const fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => IPV4.0 | v4.to_bits() as u128,
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

#[inline]
const fn ipv4(bits: u128) -> bool {
    bits >> 32 == 0xffff
}

/// The mask of a prefix of 128 bits: that many ones, then zeroes.
#[inline]
pub(super) const fn prefix_mask(length: u8) -> u128 {
    match length {
        0 => 0,
        1..=127 => u128::MAX << (128 - length),
        _ => u128::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn network(text: &str, prefix: u8) -> (IpAddr, u8) {
        let address = Address::new(ip(text)).unwrap();
        (address.group(prefix).ip(), address.group_prefix(prefix))
    }

    #[test]
    fn an_ipv4_mapped_address_is_the_ipv4_address() {
        let mapped = Address::new(ip("::ffff:192.0.2.1"));
        assert!(mapped.is_some());
        assert_eq!(mapped, Address::new(ip("192.0.2.1")));
        assert_eq!(mapped.map(Address::ip), Some(ip("192.0.2.1")));
        assert_eq!(
            Address::new(ip("2001:db8::1")).map(Address::ip),
            Some(ip("2001:db8::1"))
        );
    }

    #[test]
    fn addresses_that_no_client_can_have_are_refused() {
        for text in [
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "239.255.255.255",
            "ff02::1",
            "::ffff:0.0.0.0",
            "::ffff:239.1.1.1",
        ] {
            assert_eq!(Address::new(ip(text)), None, "{text}");
        }
        for text in [
            "0.0.0.1",
            "223.255.255.255",
            "240.0.0.1",
            "::1",
            "fe80::1",
            "fdff::",
            "::239.1.1.1",
        ] {
            assert_eq!(
                Address::new(ip(text)).map(Address::ip),
                Some(ip(text)),
                "{text}"
            );
        }
    }

    #[test]
    fn ipv6_is_grouped_by_its_prefix_and_ipv4_is_not() {
        let address = "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff";
        assert_eq!(network(address, 64), (ip("2001:db8:aaaa:bbbb::"), 64));
        assert_eq!(network(address, 48), (ip("2001:db8:aaaa::"), 48));
        assert_eq!(network(address, 128), (ip(address), 128));
        assert_eq!(network("192.0.2.1", 48), (ip("192.0.2.1"), 32));
    }

    #[test]
    fn a_prefix_mask_has_as_many_ones_as_its_length() {
        for length in 0..=128_u8 {
            assert_eq!(prefix_mask(length).leading_ones(), u32::from(length));
            assert_eq!(prefix_mask(length).count_ones(), u32::from(length));
        }
    }
}
