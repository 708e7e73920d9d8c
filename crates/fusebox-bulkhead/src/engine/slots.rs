use std::task::Waker;

use fusebox_core::{
    Timestamp,
    sync::{AtomicU64, Mutex, Ordering, lock},
};

use super::{
    line::{Line, Place, Queue, Turn},
    word::{CLOSED, LINE_FULL, ONE, WAITING, Word},
};

/// A number of slots, taken and given back by calls, and a bounded line in front of them.
///
/// To enter is one load and one compare-and-swap, to leave one subtraction, to be refused one load. The
/// lock is for those who wait, and for a call that ends while somebody does.
///
/// Nobody overtakes: while a call waits, newcomers join the line even if a slot comes free between two
/// instructions. A slot that is given back while somebody waits goes to the line before it can be seen
/// as free.
///
/// ```
/// use fusebox_bulkhead::engine::{Entry, Queue, Slots};
/// use fusebox_core::Timestamp;
///
/// let slots = Slots::new(1, Queue::NONE);
/// assert!(matches!(slots.enter(|| Timestamp::ZERO), Entry::Admitted));
/// assert!(matches!(slots.enter(|| Timestamp::ZERO), Entry::Full));
/// slots.leave(|| Timestamp::ZERO);
/// assert!(slots.try_enter());
/// ```
#[derive(Debug)]
pub struct Slots {
    word: AtomicU64,
    line: Mutex<Line>,
}

/// What became of a call that wanted a slot.
#[derive(Debug)]
#[must_use]
pub enum Entry {
    /// It has one, and owes a [`Slots::leave`].
    Admitted,
    /// It waits, and owes a [`Slots::poll_turn`] that is no longer pending, or a [`Slots::abandon`].
    Queued(Place),
    /// Every slot and every place in line is taken.
    Full,
    /// Nobody is admitted any more.
    Closed,
}

/// What became of a call that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Waited {
    /// It has a slot, and owes a [`Slots::leave`].
    Admitted,
    /// No slot came free in time.
    Expired,
    /// Nobody is admitted any more.
    Closed,
    /// It still waits.
    Pending,
}

impl Slots {
    /// So many slots (up to [`MOST_SLOTS`](super::MOST_SLOTS)), with that queue in front of them.
    #[must_use]
    pub fn new(limit: u32, queue: Queue) -> Self {
        let mut word = Word::new(limit);
        if queue.length > 0 {
            word.0 &= !LINE_FULL;
        }
        Self {
            word: AtomicU64::new(word.0),
            line: Mutex::new(Line::new(queue)),
        }
    }

    /// Takes a slot if one is free and nobody waits for it.
    #[inline]
    pub fn try_enter(&self) -> bool {
        // Relaxed: it is only a guess for the exchange to confirm.
        let mut seen = self.word.load(Ordering::Relaxed);
        while Word(seen).has_room() {
            match self.word.compare_exchange_weak(
                seen,
                seen + ONE,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(newer) => seen = newer,
            }
        }
        false
    }

    /// Takes a slot, or a place in line; `now` is asked only if there is none and a place is.
    #[inline]
    pub fn enter(&self, now: impl FnOnce() -> Timestamp) -> Entry {
        if self.try_enter() {
            return Entry::Admitted;
        }
        let word = self.word();
        if word.is_closed() {
            Entry::Closed
        } else if word.has_line_full() {
            Entry::Full
        } else {
            self.join_line(now(), false)
        }
    }

    /// Takes a slot, or a place in line without a bound of number or time, for a request that is not there yet.
    ///
    /// For those who let their own caller wait meanwhile: they bound themselves. A slot that such a place has come to
    /// is taken back by [`close`](Self::close) if nobody has asked for it yet.
    pub fn enter_patiently(&self, now: Timestamp) -> Entry {
        if self.try_enter() {
            return Entry::Admitted;
        }
        self.join_line(now, true)
    }

    #[cold]
    fn join_line(&self, now: Timestamp, patient: bool) -> Entry {
        let mut line = lock(&self.line);
        loop {
            if self.try_enter() {
                return Entry::Admitted;
            }
            let word = self.word();
            if word.is_closed() {
                return Entry::Closed;
            }
            if !patient && word.has_line_full() {
                return Entry::Full;
            }
            if word.has_room() {
                continue;
            }
            let mut marked = word.0 | WAITING;
            if line.len() + 1 >= line.queue().length {
                marked |= LINE_FULL;
            }
            // Whoever leaves after this sees the mark and comes to the lock; whoever left before it
            // has changed the word, and we look again. No slot comes free unseen.
            let exchanged =
                self.word
                    .compare_exchange(word.0, marked, Ordering::AcqRel, Ordering::Relaxed);
            if exchanged.is_ok() {
                if let Some(place) = line.push(now, patient) {
                    return Entry::Queued(place);
                }
                self.mark(&line);
                return Entry::Full;
            }
        }
    }

    /// Asks for the slot of a call that waits, and sets whom to wake when there is an answer.
    ///
    /// The place is used up (`None`) as soon as the answer is not [`Waited::Pending`]; asked again
    /// without a place, it says [`Waited::Expired`].
    pub fn poll_turn(&self, place: &mut Option<Place>, now: Timestamp, waker: &Waker) -> Waited {
        // Declared before the lock, and so dropped after it.
        let mut replaced = None;
        let mut line = lock(&self.line);
        let turn = place
            .as_ref()
            .and_then(|place| line.look(place, now, waker, &mut replaced));
        let waited = match turn {
            Some(Turn::Waiting(_)) => return Waited::Pending,
            Some(Turn::Granted) => Waited::Admitted,
            Some(Turn::Closed) => Waited::Closed,
            Some(Turn::Expired) | None => Waited::Expired,
        };
        if let Some(place) = place.take() {
            line.give_back(place);
            self.mark(&line);
        }
        waited
    }

    /// Gives up a place in line, and the slot if it had come to one meanwhile.
    ///
    /// `true` if that was the last call of a closed compartment.
    pub fn abandon(&self, place: Place, now: Timestamp) -> bool {
        let turn = {
            let mut line = lock(&self.line);
            let turn = line.give_back(place);
            self.mark(&line);
            turn
        };
        matches!(turn, Some(Turn::Granted)) && self.leave(|| now)
    }

    /// Gives a slot back, or on to whoever waits for it; `now` is asked only if somebody does.
    ///
    /// `true` if that was the last call of a closed compartment.
    #[inline]
    pub fn leave(&self, now: impl FnOnce() -> Timestamp) -> bool {
        let before = Word(self.word.fetch_sub(ONE, Ordering::AcqRel));
        before.is_watched() && self.leave_watched(before, now())
    }

    #[cold]
    fn leave_watched(&self, before: Word, now: Timestamp) -> bool {
        if before.is_waited_for() {
            self.serve(now);
        }
        before.is_closed() && before.in_flight() == 1
    }

    /// Changes the number of slots and returns how many there were.
    ///
    /// Never waits for a call. Above the new number, calls go on to their end and nobody is admitted
    /// until enough of them have ended; if it grows, those who wait are served at once.
    pub fn resize(&self, limit: u32, now: Timestamp) -> u32 {
        let mut seen = self.word();
        while let Err(newer) = self.word.compare_exchange_weak(
            seen.0,
            seen.with_limit(limit).0,
            Ordering::AcqRel,
            Ordering::Relaxed,
        ) {
            seen = Word(newer);
        }
        if seen.is_waited_for() {
            self.serve(now);
        }
        seen.limit()
    }

    /// Admits nobody any more, and sends away those who wait.
    ///
    /// `true` if no call is in flight.
    pub fn close(&self) -> bool {
        let mut before = Word(self.word.fetch_or(CLOSED, Ordering::AcqRel));
        loop {
            let mut line = lock(&self.line);
            let Some(waker) = line.close_one() else {
                self.mark(&line);
                let revoked = line.revoke();
                if revoked > 0 {
                    let revoked = u64::from(revoked) * ONE;
                    before = Word(self.word.fetch_sub(revoked, Ordering::AcqRel) - revoked);
                }
                break;
            };
            drop(line);
            wake(waker);
        }
        before.in_flight() == 0
    }

    /// How many slots are taken. More than [`limit`](Self::limit) after it shrank.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.word().in_flight()
    }

    /// How many slots there are.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.word().limit()
    }

    /// How many calls wait.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        lock(&self.line).len()
    }

    /// Whether nobody is admitted any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.word().is_closed()
    }

    /// The queue in front of them.
    #[must_use]
    pub fn queue(&self) -> Queue {
        lock(&self.line).queue()
    }

    /// Changes the queue and returns what it was.
    ///
    /// Those who wait keep their places, and may wait as long as they could when they came; who comes first holds for
    /// them as well.
    pub fn change_queue(&self, change: impl FnOnce(&mut Queue)) -> Queue {
        let mut line = lock(&self.line);
        let before = line.change_queue(change);
        if !line.has_place() {
            self.word.fetch_or(LINE_FULL, Ordering::AcqRel);
        }
        self.mark(&line);
        before
    }

    #[inline]
    fn word(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    /// Hands free slots to those who wait, one at a time so that nobody is woken under the lock.
    fn serve(&self, now: Timestamp) {
        loop {
            let mut line = lock(&self.line);
            let waker = match line.expire_one(now) {
                Some(expired) => expired,
                None if !line.is_empty() && self.enter_for_the_line() => line.grant_one(now),
                None => {
                    self.mark(&line);
                    return;
                }
            };
            self.mark(&line);
            drop(line);
            wake(waker);
        }
    }

    fn enter_for_the_line(&self) -> bool {
        let mut seen = self.word();
        while seen.has_room_for_the_line() {
            match self.word.compare_exchange_weak(
                seen.0,
                seen.0 + ONE,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(newer) => seen = Word(newer),
            }
        }
        false
    }

    /// Makes the flags say what the line is, after it got shorter. Its lock is held.
    fn mark(&self, line: &Line) {
        let mut stale = 0;
        if line.is_empty() {
            stale |= WAITING;
        }
        if line.has_place() {
            stale |= LINE_FULL;
        }
        if self.word().0 & stale != 0 {
            self.word.fetch_and(!stale, Ordering::AcqRel);
        }
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(all(test, not(fusebox_loom)))]
mod tests {
    use std::{
        sync::{Arc, mpsc},
        task::Wake,
        thread,
        time::Duration,
    };

    use super::*;
    use crate::engine::QueueOrder;

    /// A waker that, when it is dropped, asks how many wait.
    struct Nosy(Arc<Slots>, mpsc::Sender<u32>);

    impl Wake for Nosy {
        fn wake(self: Arc<Self>) {}
    }

    impl Drop for Nosy {
        fn drop(&mut self) {
            // An error is a test that has failed already.
            let _ = self.1.send(self.0.waiting());
        }
    }

    #[test]
    fn a_waker_that_looks_at_the_slots_when_it_is_dropped_is_dropped_after_the_lock() {
        let (told, waiting) = mpsc::channel();
        // On a thread of its own: if the lock is held, it hangs.
        thread::spawn(move || {
            let max_wait = Duration::from_secs(1);
            let queue = Queue {
                length: 1,
                max_wait,
                order: QueueOrder::Fifo,
            };
            let slots = Arc::new(Slots::new(1, queue));
            assert!(slots.try_enter());
            let Entry::Queued(place) = slots.enter(|| Timestamp::ZERO) else {
                unreachable!("its only slot is taken");
            };
            let mut place = Some(place);
            let mut poll = |now, waker: &Waker| slots.poll_turn(&mut place, now, waker);
            let nosy = || Waker::from(Arc::new(Nosy(slots.clone(), told.clone())));
            // Replaced by another, and at the end of its patience.
            assert_eq!(poll(Timestamp::ZERO, &nosy()), Waited::Pending);
            assert_eq!(poll(Timestamp::ZERO, &nosy()), Waited::Pending);
            let late = Timestamp::ZERO + max_wait;
            assert_eq!(poll(late, Waker::noop()), Waited::Expired);
        });
        let patience = Duration::from_secs(30);
        assert_eq!(waiting.recv_timeout(patience), Ok(1), "replaced");
        assert_eq!(waiting.recv_timeout(patience), Ok(0), "expired");
    }
}
