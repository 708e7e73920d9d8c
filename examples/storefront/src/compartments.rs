//! What each kind of traffic may use, and the three ways to run the shop: with fusebox, with a
//! semaphore, with nothing.

use std::{future::Future, time::Duration};

use axum::Router;
use fusebox_bulkhead::Compartment;
use fusebox_core::{Registration, Registry, Rejection};
use tower::limit::GlobalConcurrencyLimitLayer;

use crate::cores::Cores;

/// What one kind of traffic may use.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// What it is called.
    pub name: &'static str,
    /// Requests in flight.
    pub slots: usize,
    /// Requests that wait for a slot, and for how long at most.
    pub queue: (usize, Duration),
    /// Threads, and connections to the database.
    pub threads: usize,
    /// By how many steps the priority of those threads is lowered.
    pub nice: Option<i32>,
    /// Which of the processors those threads may use, where there is more than one.
    pub cores: Cores,
}

/// Payments: more slots than threads, because a payment mostly waits for the disk.
pub const PAYMENTS: Share = Share {
    name: "payments",
    slots: 200,
    queue: (64, Duration::from_millis(250)),
    threads: 20,
    nice: None,
    cores: Cores::FirstHalf,
};

/// Analytics: as many slots as threads, because a request computes; and at a tenth of the weight of the
/// others, because nobody has ever complained that a report took a second longer.
pub const ANALYTICS: Share = Share {
    name: "analytics",
    slots: 5,
    queue: (8, Duration::from_millis(100)),
    threads: 5,
    nice: Some(10),
    cores: Cores::SecondHalf,
};

/// Jobs. Not nice: they write, and a writer that the scheduler has put aside keeps payments waiting.
pub const JOBS: Share = Share {
    name: "jobs",
    slots: 10,
    queue: (10, Duration::from_secs(30)),
    threads: 10,
    nice: None,
    cores: Cores::FirstHalf,
};

/// What a client that finds its compartment full is told to wait.
const COME_BACK: Duration = Duration::from_secs(1);

/// How the kinds of traffic are kept apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Protection {
    /// Not at all: one pool of threads, one pool of connections, first come, first served.
    None,
    /// As `none`, and a semaphore before payments and analytics (tower's `ConcurrencyLimit`).
    Semaphore,
    /// Each in a compartment of its own.
    #[default]
    Fusebox,
}

impl std::fmt::Display for Protection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Semaphore => "semaphore",
            Self::Fusebox => "fusebox",
        })
    }
}

/// Where one kind of traffic runs.
#[derive(Clone, Debug)]
pub enum Place {
    /// Wherever the request happens to be.
    Anywhere,
    /// There too, but only so many at once.
    Behind(GlobalConcurrencyLimitLayer),
    /// In its compartment.
    In(Compartment),
}

impl Place {
    /// The place of `share` under `protection`.
    ///
    /// # Errors
    ///
    /// The compartment's threads cannot be started.
    pub fn new(share: Share, protection: Protection, registry: &Registry) -> anyhow::Result<Self> {
        Ok(match protection {
            Protection::None => Self::Anywhere,
            // Global: axum asks a layer for one service per route, and each would have slots of its own.
            Protection::Semaphore => Self::Behind(GlobalConcurrencyLimitLayer::new(share.slots)),
            Protection::Fusebox => Self::In(compartment(share, registry)?),
        })
    }

    /// Puts `routes` there.
    pub fn hold(&self, routes: Router) -> Router {
        match self {
            Self::Anywhere => routes,
            Self::Behind(limit) => routes.route_layer(limit.clone()),
            Self::In(compartment) => routes.route_layer(compartment.layer()),
        }
    }

    /// Runs `future` there.
    ///
    /// # Errors
    ///
    /// The compartment is full.
    pub async fn run<F>(&self, future: F) -> Result<F::Output, Rejection>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match self {
            Self::Anywhere | Self::Behind(_) => Ok(future.await),
            Self::In(compartment) => compartment.run(future).await,
        }
    }

    /// The compartment, if it is one.
    #[must_use]
    pub fn compartment(&self) -> Option<&Compartment> {
        match self {
            Self::In(compartment) => Some(compartment),
            Self::Anywhere | Self::Behind(_) => None,
        }
    }
}

fn compartment(share: Share, registry: &Registry) -> anyhow::Result<Compartment> {
    let mut settings = Compartment::builder(share.name)
        .slots(share.slots)
        .queue(share.queue.0, share.queue.1)
        .threads(share.threads)
        .retry_after(COME_BACK)
        .registration(Registration::In(registry.clone()));
    if let Some(steps) = share.nice {
        settings = settings.nice(steps);
    }
    // Its threads inherit the processors of the one that starts them.
    Ok(share.cores.hold(|| settings.build())?)
}
