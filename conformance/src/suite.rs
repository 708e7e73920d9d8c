//! Where the rules and the tests are.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::format::{self, Stage};

/// What the command line says about it.
#[derive(Debug, Default)]
pub(crate) struct Where {
    pub(crate) rules: Option<PathBuf>,
    pub(crate) tests: Option<PathBuf>,
}

/// A rule set and its tests.
#[derive(Debug)]
pub(crate) struct Suite {
    pub(crate) rules: Rules,
    pub(crate) tests: PathBuf,
}

/// The files of the rule set, in the order in which they are loaded.
#[derive(Debug, Default)]
pub struct Rules {
    /// `crs-setup.conf`, or its example.
    pub setup: Option<PathBuf>,
    /// The rules, in the order of their names.
    pub files: Vec<PathBuf>,
}

/// One stage, with the name under which failures are reported.
#[derive(Debug)]
pub(crate) struct NamedStage {
    pub(crate) name: String,
    pub(crate) stage: Stage,
}

/// Beside the repository, wherever this is started.
const BESIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/crs");

impl Suite {
    /// `None` if nothing was asked for and nothing is there.
    pub(crate) fn find(place: &Where) -> Result<Option<Self>> {
        let fallback = env::var_os("FUSEBOX_CRS")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(BESIDE)).filter(|path| path.is_dir()));
        let pick = |asked: &Option<PathBuf>| asked.clone().or_else(|| fallback.clone());
        let (Some(rules), Some(tests)) = (pick(&place.rules), pick(&place.tests)) else {
            return Ok(None);
        };
        Ok(Some(Self {
            rules: Rules::in_folder(&rules)?,
            tests: tests_below(&tests),
        }))
    }

    pub(crate) fn stages(&self) -> Result<Vec<NamedStage>> {
        let mut files = Vec::new();
        collect(&self.tests, &["yaml", "yml"], true, &mut files)?;
        files.sort();
        let mut stages = Vec::new();
        for path in files {
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let file =
                format::read(&text).with_context(|| format!("not a test: {}", path.display()))?;
            name_stages(&path, file, &mut stages);
        }
        Ok(stages)
    }
}

impl Rules {
    fn in_folder(folder: &Path) -> Result<Self> {
        ensure!(folder.is_dir(), "{} is no folder", folder.display());
        let rules = Some(folder.join("rules"))
            .filter(|below| below.is_dir())
            .unwrap_or_else(|| folder.to_owned());
        let setup = ["crs-setup.conf", "crs-setup.conf.example"]
            .iter()
            .flat_map(|name| [folder.join(name), folder.join("..").join(name)])
            .find(|path| path.is_file());
        let mut files = Vec::new();
        collect(&rules, &["conf"], false, &mut files)?;
        files.retain(|path| {
            !path
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(b"crs-setup"))
        });
        files.sort();
        ensure!(!files.is_empty(), "no rules in {}", rules.display());
        Ok(Self { setup, files })
    }
}

/// A clone of the rule set has its tests below; anything else is taken as it is.
fn tests_below(folder: &Path) -> PathBuf {
    ["tests/regression/tests", "tests"]
        .iter()
        .map(|below| folder.join(below))
        .find(|path| path.is_dir())
        .unwrap_or_else(|| folder.to_owned())
}

fn collect(folder: &Path, endings: &[&str], below: bool, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            if below {
                collect(&path, endings, below, files)?;
            }
        } else if path
            .extension()
            .and_then(|ending| ending.to_str())
            .is_some_and(|ending| endings.contains(&ending))
        {
            files.push(path);
        }
    }
    Ok(())
}

/// `942100-3`; a test of several stages has `934120-43/2` as its second.
fn name_stages(path: &Path, file: format::File, stages: &mut Vec<NamedStage>) {
    let rule = file.rule_id.map_or_else(
        || {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            stem.chars().filter(char::is_ascii_digit).collect()
        },
        |id| id.to_string(),
    );
    for (position, test) in (1..).zip(file.tests) {
        let id = test.test_id.unwrap_or(position);
        let several = test.stages.len() > 1;
        for (number, stage) in (1..).zip(test.stages) {
            let name = if several {
                format!("{rule}-{id}/{number}")
            } else {
                format!("{rule}-{id}")
            };
            stages.push(NamedStage { name, stage });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_named_by_rule_test_and_position() {
        let file = |rule: &str| {
            format::read(&format!(
                "{rule}tests:\n  - test_id: 4\n    stages:\n      - {{input: {{}}, output: {{}}}}\n  - stages:\n      \
                 - {{input: {{}}, output: {{}}}}\n      - {{input: {{}}, output: {{}}}}\n"
            ))
            .unwrap()
        };
        let names = |file| {
            let mut stages = Vec::new();
            name_stages(Path::new("x/911100.yaml"), file, &mut stages);
            stages
                .into_iter()
                .map(|stage| stage.name)
                .collect::<Vec<_>>()
        };
        assert_eq!(names(file("rule_id: 7\n")), ["7-4", "7-2/1", "7-2/2"]);
        assert_eq!(names(file("")), ["911100-4", "911100-2/1", "911100-2/2"]);
    }
}
