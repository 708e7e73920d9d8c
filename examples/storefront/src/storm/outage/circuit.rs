//! What the circuit did, and what had reached the authoriser by then.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use fusebox_core::{Change, CircuitState, Event, EventKind, Observer};
use fusebox_example_grpc::bank::Bank;

/// One state of the circuit, from when it was entered to when it was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stay {
    /// Which.
    pub(super) state: CircuitState,
    /// Since when.
    pub(super) since: Instant,
    /// Calls that reached the authoriser meanwhile.
    pub(super) reached: usize,
    /// The most that it had at once meanwhile.
    pub(super) at_once: usize,
}

/// Hears what the circuit does, in the very call that makes it do it.
pub(super) struct Log {
    bank: Bank,
    stays: Mutex<(usize, Vec<Stay>)>,
}

impl Log {
    /// Of a circuit before this bank, which is closed.
    pub(super) fn of(bank: Bank) -> Self {
        let closed = Stay {
            state: CircuitState::Closed,
            since: Instant::now(),
            reached: 0,
            at_once: 0,
        };
        Self {
            stays: Mutex::new((bank.calls(), vec![closed])),
            bank,
        }
    }

    /// Every stay so far, the present one included.
    pub(super) fn end(&self) -> Vec<Stay> {
        let mut stays = self.stays.lock().unwrap_or_else(PoisonError::into_inner);
        self.leave(&mut stays);
        stays.1.clone()
    }

    fn leave(&self, (before, stays): &mut (usize, Vec<Stay>)) {
        let calls = self.bank.calls();
        if let Some(left) = stays.last_mut() {
            left.reached += calls - *before;
            left.at_once = left.at_once.max(self.bank.most_at_once());
        }
        *before = calls;
    }
}

impl Observer for Log {
    fn on_event(&self, event: &Event<'_>) {
        let EventKind::Change(Change::Circuit { from, to }) = event.kind else {
            return;
        };
        // The end of a ramp is no change of state to anybody outside.
        if from == to {
            return;
        }
        let mut stays = self.stays.lock().unwrap_or_else(PoisonError::into_inner);
        self.leave(&mut stays);
        stays.1.push(Stay {
            state: to,
            since: Instant::now(),
            reached: 0,
            at_once: 0,
        });
    }
}
