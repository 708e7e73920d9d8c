//! Every interleaving, of up to three preemptions, of two or three threads on one set of slots.
//!
//! What must hold in each: never more calls inside than slots, no slot lost, nobody left waiting for a
//! slot that is free, and exactly one drop of the last call of a closed compartment.
#![cfg(fusebox_loom)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test: a panic is its report"
)]

use std::{future::poll_fn, task::Poll, time::Duration};

use fusebox_bulkhead::engine::{Entry, Queue, QueueOrder, Slots, Waited};
use fusebox_core::Timestamp;
use loom::{
    future::block_on,
    model::Builder,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

const NOW: Timestamp = Timestamp::ZERO;

const QUEUE: Queue = Queue {
    length: 2,
    max_wait: Duration::from_secs(1),
    order: QueueOrder::Fifo,
};

/// Bounded in preemptions, not in threads or steps: CHESS (Musuvathi and Qadeer, PLDI 2007) found that
/// nearly every bug shows with two.
fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// Enters, waiting in line if there is one. `false` if it was refused.
fn enter(slots: &Slots) -> bool {
    match slots.enter(|| NOW) {
        Entry::Admitted => true,
        Entry::Full | Entry::Closed => false,
        Entry::Queued(place) => {
            let mut place = Some(place);
            let waited = block_on(poll_fn(|cx| {
                match slots.poll_turn(&mut place, NOW, cx.waker()) {
                    Waited::Pending => Poll::Pending,
                    other => Poll::Ready(other),
                }
            }));
            waited == Waited::Admitted
        }
    }
}

#[test]
fn never_lets_in_more_than_there_are_slots() {
    explore(|| {
        let slots = Arc::new(Slots::new(1, Queue::NONE));
        let inside = Arc::new(AtomicUsize::new(0));
        let work = {
            let (slots, inside) = (slots.clone(), inside.clone());
            move || {
                if slots.try_enter() {
                    assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0);
                    inside.fetch_sub(1, Ordering::Relaxed);
                    slots.leave(|| NOW);
                }
            }
        };
        let other = thread::spawn(work.clone());
        work();
        other.join().unwrap();
        assert_eq!(slots.in_flight(), 0);
        assert!(slots.try_enter());
    });
}

#[test]
fn whoever_waits_gets_the_slot_that_is_given_back() {
    explore(|| {
        let slots = Arc::new(Slots::new(1, QUEUE));
        assert!(slots.try_enter());
        let waiter = {
            let slots = slots.clone();
            thread::spawn(move || {
                assert!(enter(&slots), "there is room in line and time enough");
                slots.leave(|| NOW);
            })
        };
        slots.leave(|| NOW);
        waiter.join().unwrap();
        assert_eq!((slots.in_flight(), slots.waiting()), (0, 0));
        assert!(slots.try_enter(), "no mark of the line is left behind");
    });
}

#[test]
fn a_place_that_is_given_up_loses_no_slot() {
    explore(|| {
        let slots = Arc::new(Slots::new(1, QUEUE));
        assert!(slots.try_enter());
        let quitter = {
            let slots = slots.clone();
            thread::spawn(move || match slots.enter(|| NOW) {
                Entry::Admitted => {
                    slots.leave(|| NOW);
                }
                Entry::Queued(place) => {
                    slots.abandon(place, NOW);
                }
                Entry::Full | Entry::Closed => panic!("there is room in line"),
            })
        };
        slots.leave(|| NOW);
        quitter.join().unwrap();
        assert_eq!((slots.in_flight(), slots.waiting()), (0, 0));
        assert!(slots.try_enter());
    });
}

#[test]
fn two_who_wait_are_both_served_by_one_slot() {
    explore(|| {
        let slots = Arc::new(Slots::new(1, QUEUE));
        assert!(slots.try_enter());
        let waiters = [(); 2].map(|()| {
            let slots = slots.clone();
            thread::spawn(move || {
                assert!(enter(&slots));
                slots.leave(|| NOW);
            })
        });
        slots.leave(|| NOW);
        for waiter in waiters {
            waiter.join().unwrap();
        }
        assert_eq!((slots.in_flight(), slots.waiting()), (0, 0));
        assert!(slots.try_enter());
    });
}

#[test]
fn new_slots_reach_whoever_waits() {
    explore(|| {
        let slots = Arc::new(Slots::new(1, QUEUE));
        assert!(slots.try_enter());
        let waiter = {
            let slots = slots.clone();
            thread::spawn(move || assert!(enter(&slots)))
        };
        assert_eq!(slots.resize(2, NOW), 1);
        waiter.join().unwrap();
        assert_eq!((slots.in_flight(), slots.limit()), (2, 2));
    });
}

#[test]
fn fewer_slots_lose_no_count_of_those_inside() {
    explore(|| {
        let slots = Arc::new(Slots::new(2, Queue::NONE));
        assert!(slots.try_enter());
        let other = {
            let slots = slots.clone();
            thread::spawn(move || {
                let entered = slots.try_enter();
                slots.leave(|| NOW);
                entered
            })
        };
        slots.resize(1, NOW);
        let still_inside = u32::from(other.join().unwrap());
        assert_eq!((slots.in_flight(), slots.limit()), (still_inside, 1));
    });
}

#[test]
fn a_closed_compartment_keeps_nobody_waiting_and_tells_its_last_end_once() {
    explore(|| {
        let slots = Arc::new(Slots::new(1, QUEUE));
        assert!(slots.try_enter());
        let waiter = {
            let slots = slots.clone();
            thread::spawn(move || enter(&slots) && slots.leave(|| NOW))
        };
        let first = {
            let slots = slots.clone();
            thread::spawn(move || slots.leave(|| NOW))
        };
        let empty_already = slots.close();
        let ends = [waiter.join().unwrap(), first.join().unwrap(), empty_already];
        // Of the three, one says that it was the last.
        assert_eq!(ends.iter().filter(|last| **last).count(), 1, "{ends:?}");
        assert!(matches!(slots.enter(|| NOW), Entry::Closed));
        assert_eq!((slots.in_flight(), slots.waiting()), (0, 0));
    });
}
