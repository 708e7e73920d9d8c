//! The experiment: what becomes of payments while analytics is flooded.
//!
//! It runs the service four times, each time as a process of its own: idle, flooded without fusebox, flooded
//! with a semaphore only, flooded with fusebox. The same stream of payments goes to each. Then the payments'
//! authoriser hangs, dies and returns. See the README beside this package for what the figures mean and what
//! limits them.

mod chart;
mod client;
mod cpu;
mod finding;
mod flood;
mod outage;
mod pace;
mod page;
mod payments;
mod plan;
mod service;
mod table;
mod tally;
mod verdict;
mod watch;

use std::{
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::time::{sleep, sleep_until};

use crate::{
    cli::StormArgs,
    serve::{interrupted, prepare, terminated},
};
use client::Client;
use finding::{Cpu, Finding};
use flood::Flood;
use outage::Outage;
use payments::Stream;
use plan::{LONGEST, Plan, SCENARIOS, Scenario};
use service::Service;
use watch::Watch;

/// How often the progress is shown.
const GLANCE: Duration = Duration::from_millis(200);

/// Runs the experiment, prints the table and writes the report.
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
    tokio::select! {
        done = experiment(arguments) => done,
        () = interrupted() => anyhow::bail!("interrupted"),
        () = terminated() => anyhow::bail!("asked to stop"),
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
    let (findings, outage) =
        tokio::time::timeout(LONGEST, run_all(&plan, &arguments.data_dir, orders))
            .await
            .with_context(|| {
                format!("the experiment took longer than {} s", LONGEST.as_secs())
            })??;

    let mut targets = verdict::judge(&findings);
    targets.extend(outage.judge());
    // A bar leaves the cursor at its own end.
    println!("\n{}", table::text(&findings));
    for finding in &findings {
        for (fate, count) in finding.payments.failures() {
            println!("{}: {count} payments {fate}", finding.scenario.title);
        }
    }
    println!(
        "the client itself sent 99 of 100 payments at most {} late",
        finding::time(finding::lateness(&findings))
    );
    println!("\n{}\n{}", outage.payments(), outage.circuit());
    let page = page::page(&findings, &outage, &targets, &plan);
    write(&arguments.report, &page)
        .with_context(|| format!("cannot write {}", arguments.report.display()))?;
    println!("report: {}", arguments.report.display());

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

fn write(file: &Path, page: &str) -> std::io::Result<()> {
    if let Some(directory) = file.parent() {
        std::fs::create_dir_all(directory)?;
    }
    std::fs::write(file, page)
}

async fn run_all(
    plan: &Plan,
    directory: &Path,
    orders: u32,
) -> anyhow::Result<([Finding; 4], Outage)> {
    let [idle, unprotected, semaphore, fusebox] = SCENARIOS;
    let findings = [
        run(idle, plan, directory, orders).await?,
        run(unprotected, plan, directory, orders).await?,
        run(semaphore, plan, directory, orders).await?,
        run(fusebox, plan, directory, orders).await?,
    ];
    let outage = outage::run(plan, directory, orders).await?;
    Ok((findings, outage))
}

/// One scenario, from the start of its service to its end.
async fn run(
    scenario: Scenario,
    plan: &Plan,
    directory: &Path,
    orders: u32,
) -> anyhow::Result<Finding> {
    let watch = Watch::new(&scenario, plan)?;
    let service = Service::start(&scenario, plan, directory).await?;

    let start = Instant::now();
    let payers = Client::new(service.address);
    let payments = Stream::start(payers, *plan, orders, start);
    sleep_until((start + plan.warm_up).into()).await;

    let crowd = Client::new(service.address);
    let flood = scenario.flooded.then(|| Flood::start(&crowd, plan));
    sleep_until((start + plan.warm_up + plan.onset).into()).await;

    let before = (service.cpu_time(), cpu::own(), Instant::now());
    let flood_before = flood.as_ref().map(Flood::so_far);
    let analytics = || {
        let (flood, before) = (flood.as_ref()?, flood_before?);
        Some(flood.so_far().since(before))
    };
    while start.elapsed() < plan.sending() {
        watch.show(start.elapsed(), &payments.so_far(), analytics());
        sleep(GLANCE.min(plan.sending().saturating_sub(start.elapsed()))).await;
    }
    let measured = before.2.elapsed();
    let cpu = Cpu {
        service: share(before.0, service.cpu_time(), measured),
        client: share(before.1, cpu::own(), measured),
    };
    let analytics = analytics();

    // The flood goes on until the last payment is over: they have all met the same weather.
    let payments = payments.finish().await?;
    drop(flood);
    watch.show(plan.sending(), &payments, analytics);
    watch.finish();
    service.stop().await?;
    Ok(Finding {
        scenario,
        payments,
        analytics,
        cpu,
    })
}

fn share(before: Option<Duration>, after: Option<Duration>, over: Duration) -> Option<f64> {
    finding::over(after?.checked_sub(before?)?, over)
}
