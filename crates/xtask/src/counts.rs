//! How many tests ran: read from what the test runner says at the end of each binary.

use std::fmt;
use std::ops::AddAssign;

/// The sums over many test binaries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Counts {
    /// Reads `test result: ok. 5 passed; 0 failed; 1 ignored; ...`; any other line is not a result.
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        let result = line.trim_start().strip_prefix("test result: ")?;
        let (_verdict, numbers) = result.split_once(". ")?;
        let number = |word: &str| {
            numbers
                .split(';')
                .filter_map(|part| part.trim().split_once(' '))
                .find(|(_, what)| *what == word)
                .and_then(|(number, _)| number.parse().ok())
        };
        Some(Self {
            passed: number("passed")?,
            failed: number("failed")?,
            skipped: number("ignored")?,
        })
    }

    /// Whether any test was executed at all.
    pub(crate) fn ran_any(self) -> bool {
        self.passed + self.failed > 0
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_the_results_of_passing_and_failing_binaries() {
        let mut sum = Counts::default();
        for line in [
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s",
            "test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s",
        ] {
            sum += Counts::from_line(line).unwrap();
        }
        assert_eq!(sum.to_string(), "16 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn other_lines_are_no_results() {
        for line in [
            "",
            "running 3 tests",
            "test result: unknown",
            "test admits_one ... ok",
        ] {
            assert_eq!(Counts::from_line(line), None, "{line}");
        }
    }

    #[test]
    fn an_empty_binary_ran_nothing() {
        let line = "test result: ok. 0 passed; 0 failed; 2 ignored; 0 measured; 9 filtered out; finished in 0.00s";
        assert!(!Counts::from_line(line).unwrap().ran_any());
    }
}
