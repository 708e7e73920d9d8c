//! Counts the allocations of one case: `--calls <suite> <case> <n>` prints how many each call made, and how many bytes
//! per call are still there when all are over;
//! `--together` says so of several cases, a line each.

use std::alloc::System;

use anyhow::{Result, bail};
use fusebox_benches::harness::child::{self, Calls};
use fusebox_benches::harness::together;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

/// Counts what the whole process allocates. `stats_alloc` because it counts calls and nothing else: its `unsafe` is a
/// page, and ours would be no better.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Enough that whatever a case allocates once and keeps is there before the count begins.
const WARM_UP: u64 = 100;

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    match words.next().as_deref() {
        Some(child::CALLS) => count(child::parse(words)?, WARM_UP),
        Some(together::TOGETHER) => {
            for calls in together::parse(words)? {
                count(calls, 1);
            }
        }
        _ => bail!("usage: --calls <suite> <case> <n>"),
    }
    Ok(())
}

fn count(calls: Calls, warm_up: u64) {
    let mut batch = (calls.case.make)();
    batch(warm_up);

    let region = Region::new(ALLOCATOR);
    batch(calls.n);
    let seen = region.change();
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    let per_call = (seen.allocations + seen.reallocations) as f64 / calls.n as f64;
    #[expect(clippy::cast_precision_loss, reason = "bytes are far below 2^53")]
    let held = (seen.bytes_allocated as f64 - seen.bytes_deallocated as f64) / calls.n as f64;
    println!("{per_call} {held}");
}
