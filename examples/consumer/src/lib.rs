//! A queue consumer that falls behind, twice: once it takes whatever the queue has, once it waits for
//! room before it takes anything.
//!
//! ```text
//! producer ──▶ queue (bounded, as every broker's prefetch is) ──▶ consumer ──▶ worker
//! ```
//!
//! The worker can do so many messages a second and no more. A greedy consumer hides that: it takes them
//! as fast as they come, and what the worker has not got to piles up in the consumer's memory, until
//! there is none. The patient one asks its compartment first: [`poll_ready`] of the backpressure
//! flavour waits for a slot, so what is not being worked on stays in the queue, the queue fills up, and
//! the producer waits. Nothing is dropped, nothing is refused, and the memory is what the settings say.
//!
//! [`poll_ready`]: tower::Service::poll_ready

mod consume;
mod produce;
mod queue;
mod report;

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use fusebox_bulkhead::Compartment;

pub use report::{Progress, Report};

/// How often a run tells how far it is.
pub const LOOK: Duration = Duration::from_millis(100);

/// What is sent, and how fast it can be worked on.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Messages in all.
    pub messages: usize,
    /// Messages the queue holds before its producer has to wait.
    pub queue: usize,
    /// Messages worked on at once.
    pub slots: usize,
    /// How long one takes.
    pub work: Duration,
}

/// How the consumer takes its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consumer {
    /// As fast as they come.
    Greedy,
    /// When there is a slot for the next one.
    Patient,
}

/// Sends every message through the queue, works on them, and tells how it went; and every
/// [`LOOK`] how far it is.
///
/// # Errors
/// When the settings are no compartment's, or a message was lost.
pub async fn run(
    consumer: Consumer,
    settings: Settings,
    mut tell: impl FnMut(Progress),
) -> anyhow::Result<Report> {
    let compartment = Compartment::builder("messages")
        .slots(settings.slots)
        .build()
        .context("the compartment of the worker")?;
    let (sender, queue) = queue::bounded(settings.queue);
    let gauges = Arc::new(report::Gauges::default());

    let began = tokio::time::Instant::now();
    let producer = tokio::spawn(produce::all(settings.messages, sender, gauges.clone()));
    let consumed = async {
        match consumer {
            Consumer::Greedy => {
                consume::greedily(queue, &compartment, settings.work, &gauges).await
            }
            Consumer::Patient => {
                consume::patiently(queue, &compartment, settings.work, &gauges).await
            }
        }
    };
    let mut consumed = std::pin::pin!(consumed);
    let mut looks = tokio::time::interval_at(began + LOOK, LOOK);
    loop {
        tokio::select! {
            consumed = &mut consumed => break consumed?,
            _ = looks.tick() => tell(gauges.progress(began.elapsed())),
        }
    }
    let waited = producer.await.context("the producer")?;
    let cut_off = compartment.shutdown(Duration::from_secs(10)).await;
    anyhow::ensure!(cut_off == 0, "{cut_off} messages were cut off");
    Ok(gauges.report(waited, began.elapsed()))
}
