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
use crate::{analytics::Strain, compartments::Protection, edge::Bans, serve::LISTENING};

/// The experiment is a reverse proxy, which says for whom it asks.
pub(super) const PROXY: &str = "127.0.0.1";

/// How a service is started.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    /// A word for the name of its log.
    pub(super) key: String,
    /// Words before the command, which run it somewhere else.
    pub(super) wrapper: Vec<String>,
    /// The address it listens on.
    pub(super) address: &'static str,
    /// Who may say for whom it asks.
    pub(super) trusted_proxy: Option<&'static str>,
    /// How far a banned client gets.
    pub(super) bans: Bans,
    /// How the kinds of traffic are kept apart.
    pub(super) protection: Protection,
    /// Extra work for the analytics.
    pub(super) strain: Strain,
}

impl Launch {
    /// As a column of the first experiment has it.
    #[must_use]
    pub(super) fn of(scenario: &Scenario, plan: &Plan) -> Self {
        Self {
            key: scenario.key.to_owned(),
            wrapper: Vec::new(),
            address: "127.0.0.1",
            trusted_proxy: Some(PROXY),
            bans: Bans::default(),
            protection: scenario.protection,
            strain: if scenario.flooded {
                plan.strain
            } else {
                Strain::default()
            },
        }
    }

    /// The words after the command.
    fn arguments(&self) -> Vec<String> {
        let milliseconds = |duration: Duration| format!("{}ms", duration.as_millis());
        let mut words = vec![
            "--port".to_owned(),
            "0".to_owned(),
            "--stop-with-stdin".to_owned(),
        ];
        let mut add = |option: &str, value: String| words.extend([option.to_owned(), value]);
        add("--address", self.address.to_owned());
        add("--protection", self.protection.to_string());
        add("--bans-at", self.bans.to_string());
        add("--analytics-delay", milliseconds(self.strain.delay));
        add("--analytics-cpu", milliseconds(self.strain.cpu));
        if let Some(proxy) = self.trusted_proxy {
            add("--trusted-proxy", proxy.to_owned());
        }
        words
    }
}

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
    pub(super) async fn start(launch: &Launch, directory: &Path) -> anyhow::Result<Self> {
        let log = directory.join(format!("service-{}.log", launch.key));
        let own = std::env::current_exe()?;
        let mut command = match launch.wrapper.split_first() {
            Some((first, others)) => {
                let mut command = Command::new(first);
                command.args(others).arg(own);
                command
            }
            None => Command::new(own),
        };
        let mut child = command
            .args(launch.arguments())
            .arg("--data-dir")
            .arg(directory)
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

    /// The processor time of its threads so far, exactly, where the system tells.
    #[must_use]
    pub(super) fn exact_cpu_time(&self) -> Option<Duration> {
        cpu::exactly(self.child.id()?)
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
    use super::{super::plan::FUSEBOX, *};

    #[test]
    fn what_a_service_is_told_it_understands() {
        use clap::Parser;

        use crate::cli::Cli;

        let launch = Launch {
            bans: Bans::Kernel,
            ..Launch::of(&FUSEBOX, &Plan::FULL)
        };
        let words = ["storefront".to_owned()].into_iter();
        let cli = Cli::parse_from(words.chain(launch.arguments()));
        assert!(cli.command.is_none() && cli.serve.stop_with_stdin);
        assert_eq!(cli.serve.strain(), Plan::FULL.strain);
        assert_eq!(cli.serve.protection, FUSEBOX.protection);
        let edge = cli.serve.edge();
        assert_eq!(edge.bans, Bans::Kernel);
        assert_eq!(edge.trusted_proxies, [PROXY]);
    }

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
