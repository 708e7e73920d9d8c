//! Every interleaving of two writers of one block, and of a reader and a builder of the filter, with few preemptions; run by
//! `cargo xtask test`. That readers of a cell see whole records is tried with real threads, in `cells.rs`: for those the
//! model checker explores one order only.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]
#![cfg(fusebox_loom)]

use std::{net::Ipv4Addr, time::Duration};

use fusebox_blackhole::engine::{Cause, Cells, Key, Never, Rules, Struck, Terms};
use fusebox_core::Timestamp;
use loom::{sync::Arc, thread};

fn key(number: u32) -> Key {
    Key::of_address(Ipv4Addr::from_bits(0x8000_0000 + number).into()).unwrap()
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::ZERO + Duration::from_secs(seconds)
}

fn rules() -> Rules {
    Rules {
        terms: Terms::default().max_strikes(2).jitter_percent(0),
        never: Never::default(),
    }
}

/// Most bugs show with two preemptions (Musuvathi, Qadeer: "Iterative context bounding", PLDI 2007); three to be sure.
fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

#[test]
fn strikes_from_two_threads_are_both_counted() {
    explore(|| {
        let cells = Arc::new(Cells::new(1, 7));
        let strike = |cells: &Cells| cells.strike(key(1), Cause::Waf, &rules(), at(10), 0);
        let other = thread::spawn({
            let cells = cells.clone();
            move || strike(&cells)
        });
        let mut struck = [strike(&cells), other.join().unwrap()];
        struck.sort_by_key(|struck| matches!(struck, Struck::Jailed { .. }));
        assert_eq!(struck[0], Struck::Counted { strikes: 1 });
        assert!(matches!(struck[1], Struck::Jailed { .. }), "{struck:?}");
        assert!(cells.check(key(1), at(10)).is_some());
    });
}

#[test]
fn who_goes_in_while_the_filter_is_built_anew_is_held() {
    explore(|| {
        let prison = Arc::new(fusebox_blackhole::engine::Prison::new(1, 0, 7));
        assert!(
            prison
                .jail(key(0), Cause::Operator, at(900), &rules(), at(1))
                .is_some()
        );
        let writer = thread::spawn({
            let prison = prison.clone();
            move || {
                prison
                    .jail(key(1), Cause::Operator, at(900), &rules(), at(1))
                    .is_some()
            }
        });
        prison.set_lists([], at(2));
        assert!(writer.join().unwrap());
        for client in [0, 1] {
            assert!(prison.check_key(key(client), at(50)).is_some(), "{client}");
        }
    });
}

#[test]
fn who_is_in_is_held_while_the_filter_is_built_anew_twice() {
    explore(|| {
        let prison = Arc::new(fusebox_blackhole::engine::Prison::new(1, 0, 7));
        assert!(
            prison
                .jail(key(0), Cause::Operator, at(900), &rules(), at(1))
                .is_some()
        );
        let builder = thread::spawn({
            let prison = prison.clone();
            move || {
                prison.set_lists([], at(2));
                prison.set_lists([], at(2));
            }
        });
        assert!(prison.check_key(key(0), at(50)).is_some());
        builder.join().unwrap();
    });
}
