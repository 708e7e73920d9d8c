//! Every interleaving, of up to three preemptions, of two or three threads on one set of slots, or on the shares of
//! several keys.
//!
//! What must hold in each: never more calls inside than slots, no slot lost, nobody left waiting for a
//! slot that is free, and exactly one drop of the last call of a closed compartment. Of shares besides: never more keys
//! than there may be, and no key remembered that holds nothing.
#![cfg(fusebox_loom)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test: a panic is its report"
)]

use std::{future::poll_fn, task::Poll, time::Duration};

use fusebox_bulkhead::engine::{Entry, NoShare, Part, Queue, QueueOrder, Shares, Slots, Waited};
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

#[test]
fn a_queue_that_is_made_shorter_or_longer_loses_nobody_and_is_full_when_it_is() {
    explore(|| {
        let slots = Arc::new(Slots::new(1, QUEUE));
        assert!(slots.try_enter());
        let waiter = {
            let slots = slots.clone();
            thread::spawn(move || {
                let entered = enter(&slots);
                if entered {
                    slots.leave(|| NOW);
                }
                entered
            })
        };
        slots.change_queue(|queue| queue.length = 0);
        slots.leave(|| NOW);
        // Refused if it came in between; never left waiting.
        waiter.join().unwrap();
        assert!(slots.try_enter(), "no mark of the line is left behind");
        assert!(matches!(slots.enter(|| NOW), Entry::Full));
        slots.change_queue(|queue| queue.length = 1);
        assert!(matches!(slots.enter(|| NOW), Entry::Queued(_)));
        assert!(matches!(slots.enter(|| NOW), Entry::Full));
    });
}

/// Waits for a share if there is a line. `None` if there was none.
fn share(shares: &Shares, key: u128) -> Option<Part> {
    let (part, mut place) = shares.enter(key, || NOW).ok()?;
    if place.is_none() {
        return Some(part);
    }
    let waited = block_on(poll_fn(|cx| {
        match part.poll_turn(&mut place, NOW, cx.waker()) {
            Waited::Pending => Poll::Pending,
            other => Poll::Ready(other),
        }
    }));
    if waited == Waited::Admitted {
        return Some(part);
    }
    shares.forget(part);
    None
}

#[test]
fn there_are_never_more_keys_than_there_may_be_and_none_is_remembered_for_nothing() {
    explore(|| {
        let shares = Arc::new(Shares::new(1, Queue::NONE, 1));
        let inside = Arc::new(AtomicUsize::new(0));
        let work = {
            let (shares, inside) = (shares.clone(), inside.clone());
            // Of two shards: the count is all that they share.
            move |key| match shares.try_enter(key) {
                Ok(part) => {
                    assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0);
                    inside.fetch_sub(1, Ordering::Relaxed);
                    shares.leave(part, || NOW);
                }
                Err(none) => assert_eq!(none, NoShare::TooManyKeys),
            }
        };
        let other = {
            let work = work.clone();
            thread::spawn(move || work(1))
        };
        work(2);
        other.join().unwrap();
        assert_eq!(shares.active(), 0);
        assert!(shares.try_enter(3).is_ok(), "its place is free again");
    });
}

#[test]
fn a_share_that_is_given_back_reaches_who_waits_for_it_and_the_key_is_forgotten() {
    explore(|| {
        let shares = Arc::new(Shares::new(1, QUEUE, 1));
        let held = shares.try_enter(1).unwrap();
        let waiter = {
            let shares = shares.clone();
            thread::spawn(move || {
                let part = share(&shares, 1).expect("there is room in line and time enough");
                shares.leave(part, || NOW);
            })
        };
        shares.leave(held, || NOW);
        waiter.join().unwrap();
        assert_eq!((shares.active(), shares.waiting()), (0, 0));
    });
}

#[test]
fn a_change_reaches_a_key_that_comes_meanwhile() {
    explore(|| {
        let shares = Arc::new(Shares::new(1, Queue::NONE, 2));
        let comer = {
            let shares = shares.clone();
            thread::spawn(move || shares.try_enter(1).unwrap())
        };
        assert_eq!(shares.resize(2, NOW), 1);
        let _held = comer.join().unwrap();
        assert!(shares.try_enter(1).is_ok(), "two for each key");
        assert_eq!(shares.try_enter(1).err(), Some(NoShare::Full));
    });
}

#[test]
fn two_operators_leave_the_same_for_every_key() {
    explore(|| {
        let shares = Arc::new(Shares::new(1, Queue::NONE, 2));
        let _held = shares.try_enter(1).unwrap();
        let other = {
            let shares = shares.clone();
            thread::spawn(move || {
                shares.resize(2, NOW);
            })
        };
        shares.resize(3, NOW);
        other.join().unwrap();
        let most = shares.per_key();
        let more = (0..5).filter_map(|_| shares.try_enter(1).ok()).count();
        assert_eq!(more as u32 + 1, most, "of the key that was there");
        let fresh = (0..5).filter_map(|_| shares.try_enter(2).ok()).count();
        assert_eq!(fresh as u32, most, "of the key that is new");
    });
}

#[test]
fn closed_shares_keep_nobody_waiting() {
    explore(|| {
        let shares = Arc::new(Shares::new(1, QUEUE, 1));
        let held = shares.try_enter(1).unwrap();
        let waiter = {
            let shares = shares.clone();
            thread::spawn(move || assert!(share(&shares, 1).is_none()))
        };
        shares.close(NOW);
        waiter.join().unwrap();
        shares.leave(held, || NOW);
        assert_eq!(shares.try_enter(1).err(), Some(NoShare::Closed));
        assert_eq!((shares.active(), shares.waiting()), (0, 0));
    });
}
