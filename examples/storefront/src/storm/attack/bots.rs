//! Attackers, and what they meet with.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::super::{
    client::Way,
    ground::{self, CUSTOMERS},
    pace::{pace, schedule},
    visit::{Letter, Reception, visit},
};
use crate::edge::Bans;

/// Connections that are made at once.
const AT_ONCE: usize = 64;

/// How long anybody waits for an answer, or for a close.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long an attacker waits whose packets the kernel drops: to wait longer would cost the service nothing either. A
/// connection here is made in a tenth of a millisecond.
const SOON: Duration = Duration::from_millis(50);

/// What is asked for a trap: five times, and one is in.
const TRAP: &str = "GET /.env";
const STRIKES: usize = 5;

/// How often it is looked whether the kernel knows.
const LOOKS: usize = 100;

/// What became of how many connections.
pub(super) type Receptions = BTreeMap<Reception, usize>;

/// What a banned client meets with.
#[must_use]
pub(super) const fn expected(bans: Bans) -> Reception {
    match bans {
        Bans::Handler | Bans::Deny => Reception::Answered(403),
        Bans::Drop | Bans::Accept => Reception::Closed,
        Bans::Kernel => Reception::Silence,
    }
}

/// A payment, as a bot sends it: well formed, so that only who sends it is wrong with it.
#[must_use]
pub(super) fn payment() -> Letter {
    Letter::new("POST /payments")
        .header("content-type", "application/json")
        .header("idempotency-key", "bots-try-the-same-one")
        .body(r#"{"order_id":1,"amount":1999,"currency":"EUR"}"#)
}

/// Has all bots banned, and waits until each of them meets with what banned clients do.
///
/// # Errors
///
/// They are not turned away.
pub(super) async fn banned(service: SocketAddr, way: Way, bans: Bans) -> anyhow::Result<()> {
    let bots = ground::bots(bans);
    let trapped = bots
        .members()
        .flat_map(|bot| std::iter::repeat_n(bot, STRIKES));
    at_once(service, way, &Letter::new(TRAP), PATIENCE, trapped).await;
    for _ in 0..LOOKS {
        let met = at_once(service, way, &payment(), patience(bans), bots.members()).await;
        if met.keys().all(|reception| *reception == expected(bans)) {
            return Ok(());
        }
    }
    anyhow::bail!("bans at {bans}: bots are not turned away")
}

/// `visits` connections by all bots in turn.
pub(super) async fn come(service: SocketAddr, way: Way, bans: Bans, visits: usize) -> Receptions {
    let bots = ground::bots(bans).members().collect::<Vec<_>>();
    let bots = bots.into_iter().cycle();
    at_once(service, way, &payment(), patience(bans), bots.take(visits)).await
}

/// Whether somebody else is served meanwhile: that nothing comes back shows a ban only then.
///
/// # Errors
///
/// It is not.
pub(super) async fn others_are_served(service: SocketAddr, way: Way) -> anyhow::Result<()> {
    let customer = (CUSTOMERS.member(0), way);
    let met = visit(service, customer, &Letter::new("GET /healthz"), PATIENCE).await;
    anyhow::ensure!(
        met == Reception::Answered(200),
        "a customer's health check: {met}"
    );
    Ok(())
}

const fn patience(bans: Bans) -> Duration {
    match bans {
        Bans::Kernel => SOON,
        _ => PATIENCE,
    }
}

/// One visit by each of these, some of them at once.
async fn at_once(
    service: SocketAddr,
    way: Way,
    letter: &Letter,
    patience: Duration,
    visitors: impl Iterator<Item = Ipv4Addr>,
) -> Receptions {
    let letter = Arc::new(letter.clone());
    let mut met = Receptions::new();
    let mut under_way = JoinSet::new();
    let mut count = |reception| *met.entry(reception).or_default() += 1;
    for visitor in visitors {
        if under_way.len() >= AT_ONCE
            && let Some(Ok(reception)) = under_way.join_next().await
        {
            count(reception);
        }
        let letter = Arc::clone(&letter);
        under_way.spawn(async move { visit(service, (visitor, way), &letter, patience).await });
    }
    while let Some(over) = under_way.join_next().await {
        if let Ok(reception) = over {
            count(reception);
        }
    }
    met
}

/// An attacker that asks faster than it may, and what it gets.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Siege {
    /// When each connection was due, from the start, and what became of it.
    pub(super) visits: Vec<(Duration, Reception)>,
    /// When the first that was turned away as banned clients are was over.
    pub(super) banned_after: Option<Duration>,
}

/// Comes so many times a second for so long, each time whatever became of the time before.
pub(super) async fn besiege(
    service: SocketAddr,
    (attacker, way): (Ipv4Addr, Way),
    rate: u32,
    length: Duration,
) -> Siege {
    let letter = Arc::new(payment());
    let start = Instant::now();
    let mut due = pace(start, schedule(rate, length));
    let mut under_way = JoinSet::new();
    while let Some(offset) = due.recv().await {
        let letter = Arc::clone(&letter);
        under_way.spawn(async move {
            let met = visit(service, (attacker, way), &letter, PATIENCE).await;
            (offset, met, start.elapsed())
        });
    }
    let mut siege = Siege::default();
    while let Some(over) = under_way.join_next().await {
        let Ok((offset, met, at)) = over else {
            continue;
        };
        siege.visits.push((offset, met));
        if met == Reception::Closed {
            siege.banned_after = Some(siege.banned_after.map_or(at, |first| first.min(at)));
        }
    }
    siege.visits.sort_unstable();
    siege
}

#[cfg(test)]
mod tests {
    use axum::{Router, http::StatusCode, routing::post};
    use tokio::net::TcpListener;

    use super::*;

    async fn serve(status: StatusCode) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let service = listener.local_addr().unwrap();
        let routes = Router::new().route("/payments", post(async move || status));
        tokio::spawn(axum::serve(listener, routes).into_future());
        service
    }

    #[tokio::test]
    async fn every_visit_is_made_and_counted_as_what_it_met_with() {
        let service = serve(StatusCode::FORBIDDEN).await;
        let met = come(service, Way::Named, Bans::Deny, 150).await;
        assert_eq!(met, Receptions::from([(Reception::Answered(403), 150)]));
        banned(service, Way::Named, Bans::Handler).await.unwrap();
    }

    #[tokio::test]
    async fn bots_that_are_let_in_are_no_experiment() {
        let service = serve(StatusCode::CREATED).await;
        let error = banned(service, Way::Named, Bans::Deny).await.unwrap_err();
        assert!(error.to_string().contains("not turned away"), "{error}");
        // There are payments here and no health.
        let error = others_are_served(service, Way::Named).await.unwrap_err();
        assert!(error.to_string().contains("answered 404"), "{error}");
    }

    #[tokio::test]
    async fn a_siege_comes_at_its_rate_whatever_it_is_told() {
        let service = serve(StatusCode::TOO_MANY_REQUESTS).await;
        let attacker = (CUSTOMERS.member(0), Way::Named);
        let siege = besiege(service, attacker, 200, Duration::from_millis(100)).await;
        assert_eq!(siege.visits.len(), 20);
        assert_eq!(siege.banned_after, None);
    }
}
