//! The bulkhead against tower's `ConcurrencyLimit`, tower's `LoadShed` over it, and tower-resilience's bulkhead.
//!
//! All of them over the same no-op, with room for a thousand calls when they admit and for none when they refuse.
//!
//! The HTTP flavour misses its target (1.3): it takes about 1.8 times the instructions of `ConcurrencyLimit`, 434 to 238. About
//! 130 of them are the decision and the record; the rest is carrying: a response is 144 bytes and 200 with the body that guards it,
//! a frame is 96 and has another error type.
//!
//! What it came down by, in instructions: two readings of the clock for every call (747), one `Response::map` instead of taking
//! it apart and putting it together (-66), the judgement as one word (-34), guards that are forgotten instead of dropped (-20),
//! and most of all that the usual answer is never lent (566 to 434): a value whose address goes to a function that is not
//! inlined, be it only to be dropped on the way out of a panic, has to be in memory, and is then copied whole at each hand-over.
//! So what is rare is taken there and back by value. Tried and worse: `poll` and `poll_frame` as calls (+46 to +98), a
//! `Poll::map` (+23). A copy of it with a guard, the judge, the error type and an enum for the body, but no custom
//! classification, no waiting and no threads, takes 321: that is about where this design ends, a little above the limit of 309.
//!
//! To a compartment's own threads and back takes as long as tokio takes to wake one of another runtime: 4 µs where the
//! system keeps both threads close, ten times that where it does not, whichever of the two cases is hit by it. Of the 4 µs
//! 0.2 are ours.

use std::task::{Context, Waker};

use fusebox_bulkhead::{Compartment, CompartmentBuilder, Key, PlainBulkheadLayer};
use http::Request;
use tower::limit::ConcurrencyLimit;
use tower::load_shed::LoadShed;
use tower_layer::Layer;
use tower_resilience_bulkhead::BulkheadLayer as PeerBulkheadLayer;
use tower_service::Service;

use crate::drive::{
    Batch, Expect, by_hand, by_hand_to_the_end, hold, in_runtime, on_two_threads, runtime,
};
use crate::harness::{Case, Figure, Limit, Suite};
use crate::noop::{HttpNoop, Never, Noop, NoopThere, Spawning};

/// Room enough that nothing ever waits.
const ROOMY: usize = 1_000;

/// The suite.
#[must_use]
pub fn suite() -> Suite {
    Suite {
        name: "bulkhead",
        cases: cases(),
        figures: vec![
            Figure::new("admit", "plain", "concurrency_limit").instructions_at_most(1.0),
            Figure::new("http_admit", "http", "http_concurrency_limit").instructions_at_most(1.3),
            Figure::new("refuse", "plain_refusal", "load_shed_refusal").instructions_at_most(1.0),
            Figure::new(
                "two_threads",
                "two_threads_plain",
                "two_threads_concurrency_limit",
            )
            .time_at_most(1.0),
            // What a call costs that is timed: all of them below some thousands a second, one in sixteen above.
            Figure::new("admit_timed", "plain_timed", "concurrency_limit"),
            // A key costs a lock of its shard on the way in and on the way out, and what it holds.
            Figure::new("admit_keyed", "keyed", "concurrency_limit"),
            // To other threads and back, next to what tokio takes for that.
            Figure::new("admit_threads", "threads", "spawned"),
            Figure::new("admit_resilience", "plain", "tower_resilience"),
            Figure::new(
                "refuse_resilience",
                "plain_refusal",
                "tower_resilience_refusal",
            ),
        ],
        limits: vec![
            Limit::allocations("plain", 0.0),
            Limit::allocations("http", 0.0),
            Limit::allocations("plain_refusal", 0.0),
            // One at the start and one at the end of a call that is timed. At full speed that is one in sixteen; these are
            // counted under valgrind, a hundred calls slowly, and so nearly all of them are.
            Limit::clock_reads("plain", 2.0),
            Limit::clock_reads("http", 2.0),
            Limit::clock_reads("plain_refusal", 1.0),
        ],
    }
}

fn cases() -> Vec<Case> {
    vec![
        Case::new("noop", || by_hand(Noop, || (), Expect::Admission)),
        Case::new("http_noop", || {
            by_hand_to_the_end(HttpNoop, || Request::new(()))
        }),
        Case::new("runtime_noop", || {
            in_runtime(runtime(), Noop, || (), Expect::Admission)
        }),
        Case::new("concurrency_limit", || {
            by_hand(ConcurrencyLimit::new(Noop, ROOMY), || (), Expect::Admission)
        })
        .over("noop"),
        Case::new("http_concurrency_limit", || {
            by_hand_to_the_end(ConcurrencyLimit::new(HttpNoop, ROOMY), || Request::new(()))
        })
        .over("http_noop"),
        Case::new("load_shed_refusal", load_shed_refusal).over("noop"),
        Case::new("tower_resilience", || {
            by_hand(
                waiting_peer_bulkhead().layer(Noop),
                || (),
                Expect::Admission,
            )
        })
        .over("noop"),
        Case::new("tower_resilience_timed", || {
            in_runtime(
                runtime(),
                peer_bulkhead(ROOMY).layer(Noop),
                || (),
                Expect::Admission,
            )
        })
        .over("runtime_noop"),
        Case::new("tower_resilience_refusal", tower_resilience_refusal).over("runtime_noop"),
        Case::new("plain", || {
            by_hand(
                compartment(ROOMY).plain_layer().layer(Noop),
                || (),
                Expect::Admission,
            )
        })
        .over("noop"),
        Case::new("plain_timed", || {
            let settings = Compartment::builder("bench").slots(ROOMY);
            let timed = built(settings.time_every_call(true));
            by_hand(timed.plain_layer().layer(Noop), || (), Expect::Admission)
        })
        .over("noop"),
        Case::new("keyed", || {
            by_hand(keyed().layer(Noop), || (), Expect::Admission)
        })
        .over("noop"),
        Case::new("threads", || {
            let settings = Compartment::builder("bench").slots(ROOMY).threads(1);
            let layer = built(settings).plain_layer();
            in_runtime(runtime(), layer.layer(NoopThere), || (), Expect::Admission)
        })
        .on_two_threads(),
        Case::new("spawned", || {
            in_runtime(runtime(), Spawning::new(), || (), Expect::Admission)
        })
        .on_two_threads(),
        Case::new("http", || {
            by_hand_to_the_end(compartment(ROOMY).layer().layer(HttpNoop), || {
                Request::new(())
            })
        })
        .over("http_noop"),
        Case::new("plain_refusal", plain_refusal).over("noop"),
        Case::new("two_threads_plain", || {
            on_two_threads(compartment(ROOMY).plain_layer().layer(Noop))
        })
        .on_two_threads(),
        Case::new("two_threads_concurrency_limit", || {
            on_two_threads(ConcurrencyLimit::new(Noop, ROOMY))
        })
        .on_two_threads(),
    ]
}

/// A compartment with so many slots, and nothing else set.
fn compartment(slots: usize) -> Compartment {
    built(Compartment::builder("bench").slots(slots))
}

fn built(settings: CompartmentBuilder) -> Compartment {
    #[expect(
        clippy::expect_used,
        reason = "the suite's own settings; without them it has no purpose"
    )]
    settings
        .build()
        .expect("the settings of the suite are valid")
}

/// A compartment in which every call is of the same key, which is hashed for each.
fn keyed() -> PlainBulkheadLayer<fn(&()) -> Option<Key>> {
    let divided = built(
        Compartment::builder("bench")
            .slots(ROOMY)
            .slots_per_key(ROOMY),
    );
    let key: fn(&()) -> Option<Key> = |&()| Some(Key::of("tenant-7"));
    #[expect(
        clippy::expect_used,
        reason = "the suite's own settings; without them it has no purpose"
    )]
    divided
        .plain_layer()
        .by_key(key)
        .expect("the compartment is divided")
}

/// A compartment of one slot, and whoever has taken it.
fn plain_refusal() -> Batch {
    let compartment = compartment(1);
    let held = compartment.try_acquire();
    assert!(held.is_ok(), "an empty compartment has room for one");
    let mut batch = by_hand(
        compartment.plain_layer().layer(Noop),
        || (),
        Expect::Refusal,
    );
    Box::new(move |n| {
        let _still_held = &held;
        batch(n)
    })
}

/// A limit of one, and a clone that has taken it.
fn load_shed_refusal() -> Batch {
    let limit = ConcurrencyLimit::new(Noop, 1);
    let mut holder = limit.clone();
    let mut cx = Context::from_waker(Waker::noop());
    let held = Service::<()>::poll_ready(&mut holder, &mut cx);
    assert!(held.is_ready(), "an empty limiter has room for one");
    let mut batch = by_hand(LoadShed::new(limit), || (), Expect::Refusal);
    Box::new(move |n| {
        let _still_held = &holder;
        batch(n)
    })
}

/// One call that never ends in a bulkhead of one, and another service in the same bulkhead. Refuses by a timer of no
/// length, so it needs a runtime.
fn tower_resilience_refusal() -> Batch {
    let layer = peer_bulkhead(1);
    let runtime = runtime();
    let holder = {
        let _timers = runtime.enter();
        hold(layer.layer(Never).call(()))
    };
    let mut batch = in_runtime(runtime, layer.layer(Noop), || (), Expect::Refusal);
    Box::new(move |n| {
        let _still_held = &holder;
        batch(n)
    })
}

fn peer_bulkhead(slots: usize) -> PeerBulkheadLayer {
    let built = PeerBulkheadLayer::builder()
        .max_concurrent_calls(slots)
        .reject_when_full()
        .build_with_handle();
    #[expect(
        clippy::expect_used,
        reason = "without its peer the suite has no purpose"
    )]
    let (layer, _handle) = built.expect("a bulkhead with room for at least one is valid");
    layer
}

fn waiting_peer_bulkhead() -> PeerBulkheadLayer {
    let built = PeerBulkheadLayer::builder()
        .max_concurrent_calls(ROOMY)
        .build();
    #[expect(
        clippy::expect_used,
        reason = "without its peer the suite has no purpose"
    )]
    built.expect("a bulkhead with room for at least one is valid")
}
