//! libmodsecurity, measured in a process of its own: a C library is linked in `conformance/peers` only, and the runner
//! there says how long its calls took.
//!
//! It is told what to do over its input, message by message: a line with a word and the number of fields, then each
//! field as a line with its length and its bytes. It answers each message with a line.

use std::env;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::requests::{Kind, Request};
use super::rules::{self, Paranoia};
use crate::drive::Batch;

/// Where `cargo xtask bench` says that the runner is.
const RUNNER: &str = "FUSEBOX_LIBMODSECURITY";

/// Whether it can be measured here.
pub(super) fn present() -> Result<(), String> {
    rules::present()?;
    runner().map(|_runner| ())
}

fn runner() -> Result<OsString, String> {
    env::var_os(RUNNER).ok_or_else(|| {
        "libmodsecurity is not here: `cargo xtask bench` measures it where its -dev package is installed, 3.0.6 or newer"
            .to_owned()
    })
}

/// Calls of the library with this request.
pub(super) fn batch(request: &Request, kind: Kind, level: Paranoia) -> Batch {
    let mut peer = of(level);
    let mut fields = vec![
        request.method.as_bytes(),
        request.uri.as_bytes(),
        &request.body,
    ];
    for (name, value) in &request.headers {
        fields.extend([name.as_bytes(), value.as_bytes()]);
    }
    let number = works(peer.ask("request", &fields));
    drop(peer);
    Box::new(move |calls| {
        let said = works(of(level).ask("run", &[number.as_bytes(), calls.to_string().as_bytes()]));
        let (nanoseconds, refused) = works(read(&said));
        // As with ours: a refusal that is timed as an admission would be a fast one.
        if level == Paranoia::One && kind != Kind::Hostile {
            assert!(refused == (kind == Kind::Attack), "{kind:?} {said}");
        }
        Duration::from_nanos(nanoseconds)
    })
}

/// `nanoseconds admitted|refused`
fn read(said: &str) -> Result<(u64, bool)> {
    let (nanoseconds, verdict) = said.split_once(' ').context("two words")?;
    ensure!(["admitted", "refused"].contains(&verdict), "it said {said}");
    Ok((nanoseconds.parse()?, verdict == "refused"))
}

#[expect(
    clippy::expect_used,
    reason = "a peer that fails leaves nothing to compare with"
)]
fn works<T>(result: Result<T>) -> T {
    result.expect("libmodsecurity can be measured")
}

/// The process with the rules of this level, started at the first use.
fn of(level: Paranoia) -> MutexGuard<'static, Peer> {
    static ONE: OnceLock<Mutex<Peer>> = OnceLock::new();
    static FOUR: OnceLock<Mutex<Peer>> = OnceLock::new();
    let cell = match level {
        Paranoia::One => &ONE,
        Paranoia::Four => &FOUR,
    };
    cell.get_or_init(|| Mutex::new(works(Peer::start(level))))
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

struct Peer {
    /// Ends when its input does.
    _child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Peer {
    fn start(level: Paranoia) -> Result<Self> {
        let runner = runner().map_err(anyhow::Error::msg)?;
        let mut child = Command::new(runner)
            .arg("--measure")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut peer = Self {
            input: child.stdin.take().context("it has an input")?,
            output: BufReader::new(child.stdout.take().context("it has an output")?),
            _child: child,
        };
        peer.ask("text", &[rules::BASE.as_bytes()])?;
        peer.ask("text", &[level.setup().as_bytes()])?;
        for file in rules::files() {
            peer.ask("file", &[bytes_of(&file)])?;
        }
        Ok(peer)
    }

    fn ask(&mut self, word: &str, fields: &[&[u8]]) -> Result<String> {
        let mut message = format!("{word} {}\n", fields.len()).into_bytes();
        for field in fields {
            message.extend_from_slice(format!("{}\n", field.len()).as_bytes());
            message.extend_from_slice(field);
        }
        self.input.write_all(&message)?;
        self.input.flush()?;
        let mut answer = String::new();
        ensure!(self.output.read_line(&mut answer)? > 0, "it has ended");
        let answer = answer.trim_end();
        if let Some(error) = answer.strip_prefix("error ") {
            anyhow::bail!("{word}: {error}");
        }
        Ok(answer.to_owned())
    }
}

fn bytes_of(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_time_and_a_verdict() {
        assert_eq!(read("1200 admitted").unwrap(), (1_200, false));
        assert_eq!(read("7 refused").unwrap(), (7, true));
        assert!(read("7 maybe").is_err());
        assert!(read("7").is_err());
    }
}
