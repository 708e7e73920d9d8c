use std::sync::Arc;
use std::time::Duration;

use fusebox_core::{Call as Told, EventKind, Outcome, RejectionKind, Timestamp, Verdict};
use fusebox_http::{Guard, Judgement};
use http::StatusCode;

use crate::Tier;
use crate::limiter::Shared;
use crate::policy::{Ended, WorthOf};
use crate::store::{Key, Keys, QuotaStore};

/// A call under way: the one event that tells how it ended, and what it has paid until that is known.
///
/// However it goes away (its end, a drop, a panic that unwinds through it), it is told once, and what it was not
/// worth is given back once.
#[must_use]
pub(crate) struct Call<St: QuotaStore> {
    /// `None` once it is over.
    shared: Option<Arc<Shared<St>>>,
    started: Timestamp,
    waited: Duration,
    /// Why it was to be refused, if it was let through all the same.
    shadowed: Option<RejectionKind>,
    /// `None` for calls that keep what they paid, which is nearly every one.
    settling: Option<Box<Settling>>,
}

/// What is needed to settle a call.
pub(crate) struct Settling {
    pub(crate) tier: Tier,
    pub(crate) key: Key,
    pub(crate) cost: u64,
    pub(crate) worth: Option<WorthOf>,
    pub(crate) status: Option<StatusCode>,
    pub(crate) told: Option<u64>,
}

impl<St: QuotaStore> Call<St> {
    #[inline]
    pub(crate) const fn new(
        shared: Arc<Shared<St>>,
        started: Timestamp,
        shadowed: Option<RejectionKind>,
        settling: Option<Box<Settling>>,
    ) -> Self {
        Self {
            shared: Some(shared),
            started,
            waited: Duration::ZERO,
            shadowed,
            settling,
        }
    }

    /// It has waited this long for its turn.
    pub(crate) const fn waited(&mut self, waited: Duration) {
        self.waited = waited;
    }

    /// The head of its answer is there.
    #[inline]
    pub(crate) fn answered<B>(&mut self, response: &http::Response<B>) {
        if let Some(settling) = &mut self.settling {
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
        let (now, ran) = if shared.latency {
            let now = shared.clock.now();
            (now, now.since(self.started + self.waited))
        } else {
            (self.started, Duration::ZERO)
        };
        if let Some(settling) = self.settling.take() {
            settling.settle(&shared, self.started, outcome);
        }
        let verdict = match self.shadowed {
            None => Verdict::Admitted,
            Some(kind) => Verdict::Refused {
                kind,
                enforced: false,
            },
        };
        let told = Told {
            verdict,
            outcome: Some(outcome),
            waited: self.waited,
            ran,
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
    #[cold]
    fn settle<St: QuotaStore>(&self, shared: &Shared<St>, spent_at: Timestamp, outcome: Outcome) {
        let ended = Ended {
            cost: self.cost,
            status: self.status,
            outcome,
            told: self.told,
        };
        let worth = match &self.worth {
            Some(worth) => worth(&ended),
            None => self.told.unwrap_or(self.cost),
        };
        let keys = Keys::One(self.key);
        shared.adjust(self.tier, keys, self.cost, worth, spent_at);
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
            .field("waited", &self.waited)
            .field("shadowed", &self.shadowed)
            .field("settles", &self.settling.is_some())
            .finish_non_exhaustive()
    }
}
