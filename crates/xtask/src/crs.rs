//! `cargo xtask crs`: builds the conformance runner and runs it; the rules and the tests are not part of the project.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use lexopt::{Arg, Parser, ValueExt};

use crate::command::Line;
use crate::workspace::{Workspace, cargo};

/// What the command line asks for; the runner reads the same words.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) rules: Option<PathBuf>,
    pub(crate) tests: Option<PathBuf>,
    pub(crate) fails: bool,
    pub(crate) only: Option<String>,
    pub(crate) engine: Option<String>,
}

impl Options {
    pub(crate) fn parse(mut parser: Parser) -> Result<Self> {
        let mut options = Self::default();
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Long("rules") => options.rules = Some(parser.value()?.into()),
                Arg::Long("tests") => options.tests = Some(parser.value()?.into()),
                Arg::Long("fails") => options.fails = true,
                Arg::Long("only") => options.only = Some(parser.value()?.string()?),
                Arg::Long("engine") => options.engine = Some(parser.value()?.string()?),
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(options)
    }
}

const PACKAGE: &str = "fusebox-conformance";

/// Our own engine is always there; the others are features, because one needs a C library of the machine.
const OWN_ENGINE: &str = "seclang";

/// Builds, then runs the program directly: its exit code is the verdict, and cargo would replace it.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let mut build = Line::new(cargo())
        .args(["build", "--release", "--package", PACKAGE])
        .folder(&workspace.root);
    if let Some(engine) = &options.engine
        && engine != OWN_ENGINE
    {
        build = build.args(["--features", engine]);
    }
    build.run().with_context(|| match &options.engine {
        Some(engine) => format!("no runner with the engine `{engine}`"),
        None => "no runner".to_owned(),
    })?;
    let mut program =
        Line::new(workspace.target.join("release").join(PACKAGE)).folder(&workspace.root);
    // The runner's working directory is the workspace; what was typed is relative to ours.
    for (flag, folder) in [("--rules", &options.rules), ("--tests", &options.tests)] {
        if let Some(folder) = folder {
            let folder = std::path::absolute(folder)?;
            program = program.arg(flag).arg(folder);
        }
    }
    for (flag, word) in [("--only", &options.only), ("--engine", &options.engine)] {
        if let Some(word) = word {
            program = program.args([flag, word]);
        }
    }
    if options.fails {
        program = program.arg("--fails");
    }
    let status = program.status()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
