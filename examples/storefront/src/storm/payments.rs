//! The steady stream of payments.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use tokio::task::{JoinHandle, JoinSet};

use super::{
    client::Client,
    pace::{pace, schedule},
    plan::Plan,
    tally::{Fate, Tally},
};

/// Payments on their way. Dropped, it gives up those that are under way.
#[derive(Debug)]
pub(super) struct Stream {
    tally: Arc<Mutex<Tally>>,
    sending: AbortOnDrop,
}

#[derive(Debug)]
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Stream {
    /// Begins to pay for the first `orders` orders in turn, as planned from `start` on.
    #[must_use]
    pub(super) fn start(client: Client, plan: Plan, orders: u32, start: Instant) -> Self {
        let tally = Arc::new(Mutex::new(Tally::new(plan.patience)));
        let sending = tokio::spawn(send(client, plan, orders, start, Arc::clone(&tally)));
        Self {
            tally,
            sending: AbortOnDrop(sending),
        }
    }

    /// What is over so far.
    #[must_use]
    pub(super) fn so_far(&self) -> Tally {
        locked(&self.tally).clone()
    }

    /// Waits until all are over.
    ///
    /// # Errors
    ///
    /// The task that sends them panicked.
    pub(super) async fn finish(mut self) -> anyhow::Result<Tally> {
        (&mut self.sending.0).await?;
        Ok(self.so_far())
    }
}

async fn send(client: Client, plan: Plan, orders: u32, start: Instant, tally: Arc<Mutex<Tally>>) {
    let unmeasured = plan.warm_up + plan.onset;
    let mut due = pace(start, schedule(plan.rate, plan.sending()));
    let mut under_way = JoinSet::new();
    let mut order = 0;
    while let Some(offset) = due.recv().await {
        order = order % u64::from(orders.max(1)) + 1;
        let (client, tally) = (client.clone(), Arc::clone(&tally));
        under_way.spawn(async move {
            let due = start + offset;
            let late = due.elapsed();
            let fate = pay(&client, order, due + plan.patience).await;
            let latency = due.elapsed();
            if let Some(offset) = offset.checked_sub(unmeasured) {
                locked(&tally).record(offset, late, latency, fate);
            }
        });
        while under_way.try_join_next().is_some() {}
    }
    while under_way.join_next().await.is_some() {}
}

async fn pay(client: &Client, order: u64, deadline: Instant) -> Fate {
    match tokio::time::timeout_at(deadline.into(), client.pay(order)).await {
        Ok(Ok(201)) => Fate::Paid,
        Ok(Ok(status)) => Fate::Status(status),
        Ok(Err(error)) => {
            tracing::debug!("a payment lost its connection: {error:#}");
            Fate::Broken
        }
        Err(_) => Fate::GivenUp,
    }
}

fn locked(tally: &Mutex<Tally>) -> std::sync::MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::{
        Router,
        http::StatusCode,
        routing::{MethodRouter, post},
    };
    use tokio::net::TcpListener;

    use super::{
        super::{client::Way, ground::CUSTOMERS},
        *,
    };

    const PLAN: Plan = Plan {
        rate: 100,
        patience: Duration::from_millis(400),
        warm_up: Duration::from_millis(30),
        onset: Duration::from_millis(20),
        measured: Duration::from_millis(200),
        ..Plan::QUICK
    };

    /// What the stream makes of a service that answers like this.
    async fn tally(answer: MethodRouter) -> Tally {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let service = listener.local_addr().unwrap();
        let routes = Router::new().route("/payments", answer);
        tokio::spawn(axum::serve(listener, routes).into_future());
        let stream = Stream::start(
            Client::new(service, CUSTOMERS, Way::Named),
            PLAN,
            10,
            Instant::now(),
        );
        stream.finish().await.unwrap()
    }

    #[tokio::test]
    async fn only_what_is_due_while_it_is_measured_counts() {
        let tally = tally(post(async || StatusCode::CREATED)).await;
        // 5 of the 25 are due before.
        assert_eq!(tally.sent(), 20);
        assert_eq!(tally.count(Fate::Paid), 20);
    }

    #[tokio::test]
    async fn a_service_that_hangs_does_not_slow_the_stream_down() {
        let before = Instant::now();
        let tally = tally(post(std::future::pending::<StatusCode>)).await;
        assert_eq!(tally.sent(), 20);
        assert_eq!(tally.count(Fate::GivenUp), 20);
        // One after the other they would have taken 8 seconds.
        assert!(before.elapsed() < Duration::from_secs(4));
    }

    #[tokio::test]
    async fn a_refusal_is_a_failure_and_says_which() {
        let tally = tally(post(async || StatusCode::SERVICE_UNAVAILABLE)).await;
        let failures: Vec<_> = tally.failures().collect();
        assert_eq!(failures, [(Fate::Status(503), 20)]);
    }
}
