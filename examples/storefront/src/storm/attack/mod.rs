//! What an attacker costs once it is banned, and what becomes of the payments meanwhile.
//!
//! First the same connections are made by the same banned bots to a service that turns them away at one depth after
//! the other, each a process of its own, and what its threads computed is read off. Then one attacker asks faster than
//! it may until it is banned, and goes on, while customers pay.

mod bots;
mod finding;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};

use super::{
    client::{Client, Way},
    ground::{ATTACKER, CUSTOMERS, Ground},
    payments::Stream,
    plan::Plan,
    service::{Launch, PROXY, Service},
    tally::Tally,
};
use crate::{analytics::Strain, compartments::Protection, edge::Bans};
use bots::Receptions;
pub(super) use finding::Attack;
#[cfg(test)]
pub(super) use finding::tests;
use finding::{Cost, Level};

/// How much, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Raid {
    /// Connections at each depth, counted in so many batches: what is told is the batch in the middle.
    pub(super) batches: (usize, usize),
    /// Connections a second of the attacker that is watched.
    pub(super) rate: u32,
    /// How long customers pay before it comes, while it is there, and when it has gone.
    pub(super) act: Duration,
    /// Payments a second meanwhile.
    pub(super) payments: u32,
}

impl Raid {
    /// The real thing.
    pub(super) const FULL: Self = Self {
        // Below every bot's burst, so that what is measured is the ban and not the rate limit.
        batches: (7, 300),
        rate: 1_000,
        act: Duration::from_secs(2),
        // Four of the 400 of each act lie beyond the 99th percentile.
        payments: 200,
    };

    /// Only to see that it runs.
    pub(super) const QUICK: Self = Self {
        batches: (1, 100),
        rate: 500,
        act: Duration::from_millis(400),
        payments: 50,
    };

    /// At most, with `start` for each service to start.
    #[cfg(test)]
    pub(super) fn length(&self, start: Duration) -> Duration {
        let services = u32::try_from(Bans::value_variants().len() + 1).unwrap();
        // Half a second for the bots of each depth.
        services * start + (services - 1) * Duration::from_millis(500) + 3 * self.act
    }
}

/// All of it.
///
/// # Errors
///
/// A service cannot be started, or its bots are not turned away.
///
/// # Cancel safety
///
/// Dropped, it kills the service that runs.
pub(super) async fn run(plan: &Plan, directory: &Path, orders: u32) -> anyhow::Result<Attack> {
    let depths = Bans::value_variants();
    let bar = ProgressBar::new(u64::try_from(depths.len())? + 3)
        .with_style(ProgressStyle::with_template("{prefix:24} {bar:24} {msg}")?)
        .with_prefix("an attacker is banned");
    bar.set_message("starting");
    let ground = Ground::prepare().await;
    let levels = costs(&ground, plan.raid, directory, &bar).await?;

    // As deep as it goes here without the kernel, where nobody would see the attacker being turned away.
    let bans = match ground.lacks(Bans::Accept) {
        None => Bans::Accept,
        Some(_) => Bans::Deny,
    };
    let service = start(bans, &ground, directory).await?;
    let (address, way) = (service.address, ground.way());
    let customers = Plan {
        rate: plan.raid.payments,
        warm_up: Duration::ZERO,
        onset: Duration::ZERO,
        measured: plan.raid.act,
        ..*plan
    };
    let (raid, warm_up, shown) = (plan.raid, plan.warm_up, bar.clone());
    let told = ground
        .clients(async move || {
            let client = Client::new(address, CUSTOMERS, way);
            let pay = async |plan: Plan| {
                let stream = Stream::start(client.clone(), plan, orders, Instant::now());
                stream.finish().await
            };
            shown.set_message("before the attack");
            // Connections are opened, caches filled.
            pay(Plan {
                measured: warm_up,
                ..customers
            })
            .await?;
            let before = pay(customers).await?;
            shown.inc(1);
            shown.set_message("under attack");
            let attacker = (ATTACKER.member(0), way);
            let (during, siege) = tokio::join!(
                pay(customers),
                bots::besiege(address, attacker, raid.rate, raid.act)
            );
            shown.inc(1);
            shown.set_message("after the attack");
            let after = pay(customers).await?;
            anyhow::Ok(([before, during?, after], siege))
        })
        .await?;
    let (payments, siege): ([Tally; 3], bots::Siege) = told?;
    service.stop().await?;
    bar.inc(1);
    bar.set_message("over");
    bar.abandon();
    Ok(Attack {
        levels,
        payments,
        siege,
        siege_bans: bans,
    })
}

/// A service, and what became of those that it turns away.
struct Trial {
    bans: Bans,
    service: Service,
    met: Receptions,
    computed: Vec<Duration>,
}

/// What a connection of a banned bot costs, at each depth that there is here.
///
/// The services run at the same time, and each batch is made to one after the other: what else happens on the machine
/// happens to all of them.
async fn costs(
    ground: &Ground,
    raid: Raid,
    directory: &Path,
    bar: &ProgressBar,
) -> anyhow::Result<Vec<Level>> {
    let way = ground.way();
    let mut trials = Vec::new();
    let mut levels = Vec::new();
    for bans in Bans::value_variants().iter().copied() {
        bar.set_message(format!("bans at: {bans}"));
        match ground.lacks(bans) {
            Some(reason) => levels.push(Level::not_run(bans, reason)),
            None => {
                let service = start(bans, ground, directory).await?;
                let address = service.address;
                ground
                    .clients(async move || bots::banned(address, way, bans).await)
                    .await??;
                trials.push(Trial {
                    bans,
                    service,
                    met: Receptions::new(),
                    computed: Vec::new(),
                });
            }
        }
        bar.inc(1);
    }
    bar.set_message("bots come and are turned away");
    let (batches, visits) = raid.batches;
    for _ in 0..batches {
        for trial in &mut trials {
            let (address, bans) = (trial.service.address, trial.bans);
            let before = trial.service.exact_cpu_time();
            let met = ground
                .clients(async move || bots::come(address, way, bans, visits).await)
                .await?;
            let spent = trial.service.exact_cpu_time().zip(before);
            trial
                .computed
                .extend(spent.map(|(after, before)| after.saturating_sub(before)));
            for (reception, count) in met {
                *trial.met.entry(reception).or_default() += count;
            }
        }
    }
    let mut run = Vec::new();
    for trial in trials {
        let address = trial.service.address;
        ground
            .clients(async move || bots::others_are_served(address, way).await)
            .await??;
        trial.service.stop().await?;
        let cost = Cost::new(trial.bans, trial.met, trial.computed, visits);
        run.push(Level::run(trial.bans, cost));
    }
    // What there is not is at the end: it is the deepest.
    run.append(&mut levels);
    Ok(run)
}

async fn start(bans: Bans, ground: &Ground, directory: &Path) -> anyhow::Result<Service> {
    let launch = Launch {
        key: format!("bans-{bans}"),
        wrapper: ground.service_runs(),
        address: ground.address(),
        trusted_proxy: (ground.way() == Way::Named).then_some(PROXY),
        bans,
        protection: Protection::Fusebox,
        strain: Strain::default(),
    };
    Service::start(&launch, directory).await
}
