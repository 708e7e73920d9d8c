//! What the mirror in the kernel asks of a jail.

use std::sync::{Arc, Weak, atomic::Ordering};

use fusebox_core::Timestamp;

use super::{Inner, Jail};
use crate::engine::Inmate;

impl Jail {
    pub(crate) fn downgrade(&self) -> WeakJail {
        WeakJail(Arc::downgrade(&self.0))
    }

    /// Says how often who is in, or whether it is acted on, has changed.
    pub(crate) fn changes(&self) -> u64 {
        self.0.changes.load(Ordering::Acquire)
    }

    pub(crate) fn inmates(&self, now: Timestamp, show: impl FnMut(Inmate)) {
        self.0.prison.for_each(now, show);
    }
}

/// A jail that does not live for whoever has this.
pub(crate) struct WeakJail(Weak<Inner>);

impl WeakJail {
    pub(crate) fn upgrade(&self) -> Option<Jail> {
        self.0.upgrade().map(Jail)
    }
}
