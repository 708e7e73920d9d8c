use std::{sync::Arc, time::Duration};

use fusebox_core::{Call as Told, Outcome, RejectionKind, Verdict, time::Moment};

use crate::compartment::Shared;

/// A call under way: its slot, and the one event that tells how it ended.
///
/// However it goes away, by [`finish`](Self::finish), a drop, or a panic that unwinds through it, the
/// slot is given back once and the event told once.
#[must_use]
pub(crate) struct Call {
    /// `None` once it is over.
    shared: Option<Arc<Shared>>,
    started: Moment,
    waited: Duration,
    /// Why it was to be refused, if it was let through all the same.
    shadowed: Option<RejectionKind>,
    holds_slot: bool,
}

impl Call {
    /// Begins a call that has taken a slot.
    #[inline]
    pub(crate) const fn admitted(shared: Arc<Shared>, started: Moment, waited: Duration) -> Self {
        Self {
            shared: Some(shared),
            started,
            waited,
            shadowed: None,
            holds_slot: true,
        }
    }

    /// Begins a call that was to be refused and is let through: it takes no slot from the others.
    pub(crate) const fn shadowed(
        shared: Arc<Shared>,
        started: Moment,
        kind: RejectionKind,
    ) -> Self {
        Self {
            shared: Some(shared),
            started,
            waited: Duration::ZERO,
            shadowed: Some(kind),
            holds_slot: false,
        }
    }

    /// The call is over. Said again, it changes nothing.
    #[inline]
    pub(crate) fn finish(&mut self, outcome: Outcome) {
        let Some(shared) = self.shared.take() else {
            return;
        };
        // Nearly every call; kept apart so that all but its latency is known when this is compiled.
        if self.holds_slot && self.waited.is_zero() {
            let now = shared.clock.read();
            shared.leave(now);
            shared.tell(
                now,
                Told {
                    verdict: Verdict::Admitted,
                    outcome: Some(outcome),
                    waited: Duration::ZERO,
                    ran: now.since(self.started),
                },
            );
        } else {
            self.finish_unusual(&shared, outcome);
        }
    }

    #[cold]
    #[inline(never)]
    fn finish_unusual(&self, shared: &Shared, outcome: Outcome) {
        let now = shared.clock.read();
        if self.holds_slot {
            shared.leave(now);
        }
        let verdict = self
            .shadowed
            .map_or(Verdict::Admitted, |kind| Verdict::Refused {
                kind,
                enforced: false,
            });
        shared.tell(
            now,
            Told {
                verdict,
                outcome: Some(outcome),
                waited: self.waited,
                ran: now.since(self.started),
            },
        );
    }

    #[cold]
    #[inline(never)]
    fn give_up(&mut self) {
        // The work is dropped by its own panic, or because nobody waits for it any more.
        self.finish(if std::thread::panicking() {
            Outcome::Failure
        } else {
            Outcome::Cancelled
        });
    }

    /// Begins now: it has waited for its request since it got its slot.
    pub(crate) fn start(&mut self) {
        if let Some(shared) = &self.shared {
            self.started = shared.clock.read();
        }
    }

    /// Gives the slot back untold: there was no request.
    pub(crate) fn withdraw(mut self) {
        self.give_slot_back();
        self.shared = None;
    }

    /// Gives the slot back before the call is over.
    pub(crate) fn give_slot_back(&mut self) {
        if let Some(shared) = &self.shared
            && std::mem::take(&mut self.holds_slot)
        {
            shared.leave(shared.clock.read());
        }
    }
}

impl Drop for Call {
    #[inline]
    fn drop(&mut self) {
        if self.shared.is_some() {
            self.give_up();
        }
    }
}

#[cfg(feature = "http")]
impl fusebox_http::Guard for Call {
    #[inline]
    fn finish(mut self, judgement: fusebox_http::Judgement) {
        Self::finish(&mut self, judgement.outcome);
    }
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let compartment = self.shared.as_ref().map(|shared| shared.reporter.policy());
        f.debug_struct("Call")
            .field("compartment", &compartment)
            .field("waited", &self.waited)
            .field("shadowed", &self.shadowed)
            .field("holds_slot", &self.holds_slot)
            .finish_non_exhaustive()
    }
}
