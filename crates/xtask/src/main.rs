//! The commands of this repository, one word each: `cargo xtask test | check | flood | bench | crs`.
//!
//! Every command says what it runs, runs all of it even when a part fails, and ends with one line per step. What it
//! could not check it names, so that a green run never means more than it says.

mod bench;
mod check;
mod command;
mod counts;
mod crs;
mod direction;
mod flood;
mod needs;
mod steps;
mod test;
mod tools;
mod workspace;

use std::process::ExitCode;

use anyhow::{Result, bail};
use lexopt::{Arg, Parser, ValueExt};

use crate::workspace::Workspace;

const HELP: &str = "\
cargo xtask <command>

  test                 sets up what the tests need, then runs every test, doc-test and model of the workspace
  check                fmt, clippy, rustdoc, feature combinations, licences and bans, engines alone, directions
  flood                the tests that are too long for every day, in release: a hundred million clients
  bench [name]         measures the layers against their peers; without a name, all of them
      --rounds <n>     rounds per case (the median of them is the figure)
      --quick          few rounds: a look, not a verdict
  crs                  runs the regression tests of the OWASP Core Rule Set against the rule engine, in process
      --rules <dir>    the rule set; without it the folder that FUSEBOX_CRS names, or ../shared/crs
      --tests <dir>    its tests; by default those of the same folder
      --fails          prints every stage that failed, and why
      --only <id>      the tests whose id begins so: 942100, 942100-3
      --core           fusebox's own rules: how many of the attacks they block, and how much that is none
      --strict         the same at level two
      --loopback       end to end over sockets, through hyper and axum
      --engine <name>  another engine: libmodsecurity (needs libmodsecurity-dev, 3.0.13 or newer), zentinel

Exit code: 0 when all is well, 1 when a check failed or a target was missed, 2 when `bench` missed no target but
could not check all of them (no valgrind, one core) or when `crs` found no rule set, 64 when the command line makes no sense.
";

/// `EX_USAGE` of sysexits.h: kept apart from 1 and 2, which speak about the code under test.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let command = match parse(Parser::from_env()) {
        Ok(command) => command,
        Err(error) => {
            eprintln!("error: {error:#}\n\n{HELP}");
            return ExitCode::from(USAGE);
        }
    };
    match run(command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Command {
    Help,
    Test,
    Check,
    Flood,
    Bench(bench::Options),
    Crs(crs::Options),
}

fn run(command: Command) -> Result<ExitCode> {
    if command == Command::Help {
        print!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    }
    let workspace = Workspace::load()?;
    match command {
        Command::Help => Ok(ExitCode::SUCCESS),
        Command::Test => test::run(&workspace),
        Command::Check => check::run(&workspace),
        Command::Flood => flood::run(&workspace),
        Command::Bench(options) => bench::run(&workspace, &options),
        Command::Crs(options) => crs::run(&workspace, &options),
    }
}

fn parse(mut parser: Parser) -> Result<Command> {
    let Some(first) = parser.next()? else {
        return Ok(Command::Help);
    };
    let command = match first {
        Arg::Short('h') | Arg::Long("help") => return Ok(Command::Help),
        Arg::Value(word) => word.string()?,
        other => return Err(other.unexpected().into()),
    };
    match command.as_str() {
        "help" => Ok(Command::Help),
        "test" => end_of_line(parser, Command::Test),
        "check" => end_of_line(parser, Command::Check),
        "flood" => end_of_line(parser, Command::Flood),
        "bench" => Ok(Command::Bench(bench::Options::parse(parser)?)),
        "crs" => Ok(Command::Crs(crs::Options::parse(parser)?)),
        other => bail!("there is no command `{other}`"),
    }
}

fn end_of_line(mut parser: Parser, command: Command) -> Result<Command> {
    match parser.next()? {
        None => Ok(command),
        Some(Arg::Short('h') | Arg::Long("help")) => Ok(Command::Help),
        Some(other) => Err(other.unexpected().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Command> {
        parse(Parser::from_args(words))
    }

    #[test]
    fn no_command_is_a_cry_for_help() {
        assert_eq!(parsed(&[]).unwrap(), Command::Help);
    }

    #[test]
    fn reads_the_name_and_the_flags_of_a_bench_in_any_order() {
        let expected = Command::Bench(bench::Options {
            name: Some("bulkhead".to_owned()),
            rounds: Some(7),
            quick: true,
        });
        let parsed = parsed(&["bench", "--quick", "bulkhead", "--rounds=7"]).unwrap();
        assert_eq!(parsed, expected);
    }

    #[test]
    fn reads_where_the_rules_and_the_tests_are() {
        let expected = Command::Crs(crs::Options {
            rules: Some("a".into()),
            tests: Some("b".into()),
            fails: true,
            ..crs::Options::default()
        });
        let parsed = parsed(&["crs", "--tests=b", "--fails", "--rules", "a"]).unwrap();
        assert_eq!(parsed, expected);
    }

    #[test]
    fn refuses_what_it_does_not_know_rather_than_run_without_it() {
        for words in [
            &["tset"][..],
            &["test", "--fast"],
            &["check", "fmt"],
            &["flood", "small"],
            &["bench", "a", "b"],
            &["crs", "fails"],
        ] {
            assert!(parsed(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn a_bench_of_no_rounds_is_refused() {
        assert!(parsed(&["bench", "--rounds", "0"]).is_err());
    }
}
