use std::sync::Arc;
use std::time::Duration;

use fusebox_core::{Call as Told, EventKind, Outcome, RejectionKind, Timestamp, Verdict};
use fusebox_http::{Guard, Judgement};
use http::StatusCode;

use crate::charge::Charge;
use crate::limiter::Shared;
use crate::policy::{Ended, WorthOf};
use crate::store::QuotaStore;

/// A call under way: the one event that tells how it ended, and what it has paid until that is known.
///
/// However it goes away (its end, a drop, a panic that unwinds through it), it is told once, and what it was not
/// worth is given back once.
#[must_use]
pub(crate) struct Call<St: QuotaStore> {
    /// `None` once it is over.
    shared: Option<Arc<Shared<St>>>,
    started: Timestamp,
    /// `None` for nearly every call: one that was admitted at once and keeps what it paid.
    unusual: Option<Box<Unusual>>,
}

/// What few calls have to remember.
#[derive(Default)]
struct Unusual {
    waited: Waited,
    /// Nothing was spent for it: it was to be refused, or nobody knows, and let through all the same.
    unpaid: bool,
    /// Why it was to be refused, if it was.
    shadowed: Option<RejectionKind>,
    settling: Option<Settling>,
}

/// How a call waits for its turn.
enum Waited {
    /// It still does.
    Parked,
    /// It did, for so long.
    Over(Duration),
}

impl Default for Waited {
    fn default() -> Self {
        Self::Over(Duration::ZERO)
    }
}

/// What is needed to settle a call.
struct Settling {
    charge: Charge,
    worth: Option<WorthOf>,
    status: Option<StatusCode>,
    told: Option<u64>,
}

impl<St: QuotaStore> Call<St> {
    /// Begins a call that may pass.
    #[inline]
    pub(crate) const fn admitted(shared: Arc<Shared<St>>, started: Timestamp) -> Self {
        Self {
            shared: Some(shared),
            started,
            unusual: None,
        }
    }

    /// Begins a call that was to be refused, for that reason if it was one, and passes all the same.
    pub(crate) fn shadowed(
        shared: Arc<Shared<St>>,
        started: Timestamp,
        kind: Option<RejectionKind>,
    ) -> Self {
        let mut call = Self::admitted(shared, started);
        call.remember(|unusual| {
            unusual.unpaid = true;
            unusual.shadowed = kind;
        });
        call
    }

    /// It will turn out what it was worth.
    #[cold]
    pub(crate) fn settles(&mut self, charge: Charge, worth: Option<WorthOf>) {
        let settling = Settling {
            charge,
            worth,
            status: None,
            told: None,
        };
        self.remember(|unusual| unusual.settling = Some(settling));
    }

    /// It waits for its turn.
    pub(crate) fn parks(&mut self) {
        self.remember(|unusual| unusual.waited = Waited::Parked);
    }

    /// It has waited for its turn until now.
    pub(crate) fn waited(&mut self, now: Timestamp) {
        let waited = now.since(self.started);
        self.remember(|unusual| unusual.waited = Waited::Over(waited));
    }

    /// It came at that time already, and was held back until now.
    pub(crate) fn began(&mut self, started: Timestamp, now: Timestamp) {
        if started < now {
            self.started = started;
            self.waited(now);
        }
    }

    /// Whether what it is charged was spent.
    pub(crate) fn has_paid(&self) -> bool {
        self.unusual.as_ref().is_none_or(|unusual| !unusual.unpaid)
    }

    /// Whether it was to be refused, and passes all the same.
    pub(crate) fn is_let_through(&self) -> bool {
        let unusual = self.unusual.as_ref();
        unusual.is_some_and(|unusual| unusual.shadowed.is_some())
    }

    /// When it came.
    pub(crate) const fn started(&self) -> Timestamp {
        self.started
    }

    /// Somebody else tells of it. When it came.
    pub(crate) fn forget(mut self) -> Timestamp {
        self.shared = None;
        self.started
    }

    fn remember(&mut self, what: impl FnOnce(&mut Unusual)) {
        what(self.unusual.get_or_insert_default());
    }

    /// The head of its answer is there.
    pub(crate) fn answered<B>(&mut self, response: &http::Response<B>) {
        if let Some(unusual) = &mut self.unusual
            && let Some(settling) = &mut unusual.settling
        {
            settling.status = Some(response.status());
            settling.told = response
                .extensions()
                .get()
                .map(|crate::Worth(worth)| *worth);
        }
    }

    /// Whether anybody wants to know how it ends: an observer, a log, a histogram, or a rule that settles it.
    ///
    /// If not, all that is left to do is to count it, and the head of its answer says as what. A guard that waits for
    /// the end of the body would cost more than all of the rest.
    #[inline]
    pub(crate) fn is_followed(&self) -> bool {
        self.unusual.is_some() || self.shared.as_ref().is_some_and(|shared| shared.follows())
    }

    /// The call is over.
    #[inline]
    pub(crate) fn finish(self, outcome: Outcome) {
        if self.is_followed() {
            self.tell(outcome);
        } else {
            self.count(outcome);
        }
    }

    /// The call, that nobody [follows](Self::is_followed), is over.
    #[inline(always)]
    pub(crate) fn count(mut self, outcome: Outcome) {
        if let Some(shared) = self.shared.take() {
            shared.reporter.count(outcome);
        }
    }

    #[cold]
    #[inline(never)]
    fn tell(mut self, outcome: Outcome) {
        let started = self.started;
        let (Some(shared), unusual) = (self.shared.take(), self.unusual.take()) else {
            return;
        };
        let now = shared.clock.now();
        let Some(unusual) = unusual else {
            return shared.reporter.report_admitted(started, now, outcome);
        };
        if let Some(settling) = &unusual.settling {
            settling.settle(&shared, outcome);
        }
        // Given up in line, it has waited until now and never ran.
        let waited = match unusual.waited {
            Waited::Parked => now.since(started),
            Waited::Over(waited) => waited,
        };
        let verdict = match unusual.shadowed {
            None => Verdict::Admitted,
            Some(kind) => Verdict::Refused {
                kind,
                enforced: false,
            },
        };
        let told = Told {
            verdict,
            outcome: Some(outcome),
            waited,
            ran: now.since(started + waited),
        };
        shared.reporter.report(now, EventKind::Call(told));
    }

    #[cold]
    #[inline(never)]
    fn give_up(self) {
        // The work is dropped by its own panic, or because nobody waits for it any more.
        self.finish(if std::thread::panicking() {
            Outcome::Failure
        } else {
            Outcome::Cancelled
        });
    }
}

impl Settling {
    fn settle<St: QuotaStore>(&self, shared: &Shared<St>, outcome: Outcome) {
        let Charge { at, tier, to, cost } = &self.charge;
        let ended = Ended {
            cost: *cost,
            status: self.status,
            outcome,
            told: self.told,
        };
        let worth = match &self.worth {
            Some(worth) => worth(&ended),
            None => self.told.unwrap_or(*cost),
        };
        shared.adjust(*tier, to.keys(), *cost, worth, *at);
    }
}

impl<St: QuotaStore> Drop for Call<St> {
    #[inline]
    fn drop(&mut self) {
        // Taken, so that nothing is left to drop where the call is over, as it nearly always is.
        if let Some(shared) = self.shared.take() {
            let (started, unusual) = (self.started, self.unusual.take());
            Self {
                shared: Some(shared),
                started,
                unusual,
            }
            .give_up();
        }
    }
}

impl<St: QuotaStore> Guard for Call<St> {
    #[inline]
    fn finish(self, judgement: Judgement) {
        Self::finish(self, judgement.outcome);
    }
}

impl<St: QuotaStore> std::fmt::Debug for Call<St> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call")
            .field("over", &self.shared.is_none())
            .finish_non_exhaustive()
    }
}
