use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use fusebox_core::{
    Call, EventKind, LayerKind, Mode, Observer, Outcome, Rejection, RejectionKind, Reporter,
    Timestamp, Verdict, time::Clock,
};
use fusebox_http::{Guard, Judgement};
use fusebox_testkit::Counted;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Flaw;

pub(super) const KIND: LayerKind = LayerKind::Other("toy");

/// Slots and a bounded queue: the state that every copy of a layer shares.
#[derive(Clone)]
pub(super) struct Gate(Arc<State>);

struct State {
    slots: Arc<Semaphore>,
    capacity: usize,
    queue: Arc<Semaphore>,
    mode: Mode,
    reporter: Reporter,
    observer: Option<Arc<dyn Observer>>,
    clock: Clock,
    detected: AtomicU64,
    enforced: AtomicU64,
    ended: AtomicU64,
    leaked: AtomicUsize,
    flaw: Flaw,
}

/// What the gate says at once.
pub(super) enum Place {
    Slot(OwnedSemaphorePermit),
    /// Wait for a slot; this is the place in the queue.
    Queue(OwnedSemaphorePermit),
    None,
}

impl Gate {
    pub(super) fn new(
        queue: usize,
        mode: Mode,
        observer: Option<Arc<dyn Observer>>,
        flaw: Flaw,
    ) -> Self {
        let layer = match flaw {
            Flaw::TellsInAnothersName => LayerKind::Bulkhead,
            _ => KIND,
        };
        Self(Arc::new(State {
            slots: Arc::new(Semaphore::new(1)),
            capacity: 1,
            queue: Arc::new(Semaphore::new(queue)),
            mode,
            reporter: Reporter::new(layer, "gate".into(), observer.iter().cloned().collect()),
            observer,
            clock: Clock::new(),
            detected: AtomicU64::new(0),
            enforced: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            leaked: AtomicUsize::new(0),
            flaw,
        }))
    }

    /// The same settings, another state: what no layer should make.
    pub(super) fn fresh(&self) -> Self {
        Self::new(1, self.0.mode, self.0.observer.clone(), self.0.flaw)
    }

    pub(super) fn flaw(&self) -> Flaw {
        self.0.flaw
    }

    pub(super) fn held(&self) -> usize {
        self.0.capacity - self.0.slots.available_permits() + self.0.leaked.load(Ordering::SeqCst)
    }

    pub(super) fn counted(&self) -> Counted {
        Counted {
            detected: self.0.detected.load(Ordering::SeqCst),
            enforced: self.0.enforced.load(Ordering::SeqCst),
            ended: self.0.ended.load(Ordering::SeqCst),
        }
    }

    pub(super) fn slots(&self) -> Arc<Semaphore> {
        self.0.slots.clone()
    }

    pub(super) fn enter(&self) -> Place {
        match self.0.slots.clone().try_acquire_owned() {
            Ok(slot) => Place::Slot(slot),
            Err(_) => match self.0.queue.clone().try_acquire_owned() {
                Ok(place) => Place::Queue(place),
                Err(_) => Place::None,
            },
        }
    }

    /// Whether a call that found no place passes all the same.
    pub(super) fn shadows(&self) -> bool {
        self.0.mode == Mode::Shadow && self.flaw() != Flaw::RefusesInShadow
    }

    pub(super) fn rejection(&self) -> Rejection {
        let layer = match self.flaw() {
            Flaw::RefusesInAnothersName => LayerKind::Bulkhead,
            _ => KIND,
        };
        Rejection::new(layer, "gate".into(), RejectionKind::Full)
            .with_retry_after(Duration::from_millis(1_500))
    }

    pub(super) fn count(&self, enforced: bool) {
        self.0.detected.fetch_add(1, Ordering::SeqCst);
        if (enforced && self.flaw() != Flaw::CountsNoRefusal)
            || self.flaw() == Flaw::CountsShadowAsEnforced
        {
            self.0.enforced.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// A slot that nobody will give back.
    pub(super) fn leak(&self) {
        self.0.leaked.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether nobody listens to it.
    pub(super) fn is_unheard(&self) -> bool {
        self.0.observer.is_none()
    }

    pub(super) fn tell(&self, verdict: Verdict, outcome: Option<Outcome>) {
        if outcome.is_some() {
            self.0.ended.fetch_add(1, Ordering::SeqCst);
        }
        let now = self.0.clock.now();
        let call = Call {
            verdict,
            outcome,
            waited: Duration::ZERO,
            ran: now.since(Timestamp::ZERO),
        };
        self.0.reporter.report(now, EventKind::Call(call));
    }
}

/// Tells one call once, whatever becomes of it, and holds its slot.
pub(super) struct Record {
    pub(super) gate: Gate,
    pub(super) verdict: Verdict,
    pub(super) slot: Option<OwnedSemaphorePermit>,
    pub(super) stage: Stage,
    pub(super) told: bool,
}

/// Where a call was when it was dropped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Called,
    Waiting,
    Running,
    Answered,
    Over,
}

impl Record {
    pub(super) fn new(gate: Gate, verdict: Verdict, slot: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            gate,
            verdict,
            slot,
            stage: Stage::Called,
            told: false,
        }
    }

    pub(super) fn over(mut self, outcome: Outcome) {
        self.tell(outcome);
        self.stage = Stage::Over;
    }

    pub(super) fn tell(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        let flaw = self.gate.flaw();
        let outcome = match (flaw, outcome) {
            (Flaw::TakesCancellationForSuccess, Outcome::Cancelled) => Outcome::Success,
            (Flaw::TakesCancellationForFailure, Outcome::Cancelled) => Outcome::Failure,
            (Flaw::TakesBreakingOffForSuccess, Outcome::Failure)
                if self.stage == Stage::Answered =>
            {
                Outcome::Success
            }
            (_, outcome) => outcome,
        };
        let verdict = match (flaw, self.verdict) {
            (Flaw::TellsShadowAsEnforced, Verdict::Refused { kind, .. }) => Verdict::Refused {
                kind,
                enforced: true,
            },
            (Flaw::TellsShadowAsAdmitted, _) => Verdict::Admitted,
            (_, verdict) => verdict,
        };
        let admitted = verdict == Verdict::Admitted;
        let cancelled = outcome == Outcome::Cancelled;
        let body = self.stage == Stage::Answered;
        let panics = std::thread::panicking();
        if (flaw == Flaw::TellsNothingWhenCancelled && cancelled && !body && !panics)
            || (flaw == Flaw::TellsNothingWhenItsBodyIsDropped && cancelled && body)
            || (flaw == Flaw::TellsNothingWhenShadowedAndCancelled && cancelled && !admitted)
            || (flaw == Flaw::TellsNothingOfPanics && panics)
            || (flaw == Flaw::CountsNothingUnheard && admitted && self.gate.is_unheard())
        {
            return;
        }
        let told = (flaw != Flaw::TellsNoOutcome || !admitted).then_some(outcome);
        self.gate.tell(verdict, told);
        if (flaw == Flaw::TellsTwice && admitted)
            || (flaw == Flaw::TellsShadowTwice && !admitted && !cancelled)
        {
            self.gate.tell(verdict, told);
        }
    }

    fn leaks(&self) -> bool {
        if std::thread::panicking() {
            return self.gate.flaw() == Flaw::LeaksOnPanics;
        }
        match self.gate.flaw() {
            Flaw::LeaksWhenNeverPolled => self.stage == Stage::Called,
            Flaw::LeaksWhenDroppedWaiting => self.stage == Stage::Waiting,
            Flaw::LeaksWhenDropped => self.stage == Stage::Running,
            Flaw::LeaksUnheard => self.stage == Stage::Running && self.gate.is_unheard(),
            Flaw::LeaksInShadow => self.verdict != Verdict::Admitted && self.stage != Stage::Over,
            _ => false,
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.leaks() {
            self.gate.leak();
        }
        self.tell(Outcome::Cancelled);
    }
}

impl Guard for Record {
    fn finish(mut self, judgement: Judgement) {
        self.tell(judgement.outcome);
        if judgement.outcome != Outcome::Cancelled {
            self.stage = Stage::Over;
        }
    }
}
