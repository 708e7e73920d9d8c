//! The longest prefix, against comparing prefixes one by one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test reports by panicking"
)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fusebox_blackhole::engine::{Lists, Network};
use proptest::prelude::*;

fn naive(networks: &[(Network, u8)], address: IpAddr) -> Option<u8> {
    networks
        .iter()
        .filter(|(network, _)| network.contains(address) && network.is_ipv4() == is_ipv4(address))
        .max_by_key(|(network, list)| (network.prefix(), std::cmp::Reverse(*list)))
        .map(|(_, list)| *list)
}

fn is_ipv4(address: IpAddr) -> bool {
    address.to_canonical().is_ipv4()
}

fn agree(networks: &[(Network, u8)], probes: impl IntoIterator<Item = IpAddr>) {
    let lists = Lists::new(networks.iter().copied(), 42);
    for probe in probes {
        assert_eq!(lists.find(probe), naive(networks, probe), "{probe}");
    }
}

/// The first and last address of a block, and their neighbours.
fn edges(network: Network) -> Vec<IpAddr> {
    match network.address() {
        IpAddr::V4(v4) => {
            let (first, host) = (
                v4.to_bits(),
                u32::MAX.checked_shr(network.prefix().into()).unwrap_or(0),
            );
            let last = first | host;
            [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
                .map(|bits| Ipv4Addr::from_bits(bits).into())
                .into()
        }
        IpAddr::V6(v6) => {
            let (first, host) = (
                v6.to_bits(),
                u128::MAX.checked_shr(network.prefix().into()).unwrap_or(0),
            );
            let last = first | host;
            [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
                .map(|bits| Ipv6Addr::from_bits(bits).into())
                .into()
        }
    }
}

fn v4_networks() -> impl Strategy<Value = Vec<(Network, u8)>> {
    // Few bits vary, so that blocks lie inside one another.
    let network = (0..64_u32, 0..=32_u8, 0..4_u8).prop_map(|(bits, length, list)| {
        let bits = (bits & 0x38) << 26 | (bits & 7) << 3;
        (
            Network::around(Ipv4Addr::from_bits(bits).into(), length),
            list,
        )
    });
    proptest::collection::vec(network, 0..40)
}

fn v6_networks() -> impl Strategy<Value = Vec<(Network, u8)>> {
    let length = prop_oneof![
        0..=128_u8,
        Just(32),
        Just(48),
        Just(56),
        Just(64),
        Just(128)
    ];
    let network = (0..512_u128, length, 0..4_u8).prop_map(|(bits, length, list)| {
        let bits = 0x2001_0db8 << 96
            | (bits & 7) << 93
            | (bits & 0x38) << 77
            | (bits & 0x1c0) << 58
            | bits & 3;
        (
            Network::around(Ipv6Addr::from_bits(bits).into(), length),
            list,
        )
    });
    proptest::collection::vec(network, 0..40)
}

proptest! {
    #[test]
    fn agrees_with_comparing_ipv4_prefixes_one_by_one(networks in v4_networks(), random in any::<[u32; 8]>()) {
        let edges: Vec<_> = networks.iter().flat_map(|(network, _)| edges(*network)).collect();
        agree(&networks, edges.into_iter().chain(random.map(|bits| Ipv4Addr::from_bits(bits).into())));
    }

    #[test]
    fn agrees_with_comparing_ipv6_prefixes_one_by_one(networks in v6_networks(), random in any::<[u128; 8]>()) {
        let edges: Vec<_> = networks.iter().flat_map(|(network, _)| edges(*network)).collect();
        agree(&networks, edges.into_iter().chain(random.map(|bits| Ipv6Addr::from_bits(bits).into())));
    }
}

/// Numbers that look random and are the same in every run (Steele, Lea, Flood: `SplitMix`, 2014).
fn mixed(mut number: u64) -> u64 {
    number = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    number = (number ^ number >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    number = (number ^ number >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ number >> 31
}

#[test]
fn finds_each_of_many_scattered_prefixes_of_both_families() {
    let v4 = (0..30_000_u64).map(|i| {
        let bits = (mixed(i) >> 32) as u32;
        (
            Network::around(Ipv4Addr::from_bits(bits).into(), 16 + (i % 17) as u8),
            (i % 3) as u8,
        )
    });
    let v6 = (0..30_000_u64).map(|i| {
        let bits = 0x2000_u128 << 112 | u128::from(mixed(i)) << 53;
        (
            Network::around(
                Ipv6Addr::from_bits(bits).into(),
                [29, 48, 56, 64, 128][i as usize % 5],
            ),
            (i % 3) as u8,
        )
    });
    let networks: Vec<_> = v4.chain(v6).collect();
    let lists = Lists::new(networks.iter().copied(), 7);
    for (network, _) in &networks {
        for inside in edges(*network).into_iter().take(2) {
            assert!(lists.find(inside).is_some(), "{inside}");
        }
    }
    let probes = (1..200).flat_map(|i| {
        let bits = mixed(i + 1_000_000);
        [
            IpAddr::from(Ipv4Addr::from_bits((bits >> 32) as u32)),
            Ipv6Addr::from_bits(0x2000_u128 << 112 | u128::from(bits) << 53).into(),
        ]
    });
    for probe in probes {
        assert_eq!(lists.find(probe), naive(&networks, probe), "{probe}");
    }
}

#[test]
fn an_empty_table_has_nobody() {
    let lists = Lists::new([], 1);
    assert!(lists.is_empty());
    for address in ["0.0.0.0", "255.255.255.255", "::", "2001:db8::1"] {
        assert_eq!(lists.find(address.parse().unwrap()), None);
    }
    assert_eq!(Lists::default().find([8, 8, 8, 8].into()), None);
}

#[test]
fn an_ipv4_mapped_address_is_looked_for_as_ipv4() {
    let lists = Lists::new([("192.0.2.0/24".parse().unwrap(), 3)], 1);
    assert_eq!(lists.find("::ffff:192.0.2.9".parse().unwrap()), Some(3));
}
