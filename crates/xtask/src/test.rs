//! `cargo xtask test`: what the tests need, then every test, doc-test and model.

use std::cell::RefCell;
use std::env;
use std::process::ExitCode;

use anyhow::{Result, ensure};

use crate::command::Line;
use crate::counts::Counts;
use crate::needs;
use crate::steps::Steps;
use crate::workspace::{Workspace, cargo};

/// A test binary that explores every interleaving of a lock-free structure.
#[derive(Debug, Clone, Copy)]
struct Model {
    package: &'static str,
    test: &'static str,
}

/// Every model of the workspace. A new lock-free structure comes with a line here.
const MODELS: &[Model] = &[
    Model {
        package: "fusebox-blackhole",
        test: "loom",
    },
    Model {
        package: "fusebox-bulkhead",
        test: "loom",
    },
    Model {
        package: "fusebox-circuit-breaker",
        test: "loom",
    },
    Model {
        package: "fusebox-rate-limit",
        test: "loom",
    },
];

/// Tests that pass without having tested anything where the machine lacks something: they cannot say so themselves.
struct Condition {
    tests: &'static str,
    need: &'static str,
    is_met: fn(&Workspace) -> bool,
}

const CONDITIONS: &[Condition] = &[
    Condition {
        tests: "the Core Rule Set (fusebox-seclang, conformance)",
        need: "a copy of it in the folder that FUSEBOX_CRS names; see `cargo xtask crs`",
        is_met: |workspace| {
            env::var_os("FUSEBOX_CRS").is_some() || workspace.root.join("../shared/crs").is_dir()
        },
    },
    Condition {
        tests: "packets through nftables (fusebox-blackhole), clients with addresses of their own (storefront)",
        need: "the right to make network namespaces, which root has",
        is_met: |_| {
            let mut probe = std::process::Command::new("unshare");
            let probe = probe
                .args(["--net", "true"])
                .stderr(std::process::Stdio::null());
            probe.status().is_ok_and(|status| status.success())
        },
    },
];

/// The flag that swaps std's atomics and locks for the model checker's.
const MODEL_FLAG: &str = "--cfg fusebox_loom";

pub(crate) fn run(workspace: &Workspace) -> Result<ExitCode> {
    let mut steps = Steps::default();
    let total = RefCell::new(Counts::default());

    steps.run("needs", || needs::satisfy(needs::TESTS));
    // One command for unit, integration and doc-tests, so that they share one build. Not `--all-targets`: with it
    // cargo leaves the doc-tests out, and the benches are programs, measured by `cargo xtask bench`.
    steps.run("tests and doc-tests", || {
        let line =
            Line::new(cargo()).args(["test", "--workspace", "--all-features", "--no-fail-fast"]);
        count(line.folder(&workspace.root), &total)
    });
    for model in MODELS {
        steps.run(&format!("model {}/{}", model.package, model.test), || {
            count(explore(*model, workspace), &total)
        });
    }

    for unmet in CONDITIONS
        .iter()
        .filter(|condition| !(condition.is_met)(workspace))
    {
        steps.unchecked(unmet.tests, unmet.need);
    }

    steps.print();
    println!("{}", total.borrow());
    Ok(steps.exit_code())
}

/// Runs tests and adds them up. A run without tests is a failure: a filter or a feature has hidden them all.
pub(crate) fn count(line: Line, total: &RefCell<Counts>) -> Result<String> {
    let mut counts = Counts::default();
    let result = line.run_reading(|line| {
        if let Some(binary) = Counts::from_line(line) {
            counts += binary;
        }
    });
    *total.borrow_mut() += counts;
    result?;
    ensure!(counts.ran_any(), "no test ran");
    Ok(counts.to_string())
}

/// A model gets a target directory of its own, because its flag changes every crate: in the common one it would throw
/// away the build of the tests. Release, because the number of interleavings is what costs time.
fn explore(model: Model, workspace: &Workspace) -> Line {
    let flags = env::var("RUSTFLAGS").map_or_else(
        |_unset| MODEL_FLAG.to_owned(),
        |flags| format!("{flags} {MODEL_FLAG}"),
    );
    Line::new(cargo())
        .args(["test", "--package", model.package, "--no-default-features"])
        .args(["--test", model.test, "--release"])
        .env("RUSTFLAGS", flags)
        .env("CARGO_TARGET_DIR", workspace.target.join("loom"))
        .folder(&workspace.root)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Line {
        Line::new("sh").args(["-c", script])
    }

    const RESULT: &str =
        "echo 'test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out'";

    #[test]
    fn a_run_in_which_no_test_ran_fails() {
        let total = RefCell::default();
        assert!(count(shell("true"), &total).is_err());
        assert!(count(shell(RESULT), &total).is_ok());
    }

    #[test]
    fn the_tests_of_a_failing_run_are_counted_too() {
        let total = RefCell::default();
        assert!(count(shell(&format!("{RESULT}; exit 101")), &total).is_err());
        assert_eq!(total.borrow().passed, 2);
    }
}
