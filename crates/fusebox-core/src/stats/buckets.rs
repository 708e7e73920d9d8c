use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use hdrhistogram::Histogram;

/// Counts of durations, log-linear: 128 buckets for each power of two, so that a bucket is never wider
/// than one per cent of what is in it.
#[derive(Debug)]
pub(super) struct Buckets(Box<[AtomicU32; BUCKETS]>);

/// A duration is counted in units of 1.024 µs: a shift instead of a division.
pub(super) const UNIT_BITS: u32 = 10;
/// A duration of more units than these (73 minutes) is counted as that long.
const MOST_UNITS: u64 = u32::MAX as u64;
const LINEAR_BITS: u32 = 7;
const BUCKETS: usize = ((32 - LINEAR_BITS as usize) + 1) << LINEAR_BITS;

impl Buckets {
    /// Counts a duration in its bucket, so many times.
    #[inline]
    pub(super) fn count(&self, nanos: u64, times: u32) {
        let units = nanos >> UNIT_BITS;
        // Below 256 units a bucket is one unit wide; from there its width doubles with each power of two.
        let width_bits = 63 - LINEAR_BITS - (units | 1 << LINEAR_BITS).leading_zeros();
        let index = (u64::from(width_bits) << LINEAR_BITS) + (units >> width_bits);
        match usize::try_from(index).map(|index| self.0.get(index)) {
            Ok(Some(bucket)) => bucket.fetch_add(times, Ordering::Relaxed),
            _ => self.count_longest(times),
        };
    }

    #[cold]
    fn count_longest(&self, times: u32) -> u32 {
        let [.., longest] = &*self.0;
        longest.fetch_add(times, Ordering::Relaxed)
    }

    pub(super) fn clear(&self) {
        for bucket in self.0.iter() {
            bucket.store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn add_to(&self, histogram: &mut Histogram<u64>) {
        for (index, bucket) in (0_u64..).zip(self.0.iter()) {
            let count = bucket.load(Ordering::Relaxed);
            if count > 0 {
                let width_bits = (index >> LINEAR_BITS).saturating_sub(1);
                let units = (index - (width_bits << LINEAR_BITS)) << width_bits;
                histogram.saturating_record_n(units, count.into());
            }
        }
    }
}

impl Default for Buckets {
    fn default() -> Self {
        Self(Box::new([const { AtomicU32::new(0) }; BUCKETS]))
    }
}

#[expect(
    clippy::expect_used,
    reason = "the bounds are constants that hdrhistogram accepts; the tests make one"
)]
pub(super) fn histogram() -> Histogram<u64> {
    // Two digits make the very buckets that are added up here.
    Histogram::new_with_bounds(1, MOST_UNITS, 2).expect("constant bounds are valid")
}

/// The longest time that is counted as so many units; less than one unit is as good as none.
pub(super) fn time_of(units: u64) -> Duration {
    if units == 0 {
        Duration::ZERO
    } else {
        Duration::from_nanos(((units + 1) << UNIT_BITS) - 1)
    }
}
