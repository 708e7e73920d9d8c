//! Child processes: shown before they run, judged by their exit status.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, ensure};

/// A command line that prints itself, so that every step can be repeated by hand.
#[derive(Debug)]
pub(crate) struct Line {
    command: Command,
}

impl Line {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            command: Command::new(program),
        }
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Runs it with our terminal; a non-zero exit is an error.
    pub(crate) fn run(self) -> Result<()> {
        let program = self.program();
        let status = self.status()?;
        ensure!(status.success(), "{program}: {status}");
        Ok(())
    }

    /// Runs it and returns what it wrote to its standard output.
    pub(crate) fn read(mut self) -> Result<String> {
        println!("$ {}", self.shown());
        let program = self.program();
        let output = self
            .command
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot run {program}"))?;
        ensure!(output.status.success(), "{program}: {}", output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs it with our terminal and leaves the judgement to the caller.
    pub(crate) fn status(mut self) -> Result<ExitStatus> {
        println!("$ {}", self.shown());
        self.command
            .stdin(Stdio::null())
            .status()
            .with_context(|| format!("cannot run {}", self.program()))
    }

    /// Runs it, passes its standard output on as it comes, and shows every line of it to `read`.
    pub(crate) fn run_reading(mut self, mut read: impl FnMut(&str)) -> Result<()> {
        println!("$ {}", self.shown());
        let program = self.program();
        let mut child = self
            .command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {program}"))?;
        if let Some(output) = child.stdout.take() {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            // Bytes, not lines of text: a test may print anything.
            while output.read_until(b'\n', &mut line)? > 0 {
                let text = String::from_utf8_lossy(&line);
                print!("{text}");
                read(text.trim_end());
                line.clear();
            }
        }
        let status = child.wait()?;
        ensure!(status.success(), "{program}: {status}");
        Ok(())
    }

    fn program(&self) -> String {
        Path::new(self.command.get_program())
            .file_name()
            .unwrap_or_else(|| self.command.get_program())
            .to_string_lossy()
            .into_owned()
    }

    fn shown(&self) -> String {
        let mut shown = String::new();
        for (name, value) in self.command.get_envs() {
            // PATH is only ever extended by our own tools: noise in a line meant to be read.
            if let Some(value) = value
                && name != "PATH"
            {
                let _infallible = write!(
                    shown,
                    "{}={} ",
                    name.to_string_lossy(),
                    quoted(&value.to_string_lossy())
                );
            }
        }
        shown.push_str(&self.program());
        for arg in self.command.get_args() {
            shown.push(' ');
            shown.push_str(&quoted(&arg.to_string_lossy()));
        }
        shown
    }
}

fn quoted(word: &str) -> String {
    if word.is_empty() || word.contains(char::is_whitespace) {
        format!("'{word}'")
    } else {
        word.to_owned()
    }
}

/// Whether a program of this name is on the `PATH`, or where Debian keeps what only root is meant to call, which is not
/// on everybody's.
pub(crate) fn is_on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(Into::into))
        .any(|folder| folder.join(program).is_file())
}

/// Our `PATH` with `folder` before everything else.
pub(crate) fn path_with(folder: &Path) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder.to_owned()).chain(env::split_paths(&path));
    env::join_paths(folders).context("a folder of the tools cannot be put on the PATH")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_non_zero_exit_is_an_error() {
        assert!(Line::new("false").run().is_err());
        assert!(Line::new("true").run().is_ok());
    }

    #[test]
    fn a_missing_program_is_an_error_that_names_it() {
        let error = Line::new("no-such-program-here").run().unwrap_err();
        assert!(format!("{error:#}").contains("no-such-program-here"));
    }

    #[test]
    fn reads_every_line_even_of_a_program_that_fails() {
        let mut lines = Vec::new();
        let script = Line::new("sh").args(["-c", "echo one; echo two; exit 3"]);
        let result = script.run_reading(|line| lines.push(line.to_owned()));
        assert!(result.is_err());
        assert_eq!(lines, ["one", "two"]);
    }

    #[test]
    fn shows_what_to_type_to_repeat_it() {
        let line = Line::new("/usr/bin/cargo")
            .args(["doc", "--no-deps"])
            .env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(
            line.shown(),
            "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps"
        );
    }

    #[test]
    fn tells_a_program_that_is_there_from_one_that_is_not() {
        assert!(is_on_path("sh"));
        assert!(!is_on_path("no-such-program-here"));
    }
}
