use std::time::Duration;

use hdrhistogram::Histogram;

use super::{buckets::time_of, counters::Counters};
use crate::{Outcome, RejectionKind, Value};

/// What [`Stats`](super::Stats) knew at one moment.
#[derive(Clone, Debug, Default)]
pub struct StatsSnapshot {
    pub(super) counters: Counters<u64>,
    /// How long admitted calls ran, to the end of their response body. Of many calls in a short time some stand for
    /// the others, so that the
    /// count may differ from that of the calls by a few.
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
    pub(super) fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| time_of(histogram.value_at_quantile(quantile));
        Self {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: time_of(histogram.max()),
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
