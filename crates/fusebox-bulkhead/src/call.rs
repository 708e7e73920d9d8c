use std::{sync::Arc, time::Duration};

use fusebox_core::{Call as Told, EventKind, Outcome, RejectionKind, Timestamp, Verdict};

use crate::{compartment::Shared, key::Share};

/// A call under way: its slot, and the one event that tells how it ended.
///
/// However it goes away, by [`finish`](Self::finish), a drop, or a panic that unwinds through it, the
/// slot is given back once and the event told once.
#[must_use]
pub(crate) struct Call {
    /// `None` once it is over.
    shared: Option<Arc<Shared>>,
    started: Timestamp,
    entered: Entered,
}

/// How a call came in, as far as its end has to know.
///
/// Small, and the usual case is a tag alone: a call is moved several times on its way from the slot into
/// the body that holds it.
#[derive(Debug)]
enum Entered {
    /// At once, with a slot.
    AtOnce,
    /// In any other way.
    Otherwise(Box<Otherwise>),
    /// At once, with a slot that it has given back already.
    SlotGivenBack,
}

#[derive(Debug)]
struct Otherwise {
    waited: Duration,
    holds_slot: bool,
    /// Why it was to be refused, if it was let through all the same.
    shadowed: Option<RejectionKind>,
    /// What it holds of its key's.
    share: Option<Share>,
}

impl Call {
    /// Begins a call that found a free slot.
    #[inline]
    pub(crate) const fn admitted(shared: Arc<Shared>, started: Timestamp) -> Self {
        Self {
            shared: Some(shared),
            started,
            entered: Entered::AtOnce,
        }
    }

    /// Begins a call that waited for its slot.
    pub(crate) fn waited(shared: Arc<Shared>, started: Timestamp, waited: Duration) -> Self {
        Self {
            shared: Some(shared),
            started,
            entered: Entered::Otherwise(Box::new(Otherwise {
                waited,
                holds_slot: true,
                shadowed: None,
                share: None,
            })),
        }
    }

    /// Begins a call that was to be refused and is let through: it takes no slot from the others.
    pub(crate) fn shadowed(shared: Arc<Shared>, started: Timestamp, kind: RejectionKind) -> Self {
        Self {
            shared: Some(shared),
            started,
            entered: Entered::Otherwise(Box::new(Otherwise {
                waited: Duration::ZERO,
                holds_slot: false,
                shadowed: Some(kind),
                share: None,
            })),
        }
    }

    /// Holds a share as long as its slot; without a slot it needs none.
    pub(crate) fn holding(mut self, share: Share) -> Self {
        if matches!(self.entered, Entered::AtOnce) {
            self.entered = Entered::Otherwise(Box::new(Otherwise {
                waited: Duration::ZERO,
                holds_slot: true,
                shadowed: None,
                share: None,
            }));
        }
        if let Entered::Otherwise(entered) = &mut self.entered
            && entered.holds_slot
        {
            entered.share = Some(share);
        }
        self
    }

    /// The call is over. Said again, it changes nothing.
    #[inline(always)]
    pub(crate) fn finish(&mut self, outcome: Outcome) {
        let Some(shared) = self.shared.take() else {
            return;
        };
        if matches!(self.entered, Entered::AtOnce) {
            let now = shared.clock.now();
            shared.leave(now);
            shared.reporter.report_admitted(self.started, now, outcome);
        } else {
            self.finish_otherwise(&shared, outcome);
        }
    }

    #[cold]
    #[inline(never)]
    fn finish_otherwise(&mut self, shared: &Shared, outcome: Outcome) {
        let now = shared.clock.now();
        if self.entered.take_slot() {
            shared.leave(now);
        }
        let (waited, shadowed) = match &self.entered {
            Entered::Otherwise(entered) => (entered.waited, entered.shadowed),
            Entered::AtOnce | Entered::SlotGivenBack => (Duration::ZERO, None),
        };
        let told = Told {
            verdict: shadowed.map_or(Verdict::Admitted, |kind| Verdict::Refused {
                kind,
                enforced: false,
            }),
            outcome: Some(outcome),
            waited,
            ran: now.since(self.started),
        };
        shared.reporter.report(now, EventKind::Call(told));
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
            self.started = shared.clock.now();
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
            && self.entered.take_slot()
        {
            shared.leave(shared.clock.now());
        }
    }
}

impl Entered {
    /// Whether there is a slot to be given back; not twice.
    fn take_slot(&mut self) -> bool {
        match self {
            Self::AtOnce => {
                *self = Self::SlotGivenBack;
                true
            }
            Self::Otherwise(entered) => {
                entered.share = None;
                std::mem::take(&mut entered.holds_slot)
            }
            Self::SlotGivenBack => false,
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
            .field("entered", &self.entered)
            .finish_non_exhaustive()
    }
}
