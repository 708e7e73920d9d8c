//! Answers "surely not" for the innocent, out of one word.
//!
//! A blocked Bloom filter (Putze, Sanders, Singler, "Cache-, Hash- and Space-Efficient Bloom Filters", WEA 2007) whose
//! blocks are words. Who is in and what is listed are asked for together, so they are in one filter: two would be two
//! cache misses. The word is chosen by the *site* (an IPv4 /24, an IPv6 /48); in it are clients, and sites that are in
//! or listed whole: a site with many that are in fills its own word and leaves the others alone. Blocks larger than a
//! site are few: a bitmap of some kilobytes.
//!
//! What it costs is memory that is waited for, and how many questions a processor waits for at once is a matter of how few
//! instructions each has. So it is one word and not two of a line, and bitmaps are arrays of a known length.
//!
//! One innocent in some three hundred is not recognised, and is looked up exactly. Who comes out stays in the filter
//! until it is built anew, and costs only that.
//!
//! There are two sets of words. One is asked while the other is built, then they change places. A reader looks at the
//! number of the set before and after, as at a sequence lock: it has no lock, no count of readers and no fence, whose
//! price is that of the whole question. (An `Arc` that is swapped was tried: its read-modify-write for each question
//! made that five times as slow, because no two questions overlap any more.)

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use fusebox_core::sync::{AtomicU64, Ordering};

use super::{
    key::{Key, Width},
    network::Network,
};

/// Entries for each word: with four of its bits for each, two innocents in a thousand are taken for a client that is in.
/// Each of them costs some ten others.
const PER_WORD: usize = 3;
/// 256 MB. Past this the filter only gets worse, not larger.
const MOST_WORDS: usize = 1 << 25;
/// One bit for each IPv4 /16. The model checker looks at every word, and at no list.
const WIDE_V4: usize = if cfg!(fusebox_loom) { 1 } else { 1 << 10 };
/// The logarithm of the words for IPv6 /32, 64 KB: with thirty thousand of them, of which Spamhaus lists a hundred, one innocent
/// in a hundred is looked up in vain.
const WIDE_V6: u32 = if cfg!(fusebox_loom) { 0 } else { 13 };

/// As many IPv6 /32 of one block as are told apart: a /18. Nobody lists more.
const MOST_WIDE: u64 = 1 << 14;

/// What might be in or listed.
pub(super) struct Filter {
    hasher: FixedState,
    wide_v6_factor: u64,
    sets: [Set; 2],
    /// The lowest bit says which set is asked.
    generation: AtomicU64,
}

struct Set {
    words: Box<[AtomicU64]>,
    /// IPv4 /16 in which a block of that size or larger is listed.
    wide_v4: Box<[AtomicU64; WIDE_V4]>,
    /// Three bits in a word for each IPv6 /32 in which a block larger than a /48 is listed. Where ten thousand such blocks are
    /// listed, one innocent in a thousand is looked up; with two bits, three, and with one bit for each, twenty.
    wide_v6: Box<[AtomicU64; 1 << WIDE_V6]>,
}

/// A set that is being built.
pub(super) struct Building<'f> {
    filter: &'f Filter,
    set: &'f Set,
}

impl Filter {
    /// An empty filter with room for so many clients and blocks.
    pub(super) fn new(room: usize, seed: u64) -> Self {
        let words = room.div_ceil(PER_WORD).clamp(1, MOST_WORDS);
        let hasher = FixedState::with_seed(seed);
        Self {
            // Odd, so that it loses nothing.
            wide_v6_factor: hasher.hash_one(seed) | 1,
            hasher,
            sets: [(); 2].map(|()| Set::new(words)),
            generation: AtomicU64::new(0),
        }
    }

    /// How many clients and blocks it has room for.
    pub(super) fn room(&self) -> usize {
        self.set(0).words.len() * PER_WORD
    }

    pub(super) fn memory(&self) -> usize {
        self.sets.iter().map(Set::memory).sum()
    }

    /// Whether an IPv4 address might be in or listed. `false` is certain.
    #[inline]
    pub(super) fn may_know_v4(&self, bits: u32) -> bool {
        let client = Key::bits_of_v4(bits);
        let (word, mask) = wide_v4(u64::from(bits >> 16));
        self.ask(client >> 8, client, |set| has(&set.wide_v4, word, mask))
    }

    /// Whether an address of an IPv6 /64 might be in or listed. `false` is certain.
    #[inline]
    pub(super) fn may_know_v6(&self, upper: u64) -> bool {
        let (word, mask) = self.wide_v6(upper >> 32);
        self.ask(upper >> 16, upper, |set: &Set| {
            has(&set.wide_v6, word, mask)
        })
    }

    /// Whether the client might be in. `false` is certain.
    #[inline]
    pub(super) fn may_know(&self, key: Key) -> bool {
        let (client, _) = key.parts();
        self.ask(site(client), client, |_| false)
    }

    #[inline]
    fn ask(&self, site: u64, client: u64, wide: impl FnOnce(&Set) -> bool) -> bool {
        let site = self.hasher.hash_one(site);
        let before = self.generation.load(Ordering::Acquire);
        let set = self.set(before);
        let word = set.word(site).load(Ordering::Acquire);
        let (site, client) = (mask_of_site(site), mask_of_client(site, client));
        let known = (word & site == site) | (word & client == client) | wide(set);
        // Who sees a word of a set that is being built anew sees, through its acquiring load, that the sets have
        // changed places since; then nothing is certain.
        known | (self.generation.load(Ordering::Relaxed) != before)
    }

    /// A client or a network goes in. Its record must be in its cell already: see [`build`](Self::build).
    pub(super) fn add(&self, key: Key) {
        // Into both sets: the other one may be the next to be asked.
        for set in &self.sets {
            self.add_to(set, key);
        }
    }

    /// Builds the other set anew and lets the two change places. One at a time.
    ///
    /// `fill` must copy all cells. A client that goes in meanwhile is not lost: if it is added before its word is
    /// cleared, its cell was written before that, and the copy has it; otherwise it is added to the cleared word.
    pub(super) fn build(&self, fill: impl FnOnce(&Building<'_>)) {
        let next = self.generation.load(Ordering::Acquire) + 1;
        let set = self.set(next);
        set.clear();
        fill(&Building { filter: self, set });
        self.generation.store(next, Ordering::Release);
    }

    #[inline]
    fn set(&self, generation: u64) -> &Set {
        let [even, odd] = &self.sets;
        if generation.is_multiple_of(2) {
            even
        } else {
            odd
        }
    }

    fn add_to(&self, set: &Set, key: Key) {
        let (client, width) = key.parts();
        let site = self.hasher.hash_one(site(client));
        let mask = match width {
            Width::Client => mask_of_client(site, client),
            Width::Net56 | Width::Net48 => mask_of_site(site),
        };
        set.add(site, mask);
    }

    /// A word, and three bits of it, for an IPv6 /32: by one multiplication (Dietzfelbinger and others, "A Reliable
    /// Randomized Algorithm for the Closest-Pair Problem", 1997), which is enough where only lists go in.
    #[inline]
    const fn wide_v6(&self, block: u64) -> (usize, u64) {
        let hash = block.wrapping_mul(self.wide_v6_factor);
        let mask = 1 << ((hash >> 32) & 63) | 1 << ((hash >> 38) & 63) | 1 << ((hash >> 44) & 63);
        // Twice, for where no bit is left: 64 would be too far.
        ((hash >> 32 >> (32 - WIDE_V6)) as usize, mask)
    }
}

/// An IPv4 /24, an IPv6 /48, a credential by itself.
#[inline]
const fn site(client: u64) -> u64 {
    if client >> 48 == 0 {
        client >> 8
    } else {
        client >> 16
    }
}

impl Building<'_> {
    pub(super) fn add(&self, key: Key) {
        self.filter.add_to(self.set, key);
    }

    /// A block of addresses is listed. It goes into no more than 256 places, as an IPv4 /8 and an IPv6 /24 do. Nobody
    /// lists larger ones: those of IPv4 take up to 65536, and those of IPv6 up to 16384.
    pub(super) fn list(&self, network: Network) {
        let prefix = network.prefix();
        let first = first_client(network);
        let set = self.set;
        match (network.is_ipv4(), prefix) {
            (true, 25..) => self.clients(first, 1 << (32 - prefix)),
            (true, 17..) => self.sites(site(first), 1 << (24 - prefix)),
            (true, _) => {
                let block = (first & 0xffff_ffff) >> 16;
                (block..block + (1 << (16 - prefix))).for_each(|block| {
                    let (word, mask) = wide_v4(block);
                    put(&*set.wide_v4, word, mask);
                });
            }
            (false, 64..) => self.clients(first, 1),
            (false, 48..) => self.sites(site(first), 1),
            (false, _) => {
                let block = first >> 32;
                // A bit for all that there is, where there are more blocks than bits.
                let blocks = 1_u64 << 32_u8.saturating_sub(prefix);
                if blocks > MOST_WIDE {
                    set.wide_v6
                        .iter()
                        .for_each(|word| word.store(u64::MAX, Ordering::Release));
                } else {
                    (block..block + blocks).for_each(|block| {
                        let (word, mask) = self.filter.wide_v6(block);
                        put(&*set.wide_v6, word, mask);
                    });
                }
            }
        }
    }

    fn clients(&self, first: u64, count: u64) {
        for client in first..first + count {
            let site = self.filter.hasher.hash_one(site(client));
            self.set.add(site, mask_of_client(site, client));
        }
    }

    fn sites(&self, first: u64, count: u64) {
        for site in first..first + count {
            let site = self.filter.hasher.hash_one(site);
            self.set.add(site, mask_of_site(site));
        }
    }
}

/// The first client of a block, as keys have it.
#[expect(
    clippy::cast_possible_truncation,
    reason = "IPv4 is the lower quarter, a client of IPv6 the upper half"
)]
const fn first_client(network: Network) -> u64 {
    if network.is_ipv4() {
        Key::bits_of_v4(network.first() as u32)
    } else {
        (network.first() >> 64) as u64
    }
}

impl Set {
    fn new(words: usize) -> Self {
        Self {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            wide_v4: zeroes(),
            wide_v6: zeroes(),
        }
    }

    fn clear(&self) {
        let words = self.words.iter().chain(&*self.wide_v4);
        for word in words.chain(&*self.wide_v6) {
            word.store(0, Ordering::Release);
        }
    }

    /// The word of a site, by the upper half of its hash.
    #[inline]
    #[expect(
        clippy::indexing_slicing,
        reason = "a fraction of the length is less than the length"
    )]
    fn word(&self, site: u64) -> &AtomicU64 {
        &self.words[(((site >> 32) * self.words.len() as u64) >> 32) as usize]
    }

    fn add(&self, site: u64, mask: u64) {
        self.word(site).fetch_or(mask, Ordering::AcqRel);
    }

    fn memory(&self) -> usize {
        size_of_val(&*self.words) + size_of_val(&*self.wide_v4) + size_of_val(&*self.wide_v6)
    }
}

/// Four bits of a word, by the lower half of a hash.
#[inline]
const fn bits(hash: u64) -> u64 {
    1 << (hash & 63) | 1 << ((hash >> 6) & 63) | 1 << ((hash >> 12) & 63) | 1 << ((hash >> 18) & 63)
}

/// What a site that is in or listed whole has in its word, by its hash: eight bits, because each innocent is compared with
/// a site besides a client, and sites are few.
#[inline]
const fn mask_of_site(site: u64) -> u64 {
    let bits = bits(site);
    bits | bits.swap_bytes()
}

/// What a client that is in has in its site's word: the site's four bits, turned as far as the client says (Fibonacci
/// hashing; Knuth, "The Art of Computer Programming", volume 3, section 6.4). Of its neighbours in the site one in 64 has the
/// same, and among all others it is as good as a hash of its own, which took twice the instructions.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "neighbours differ in their lower half"
)]
const fn mask_of_client(site: u64, client: u64) -> u64 {
    bits(site).rotate_left((client as u32).wrapping_mul(0x9E37_79B1) >> 26)
}

fn zeroes<const N: usize>() -> Box<[AtomicU64; N]> {
    Box::new(std::array::from_fn(|_| AtomicU64::new(0)))
}

#[inline]
fn has<const N: usize>(words: &[AtomicU64; N], word: usize, mask: u64) -> bool {
    words
        .get(word)
        .is_some_and(|word| word.load(Ordering::Acquire) & mask == mask)
}

/// A word, and a bit of it, for an IPv4 /16.
#[inline]
const fn wide_v4(block: u64) -> (usize, u64) {
    ((block >> 6) as usize, 1 << (block & 63))
}

fn put(words: &[AtomicU64], word: usize, mask: u64) {
    if let Some(word) = words.get(word) {
        word.fetch_or(mask, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    fn knows(filter: &Filter, text: &str) -> bool {
        match text.parse().unwrap() {
            IpAddr::V4(v4) => filter.may_know_v4(v4.to_bits()),
            IpAddr::V6(v6) => filter.may_know_v6((v6.to_bits() >> 64) as u64),
        }
    }

    fn filter(room: usize, listed: &[Network]) -> Filter {
        let filter = Filter::new(room, 7);
        filter.build(|building| listed.iter().for_each(|network| building.list(*network)));
        filter
    }

    #[test]
    fn knows_the_first_and_the_last_address_of_each_block() {
        for (block, addresses) in [
            ("192.0.2.7/32", ["192.0.2.7", "192.0.2.7"]),
            ("192.0.2.0/25", ["192.0.2.0", "192.0.2.127"]),
            ("192.0.2.0/24", ["192.0.2.0", "192.0.2.255"]),
            ("192.0.0.0/17", ["192.0.0.0", "192.0.127.255"]),
            ("192.0.0.0/16", ["192.0.0.0", "192.0.255.255"]),
            ("64.0.0.0/3", ["64.0.0.0", "95.255.255.255"]),
            ("2001:db8::7/128", ["2001:db8::7", "2001:db8::7"]),
            (
                "2001:db8::/64",
                ["2001:db8::", "2001:db8::ffff:ffff:ffff:ffff"],
            ),
            ("2001:db8::/52", ["2001:db8::", "2001:db8:0:fff:ffff::"]),
            ("2001:db8::/48", ["2001:db8::", "2001:db8:0:ffff:ffff::"]),
            ("2001:db8::/33", ["2001:db8::", "2001:db8:7fff:ffff::"]),
            ("2001:db8::/32", ["2001:db8::", "2001:db8:ffff:ffff::"]),
            ("2a00::/12", ["2a00::", "2a0f:ffff::"]),
        ] {
            let networks = [network(block)];
            let filter = filter(2_000, &networks);
            for address in addresses {
                assert!(knows(&filter, address), "{address} in {block}");
            }
            let strangers =
                (0..1_000).filter(|i| knows(&filter, &format!("8.{}.{}.1", i / 250, i % 250)));
            assert!(strangers.count() < 50, "{block}");
        }
    }

    #[test]
    fn knows_who_was_added_and_the_networks_around_them() {
        let filter = filter(1_000, &[]);
        let client = Key::of_address("2001:db8:1:2::1".parse().unwrap()).unwrap();
        filter.add(client);
        assert!(knows(&filter, "2001:db8:1:2::ffff"));
        assert!(!knows(&filter, "2001:db8:1:3::1"));
        filter.add(client.widened(Width::Net56).unwrap());
        assert!(knows(&filter, "2001:db8:1:3::1"));
        let hashed = Key::of_bits(0xff << 120 | 12_345).unwrap();
        assert!(!filter.may_know(hashed));
        filter.add(hashed);
        assert!(filter.may_know(hashed));
    }

    #[test]
    fn few_of_the_innocent_are_taken_for_somebody_else() {
        let host = |number: u32| {
            Network::host(std::net::Ipv4Addr::from_bits(0x1000_0000 + number * 40_503).into())
        };
        let block = |number: u32| {
            Network::around(
                std::net::Ipv4Addr::from_bits(0x5000_0000 + number * 810_049).into(),
                24,
            )
        };
        let listed: Vec<_> = (0..20_000).map(host).chain((0..2_000).map(block)).collect();
        let filter = filter(42_000, &listed);
        for number in 0..20_000_u32 {
            filter.add(
                Key::of_address(
                    std::net::Ipv4Addr::from_bits(0x9000_0000 + number * 40_507).into(),
                )
                .unwrap(),
            );
        }
        let innocents =
            (0..100_000_u32).filter(|number| filter.may_know_v4(0xc100_0000 + number * 251));
        let taken = innocents.count();
        assert!(taken < 1_000, "{taken} of 100000");
        let bitmaps = 2 * 8 * (WIDE_V4 + (1 << WIDE_V6));
        assert!(
            filter.memory() < 6 * 42_000 + bitmaps,
            "{}",
            filter.memory()
        );
    }

    #[test]
    fn forgets_who_is_not_there_any_more_when_it_is_built_anew() {
        let filter = filter(
            1_000,
            &[
                network("192.0.2.0/24"),
                network("100.0.0.0/8"),
                network("2001:db8::/32"),
            ],
        );
        filter.add(Key::of_address([198, 51, 100, 7].into()).unwrap());
        let all = ["192.0.2.1", "100.1.2.3", "2001:db8::1", "198.51.100.7"];
        assert!(all.iter().all(|text| knows(&filter, text)));
        filter.build(|building| building.list(network("203.0.113.0/24")));
        assert!(!all.iter().any(|text| knows(&filter, text)));
        assert!(knows(&filter, "203.0.113.9"));
    }
}
