use std::sync::Arc;
use std::time::Duration;

use fusebox_core::{Call as Told, EventKind, Outcome, RejectionKind, Timestamp, Verdict};
use fusebox_http::{Guard, Judgement};

use crate::exam::{Exam, Stop};
use crate::ruleset::Shared;

/// A call under way: the one event that tells how it ended, and the inspection as long as it goes on.
///
/// However it goes away (its end, a drop, a panic that unwinds through it), it is told once.
#[must_use]
pub(crate) struct Call {
    /// `None` once it is over.
    shared: Option<Arc<Shared>>,
    pub(crate) started: Timestamp,
    waited: Duration,
    /// Why it was to be refused, if it was and passes all the same.
    shadowed: Option<RejectionKind>,
    /// Where its response is to be inspected too.
    pub(crate) exam: Option<Box<Exam>>,
}

/// A refusal: why, and the id of the request.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) stop: Stop,
    pub(crate) request_id: String,
}

impl Call {
    #[inline]
    pub(crate) fn begin(shared: &Arc<Shared>) -> Self {
        Self {
            started: shared.clock.now(),
            shared: Some(shared.clone()),
            waited: Duration::ZERO,
            shadowed: None,
            exam: None,
        }
    }

    /// It waited for its verdict until now.
    pub(crate) fn waited(&mut self) {
        if let Some(shared) = &self.shared {
            self.waited = shared.clock.now().since(self.started);
        }
    }

    /// The inspection is over: what it found is told. `Some` if the request, or its response, which `outcome` is about, must not
    /// pass.
    fn conclude(
        &mut self,
        exam: Exam,
        stop: Option<Stop>,
        outcome: Option<Outcome>,
    ) -> Option<Refused> {
        let (stop, enforced) = match (stop, &self.shared) {
            (Some(stop), Some(shared)) => {
                let enforced = !exam.only_detects() && shared.mode.enforces_next();
                (stop, enforced)
            }
            // Perhaps the rules only detect.
            (None, Some(_)) => match exam.detected() {
                Some(detected) => (detected, false),
                None => {
                    exam.close(None);
                    return None;
                }
            },
            (_, None) => return None,
        };
        let request_id = exam.close(Some((&stop, enforced)));
        if !enforced {
            self.shadowed = Some(stop.kind);
            return None;
        }
        let waited = self.waited;
        if let Some(shared) = self.shared.take() {
            let called = self.started + waited;
            // A request that never ran is over where it was decided about.
            let at = outcome.map_or(called, |_| shared.clock.now());
            let told = Told {
                verdict: Verdict::Refused {
                    kind: stop.kind,
                    enforced: true,
                },
                outcome,
                waited,
                ran: at.since(called),
            };
            shared.reporter.report(at, EventKind::Call(told));
        }
        Some(Refused {
            stop,
            request_id: request_id.unwrap_or_default(),
        })
    }

    /// The rules have decided about a request. Where its response is to be inspected too, the inspection goes on.
    pub(crate) fn settle_request(&mut self, exam: Exam, stop: Option<Stop>) -> Option<Refused> {
        let looks_on = exam.limits().response.is_some();
        if stop.is_none() && looks_on {
            self.exam = Some(Box::new(exam));
            return None;
        }
        self.conclude(exam, stop, None)
    }

    /// The rules have decided about a response. The call was made: withheld or not, it has an outcome.
    pub(crate) fn settle_answer(
        &mut self,
        stop: Option<Stop>,
        judgement: Judgement,
    ) -> Option<Refused> {
        let exam = *self.exam.take()?;
        self.conclude(exam, stop, Some(judgement.outcome))
    }

    /// The call is over. Said again, it changes nothing.
    #[inline]
    pub(crate) fn finish(&mut self, outcome: Outcome) {
        // There was no response to look at.
        if let Some(exam) = self.exam.take() {
            let _ = self.conclude(*exam, None, None);
        }
        let Some(shared) = self.shared.take() else {
            return;
        };
        let now = shared.clock.now();
        if self.shadowed.is_none() && self.waited.is_zero() {
            shared.reporter.report_admitted(self.started, now, outcome);
            return;
        }
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
            ran: now.since(self.started + self.waited),
        };
        shared.reporter.report(now, EventKind::Call(told));
    }
}

impl Drop for Call {
    #[inline]
    fn drop(&mut self) {
        if self.shared.is_some() {
            // The work is dropped by its own panic, or because nobody waits for it any more.
            self.finish(if std::thread::panicking() {
                Outcome::Failure
            } else {
                Outcome::Cancelled
            });
        }
    }
}

impl Guard for Call {
    #[inline]
    fn finish(mut self, judgement: Judgement) {
        Self::finish(&mut self, judgement.outcome);
    }
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call")
            .field("over", &self.shared.is_none())
            .field("shadowed", &self.shadowed)
            .finish_non_exhaustive()
    }
}
