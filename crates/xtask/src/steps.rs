//! The steps of a command: all of them run, and the end says what became of each.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;

/// What was done so far.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    done: Vec<Step>,
    unchecked: Vec<Unchecked>,
}

#[derive(Debug)]
struct Step {
    name: String,
    took: Duration,
    /// What the step has to say when it passed, or why it failed.
    result: Result<String, String>,
}

#[derive(Debug)]
struct Unchecked {
    what: String,
    why: String,
}

impl Steps {
    /// Runs one step, whatever became of the ones before it. The work returns a remark for the summary; it may be
    /// empty.
    pub(crate) fn run(&mut self, name: &str, work: impl FnOnce() -> Result<String>) {
        println!("\n=== {name}");
        let start = Instant::now();
        let result = work().map_err(|error| format!("{error:#}"));
        if let Err(why) = &result {
            eprintln!("{name} FAILED: {why}");
        }
        self.done.push(Step {
            name: name.to_owned(),
            took: start.elapsed(),
            result,
        });
    }

    /// Notes something that this run says nothing about.
    pub(crate) fn unchecked(&mut self, what: &str, why: &str) {
        self.unchecked.push(Unchecked {
            what: what.to_owned(),
            why: why.to_owned(),
        });
    }

    /// Prints the summary.
    pub(crate) fn print(&self) {
        println!("\n=== summary");
        for line in self.summary() {
            println!("{line}");
        }
    }

    /// Failure if any step failed, or if there was none: a command that did nothing has shown nothing.
    pub(crate) fn exit_code(&self) -> ExitCode {
        if self.all_passed() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    fn all_passed(&self) -> bool {
        !self.done.is_empty() && self.done.iter().all(|step| step.result.is_ok())
    }

    fn summary(&self) -> Vec<String> {
        let width = self
            .done
            .iter()
            .map(|step| step.name.len())
            .max()
            .unwrap_or(0);
        let steps = self.done.iter().map(|step| {
            let (word, remark) = match &step.result {
                Ok(remark) => ("ok    ", remark),
                Err(why) => ("FAILED", why),
            };
            let seconds = step.took.as_secs_f64();
            format!("{word}  {:width$}  {seconds:7.1} s  {remark}", step.name)
                .trim_end()
                .to_owned()
        });
        let unchecked = self
            .unchecked
            .iter()
            .map(|Unchecked { what, why }| format!("not checked: {what}: {why}"));
        steps.chain(unchecked).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    #[test]
    fn a_failed_step_does_not_stop_the_next_and_fails_the_whole() {
        let mut steps = Steps::default();
        let mut ran = false;
        steps.run("first", || bail!("broken"));
        steps.run("second", || {
            ran = true;
            Ok("7 passed".to_owned())
        });
        assert!(ran);
        assert!(!steps.all_passed());
        let summary = steps.summary();
        assert!(
            summary[0].starts_with("FAILED  first") && summary[0].ends_with("broken"),
            "{summary:?}"
        );
        assert!(
            summary[1].starts_with("ok      second") && summary[1].ends_with("7 passed"),
            "{summary:?}"
        );
    }

    #[test]
    fn doing_nothing_is_not_success() {
        assert!(!Steps::default().all_passed());
    }

    #[test]
    fn what_was_not_checked_is_said_and_does_not_fail() {
        let mut steps = Steps::default();
        steps.run("only", || Ok(String::new()));
        steps.unchecked("advisories", "needs the network");
        assert!(steps.all_passed());
        assert_eq!(
            steps.summary()[1],
            "not checked: advisories: needs the network"
        );
    }
}
