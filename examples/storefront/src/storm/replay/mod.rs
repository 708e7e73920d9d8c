//! What the firewall stops, what it stops by mistake, and what it costs.
//!
//! The shop runs in the experiment's own process and is served twice, with the firewall and without it: everything
//! else is the very same. Attacks and honest requests go to the first. Then each of a row of payments and look-ups is
//! sent to both, one right after the other, so that whatever else happens on the machine happens to both.

mod finding;
mod letters;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use super::{
    client::{Client, Way},
    ground::STRANGERS,
    plan::Plan,
    service::PROXY,
    visit::visit,
};
use crate::{
    app::{Settings, Shop},
    edge::EdgeSettings,
    serve::answer,
};
pub(super) use finding::Replay;
#[cfg(test)]
pub(super) use finding::tests;
use finding::{Times, Tried};
use letters::Sample;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many payments and look-ups are sent both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pairs(pub(super) u32);

impl Pairs {
    /// The real thing: seven lie beyond the 99th percentile. A pair of payments takes some two milliseconds.
    pub(super) const FULL: Self = Self(750);

    /// Only to see that it runs.
    pub(super) const QUICK: Self = Self(20);
}

/// All of it, with the rules of the firewall itself or, if there is a folder, with the Core Rule Set in it.
///
/// # Errors
///
/// The shop cannot be started, or lost a connection.
///
/// # Cancel safety
///
/// Dropped, it stops the shop.
pub(super) async fn run(
    plan: &Plan,
    directory: &Path,
    orders: u32,
    crs: Option<PathBuf>,
) -> anyhow::Result<Replay> {
    let (attacks, honest) = (letters::attacks(), letters::honest());
    let steps = attacks.len() + honest.len();
    let bar = ProgressBar::new(u64::try_from(steps)? + u64::from(plan.pairs.0))
        .with_style(ProgressStyle::with_template("{prefix:24} {bar:24} {msg}")?)
        .with_prefix("attacks are replayed");
    bar.set_message("starting");
    let shop = Shop::open(
        directory,
        Settings {
            edge: EdgeSettings {
                trusted_proxies: vec![PROXY.to_owned()],
                crs: crs.clone(),
                ..EdgeSettings::default()
            },
            ..Settings::default()
        },
    )
    .await?;
    let edge = shop.edge().context("a shop without an edge")?;
    let (stop, stopped) = watch::channel(());
    let mut serving = JoinSet::new();
    let mut addresses = Vec::new();
    for router in [shop.router(), shop.router_without_firewall()] {
        let listener = TcpListener::bind((PROXY, 0)).await?;
        addresses.push(listener.local_addr()?);
        let mut stopped = stopped.clone();
        let stopped = async move {
            // Dropped is told too.
            let _ = stopped.changed().await;
        };
        serving.spawn(answer(listener, router, Some(edge.gate()), stopped));
    }
    let [with, without] = addresses[..] else {
        anyhow::bail!("two listeners");
    };

    let mut senders = STRANGERS.members();
    let mut send = async |samples: Vec<Sample>, message: &'static str| {
        bar.set_message(message);
        let mut tried = Vec::new();
        for sample in samples {
            // Each from an address of its own: none of them has earned a ban.
            let from = senders.next().context("more requests than senders")?;
            let before = edge.stopped_by_firewall();
            let met = visit(with, (from, Way::Named), &sample.letter, PATIENCE).await;
            tried.push(Tried {
                sample,
                met,
                stopped: edge.stopped_by_firewall() > before,
            });
            bar.inc(1);
        }
        anyhow::Ok(tried)
    };
    let attacks = send(attacks, "attacks").await?;
    let honest = send(honest, "honest requests").await?;

    bar.set_message("payments with and without the firewall");
    let [with, without] =
        [with, without].map(|service| Client::new(service, STRANGERS, Way::Named));
    let before = edge.stopped_by_firewall();
    let times = pairs(&with, &without, plan, orders, &bar).await?;
    let stopped = edge.stopped_by_firewall() - before;

    drop((with, without));
    let _ = stop.send(());
    while let Some(served) = serving.join_next().await {
        served??;
    }
    shop.close().await;
    bar.set_message("over");
    bar.abandon();
    Ok(Replay {
        rules: if crs.is_some() { "CRS" } else { "core" },
        attacks,
        honest,
        times,
        stopped_pairs: stopped,
    })
}

/// What a payment is called.
#[derive(Deserialize)]
struct Receipt {
    id: String,
}

/// Pays and looks up, both ways; which way first changes from pair to pair.
async fn pairs(
    with: &Client,
    without: &Client,
    plan: &Plan,
    orders: u32,
    bar: &ProgressBar,
) -> anyhow::Result<Times> {
    let mut times = Times::default();
    // Connections are opened, caches filled.
    let warm_up = plan.pairs.0 / 10 + 1;
    for number in 0..plan.pairs.0 + warm_up {
        let order = u64::from(number % orders.max(1)) + 1;
        let with_first = number.is_multiple_of(2);
        let ways = if with_first {
            [(true, with), (false, without)]
        } else {
            [(false, without), (true, with)]
        };
        let mut receipt = None;
        for (firewall, client) in ways {
            let start = Instant::now();
            let (status, body) = client.pay_and_read(order).await?;
            let took = start.elapsed();
            anyhow::ensure!(status == 201, "a payment was answered {status}");
            let Receipt { id } = serde_json::from_slice(&body)?;
            receipt = Some(id);
            if number >= warm_up {
                times.paid(firewall, took);
            }
        }
        let path = format!("/payments/{}", receipt.unwrap_or_default());
        for (firewall, client) in ways {
            let start = Instant::now();
            let status = client.get(&path).await?;
            let took = start.elapsed();
            anyhow::ensure!(status == 200, "a look-up was answered {status}");
            if number >= warm_up {
                times.looked_up(firewall, took);
            }
        }
        if number >= warm_up {
            bar.inc(1);
        }
    }
    Ok(times)
}
