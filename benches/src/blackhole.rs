//! The blackhole's question, asked for every connection and request: is this address in, or on a list?
//!
//! With a million clients in and a million prefixes listed, against one look-up in a `HashMap` with foldhash that
//! holds the million alone: the least that anybody would have to do. Addresses are made on the way, the same for
//! all cases, and what making them costs is taken off.
//!
//! # What the innocent cost
//!
//! IPv4 1.1 to 1.4 and IPv6 1.2 to 1.4 of the look-up on a quiet machine, with a limit of 1.5; with neighbours that fill the
//! caches either can miss it. All of these wait for one line of memory, and the processor looks ahead for the next ones as
//! far as its buffer of some 300 instructions reaches: so what is compared is 44 to 47 instructions in the `HashMap` with
//! 74 for IPv4 and 86 for IPv6, of which some 20 ask whether a block larger than a /48 is listed. The rest is who is not
//! recognised: each of those is looked up, for the time of ten others.
//!
//! So a client's bits in the filter are its site's, turned, instead of a hash of its own (IPv6 had 93 instructions and
//! 1.4 to 1.8), and there are four for a client, eight for a site and three for a block larger than a /48 instead of three,
//! three and two: one innocent in three hundred is looked up, where it was one in a hundred. Tried before that: one bit for
//! a large block in as much room (1.84 to 2.0), filters of two thirds and of 60% of the size (no difference: what is saved in
//! memory is lost to innocents that are not recognised), two words of one line instead of one word (107 instructions).
//! Large blocks in the word of the site, chosen by /32, would need no question of their own, and a provider with a thousand
//! clients that are in would have all its customers looked up.
//!
//! # The longest prefix
//!
//! "A few tens of nanoseconds" for the longest prefix is taken as: no more than to find somebody in that `HashMap`.
//! Both wait for memory, and how long that takes is the machine's to say.

use std::collections::HashMap;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;
use fusebox_blackhole::engine::{Cause, Key, Listed, Lists, Network, Prison, Rules};
use fusebox_core::Timestamp;

use crate::drive::{Batch, repeat};
use crate::harness::{Case, Figure, Limit, Suite};

/// Clients in, and prefixes listed. The tests of the benches only look whether the cases work.
const MANY: u64 = if cfg!(test) { 5_000 } else { 1_000_000 };
const SEED: u64 = 0x5EED;

/// The suite.
#[must_use]
pub fn suite() -> Suite {
    Suite {
        name: "blackhole",
        cases: vec![
            Case::new("address", || repeat(addresses(v4, Who::Innocent))),
            Case::new("address_v6", || repeat(addresses(v6, Who::Innocent))),
            Case::new("hash_map_innocent", || hash_map(v4, Who::Innocent)).over("address"),
            Case::new("hash_map_jailed", || hash_map(v4, Who::Jailed)).over("address"),
            Case::new("hash_map_jailed_v6", || hash_map(v6, Who::Jailed)).over("address_v6"),
            Case::new("hash_map_innocent_v6", || hash_map(v6, Who::Innocent)).over("address_v6"),
            Case::new("innocent", || check(v4, Who::Innocent)).over("address"),
            Case::new("jailed", || check(v4, Who::Jailed)).over("address"),
            Case::new("longest_prefix", || longest_prefix(v4)).over("address"),
            Case::new("innocent_v6", || check(v6, Who::Innocent)).over("address_v6"),
            Case::new("longest_prefix_v6", || longest_prefix(v6)).over("address_v6"),
        ],
        figures: vec![
            Figure::new("check_of_an_innocent", "innocent", "hash_map_innocent").time_at_most(1.5),
            Figure::new(
                "check_of_an_innocent_v6",
                "innocent_v6",
                "hash_map_innocent_v6",
            )
            .time_at_most(1.5),
            Figure::new("check_of_a_jailed", "jailed", "hash_map_jailed"),
            Figure::new("longest_prefix", "longest_prefix", "hash_map_jailed").time_at_most(1.0),
            Figure::new(
                "longest_prefix_v6",
                "longest_prefix_v6",
                "hash_map_jailed_v6",
            )
            .time_at_most(1.0),
        ],
        limits: vec![
            Limit::allocations("innocent", 0.0),
            Limit::clock_reads("innocent", 0.0),
            Limit::bytes("innocent", bytes_per_client, 48.0),
        ],
    }
}

/// Which addresses are asked for.
#[derive(Clone, Copy)]
enum Who {
    Jailed,
    Listed,
    Innocent,
}

type Address = fn(u64) -> IpAddr;

/// Scattered numbers, the same in every run (Steele, Lea, Flood: `SplitMix`, 2014).
fn mixed(mut number: u64) -> u64 {
    // Begun somewhere else than at 0: otherwise twice the number is scattered to twice the place.
    number = number
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .wrapping_add(0xD1B5_4A32_D192_ED03);
    number = (number ^ number >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    number = (number ^ number >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ number >> 31
}

/// Where innocents begin: beyond all listed blocks, and among all that is jailed or listed by itself. One that is on a
/// list is none.
const INNOCENT: u64 = 3 * MANY;

/// An address of the unicast internet: 1.0.0.0 to 223.255.255.255, or a /64 of `2000::/8` with some host in it.
fn v4(number: u64) -> IpAddr {
    let bits = 0x0100_0000 + ((fraction(number) * 0xde00_0000) >> 32);
    // Not loopback, which cannot be jailed.
    let bits = bits + (u64::from(bits >= 0x7f00_0000) << 24);
    Ipv4Addr::from_bits(u32::try_from(bits).unwrap_or(u32::MAX)).into()
}

fn v6(number: u64) -> IpAddr {
    let network = 0x20 << 56 | fraction(number) << 24 | mixed(number) & 0xff_ffff;
    Ipv6Addr::from_bits(u128::from(network) << 64 | u128::from(number)).into()
}

/// 32 scattered bits: in the lower half for what is listed as a block, in the upper half for innocents.
fn fraction(number: u64) -> u64 {
    if number >= INNOCENT {
        mixed(number) >> 33 | 1 << 31
    } else if is_block(number) {
        mixed(number) >> 33
    } else {
        mixed(number) >> 32
    }
}

/// Of what is listed, one in ten.
fn is_block(number: u64) -> bool {
    (MANY..2 * MANY).contains(&number) && number % 100 < 10
}

/// One address after the other, in scattered order: those that are in, those that are listed, or others.
fn addresses(address: Address, who: Who) -> impl FnMut() -> IpAddr {
    let mut number = 0_u64;
    move || {
        number = number.wrapping_add(1);
        address(match who {
            Who::Jailed => mixed(number) % MANY,
            Who::Listed => MANY + mixed(number) % MANY,
            Who::Innocent => INNOCENT + number,
        })
    }
}

fn hash_map(address: Address, who: Who) -> Batch {
    let jailed: HashMap<u128, u64, FixedState> = (0..MANY)
        .map(|number| (bits(address(number)), number))
        .collect();
    let mut addresses = addresses(address, who);
    repeat(move || jailed.contains_key(&bits(addresses())))
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        // By /64, as a jail must.
        IpAddr::V6(v6) => v6.to_bits() >> 64 << 64,
    }
}

fn jail(address: Address, records: usize) -> Prison {
    let prison = Prison::new(usize::try_from(MANY).unwrap_or(usize::MAX), records, SEED);
    let rules = Rules::default();
    let until = Timestamp::ZERO + Duration::from_secs(1_000);
    for number in 0..MANY {
        if let Some(key) = Key::of_address(address(number)) {
            black_box(prison.jail(key, Cause::Operator, until, &rules, Timestamp::ZERO));
        }
    }
    prison
}

/// As published lists are: nine in ten are single addresses, the others blocks.
fn published(address: Address) -> Arc<[Network]> {
    let prefixes = (MANY..2 * MANY).map(|number| {
        let (v4, v6) = match number % 100 {
            0 => (20, 40),
            _ if is_block(number) => (24, 48),
            _ => (32, 64),
        };
        let address = address(number);
        Network::around(address, if address.is_ipv4() { v4 } else { v6 })
    });
    prefixes.collect()
}

fn full(address: Address) -> Prison {
    let networks = published(address);
    let prison = jail(address, networks.len());
    let listed = [Listed {
        number: 0,
        networks,
    }];
    prison.set_lists(listed, Timestamp::ZERO);
    prison
}

fn check(address: Address, who: Who) -> Batch {
    let prison = full(address);
    let now = Timestamp::ZERO + Duration::from_secs(10);
    let mut addresses = addresses(address, who);
    repeat(move || prison.check(addresses(), now).is_some())
}

/// The longest prefix alone.
fn longest_prefix(address: Address) -> Batch {
    let networks = published(address);
    let lists = Lists::new(networks.iter().map(|network| (*network, 0)), SEED);
    let mut addresses = addresses(address, Who::Listed);
    repeat(move || lists.find(addresses()))
}

#[expect(clippy::cast_precision_loss, reason = "megabytes and a million")]
fn bytes_per_client() -> f64 {
    let prison = jail(v4, 0);
    let mut clients = 0_u64;
    prison.for_each(Timestamp::ZERO, |_| clients += 1);
    prison.memory() as f64 / clients as f64
}

#[cfg(test)]
mod tests {
    use fusebox_blackhole::engine::Held;

    use super::*;

    #[test]
    fn those_that_are_asked_for_are_in_or_listed_or_neither() {
        for address in [v4 as Address, v6] {
            let prison = full(address);
            let found = |who| {
                let mut addresses = addresses(address, who);
                let mut found = (0, 0);
                for _ in 0..1_000 {
                    match prison.check(addresses(), Timestamp::ZERO) {
                        Some(Held::Jailed(_)) => found.0 += 1,
                        Some(Held::Listed(_)) => found.1 += 1,
                        None => {}
                    }
                }
                found
            };
            assert_eq!(found(Who::Jailed).0, 1_000);
            assert_eq!(found(Who::Listed).1, 1_000);
            let (jailed, listed) = found(Who::Innocent);
            assert!(jailed + listed < 2, "{jailed} {listed}");
        }
    }
}
