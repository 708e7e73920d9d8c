//! What limiters index their tables by.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};

use http::{HeaderName, HeaderValue};
use siphasher::sip128::{Hasher128, SipHasher24};

use super::address::Address;

/// Sixteen bytes that stand for one client: what limiters index their tables by.
///
/// IPv4 is the address, IPv6 the network of the configured length, a hashed header the keyed hash. The
/// three cannot meet, by construction: IPv4 takes the place of its IPv4-mapped form, which no canonical
/// IPv6 address has; hashes lie in `ff00::/8`, multicast, which is no client's address.
///
/// Equal keys mean the same client **for one resolver**, or for resolvers with the same prefix length
/// and hash key. The bits are not evenly spread, and a client with a large IPv6 network has a say in
/// them: a table needs a keyed hash of its own (the standard `HashMap` has one).
///
/// The key of an address *is* personal data, so `Debug` shows only its kind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdentityKey(u128);

impl IdentityKey {
    /// The key as one number, for tables that pack it and for stores outside the process.
    #[must_use]
    pub const fn to_bits(self) -> u128 {
        self.0
    }

    /// Whether this is the keyed hash of a header rather than an address or network.
    #[must_use]
    pub const fn is_hashed(self) -> bool {
        self.0 >> 120 == 0xff
    }

    /// The key of a network.
    pub(super) const fn of_network(network: Address) -> Self {
        Self(network.bits())
    }

    /// The key of a hash, of which it keeps 120 bits.
    const fn of_hash(hash: u128) -> Self {
        Self(hash | 0xff << 120)
    }
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IdentityKey")
            .field(&if self.is_hashed() {
                "hashed"
            } else {
                "address"
            })
            .finish()
    }
}

/// Hashes the values of one header.
///
/// SipHash-2-4 with 128 bits of output (Aumasson and Bernstein, 2012): a keyed function, so whoever
/// reads a key out of a table or a store cannot try API keys against it, and nobody can look for two
/// values that collide. 120 bits are kept; among a billion clients the odds of a collision are below one in 10¹⁸.
#[derive(Clone)]
pub(super) struct HeaderHasher {
    pub(super) name: HeaderName,
    /// Has the key and the header's name in it, so that equal values of two headers differ.
    start: SipHasher24,
}

impl HeaderHasher {
    pub(super) fn new(name: HeaderName, key: Option<[u8; 16]>) -> Self {
        let mut start = SipHasher24::new_with_key(&key.unwrap_or_else(random_key));
        start.write(name.as_str().as_bytes());
        // No header name has this byte: the name cannot run into the value.
        start.write_u8(0);
        Self { name, start }
    }

    /// The key of this value, or none if it is blank: all who send nothing are not one client.
    pub(super) fn key_of(&self, value: &HeaderValue) -> Option<IdentityKey> {
        let value = value.as_bytes().trim_ascii();
        if value.is_empty() {
            return None;
        }
        let mut hasher = self.start;
        hasher.write(value);
        Some(IdentityKey::of_hash(hasher.finish128().as_u128()))
    }
}

/// A key no other process has. The standard library seeds each thread's `RandomState` from the
/// operating system's randomness; two outputs of it are 128 bits that nobody outside can tell.
fn random_key() -> [u8; 16] {
    let random = RandomState::new();
    let halves = [random.hash_one(0_u8), random.hash_one(1_u8)].map(u64::to_le_bytes);
    let mut key = [0; 16];
    for (byte, random) in key.iter_mut().zip(halves.as_flattened()) {
        *byte = *random;
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> IdentityKey {
        let address = Address::new(text.parse().unwrap()).unwrap();
        IdentityKey::of_network(address.group(64))
    }

    fn hasher(name: &'static str, key: u8) -> HeaderHasher {
        HeaderHasher::new(HeaderName::from_static(name), Some([key; 16]))
    }

    fn hashed(hasher: &HeaderHasher, value: &'static str) -> Option<IdentityKey> {
        hasher.key_of(&HeaderValue::from_static(value))
    }

    #[test]
    fn one_network_is_one_key() {
        assert_eq!(key("2001:db8:0:1::1"), key("2001:db8:0:1:ffff::2"));
        assert_ne!(key("2001:db8:0:1::1"), key("2001:db8:0:2::1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }

    #[test]
    fn ipv4_and_ipv6_keys_do_not_meet() {
        // The neighbours of the mapped range in number space.
        for v6 in [
            "::1",
            "::192.0.2.1",
            "::fffe:c000:0201",
            "::1:0:0:0",
            "0:0:0:1::",
        ] {
            assert_ne!(key("192.0.2.1"), key(v6), "{v6}");
        }
    }

    #[test]
    fn hashed_keys_are_marked_and_address_keys_are_not() {
        assert!(
            hashed(&hasher("x-api-key", 1), "secret")
                .unwrap()
                .is_hashed()
        );
        for address in ["255.255.255.255", "::1", "fdff::1", "fe80::1", "fec0::1"] {
            assert!(!key(address).is_hashed(), "{address}");
        }
    }

    #[test]
    fn a_hash_depends_on_value_name_and_key() {
        let first = hashed(&hasher("x-api-key", 1), "secret");
        assert!(first.is_some());
        assert_eq!(first, hashed(&hasher("x-api-key", 1), "secret"));
        assert_eq!(first, hashed(&hasher("x-api-key", 1), " secret\t"));
        assert_ne!(first, hashed(&hasher("x-api-key", 1), "Secret"));
        assert_ne!(first, hashed(&hasher("x-tenant", 1), "secret"));
        assert_ne!(first, hashed(&hasher("x-api-key", 2), "secret"));
    }

    #[test]
    fn a_blank_value_has_no_key() {
        assert_eq!(hashed(&hasher("x-api-key", 1), ""), None);
        assert_eq!(hashed(&hasher("x-api-key", 1), " \t "), None);
    }

    #[test]
    fn the_default_hash_key_differs_from_resolver_to_resolver() {
        let name = HeaderName::from_static("x-api-key");
        let one = HeaderHasher::new(name.clone(), None);
        let two = HeaderHasher::new(name, None);
        assert_ne!(hashed(&one, "secret"), hashed(&two, "secret"));
    }

    #[test]
    fn a_key_has_sixteen_bytes_and_keeps_its_bits() {
        assert_eq!(size_of::<IdentityKey>(), 16);
        assert_eq!(
            key("2001:db8:0:1::1").to_bits(),
            0x2001_0db8_0000_0001 << 64
        );
        assert_eq!(key("192.0.2.1").to_bits(), 0xffff_c000_0201);
    }

    #[test]
    fn debug_shows_no_address() {
        assert_eq!(
            format!("{:?}", key("192.0.2.1")),
            r#"IdentityKey("address")"#
        );
    }
}
