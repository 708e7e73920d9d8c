//! Instructions and clock reads per call, counted by running this very program under valgrind.
//!
//! A case is run twice, with few calls and with many; the difference is calls alone: what the program, the runtime and
//! the case need to start up is in both runs and cancels.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::case::Case;
use super::child;
use super::cost::Counted;
use super::together;

/// How much native time a counted case may take; under valgrind it is some fifty times that.
pub(super) const BUDGET: Duration = Duration::from_millis(100);

/// Valgrind is there, and this is what it runs.
#[derive(Debug, Clone)]
pub(super) struct Valgrind {
    program: PathBuf,
}

/// Looks for valgrind.
pub(super) fn find() -> Result<Valgrind, String> {
    Command::new("valgrind")
        .arg("--version")
        .output()
        .map_err(|_absent| {
            "valgrind is not installed (Debian: apt-get install valgrind)".to_owned()
        })?;
    let program =
        env::current_exe().map_err(|error| format!("this program cannot be found: {error}"))?;
    Ok(Valgrind { program })
}

impl Valgrind {
    /// Instructions in user space per call.
    pub(super) fn instructions(&self, suite: &str, case: &Case, calls: u64) -> Counted {
        // Without a cache model: instructions repeat from run to run, cache misses do not.
        let options = [
            "--tool=cachegrind",
            "--cache-sim=no",
            "--cachegrind-out-file=/dev/null",
        ];
        self.per_call(&options, suite, case, calls, instructions_in)
    }

    /// Reads of the system's clock per call. Valgrind hides the vDSO, so each one is a system call here.
    pub(super) fn clock_reads(&self, suite: &str, case: &Case) -> Counted {
        // They are printed one by one: no more than it takes to tell one in ten calls.
        const CALLS: u64 = 100;
        let options = ["--tool=none", "--trace-syscalls=yes"];
        self.per_call(&options, suite, case, CALLS, |said| {
            Some(clock_reads_in(said))
        })
    }

    /// Instructions in user space per call of each case, all in one process, of which only the calls are counted: each
    /// case is called once, which is left out, and then as often as it says.
    pub(super) fn together(&self, suite: &str, cases: &[(Case, u64)]) -> Result<Vec<f64>, String> {
        // By name, the crate's own. Of two options with the same pattern valgrind keeps one.
        const COLLECTED: &str = "fusebox_benches::drive::section*";
        const DUMPED: &str = "*_benches::drive::section*";
        let folder =
            tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
        let out = folder.path().join("calls");
        let output = Command::new("valgrind")
            .arg("--tool=callgrind")
            .arg("--collect-atstart=no")
            .arg(format!("--toggle-collect={COLLECTED}"))
            // A file for each batch of calls.
            .arg(format!("--dump-after={DUMPED}"))
            .arg(format!("--callgrind-out-file={}", out.display()))
            .arg(&self.program)
            .args(together::words(suite, cases))
            .output()
            .map_err(|error| format!("valgrind cannot be run: {error}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().last().unwrap_or_default();
            return Err(format!("under valgrind: {}: {last}", output.status));
        }
        cases
            .iter()
            .enumerate()
            .map(|(at, (_, calls))| {
                let batch = out.with_extension((2 * at + 2).to_string());
                let profile = fs::read_to_string(batch)
                    .map_err(|error| format!("valgrind did not say how many: {error}"))?;
                let all = total_in(&profile).ok_or("valgrind did not say how many")?;
                #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
                let per_call = all as f64 / *calls as f64;
                Ok(per_call)
            })
            .collect()
    }

    fn per_call(
        &self,
        options: &[&str],
        suite: &str,
        case: &Case,
        calls: u64,
        read: fn(&str) -> Option<u64>,
    ) -> Counted {
        if case.threads > 1 {
            return Err("valgrind runs one thread at a time".to_owned());
        }
        let count = |n| {
            let output = Command::new("valgrind")
                .args(options)
                .arg(&self.program)
                .args(child::args(suite, case, n))
                .output()
                .map_err(|error| format!("valgrind cannot be run: {error}"))?;
            let said = String::from_utf8_lossy(&output.stderr);
            if !output.status.success() {
                let last = said.lines().last().unwrap_or_default();
                return Err(format!("under valgrind: {}: {last}", output.status));
            }
            read(&said).ok_or_else(|| "valgrind did not say how many".to_owned())
        };
        // The few calls of the first run take whatever the first call of all does once, out of the difference.
        let few = calls / 10;
        Ok(slope(
            (few, count(few)?),
            (few + calls, count(few + calls)?),
        ))
    }
}

/// What each further call added.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn slope((few, with_few): (u64, u64), (many, with_many): (u64, u64)) -> f64 {
    (with_many as f64 - with_few as f64) / (many - few) as f64
}

/// Reads cachegrind's `==1234== I   refs:      1,234,567`.
fn instructions_in(said: &str) -> Option<u64> {
    said.lines()
        .filter_map(|line| line.split_once("refs:"))
        .find(|(what, _)| what.trim_end().ends_with('I'))
        .and_then(|(_, number)| number.trim().replace(',', "").parse().ok())
}

/// Reads callgrind's `totals: 1234567`.
fn total_in(profile: &str) -> Option<u64> {
    profile
        .lines()
        .find_map(|line| line.strip_prefix("totals:"))
        .and_then(|number| number.trim().parse().ok())
}

/// Counts `SYSCALL[1234,1](228) sys_clock_gettime( 1, 0x1ffeffed50 )[sync] --> Success(0x0)`.
fn clock_reads_in(said: &str) -> u64 {
    said.lines()
        .filter(|line| line.contains("sys_clock_gettime"))
        .fold(0, |count, _| count + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_instructions_among_everything_else_valgrind_says() {
        let said = "==7== Cachegrind, a high-precision tracing profiler\n\
                    ==7== Command: I refs\n==7== \n==7== I   refs:      1,234,567\n";
        assert_eq!(instructions_in(said), Some(1_234_567));
        assert_eq!(instructions_in("==7== D   refs:      12\n"), None);
    }

    #[test]
    fn reads_the_total_of_a_profile() {
        let profile = "version: 1\nevents: Ir\nfn=(1) main\n0 7\ntotals: 1234567\n";
        assert_eq!(total_in(profile), Some(1_234_567));
        assert_eq!(total_in("version: 1\n"), None);
    }

    #[test]
    fn counts_the_reads_of_the_clock_and_no_other_system_call() {
        let said = "SYSCALL[7,1](228) sys_clock_gettime( 1, 0x1ff )[sync] --> Success(0x0)\n\
                    SYSCALL[7,1](12) sys_brk ( 0x0 )[sync] --> Success(0x4)\n\
                    SYSCALL[7,1](228) sys_clock_gettime( 1, 0x1ff )[sync] --> Success(0x0)\n";
        assert_eq!(clock_reads_in(said), 2);
    }

    #[test]
    fn the_start_of_the_program_cancels() {
        let start = 123_456;
        let counted = slope((10, start + 10 * 243), (110, start + 110 * 243));
        assert!((counted - 243.0).abs() < f64::EPSILON);
    }
}
