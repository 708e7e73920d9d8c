use std::sync::Arc;
use std::time::Duration;

use fusebox_core::{Call as Told, EventKind, Outcome, RejectionKind, Timestamp, Verdict};
use fusebox_http::{Guard, Judgement};
use http::StatusCode;

use crate::limiter::Shared;
use crate::policy::{Ended, WorthOf};
use crate::service::Charge;
use crate::store::{Keys, QuotaStore};

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
    waited: Duration,
    /// Why it was to be refused, if it was let through all the same.
    shadowed: Option<RejectionKind>,
    settling: Option<Settling>,
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
        call.unusual().shadowed = kind;
        call
    }

    /// It will turn out what it was worth.
    #[cold]
    pub(crate) fn settles(&mut self, charge: Charge, worth: Option<WorthOf>) {
        self.unusual().settling = Some(Settling {
            charge,
            worth,
            status: None,
            told: None,
        });
    }

    /// It has waited this long for its turn.
    pub(crate) fn waited(&mut self, waited: Duration) {
        self.unusual().waited = waited;
    }

    fn unusual(&mut self) -> &mut Unusual {
        self.unusual.get_or_insert_default()
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

    /// The call is over. Said again, it changes nothing.
    #[inline]
    pub(crate) fn finish(&mut self, outcome: Outcome) {
        let Some(shared) = self.shared.take() else {
            return;
        };
        if self.unusual.is_some() {
            return self.finish_unusual(&shared, outcome);
        }
        let now = if shared.latency {
            shared.clock.now()
        } else {
            self.started
        };
        shared.reporter.report_admitted(self.started, now, outcome);
    }

    #[cold]
    #[inline(never)]
    fn finish_unusual(&mut self, shared: &Shared<St>, outcome: Outcome) {
        let unusual = self.unusual.take().unwrap_or_default();
        let began = self.started + unusual.waited;
        let now = if shared.latency {
            shared.clock.now()
        } else {
            began
        };
        if let Some(settling) = &unusual.settling {
            settling.settle(shared, outcome);
        }
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
            waited: unusual.waited,
            ran: now.since(began),
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
}

impl Settling {
    fn settle<St: QuotaStore>(&self, shared: &Shared<St>, outcome: Outcome) {
        let Charge {
            at,
            tier,
            key,
            cost,
        } = self.charge;
        let ended = Ended {
            cost,
            status: self.status,
            outcome,
            told: self.told,
        };
        let worth = match &self.worth {
            Some(worth) => worth(&ended),
            None => self.told.unwrap_or(cost),
        };
        shared.adjust(tier, Keys::One(key), cost, worth, at);
    }
}

impl<St: QuotaStore> Drop for Call<St> {
    #[inline]
    fn drop(&mut self) {
        if self.shared.is_some() {
            self.give_up();
        }
    }
}

impl<St: QuotaStore> Guard for Call<St> {
    #[inline]
    fn finish(mut self, judgement: Judgement) {
        Self::finish(&mut self, judgement.outcome);
    }
}

impl<St: QuotaStore> std::fmt::Debug for Call<St> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call")
            .field("over", &self.shared.is_none())
            .field("unusual", &self.unusual.is_some())
            .finish_non_exhaustive()
    }
}
