use std::{
    mem::{self, ManuallyDrop},
    sync::Arc,
    time::Duration,
};

use fusebox_core::{
    Call as Told, EventKind, Outcome, RejectionKind, Timestamp, Verdict, stats::Begun,
};

use crate::{key::Share, shared::Shared};

/// A call under way: its slot, and the one event that tells how it ended.
///
/// However it goes away, by [`finish`](Self::finish), a drop, or a panic that unwinds through it, the
/// slot is given back once and the event told once.
///
/// Small, because it is moved several times on its way from the slot into the body that holds it.
#[must_use]
pub(crate) struct Call {
    // Its drop takes it out, and so there is nothing left for another look at it.
    held: ManuallyDrop<Held>,
    begun: Begun,
}

/// What a call holds, as far as its end has to know.
enum Held {
    /// A slot that it got at once: nearly every call.
    Slot(Arc<Shared>),
    /// No slot any more; it gave back one that it got at once.
    NoSlot(Arc<Shared>),
    /// Whatever else there is.
    Otherwise(Box<Otherwise>),
    /// Nothing: it is over.
    Over,
}

struct Otherwise {
    shared: Arc<Shared>,
    waited: Duration,
    holds_slot: bool,
    /// Why it was to be refused, if it was let through all the same.
    shadowed: Option<RejectionKind>,
    /// What it holds of its key's.
    share: Option<Share>,
}

impl Call {
    /// Begins a call that found a free slot.
    #[inline(always)]
    pub(crate) fn admitted(shared: Arc<Shared>) -> Self {
        let begun = shared.reporter.begin(|| shared.clock.now());
        Self {
            held: ManuallyDrop::new(Held::Slot(shared)),
            begun,
        }
    }

    /// Begins a call that waited for its slot.
    pub(crate) fn waited(shared: Arc<Shared>, started: Timestamp, waited: Duration) -> Self {
        Self::otherwise(shared, Begun::at(started), |call| call.waited = waited)
    }

    /// Begins a call that was to be refused and is let through: it takes no slot from the others.
    pub(crate) fn shadowed(shared: Arc<Shared>, started: Timestamp, kind: RejectionKind) -> Self {
        Self::otherwise(shared, Begun::at(started), |call| {
            call.holds_slot = false;
            call.shadowed = Some(kind);
        })
    }

    fn otherwise(
        shared: Arc<Shared>,
        begun: Begun,
        than_usual: impl FnOnce(&mut Otherwise),
    ) -> Self {
        let mut otherwise = Box::new(Otherwise {
            shared,
            waited: Duration::ZERO,
            holds_slot: true,
            shadowed: None,
            share: None,
        });
        than_usual(&mut otherwise);
        Self {
            held: ManuallyDrop::new(Held::Otherwise(otherwise)),
            begun,
        }
    }

    /// Holds a share as long as its slot; without a slot it needs none.
    pub(crate) fn holding(mut self, share: Share) -> Self {
        match self.held.take() {
            Held::Slot(shared) => {
                return Self::otherwise(shared, self.begun, |call| call.share = Some(share));
            }
            Held::Otherwise(mut otherwise) => {
                if otherwise.holds_slot {
                    otherwise.share = Some(share);
                }
                *self.held = Held::Otherwise(otherwise);
            }
            without @ (Held::NoSlot(_) | Held::Over) => *self.held = without,
        }
        self
    }

    /// Whether its end has been told, or it was [taken](Self::take).
    #[cfg(feature = "http")]
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        matches!(*self.held, Held::Over)
    }

    /// The call, out of a place that has to stay behind.
    #[cfg(feature = "http")]
    #[inline]
    pub(crate) fn take(&mut self) -> Self {
        Self {
            held: ManuallyDrop::new(self.held.take()),
            begun: self.begun,
        }
    }

    /// The call is over. Said again, it changes nothing.
    #[inline(always)]
    pub(crate) fn finish(&mut self, outcome: Outcome) {
        match self.held.take() {
            Held::Slot(shared) => shared.end(self.begun, outcome),
            held => held.finish(self.begun, outcome),
        }
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
        if let Some(shared) = self.held.shared() {
            self.begun = self.begun.restarted(|| shared.clock.now());
        }
    }

    /// Gives the slot back untold: there was no request.
    pub(crate) fn withdraw(mut self) {
        self.give_slot_back();
        *self.held = Held::Over;
    }

    /// Gives the slot back before the call is over.
    pub(crate) fn give_slot_back(&mut self) {
        match self.held.take() {
            Held::Slot(shared) => {
                shared.leave();
                *self.held = Held::NoSlot(shared);
            }
            Held::Otherwise(mut otherwise) => {
                otherwise.leave();
                *self.held = Held::Otherwise(otherwise);
            }
            without @ (Held::NoSlot(_) | Held::Over) => *self.held = without,
        }
    }
}

impl Held {
    #[inline]
    const fn take(&mut self) -> Self {
        mem::replace(self, Self::Over)
    }

    const fn shared(&self) -> Option<&Arc<Shared>> {
        match self {
            Self::Slot(shared) | Self::NoSlot(shared) => Some(shared),
            Self::Otherwise(otherwise) => Some(&otherwise.shared),
            Self::Over => None,
        }
    }

    /// Any end; the usual one is compiled into the caller as well.
    #[cold]
    #[inline(never)]
    fn finish(self, begun: Begun, outcome: Outcome) {
        match self {
            Self::Slot(shared) => shared.end(begun, outcome),
            Self::NoSlot(shared) => shared.reporter.end(begun, || shared.clock.now(), outcome),
            Self::Otherwise(mut otherwise) => {
                otherwise.leave();
                otherwise.tell(begun, outcome);
            }
            Self::Over => {}
        }
    }
}

impl Otherwise {
    /// Gives back what it holds; not twice.
    fn leave(&mut self) {
        self.share = None;
        if mem::take(&mut self.holds_slot) {
            self.shared.leave();
        }
    }

    fn tell(&self, begun: Begun, outcome: Outcome) {
        let Shared {
            clock, reporter, ..
        } = &*self.shared;
        let started = match begun.started() {
            // Whoever waited, or was let through, was timed for that.
            Some(started) if !self.waited.is_zero() || self.shadowed.is_some() => started,
            _ => return reporter.end(begun, || clock.now(), outcome),
        };
        let now = clock.now();
        let verdict = self
            .shadowed
            .map_or(Verdict::Admitted, |kind| Verdict::Refused {
                kind,
                enforced: false,
            });
        let told = Told {
            verdict,
            outcome: Some(outcome),
            waited: self.waited,
            ran: now.since(started),
        };
        reporter.report(now, EventKind::Call(told));
    }
}

impl Drop for Call {
    #[inline]
    fn drop(&mut self) {
        if !matches!(*self.held, Held::Over) {
            self.give_up();
        }
    }
}

#[cfg(feature = "http")]
impl fusebox_http::Guard for Call {
    #[inline(always)]
    fn finish(mut self, judgement: fusebox_http::Judgement) {
        Self::finish(&mut self, judgement.outcome);
        // It holds nothing any more, and a drop would look for that.
        mem::forget(self);
    }
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let compartment = self.held.shared().map(|shared| shared.reporter.policy());
        f.debug_struct("Call")
            .field("compartment", &compartment)
            .finish_non_exhaustive()
    }
}
