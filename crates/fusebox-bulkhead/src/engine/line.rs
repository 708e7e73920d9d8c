use std::{task::Waker, time::Duration};

use fusebox_core::Timestamp;

/// How long a line must have stood without once running empty to count as overload.
///
/// The interval of `CoDel` (Nichols and Jacobson, "Controlling Queue Delay", ACM Queue 10(5), 2012; RFC
/// 8289): long enough that a burst is over, short enough that callers still wait. Facebook runs its
/// servers with the same value (Maurer, "Fail at Scale", ACM Queue 13(8), 2015).
const STANDING: Duration = Duration::from_millis(100);

/// Where calls wait when every slot is taken: bounded in number and in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// How many may wait at once; 0 is no queue.
    pub length: u32,
    /// How long one may wait.
    pub max_wait: Duration,
    /// Who comes first.
    pub order: QueueOrder,
}

impl Queue {
    /// Nobody waits.
    pub const NONE: Self = Self {
        length: 0,
        max_wait: Duration::ZERO,
        order: QueueOrder::Fifo,
    };
}

impl QueueOrder {
    /// The word for it in snapshots and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fifo => "fifo",
            Self::LifoUnderOverload => "lifo_under_overload",
        }
    }
}

/// Which waiting call gets the next free slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueOrder {
    /// The one that has waited longest.
    #[default]
    Fifo,
    /// The one that has waited longest, until the line has not run empty for 100 ms; from then on, and
    /// until it does, the one that came last.
    ///
    /// Under overload every place in a first-in-first-out line is as old as the line is long, and its
    /// callers have given up by the time they are served. Serving the newest keeps most answers fast;
    /// the oldest time out, which they would have done anyway. This is the adaptive LIFO of Maurer,
    /// "Fail at Scale", ACM Queue 13(8), 2015.
    LifoUnderOverload,
}

/// A call's place in line. Not `Copy`: exactly one owner gives it back.
#[derive(Debug)]
pub struct Place {
    index: u32,
    deadline: Timestamp,
}

impl Place {
    /// When it has waited too long; [`Timestamp::MAX`] for who waits without a bound.
    #[must_use]
    pub const fn deadline(&self) -> Timestamp {
        self.deadline
    }
}

/// What a place has come to.
#[derive(Debug)]
pub(super) enum Turn {
    /// In line, with whom to wake (unknown until the first poll).
    Waiting(Option<Waker>),
    /// A slot was taken for it.
    Granted,
    /// It waited too long.
    Expired,
    /// The compartment was closed.
    Closed,
}

#[derive(Debug)]
struct Node {
    turn: Turn,
    deadline: Timestamp,
    /// Whether it waits without a bound, for a request that is not there yet.
    patient: bool,
    /// Towards the front. Of a free node: the next free one.
    before: Option<u32>,
    /// Towards the back.
    after: Option<u32>,
}

/// A doubly linked list in a vector: pushed at the back, served at either end, left from anywhere, all in
/// constant time, and no allocation once it has been as long as it gets.
///
/// Bounded places all wait equally long, so their deadlines are in the order of the line and the expired
/// ones are found at its front. One behind a place without a bound, or behind one from before the wait was made
/// shorter, is found by its own timer.
#[derive(Debug)]
pub(super) struct Line {
    queue: Queue,
    nodes: Vec<Node>,
    free: Option<u32>,
    first: Option<u32>,
    last: Option<u32>,
    length: u32,
    standing_since: Timestamp,
}

impl Line {
    pub(super) const fn new(queue: Queue) -> Self {
        Self {
            queue,
            nodes: Vec::new(),
            free: None,
            first: None,
            last: None,
            length: 0,
            standing_since: Timestamp::ZERO,
        }
    }

    /// How long it may be, how long one waits, who comes first.
    pub(super) const fn queue(&self) -> Queue {
        self.queue
    }

    /// Changes that for those who come, and who comes first for all. Who is in line keeps place and deadline.
    pub(super) fn change_queue(&mut self, change: impl FnOnce(&mut Queue)) -> Queue {
        let before = self.queue;
        change(&mut self.queue);
        before
    }

    /// Whether a place is left in it.
    pub(super) const fn has_place(&self) -> bool {
        self.length < self.queue.length
    }

    /// How many wait.
    pub(super) const fn len(&self) -> u32 {
        self.length
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Stands somebody at the back, without a bound (`patient`) for a request that is not there yet. `None` if memory for
    /// 2³² places would be needed.
    pub(super) fn push(&mut self, now: Timestamp, patient: bool) -> Option<Place> {
        if self.is_empty() {
            self.standing_since = now;
        }
        let deadline = if patient {
            Timestamp::MAX
        } else {
            now + self.queue.max_wait
        };
        let node = Node {
            turn: Turn::Waiting(None),
            deadline,
            patient,
            before: self.last,
            after: None,
        };
        let place = match self.free {
            Some(place) => {
                let reused = self.node(place)?;
                let next_free = reused.before;
                *reused = node;
                self.free = next_free;
                place
            }
            None => {
                let place = u32::try_from(self.nodes.len()).ok()?;
                self.nodes.push(node);
                place
            }
        };
        match self.last {
            Some(last) => self.node(last)?.after = Some(place),
            None => self.first = Some(place),
        }
        self.last = Some(place);
        self.length += 1;
        Some(Place {
            index: place,
            deadline,
        })
    }

    /// Takes the longest waiting one out of line if it has waited too long, and returns whom to wake.
    pub(super) fn expire_one(&mut self, now: Timestamp) -> Option<Option<Waker>> {
        let first = self.first?;
        if self.node(first)?.deadline > now {
            return None;
        }
        Some(self.call(first, Turn::Expired))
    }

    /// Gives the next one its turn, and returns whom to wake.
    pub(super) fn grant_one(&mut self, now: Timestamp) -> Option<Waker> {
        let overloaded = now.since(self.standing_since) >= STANDING;
        let next = match self.queue.order {
            QueueOrder::LifoUnderOverload if overloaded => self.last,
            _ => self.first,
        };
        self.call(next?, Turn::Granted)
    }

    /// Sends the first one away because the compartment is closed, and returns whom to wake.
    pub(super) fn close_one(&mut self) -> Option<Option<Waker>> {
        let first = self.first?;
        Some(self.call(first, Turn::Closed))
    }

    /// Takes the slots back that were granted for requests that are not there yet, and returns how many.
    pub(super) fn revoke(&mut self) -> u32 {
        let mut revoked = 0;
        for node in &mut self.nodes {
            if node.patient && matches!(node.turn, Turn::Granted) {
                node.turn = Turn::Closed;
                revoked += 1;
            }
        }
        revoked
    }

    /// What a place has come to; of one that still waits, after setting whom to wake.
    ///
    /// Whom it was to wake before is left in `replaced`, to be dropped after the lock of the line: what a
    /// waker does when it is dropped is not ours, and it may come back here.
    pub(super) fn look(
        &mut self,
        place: &Place,
        now: Timestamp,
        waker: &Waker,
        replaced: &mut Option<Waker>,
    ) -> Option<&Turn> {
        let node = self.node(place.index)?;
        if let Turn::Waiting(known) = &mut node.turn {
            if node.deadline <= now {
                *replaced = self.call(place.index, Turn::Expired);
            } else if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
                *replaced = known.replace(waker.clone());
            }
        }
        self.node(place.index).map(|node| &node.turn)
    }

    /// Gives a place back and returns what it had come to.
    pub(super) fn give_back(&mut self, place: Place) -> Option<Turn> {
        let Place { index: place, .. } = place;
        if let Turn::Waiting(_) = self.node(place)?.turn {
            self.unlink(place);
        }
        let next_free = self.free;
        let node = self.node(place)?;
        node.before = next_free;
        let turn = std::mem::replace(&mut node.turn, Turn::Expired);
        self.free = Some(place);
        Some(turn)
    }

    /// Takes a waiting place out of line with that result, and returns whom to wake.
    fn call(&mut self, place: u32, turn: Turn) -> Option<Waker> {
        self.unlink(place);
        match std::mem::replace(&mut self.node(place)?.turn, turn) {
            Turn::Waiting(waker) => waker,
            _ => None,
        }
    }

    fn unlink(&mut self, place: u32) {
        let Some(node) = self.node(place) else { return };
        let (before, after) = (node.before.take(), node.after.take());
        match before.and_then(|before| self.node(before)) {
            Some(before) => before.after = after,
            None => self.first = after,
        }
        match after.and_then(|after| self.node(after)) {
            Some(after) => after.before = before,
            None => self.last = before,
        }
        self.length -= 1;
    }

    fn node(&mut self, place: u32) -> Option<&mut Node> {
        self.nodes.get_mut(usize::try_from(place).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(1);

    fn at(millis: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_millis(millis)
    }

    fn line(order: QueueOrder, arrivals: &[u64]) -> (Line, Vec<Place>) {
        let mut line = Line::new(Queue {
            length: 10,
            max_wait: WAIT,
            order,
        });
        let places = arrivals
            .iter()
            .map(|millis| line.push(at(*millis), false).unwrap())
            .collect();
        (line, places)
    }

    fn granted(line: &mut Line, places: &[Place]) -> Vec<usize> {
        (0..places.len())
            .filter(|index| {
                let (now, waker) = (Timestamp::ZERO, Waker::noop());
                let turn = line.look(&places[*index], now, waker, &mut None);
                matches!(turn, Some(Turn::Granted))
            })
            .collect()
    }

    #[test]
    fn the_longest_waiting_comes_first() {
        let (mut line, places) = line(QueueOrder::Fifo, &[0, 1, 2]);
        line.grant_one(at(500));
        assert_eq!(granted(&mut line, &places), [0]);
        line.grant_one(at(500));
        assert_eq!(granted(&mut line, &places), [0, 1]);
        assert_eq!(line.len(), 1);
    }

    #[test]
    fn the_newest_comes_first_once_the_line_has_stood_for_long() {
        let (mut line, places) = line(QueueOrder::LifoUnderOverload, &[0, 50, 98]);
        line.grant_one(at(99));
        assert_eq!(granted(&mut line, &places), [0]);
        line.grant_one(at(100));
        assert_eq!(granted(&mut line, &places), [0, 2]);
    }

    #[test]
    fn a_line_that_ran_empty_is_no_longer_overloaded() {
        let (mut line, mut places) = line(QueueOrder::LifoUnderOverload, &[0]);
        line.grant_one(at(300));
        places.extend([line.push(at(301), false), line.push(at(302), false)].map(Option::unwrap));
        line.grant_one(at(303));
        assert_eq!(granted(&mut line, &places), [0, 1]);
    }

    #[test]
    fn whoever_waited_too_long_is_taken_out_from_the_front() {
        let (mut line, _places) = line(QueueOrder::Fifo, &[0, 10]);
        assert!(line.expire_one(at(999)).is_none());
        assert!(line.expire_one(at(1_000)).is_some());
        assert!(line.expire_one(at(1_000)).is_none());
        assert_eq!(line.len(), 1);
    }

    #[test]
    fn a_place_can_be_left_from_the_middle_and_is_used_again() {
        let (mut line, mut places) = line(QueueOrder::Fifo, &[0, 1, 2]);
        line.give_back(places.remove(1));
        assert_eq!(line.len(), 2);
        let again = line.push(at(3), false).unwrap();
        assert_eq!(line.nodes.len(), 3, "no new memory");
        places.push(again);
        for expected in [vec![0], vec![0, 1], vec![0, 1, 2]] {
            line.grant_one(at(4));
            assert_eq!(granted(&mut line, &places), expected);
        }
        assert!(line.is_empty());
    }
}
