//! What each kind of traffic may use, and the three ways to run the shop: with fusebox, with a
//! semaphore, with nothing.

use std::{future::Future, time::Duration};

use axum::Router;
use fusebox_bulkhead::{Compartment, threads::Processors};
use fusebox_core::{Registration, Registry, Rejection};
use tower::limit::GlobalConcurrencyLimitLayer;

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
    /// Which of the processors those threads may use.
    pub half: Half,
}

/// A half of the processors; all of them where there is only one.
///
/// Beside a neighbour that computes, a lower priority is not enough for traffic that commits to a disk:
///
/// - A thread that wakes may wait until the neighbour's slice is over, and a payment wakes a dozen threads.
/// - The kernel's own threads, which carry a commit to the disk, compete with the process as a whole where
///   processes are scheduled in groups (containers, services, the sessions of a terminal). They wait for
///   milliseconds, whatever the priority of the threads in the group. The kernel starts its part of a commit
///   on the processor that asked for it, so payments ask from where nobody computes.
///
/// Measured on two cores with Linux 6.18, p99 of payments under the flood over idle: 7 to 9 with priority alone,
/// 2.5 to 4.6 when processes were not scheduled in groups, 0.3 to 1.6 with the halves as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// The first, with the one in the middle.
    First,
    /// The others.
    Second,
}

/// Payments: more slots than threads, because a payment mostly waits for the disk.
pub const PAYMENTS: Share = Share {
    name: "payments",
    slots: 200,
    queue: (64, Duration::from_millis(250)),
    threads: 20,
    nice: None,
    half: Half::First,
};

/// Analytics: as many slots as threads, because a request computes; and at a tenth of the weight of the
/// others, because nobody has ever complained that a report took a second longer.
pub const ANALYTICS: Share = Share {
    name: "analytics",
    slots: 5,
    queue: (8, Duration::from_millis(100)),
    threads: 5,
    nice: Some(10),
    half: Half::Second,
};

/// Jobs. Not nice: they write, and a writer that the scheduler has put aside keeps payments waiting.
pub const JOBS: Share = Share {
    name: "jobs",
    slots: 10,
    queue: (10, Duration::from_secs(30)),
    threads: 10,
    nice: None,
    half: Half::First,
};

/// What a client that finds its compartment full is told to wait.
const COME_BACK: Duration = Duration::from_secs(1);

/// How the kinds of traffic are kept apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Protection {
    /// Not at all: one pool of threads, one pool of connections, first come, first served. The authoriser is
    /// called with a deadline, and no circuit breaker.
    None,
    /// As `none`, and a semaphore before payments and analytics (tower's `ConcurrencyLimit`).
    Semaphore,
    /// Each in a compartment of its own, and a circuit breaker and a bulkhead before the authoriser.
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
    let (first, second) = Processors::available().halves();
    let mut settings = Compartment::builder(share.name)
        .slots(share.slots)
        .queue(share.queue.0, share.queue.1)
        .threads(share.threads)
        .processors(match share.half {
            Half::First => first,
            Half::Second => second,
        })
        .retry_after(COME_BACK)
        .registration(Registration::In(registry.clone()));
    if let Some(steps) = share.nice {
        settings = settings.nice(steps);
    }
    Ok(settings.build()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn where_analytics_compute_nobody_else_runs() {
        let registry = Registry::new();
        let mut runs_on = Vec::new();
        for share in [ANALYTICS, PAYMENTS, JOBS] {
            let place = Place::new(share, Protection::Fusebox, &registry).unwrap();
            let processors = place.run(async { Processors::available() }).await.unwrap();
            runs_on.push(processors.numbers().collect::<Vec<_>>());
        }
        let [analytics, others @ ..] = &runs_on[..] else {
            panic!("no processors");
        };
        for other in others {
            // One processor alone is everybody's.
            let shared = other.iter().any(|number| analytics.contains(number));
            assert_eq!(shared, Processors::available().len() == 1, "{runs_on:?}");
        }
    }
}
