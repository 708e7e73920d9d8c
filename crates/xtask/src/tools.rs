//! The cargo subcommands `check` uses, in versions we have seen work.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::command::{Line, path_with};
use crate::workspace::{Workspace, cargo};

/// A program from crates.io, pinned: a new release of a linter must not turn a green tree red by itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tool {
    name: &'static str,
    /// What comes after `cargo`.
    command: &'static str,
    version: Version,
}

/// Checks every feature alone.
pub(crate) const HACK: Tool = Tool {
    name: "cargo-hack",
    command: "hack",
    version: Version(0, 6, 46),
};

/// Checks licences, duplicate and banned crates, and where crates come from.
pub(crate) const DENY: Tool = Tool {
    name: "cargo-deny",
    command: "deny",
    version: Version(0, 20, 2),
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32, u32);

/// Sees that the tool is there, from the `PATH` or from our own folder; builds it if not. Returns the remark for the
/// summary.
pub(crate) fn ensure_installed(tool: Tool, workspace: &Workspace) -> Result<String> {
    let own = folder(workspace).join("bin").join(tool.name);
    for (place, program) in [
        ("ours", own.as_path()),
        ("on the PATH", Path::new(tool.name)),
    ] {
        if let Some(found) = installed_version(program, tool)
            && found.serves_for(tool.version)
        {
            return Ok(format!("{} {found}, {place}", tool.name));
        }
    }
    install(tool, workspace)?;
    ensure!(
        installed_version(&own, tool).is_some_and(|found| found.serves_for(tool.version)),
        "{} was built but does not say that it is {}",
        own.display(),
        tool.version
    );
    Ok(format!("{} {}, built", tool.name, tool.version))
}

/// A cargo command line that finds our own tools before any other of the same name.
pub(crate) fn cargo_with_tools(workspace: &Workspace) -> Result<Line> {
    let path = path_with(&folder(workspace).join("bin"))?;
    Ok(Line::new(cargo()).env("PATH", path).folder(&workspace.root))
}

/// Under the target directory: `cargo clean` removes it, and nothing outside the checkout is touched.
fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("tools")
}

/// Builds the tool without optimisation: on two cores cargo-deny takes 45 s this way and several minutes with the
/// whole-program optimisation of its release profile, to save a second of its run. Its features leave nothing to cut.
fn install(tool: Tool, workspace: &Workspace) -> Result<()> {
    let folder = folder(workspace);
    let build = folder.join("build");
    let result = Line::new(cargo())
        .args(["install", "--locked", "--debug", "--force", "--root"])
        .arg(&folder)
        .args(["--version", &format!("={}", tool.version), tool.name])
        .env("CARGO_TARGET_DIR", &build)
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        // Flags meant for our crates have no business in a tool.
        .env("RUSTFLAGS", "")
        // Outside the workspace, whose own cargo configuration would apply.
        .folder(&env::temp_dir())
        .run();
    // Hundreds of megabytes that nobody reads again. Failing to remove them only costs disk.
    let _left_behind = std::fs::remove_dir_all(&build);
    result
}

fn installed_version(program: &Path, tool: Tool) -> Option<Version> {
    // The command's own name first, as cargo calls it: cargo-hack takes nothing else.
    let output = Command::new(program)
        .args([tool.command, "--version"])
        .output()
        .ok()?;
    Version::from_output(&String::from_utf8_lossy(&output.stdout))
}

impl Version {
    /// Reads `cargo-hack 0.6.46`, and also what a build from a checkout says: `cargo-deny 0.20.2 (1a2b3c4)`.
    fn from_output(output: &str) -> Option<Self> {
        let mut numbers = output.split_whitespace().nth(1)?.splitn(3, '.');
        let mut number = || numbers.next()?.parse().ok();
        Some(Self(number()?, number()?, number()?))
    }

    /// Whether this version may stand in for `wanted`: as Cargo reads a caret requirement below 1.0, the same minor
    /// version and no older patch.
    fn serves_for(self, wanted: Self) -> bool {
        (self.0, self.1) == (wanted.0, wanted.1) && self >= wanted
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(major, minor, patch) = self;
        write!(f, "{major}.{minor}.{patch}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_patch_serves_and_an_older_or_another_minor_does_not() {
        let wanted = Version(0, 6, 46);
        for (found, serves) in [
            ("cargo-hack 0.6.46\n", true),
            ("cargo-hack 0.6.47 (1a2b3c4)", true),
            ("cargo-hack 0.6.45", false),
            ("cargo-hack 0.7.0", false),
        ] {
            let version = Version::from_output(found).unwrap();
            assert_eq!(version.serves_for(wanted), serves, "{found}");
        }
    }

    #[test]
    fn a_program_that_says_something_else_has_no_version() {
        for output in [
            "",
            "cargo-hack",
            "cargo-hack next",
            "error: no such command",
        ] {
            assert_eq!(Version::from_output(output), None, "{output}");
        }
    }
}
