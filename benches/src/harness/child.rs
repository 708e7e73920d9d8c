//! Counting takes a process of its own: this one under valgrind, or one with a counting allocator. Such a child makes
//! so many calls of one case and ends; this is how it is told which.

use anyhow::{Context, Result};

use super::case::Case;
use crate::suites;

/// The first word of a child's command line.
pub const CALLS: &str = "--calls";

/// One case and how many calls of it.
#[derive(Debug, Clone, Copy)]
pub struct Calls {
    /// What to build.
    pub case: Case,
    /// How often to call it.
    pub n: u64,
}

/// The command line for `n` calls of a case.
pub(super) fn args(suite: &str, case: &Case, n: u64) -> [String; 4] {
    [
        CALLS.to_owned(),
        suite.to_owned(),
        case.name.to_owned(),
        n.to_string(),
    ]
}

/// Reads what [`CALLS`] is followed by.
///
/// # Errors
///
/// If there is no such case, or the number is none.
pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Calls> {
    let mut word = || words.next().context("--calls <suite> <case> <n>");
    let (suite, case, n) = (word()?, word()?, word()?);
    let suites = suites();
    let case = suites
        .iter()
        .find(|candidate| candidate.name == suite)
        .and_then(|suite| suite.case(&case))
        .with_context(|| format!("there is no case {suite}/{case}"))?;
    Ok(Calls {
        case: *case,
        n: n.parse().context("--calls: the number of calls")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_reads_what_it_was_told() {
        for suite in suites() {
            for case in &suite.cases {
                let words = args(suite.name, case, 7).into_iter().skip(1);
                let calls = parse(words).unwrap();
                assert_eq!((calls.case.name, calls.n), (case.name, 7));
            }
        }
    }

    #[test]
    fn a_case_that_does_not_exist_is_an_error() {
        let words = ["machine", "nonsense", "7"].map(str::to_owned);
        assert!(parse(words.into_iter()).is_err());
    }
}
