//! Counters and latency histograms of a handle, cheap enough to be always on.
//!
//! A call is recorded once, at its end, in a shard chosen by thread: one uncontended lock, a few plain
//! increments, one `hdrhistogram` bucket. No lock is shared by all calls, and a reader never makes a
//! call wait: it holds one shard at a time, and a call that finds its shard held takes the next one.
//!
//! Counters run since the handle was made. Latencies cover the last one to two minutes: a histogram
//! over the whole life of a process no longer moves when something goes wrong at 3 a.m.

use std::{
    cell::Cell,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hdrhistogram::Histogram;

use crate::{Call, Outcome, RejectionKind, Timestamp, Value, Verdict, time::nanos};

/// How long a histogram collects before it becomes "the minute before".
const PERIOD: Duration = Duration::from_secs(60);
/// Longer calls are recorded as this long.
const LONGEST_MICROS: u64 = 3_600_000_000;
/// One per cent of error in what is read out; three digits would need eight times the memory.
const SIGNIFICANT_DIGITS: u8 = 2;
/// Past this many, shards cost memory (about 52 KB each) and bring nothing.
const MOST_SHARDS: usize = 16;

/// The counters and histograms of one handle.
#[derive(Debug)]
pub struct Stats {
    shards: Box<[Padded]>,
}

// Two shards in one cache line would share what they are there to keep apart; 128 because the
// adjacent-line prefetcher pulls lines in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Padded(Mutex<Shard>);

#[derive(Clone, Debug, Default)]
struct Counters {
    outcomes: [u64; Outcome::ALL.len()],
    enforced: [u64; RejectionKind::ALL.len()],
    shadowed: [u64; RejectionKind::ALL.len()],
}

#[derive(Debug)]
struct Shard {
    counters: Counters,
    rotate_at: Timestamp,
    /// `None` until the first call is recorded: an idle shard costs no memory.
    times: Option<Box<Times>>,
}

#[derive(Debug)]
struct Times {
    now: Period,
    before: Period,
}

#[derive(Debug)]
struct Period {
    latency: Histogram<u32>,
    wait: Histogram<u32>,
    /// Calls that did not wait: counted, and put into the histogram when it is read.
    unqueued: u64,
}

impl Stats {
    /// Counters at zero, with a shard for each of the machine's threads, up to 16.
    #[must_use]
    pub fn new() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let shards = threads.next_power_of_two().min(MOST_SHARDS);
        Self {
            shards: (0..shards)
                .map(|_| {
                    Padded(Mutex::new(Shard {
                        counters: Counters::default(),
                        rotate_at: Timestamp::ZERO,
                        times: None,
                    }))
                })
                .collect(),
        }
    }

    /// Records one call that was refused, or is over.
    #[inline]
    pub fn record(&self, now: Timestamp, call: &Call) {
        if let Some(mut shard) = self.shard() {
            shard.record(now, call);
        }
    }

    /// The calling thread's shard, or the next one that is free.
    #[inline]
    fn shard(&self) -> Option<MutexGuard<'_, Shard>> {
        let home = thread_index() & (self.shards.len() - 1);
        match self.shards.get(home)?.0.try_lock() {
            Ok(shard) => Some(shard),
            Err(_) => self.any_shard(home),
        }
    }

    #[cold]
    fn any_shard(&self, home: usize) -> Option<MutexGuard<'_, Shard>> {
        let (first, second) = self.shards.split_at_checked(home)?;
        for Padded(shard) in second.iter().chain(first) {
            if let Ok(shard) = shard.try_lock() {
                return Some(shard);
            }
        }
        let Padded(shard) = self.shards.get(home)?;
        // A poisoned shard lost at most one increment.
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sums up all shards.
    #[must_use]
    pub fn snapshot(&self, now: Timestamp) -> StatsSnapshot {
        let mut counters = Counters::default();
        let mut sum: Option<Period> = None;
        for Padded(shard) in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.rotate(now);
            counters.add(&shard.counters);
            if let Some(times) = &shard.times {
                let sum = sum.get_or_insert_with(Period::new);
                sum.add(&times.now);
                sum.add(&times.before);
            }
        }
        let (latency, wait) = sum.map_or_else(Default::default, |mut sum| {
            let unqueued = u32::try_from(sum.unqueued).unwrap_or(u32::MAX);
            // Zero is below the lowest bound, so it cannot fail.
            let _ = sum.wait.record_n(0, unqueued);
            (Distribution::of(&sum.latency), Distribution::of(&sum.wait))
        });
        StatsSnapshot {
            counters,
            latency,
            wait,
        }
    }
}

impl Default for Stats {
    fn default() -> Self {
        Self::new()
    }
}

impl Counters {
    fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.outcomes[..], &other.outcomes[..]),
            (&mut self.enforced[..], &other.enforced[..]),
            (&mut self.shadowed[..], &other.shadowed[..]),
        ];
        for (sum, other) in pairs {
            for (sum, other) in sum.iter_mut().zip(other) {
                *sum += other;
            }
        }
    }
}

impl Shard {
    #[inline]
    fn record(&mut self, now: Timestamp, call: &Call) {
        if let Verdict::Refused { kind, enforced } = call.verdict {
            let table = if enforced {
                &mut self.counters.enforced
            } else {
                &mut self.counters.shadowed
            };
            if let Some(count) = table.get_mut(kind.index()) {
                *count += 1;
            }
        }
        if let Some(outcome) = call.outcome {
            if let Some(count) = self.counters.outcomes.get_mut(outcome.index()) {
                *count += 1;
            }
            if now >= self.rotate_at {
                self.rotate(now);
            }
            let period = &mut self.times.get_or_insert_with(Times::new).now;
            period.latency.saturating_record(micros(call.ran));
            if call.waited.is_zero() {
                period.unqueued += 1;
            } else {
                period.wait.saturating_record(micros(call.waited));
            }
        } else if !call.waited.is_zero() {
            // A call that waited and was then refused: its wait belongs to the picture of the queue.
            if now >= self.rotate_at {
                self.rotate(now);
            }
            let period = &mut self.times.get_or_insert_with(Times::new).now;
            period.wait.saturating_record(micros(call.waited));
        }
    }

    #[cold]
    fn rotate(&mut self, now: Timestamp) {
        if now < self.rotate_at {
            return;
        }
        if let Some(times) = &mut self.times {
            std::mem::swap(&mut times.now, &mut times.before);
            times.now.clear();
            if now >= self.rotate_at + PERIOD {
                // Nothing came for a whole period: what was collected is older than "before".
                times.before.clear();
            }
        }
        self.rotate_at = now + PERIOD;
    }
}

impl Times {
    fn new() -> Box<Self> {
        Box::new(Self {
            now: Period::new(),
            before: Period::new(),
        })
    }
}

impl Period {
    fn new() -> Self {
        Self {
            latency: histogram(),
            wait: histogram(),
            unqueued: 0,
        }
    }

    fn clear(&mut self) {
        self.latency.reset();
        self.wait.reset();
        self.unqueued = 0;
    }

    fn add(&mut self, other: &Self) {
        // Same bounds on both sides, so there is nothing to fail.
        let _ = self.latency.add(&other.latency);
        let _ = self.wait.add(&other.wait);
        self.unqueued += other.unqueued;
    }
}

#[expect(
    clippy::expect_used,
    reason = "the bounds are constants that hdrhistogram accepts; the tests make one"
)]
fn histogram() -> Histogram<u32> {
    Histogram::new_with_bounds(1, LONGEST_MICROS, SIGNIFICANT_DIGITS)
        .expect("constant bounds are valid")
}

#[inline]
fn micros(time: Duration) -> u64 {
    nanos(time) / 1_000
}

/// A small number for the calling thread, the same for all handles.
#[inline]
fn thread_index() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static INDEX: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    // While a thread is torn down its index is gone; any shard will do for its last calls.
    INDEX
        .try_with(|index| {
            if index.get() == usize::MAX {
                index.set(NEXT.fetch_add(1, Ordering::Relaxed));
            }
            index.get()
        })
        .unwrap_or(0)
}

/// What [`Stats`] knew at one moment.
#[derive(Clone, Debug, Default)]
pub struct StatsSnapshot {
    counters: Counters,
    /// How long admitted calls ran, to the end of their response body.
    pub latency: Distribution,
    /// How long calls waited for the verdict, those that did not wait included.
    pub wait: Distribution,
}

impl StatsSnapshot {
    /// Calls that were made and ended so.
    #[must_use]
    pub fn outcome(&self, outcome: Outcome) -> u64 {
        self.counters
            .outcomes
            .get(outcome.index())
            .copied()
            .unwrap_or(0)
    }

    /// Calls that were made and are over.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.counters.outcomes.iter().sum()
    }

    /// Calls refused for that reason.
    #[must_use]
    pub fn enforced(&self, kind: RejectionKind) -> u64 {
        self.counters
            .enforced
            .get(kind.index())
            .copied()
            .unwrap_or(0)
    }

    /// Calls that would have been refused for that reason, had the mode been to enforce.
    #[must_use]
    pub fn shadowed(&self, kind: RejectionKind) -> u64 {
        self.counters
            .shadowed
            .get(kind.index())
            .copied()
            .unwrap_or(0)
    }

    /// Calls refused.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.counters.enforced.iter().sum()
    }

    /// Calls that the layer found refusable, whether or not it acted on it.
    #[must_use]
    pub fn detected(&self) -> u64 {
        self.refused() + self.counters.shadowed.iter().sum::<u64>()
    }

    /// The fields of a [`Snapshot`](crate::Snapshot): outcomes, refusals by reason (those that
    /// happened), latency and wait.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, Value)> {
        let by_reason = |count: &dyn Fn(RejectionKind) -> u64| {
            Value::Map(
                RejectionKind::ALL
                    .into_iter()
                    .map(|kind| (kind.as_str(), count(kind)))
                    .filter(|(_, count)| *count > 0)
                    .map(|(reason, count)| (reason, Value::Count(count)))
                    .collect(),
            )
        };
        vec![
            (
                "outcomes",
                Value::Map(
                    Outcome::ALL
                        .into_iter()
                        .map(|outcome| (outcome.as_str(), Value::Count(self.outcome(outcome))))
                        .collect(),
                ),
            ),
            ("detected", Value::Count(self.detected())),
            ("enforced", Value::Count(self.refused())),
            ("enforced_by_reason", by_reason(&|kind| self.enforced(kind))),
            ("shadowed_by_reason", by_reason(&|kind| self.shadowed(kind))),
            ("latency", self.latency.value()),
            ("wait", self.wait.value()),
        ]
    }
}

/// The shape of many durations. All zero when nothing was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Distribution {
    /// How many were recorded.
    pub count: u64,
    /// Half were shorter.
    pub p50: Duration,
    /// Nine in ten were shorter.
    pub p90: Duration,
    /// Ninety-nine in a hundred were shorter.
    pub p99: Duration,
    /// All but one in a thousand were shorter.
    pub p999: Duration,
    /// The longest.
    pub max: Duration,
}

impl Distribution {
    fn of(histogram: &Histogram<u32>) -> Self {
        let at = |quantile| Duration::from_micros(histogram.value_at_quantile(quantile));
        Self {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: Duration::from_micros(histogram.max()),
        }
    }

    /// As a value of a [`Snapshot`](crate::Snapshot).
    #[must_use]
    pub fn value(&self) -> Value {
        Value::Map(vec![
            ("count", Value::Count(self.count)),
            ("p50", Value::Time(self.p50)),
            ("p90", Value::Time(self.p90)),
            ("p99", Value::Time(self.p99)),
            ("p99.9", Value::Time(self.p999)),
            ("max", Value::Time(self.max)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(ran: Duration, waited: Duration) -> Call {
        Call {
            verdict: Verdict::Admitted,
            outcome: Some(Outcome::Success),
            waited,
            ran,
        }
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(secs)
    }

    fn close(measured: Duration, expected: Duration) -> bool {
        measured >= expected && measured <= expected + expected / 50
    }

    #[test]
    fn percentiles_are_within_the_promised_error() {
        let stats = Stats::new();
        for millis in 1..=1_000 {
            stats.record(at(1), &call(Duration::from_millis(millis), Duration::ZERO));
        }
        let latency = stats.snapshot(at(1)).latency;
        assert_eq!(latency.count, 1_000);
        assert!(
            close(latency.p50, Duration::from_millis(500)),
            "{latency:?}"
        );
        assert!(
            close(latency.p99, Duration::from_millis(990)),
            "{latency:?}"
        );
        assert!(close(latency.max, Duration::from_secs(1)), "{latency:?}");
    }

    #[test]
    fn calls_that_did_not_wait_count_in_the_wait() {
        let stats = Stats::new();
        for _ in 0..99 {
            stats.record(at(1), &call(Duration::ZERO, Duration::ZERO));
        }
        stats.record(at(1), &call(Duration::ZERO, Duration::from_secs(1)));
        let wait = stats.snapshot(at(1)).wait;
        assert_eq!(wait.count, 100);
        assert_eq!(wait.p90, Duration::ZERO);
        assert!(close(wait.max, Duration::from_secs(1)));
    }

    #[test]
    fn counters_stay_while_latencies_age_out() {
        let stats = Stats::new();
        stats.record(at(1), &call(Duration::from_secs(1), Duration::ZERO));
        assert_eq!(stats.snapshot(at(60)).latency.count, 1, "the same minute");
        assert_eq!(stats.snapshot(at(62)).latency.count, 1, "the minute after");
        let later = stats.snapshot(at(200));
        assert_eq!(later.latency.count, 0);
        assert_eq!(later.ended(), 1);
    }

    #[test]
    fn a_long_silence_ages_everything_out() {
        let stats = Stats::new();
        stats.record(at(1), &call(Duration::from_secs(1), Duration::ZERO));
        stats.record(at(600), &call(Duration::from_millis(1), Duration::ZERO));
        let latency = stats.snapshot(at(600)).latency;
        assert_eq!(latency.count, 1);
        assert!(latency.max < Duration::from_millis(2));
    }

    #[test]
    fn detected_and_enforced_are_told_apart() {
        let stats = Stats::new();
        for enforced in [true, false, false] {
            stats.record(
                at(1),
                &Call {
                    verdict: Verdict::Refused {
                        kind: RejectionKind::Full,
                        enforced,
                    },
                    outcome: (!enforced).then_some(Outcome::Success),
                    waited: Duration::ZERO,
                    ran: Duration::ZERO,
                },
            );
        }
        let snapshot = stats.snapshot(at(1));
        assert_eq!(snapshot.detected(), 3);
        assert_eq!(snapshot.refused(), 1);
        assert_eq!(snapshot.shadowed(RejectionKind::Full), 2);
        assert_eq!(snapshot.ended(), 2);
    }

    #[test]
    fn threads_lose_no_call_while_a_reader_reads() {
        let stats = Stats::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        stats.record(at(1), &call(Duration::from_micros(5), Duration::ZERO));
                    }
                });
            }
            for _ in 0..20 {
                let _ = stats.snapshot(at(1));
            }
        });
        let snapshot = stats.snapshot(at(1));
        assert_eq!(snapshot.outcome(Outcome::Success), 8_000);
        assert_eq!(snapshot.latency.count, 8_000);
    }
}
