//! What `cargo metadata` says of this workspace.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The workspace: where it is, where it builds, and its member packages.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) packages: Vec<Package>,
}

/// One member and the members it names as dependencies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// The folder it lives in, relative to the root: `crates/fusebox-core`.
    pub(crate) folder: PathBuf,
    pub(crate) features: Vec<String>,
    pub(crate) dependencies: Vec<Dependency>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) only_in_tests: bool,
}

impl Package {
    /// Whether this is a library users may depend on: everything in `crates/` but this program.
    pub(crate) fn is_library(&self) -> bool {
        self.folder.starts_with("crates") && self.name != "xtask"
    }
}

impl Workspace {
    pub(crate) fn load() -> Result<Self> {
        let output = Command::new(cargo())
            .args(["metadata", "--format-version", "1", "--no-deps"])
            .stderr(std::process::Stdio::inherit())
            .output()
            .context("cannot run `cargo metadata`")?;
        ensure!(output.status.success(), "`cargo metadata` failed");
        Self::from_metadata(&serde_json::from_slice(&output.stdout)?)
    }

    fn from_metadata(metadata: &Value) -> Result<Self> {
        let root = PathBuf::from(string(metadata, "workspace_root")?);
        let packages = array(metadata, "packages")?
            .iter()
            .map(|package| Package::from_metadata(package, &root))
            .collect::<Result<_>>()?;
        Ok(Self {
            target: PathBuf::from(string(metadata, "target_directory")?),
            root,
            packages,
        })
    }

    pub(crate) fn libraries(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.is_library())
    }
}

impl Package {
    fn from_metadata(package: &Value, root: &Path) -> Result<Self> {
        let manifest = PathBuf::from(string(package, "manifest_path")?);
        let folder = manifest.parent().unwrap_or(root);
        let features = package
            .get("features")
            .and_then(Value::as_object)
            .context("cargo metadata: no `features`")?;
        let mut dependencies = Vec::new();
        for dependency in array(package, "dependencies")? {
            // Members of the workspace are the dependencies with a path; the others come from a registry.
            if dependency.get("path").is_some_and(Value::is_string) {
                dependencies.push(Dependency {
                    name: string(dependency, "name")?.to_owned(),
                    only_in_tests: dependency.get("kind").and_then(Value::as_str) == Some("dev"),
                });
            }
        }
        Ok(Self {
            name: string(package, "name")?.to_owned(),
            folder: folder.strip_prefix(root).unwrap_or(folder).to_owned(),
            features: features.keys().cloned().collect(),
            dependencies,
        })
    }
}

/// The cargo that runs us, so that one toolchain does everything.
pub(crate) fn cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

fn string<'a>(value: &'a Value, field: &str) -> Result<&'a str> {
    value
        .get(field)
        .and_then(Value::as_str)
        .with_context(|| format!("cargo metadata: no text in `{field}`"))
}

fn array<'a>(value: &'a Value, field: &str) -> Result<&'a Vec<Value>> {
    value
        .get(field)
        .and_then(Value::as_array)
        .with_context(|| format!("cargo metadata: no list in `{field}`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keeps_the_members_a_package_depends_on_and_drops_the_registry() {
        let metadata = json!({
            "workspace_root": "/w",
            "target_directory": "/w/target",
            "packages": [{
                "name": "fusebox-http",
                "manifest_path": "/w/crates/fusebox-http/Cargo.toml",
                "features": {"default": [], "serde": ["dep:serde"]},
                "dependencies": [
                    {"name": "fusebox-core", "kind": null, "path": "/w/crates/fusebox-core"},
                    {"name": "fusebox-testkit", "kind": "dev", "path": "/w/crates/fusebox-testkit"},
                    {"name": "http", "kind": null},
                ],
            }],
        });
        let workspace = Workspace::from_metadata(&metadata).unwrap();
        let package = &workspace.packages[0];
        assert_eq!(package.folder, Path::new("crates/fusebox-http"));
        assert!(package.is_library());
        assert_eq!(package.features, ["default", "serde"]);
        let dependency = |name: &str, only_in_tests| Dependency {
            name: name.to_owned(),
            only_in_tests,
        };
        assert_eq!(
            package.dependencies,
            [
                dependency("fusebox-core", false),
                dependency("fusebox-testkit", true)
            ]
        );
    }
}
