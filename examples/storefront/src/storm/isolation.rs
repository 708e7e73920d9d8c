//! What becomes of payments while analytics is flooded.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use tokio::time::{sleep, sleep_until};

use super::{
    client::{Client, Way},
    cpu,
    finding::{self, Cpu, Finding},
    flood::Flood,
    ground::{ANALYSTS, CUSTOMERS},
    payments::Stream,
    plan::{Plan, SCENARIOS, Scenario},
    service::{Launch, Service},
    watch::Watch,
};

/// How often the progress is shown.
const GLANCE: Duration = Duration::from_millis(200);

/// All scenarios, one after the other.
///
/// # Errors
///
/// A service cannot be started.
///
/// # Cancel safety
///
/// Dropped, it kills the service that runs.
pub(super) async fn run(
    plan: &Plan,
    directory: &Path,
    orders: u32,
) -> anyhow::Result<[Finding; 4]> {
    let [idle, unprotected, semaphore, fusebox] = SCENARIOS;
    Ok([
        one(idle, plan, directory, orders).await?,
        one(unprotected, plan, directory, orders).await?,
        one(semaphore, plan, directory, orders).await?,
        one(fusebox, plan, directory, orders).await?,
    ])
}

/// One scenario, from the start of its service to its end.
async fn one(
    scenario: Scenario,
    plan: &Plan,
    directory: &Path,
    orders: u32,
) -> anyhow::Result<Finding> {
    let watch = Watch::new(&scenario, plan)?;
    let service = Service::start(&Launch::of(&scenario, plan), directory).await?;

    let start = Instant::now();
    let payers = Client::new(service.address, CUSTOMERS, Way::Named);
    let payments = Stream::start(payers, *plan, orders, start);
    sleep_until((start + plan.warm_up).into()).await;

    let crowd = Client::new(service.address, ANALYSTS, Way::Named);
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
