//! `cargo xtask flood`: the tests that are too long for every day, in release.

use std::cell::RefCell;
use std::process::ExitCode;

use anyhow::Result;

use crate::command::Line;
use crate::counts::Counts;
use crate::steps::Steps;
use crate::test::count;
use crate::workspace::{Workspace, cargo};

/// A test binary with tests that are marked as ignored, because smaller ones of the same kind run every day.
struct Long {
    package: &'static str,
    test: &'static str,
}

const LONG: &[Long] = &[
    // A hundred million keys for a table of a hundred thousand.
    Long {
        package: "fusebox-rate-limit",
        test: "store",
    },
];

pub(crate) fn run(workspace: &Workspace) -> Result<ExitCode> {
    let mut steps = Steps::default();
    let total = RefCell::new(Counts::default());
    for long in LONG {
        steps.run(&format!("{}/{}", long.package, long.test), || {
            let line = Line::new(cargo())
                .args(["test", "--release", "--package", long.package])
                .args(["--test", long.test, "--", "--ignored"]);
            count(line.folder(&workspace.root), &total)
        });
    }
    steps.print();
    println!("{}", total.borrow());
    Ok(steps.exit_code())
}
