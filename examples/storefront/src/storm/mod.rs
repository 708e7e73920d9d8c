//! The experiment, in four parts: what becomes of payments while analytics is flooded, what becomes of them while
//! their authoriser is down, what an attacker costs once it is banned, and what the firewall stops.
//!
//! See the README beside this package for what the figures mean and what limits them.

mod attack;
mod chart;
mod client;
mod cpu;
mod finding;
mod flood;
mod ground;
mod isolation;
mod outage;
mod pace;
mod page;
mod payments;
mod plan;
mod replay;
mod results;
mod service;
mod table;
mod tally;
mod verdict;
mod visit;
mod watch;

use std::{path::Path, process::ExitCode};

use anyhow::Context;

use crate::{
    cli::{Part, StormArgs},
    serve::prepare,
    signals::Signals,
};
use plan::{LONGEST, Plan};
use results::Results;

/// Runs the experiment, prints the tables and writes the report.
///
/// Fails (exit code 1) if a target is missed. A quick run is not judged: its figures mean nothing.
///
/// # Errors
///
/// The database cannot be seeded, a service cannot be started, the report cannot be written, it took too long,
/// or somebody asked it to stop. No service is left behind then.
///
/// # Cancel safety
///
/// Dropped, it kills the service that runs.
pub async fn storm(arguments: &StormArgs) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    tokio::select! {
        done = experiment(arguments) => done,
        asked = signals.next() => anyhow::bail!("{asked}"),
    }
}

async fn experiment(arguments: &StormArgs) -> anyhow::Result<ExitCode> {
    let plan = if arguments.quick {
        Plan::QUICK
    } else {
        Plan::FULL
    };
    // What is there may have been seeded with another number than asked for.
    let orders = prepare(&arguments.data_dir, arguments.orders).await?;
    let mut results = Results::default();
    let ended = tokio::time::timeout(LONGEST, run(arguments, &plan, orders, &mut results))
        .await
        .with_context(|| format!("the experiment took longer than {} s", LONGEST.as_secs()))
        .flatten();

    // A bar leaves the cursor at its own end.
    println!("\n{}", results.text());
    let targets = results.judge();
    let page = page::page(&results, &targets, &plan);
    write(&arguments.report, &page)
        .with_context(|| format!("cannot write {}", arguments.report.display()))?;
    println!("report: {}", arguments.report.display());
    // After what was finished by then: that took a minute to find out.
    ended?;

    if arguments.quick {
        println!("too short to be judged");
        return Ok(ExitCode::SUCCESS);
    }
    for target in &targets {
        println!("{target}");
    }
    let met = targets.iter().all(|target| target.met);
    Ok(if met {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The parts that were asked for, in their own order.
async fn run(
    arguments: &StormArgs,
    plan: &Plan,
    orders: u32,
    results: &mut Results,
) -> anyhow::Result<()> {
    let directory = &arguments.data_dir;
    let wanted = |part| arguments.only.is_empty() || arguments.only.contains(&part);
    if wanted(Part::Isolation) {
        results.isolation = Some(isolation::run(plan, directory, orders).await?);
    }
    if wanted(Part::Outage) {
        results.outage = Some(outage::run(plan, directory, orders).await?);
    }
    if wanted(Part::Attack) {
        results.attack = Some(attack::run(plan, directory, orders).await?);
    }
    if wanted(Part::Replay) {
        let crs = arguments.crs.clone();
        results.replay = Some(replay::run(plan, directory, orders, crs).await?);
    }
    Ok(())
}

fn write(file: &Path, page: &str) -> std::io::Result<()> {
    if let Some(directory) = file.parent() {
        std::fs::create_dir_all(directory)?;
    }
    std::fs::write(file, page)
}
