//! Runs the suites: `fusebox-benches [name] [--rounds <n>] [--quick]`. Started by `cargo xtask bench`.

use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use fusebox_benches::harness::{self, Plan, Suite, Verdict, child, together};
use fusebox_benches::suites;
use lexopt::{Arg, Parser, ValueExt};

/// `EX_USAGE` of sysexits.h: kept apart from the verdicts.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    // A child that is counted does nothing but its calls.
    let mut words = std::env::args().skip(1);
    match words.next().as_deref() {
        Some(child::CALLS) => {
            return child_of(child::parse(words), |calls| {
                (calls.case.make)()(calls.n);
            });
        }
        Some(together::TOGETHER) => {
            return child_of(together::parse(words), |cases| {
                for calls in cases {
                    let mut batch = (calls.case.make)();
                    // What the first call of all does once is in a batch of its own.
                    batch(1);
                    batch(calls.n);
                }
            });
        }
        _ => {}
    }
    match options(Parser::from_env()) {
        Ok((chosen, plan)) => run(&chosen, plan),
        Err(error) => usage(&error),
    }
}

fn child_of<T>(told: Result<T>, work: impl FnOnce(T)) -> ExitCode {
    match told {
        Ok(told) => {
            work(told);
            ExitCode::SUCCESS
        }
        Err(error) => usage(&error),
    }
}

fn run(suites: &[Suite], plan: Plan) -> ExitCode {
    let mut verdict = Verdict::Met;
    for suite in suites {
        let report = harness::report(suite, &harness::measure(suite, plan));
        for line in &report.lines {
            println!("{line}");
        }
        verdict = verdict.max(report.verdict);
    }
    ExitCode::from(verdict.exit_code())
}

fn usage(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::from(USAGE)
}

fn options(mut parser: Parser) -> Result<(Vec<Suite>, Plan)> {
    let mut name = None;
    let mut rounds = None;
    let mut plan = Plan::FULL;
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("quick") => plan = Plan::QUICK,
            Arg::Long("rounds") => rounds = Some(parser.value()?.parse()?),
            Arg::Value(value) if name.is_none() => name = Some(value.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    if let Some(rounds) = rounds {
        ensure!(rounds > 0, "--rounds: a median needs at least one round");
        plan = Plan { rounds };
    }
    Ok((choose(name.as_deref())?, plan))
}

/// The suite of that name, or all. The machine's own prices come with every choice: the others are read against them.
fn choose(name: Option<&str>) -> Result<Vec<Suite>> {
    let mut suites = suites();
    if let Some(name) = name {
        let known: Vec<_> = suites.iter().map(|suite| suite.name).collect();
        if !known.contains(&name) {
            bail!(
                "there is no suite `{name}`; there are: {}",
                known.join(", ")
            );
        }
        suites.retain(|suite| suite.name == name || suite.name == "machine");
    }
    Ok(suites)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_that_does_not_exist_is_an_error_and_not_an_empty_success() {
        assert!(choose(Some("bulkheads")).is_err());
    }

    #[test]
    fn a_named_suite_comes_with_the_prices_of_the_machine() {
        let names: Vec<_> = choose(Some("bulkhead"))
            .unwrap()
            .iter()
            .map(|suite| suite.name)
            .collect();
        assert_eq!(names, ["machine", "bulkhead"]);
    }

    #[test]
    fn rounds_win_over_quick() {
        let (_, plan) = options(Parser::from_args(["--rounds", "3", "--quick"])).unwrap();
        assert_eq!(plan, Plan { rounds: 3 });
        assert!(options(Parser::from_args(["--rounds", "0"])).is_err());
    }
}
