//! Whether the payments were kept apart from the flood.

use super::finding::{Finding, over};

/// With fusebox, the payments' p99 under the flood over their idle one.
const WORST_RATIO: f64 = 2.0;

/// Without, over the one with fusebox: an order of magnitude.
const LEAST_GAIN: f64 = 10.0;

/// One thing that had to come out, and what did.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Target {
    /// What was measured.
    pub(super) name: String,
    /// What came out.
    pub(super) measured: String,
    /// What had to.
    pub(super) limit: String,
    /// Whether it did.
    pub(super) met: bool,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let met = if self.met { "met" } else { "missed" };
        let Self {
            name,
            measured,
            limit,
            ..
        } = self;
        write!(f, "target {name} {measured} {limit} {met}")
    }
}

/// What one run has to show: the four findings in the order of [`super::plan::SCENARIOS`].
#[must_use]
pub(super) fn judge([idle, unprotected, _semaphore, fusebox]: &[Finding; 4]) -> Vec<Target> {
    let all_paid = |name: &str, finding: &Finding| Target {
        name: name.to_owned(),
        measured: finding.success().replace(' ', ""),
        limit: "100%".to_owned(),
        // Of nothing everything succeeds, and it shows nothing.
        met: finding.payments.sent() > 0 && finding.payments.failures().next().is_none(),
    };
    let refused = fusebox.analytics.map_or(0, |analytics| analytics.refused);
    vec![
        // The two that say that there was an experiment: a service that worked, and more than it could take.
        all_paid("storm/idle-success", idle),
        Target {
            name: "storm/flood-refused".to_owned(),
            measured: refused.to_string(),
            limit: ">=1".to_owned(),
            met: refused >= 1,
        },
        all_paid("storm/flooded-success", fusebox),
        factor("storm/flooded-p99-over-idle", fusebox, idle, |factor| {
            (factor <= WORST_RATIO, format!("<={WORST_RATIO:.1}"))
        }),
        factor(
            "storm/unprotected-p99-over-fusebox",
            unprotected,
            fusebox,
            |factor| (factor >= LEAST_GAIN, format!(">={LEAST_GAIN:.1}")),
        ),
    ]
}

fn factor(
    name: &str,
    value: &Finding,
    base: &Finding,
    judge: impl Fn(f64) -> (bool, String),
) -> Target {
    let factor = over(value.p99(), base.p99());
    let (met, limit) = judge(factor.unwrap_or(f64::NAN));
    Target {
        name: name.to_owned(),
        measured: factor.map_or_else(|| "nothing".to_owned(), |factor| format!("{factor:.2}")),
        limit,
        met,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        super::{finding::tests::finding, flood::Analytics, plan::SCENARIOS},
        *,
    };

    /// The findings of four scenarios with these p99, in microseconds, and this many failures of 1,000.
    fn findings(p99: [u64; 4], failed: [u32; 4]) -> [Finding; 4] {
        let [a, b, c, d] = SCENARIOS;
        let make =
            |scenario, p99, failed| finding(scenario, Duration::from_micros(p99), (1_000, failed));
        let ([p, q, r, s], [w, x, y, z]) = (p99, failed);
        [make(a, p, w), make(b, q, x), make(c, r, y), make(d, s, z)]
    }

    fn missed(findings: &[Finding; 4]) -> Vec<String> {
        let targets = judge(findings).into_iter();
        targets
            .filter(|target| !target.met)
            .map(|target| target.name)
            .collect()
    }

    const GOOD: [u64; 4] = [5_000, 100_000, 1_000_000, 10_000];

    #[test]
    fn the_limits_themselves_are_met() {
        assert_eq!(missed(&findings(GOOD, [0, 900, 900, 0])), [""; 0]);
    }

    #[test]
    fn each_target_is_missed_on_its_own() {
        for (p99, failed, name) in [
            (GOOD, [1, 0, 0, 0], "storm/idle-success"),
            (GOOD, [0, 0, 0, 1], "storm/flooded-success"),
            (
                [5_000, 200_000, 0, 10_001],
                [0; 4],
                "storm/flooded-p99-over-idle",
            ),
            (
                [9_000, 99_999, 0, 10_000],
                [0; 4],
                "storm/unprotected-p99-over-fusebox",
            ),
        ] {
            assert_eq!(missed(&findings(p99, failed)), [name]);
        }
    }

    #[test]
    fn without_a_flood_or_without_payments_nothing_is_shown() {
        let mut calm = findings(GOOD, [0; 4]);
        calm[3].analytics = Some(Analytics::default());
        assert_eq!(missed(&calm), ["storm/flood-refused"]);

        let nothing = SCENARIOS.map(|scenario| finding(scenario, Duration::ZERO, (0, 0)));
        assert_eq!(
            missed(&nothing),
            [
                "storm/idle-success",
                "storm/flooded-success",
                "storm/flooded-p99-over-idle",
                "storm/unprotected-p99-over-fusebox"
            ]
        );
    }

    #[test]
    fn a_target_is_one_line() {
        let lines: Vec<String> = judge(&findings(GOOD, [0; 4]))
            .iter()
            .map(Target::to_string)
            .collect();
        assert_eq!(
            lines[3],
            "target storm/flooded-p99-over-idle 2.00 <=2.0 met"
        );
        assert_eq!(lines[2], "target storm/flooded-success 100% 100% met");
    }
}
