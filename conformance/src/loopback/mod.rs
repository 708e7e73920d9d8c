//! The same tests end to end: raw bytes over a socket of this machine to hyper and to axum, the firewall with the Core Rule Set behind
//! their parser, and the back end behind that.
//!
//! What differs from the run in process is what a server does with a request before a layer sees it. Each such stage is listed in
//! [`expected`] with its reason, and the lists are exact: a stage that is answered by the server and is on no list fails, and so does
//! one that is on a list and is not.

mod client;
mod expected;
mod server;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::format::Log;
use crate::judge;
use crate::loopback::client::Answer;
use crate::loopback::expected::{Answered, Expected};
use crate::loopback::server::Server;
use crate::request::Request;
use crate::suite::{NamedStage, Suite};

/// What became of one stage at one server.
enum Outcome {
    Passed,
    /// The server answered itself, or cut the connection, as it has to.
    Answered(&'static Answered),
    Failed(String),
    /// It says nothing about rules, and no status either.
    Silent,
}

/// Whether every stage does at both servers what is expected of it.
pub(crate) fn run(suite: &Suite, fails: bool, only: Option<&str>) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let stages = suite.stages()?;
    let mut is_met = true;
    for name in ["hyper", "axum"] {
        let rules = server::rules(suite)?;
        let met = runtime.block_on(async {
            let mut server = match name {
                "axum" => Server::axum(&rules).await?,
                _ => Server::hyper(&rules).await?,
            };
            at(&mut server, name, &stages, fails, only).await
        })?;
        is_met &= met;
    }
    Ok(is_met)
}

async fn at(
    server: &mut Server,
    name: &str,
    stages: &[NamedStage],
    fails: bool,
    only: Option<&str>,
) -> Result<bool> {
    let (mut passed, mut judged, mut silent) = (0_usize, 0_usize, 0_usize);
    let mut answered: BTreeMap<&str, usize> = BTreeMap::new();
    for stage in stages {
        if only.is_some_and(|only| !stage.name.starts_with(only)) {
            continue;
        }
        judged += 1;
        match check(server, stage)
            .await
            .with_context(|| stage.name.clone())?
        {
            Outcome::Passed => passed += 1,
            Outcome::Answered(group) => *answered.entry(group.reason).or_default() += 1,
            Outcome::Silent => {
                silent += 1;
                judged -= 1;
            }
            Outcome::Failed(why) => {
                if fails {
                    println!("FAILED {name} {}: {why}", stage.name);
                }
            }
        }
    }
    if judged == 0 {
        bail!("no stage to judge");
    }
    let by_server: usize = answered.values().sum();
    println!(
        "loopback {name} passed {passed} of {judged}, {by_server} decided by the server, {silent} say nothing"
    );
    for (reason, count) in answered {
        println!("  {count} {reason}");
    }
    Ok(passed + by_server == judged)
}

async fn check(server: &mut Server, stage: &NamedStage) -> Result<Outcome> {
    let output = &stage.stage.output;
    let log = output.log.as_ref().filter(|log| !log.is_empty());
    if log.is_none() && output.status.is_none() && !output.expect_error {
        return Ok(Outcome::Silent);
    }
    let raw = Request::raw(&stage.stage.input)?;
    let answer = client::send(server.address(), &raw).await?;
    let seen = server.seen().await;
    let found = match &seen {
        // It never came as far as the firewall, and is not to: what is found there is nobody's business.
        None if answer.is(output.status) && log.is_none_or(Log::wants_nothing) => None,
        None => Some(match &answer {
            Answer::Status(status) => format!("the server says {status}"),
            Answer::Closed => "the server closes the connection".to_owned(),
            Answer::Nothing => "the server waits".to_owned(),
        }),
        Some(run) => {
            let mut found = match log {
                Some(log) => judge::compare(log, output.isolated, run)?,
                None => None,
            };
            if found.is_none()
                && let Some(wanted) = output.status
                && !answer.is(Some(wanted))
            {
                found = Some(format!("{answer:?}, not {wanted}"));
            }
            found
        }
    };
    let Some(found) = found else {
        return Ok(match expected::of(&stage.name) {
            None => Outcome::Passed,
            Some(_) => Outcome::Failed("is listed as different, and is not".to_owned()),
        });
    };
    let Some(group) = expected::of(&stage.name) else {
        return Ok(Outcome::Failed(found));
    };
    let fits = match group.how {
        Expected::Refused => {
            seen.is_none()
                && matches!(
                    &answer,
                    Answer::Status(400 | 431 | 414 | 505) | Answer::Closed
                )
        }
        Expected::Changed => seen.is_some(),
    };
    Ok(if fits {
        Outcome::Answered(group)
    } else {
        Outcome::Failed(format!("{found}, which is not: {}", group.reason))
    })
}

/// How long a server may take for anything: an order of magnitude more than it does.
const PATIENCE: Duration = Duration::from_secs(5);
