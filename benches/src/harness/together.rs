//! Cases that are counted in one process, because what they are built on takes long to build.

use std::collections::BTreeMap;

use super::case::Case;
use super::child::{self, Calls};
use super::timing::Timing;
use super::{allocations, cost};

/// The first word of such a child's command line.
pub const TOGETHER: &str = "--together";

/// The command line for so many calls of each case.
pub(super) fn words(suite: &str, cases: &[(Case, u64)]) -> Vec<String> {
    let mut words = vec![TOGETHER.to_owned()];
    for (case, calls) in cases {
        words.extend(child::args(suite, case, *calls).into_iter().skip(1));
    }
    words
}

/// Reads what [`TOGETHER`] is followed by.
///
/// # Errors
///
/// If one of the cases does not exist.
pub fn parse(words: impl Iterator<Item = String>) -> anyhow::Result<Vec<Calls>> {
    let words: Vec<_> = words.collect();
    words
        .chunks(3)
        .map(|words| child::parse(words.iter().cloned()))
        .collect()
}

/// Counts the allocations of every case that shares a process. The groups run side by side: counts do not mind.
pub(super) fn count(
    suite: &str,
    cases: &[Case],
    timings: &[Timing],
) -> BTreeMap<&'static str, cost::Total> {
    let mut groups: BTreeMap<&str, Vec<(Case, &Timing)>> = BTreeMap::new();
    for (case, timing) in cases.iter().zip(timings) {
        if let Some(group) = case.counted_with {
            groups.entry(group).or_default().push((*case, timing));
        }
    }
    std::thread::scope(|scope| {
        let running: Vec<_> = groups
            .values()
            .map(|group| {
                scope.spawn(move || {
                    let calls: Vec<_> = group
                        .iter()
                        .map(|(case, timing)| (*case, timing.calls))
                        .collect();
                    (group, allocations::together(suite, &calls))
                })
            })
            .collect();
        let mut totals = BTreeMap::new();
        for running in running {
            let Ok((group, allocated)) = running.join() else {
                continue;
            };
            for (place, (case, timing)) in group.iter().enumerate() {
                let total = cost::Total {
                    rounds: timing.rounds.clone(),
                    // Loading alone takes valgrind ten seconds per case, and there are a hundred.
                    instructions: Err(
                        "a case that takes long to build is not run under valgrind".to_owned()
                    ),
                    allocations: pick(&allocated, place, |(allocations, _)| *allocations),
                    clock_reads: Err("cases that share a process are not traced".to_owned()),
                    held: pick(&allocated, place, |(_, held)| *held),
                };
                totals.insert(case.name, total);
            }
        }
        totals
    })
}

fn pick<T>(counted: &Result<Vec<T>, String>, place: usize, of: fn(&T) -> f64) -> cost::Counted {
    let counted = counted.as_ref().map_err(Clone::clone)?;
    counted
        .get(place)
        .map(of)
        .ok_or_else(|| "not counted".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suites;

    #[test]
    fn a_child_reads_all_the_cases_it_was_told() {
        let suites = suites();
        let suite = suites.iter().find(|suite| suite.name == "waf").unwrap();
        let cases: Vec<_> = suite.cases.iter().map(|case| (*case, 3)).collect();
        let words = words(suite.name, &cases);
        let read = parse(words.into_iter().skip(1)).unwrap();
        assert!(
            read.iter()
                .map(|calls| calls.case.name)
                .eq(cases.iter().map(|(case, _)| case.name))
        );
        assert!(read.iter().all(|calls| calls.n == 3));
    }
}
