//! Counters and latency histograms of a handle, cheap enough to be always on.
//!
//! A call is recorded once, at its end, in a shard chosen by thread: one increment for its outcome, one
//! for the bucket its latency falls into. There is no lock on that path, a reader never makes a call
//! wait, and no increment is ever lost.
//!
//! Every call is counted. Every call is timed while there are few of them; above some thousands a second and thread
//! it is one in sixteen, weighted, because reading the clock is what costs (see [`Begun`]).
//!
//! The buckets are those of Gil Tene's `HdrHistogram` with two significant digits, as plain atomics; when
//! somebody reads, they are summed up in an `hdrhistogram`, which knows the quantiles.
//!
//! Counters run since the handle was made. Latencies cover the last one to two minutes: a histogram
//! over the whole life of a process no longer moves when something goes wrong at 3 a.m.

mod buckets;
mod counters;
mod sampler;
mod snapshot;

use std::{
    cell::Cell,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use self::{
    buckets::{Buckets, histogram},
    counters::Counters,
};
pub use self::{
    sampler::{Begun, Sampler},
    snapshot::{Distribution, StatsSnapshot},
};
use crate::{Call, Outcome, RejectionKind, Timestamp, Verdict, time::nanos};

/// How long a histogram collects before it becomes "the minute before".
const PERIOD: Duration = Duration::from_secs(60);
/// Past this many, shards cost memory (about 52 KB each) and bring nothing.
const MOST_SHARDS: usize = 16;

/// The counters and histograms of one handle.
#[derive(Debug)]
pub struct Stats {
    shards: Box<[Shard]>,
    /// One less than there are shards, which are a power of two.
    mask: usize,
    /// Which of the two periods of every shard collects.
    current: AtomicUsize,
    /// When it is to change, in nanoseconds.
    rotate_at: AtomicU64,
    /// Held by whoever ends a period or sums up; never by a call that would have to wait for it.
    reading: Mutex<()>,
    times_all: bool,
}

// Two shards in one cache line would share what they are there to keep apart; 128 because the
// adjacent-line prefetcher pulls lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    sampler: Sampler,
    counters: Counters<AtomicU64>,
    /// Empty until the first call is recorded: an idle shard costs no memory.
    periods: OnceLock<Box<[Period; 2]>>,
}

#[derive(Debug, Default)]
struct Period {
    /// Of calls that were made.
    latency: Buckets,
    /// Of calls that waited. Those that did not are the difference to the calls made.
    wait: Buckets,
    /// How many of those that waited were refused in the end, or given up.
    not_made_after_waiting: AtomicU32,
}

impl Stats {
    /// Counters at zero, with a shard for each of the machine's threads, up to 16.
    #[must_use]
    pub fn new() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let shards = threads.next_power_of_two().min(MOST_SHARDS);
        Self {
            shards: (0..shards).map(|_| Shard::default()).collect(),
            mask: shards - 1,
            current: AtomicUsize::new(0),
            rotate_at: AtomicU64::new(0),
            reading: Mutex::new(()),
            times_all: false,
        }
    }

    /// Times every call, however many there are.
    #[must_use]
    pub const fn timing_all(mut self) -> Self {
        self.times_all = true;
        self
    }

    /// Begins a call that was admitted at once; `now` is asked only if its time is taken.
    ///
    /// It is if it `must` be, or if its turn has come.
    #[inline(always)]
    pub fn begin(&self, must: bool, now: impl FnOnce() -> Timestamp) -> Begun {
        match self.shard() {
            Some(shard) if !must => {
                if shard.sampler.skips() {
                    Begun::UNTIMED
                } else {
                    self.sample(shard, now())
                }
            }
            _ => Begun::at(now()),
        }
    }

    #[inline(never)]
    fn sample(&self, shard: &Shard, now: Timestamp) -> Begun {
        if self.times_all {
            Begun::at(now)
        } else {
            Begun::standing_for(now, shard.sampler.take(now))
        }
    }

    /// Records one call that was begun by [`begin`](Self::begin), timed, and is over.
    pub fn record_timed(&self, begun: Begun, ended: Timestamp, outcome: Outcome) {
        let (Some(started), Some(shard)) = (begun.started(), self.shard()) else {
            return self.count(outcome);
        };
        let ran = ended.as_nanos().saturating_sub(started.as_nanos());
        self.ended(shard, ended, ran, begun.weight(), outcome);
    }

    /// Records one call that was refused, or is over.
    #[inline]
    pub fn record(&self, now: Timestamp, call: &Call) {
        let Some(shard) = self.shard() else { return };
        if let Verdict::Refused { kind, enforced } = call.verdict {
            shard.counters.refused(kind, enforced);
        }
        let made = call.was_made();
        match call.outcome {
            Some(outcome) if made => self.ended(shard, now, nanos(call.ran), 1, outcome),
            // Given up in line: it has an end, and no latency. A sample of nothing would make a compartment
            // look the better the more it is overloaded.
            Some(outcome) => shard.counters.ended(outcome),
            None => {}
        }
        if !call.waited.is_zero() {
            self.waited(shard, now, call, made);
        }
    }

    /// Records one call that was admitted at once and is over.
    #[inline]
    pub fn record_admitted(&self, started: Timestamp, ended: Timestamp, outcome: Outcome) {
        self.record_sample(started, ended, outcome, 1);
    }

    /// The same; the latency counts as that of `weight` calls.
    #[inline]
    pub fn record_sample(
        &self,
        started: Timestamp,
        ended: Timestamp,
        outcome: Outcome,
        weight: u32,
    ) {
        if let Some(shard) = self.shard() {
            let ran = ended.as_nanos().saturating_sub(started.as_nanos());
            self.ended(shard, ended, ran, weight, outcome);
        }
    }

    /// Records one call that was refused at once.
    #[inline]
    pub fn record_refused(&self, kind: RejectionKind) {
        if let Some(shard) = self.shard() {
            shard.counters.refused(kind, true);
        }
    }

    /// Counts a call that is over without saying how long it ran: its latency was not measured.
    #[inline]
    pub fn count(&self, outcome: Outcome) {
        if let Some(shard) = self.shard() {
            shard.counters.ended(outcome);
        }
    }

    /// Counts so many calls as [`record_refused`](Self::record_refused) does one.
    pub fn count_many_refused(&self, kind: RejectionKind, calls: u64) {
        if let Some(count) = self
            .shard()
            .and_then(|shard| shard.counters.enforced.get(kind.index()))
        {
            count.fetch_add(calls, Ordering::Relaxed);
        }
    }

    /// Counts so many calls as [`count`](Self::count) does one.
    #[inline]
    pub fn count_many(&self, outcome: Outcome, calls: u64) {
        if let Some(count) = self
            .shard()
            .and_then(|shard| shard.counters.outcomes.get(outcome.index()))
        {
            count.fetch_add(calls, Ordering::Relaxed);
        }
    }

    #[inline]
    fn ended(&self, shard: &Shard, now: Timestamp, ran: u64, weight: u32, outcome: Outcome) {
        shard.counters.ended(outcome);
        self.rotate(now);
        self.period(shard).latency.count(ran, weight);
    }

    #[cold]
    fn waited(&self, shard: &Shard, now: Timestamp, call: &Call, made: bool) {
        self.rotate(now);
        let period = self.period(shard);
        period.wait.count(nanos(call.waited), 1);
        if !made {
            // Its wait belongs to the picture of the queue all the same.
            let not_made = &period.not_made_after_waiting;
            not_made.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The calling thread's shard.
    #[inline]
    fn shard(&self) -> Option<&Shard> {
        self.shards.get(thread_index() & self.mask)
    }

    /// The period of a shard that collects now.
    #[inline]
    fn period<'s>(&self, shard: &'s Shard) -> &'s Period {
        let [even, odd] = &**shard.periods.get_or_init(Box::default);
        if self.current.load(Ordering::Relaxed) == 0 {
            even
        } else {
            odd
        }
    }

    /// Ends the period if it is over.
    #[inline]
    fn rotate(&self, now: Timestamp) {
        if now.as_nanos() >= self.rotate_at.load(Ordering::Relaxed) {
            self.try_to_end_period(now);
        }
    }

    #[cold]
    fn try_to_end_period(&self, now: Timestamp) {
        // Whoever else holds it ends the period as well, or sums up and will not be long.
        if let Ok(reading) = self.reading.try_lock() {
            self.end_period(now, &reading);
        }
    }

    fn end_period(&self, now: Timestamp, _reading: &MutexGuard<'_, ()>) {
        let due = Timestamp::from_nanos(self.rotate_at.load(Ordering::Relaxed));
        if now < due {
            return;
        }
        let ended = self.current.load(Ordering::Relaxed);
        let next = 1 - ended;
        self.clear(next);
        self.current.store(next, Ordering::Relaxed);
        if now >= due + PERIOD {
            // Nothing came for a whole period: what was collected is older than "before".
            self.clear(ended);
        }
        let next_due = (now + PERIOD).as_nanos();
        self.rotate_at.store(next_due, Ordering::Relaxed);
    }

    fn clear(&self, period: usize) {
        let periods = self.shards.iter().filter_map(|shard| shard.periods.get());
        for period in periods.filter_map(|periods| periods.get(period)) {
            period.latency.clear();
            period.wait.clear();
            period.not_made_after_waiting.store(0, Ordering::Relaxed);
        }
    }

    /// Sums up all shards.
    #[must_use]
    pub fn snapshot(&self, now: Timestamp) -> StatsSnapshot {
        let reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        self.end_period(now, &reading);
        let mut counters = Counters::default();
        let (mut latency, mut wait) = (histogram(), histogram());
        let mut not_made_after_waiting = 0;
        for shard in &self.shards {
            counters.add(&shard.counters);
            for period in shard.periods.get().into_iter().flat_map(|both| both.iter()) {
                period.latency.add_to(&mut latency);
                period.wait.add_to(&mut wait);
                not_made_after_waiting +=
                    u64::from(period.not_made_after_waiting.load(Ordering::Relaxed));
            }
        }
        let made_after_waiting = wait.len().saturating_sub(not_made_after_waiting);
        let unqueued = latency.len().saturating_sub(made_after_waiting);
        // Zero is below the lowest bound, so it cannot fail.
        let _ = wait.record_n(0, unqueued);
        StatsSnapshot {
            counters,
            latency: Distribution::of(&latency),
            wait: Distribution::of(&wait),
        }
    }
}

impl Default for Stats {
    fn default() -> Self {
        Self::new()
    }
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
    fn every_duration_is_within_one_per_cent_of_its_bucket() {
        for nanos in (0..42).flat_map(|bits| [1_u64 << bits, (1 << bits) * 3 / 2, (2 << bits) - 1])
        {
            let stats = Stats::new();
            let ran = Duration::from_nanos(nanos);
            stats.record(at(1), &call(ran, Duration::ZERO));
            let max = stats.snapshot(at(1)).latency.max;
            let unit = Duration::from_nanos(1 << buckets::UNIT_BITS);
            let exact = if ran < unit { Duration::ZERO } else { ran };
            assert!(max >= exact, "{ran:?} as {max:?}");
            assert!(max - exact <= unit.max(ran / 100), "{ran:?} as {max:?}");
        }
    }

    #[test]
    fn longer_than_an_hour_is_counted_as_the_longest() {
        let stats = Stats::new();
        stats.record(at(1), &call(Duration::MAX, Duration::MAX));
        let snapshot = stats.snapshot(at(1));
        assert!(snapshot.latency.max > Duration::from_secs(4_000));
        assert_eq!(snapshot.latency.max, snapshot.wait.max);
    }

    #[test]
    fn a_call_refused_after_it_waited_is_in_the_wait_alone() {
        let stats = Stats::new();
        stats.record(
            at(1),
            &Call {
                verdict: Verdict::Refused {
                    kind: RejectionKind::QueueTimeout,
                    enforced: true,
                },
                outcome: None,
                waited: Duration::from_secs(1),
                ran: Duration::ZERO,
            },
        );
        stats.record(at(1), &call(Duration::ZERO, Duration::ZERO));
        let snapshot = stats.snapshot(at(1));
        assert_eq!((snapshot.latency.count, snapshot.wait.count), (1, 2));
        assert_eq!(snapshot.wait.p50, Duration::ZERO);
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
    fn calls_given_up_in_line_do_not_make_the_latency_look_better() {
        let stats = Stats::new();
        stats.record(at(1), &call(Duration::from_secs(1), Duration::ZERO));
        let given_up = Call {
            outcome: Some(Outcome::Cancelled),
            ..call(Duration::ZERO, Duration::from_millis(20))
        };
        for _ in 0..99 {
            stats.record(at(1), &given_up);
        }
        let snapshot = stats.snapshot(at(1));
        assert_eq!(snapshot.outcome(Outcome::Cancelled), 99);
        assert_eq!(snapshot.latency.count, 1);
        assert!(close(snapshot.latency.p50, Duration::from_secs(1)));
        assert_eq!(snapshot.wait.count, 100, "one did not wait");
        assert!(close(snapshot.wait.p50, Duration::from_millis(20)));
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
    fn of_many_calls_a_few_are_timed_and_stand_for_the_rest() {
        let stats = Stats::new();
        let mut read = 0_u32;
        for call in 0..100_000_u64 {
            let now = at(1) + Duration::from_nanos(call * 1_009);
            let begun = stats.begin(false, || {
                read += 1;
                now
            });
            // One in a hundred takes a second.
            let ran = Duration::from_millis(if call % 100 == 0 { 1_000 } else { 10 });
            stats.record_timed(begun, now + ran, Outcome::Success);
        }
        assert!((5_000..8_000).contains(&read), "{read}");
        let snapshot = stats.snapshot(at(2));
        assert_eq!(snapshot.outcome(Outcome::Success), 100_000);
        let latency = snapshot.latency;
        assert!((99_970..=100_000).contains(&latency.count), "{latency:?}");
        assert!(close(latency.p90, Duration::from_millis(10)), "{latency:?}");
        assert!(close(latency.p999, Duration::from_secs(1)), "{latency:?}");
    }

    #[test]
    fn all_calls_are_timed_where_somebody_wants_that() {
        for (stats, must) in [(Stats::new().timing_all(), false), (Stats::new(), true)] {
            for _ in 0..1_000 {
                let begun = stats.begin(must, || at(1));
                stats.record_timed(begun, at(2), Outcome::Failure);
            }
            assert_eq!(stats.snapshot(at(2)).latency.count, 1_000);
        }
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
