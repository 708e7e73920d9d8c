//! A small harness: cases, how they are timed and counted, and what is said of them.

mod allocations;
mod case;
pub mod child;
mod cost;
mod report;
mod statistics;
mod timing;
pub mod together;
mod valgrind;

pub use case::{Case, Countable, Figure, Limit, Suite};
pub use cost::{Cost, Counted};
pub use report::{Report, Verdict, report};
pub use timing::Plan;

use std::collections::BTreeMap;

/// Measures every case of a suite: time first, interleaved; then what can be counted, one case at a time.
#[must_use]
pub fn measure(suite: &Suite, plan: Plan) -> BTreeMap<&'static str, Cost> {
    let missing = suite.cases.iter().filter_map(|case| {
        let why = (case.needs)().err()?;
        Some((case.name, cost::Total::missing(&why)))
    });
    let mut totals: BTreeMap<_, _> = missing.collect();
    let mut cases = suite.cases.clone();
    cases.retain(|case| !totals.contains_key(case.name));
    eprintln!(
        "timing {}: {} cases, {} rounds",
        suite.name,
        cases.len(),
        plan.rounds
    );
    let timings = timing::time(&cases, plan);
    eprintln!("counting {}", suite.name);
    let valgrind = valgrind::find();
    if let Err(why) = &valgrind {
        eprintln!("neither instructions nor clock reads are counted: {why}");
    }
    totals.extend(together::count(suite.name, &valgrind, &cases, &timings));
    let alone = cases
        .iter()
        .zip(&timings)
        .filter(|(case, _)| case.counted_with.is_none() && !case.elsewhere);
    totals.extend(alone.map(|(case, timing)| {
        let (allocations, held) =
            allocations::count(suite.name, case, timing.calls_in(allocations::BUDGET));
        let total = cost::Total {
            rounds: timing.rounds.clone(),
            instructions: valgrind.clone().and_then(|valgrind| {
                let calls = timing.calls_in(valgrind::BUDGET).max(case.counted);
                valgrind.instructions(suite.name, case, calls)
            }),
            clock_reads: valgrind
                .clone()
                .and_then(|valgrind| valgrind.clock_reads(suite.name, case)),
            allocations,
            held,
        };
        (case.name, total)
    }));
    cost::added(&suite.cases, &totals)
}
