use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Outcome, RejectionKind};

/// How many calls ended how, and how many were refused for what.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters<T> {
    pub(super) outcomes: [T; Outcome::ALL.len()],
    pub(super) enforced: [T; RejectionKind::ALL.len()],
    pub(super) shadowed: [T; RejectionKind::ALL.len()],
}

impl Counters<AtomicU64> {
    #[inline]
    pub(super) fn ended(&self, outcome: Outcome) {
        if let Some(count) = self.outcomes.get(outcome.index()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(super) fn refused(&self, kind: RejectionKind, enforced: bool) {
        let table = if enforced {
            &self.enforced
        } else {
            &self.shadowed
        };
        if let Some(count) = table.get(kind.index()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Counters<u64> {
    pub(super) fn add(&mut self, other: &Counters<AtomicU64>) {
        let pairs = [
            (&mut self.outcomes[..], &other.outcomes[..]),
            (&mut self.enforced[..], &other.enforced[..]),
            (&mut self.shadowed[..], &other.shadowed[..]),
        ];
        for (sum, other) in pairs {
            for (sum, other) in sum.iter_mut().zip(other) {
                *sum += other.load(Ordering::Relaxed);
            }
        }
    }
}
