//! A block of addresses, in the one form in which IPv4 and IPv6 compare.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

/// Where IPv4 is: `::ffff:0:0/96`.
const IPV4: u128 = 0xffff_0000_0000;

/// A block of addresses: an address and the length of its prefix, 0 to 32 for IPv4 and 0 to 128 for IPv6.
///
/// IPv4-mapped IPv6 (`::ffff:192.0.2.0/120`) *is* the IPv4 block. `Debug` and `Display` show it, because it is
/// what an operator asks for; where it comes from a client it is personal data.
///
/// ```
/// use fusebox_blackhole::engine::Network;
///
/// # fn main() -> Result<(), fusebox_blackhole::engine::NetworkError> {
/// let block: Network = "192.0.2.0/24".parse()?;
/// assert!(block.contains([192, 0, 2, 7].into()));
/// assert!("192.0.2.7/24".parse::<Network>().is_err(), "one host, or 256?");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    /// The first address, in its IPv6 form.
    bits: u128,
    /// The length of the prefix in that form: 96 and more for IPv4.
    length: u8,
}

impl Network {
    /// The block of this prefix length around an address; the address' other bits are dropped. A length beyond
    /// the address' own is the address alone.
    #[must_use]
    pub const fn around(address: IpAddr, length: u8) -> Self {
        let (bits, length) = match address {
            IpAddr::V4(v4) => (IPV4 | v4.to_bits() as u128, length.saturating_add(96)),
            IpAddr::V6(v6) => (v6.to_bits(), length),
        };
        Self::of_bits(bits, length)
    }

    /// The address alone.
    #[must_use]
    pub const fn host(address: IpAddr) -> Self {
        Self::around(address, 128)
    }

    pub(super) const fn of_bits(bits: u128, length: u8) -> Self {
        let length = if length > 128 { 128 } else { length };
        Self {
            bits: bits & mask(length),
            length,
        }
    }

    /// The first address, IPv4-mapped as IPv4.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        Ipv6Addr::from_bits(self.bits).to_canonical()
    }

    /// The length of the prefix, as people write it.
    #[must_use]
    pub const fn prefix(self) -> u8 {
        if self.is_ipv4() {
            self.length - 96
        } else {
            self.length
        }
    }

    /// Whether all of it is IPv4.
    #[must_use]
    pub const fn is_ipv4(self) -> bool {
        self.length >= 96 && self.bits >> 32 == 0xffff
    }

    /// Whether the address is in it.
    #[must_use]
    pub const fn contains(self, address: IpAddr) -> bool {
        Self::host(address).bits & mask(self.length) == self.bits
    }

    /// Whether they have an address in common; then one of them is inside the other.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        let shorter = if self.length < other.length {
            self.length
        } else {
            other.length
        };
        (self.bits ^ other.bits) & mask(shorter) == 0
    }

    /// The first and the last address.
    #[must_use]
    pub const fn ends(self) -> (IpAddr, IpAddr) {
        let last = Ipv6Addr::from_bits(self.last()).to_canonical();
        (self.address(), last)
    }

    pub(super) const fn first(self) -> u128 {
        self.bits
    }

    pub(super) const fn last(self) -> u128 {
        self.bits | !mask(self.length)
    }

    /// The length of the prefix in the IPv6 form.
    pub(super) const fn length(self) -> u8 {
        self.length
    }
}

/// An address in its IPv6 form.
#[inline]
pub(super) const fn bits_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => IPV4 | v4.to_bits() as u128,
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

#[inline]
pub(super) const fn mask(length: u8) -> u128 {
    match length {
        0 => 0,
        1..=127 => u128::MAX << (128 - length),
        _ => u128::MAX,
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address(), self.prefix())
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is no [`Network`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetworkError {
    /// What stands before the `/` is no address.
    NotAnAddress,
    /// What stands behind the `/` is no number, or more than the address has bits.
    PrefixLength,
    /// Bits are set beyond the prefix: one host is meant, or a whole block, and nobody can tell.
    HostBits,
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAnAddress => "not an IP address or CIDR block",
            Self::PrefixLength => "the prefix length is not a number the address has room for",
            Self::HostBits => "bits are set beyond the prefix",
        })
    }
}

impl std::error::Error for NetworkError {}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError::NotAnAddress)?;
        let width: u8 = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => width,
            // `u8::from_str` takes a sign, and nobody means one.
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits
                .parse()
                .ok()
                .filter(|length| *length <= width)
                .ok_or(NetworkError::PrefixLength)?,
            Some(_) => return Err(NetworkError::PrefixLength),
        };
        let network = Self::around(address, length);
        if network.bits == bits_of(address) {
            Ok(network)
        } else {
            Err(NetworkError::HostBits)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn is_written_as_it_is_read() {
        for text in [
            "0.0.0.0/0",
            "192.0.2.0/24",
            "192.0.2.7/32",
            "2001:db8::/32",
            "::/0",
            "::1/128",
        ] {
            assert_eq!(network(text).to_string(), text);
        }
        assert_eq!(network("192.0.2.7"), network("192.0.2.7/32"));
        assert_eq!(network("::ffff:192.0.2.0/120"), network("192.0.2.0/24"));
    }

    #[test]
    fn what_is_no_network_says_why() {
        for (text, error) in [
            ("", NetworkError::NotAnAddress),
            ("192.0.2", NetworkError::NotAnAddress),
            ("192.0.2.256", NetworkError::NotAnAddress),
            (" 192.0.2.1", NetworkError::NotAnAddress),
            ("192.0.2.0/", NetworkError::PrefixLength),
            ("192.0.2.0/+24", NetworkError::PrefixLength),
            ("192.0.2.0/33", NetworkError::PrefixLength),
            ("2001:db8::/129", NetworkError::PrefixLength),
            ("192.0.2.0/99999999999", NetworkError::PrefixLength),
            ("192.0.2.1/24", NetworkError::HostBits),
            ("2001:db8::1/64", NetworkError::HostBits),
        ] {
            assert_eq!(text.parse::<Network>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn contains_its_first_and_last_address_and_not_their_neighbours() {
        let block = network("192.0.2.0/24");
        for (address, inside) in [
            ([192, 0, 2, 0], true),
            ([192, 0, 2, 255], true),
            ([192, 0, 1, 255], false),
            ([192, 0, 3, 0], false),
        ] {
            assert_eq!(block.contains(address.into()), inside, "{address:?}");
        }
        assert!(block.contains("::ffff:192.0.2.9".parse().unwrap()));
        assert!(!network("2001:db8::/32").contains([192, 0, 2, 0].into()));
    }

    #[test]
    fn overlaps_what_is_inside_it_and_what_it_is_inside_of() {
        for (one, other, overlap) in [
            ("10.0.0.0/8", "10.1.0.0/16", true),
            ("10.0.0.0/8", "11.0.0.0/8", false),
            ("10.0.0.0/8", "0.0.0.0/0", true),
            ("0.0.0.0/0", "2001:db8::/32", false),
            ("::/0", "10.0.0.0/8", true),
            ("2001:db8::/32", "2001:db8:1::/48", true),
        ] {
            assert_eq!(
                network(one).overlaps(network(other)),
                overlap,
                "{one} {other}"
            );
            assert_eq!(
                network(other).overlaps(network(one)),
                overlap,
                "{other} {one}"
            );
        }
    }
}
