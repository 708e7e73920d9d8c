use std::{sync::Arc, time::Duration};

use fusebox_core::{Call, EventKind, Outcome, RejectionKind, Verdict};

use crate::{End, engine::Ticket, seat::Seat};

/// The right to make one call, and the duty to say how it ended.
///
/// Dropped without a word it says that the call was cancelled, or, if the call itself panicked, that it
/// failed.
#[must_use = "dropping it says that the call was cancelled"]
pub struct Pass {
    /// `None` once the end has been told.
    seat: Option<Arc<Seat>>,
    ticket: Ticket,
    /// For how many calls its latency stands in the statistics; zero if it is not of the sample.
    weight: u16,
    /// Whether the call is being run. Still set at the drop, it was a panic that ended it. (`thread::panicking`
    /// would also say so of a caller that panics, and would not of a panic that was caught before the drop.)
    running: bool,
}

impl Pass {
    #[inline(always)]
    pub(crate) fn new(seat: Arc<Seat>, ticket: Ticket, weight: u32) -> Self {
        Self {
            seat: Some(seat),
            ticket,
            weight: u16::try_from(weight).unwrap_or(u16::MAX),
            running: false,
        }
    }

    /// The pass, once: after that there is one whose end was told.
    #[inline(always)]
    #[cfg(feature = "http")]
    pub(crate) fn take(&mut self) -> Self {
        Self {
            seat: self.seat.take(),
            ticket: self.ticket.clone(),
            ..*self
        }
    }

    /// Whether its end has been told, or it was [taken](Self::take).
    #[inline(always)]
    #[cfg(feature = "http")]
    pub(crate) const fn is_over(&self) -> bool {
        self.seat.is_none()
    }

    /// Whether the call is a probe of a half-open circuit.
    #[must_use]
    pub fn is_probe(&self) -> bool {
        self.ticket.is_probe()
    }

    /// The call is over.
    #[inline]
    pub fn end(mut self, end: impl Into<End>) {
        self.tell(end.into());
    }

    /// The call has been answered, if not to the end, and all is well so far: from now on it does not hang. If
    /// it is a probe, it has succeeded should it still be under way at its
    /// [deadline](crate::BreakerBuilder::probe_deadline).
    #[inline]
    pub fn answered(&mut self) {
        self.answered_so(|| true);
    }

    /// As [`answered`](Self::answered); whether all is well is only asked where it matters.
    #[inline(always)]
    pub(crate) fn answered_so(&mut self, well: impl FnOnce() -> bool) {
        if self.ticket.awaits_answer()
            && let Some(seat) = &self.seat
        {
            self.ticket = answered_so(seat, self.ticket.clone(), well());
        }
    }

    /// The dependency asks to be left alone for so long; the latest wish counts.
    #[cfg(feature = "http")]
    pub(crate) fn asked_for(&mut self, wish: Option<Duration>) {
        if let Some(wish) = wish {
            self.ticket.asked_for(wish);
        }
    }

    /// What of the call's own code runs from now on may panic.
    #[inline(always)]
    pub(crate) const fn watching(mut self) -> Self {
        self.running = true;
        self
    }

    /// The call's own code is about to run.
    #[inline(always)]
    pub(crate) const fn runs(&mut self) {
        self.running = true;
    }

    /// The call's own code has returned.
    #[inline(always)]
    pub(crate) const fn returned(&mut self) {
        self.running = false;
    }

    /// As [`end`](Self::end), for who cannot give the pass away. Only the first end counts.
    // What is not inlined gets copies, never the pass itself: then it can live in registers.
    #[inline(always)]
    pub(crate) fn tell(&mut self, end: End) {
        let Some(seat) = self.seat.take() else { return };
        let well = end.outcome == Outcome::Success && !end.local;
        let shared = seat.shared();
        let now = || shared.clock.now();
        if !(well && shared.circuit.end_well(seat.shard(), &self.ticket, now)) {
            // Not the `End` as a whole: it would be put together for every call.
            let (outcome, local, wish) = (end.outcome, end.local, end.retry_after);
            end_slowly(seat, self.ticket.clone(), self.weight, outcome, local, wish);
        }
    }
}

/// The answer to a call that somebody waits for.
#[cold]
#[inline(never)]
fn answered_so(seat: &Seat, mut ticket: Ticket, well: bool) -> Ticket {
    let circuit = &seat.shared().circuit;
    if well {
        circuit.answered_well(seat.shard(), &mut ticket);
    } else {
        circuit.answered(seat.shard(), &mut ticket);
    }
    ticket
}

/// The end of a call that was timed, or did not go well, or comes after a transition.
#[cold]
#[inline(never)]
fn end_slowly(
    seat: Arc<Seat>,
    mut ticket: Ticket,
    weight: u16,
    outcome: Outcome,
    local: bool,
    retry_after: Option<Duration>,
) {
    // As in `dropped`, for a body: that is dropped by whoever reads it.
    let panicked = ticket.is_probe() && outcome == Outcome::Failure && std::thread::panicking();
    let end = End {
        outcome,
        local: local || panicked,
        retry_after,
    };
    let (shared, shard) = (seat.shared(), seat.shard());
    let now = shared.clock.now();
    let began = shared.circuit.began(&ticket);
    let circuit = &shared.circuit;
    circuit.end(shard, &mut ticket, end, now, &**shared);
    let began = match began {
        Some(began) if ticket.is_in_spite() => began,
        Some(began) if weight > 0 => {
            let reporter = &shared.reporter;
            return reporter.report_sample(began, now, outcome, weight.into());
        }
        _ => return shared.reporter.count(outcome),
    };
    let call = Call {
        verdict: Verdict::Refused {
            kind: RejectionKind::CircuitOpen,
            enforced: false,
        },
        outcome: Some(outcome),
        waited: Duration::ZERO,
        ran: now.since(began),
    };
    shared.reporter.report(now, EventKind::Call(call));
}

/// Nobody said how the call ended.
#[cold]
#[inline(never)]
fn dropped(seat: Arc<Seat>, ticket: Ticket, weight: u16, running: bool) {
    // A panic on this side tells nothing of whether the dependency is back.
    let (outcome, local) = if running {
        (Outcome::Failure, ticket.is_probe())
    } else {
        (Outcome::Cancelled, false)
    };
    end_slowly(seat, ticket, weight, outcome, local, None);
}

impl Drop for Pass {
    #[inline]
    fn drop(&mut self) {
        if let Some(seat) = self.seat.take() {
            dropped(seat, self.ticket.clone(), self.weight, self.running);
        }
    }
}

impl std::fmt::Debug for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pass")
            .field("over", &self.seat.is_none())
            .field("ticket", &self.ticket)
            .finish_non_exhaustive()
    }
}
