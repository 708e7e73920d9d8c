//! Cases that are counted in one process, because what they are built on takes long to build.

use std::collections::BTreeMap;

use super::case::Case;
use super::child::{self, Calls};
use super::timing::Timing;
use super::valgrind::Valgrind;
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

/// More calls of a case than these say nothing new under valgrind, where each takes fifty times as long.
const MOST_CALLS: u64 = 3;

/// Counts the allocations and the instructions of every case that shares a process. The groups run side by side: counts do not
/// mind.
pub(super) fn count(
    suite: &str,
    valgrind: &Result<Valgrind, String>,
    cases: &[Case],
    timings: &[Timing],
) -> BTreeMap<&'static str, cost::Total> {
    let mut groups: BTreeMap<&str, Vec<(Case, &Timing)>> = BTreeMap::new();
    for (case, timing) in cases.iter().zip(timings) {
        if let Some(group) = case.counted_with
            && !case.elsewhere
        {
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
                    let few: Vec<_> = calls
                        .iter()
                        .map(|(case, calls)| (*case, (*calls).min(MOST_CALLS)))
                        .collect();
                    let allocated = allocations::together(suite, &calls);
                    let run = valgrind
                        .as_ref()
                        .map_err(Clone::clone)
                        .and_then(|valgrind| valgrind.together(suite, &few));
                    (group, allocated, run)
                })
            })
            .collect();
        let mut totals = timed_only(cases, timings);
        for running in running {
            let Ok((group, allocated, run)) = running.join() else {
                continue;
            };
            for (place, (case, timing)) in group.iter().enumerate() {
                let total = cost::Total {
                    rounds: timing.rounds.clone(),
                    instructions: pick(&run, place, |instructions| *instructions),
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

/// What another process does cannot be counted from here.
fn timed_only(cases: &[Case], timings: &[Timing]) -> BTreeMap<&'static str, cost::Total> {
    let elsewhere = cases.iter().zip(timings).filter(|(case, _)| case.elsewhere);
    elsewhere
        .map(|(case, timing)| {
            let total = cost::Total {
                rounds: timing.rounds.clone(),
                ..cost::Total::missing("another process does the work")
            };
            (case.name, total)
        })
        .collect()
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
