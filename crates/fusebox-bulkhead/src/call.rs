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
    /// Whether it has a slot to give back, and entered at once: all that the end of the usual call has to
    /// know. A call is moved several times on its way from the slot into the body that holds it.
    is_usual: bool,
    /// How it entered if it was in another way.
    otherwise: Option<Box<Otherwise>>,
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
            is_usual: true,
            otherwise: None,
        }
    }

    /// Begins a call that waited for its slot.
    pub(crate) fn waited(shared: Arc<Shared>, started: Timestamp, waited: Duration) -> Self {
        let mut call = Self::admitted(shared, started);
        call.otherwise().waited = waited;
        call
    }

    /// Begins a call that was to be refused and is let through: it takes no slot from the others.
    pub(crate) fn shadowed(shared: Arc<Shared>, started: Timestamp, kind: RejectionKind) -> Self {
        let mut call = Self::admitted(shared, started);
        let otherwise = call.otherwise();
        otherwise.holds_slot = false;
        otherwise.shadowed = Some(kind);
        call
    }

    /// Holds a share as long as its slot; without a slot it needs none.
    pub(crate) fn holding(mut self, share: Share) -> Self {
        let otherwise = self.otherwise();
        if otherwise.holds_slot {
            otherwise.share = Some(share);
        }
        self
    }

    fn otherwise(&mut self) -> &mut Otherwise {
        let holds_slot = std::mem::take(&mut self.is_usual);
        self.otherwise.get_or_insert_with(|| {
            Box::new(Otherwise {
                waited: Duration::ZERO,
                holds_slot,
                shadowed: None,
                share: None,
            })
        })
    }

    /// The call is over. Said again, it changes nothing.
    #[inline(always)]
    pub(crate) fn finish(&mut self, outcome: Outcome) {
        let Some(shared) = self.shared.take() else {
            return;
        };
        if self.is_usual {
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
        if self.take_slot() {
            shared.leave(now);
        }
        let otherwise = self.otherwise.as_deref();
        let waited = otherwise.map_or(Duration::ZERO, |otherwise| otherwise.waited);
        let shadowed = otherwise.and_then(|otherwise| otherwise.shadowed);
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
        let Some(shared) = self.shared.clone() else {
            return;
        };
        if self.take_slot() {
            shared.leave(shared.clock.now());
        }
    }

    /// Whether there is a slot to be given back; not twice.
    fn take_slot(&mut self) -> bool {
        match &mut self.otherwise {
            None => std::mem::take(&mut self.is_usual),
            Some(otherwise) => {
                otherwise.share = None;
                std::mem::take(&mut otherwise.holds_slot)
            }
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
            .field("is_usual", &self.is_usual)
            .field("otherwise", &self.otherwise)
            .finish_non_exhaustive()
    }
}
