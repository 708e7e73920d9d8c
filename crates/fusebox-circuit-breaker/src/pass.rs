use std::{sync::Arc, time::Duration};

use fusebox_core::{Call, EventKind, Outcome, Verdict};

use crate::{End, engine::Ticket, seat::Seat};

/// The right to make one call, and the duty to say how it ended.
///
/// Dropped without a word it says that the call was cancelled, or, if the call itself panicked, that it
/// failed.
#[must_use = "dropping it says that the call was cancelled"]
pub struct Pass {
    seat: Arc<Seat>,
    /// `None` once the end was told.
    ticket: Option<Ticket>,
    verdict: Verdict,
    /// Whether the call is being run. Still set at the drop, it was a panic that ended it;
    /// `thread::panicking` alone would also say so of a caller that panics.
    running: bool,
    /// How long the dependency asked to be left alone.
    wish: Option<Duration>,
}

impl Pass {
    #[inline]
    pub(crate) const fn new(seat: Arc<Seat>, ticket: Ticket, verdict: Verdict) -> Self {
        Self {
            seat,
            ticket: Some(ticket),
            verdict,
            running: false,
            wish: None,
        }
    }

    /// Whether the call is a probe of a half-open circuit.
    #[must_use]
    pub fn is_probe(&self) -> bool {
        self.ticket.as_ref().is_some_and(Ticket::is_probe)
    }

    /// The call is over.
    #[inline]
    pub fn end(mut self, end: impl Into<End>) {
        self.over(end.into());
    }

    /// The call has been answered, if not to the end: from now on it does not hang.
    #[inline]
    pub fn answered(&mut self) {
        if let Some(ticket) = &mut self.ticket {
            self.seat.shared().circuit.answered(ticket);
        }
    }

    /// The dependency asks to be left alone for so long; the latest wish counts.
    #[cfg(feature = "http")]
    pub(crate) fn asked_for(&mut self, wish: Option<Duration>) {
        self.wish = wish.or(self.wish);
    }

    /// What of the call's own code runs from now on may panic.
    #[inline]
    pub(crate) const fn watching(mut self) -> Self {
        self.running = true;
        self
    }

    /// The call's own code is about to run.
    #[inline]
    pub(crate) const fn runs(&mut self) {
        self.running = true;
    }

    /// The call's own code has returned.
    #[inline]
    pub(crate) const fn returned(&mut self) {
        self.running = false;
    }

    #[inline]
    fn over(&mut self, mut end: End) {
        let Some(ticket) = self.ticket.take() else {
            return;
        };
        end.retry_after = end.retry_after.or(self.wish);
        let shared = self.seat.shared();
        let now = shared.clock.now();
        let ran = now.since(ticket.began());
        if ticket.is_probe() && end.outcome == Outcome::Failure && std::thread::panicking() {
            // A panic on this side tells nothing of whether the dependency is back.
            end.local = true;
        }
        shared.circuit.end(ticket, end, now, &**shared);
        shared.reporter.report(
            now,
            EventKind::Call(Call {
                verdict: self.verdict,
                outcome: Some(end.outcome),
                waited: Duration::ZERO,
                ran,
            }),
        );
    }
}

impl Drop for Pass {
    #[inline]
    fn drop(&mut self) {
        if self.ticket.is_some() {
            self.over(
                if self.running && std::thread::panicking() {
                    Outcome::Failure
                } else {
                    Outcome::Cancelled
                }
                .into(),
            );
        }
    }
}

impl std::fmt::Debug for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pass")
            .field("verdict", &self.verdict)
            .field("ticket", &self.ticket)
            .finish_non_exhaustive()
    }
}
