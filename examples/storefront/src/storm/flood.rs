//! The flood of analytics: clients that ask, wait for the answer, and ask again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinSet;

use super::{client::Client, plan::Plan};

/// Two years of history would be refused as bad requests; one is the most work that can be asked for.
const QUESTIONS: [&str; 2] = [
    "/analytics/revenue?days=365",
    "/analytics/top-products?days=365",
];

/// Over how long the clients arrive, so that they do not march in step.
const ARRIVAL: Duration = Duration::from_millis(500);

/// What became of the analytics requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Analytics {
    /// Answered with what was asked for.
    pub(super) answered: u64,
    /// Told 503: turned away by the full compartment; where there is none, by the database that everybody shares,
    /// because no connection came free in time.
    pub(super) refused: u64,
    /// Anything else, a broken connection too.
    pub(super) failed: u64,
}

impl Analytics {
    /// What has been added since.
    #[must_use]
    pub(super) const fn since(self, earlier: Self) -> Self {
        Self {
            answered: self.answered - earlier.answered,
            refused: self.refused - earlier.refused,
            failed: self.failed - earlier.failed,
        }
    }
}

/// A running flood. Dropped, it ends, and its connections are closed.
#[derive(Debug)]
pub(super) struct Flood {
    counts: Arc<Counts>,
    // Held for its drop, which ends the clients.
    _clients: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Counts {
    answered: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
}

impl Flood {
    /// Sends the clients in. Each has one request under way at a time, so there are never more than clients.
    #[must_use]
    pub(super) fn start(client: &Client, plan: &Plan) -> Self {
        let counts = Arc::new(Counts::default());
        let mut clients = JoinSet::new();
        let apart = ARRIVAL / u32::try_from(plan.flood).unwrap_or(u32::MAX).max(1);
        for (number, question) in (0..plan.flood).zip(QUESTIONS.into_iter().cycle()) {
            let arrival = apart * u32::try_from(number).unwrap_or(u32::MAX);
            // Each is a client of its own, within its quota: it is together that they are too many.
            let client = client.alone(u32::try_from(number).unwrap_or(u32::MAX));
            let (counts, pause) = (Arc::clone(&counts), plan.pause);
            clients.spawn(async move {
                tokio::time::sleep(arrival).await;
                ask(&client, question, &counts, pause).await;
            });
        }
        Self {
            counts,
            _clients: clients,
        }
    }

    /// What became of the requests so far.
    #[must_use]
    pub(super) fn so_far(&self) -> Analytics {
        Analytics {
            answered: self.counts.answered.load(Ordering::Relaxed),
            refused: self.counts.refused.load(Ordering::Relaxed),
            failed: self.counts.failed.load(Ordering::Relaxed),
        }
    }
}

async fn ask(client: &Client, question: &str, counts: &Counts, pause: Duration) {
    loop {
        let count = match client.get(question).await {
            Ok(200) => &counts.answered,
            Ok(503) => &counts.refused,
            Ok(_) | Err(_) => &counts.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
        if !std::ptr::eq(count, &raw const counts.answered) {
            tokio::time::sleep(pause).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use axum::{Router, http::StatusCode, routing::get};
    use tokio::{net::TcpListener, sync::mpsc};

    use super::{
        super::{client::Way, ground::ANALYSTS},
        *,
    };

    /// Answers one in three requests, and tells how many were under way when each came.
    async fn serve(seen: mpsc::UnboundedSender<usize>) -> std::net::SocketAddr {
        let under_way = Arc::new(AtomicUsize::new(0));
        let number = Arc::new(AtomicUsize::new(0));
        let handler = move || {
            let (under_way, number) = (Arc::clone(&under_way), Arc::clone(&number));
            let seen = seen.clone();
            async move {
                // The test may have seen enough.
                let _ = seen.send(under_way.fetch_add(1, Ordering::SeqCst) + 1);
                tokio::time::sleep(Duration::from_millis(1)).await;
                under_way.fetch_sub(1, Ordering::SeqCst);
                match number.fetch_add(1, Ordering::SeqCst) % 3 {
                    0 => StatusCode::OK,
                    1 => StatusCode::SERVICE_UNAVAILABLE,
                    _ => StatusCode::INTERNAL_SERVER_ERROR,
                }
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new().route("/analytics/{what}", get(handler));
        tokio::spawn(axum::serve(listener, routes).into_future());
        address
    }

    #[tokio::test]
    async fn never_more_requests_than_clients_and_each_is_counted_as_what_it_was() {
        let (seen, mut requests) = mpsc::unbounded_channel();
        let client = Client::new(serve(seen).await, ANALYSTS, Way::Named);
        let plan = Plan {
            flood: 5,
            pause: Duration::from_millis(1),
            ..Plan::QUICK
        };
        let flood = Flood::start(&client, &plan);
        for _ in 0..60 {
            let under_way = requests.recv().await.unwrap();
            assert!(under_way <= 5, "{under_way}");
        }
        let counts = flood.so_far();
        // Of 60 that came at least 55 are over.
        for count in [counts.answered, counts.refused, counts.failed] {
            assert!(count.abs_diff(20) <= 5, "{counts:?}");
        }
        drop(flood);
    }

    #[test]
    fn what_was_before_the_measurement_is_taken_off() {
        let earlier = Analytics {
            answered: 1,
            refused: 2,
            failed: 3,
        };
        let later = Analytics {
            answered: 5,
            refused: 5,
            failed: 5,
        };
        assert_eq!(
            later.since(earlier),
            Analytics {
                answered: 4,
                refused: 3,
                failed: 2,
            }
        );
    }
}
