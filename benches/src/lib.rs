//! The layers measured against their peers, side by side in one run.
//!
//! `cargo xtask bench [name]` builds and runs this. Every layer has one file here that lists its cases and what they
//! are compared with; the harness does the rest:
//!
//! - `cost <case> <ns> <instructions> <allocations> <clock reads>`: what one call costs, on top of the same call of the
//!   service under it; `-` where it could not be counted.
//! - `ratio <name> <ours/peer> <ours ns> <peer ns>`: wall time. Shared machines make it wobble.
//! - `instructions <name> <ours> <peer>`: counted under valgrind, and repeatable to a fraction of a per cent.
//! - `bytes <case> <n>`: memory, for the cases that have a limit of it.
//! - `allocations <case> <n>`, `clock_reads <case> <n>`, `held <case> <bytes>` and `ns <case> <n>`: per call, for the
//!   cases that have a limit.
//! - `target <name> <measured> <limit> met|missed`: computed from this run. A target that could not be checked is
//!   `unchecked <name> <why>`, never met.

pub mod blackhole;
pub mod breaker;
pub mod bulkhead;
pub mod drive;
pub mod harness;
pub mod limiter;
pub mod machine;
pub mod noop;
pub mod waf;

use crate::harness::Suite;

/// Every suite, in the order in which they run. A new layer adds its file and its line.
#[must_use]
pub fn suites() -> Vec<Suite> {
    vec![
        machine::suite(),
        bulkhead::suite(),
        breaker::suite(),
        blackhole::suite(),
        limiter::suite(),
        waf::suite(),
    ]
}
