//! `cargo xtask check`: everything that can be said about the code without running it.

use std::process::ExitCode;

use anyhow::{Result, ensure};

use crate::command::Line;
use crate::direction;
use crate::steps::Steps;
use crate::tools::{self, DENY, HACK};
use crate::workspace::{Package, Workspace, cargo};

/// Libraries that are no engine even without features: they are about HTTP, or about everything. The firewall's engine is a
/// crate of its own, `fusebox-seclang`.
const NOT_ENGINES: &[&str] = &["fusebox", "fusebox-http", "fusebox-testkit", "fusebox-waf"];

/// What an engine does without: it takes time as an argument and knows neither a runtime nor a protocol. A build
/// without features that pulls one of these in has lost that boundary.
const NOT_IN_AN_ENGINE: &[&str] = &[
    "axum",
    "fusebox-http",
    "http",
    "http-body",
    "hyper",
    "tokio",
    "tonic",
    "tower",
    "tower-service",
];

pub(crate) fn run(workspace: &Workspace) -> Result<ExitCode> {
    let mut steps = Steps::default();
    let cargo = || Line::new(cargo()).folder(&workspace.root);
    let passed = |line: Line| line.run().map(|()| String::new());

    // The cheap ones first: whoever waits sees them fail early.
    steps.run("fmt", || passed(cargo().args(["fmt", "--all", "--check"])));
    steps.run("direction of dependencies", || check_direction(workspace));
    steps.run("clippy", || {
        let line = cargo().args(["clippy", "--workspace", "--all-targets", "--all-features"]);
        passed(line.args(["--", "-D", "warnings"]))
    });
    steps.run("rustdoc", || {
        let line = cargo().args(["doc", "--workspace", "--no-deps", "--all-features"]);
        passed(line.env("RUSTDOCFLAGS", "-D warnings"))
    });
    steps.run("engines alone", || check_engines_alone(workspace));
    steps.run("each feature", || check_each_feature(workspace));
    steps.run("bans, licences, sources", || {
        let tool = tools::ensure_installed(DENY, workspace)?;
        let line = tools::cargo_with_tools(workspace)?;
        // Without the graphs, which say in forty lines what `cargo tree -i` says when asked.
        line.args(["deny", "check", "--hide-inclusion-graph"])
            .args(["bans", "licenses", "sources"])
            .run()?;
        Ok(tool)
    });
    steps.unchecked(
        "advisories",
        "their database is a git repository that must be fetched, and this command works without one; \
         with a network: cargo deny check advisories",
    );

    if workspace.root.join("fuzz").is_dir() {
        steps.unchecked(
            "fuzz targets",
            "a workspace of its own that needs a nightly compiler; the tests replay its corpus",
        );
    }

    steps.print();
    Ok(steps.exit_code())
}

fn check_direction(workspace: &Workspace) -> Result<String> {
    let violations = direction::violations(&workspace.packages);
    ensure!(violations.is_empty(), "{}", violations.join("; "));
    Ok(format!("{} packages", workspace.packages.len()))
}

/// Each engine without its features, one at a time: named together, cargo would give each the features another one
/// asks for.
fn check_engines_alone(workspace: &Workspace) -> Result<String> {
    let mut checked = Vec::new();
    let mut failed = Vec::new();
    for package in workspace.libraries() {
        let name = package.name.as_str();
        if NOT_ENGINES.contains(&name) {
            continue;
        }
        checked.push(name);
        if let Err(error) = check_engine_alone(name, workspace) {
            failed.push(format!("{name}: {error:#}"));
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join("; "));
    ensure!(!checked.is_empty(), "there is no engine");
    Ok(checked.join(" "))
}

fn check_engine_alone(name: &str, workspace: &Workspace) -> Result<()> {
    let cargo = |command| {
        Line::new(cargo())
            .args([command, "--package", name, "--no-default-features"])
            .folder(&workspace.root)
    };
    cargo("clippy")
        .args(["--lib", "--", "-D", "warnings"])
        .run()?;
    let tree = cargo("tree")
        .args(["--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .read()?;
    let strangers = strangers(&tree);
    ensure!(
        strangers.is_empty(),
        "without features it still depends on {}",
        strangers.join(", ")
    );
    Ok(())
}

/// The crates of a dependency tree, one a line, that an engine has no business with.
fn strangers(tree: &str) -> Vec<&str> {
    let names = tree
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    let mut strangers: Vec<_> = names
        .filter(|name| NOT_IN_AN_ENGINE.contains(name))
        .collect();
    strangers.sort_unstable();
    strangers.dedup();
    strangers
}

/// Every library with none of its features, with each one alone, and with all. Clippy rather than `check`, because it
/// takes `-D warnings` for our crates alone; through `RUSTFLAGS` every dependency would be built once more. Resolver 3
/// keeps the features of dev-dependencies out of a build without tests, so the manifests need not be rewritten
/// (`--no-dev-deps`).
fn check_each_feature(workspace: &Workspace) -> Result<String> {
    let tool = tools::ensure_installed(HACK, workspace)?;
    let libraries: Vec<&Package> = workspace.libraries().collect();
    let mut line = tools::cargo_with_tools(workspace)?.args([
        "hack",
        "clippy",
        "--keep-going",
        "--each-feature",
    ]);
    for library in &libraries {
        line = line.args(["--package", &library.name]);
    }
    line.args(["--", "-D", "warnings"]).run()?;
    let features: usize = libraries.iter().map(|library| library.features.len()).sum();
    Ok(format!(
        "{tool}; {features} features of {} libraries",
        libraries.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_drags_a_runtime_in_is_found_out() {
        let tree = "fusebox-bulkhead v0.1.0 (/w/crates/fusebox-bulkhead)\n\
                    tokio v1.54.0\nbytes v1.12.2\nhttp v1.5.0\nbytes v1.12.2 (*)\n";
        assert_eq!(strangers(tree), ["http", "tokio"]);
    }

    #[test]
    fn a_crate_that_merely_sounds_like_one_is_no_stranger() {
        assert!(
            strangers("fusebox-core v0.1.0\nhttparse v1.10.1\ntokio-metrics v0.4.0\n").is_empty()
        );
    }
}
