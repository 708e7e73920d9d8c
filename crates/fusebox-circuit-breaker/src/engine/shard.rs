use fusebox_core::sync::{AtomicU64, Ordering};

use super::{wheel::Wheel, window::Class};

/// Where the calls of some threads are counted; 128 because the adjacent-line prefetcher pulls lines in
/// pairs.
///
/// Each thread counts for itself; who wants to know adds them up.
#[derive(Debug)]
#[repr(align(128))]
pub struct Shard {
    /// All calls but the cancelled. A window of time counts them by bucket, one of calls by generation.
    pub(super) calls: Wheel,
    pub(super) failed: Wheel,
    pub(super) slow: Wheel,
    pub(super) cancelled: Wheel,
    /// Calls that ended well at once and are not in anybody's statistics yet.
    ended_well: AtomicU64,
    /// As [`ended_well`](Self::ended_well), calls that were refused.
    refused: AtomicU64,
    /// Its place among the others.
    pub(super) index: u32,
}

impl Shard {
    pub(super) fn new(index: u32) -> Self {
        Self {
            index,
            ended_well: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            calls: Wheel::default(),
            failed: Wheel::default(),
            slow: Wheel::default(),
            cancelled: Wheel::default(),
        }
    }

    #[inline(always)]
    pub(super) fn end_well(&self) {
        self.ended_well.fetch_add(1, Ordering::Relaxed);
    }

    /// How many calls ended well at once since it was last asked.
    ///
    /// Statistics take them over when somebody looks: one more count per call, next to the one of the
    /// window, costs less than a call into them.
    pub fn take_ended_well(&self) -> u64 {
        self.ended_well.swap(0, Ordering::Relaxed)
    }

    /// Counts a call that was refused, for statistics only.
    #[inline]
    pub fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// How many calls were refused since it was last asked.
    pub fn take_refused(&self) -> u64 {
        self.refused.swap(0, Ordering::Relaxed)
    }

    /// Counts a call in a bucket of time.
    #[cold]
    pub(super) fn add_bad(&self, number: u32, class: Class) {
        if class.cancelled() {
            self.cancelled.add_surely(number);
            return;
        }
        self.calls.add_surely(number);
        if class.failed() {
            self.failed.add_surely(number);
        }
        if class.slow() {
            self.slow.add_surely(number);
        }
    }
}
