//! `cargo xtask bench`: builds the bench programs as a user's release build would be, and runs them.

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Result, ensure};
use lexopt::{Arg, Parser, ValueExt};

use crate::command::Line;
use crate::crs;
use crate::workspace::{Workspace, cargo};

/// What the command line asks for; the bench program reads the same words.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) name: Option<String>,
    pub(crate) rounds: Option<u32>,
    pub(crate) quick: bool,
}

impl Options {
    pub(crate) fn parse(mut parser: Parser) -> Result<Self> {
        let mut options = Self::default();
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Long("rounds") => {
                    let rounds = parser.value()?.parse()?;
                    ensure!(rounds > 0, "--rounds: a median needs at least one round");
                    options.rounds = Some(rounds);
                }
                Arg::Long("quick") => options.quick = true,
                Arg::Value(name) if options.name.is_none() => options.name = Some(name.string()?),
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(options)
    }

    fn args(&self) -> Vec<String> {
        let rounds = self.rounds.map(|rounds| format!("--rounds={rounds}"));
        let quick = self.quick.then(|| "--quick".to_owned());
        self.name
            .iter()
            .cloned()
            .chain(rounds)
            .chain(quick)
            .collect()
    }
}

const PACKAGE: &str = "fusebox-benches";

/// Where the suite of the rule engine looks for the program that it measures libmodsecurity with.
const RUNNER: &str = "FUSEBOX_LIBMODSECURITY";

/// Builds that program, if the suite is asked for and the library is on this machine: without it its targets are unchecked, and
/// the suite says why.
fn libmodsecurity(workspace: &Workspace, options: &Options) -> Result<Option<PathBuf>> {
    let wanted = options.name.as_deref().is_none_or(|name| name == "waf");
    let present = || {
        let mut probe = Command::new("pkg-config");
        probe.args(["--atleast-version=3.0.6", "modsecurity"]);
        let status = probe.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    if wanted && present() {
        return Ok(Some(crs::build(workspace, "libmodsecurity")?));
    }
    Ok(None)
}

/// Builds, then runs the program directly: its exit code is the verdict, and cargo would replace it.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    Line::new(cargo())
        .args(["build", "--profile", "bench", "--package", PACKAGE])
        .folder(&workspace.root)
        .run()?;
    // The bench profile shares the folder of the release profile.
    let program = workspace.target.join("release").join(PACKAGE);
    let mut line = Line::new(program)
        .args(options.args())
        .folder(&workspace.root);
    if let Some(runner) = libmodsecurity(workspace, options)? {
        line = line.env(RUNNER, runner);
    }
    let status = line.status()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
