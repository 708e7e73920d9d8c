use std::{sync::Arc, time::Duration};

use fusebox_core::{Call, EventKind, Outcome, RejectionKind, Verdict};

use crate::{End, engine::Ticket, seat::Seat};

/// The right to make one call, and the duty to say how it ended.
///
/// Dropped without a word it says that the call was cancelled, or, if the call itself panicked, that it
/// failed.
#[must_use = "dropping it says that the call was cancelled"]
pub struct Pass {
    seat: Arc<Seat>,
    ticket: Ticket,
    /// Whether the end has been told.
    over: bool,
    /// Whether it was let through in spite of the verdict.
    shadowed: bool,
    /// Whether the call is being run. Still set at the drop, it was a panic that ended it;
    /// `thread::panicking` alone would also say so of a caller that panics.
    running: bool,
    /// How many nanoseconds the dependency asked to be left alone; zero if it did not.
    wish: u64,
}

impl Pass {
    #[inline]
    pub(crate) const fn new(seat: Arc<Seat>, ticket: Ticket, shadowed: bool) -> Self {
        Self {
            seat,
            ticket,
            over: false,
            shadowed,
            running: false,
            wish: 0,
        }
    }

    /// Whether the call is a probe of a half-open circuit.
    #[must_use]
    pub const fn is_probe(&self) -> bool {
        self.ticket.is_probe()
    }

    /// The call is over.
    #[inline]
    pub fn end(mut self, end: impl Into<End>) {
        self.tell(end.into());
    }

    /// The call has been answered, if not to the end: from now on it does not hang.
    #[inline]
    pub fn answered(&mut self) {
        self.seat.shared().circuit.answered(&mut self.ticket);
    }

    /// The dependency asks to be left alone for so long; the latest wish counts.
    #[cfg(feature = "http")]
    pub(crate) fn asked_for(&mut self, wish: Option<Duration>) {
        if let Some(wish) = wish {
            self.wish = fusebox_core::time::nanos(wish);
        }
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

    /// As [`end`](Self::end), for who cannot give the pass away. Only the first end counts.
    #[inline(always)]
    pub(crate) fn tell(&mut self, end: End) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        let shared = self.seat.shared();
        if self.ticket.began().is_none() && self.wish == 0 {
            let now = || shared.clock.now();
            shared.circuit.end(&mut self.ticket, end, now, &**shared);
            shared.reporter.count(end.outcome);
        } else {
            self.tell_all(end);
        }
    }

    /// The end of a call that was timed, or after which the dependency wants time.
    #[inline(never)]
    fn tell_all(&mut self, mut end: End) {
        if self.wish > 0 {
            end.retry_after = Some(Duration::from_nanos(self.wish));
        }
        if self.ticket.is_probe() && end.outcome == Outcome::Failure && std::thread::panicking() {
            // A panic on this side tells nothing of whether the dependency is back.
            end.local = true;
        }
        let shared = self.seat.shared();
        let now = shared.clock.now();
        shared.circuit.end(&mut self.ticket, end, || now, &**shared);
        let Some(began) = self.ticket.began() else {
            shared.reporter.count(end.outcome);
            return;
        };
        if !self.shadowed {
            shared.reporter.report_admitted(began, now, end.outcome);
            return;
        }
        shared.reporter.report(
            now,
            EventKind::Call(Call {
                verdict: Verdict::Refused {
                    kind: RejectionKind::CircuitOpen,
                    enforced: false,
                },
                outcome: Some(end.outcome),
                waited: Duration::ZERO,
                ran: now.since(began),
            }),
        );
    }

    /// Nobody said how the call ended.
    #[cold]
    #[inline(never)]
    fn dropped(&mut self) {
        let panicked = self.running && std::thread::panicking();
        self.tell(
            if panicked {
                Outcome::Failure
            } else {
                Outcome::Cancelled
            }
            .into(),
        );
    }
}

impl Drop for Pass {
    #[inline]
    fn drop(&mut self) {
        if !self.over {
            self.dropped();
        }
    }
}

impl std::fmt::Debug for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pass")
            .field("shadowed", &self.shadowed)
            .field("ticket", &self.ticket)
            .finish_non_exhaustive()
    }
}
