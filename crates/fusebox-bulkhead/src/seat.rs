//! Where consumers keep the slots that they have reserved for requests that are not there yet.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::call::Call;

/// The slot that one consumer has reserved, if it has.
///
/// It is the consumer's, and a shutdown can take it back: nobody may have to wait for a consumer that waits for its next
/// message.
#[derive(Debug, Default)]
pub(crate) struct Seat(Mutex<Option<Call>>);

impl Seat {
    pub(crate) fn hold(&self, call: Call) {
        let replaced = self.with(|held| held.replace(call));
        withdraw(replaced);
    }

    pub(crate) fn is_held(&self) -> bool {
        self.with(|held| held.is_some())
    }

    pub(crate) fn take(&self) -> Option<Call> {
        self.with(Option::take)
    }

    /// Gives the slot back, told to nobody: there was no request.
    pub(crate) fn give_back(&self) {
        withdraw(self.take());
    }

    fn with<T>(&self, act: impl FnOnce(&mut Option<Call>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.give_back();
    }
}

fn withdraw(call: Option<Call>) {
    if let Some(call) = call {
        call.withdraw();
    }
}

/// The seats of all consumers of a compartment.
#[derive(Debug, Default)]
pub(crate) struct Seats(Mutex<Vec<Weak<Seat>>>);

impl Seats {
    /// A seat for one more consumer.
    pub(crate) fn one_more(&self) -> Arc<Seat> {
        let seat = Arc::new(Seat::default());
        let mut seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Before it grows: so it is at most twice as long as there are consumers, and looked through seldom.
        if seats.len() == seats.capacity() {
            seats.retain(|seat| seat.strong_count() > 0);
        }
        seats.push(Arc::downgrade(&seat));
        seat
    }

    /// Gives all reserved slots back.
    pub(crate) fn give_back_all(&self) {
        let seats: Vec<_> = {
            let seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            seats.iter().filter_map(Weak::upgrade).collect()
        };
        // After the lock: a slot that is given back wakes others.
        for seat in seats {
            seat.give_back();
        }
    }
}
