//! What becomes of payments while their authoriser hangs, dies and returns.
//!
//! Here the shop runs in the experiment's own process, because what is told of the circuit has to be told at the
//! moment it happens: how many calls had reached the authoriser when it opened, and how many when it let the
//! next one through.

mod circuit;
mod finding;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use fusebox_core::Observer;
use fusebox_example_grpc::{
    bank::{Bank, Health},
    server::{Limits, Running},
};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::{
    net::TcpListener,
    sync::oneshot,
    task::JoinSet,
    time::{sleep, sleep_until},
};

use super::{
    client::{Client, Way},
    ground::CUSTOMERS,
    pace::{pace, schedule},
    plan::{Plan, STOP_PATIENCE},
    service::PROXY,
};
use crate::{
    app::{Settings, Shop},
    edge::EdgeSettings,
    serve::serve_until,
};
use circuit::Log;
pub(super) use finding::Outage;
use finding::{Act, Sent};

/// How long the authoriser is what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Acts {
    /// It answers.
    pub(super) well: Duration,
    /// It takes calls and never answers.
    pub(super) hangs: Duration,
    /// Nobody listens where it was.
    pub(super) dead: Duration,
    /// It answers again. Longer than the longest cool-down and the ramp together.
    pub(super) back: Duration,
}

impl Acts {
    /// The real thing. It hangs for long enough to see probes hang too.
    pub(super) const FULL: Self = Self {
        well: Duration::from_secs(1),
        hangs: Duration::from_millis(2_500),
        dead: Duration::from_millis(1_500),
        back: Duration::from_millis(4_000),
    };

    /// Only to see that it runs.
    pub(super) const QUICK: Self = Self {
        well: Duration::from_millis(300),
        hangs: Duration::from_millis(800),
        dead: Duration::from_millis(400),
        back: Duration::from_millis(1_500),
    };

    /// From the first payment to the last.
    #[must_use]
    pub(super) const fn length(&self) -> Duration {
        self.well
            .saturating_add(self.hangs)
            .saturating_add(self.dead)
            .saturating_add(self.back)
    }
}

/// How often it is tried to bring the authoriser back: the port is free when its dead listener is gone.
const AGAIN: Duration = Duration::from_millis(10);

/// All four acts.
///
/// # Errors
///
/// The shop or the authoriser cannot be started.
///
/// # Cancel safety
///
/// Dropped, it stops both.
pub(super) async fn run(plan: &Plan, directory: &Path, orders: u32) -> anyhow::Result<Outage> {
    let bar = ProgressBar::new(u64::try_from(plan.acts.length().as_millis())?)
        .with_style(ProgressStyle::with_template("{prefix:24} {bar:24} {msg}")?)
        .with_prefix("the authoriser fails");
    bar.set_message("starting");

    let bank = Bank::default();
    let authoriser = start(([127, 0, 0, 1], 0).into(), &bank)?;
    let address = authoriser.address();
    let log = Arc::new(Log::of(bank.clone()));
    let settings = Settings {
        authoriser: Some(format!("http://{address}").parse()?),
        edge: EdgeSettings {
            trusted_proxies: vec![PROXY.to_owned()],
            ..EdgeSettings::default()
        },
        ..Settings::default()
    };
    let observer: Arc<dyn Observer> = Arc::clone(&log) as Arc<dyn Observer>;
    let shop = Shop::open_watched(directory, settings, Some(observer)).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let client = Client::new(listener.local_addr()?, CUSTOMERS, Way::Named);
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async {
        // Dropped is told too.
        let _ = stopped.await;
    };
    let mut serving = JoinSet::new();
    serving.spawn(serve_until(stopped, listener, shop, STOP_PATIENCE));

    let begin = Instant::now();
    let mut paying = JoinSet::new();
    paying.spawn(pay(client, *plan, orders, begin));
    let until = |end: Duration| sleep_until((begin + end).into());

    bar.set_message("is well");
    until(plan.acts.well).await;
    let hangs = Instant::now();
    bank.is(Health::Hangs);
    show(&bar, begin, "hangs");
    until(plan.acts.well + plan.acts.hangs).await;
    let dead = Instant::now();
    authoriser.kill();
    show(&bar, begin, "is dead");
    until(plan.acts.well + plan.acts.hangs + plan.acts.dead).await;
    bank.is(Health::Well);
    let _authoriser = loop {
        match start(address, &bank) {
            Ok(authoriser) => break authoriser,
            Err(_) => sleep(AGAIN).await,
        }
    };
    let back = Instant::now();
    show(&bar, begin, "is back");

    let payments = match paying.join_next().await {
        Some(payments) => payments?,
        None => Vec::new(),
    };
    let history = log.end();
    show(&bar, begin, "is back, and the payments are over");
    bar.abandon();
    drop(stop);
    while let Some(served) = serving.join_next().await {
        served??;
    }
    Ok(Outage::new(
        [
            Act::new("is well", begin),
            Act::new("hangs", hangs),
            Act::new("is dead", dead),
            Act::new("is back", back),
        ],
        payments,
        history,
    ))
}

fn show(bar: &ProgressBar, begin: Instant, what: &'static str) {
    bar.set_position(u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX));
    bar.set_message(what);
}

fn start(address: std::net::SocketAddr, bank: &Bank) -> anyhow::Result<Running> {
    Running::start(address, bank.clone(), Limits::default())
        .map_err(|error| anyhow::anyhow!("the authoriser did not start: {error}"))
}

/// Sends payments when they are due, and gives them when all are over.
async fn pay(client: Client, plan: Plan, orders: u32, begin: Instant) -> Vec<Sent> {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let mut due = pace(begin, schedule(plan.rate, plan.acts.length()));
    let mut under_way = JoinSet::new();
    let mut order = 0;
    while let Some(offset) = due.recv().await {
        order = order % u64::from(orders.max(1)) + 1;
        let (client, sent) = (client.clone(), Arc::clone(&sent));
        under_way.spawn(async move {
            let due = begin + offset;
            let paying = tokio::time::timeout_at((due + plan.patience).into(), client.pay(order));
            let status = paying.await.ok().and_then(Result::ok);
            let payment = Sent {
                due,
                latency: due.elapsed(),
                status,
            };
            sent.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(payment);
        });
    }
    while under_way.join_next().await.is_some() {}
    std::mem::take(&mut *sent.lock().unwrap_or_else(PoisonError::into_inner))
}
