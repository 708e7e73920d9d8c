//! The command line.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    time::Duration,
};

use axum::http::Uri;
use clap::{Args, Parser, Subcommand};

use crate::{
    analytics::Strain,
    compartments::Protection,
    edge::{Bans, EdgeSettings},
};

/// A small shop back end whose payments stay fast while its analytics burns.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do; serves if nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to serve.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// What there is to do besides serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Flood the shop, break its authoriser, attack it, and see what becomes of the payments: with and without fusebox.
    Storm(StormArgs),
}

/// How to serve.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// The address to listen on. There is no TLS: on any but loopback a reverse proxy belongs before it.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub address: IpAddr,
    /// The port; 0 takes any that is free.
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// Where the database is. It is created and seeded when it is not there.
    #[arg(long, default_value = "data/storefront")]
    pub data_dir: PathBuf,
    /// How many orders to seed a new database with.
    #[arg(long, default_value_t = 300_000)]
    pub orders: u32,
    /// How payments and analytics are kept apart.
    #[arg(long, value_enum, default_value_t)]
    pub protection: Protection,
    /// Worker threads of the shared runtime; tokio's default is one for each core.
    #[arg(long)]
    pub workers: Option<usize>,
    /// Let every analytics request wait this long first, as for a slow dependency (`500ms`, `2s`).
    #[arg(long, value_parser = duration, default_value = "0ms")]
    pub analytics_delay: Duration,
    /// Let every analytics request compute this long without yielding (`200ms`, `1s`).
    #[arg(long, value_parser = duration, default_value = "0ms")]
    pub analytics_cpu: Duration,
    /// The payments' authoriser (gRPC, as in `examples/grpc`), as `http://host:port`; without it the shop starts
    /// one in its own process.
    #[arg(long, value_parser = authoriser)]
    pub authoriser: Option<Uri>,
    /// A network of reverse proxies (`10.0.12.0/24`), which may say in `X-Forwarded-For` whom they speak for and are
    /// never banned; may be given several times. Without it the peer is the client, and that header is not read.
    #[arg(long, value_name = "NETWORK")]
    pub trusted_proxy: Vec<String>,
    /// How far a client gets that is banned.
    #[arg(long, value_enum, default_value_t)]
    pub bans_at: Bans,
    /// A file with a published list of addresses that are banned for as long as they are listed, one address or block a
    /// line; may be given several times. It is read again when it changes.
    #[arg(long, value_name = "FILE")]
    pub block_list: Vec<PathBuf>,
    /// A file in which sentences outlive the shop.
    #[arg(long, value_name = "FILE")]
    pub sentences: Option<PathBuf>,
    /// A folder with the OWASP Core Rule Set, for the firewall to use instead of its own rules.
    #[arg(long, value_name = "FOLDER")]
    pub crs: Option<PathBuf>,
    /// Stop when standard input ends too, so that the service never outlives who started it.
    #[arg(long, hide = true)]
    pub stop_with_stdin: bool,
}

impl ServeArgs {
    /// The extra work asked for.
    #[must_use]
    pub fn strain(&self) -> Strain {
        Strain {
            delay: self.analytics_delay,
            cpu: self.analytics_cpu,
        }
    }

    /// How the shop meets the world.
    #[must_use]
    pub fn edge(&self) -> EdgeSettings {
        EdgeSettings {
            trusted_proxies: self.trusted_proxy.clone(),
            crs: self.crs.clone(),
            bans: self.bans_at,
            block_lists: self.block_list.clone(),
            sentences: self.sentences.clone(),
        }
    }
}

/// How to storm.
#[derive(Clone, Debug, Args)]
pub struct StormArgs {
    /// Where the experiment's database is. It is created and seeded when it is not there.
    #[arg(long, default_value = "data/storm")]
    pub data_dir: PathBuf,
    /// How many orders to seed a new database with.
    #[arg(long, default_value_t = 300_000)]
    pub orders: u32,
    /// Where to write the report.
    #[arg(long, default_value = "data/storm/report.html")]
    pub report: PathBuf,
    /// Only these parts, separated by commas; all of them if nothing is said.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Part>,
    /// A folder with the OWASP Core Rule Set: the attacks are replayed against that instead of the firewall's own rules.
    #[arg(long, value_name = "FOLDER")]
    pub crs: Option<PathBuf>,
    /// A few seconds only, to see that it runs; the figures mean nothing then.
    #[arg(long)]
    pub quick: bool,
}

/// A part of the experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Payments while analytics is flooded: with fusebox, with a semaphore, with nothing.
    Isolation,
    /// Payments while their authoriser hangs, dies and returns.
    Outage,
    /// What an attacker costs once it is banned, and what becomes of the payments meanwhile.
    Attack,
    /// What the firewall stops, what it stops by mistake, and what it costs.
    Replay,
}

/// `http://host:port`.
fn authoriser(text: &str) -> Result<Uri, String> {
    let uri: Uri = text.parse().map_err(|error| format!("{error}"))?;
    // No TLS here: this is about what happens on the connection, not who is at its other end.
    if uri.scheme_str() != Some("http") || uri.authority().is_none() {
        return Err(format!("`{text}` is not like `http://127.0.0.1:50051`"));
    }
    Ok(uri)
}

/// `2s` or `250ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration; write `250ms` or `2s`");
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => (text.strip_suffix('s').ok_or_else(wrong)?, 1_000),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number
        .checked_mul(unit)
        .map(Duration::from_millis)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_authoriser_is_a_plain_url() {
        assert!(authoriser("http://127.0.0.1:50051").is_ok());
        for wrong in ["", "127.0.0.1:50051", "https://bank", "http://", "/here"] {
            assert!(authoriser(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn parts_are_separated_by_commas_and_proxies_are_repeated() {
        let parse = |words: &[&str]| Cli::parse_from([&["storefront"], words].concat());
        let Some(Command::Storm(storm)) = parse(&["storm", "--only", "replay,attack"]).command
        else {
            panic!("no storm");
        };
        assert_eq!(storm.only, [Part::Replay, Part::Attack]);
        let serve = parse(&["--trusted-proxy", "10.0.0.1", "--trusted-proxy", "::1"]).serve;
        assert_eq!(serve.edge().trusted_proxies, ["10.0.0.1", "::1"]);
        assert!(Cli::try_parse_from(["storefront", "storm", "--only", "tea"]).is_err());
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2s"), Ok(Duration::from_secs(2)));
        for wrong in ["", "2", "s", "ms", "-1s", "1.5s", "18446744073709551615s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
