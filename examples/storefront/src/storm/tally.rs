//! What became of the payments.

use std::{collections::BTreeMap, time::Duration};

/// What became of one payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    /// On the books.
    Paid,
    /// Answered with this status.
    Status(u16),
    /// The connection failed.
    Broken,
    /// No answer before the client's patience ended.
    GivenUp,
}

impl std::fmt::Display for Fate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Paid => f.write_str("paid"),
            Self::Status(status) => write!(f, "answered {status}"),
            Self::Broken => f.write_str("lost their connection"),
            Self::GivenUp => f.write_str("given up"),
        }
    }
}

/// Every payment of one scenario: all of them are kept, so that what is said about them is exact.
///
/// A payment that failed counts with the client's whole patience. Left out, or counted with the time that the
/// failure took, it would make a service look the better the more it fails.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    patience: Duration,
    /// When each was due, from the start of the measurement, and how long it took from then.
    payments: Vec<(Duration, Duration)>,
    /// By how much the client itself was late to send.
    lateness: Vec<Duration>,
    fates: BTreeMap<Fate, usize>,
}

impl Tally {
    /// Nothing yet.
    #[must_use]
    pub(super) const fn new(patience: Duration) -> Self {
        Self {
            patience,
            payments: Vec::new(),
            lateness: Vec::new(),
            fates: BTreeMap::new(),
        }
    }

    /// Adds a payment that was due at `due`, sent `late` and over after `latency`, both counted from then.
    pub(super) fn record(&mut self, due: Duration, late: Duration, latency: Duration, fate: Fate) {
        let latency = match fate {
            Fate::Paid => latency.min(self.patience),
            _ => self.patience,
        };
        self.payments.push((due, latency));
        self.lateness.push(late);
        *self.fates.entry(fate).or_default() += 1;
    }

    /// How many there were.
    #[must_use]
    pub(super) fn sent(&self) -> usize {
        self.payments.len()
    }

    /// How many met this fate.
    #[must_use]
    pub(super) fn count(&self, fate: Fate) -> usize {
        self.fates.get(&fate).copied().unwrap_or_default()
    }

    /// What became of those that are not paid.
    pub(super) fn failures(&self) -> impl Iterator<Item = (Fate, usize)> {
        let failed = self.fates.iter().filter(|(fate, _)| **fate != Fate::Paid);
        failed.map(|(fate, count)| (*fate, *count))
    }

    /// The part that is paid, 0 to 1; 0 if none was sent.
    #[must_use]
    pub(super) fn success(&self) -> f64 {
        ratio(self.count(Fate::Paid), self.sent())
    }

    /// Latencies in order.
    #[must_use]
    pub(super) fn latencies(&self) -> Sorted {
        Sorted::new(self.payments.iter().map(|(_, latency)| *latency).collect())
    }

    /// The client's own lateness, in order.
    #[must_use]
    pub(super) fn lateness(&self) -> Sorted {
        Sorted::new(self.lateness.clone())
    }

    /// Whether a latency means that the client had given up.
    #[must_use]
    pub(super) fn is_given_up(&self, latency: Duration) -> bool {
        latency >= self.patience
    }

    /// The worst latency among the payments due in each slice of that length.
    #[must_use]
    pub(super) fn worst_by_slice(&self, slice: Duration) -> Vec<(Duration, Duration)> {
        let mut worst: BTreeMap<u128, Duration> = BTreeMap::new();
        for (due, latency) in &self.payments {
            let number = due.as_nanos() / slice.as_nanos().max(1);
            let entry = worst.entry(number).or_default();
            *entry = (*entry).max(*latency);
        }
        let start = |number| slice * u32::try_from(number).unwrap_or(u32::MAX);
        worst
            .into_iter()
            .map(|(number, latency)| (start(number), latency))
            .collect()
    }
}

/// Durations from the shortest to the longest.
#[derive(Clone, Debug)]
pub(super) struct Sorted(Vec<Duration>);

impl Sorted {
    pub(super) fn new(mut values: Vec<Duration>) -> Self {
        values.sort_unstable();
        Self(values)
    }

    /// The least value that `per_mille` thousandths of all values do not exceed (nearest rank); zero if there
    /// are no values. In whole numbers: 0.99 as a floating-point number is a little more than 99 of 100.
    #[must_use]
    pub(super) fn quantile(&self, per_mille: usize) -> Duration {
        let rank = (self.0.len() * per_mille.min(1_000)).div_ceil(1_000);
        self.0
            .get(rank.saturating_sub(1))
            .copied()
            .unwrap_or_default()
    }

    /// Each value and the part of all values that is below it.
    pub(super) fn ranks(&self) -> impl Iterator<Item = (f64, Duration)> {
        let all = self.0.len();
        self.0
            .iter()
            .enumerate()
            .map(move |(below, value)| (ratio(below, all), *value))
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of payments are far below 2⁵³"
)]
fn ratio(part: usize, all: usize) -> f64 {
    if all == 0 {
        0.0
    } else {
        part as f64 / all as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const PATIENCE: Duration = Duration::from_secs(5);

    fn paid(latencies: impl Iterator<Item = u32>) -> Tally {
        let mut tally = Tally::new(PATIENCE);
        for latency in latencies {
            tally.record(Duration::ZERO, Duration::ZERO, latency * MS, Fate::Paid);
        }
        tally
    }

    #[test]
    fn a_percentile_is_the_value_of_the_nearest_rank() {
        let latencies = paid((1..=100).rev()).latencies();
        for (per_mille, expected) in [
            (0, 1),
            (1, 1),
            (500, 50),
            (501, 51),
            (990, 99),
            (991, 100),
            (1_000, 100),
            (2_000, 100),
        ] {
            assert_eq!(latencies.quantile(per_mille), expected * MS, "{per_mille}");
        }
        assert_eq!(paid(1..=1_000).latencies().quantile(999), 999 * MS);
        assert_eq!(paid(7..8).latencies().quantile(500), 7 * MS);
        assert_eq!(paid(0..0).latencies().quantile(990), Duration::ZERO);
    }

    #[test]
    fn a_failure_counts_with_the_whole_patience_however_fast_it_was() {
        let mut tally = paid(1..=98);
        tally.record(MS, MS, MS, Fate::Status(503));
        tally.record(MS, MS, PATIENCE * 2, Fate::GivenUp);
        assert_eq!(tally.latencies().quantile(990), PATIENCE);
        assert!(tally.is_given_up(tally.latencies().quantile(990)));
        assert!((tally.success() - 0.98).abs() < 1e-12);
        let failures: Vec<_> = tally.failures().collect();
        assert_eq!(failures, [(Fate::Status(503), 1), (Fate::GivenUp, 1)]);
    }

    #[test]
    fn nothing_sent_is_no_success() {
        assert!(Tally::new(PATIENCE).success() < f64::EPSILON);
    }

    #[test]
    fn the_worst_of_each_slice_is_kept_and_empty_slices_are_left_out() {
        let mut tally = Tally::new(PATIENCE);
        for (due, latency) in [(0, 3), (99, 9), (100, 2), (350, 4)] {
            tally.record(due * MS, Duration::ZERO, latency * MS, Fate::Paid);
        }
        assert_eq!(
            tally.worst_by_slice(100 * MS),
            [
                (Duration::ZERO, 9 * MS),
                (100 * MS, 2 * MS),
                (300 * MS, 4 * MS)
            ]
        );
    }

    #[test]
    fn ranks_start_at_zero_and_stay_below_one() {
        let ranks: Vec<(f64, Duration)> = paid([4, 2].into_iter()).latencies().ranks().collect();
        assert_eq!(ranks, [(0.0, 2 * MS), (0.5, 4 * MS)]);
    }
}
