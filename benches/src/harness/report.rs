//! What is said of a suite, and whether its targets are met.

use std::collections::BTreeMap;

use super::case::{Countable, Figure, Limit, Suite};
use super::cost::{Cost, Counted};

/// The lines of a suite, and its verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// As they are printed.
    pub lines: Vec<String>,
    /// What they amount to.
    pub verdict: Verdict,
}

/// What became of all targets together. Ordered: the worst one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Verdict {
    /// Every target was checked and met.
    #[default]
    Met,
    /// None was missed, and at least one could not be checked on this machine.
    Unchecked,
    /// At least one was missed.
    Missed,
}

impl Verdict {
    /// 1 for a missed target. What could not be checked is neither success nor a miss, so it has a number of its own.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Met => 0,
            Self::Missed => 1,
            Self::Unchecked => 2,
        }
    }
}

/// Says what was measured. A case without measurements is unchecked, never met.
#[must_use]
pub fn report(suite: &Suite, costs: &BTreeMap<&'static str, Cost>) -> Report {
    let mut report = Report {
        lines: Vec::new(),
        verdict: Verdict::Met,
    };
    for case in &suite.cases {
        if let Some(cost) = costs.get(case.name) {
            report.cost(&format!("{}/{}", suite.name, case.name), cost);
        }
    }
    for figure in &suite.figures {
        report.figure(suite.name, figure, costs);
    }
    for limit in &suite.limits {
        report.limit(suite.name, limit, costs);
    }
    report
}

impl Report {
    fn cost(&mut self, name: &str, cost: &Cost) {
        let parts = [
            &cost.ns,
            &cost.instructions,
            &cost.allocations,
            &cost.clock_reads,
        ];
        let parts = parts.map(|part| part.as_ref().map_or_else(|_| "-".to_owned(), |n| shown(*n)));
        self.lines.push(format!("cost {name} {}", parts.join(" ")));
    }

    fn figure(&mut self, suite: &str, figure: &Figure, costs: &BTreeMap<&'static str, Cost>) {
        let name = format!("{suite}/{}", figure.name);
        let both = |part: fn(&Cost) -> &Counted| {
            Ok::<_, String>((
                get(costs, figure.ours, part)?,
                get(costs, figure.peer, part)?,
            ))
        };
        let time = both(|cost| &cost.ns);
        let instructions = both(|cost| &cost.instructions);
        if let Ok((ours, peer)) = time {
            let ratio =
                ratio((ours, peer)).map_or_else(|_| "-".to_owned(), |ratio| format!("{ratio:.3}"));
            self.lines.push(format!(
                "ratio {name} {ratio} {} {}",
                shown(ours),
                shown(peer)
            ));
        }
        if let Ok((ours, peer)) = instructions {
            self.lines.push(format!(
                "instructions {name} {} {}",
                shown(ours),
                shown(peer)
            ));
        }
        if let Some(limit) = figure.instruction_limit {
            self.target(
                &format!("{name}.instructions"),
                instructions.and_then(ratio),
                limit,
            );
        }
        if let Some(limit) = figure.time_limit {
            self.target(&format!("{name}.time"), time.and_then(ratio), limit);
        }
    }

    fn limit(&mut self, suite: &str, limit: &Limit, costs: &BTreeMap<&'static str, Cost>) {
        let name = format!("{suite}/{}", limit.case);
        let (what, count) = match limit.of {
            Countable::Allocations => (
                "allocations",
                get(costs, limit.case, |cost| &cost.allocations),
            ),
            Countable::ClockReads => (
                "clock_reads",
                get(costs, limit.case, |cost| &cost.clock_reads),
            ),
            Countable::Bytes(count) => ("bytes", Ok(count())),
            Countable::Time => ("ns", get(costs, limit.case, |cost| &cost.ns)),
            Countable::Held => ("held", get(costs, limit.case, |cost| &cost.held)),
        };
        if let Ok(count) = &count {
            self.lines.push(format!("{what} {name} {}", shown(*count)));
        }
        self.target(&format!("{name}.{what}"), count, limit.most);
    }

    fn target(&mut self, name: &str, measured: Counted, limit: f64) {
        let verdict = match measured {
            Err(why) => {
                self.lines.push(format!("unchecked {name} {why}"));
                Verdict::Unchecked
            }
            Ok(measured) => {
                // Asked this way round so that a NaN is a miss.
                let (verdict, word) = if measured <= limit {
                    (Verdict::Met, "met")
                } else {
                    (Verdict::Missed, "missed")
                };
                self.lines
                    .push(format!("target {name} {measured:.3} {limit:.3} {word}"));
                verdict
            }
        };
        self.verdict = self.verdict.max(verdict);
    }
}

fn get(costs: &BTreeMap<&'static str, Cost>, case: &str, part: fn(&Cost) -> &Counted) -> Counted {
    costs.get(case).map_or_else(
        || Err(format!("{case} was not measured")),
        |cost| part(cost).clone(),
    )
}

/// A peer that costs nothing measurable leaves nothing to be a multiple of.
fn ratio((ours, peer): (f64, f64)) -> Counted {
    if peer > 0.0 {
        Ok(ours / peer)
    } else {
        Err(format!(
            "the peer's cost ({}) drowns in the noise",
            shown(peer)
        ))
    }
}

fn shown(number: f64) -> String {
    // One decimal tells 1.5 allocations per call from 1; beyond that is noise. No "-0.0".
    format!("{:.1}", (number * 10.0).round() / 10.0 + 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::repeat;
    use crate::harness::Case;

    fn cost(ns: f64, instructions: Counted, allocations: f64) -> Cost {
        Cost {
            ns: Ok(ns),
            instructions,
            allocations: Ok(allocations),
            clock_reads: Ok(0.0),
            held: Ok(0.0),
        }
    }

    fn reported(ours: Cost, peer: Cost) -> Report {
        let case = |name| Case::new(name, || repeat(|| ()));
        let suite = Suite {
            name: "layer",
            cases: vec![case("ours"), case("peer")],
            figures: vec![Figure::new("admit", "ours", "peer").instructions_at_most(1.0)],
            limits: vec![
                Limit::allocations("ours", 0.0),
                Limit::clock_reads("ours", 1.0),
            ],
        };
        report(&suite, &BTreeMap::from([("ours", ours), ("peer", peer)]))
    }

    fn has(report: &Report, line: &str) -> bool {
        report.lines.iter().any(|said| said == line)
    }

    #[test]
    fn says_every_figure_and_passes_when_all_targets_are_met() {
        let report = reported(cost(20.0, Ok(120.0), 0.0), cost(40.0, Ok(240.0), 2.0));
        for line in [
            "cost layer/peer 40.0 240.0 2.0 0.0",
            "ratio layer/admit 0.500 20.0 40.0",
            "instructions layer/admit 120.0 240.0",
            "target layer/admit.instructions 0.500 1.000 met",
            "allocations layer/ours 0.0",
            "target layer/ours.allocations 0.000 0.000 met",
            "clock_reads layer/ours 0.0",
            "target layer/ours.clock_reads 0.000 1.000 met",
        ] {
            assert!(has(&report, line), "{line}: {report:?}");
        }
        assert_eq!(report.verdict.exit_code(), 0);
    }

    #[test]
    fn one_missed_target_fails_the_run_however_many_are_met() {
        let report = reported(cost(20.0, Ok(241.0), 0.0), cost(40.0, Ok(240.0), 0.0));
        assert!(
            has(
                &report,
                "target layer/admit.instructions 1.004 1.000 missed"
            ),
            "{report:?}"
        );
        assert_eq!(report.verdict.exit_code(), 1);
    }

    #[test]
    fn an_allocation_where_none_is_allowed_is_a_miss() {
        let report = reported(cost(20.0, Ok(120.0), 1.0), cost(40.0, Ok(240.0), 0.0));
        assert!(
            has(&report, "target layer/ours.allocations 1.000 0.000 missed"),
            "{report:?}"
        );
        assert_eq!(report.verdict, Verdict::Missed);
    }

    #[test]
    fn a_target_that_could_not_be_checked_is_never_met() {
        let absent = || Err("valgrind is not installed".to_owned());
        let report = reported(cost(20.0, absent(), 0.0), cost(40.0, absent(), 0.0));
        assert!(
            has(
                &report,
                "unchecked layer/admit.instructions valgrind is not installed"
            ),
            "{report:?}"
        );
        assert!(
            !report
                .lines
                .iter()
                .any(|line| line.contains("admit.instructions") && line.ends_with("met"))
        );
        assert_eq!(report.verdict.exit_code(), 2);
    }

    #[test]
    fn a_miss_outweighs_what_could_not_be_checked() {
        let absent = || Err("valgrind is not installed".to_owned());
        let report = reported(cost(20.0, absent(), 3.0), cost(40.0, absent(), 0.0));
        assert_eq!(report.verdict.exit_code(), 1);
    }

    #[test]
    fn a_multiple_of_nothing_is_unchecked() {
        let report = reported(cost(20.0, Ok(120.0), 0.0), cost(40.0, Ok(0.0), 0.0));
        assert_eq!(report.verdict, Verdict::Unchecked);
    }

    #[test]
    fn a_measurement_that_is_not_a_number_is_a_miss() {
        let report = reported(cost(20.0, Ok(f64::NAN), 0.0), cost(40.0, Ok(240.0), 0.0));
        assert_eq!(report.verdict, Verdict::Missed);
    }
}
