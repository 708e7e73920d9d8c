//! What makes the analytics a bad neighbour: nothing by default, as much as wanted in an experiment.

use std::{hint::black_box, time::Duration};

use super::statistics::bootstrap_mean;

/// Extra work for every analytics request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strain {
    /// A slow dependency, awaited as it should be.
    pub delay: Duration,
    /// Computing on the thread that the handler runs on, as it should not be: until it yields, that
    /// thread serves nobody else. Processor time, not wall time, so that the work is the same however
    /// many threads share a core.
    pub cpu: Duration,
}

impl Strain {
    /// Waits, then computes.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits, nothing is left behind. It cannot be dropped while it computes.
    pub async fn bear(self) {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        if !self.cpu.is_zero() {
            compute_for(self.cpu);
        }
    }
}

/// Computes until this thread has used `budget` of processor time.
fn compute_for(budget: Duration) {
    let sample: Vec<f64> = (0..1_000).map(f64::from).collect();
    let start = thread_time();
    while thread_time().saturating_sub(start) < budget {
        // About 100 µs a turn: the budget is kept closely, and the clock is read seldom.
        black_box(bootstrap_mean(black_box(&sample), 50));
    }
}

/// The processor time this thread has used.
#[cfg(unix)]
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

/// Wall time, where the system does not tell: the experiment is then a little kinder to the neighbours.
#[cfg(not(unix))]
fn thread_time() -> Duration {
    static START: std::sync::LazyLock<std::time::Instant> =
        std::sync::LazyLock::new(std::time::Instant::now);
    START.elapsed()
}
