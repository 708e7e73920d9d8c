//! Work that nobody waits for: settling payments, adding days up, keeping the database tidy.

use std::{sync::Arc, time::Duration};

use sqlx::SqlitePool;
use tokio::{sync::watch, task::JoinSet, time::MissedTickBehavior};

use crate::{compartments::Place, payments::ledger::Ledger};

/// Payments settled in one transaction. Each holds the database's only writer, and payments wait behind
/// it: a small batch keeps that wait to a few milliseconds.
const SETTLED_AT_ONCE: u32 = 25;

/// The kinds of jobs, and how often each is due.
const SCHEDULE: [(Job, Duration); 4] = [
    (Job::Settle, Duration::from_millis(500)),
    (Job::Checkpoint, Duration::from_secs(2)),
    (Job::RollUp, Duration::from_secs(10)),
    (Job::Audit, Duration::from_secs(60)),
];

/// One kind of job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Moves pending payments to what the shop may spend.
    Settle,
    /// Moves the write-ahead log into the database file, without keeping anybody waiting.
    Checkpoint,
    /// Adds the settled payments up by day.
    RollUp,
    /// Looks for payments whose entries do not add up to zero.
    Audit,
}

/// What the jobs need.
#[derive(Clone, Debug)]
pub struct Jobs {
    /// The compartment's own connections.
    pub pool: SqlitePool,
    /// The books, shared with the handlers.
    pub ledger: Arc<Ledger>,
}

impl Jobs {
    /// Does one job once.
    ///
    /// # Errors
    ///
    /// Whatever SQLite says; every job may be repeated.
    pub async fn run(&self, job: Job) -> sqlx::Result<()> {
        match job {
            Job::Settle => {
                while self.ledger.settle(&self.pool, SETTLED_AT_ONCE).await?
                    == u64::from(SETTLED_AT_ONCE)
                {}
            }
            // PASSIVE: the other kinds keep the writer out until the last reader has gone, and analytics
            // read for a long time.
            Job::Checkpoint => {
                sqlx::query("PRAGMA wal_checkpoint(PASSIVE)")
                    .execute(&self.pool)
                    .await?;
            }
            Job::RollUp => self.ledger.roll_up(&self.pool).await?,
            Job::Audit => {
                for (payment, off) in self.audit().await? {
                    tracing::error!("payment {payment} is off by {off} minor units");
                }
            }
        }
        Ok(())
    }

    /// Payments whose entries do not add up to zero, and by how much. There should be none.
    ///
    /// # Errors
    ///
    /// Whatever SQLite says.
    pub async fn audit(&self) -> sqlx::Result<Vec<(String, i64)>> {
        sqlx::query_as(
            "SELECT payment_id, SUM(amount) AS off FROM ledger_entries \
             GROUP BY payment_id, currency HAVING off <> 0 LIMIT 100",
        )
        .fetch_all(&self.pool)
        .await
    }
}

/// Runs every job at its time inside `place`, until `stop` changes. Jobs under way are finished.
pub async fn run(jobs: Jobs, place: Place, stop: watch::Receiver<()>) {
    let mut runners = JoinSet::new();
    for (job, period) in SCHEDULE {
        let (jobs, place, mut stop) = (jobs.clone(), place.clone(), stop.clone());
        runners.spawn(async move {
            let mut ticks = tokio::time::interval(period);
            // After a hold-up the next run does all the work that is left; two at once help nobody.
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = stop.changed() => break,
                    _ = ticks.tick() => {}
                }
                let jobs = jobs.clone();
                match place.run(async move { jobs.run(job).await }).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        tracing::warn!("{job:?} failed and will be repeated: {error}");
                    }
                    Err(refused) => tracing::warn!("{job:?} has to wait: {refused}"),
                }
            }
        });
    }
    while runners.join_next().await.is_some() {}
}
