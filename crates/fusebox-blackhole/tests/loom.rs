//! Two writers of one block, a reader and a writer of one cell, a reader and a builder of the filter, in every order with few
//! preemptions; run by `cargo xtask test`.
//!
//! Who only reads is the thread that is spawned. The model checker remembers the last access to each atomic, and tries
//! another order where that and the next one conflict; a writer that loads what it then stores hides all loads of others
//! before its own, so with the writer as the spawned thread it would explore one order only.
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

/// The sequence lock: a record that is written while it is read is read whole, as it was or as it is.
#[test]
fn a_reader_sees_the_record_before_or_after_and_never_half_of_both() {
    explore(|| {
        let cells = Arc::new(Cells::new(1, 7));
        let jail = |cells: &Cells, cause, since, until| {
            assert!(
                cells
                    .jail(key(1), cause, at(until), &rules(), at(since))
                    .is_some()
            );
        };
        jail(&cells, Cause::Waf, 1, 100);
        let reader = thread::spawn({
            let cells = cells.clone();
            move || cells.check(key(1), at(50))
        });
        jail(&cells, Cause::Shared, 2, 900);
        let seen = reader.join().unwrap().unwrap();
        let seen = (seen.cause, seen.since, seen.until);
        assert!(
            [
                (Cause::Waf, at(1), at(100)),
                (Cause::Shared, at(2), at(900))
            ]
            .contains(&seen),
            "{seen:?}"
        );
        assert_eq!(cells.check(key(1), at(50)).unwrap().cause, Cause::Shared);
    });
}

/// A cell that another client gets while its last one is looked for.
#[test]
fn a_reader_never_takes_the_record_of_one_client_for_anothers() {
    explore(|| {
        let cells = Arc::new(Cells::new(1, 7));
        assert!(
            cells
                .jail(key(1), Cause::Waf, at(100), &rules(), at(1))
                .is_some()
        );
        let reader = thread::spawn({
            let cells = cells.clone();
            move || cells.check(key(1), at(50))
        });
        cells.release(key(1), at(2));
        cells.jail(key(2), Cause::Shared, at(900), &rules(), at(2));
        if let Some(seen) = reader.join().unwrap() {
            assert_eq!(
                (seen.cause, seen.since, seen.until),
                (Cause::Waf, at(1), at(100))
            );
        }
        assert_eq!(cells.check(key(1), at(50)), None);
        assert!(cells.check(key(2), at(50)).is_some());
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
        let reader = thread::spawn({
            let prison = prison.clone();
            move || prison.check_key(key(0), at(50)).is_some()
        });
        prison.set_lists([], at(2));
        prison.set_lists([], at(2));
        assert!(reader.join().unwrap());
    });
}
