//! One admitted call, told once, at its end.

use fusebox_core::{Call, Outcome, Timestamp, Verdict};
use fusebox_http::{Guard, Judgement};
use std::time::Duration;

use crate::Jail;

/// Tells what became of a call, when it is over or given up.
#[derive(Debug)]
pub(crate) struct Record {
    jail: Jail,
    verdict: Verdict,
    started: Timestamp,
    told: bool,
}

impl Record {
    pub(crate) const fn new(jail: Jail, verdict: Verdict, started: Timestamp) -> Self {
        Self {
            jail,
            verdict,
            started,
            told: false,
        }
    }

    pub(crate) fn failed(mut self) {
        self.tell(Outcome::Failure);
    }

    fn tell(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        let now = self.jail.now();
        self.jail.report(
            now,
            Call {
                verdict: self.verdict,
                outcome: Some(outcome),
                waited: Duration::ZERO,
                ran: now.since(self.started),
            },
        );
    }
}

impl Guard for Record {
    fn finish(mut self, judgement: Judgement) {
        self.tell(judgement.outcome);
    }
}

impl Drop for Record {
    /// Whoever waited for the call has gone.
    fn drop(&mut self) {
        self.tell(Outcome::Cancelled);
    }
}
