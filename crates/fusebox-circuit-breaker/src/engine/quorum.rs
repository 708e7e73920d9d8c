use fusebox_core::sync::{AtomicU32, Ordering};

/// Keeps a family of circuits from all being open at once.
///
/// When most of them fail at the same time, the fault is more likely on this side (a network, a
/// configuration) than in every dependency: opening the rest would turn a bad hour into an outage. One
/// may always be open, however few there are (Envoy's `max_ejection_percent` has the same rule).
#[derive(Debug)]
pub struct Quorum {
    percent: u32,
    members: AtomicU32,
    open: AtomicU32,
}

impl Quorum {
    /// At most `percent` of the members.
    #[must_use]
    pub fn new(percent: u32) -> Self {
        Self {
            percent,
            members: AtomicU32::new(0),
            open: AtomicU32::new(0),
        }
    }

    /// How many are open, or trying to close.
    pub fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    pub(super) fn join(&self) {
        self.members.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn leave(&self) {
        self.members.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether one more may open; it then counts as open.
    pub(super) fn try_open(&self) -> bool {
        let members = u64::from(self.members.load(Ordering::Relaxed));
        let mut open = self.open.load(Ordering::Relaxed);
        while open == 0 || (u64::from(open) + 1) * 100 <= members * u64::from(self.percent) {
            match self.open.compare_exchange_weak(
                open,
                open + 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => open = now,
            }
        }
        false
    }

    /// One that was open is not any more.
    pub(super) fn closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(fusebox_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_first_may_open_and_then_no_more_than_the_share() {
        let quorum = Quorum::new(50);
        quorum.join();
        assert!(quorum.try_open());
        assert!(!quorum.try_open());
        for _ in 1..4 {
            quorum.join();
        }
        assert!(quorum.try_open());
        assert!(!quorum.try_open());
        quorum.closed();
        assert!(quorum.try_open());
    }
}
