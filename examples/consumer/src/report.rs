use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

/// What is counted while messages flow.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    sent: AtomicUsize,
    in_memory: AtomicUsize,
    most_in_memory: AtomicUsize,
    at_work: AtomicUsize,
    most_at_work: AtomicUsize,
    most_queued: AtomicUsize,
    done: AtomicUsize,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Since its beginning.
    pub at: Duration,
    /// Messages the producer has got rid of.
    pub sent: usize,
    /// Messages that the consumer has in memory.
    pub in_memory: usize,
    /// Messages that are done.
    pub done: usize,
}

/// How a run went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Messages that were worked on to their end.
    pub done: usize,
    /// The most messages the consumer had in memory at once.
    pub most_in_memory: usize,
    /// The most messages that were worked on at once.
    pub most_at_work: usize,
    /// The most messages that were left in the queue when one was taken.
    pub most_queued: usize,
    /// Messages the producer sent.
    pub produced: usize,
    /// How long the producer waited for room in the queue, all in all.
    pub producer_waited: Duration,
    /// From the first message to the end of the last.
    pub took: Duration,
}

impl Gauges {
    /// A message was put into the queue.
    pub(crate) fn sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    /// A message was taken out of the queue, which now holds `left`.
    pub(crate) fn taken(&self, left: usize) {
        rise(&self.in_memory, &self.most_in_memory);
        self.most_queued.fetch_max(left, Ordering::Relaxed);
    }

    pub(crate) fn begun(&self) {
        rise(&self.at_work, &self.most_at_work);
    }

    pub(crate) fn done(&self) {
        self.at_work.fetch_sub(1, Ordering::Relaxed);
        self.in_memory.fetch_sub(1, Ordering::Relaxed);
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn progress(&self, at: Duration) -> Progress {
        Progress {
            at,
            sent: read(&self.sent),
            in_memory: read(&self.in_memory),
            done: read(&self.done),
        }
    }

    pub(crate) fn report(&self, producer_waited: Duration, took: Duration) -> Report {
        Report {
            done: read(&self.done),
            most_in_memory: read(&self.most_in_memory),
            most_at_work: read(&self.most_at_work),
            most_queued: read(&self.most_queued),
            produced: read(&self.sent),
            producer_waited,
            took,
        }
    }
}

fn read(gauge: &AtomicUsize) -> usize {
    gauge.load(Ordering::Relaxed)
}

fn rise(gauge: &AtomicUsize, most: &AtomicUsize) {
    let now = gauge.fetch_add(1, Ordering::Relaxed) + 1;
    most.fetch_max(now, Ordering::Relaxed);
}
