//! Files and `Include`s to logical lines.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::directive::{self, Item};
use super::words;
use crate::error::{ErrorKind, Location, RulesetError};

/// Deep enough for any layout of configuration folders; a file that includes itself ends here.
const MAX_DEPTH: usize = 16;

/// Directives in the order in which they take effect, from any number of texts and files.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    items: Vec<Item>,
}

impl Sources {
    pub(crate) fn items(&self) -> &[Item] {
        &self.items
    }

    /// Adds a text; `Include` and data files are looked up in `folder`.
    pub(crate) fn text(
        &mut self,
        name: &str,
        folder: &Path,
        text: &str,
    ) -> Result<(), RulesetError> {
        self.lines(name, folder, text, 0)
    }

    /// Adds a file.
    pub(crate) fn file(&mut self, path: &Path) -> Result<(), RulesetError> {
        self.file_at(path, 0)
    }

    fn file_at(&mut self, path: &Path, depth: usize) -> Result<(), RulesetError> {
        if depth > MAX_DEPTH {
            return Err(ErrorKind::IncludeDepth { depth }.into());
        }
        let bytes = std::fs::read(path).map_err(|error| ErrorKind::Read {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        let text = String::from_utf8(bytes).map_err(|_| ErrorKind::NotUtf8 {
            path: path.to_owned(),
        })?;
        let folder = path.parent().unwrap_or(Path::new("."));
        self.lines(&path.display().to_string(), folder, &text, depth)
    }

    fn lines(
        &mut self,
        name: &str,
        folder: &Path,
        text: &str,
        depth: usize,
    ) -> Result<(), RulesetError> {
        let file: Arc<str> = name.into();
        let folder: Arc<Path> = folder.into();
        for (line, logical) in logical_lines(text) {
            let location = Location::new(&file, line);
            let at = |kind| RulesetError::new(location.clone(), kind);
            let words = words::split(&logical).map_err(at)?;
            let Some((name, arguments)) = words.split_first() else {
                continue;
            };
            let optional = name.eq_ignore_ascii_case("IncludeOptional");
            if optional || name.eq_ignore_ascii_case("Include") {
                let [pattern] = arguments else {
                    return Err(at(ErrorKind::Arguments {
                        directive: name.clone(),
                        expected: "one file or pattern",
                        found: arguments.len(),
                    }));
                };
                let files = glob(&folder, pattern).map_err(at)?;
                if files.is_empty() && !optional {
                    return Err(at(ErrorKind::IncludeEmpty {
                        pattern: pattern.clone(),
                    }));
                }
                for file in files {
                    self.file_at(&file, depth + 1)?;
                }
                continue;
            }
            let directive = directive::parse(name, arguments).map_err(at)?;
            self.items.push(Item {
                directive,
                location,
                folder: Arc::clone(&folder),
            });
        }
        Ok(())
    }
}

/// The lines of `text` with continuations joined, comments and empty lines left out, each with the number of its first
/// physical line.
fn logical_lines(text: &str) -> impl Iterator<Item = (u32, String)> {
    let mut physical = (1..).zip(text.lines());
    std::iter::from_fn(move || {
        let mut start = None;
        let mut joined = String::new();
        for (number, line) in physical.by_ref() {
            let line = line.strip_suffix('\r').unwrap_or(line);
            // A comment ends no continuation and starts none: `#` counts only where a directive would start.
            if start.is_none() && (line.trim().is_empty() || line.trim_start().starts_with('#')) {
                continue;
            }
            let start = *start.get_or_insert(number);
            match line.strip_suffix('\\') {
                Some(more) => joined.push_str(more.trim_start_matches(['\t', ' '])),
                None => {
                    joined.push_str(line.trim_start_matches(['\t', ' ']));
                    return Some((start, joined));
                }
            }
        }
        start.map(|start| (start, joined))
    })
}

/// The files that `pattern` names, in order; relative names are looked up in `folder`.
///
/// `*` and `?` match within one component, which is all that Apache's `Include` and CRS's installation notes use.
fn glob(folder: &Path, pattern: &str) -> Result<Vec<PathBuf>, ErrorKind> {
    let mut found = vec![PathBuf::new()];
    for component in folder.join(pattern).components() {
        let name = component.as_os_str().to_string_lossy();
        if !name.contains(['*', '?']) {
            for path in &mut found {
                path.push(component);
            }
            continue;
        }
        let mut next = Vec::new();
        for path in &found {
            next.extend(entries(path, &name)?);
        }
        found = next;
    }
    found.retain(|path| path.is_file());
    found.sort();
    Ok(found)
}

fn entries(folder: &Path, pattern: &str) -> Result<Vec<PathBuf>, ErrorKind> {
    let read = |error: std::io::Error| ErrorKind::Read {
        path: folder.to_owned(),
        reason: error.to_string(),
    };
    let listed = match std::fs::read_dir(folder) {
        Ok(listed) => listed,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(read(error)),
    };
    let mut found = Vec::new();
    for entry in listed {
        let entry = entry.map_err(read)?;
        let name = entry.file_name();
        if matches(pattern.as_bytes(), name.to_string_lossy().as_bytes()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Whether a name matches a pattern of `*` and `?`: greedy with one point to come back to, so never exponential.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (pattern, name);
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (p.split_first(), n.split_first()) {
            (None, None) => return true,
            (Some((b'*', after)), _) => {
                retry = Some((after, n));
                p = after;
            }
            (Some((b'?', p2)), Some((_, n2))) => (p, n) = (p2, n2),
            (Some((a, p2)), Some((b, n2))) if a == b => (p, n) = (p2, n2),
            _ => {
                let Some((after, [_, rest @ ..])) = retry else {
                    return false;
                };
                retry = Some((after, rest));
                (p, n) = (after, rest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(text: &str) -> Vec<(u32, String)> {
        logical_lines(text).collect()
    }

    #[test]
    fn joins_continued_lines_and_keeps_the_number_of_the_first() {
        let text = "# note\n\nSecAction \\\n    \"id:1,\\\n    pass\"\nSecMarker END\r\n";
        assert_eq!(
            joined(text),
            [
                (3, "SecAction \"id:1,pass\"".to_owned()),
                (6, "SecMarker END".to_owned())
            ]
        );
    }

    #[test]
    fn ends_a_continuation_at_the_end_of_the_text() {
        assert_eq!(joined("SecMarker \\"), [(1, "SecMarker ".to_owned())]);
    }

    #[test]
    fn matches_patterns_as_a_shell_does() {
        for (pattern, name, expected) in [
            ("*.conf", "REQUEST-901.conf", true),
            ("*.conf", "setup.conf.example", false),
            ("RE*-9?1*.conf", "REQUEST-901-X.conf", true),
            ("*a*a*b", "aaaaaaaaaaaaaaaaaa", false),
            ("?", "", false),
            ("**", "", true),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                expected,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn a_missing_include_is_an_error_and_an_optional_one_is_not() {
        let mut sources = Sources::default();
        let error = sources
            .text("main", Path::new("/nowhere"), "\nInclude missing/*.conf\n")
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "main:2: Include: no file is named missing/*.conf"
        );
        sources
            .text(
                "main",
                Path::new("/nowhere"),
                "IncludeOptional missing/*.conf",
            )
            .unwrap();
    }
}
