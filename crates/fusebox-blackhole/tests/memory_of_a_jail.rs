//! A jail grows with nobody, counted in bytes that live. One test, because whatever else the process did would be counted.

#![allow(
    clippy::cast_possible_wrap,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test reports by panicking"
)]
#![cfg(feature = "http")]

use std::{alloc::System, net::Ipv4Addr};

use fusebox_blackhole::{Cause, JailConfig, Struck, Terms};
use fusebox_core::Registration;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes that are allocated and not freed.
fn live() -> i64 {
    let stats = ALLOCATOR.stats();
    // What a reallocation adds or takes is in them.
    stats.bytes_allocated as i64 - stats.bytes_deallocated as i64
}

#[test]
fn ten_million_attempts_from_distinct_addresses_take_not_a_byte_more_than_none() {
    // What counts bytes notices a vector.
    let before = live();
    let kept = vec![0_u8; 1_000];
    assert_eq!(live() - before, 1_000);
    drop(kept);
    assert_eq!(live(), before);

    let before = live();
    let jail = JailConfig::new("test")
        .capacity(10_000)
        .terms(Terms::default().max_strikes(2))
        .registration(Registration::Unlisted)
        .build()
        .unwrap();
    let taken = live() - before;
    assert!(taken > 0 && taken < 43 * 10_000 + 400_000, "{taken} bytes");
    let strike = |number: u32| {
        // Every third one of IPv6, each of another /48.
        let address = match number % 3 {
            0 => {
                std::net::Ipv6Addr::from_bits((0x2000_0000_0000 + u128::from(number)) << 80).into()
            }
            _ => Ipv4Addr::from_bits(0x8000_0000 + number).into(),
        };
        let struck = jail.strike_address(address, Cause::Waf);
        assert_ne!(struck, Struck::Never);
        if number.is_multiple_of(4) {
            // The second one leads in.
            let struck = jail.strike_address(address, Cause::Waf);
            assert_ne!(struck, Struck::Never);
            let _ = jail.why(address);
        }
    };
    // Whatever a thread has once, such as its shard of the counters.
    (0..1_000).for_each(strike);
    let before = live();
    let allocations = ALLOCATOR.stats().allocations;
    (1_000..10_001_000).for_each(strike);
    assert_eq!(live() - before, 0);
    assert_eq!(ALLOCATOR.stats().allocations, allocations);
    drop(jail);
}
