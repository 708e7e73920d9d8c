//! Allocations per call, counted by a program of its own: a counting allocator would be paid for in every timing of a
//! peer that allocates.

use std::env;
use std::process::Command;
use std::time::Duration;

use super::case::Case;
use super::child;
use super::cost::Counted;
use super::together;

/// How much native time a counted case may take.
pub(super) const BUDGET: Duration = Duration::from_millis(100);

/// The program in `src/bin` that has the counting allocator; it lies beside this one.
const PROGRAM: &str = "fusebox-benches-allocations";

/// Allocations per call, and the bytes per call that are still allocated when the calls are over.
pub(super) fn count(suite: &str, case: &Case, calls: u64) -> (Counted, Counted) {
    match both(suite, case, calls) {
        Ok((allocations, held)) => (Ok(allocations), Ok(held)),
        Err(why) => (Err(why.clone()), Err(why)),
    }
}

/// The same of every case, all in one process.
pub(super) fn together(suite: &str, cases: &[(Case, u64)]) -> Result<Vec<(f64, f64)>, String> {
    let words = together::words(suite, cases);
    let said = run(&words)?;
    said.lines()
        .map(|line| numbers(line).ok_or_else(|| format!("{PROGRAM} did not say how many")))
        .collect()
}

fn both(suite: &str, case: &Case, calls: u64) -> Result<(f64, f64), String> {
    if case.threads > 1 {
        return Err("starting the threads allocates too".to_owned());
    }
    let said = run(&child::args(suite, case, calls))?;
    numbers(&said).ok_or_else(|| format!("{PROGRAM} did not say how many"))
}

fn numbers(line: &str) -> Option<(f64, f64)> {
    let mut numbers = line.split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(allocations)), Some(Ok(held))) => Some((allocations, held)),
        _ => None,
    }
}

fn run(words: &[String]) -> Result<String, String> {
    let program = env::current_exe()
        .map_err(|error| format!("this program cannot be found: {error}"))?
        .with_file_name(PROGRAM);
    let output = Command::new(&program)
        .args(words)
        .output()
        .map_err(|error| format!("{PROGRAM} cannot be run: {error}"))?;
    if !output.status.success() {
        return Err(format!("{PROGRAM}: {}", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
