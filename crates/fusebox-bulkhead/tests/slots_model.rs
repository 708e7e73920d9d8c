//! The slots against a model that is slow and plainly right.
#![cfg(not(fusebox_loom))]
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test: a panic is its report"
)]

use std::{task::Waker, time::Duration};

use fusebox_bulkhead::engine::{Entry, Place, Queue, QueueOrder, Slots, Waited};
use fusebox_core::Timestamp;
use proptest::prelude::*;

const MAX_WAIT: u64 = 150;
const STANDING: u64 = 100;

#[derive(Clone, Debug)]
enum Step {
    Enter,
    EnterPatiently,
    Leave,
    Poll(usize),
    Abandon(usize),
    Resize(u32),
    Requeue(u32, u64, bool),
    Wait(u64),
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Enter),
        1 => Just(Step::EnterPatiently),
        4 => Just(Step::Leave),
        3 => (0_usize..8).prop_map(Step::Poll),
        2 => (0_usize..8).prop_map(Step::Abandon),
        1 => (0_u32..5).prop_map(Step::Resize),
        1 => (0_u32..4, 1_u64..200, any::<bool>())
            .prop_map(|(length, max_wait, lifo)| Step::Requeue(length, max_wait, lifo)),
        2 => (1_u64..90).prop_map(Step::Wait),
        1 => Just(Step::Close),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Waiting,
    Granted,
    Expired,
    Closed,
}

/// Everybody who ever asked, in order of arrival, as plain numbers.
#[derive(Debug)]
struct Model {
    limit: u32,
    in_flight: u32,
    length: usize,
    max_wait: u64,
    order: QueueOrder,
    /// Those in line and those who have not fetched their answer, oldest first.
    places: Vec<(usize, u64, Fate)>,
    next: usize,
    standing_since: u64,
    closed: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Said {
    Admitted,
    Queued,
    Full,
    Closed,
}

impl Model {
    fn waiting(&self) -> usize {
        self.places
            .iter()
            .filter(|(_, _, fate)| *fate == Fate::Waiting)
            .count()
    }

    fn enter(&mut self, now: u64, patient: bool) -> Said {
        if self.closed {
            return Said::Closed;
        }
        if self.waiting() == 0 && self.in_flight < self.limit {
            self.in_flight += 1;
            return Said::Admitted;
        }
        if !patient && self.waiting() >= self.length {
            return Said::Full;
        }
        if self.waiting() == 0 {
            self.standing_since = now;
        }
        let deadline = if patient {
            u64::MAX
        } else {
            now + self.max_wait
        };
        self.places.push((self.next, deadline, Fate::Waiting));
        self.next += 1;
        Said::Queued
    }

    fn leave(&mut self, now: u64) {
        self.in_flight -= 1;
        self.serve(now);
    }

    fn serve(&mut self, now: u64) {
        loop {
            // Only from the front, as the real one: behind one that may wait longer nobody is looked at.
            let first = self
                .places
                .iter()
                .position(|(_, _, fate)| *fate == Fate::Waiting);
            let Some(first) = first else { return };
            if self.places[first].1 <= now {
                self.places[first].2 = Fate::Expired;
                continue;
            }
            if self.closed || self.in_flight >= self.limit {
                return;
            }
            let overloaded = now - self.standing_since >= STANDING;
            let next = if overloaded && self.order == QueueOrder::LifoUnderOverload {
                self.places
                    .iter()
                    .rposition(|(_, _, fate)| *fate == Fate::Waiting)
                    .unwrap()
            } else {
                first
            };
            self.places[next].2 = Fate::Granted;
            self.in_flight += 1;
        }
    }

    fn poll(&mut self, index: usize, now: u64) -> Fate {
        if self.places[index].2 == Fate::Waiting && self.places[index].1 <= now {
            self.places[index].2 = Fate::Expired;
        }
        let fate = self.places[index].2;
        if fate != Fate::Waiting {
            self.places.remove(index);
        }
        fate
    }

    fn abandon(&mut self, index: usize, now: u64) {
        let (_, _, fate) = self.places.remove(index);
        if fate == Fate::Granted {
            self.leave(now);
        }
    }

    fn close(&mut self) {
        self.closed = true;
        for (_, deadline, fate) in &mut self.places {
            // A slot for a request that is not there yet.
            let patient = *deadline == u64::MAX;
            if patient && *fate == Fate::Granted {
                self.in_flight -= 1;
            }
            if *fate == Fate::Waiting || patient && *fate == Fate::Granted {
                *fate = Fate::Closed;
            }
        }
    }
}

fn at(millis: u64) -> Timestamp {
    Timestamp::ZERO + Duration::from_millis(millis)
}

const fn order_of(lifo: bool) -> QueueOrder {
    if lifo {
        QueueOrder::LifoUnderOverload
    } else {
        QueueOrder::Fifo
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn do_what_the_model_does(
        limit in 1_u32..4,
        length in 0_u32..4,
        lifo in any::<bool>(),
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let order = order_of(lifo);
        let slots = Slots::new(
            limit,
            Queue { length, max_wait: Duration::from_millis(MAX_WAIT), order },
        );
        let mut model = Model {
            limit,
            in_flight: 0,
            length: length as usize,
            max_wait: MAX_WAIT,
            order,
            places: Vec::new(),
            next: 0,
            standing_since: 0,
            closed: false,
        };
        // In the order of the model's, without the numbers.
        let mut places: Vec<Option<Place>> = Vec::new();
        // Calls inside, other than those whose place has been granted and not fetched.
        let mut inside = 0_u32;
        let mut now = 0;
        for step in steps {
            match step {
                Step::Enter | Step::EnterPatiently => {
                    let patient = matches!(step, Step::EnterPatiently);
                    let entry = if patient {
                        slots.enter_patiently(at(now))
                    } else {
                        slots.enter(|| at(now))
                    };
                    let said = match entry {
                        Entry::Admitted => Said::Admitted,
                        Entry::Queued(place) => {
                            places.push(Some(place));
                            Said::Queued
                        }
                        Entry::Full => Said::Full,
                        Entry::Closed => Said::Closed,
                    };
                    inside += u32::from(said == Said::Admitted);
                    prop_assert_eq!(said, model.enter(now, patient));
                }
                Step::Leave if inside > 0 => {
                    inside -= 1;
                    model.leave(now);
                    let last = slots.leave(|| at(now));
                    prop_assert_eq!(last, model.closed && model.in_flight == 0);
                }
                Step::Poll(index) if index < places.len() => {
                    let waited = slots.poll_turn(&mut places[index], at(now), Waker::noop());
                    let fate = match waited {
                        Waited::Admitted => Fate::Granted,
                        Waited::Expired => Fate::Expired,
                        Waited::Closed => Fate::Closed,
                        Waited::Pending => Fate::Waiting,
                    };
                    inside += u32::from(fate == Fate::Granted);
                    prop_assert_eq!(fate, model.poll(index, now));
                    prop_assert_eq!(places[index].is_some(), fate == Fate::Waiting);
                    if fate != Fate::Waiting {
                        places.remove(index);
                    }
                }
                Step::Abandon(index) if index < places.len() => {
                    let place = places.remove(index).unwrap();
                    model.abandon(index, now);
                    slots.abandon(place, at(now));
                }
                Step::Resize(to) => {
                    prop_assert_eq!(slots.resize(to, at(now)), model.limit);
                    model.limit = to;
                    model.serve(now);
                }
                Step::Requeue(length, max_wait, lifo) => {
                    let before = slots.change_queue(|queue| *queue = Queue {
                        length,
                        max_wait: Duration::from_millis(max_wait),
                        order: order_of(lifo),
                    });
                    prop_assert_eq!(before.length as usize, model.length);
                    prop_assert_eq!(before.order, model.order);
                    model.length = length as usize;
                    model.max_wait = max_wait;
                    model.order = order_of(lifo);
                }
                Step::Wait(millis) => now += millis,
                Step::Close => {
                    model.close();
                    prop_assert_eq!(slots.close(), model.in_flight == 0);
                }
                Step::Leave | Step::Poll(_) | Step::Abandon(_) => {}
            }
            prop_assert_eq!(slots.in_flight(), model.in_flight);
            prop_assert_eq!(slots.limit(), model.limit);
            prop_assert_eq!(slots.waiting() as usize, model.waiting());
            prop_assert_eq!(slots.is_closed(), model.closed);
        }
    }
}
