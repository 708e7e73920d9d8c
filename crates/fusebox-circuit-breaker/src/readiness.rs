use std::{
    sync::Arc,
    task::{Context, Poll},
};

use fusebox_core::{Mode, Rejection};

use crate::{
    Breaker, End, Pass,
    breaker::Admission,
    engine::{Refused, Reserved, State, Ticket},
    seat::Seat,
};

/// What `poll_ready` has found out for `call`.
///
/// It is one instance's own: a clone knows nothing, and what is dropped gives back what it held.
#[derive(Debug)]
pub(crate) struct Readiness {
    /// The circuit refuses every call; the inner service was not asked.
    refused: Option<Refused>,
    // Boxed, so that it costs nothing where nobody waits. What is in here when the circuit has closed is not looked at
    // and nobody's loss: a place that was never used is free when the circuit is half-open again.
    waits: Option<Box<Waits>>,
}

/// For a service whose inner one is not ready, or that is to make a probe.
struct Waits {
    seat: Arc<Seat>,
    /// The place of a probe.
    probe: Option<Ticket>,
    /// The state whose ramp has let the call through.
    ramp: Option<State>,
    /// Among those who are woken when the circuit changes.
    number: Option<u64>,
}

impl Readiness {
    /// Nobody has asked yet.
    pub(crate) const fn new() -> Self {
        Self {
            refused: None,
            waits: None,
        }
    }

    /// Polls the inner service, unless the next call is to be refused. If that fails, it is the end of a call
    /// as any other error: no call can be made where no service gets ready.
    ///
    /// A refusal never waits for the inner service: of those whom a half-open circuit has no place for, and of
    /// those who wait when it opens, nobody is left waiting.
    #[inline(always)]
    pub(crate) fn poll<E>(
        &mut self,
        breaker: &Breaker,
        cx: &mut Context<'_>,
        inner: impl FnOnce(&mut Context<'_>) -> Poll<Result<(), E>>,
        judge: impl FnOnce(&E) -> End,
    ) -> Poll<Result<(), E>> {
        self.refused = None;
        if !breaker.shared().circuit.is_closed() && self.refuses(breaker) {
            return Poll::Ready(Ok(()));
        }
        match inner(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => {
                self.never_ready(breaker, judge(&error));
                Poll::Ready(Err(error))
            }
            Poll::Pending if self.waits(breaker, cx) => Poll::Pending,
            Poll::Pending => Poll::Ready(Ok(())),
        }
    }

    /// Whether the next call is to be refused. In any mode but one it may be made in spite of the verdict.
    #[inline(always)]
    fn refuses(&mut self, breaker: &Breaker) -> bool {
        let shared = breaker.shared();
        if let Some(refused) = shared.circuit.refuses(|| shared.clock.now())
            && shared.mode.get() == Mode::Enforce
        {
            self.refused = Some(refused);
            return true;
        }
        self.reserve(breaker)
    }

    /// Takes the place of a probe, if it may be one. `true` if the next call is to be refused.
    #[cold]
    #[inline(never)]
    fn reserve(&mut self, breaker: &Breaker) -> bool {
        let shared = breaker.shared();
        if let Some(waits) = &mut self.waits
            && (waits.holds_probe() || waits.has_passed_ramp())
        {
            return false;
        }
        if shared.mode.get() != Mode::Enforce {
            self.waits = None;
            return false;
        }
        match shared.circuit.reserve(shared.clock.now(), &**shared) {
            Reserved::Nothing => {}
            Reserved::Refused(refused) => {
                self.waits = None;
                self.refused = Some(refused);
                return true;
            }
            Reserved::Ramp(state) => self.keep(breaker, |waits| waits.ramp = Some(state)),
            Reserved::Probe(ticket) => self.keep(breaker, |waits| waits.probe = Some(ticket)),
        }
        false
    }

    /// The inner service is not ready. `false` if there is nothing to wait for: the call is to be refused.
    #[cold]
    #[inline(never)]
    fn waits(&mut self, breaker: &Breaker, cx: &Context<'_>) -> bool {
        if breaker.mode() != Mode::Enforce {
            return true;
        }
        self.keep(breaker, |waits| {
            let waiters = &waits.seat.shared().waiters;
            waits.number = Some(waiters.register(waits.number, cx));
        });
        // Only now: a change before that has woken nobody.
        !self.reserve(breaker)
    }

    fn keep(&mut self, breaker: &Breaker, what: impl FnOnce(&mut Waits)) {
        let waits = || Box::new(Waits::at(breaker.seat().clone()));
        what(self.waits.get_or_insert_with(waits));
    }

    /// The verdict on the call. The instance that is not ready is never called: what was refused a
    /// moment ago stays refused, even if the cool-down has ended meanwhile.
    #[inline(always)]
    #[cfg(feature = "http")]
    pub(crate) fn admit(&mut self, breaker: &Breaker) -> Admission {
        self.admit_then(breaker, Admission::Passed, Admission::Refused)
    }

    /// As [`admit`](Self::admit), going on with what comes of it; see [`Breaker::admit_then`].
    #[inline(always)]
    pub(crate) fn admit_then<T>(
        &mut self,
        breaker: &Breaker,
        passed: impl FnOnce(Pass) -> T,
        refused: impl Fn(Rejection) -> T,
    ) -> T {
        if let Some(found) = self.refused {
            return refused(self.refuse(breaker, found));
        }
        let slowly = |seat: &Arc<Seat>, skipped| self.admit_slowly(breaker, seat, skipped);
        breaker.admit_or(slowly, passed, refused)
    }

    #[inline(always)]
    fn refuse(&mut self, breaker: &Breaker, found: Refused) -> Rejection {
        // What was found out is good for one call.
        self.refused = None;
        breaker.refuse(found)
    }

    /// As [`Breaker::admit`], for whom the inner service has got ready who may have waited for it.
    #[cold]
    #[inline(never)]
    fn admit_slowly(&mut self, breaker: &Breaker, seat: &Arc<Seat>, skipped: bool) -> Admission {
        match self.waits.take() {
            Some(mut waits) => waits.admit(breaker),
            None => breaker.shared().admit_from(None, seat, skipped),
        }
    }

    /// The service failed before there was a call.
    #[cold]
    #[inline(never)]
    fn never_ready(&mut self, breaker: &Breaker, end: End) {
        if let Admission::Passed(pass) = self.admit_slowly(breaker, breaker.seat(), false) {
            pass.end(end);
        }
    }
}

impl Waits {
    const fn at(seat: Arc<Seat>) -> Self {
        Self {
            seat,
            probe: None,
            ramp: None,
            number: None,
        }
    }

    /// Whether it has a place, and that is still its own. If it is not, it has none any more.
    fn holds_probe(&mut self) -> bool {
        let circuit = &self.seat.shared().circuit;
        if let Some(lost) = self.probe.take_if(|ticket| !circuit.holds(ticket)) {
            circuit.give_back(&lost);
        }
        self.probe.is_some()
    }

    fn has_passed_ramp(&self) -> bool {
        self.ramp == Some(self.seat.shared().circuit.state())
    }

    fn admit(&mut self, breaker: &Breaker) -> Admission {
        let shared = self.seat.shared();
        let now = shared.clock.now();
        if let Some(mut ticket) = self.probe.take() {
            if shared.circuit.begins(&mut ticket, now) {
                let weight = self.seat.sample(now);
                return Admission::Passed(Pass::new(self.seat.clone(), ticket, weight));
            }
            shared.circuit.give_back(&ticket);
        }
        match self.ramp {
            Some(state) => shared.admit_from(Some(state), &self.seat, false),
            None => breaker.admit(),
        }
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        let shared = self.seat.shared();
        if let Some(ticket) = &self.probe {
            shared.circuit.give_back(ticket);
        }
        if let Some(number) = self.number {
            shared.waiters.leave(number);
        }
    }
}

impl std::fmt::Debug for Waits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waits")
            .field("probe", &self.probe)
            .field("ramp", &self.ramp)
            .finish_non_exhaustive()
    }
}
