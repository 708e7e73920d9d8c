//! The service under test: this program once more, as a process of its own.

use std::{fs::File, net::SocketAddr, path::Path, process::Stdio, time::Duration};

use anyhow::Context;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::{
    cpu,
    plan::{Plan, STOP_PATIENCE, Scenario},
};
use crate::serve::LISTENING;

/// How long it may take to open the database and its connections.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// A running service.
///
/// It ends with this process, however that ends: dropped it is killed, and should nobody be left to do that,
/// it stops when its standard input closes.
#[derive(Debug)]
pub(super) struct Service {
    child: Child,
    stdin: ChildStdin,
    // Kept open: the service would fail to write to a pipe that nobody reads.
    _stdout: Lines<BufReader<ChildStdout>>,
    /// Where it listens.
    pub(super) address: SocketAddr,
}

impl Service {
    /// Starts it on the seeded database in `directory`, and waits until it listens.
    ///
    /// # Errors
    ///
    /// It cannot be started, or ended or said nothing within its patience.
    pub(super) async fn start(
        scenario: &Scenario,
        plan: &Plan,
        directory: &Path,
    ) -> anyhow::Result<Self> {
        let log = directory.join(format!("service-{}.log", scenario.key));
        let strain = if scenario.flooded {
            plan.strain
        } else {
            Default::default()
        };
        let milliseconds = |duration: Duration| format!("{}ms", duration.as_millis());
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--port", "0", "--stop-with-stdin"])
            .arg("--data-dir")
            .arg(directory)
            .args(["--protection", &scenario.protection.to_string()])
            .args(["--analytics-delay", &milliseconds(strain.delay)])
            .args(["--analytics-cpu", &milliseconds(strain.cpu)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .kill_on_drop(true)
            .spawn()?;
        let stdin = child.stdin.take().context("the service has no input")?;
        let stdout = child.stdout.take().context("the service has no output")?;
        let mut lines = BufReader::new(stdout).lines();
        let address = tokio::time::timeout(START_PATIENCE, listening(&mut lines))
            .await
            .unwrap_or_else(|_| Err(anyhow::anyhow!("it did not listen in time")))
            .with_context(|| format!("the service did not start; see {}", log.display()))?;
        Ok(Self {
            child,
            stdin,
            _stdout: lines,
            address,
        })
    }

    /// The processor time it has used, where the system tells.
    #[must_use]
    pub(super) fn cpu_time(&self) -> Option<Duration> {
        cpu::of(self.child.id()?)
    }

    /// Asks it to stop, and kills it if it does not within [`STOP_PATIENCE`].
    ///
    /// # Errors
    ///
    /// The system does not let us.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        drop(self.stdin);
        if tokio::time::timeout(STOP_PATIENCE, self.child.wait())
            .await
            .is_err()
        {
            self.child.kill().await?;
        }
        Ok(())
    }
}

async fn listening(lines: &mut Lines<BufReader<ChildStdout>>) -> anyhow::Result<SocketAddr> {
    while let Some(line) = lines.next_line().await? {
        if let Some(address) = address(&line) {
            return Ok(address);
        }
    }
    anyhow::bail!("it ended")
}

/// The address in the line that tells it.
fn address(line: &str) -> Option<SocketAddr> {
    let url = line.strip_prefix(LISTENING)?;
    url.strip_prefix("http://")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_its_line_only() {
        let here = "127.0.0.1:8080".parse().ok();
        assert_eq!(address("listening on http://127.0.0.1:8080"), here);
        for other in [
            "",
            "http://127.0.0.1:8080",
            "listening on 127.0.0.1:8080",
            "listening on http://",
        ] {
            assert_eq!(address(other), None, "{other}");
        }
    }
}
