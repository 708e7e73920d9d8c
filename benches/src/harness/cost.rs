//! What a call costs on top of the one under it.

use std::collections::BTreeMap;

use super::case::Case;
use super::statistics::median;

/// A number per call, or why there is none.
pub type Counted = Result<f64, String>;

/// What one call of a case costs on top of the case it is measured over.
#[derive(Debug, Clone, PartialEq)]
pub struct Cost {
    /// Nanoseconds, the median of the rounds.
    pub ns: Counted,
    /// Instructions in user space.
    pub instructions: Counted,
    /// Allocations, reallocations among them.
    pub allocations: Counted,
    /// Reads of the system's clock.
    pub clock_reads: Counted,
    /// Bytes still allocated when the calls are over.
    pub held: Counted,
}

/// What one call of a case costs, all in all.
#[derive(Debug, Clone)]
pub(super) struct Total {
    pub(super) rounds: Vec<f64>,
    pub(super) instructions: Counted,
    pub(super) allocations: Counted,
    pub(super) clock_reads: Counted,
    pub(super) held: Counted,
}

impl Total {
    /// Of what this machine cannot measure.
    pub(super) fn missing(why: &str) -> Self {
        let why = || Err(why.to_owned());
        Self {
            rounds: Vec::new(),
            instructions: why(),
            allocations: why(),
            clock_reads: why(),
            held: why(),
        }
    }
}

/// Takes the bases off. Time is subtracted round by round, before the median: both halves of a round were taken within
/// milliseconds of each other, so a machine that slows down for a second slows both.
pub(super) fn added(
    cases: &[Case],
    totals: &BTreeMap<&'static str, Total>,
) -> BTreeMap<&'static str, Cost> {
    let mut costs = BTreeMap::new();
    for case in cases {
        let Some(total) = totals.get(case.name) else {
            continue;
        };
        let base = case.over.and_then(|base| totals.get(base));
        let difference = |of: fn(&Total) -> &Counted| match base {
            None => of(total).clone(),
            Some(base) => Ok(of(total).clone()? - of(base).clone()?),
        };
        let rounds: Vec<f64> = match base {
            None => total.rounds.clone(),
            Some(base) => total
                .rounds
                .iter()
                .zip(&base.rounds)
                .map(|(whole, under)| whole - under)
                .collect(),
        };
        costs.insert(
            case.name,
            Cost {
                ns: median(&rounds).ok_or_else(|| {
                    (case.needs)()
                        .err()
                        .unwrap_or_else(|| "not timed".to_owned())
                }),
                instructions: difference(|total| &total.instructions),
                allocations: difference(|total| &total.allocations),
                clock_reads: difference(|total| &total.clock_reads),
                held: difference(|total| &total.held),
            },
        );
    }
    costs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::repeat;

    fn total(rounds: &[f64], instructions: Counted) -> Total {
        Total {
            rounds: rounds.to_vec(),
            instructions,
            allocations: Ok(1.0),
            clock_reads: Ok(0.0),
            held: Ok(0.0),
        }
    }

    fn added_over(base: Total, whole: Total) -> Cost {
        let cases = [
            Case::new("base", || repeat(|| ())),
            Case::new("whole", || repeat(|| ())).over("base"),
        ];
        let totals = BTreeMap::from([("base", base), ("whole", whole)]);
        added(&cases, &totals).remove("whole").unwrap()
    }

    #[test]
    fn the_base_is_taken_off_round_by_round() {
        // The machine is ten times slower in the last two rounds; the difference of the medians would say 25.
        let base = total(&[1.0, 1.0, 1.0, 10.0, 10.0], Ok(5.0));
        let whole = total(&[3.0, 3.0, 26.0, 35.0, 12.0], Ok(25.0));
        let cost = added_over(base, whole);
        assert_eq!(cost.ns, Ok(2.0));
        assert_eq!(cost.instructions, Ok(20.0));
        assert_eq!(cost.allocations, Ok(0.0));
    }

    #[test]
    fn what_could_not_be_counted_below_cannot_be_told_above() {
        let base = total(&[1.0], Err("no valgrind".to_owned()));
        let cost = added_over(base, total(&[3.0], Ok(25.0)));
        assert_eq!(cost.instructions, Err("no valgrind".to_owned()));
    }
}
