//! What one scenario came to, and how its numbers are written.

use std::time::Duration;

use super::{
    flood::Analytics,
    plan::Scenario,
    tally::{Fate, Tally},
};

/// What one scenario came to.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    /// Which.
    pub(super) scenario: Scenario,
    /// What became of the payments that were due while it was measured.
    pub(super) payments: Tally,
    /// What became of the analytics meanwhile; none if there was no flood.
    pub(super) analytics: Option<Analytics>,
    /// Who used the processors meanwhile.
    pub(super) cpu: Cpu,
}

/// Processors in use on average: 1.0 is one of them, all the time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Cpu {
    /// By the service.
    pub(super) service: Option<f64>,
    /// By the experiment's own client.
    pub(super) client: Option<f64>,
}

/// The percentiles that are shown, in thousandths, and their names.
pub(super) const PERCENTILES: [(usize, &str); 3] = [(500, "p50"), (990, "p99"), (999, "p99.9")];

impl Finding {
    /// The 99th percentile of the payments' latency.
    #[must_use]
    pub(super) fn p99(&self) -> Duration {
        self.payments.latencies().quantile(990)
    }

    /// The percentiles of [`PERCENTILES`], written out.
    #[must_use]
    pub(super) fn percentiles(&self) -> [String; 3] {
        let latencies = self.payments.latencies();
        PERCENTILES.map(|(per_mille, _)| self.latency(latencies.quantile(per_mille)))
    }

    /// A latency, written out; `≥` says that the client did not wait any longer.
    #[must_use]
    pub(super) fn latency(&self, latency: Duration) -> String {
        let or_more = if self.payments.is_given_up(latency) {
            "≥ "
        } else {
            ""
        };
        format!("{or_more}{}", time(latency))
    }

    /// What part of the payments succeeded, written out. 100 % means all of them.
    #[must_use]
    pub(super) fn success(&self) -> String {
        let failed = self.payments.sent() - self.payments.count(Fate::Paid);
        percent(self.payments.success(), failed == 0)
    }

    /// The same percentile as a multiple of another finding's, written out.
    #[must_use]
    pub(super) fn p99_over(&self, other: &Self) -> String {
        let or_more = if self.payments.is_given_up(self.p99()) {
            "≥ "
        } else {
            ""
        };
        match over(self.p99(), other.p99()) {
            Some(factor) if factor < 100.0 => format!("{or_more}{factor:.1}×"),
            Some(factor) => format!("{or_more}{factor:.0}×"),
            None => "–".to_owned(),
        }
    }
}

/// How late the client itself was to send its payments: the 99th percentile of the scenario where it was worst.
#[must_use]
pub(super) fn lateness(findings: &[Finding]) -> Duration {
    findings
        .iter()
        .map(|finding| finding.payments.lateness().quantile(990))
        .max()
        .unwrap_or_default()
}

/// How many times `base` is in `value`; nothing if `base` is zero.
#[must_use]
pub(super) fn over(value: Duration, base: Duration) -> Option<f64> {
    (!base.is_zero()).then(|| value.as_secs_f64() / base.as_secs_f64())
}

/// Three digits and a unit.
#[must_use]
pub(super) fn time(value: Duration) -> String {
    let milliseconds = value.as_secs_f64() * 1_000.0;
    match milliseconds {
        ms if ms < 10.0 => format!("{ms:.2} ms"),
        ms if ms < 100.0 => format!("{ms:.1} ms"),
        ms if ms < 1_000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.2} s", ms / 1_000.0),
    }
}

/// A part of a whole with one decimal place. Rounded down: 99.96 % are not all.
fn percent(part: f64, all: bool) -> String {
    if all {
        return "100 %".to_owned();
    }
    format!("{:.1} %", (part * 1_000.0).floor() / 10.0)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{super::plan, *};

    /// A finding with that many payments of the same latency, the last `failed` of which failed.
    pub(crate) fn finding(
        scenario: Scenario,
        latency: Duration,
        (sent, failed): (u32, u32),
    ) -> Finding {
        let mut payments = Tally::new(Duration::from_secs(5));
        for number in 0..sent {
            let fate = if number >= sent - failed {
                Fate::GivenUp
            } else {
                Fate::Paid
            };
            let due = Duration::from_millis(10) * number;
            payments.record(due, Duration::from_micros(70), latency, fate);
        }
        Finding {
            scenario,
            payments,
            analytics: scenario.flooded.then_some(Analytics {
                answered: 40,
                refused: 2_000,
                failed: 0,
            }),
            cpu: Cpu {
                service: Some(1.8),
                client: Some(0.061),
            },
        }
    }

    #[test]
    fn the_client_is_as_late_as_where_it_was_latest() {
        let finding = finding(plan::IDLE, Duration::from_millis(2), (100, 0));
        let mut late = finding.clone();
        for _ in 0..2 {
            let due = Duration::ZERO;
            late.payments
                .record(due, Duration::from_millis(3), due, Fate::Paid);
        }
        assert_eq!(
            lateness(std::slice::from_ref(&finding)),
            Duration::from_micros(70)
        );
        assert_eq!(lateness(&[finding, late]), Duration::from_millis(3));
        assert_eq!(lateness(&[]), Duration::ZERO);
    }

    #[test]
    fn times_have_three_digits_and_a_unit() {
        for (micros, text) in [
            (0, "0.00 ms"),
            (1_234, "1.23 ms"),
            (12_345, "12.3 ms"),
            (123_456, "123 ms"),
            (5_000_000, "5.00 s"),
        ] {
            assert_eq!(time(Duration::from_micros(micros)), text);
        }
    }

    #[test]
    fn a_hundred_percent_means_all_of_them() {
        let success =
            |sent, failed| finding(plan::IDLE, Duration::from_millis(2), (sent, failed)).success();
        assert_eq!(success(10_000, 0), "100 %");
        assert_eq!(success(10_000, 1), "99.9 %");
        assert_eq!(success(1_000, 999), "0.1 %");
    }

    #[test]
    fn a_percentile_beyond_the_patience_says_so() {
        let idle = finding(plan::IDLE, Duration::from_millis(5), (1_000, 0));
        let flooded = finding(plan::UNPROTECTED, Duration::from_millis(800), (1_000, 20));
        assert_eq!(flooded.percentiles(), ["800 ms", "≥ 5.00 s", "≥ 5.00 s"]);
        assert_eq!(flooded.p99_over(&idle), "≥ 1000×");
        assert_eq!(idle.p99_over(&idle), "1.0×");
    }
}
