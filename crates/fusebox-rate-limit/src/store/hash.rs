//! From a key to the bits a table places it by.

use std::hash::{BuildHasher, RandomState};

use siphasher::sip128::{Hasher128, SipHasher13};

/// What a quota is kept under: 128 bits that stand for one client, tenant, path or whatever counts.
///
/// A client identity already is one. Text becomes one through [`KeyHasher::text`], a keyed hash, so
/// that the text itself is kept nowhere. `Debug` shows nothing: the key of an address is personal data.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(u128);

impl Key {
    /// One key for all: a quota that everyone shares.
    pub const SHARED: Self = Self(0);

    /// Not a key: a policy whose key this is does not count the request at all (see [`Keys::Each`](super::Keys::Each)).
    pub const UNCOUNTED: Self = Self(u128::MAX);

    /// A key of these bits. Equal bits share a quota.
    #[must_use]
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// The bits, for stores outside the process.
    #[must_use]
    pub const fn to_bits(self) -> u128 {
        self.0
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").finish_non_exhaustive()
    }
}

/// A keyed hash that no other process has the key of.
///
/// Clients choose their keys (an IPv6 network has more addresses than any table), so where a key lands
/// must not be for them to tell: whoever knew could fill one line of a table and drive a neighbour out of
/// its memory. For 128-bit keys this is NH, the universal hash inside UMAC (Black, Halevi, Krawczyk,
/// Krovetz, Rogaway, 1999): two keys that are not chosen by the secret collide with a probability of
/// 2^-64; and one more multiplication of the same form spreads it over all bits. Text is hashed with
/// SipHash-1-3 first, which the standard library uses for the same reason.
#[derive(Clone)]
pub struct KeyHasher {
    secret: [u64; 4],
    text: SipHasher13,
}

impl KeyHasher {
    /// With a secret of its own.
    #[must_use]
    pub fn new() -> Self {
        let random = RandomState::new();
        let mut key = [0; 16];
        let halves = [random.hash_one(4), random.hash_one(5)].map(u64::to_le_bytes);
        for (byte, random) in key.iter_mut().zip(halves.as_flattened()) {
            *byte = *random;
        }
        Self::with_text_key(key)
    }

    /// As [`new`](Self::new), but the keys of text are made with this key, and are the same wherever it is used.
    #[must_use]
    pub fn with_text_key(key: [u8; 16]) -> Self {
        // The standard library seeds it from the operating system's randomness.
        let random = RandomState::new();
        let secret = |index: u32| match cfg!(fusebox_loom) {
            // The model checker runs everything many times over and must find it the same each time.
            true => 0x9E37_79B9_7F4A_7C15_u64.rotate_left(index * 16),
            false => random.hash_one(index),
        };
        Self {
            secret: [0, 1, 2, 3].map(secret),
            text: SipHasher13::new_with_key(&key),
        }
    }

    /// The key of some text, such as an API key or a path. `domain` keeps texts of different kinds
    /// apart.
    #[must_use]
    pub fn text(&self, domain: u8, text: &[u8]) -> Key {
        use std::hash::Hasher;

        let mut hasher = self.text;
        hasher.write_u8(domain);
        hasher.write(text);
        Key(hasher.finish128().as_u128())
    }

    /// Where a table looks for `key`. `salt` tells apart what has one key and two states.
    #[inline(always)]
    #[must_use]
    pub(crate) const fn place(&self, key: Key, salt: u64) -> u64 {
        let [a, b, c, d] = self.secret;
        let (low, high) = halves(key.0);
        let (low, high) = wide(low.wrapping_add(a), high.wrapping_add(b));
        let (low, high) = wide(low ^ c ^ salt, high ^ d);
        low ^ high
    }
}

#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the halves of 128 bits have 64"
)]
const fn halves(of: u128) -> (u64, u64) {
    (of as u64, (of >> 64) as u64)
}

#[inline]
const fn wide(a: u64, b: u64) -> (u64, u64) {
    halves(a as u128 * b as u128)
}

impl Default for KeyHasher {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Whoever knows the secret can aim.
        f.debug_struct("KeyHasher").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_keys_spread_over_the_high_and_the_low_bits() {
        let hasher = KeyHasher::new();
        for part in [|place: u64| place >> 56, |place: u64| place & 255] {
            for shift in [0, 8, 64, 100] {
                let mut counts = [0_u32; 256];
                for key in 0..25_600_u128 {
                    let place = hasher.place(Key(key << shift), 0);
                    counts[usize::try_from(part(place)).unwrap()] += 1;
                }
                // 100 each, give or take six standard deviations.
                let even = counts.iter().all(|count| (40..160).contains(count));
                assert!(even, "{counts:?}");
            }
        }
    }

    #[test]
    fn the_salt_and_the_domain_tell_apart() {
        let hasher = KeyHasher::new();
        let key = hasher.text(1, b"a");
        assert_ne!(hasher.place(key, 0), hasher.place(key, 1));
        assert_ne!(hasher.text(2, b"a"), key);
        assert_eq!(hasher.text(1, b"a"), key);
    }

    #[test]
    fn two_hashers_with_one_key_make_the_same_keys_of_text_and_place_them_elsewhere() {
        let [one, two] = [(); 2].map(|()| KeyHasher::with_text_key([7; 16]));
        let key = one.text(1, b"a");
        assert_eq!(key, two.text(1, b"a"));
        assert_ne!(one.place(key, 0), two.place(key, 0));
        assert_ne!(key, KeyHasher::with_text_key([8; 16]).text(1, b"a"));
    }

    #[test]
    fn two_hashers_do_not_agree() {
        let place = || KeyHasher::new().place(Key(7), 0);
        assert_ne!(place(), place());
    }
}
