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
    pub(crate) core: bool,
    pub(crate) loopback: bool,
    pub(crate) strict: bool,
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
                Arg::Long("core") => options.core = true,
                Arg::Long("loopback") => options.loopback = true,
                Arg::Long("strict") => options.strict = true,
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(options)
    }
}

const PACKAGE: &str = "fusebox-conformance";

/// Our own engine, which the runner of the workspace has.
const OWN_ENGINE: &str = "seclang";

/// The other engines are in a package outside of the workspace, each a feature of it.
const PEERS: &str = "fusebox-conformance-peers";
const PEERS_MANIFEST: &str = "conformance/peers/Cargo.toml";

/// Builds, then runs the program directly: its exit code is the verdict, and cargo would replace it.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let program = build(workspace, options.engine.as_deref().unwrap_or(OWN_ENGINE))?;
    let mut program = Line::new(program).folder(&workspace.root);
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
    for (flag, asked) in [
        ("--fails", options.fails),
        ("--core", options.core),
        ("--loopback", options.loopback),
        ("--strict", options.strict),
    ] {
        if asked {
            program = program.arg(flag);
        }
    }
    let status = program.status()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

pub(crate) fn build(workspace: &Workspace, engine: &str) -> Result<PathBuf> {
    let line = Line::new(cargo())
        .args(["build", "--release"])
        .folder(&workspace.root);
    if engine == OWN_ENGINE {
        line.args(["--package", PACKAGE]).run()?;
        return Ok(workspace.target.join("release").join(PACKAGE));
    }
    let target = workspace.target.join("peers");
    line.args(["--manifest-path", PEERS_MANIFEST, "--features", engine])
        .env("CARGO_TARGET_DIR", &target)
        .run()
        .with_context(|| {
            format!("no runner with the engine `{engine}` (libmodsecurity needs its -dev package, 3.0.6 or newer)")
        })?;
    Ok(target.join("release").join(PEERS))
}
