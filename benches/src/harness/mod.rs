//! A small harness: cases, how they are timed and counted, and what is said of them.

mod allocations;
mod case;
pub mod child;
mod cost;
mod report;
mod statistics;
mod timing;
mod valgrind;

pub use case::{Case, Countable, Figure, Limit, Suite};
pub use cost::{Cost, Counted};
pub use report::{Report, Verdict, report};
pub use timing::Plan;

use std::collections::BTreeMap;

/// Measures every case of a suite: time first, interleaved; then what can be counted, one case at a time.
#[must_use]
pub fn measure(suite: &Suite, plan: Plan) -> BTreeMap<&'static str, Cost> {
    eprintln!(
        "timing {}: {} cases, {} rounds",
        suite.name,
        suite.cases.len(),
        plan.rounds
    );
    let timings = timing::time(&suite.cases, plan);
    eprintln!("counting {}", suite.name);
    let valgrind = valgrind::find();
    if let Err(why) = &valgrind {
        eprintln!("neither instructions nor clock reads are counted: {why}");
    }
    let totals: BTreeMap<_, _> = suite
        .cases
        .iter()
        .zip(&timings)
        .map(|(case, timing)| {
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
        })
        .collect();
    cost::added(&suite.cases, &totals)
}
