//! When payments are due: at fixed times, whatever became of the ones before.
//!
//! A client that waits for one answer before it sends the next request slows down with the service and
//! then reports how well the service did (Tene: "coordinated omission"). This one does not wait, and counts
//! every latency from the time the payment was due.

use std::{
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

/// The times, from the start, at which `rate` payments a second are due for as long as `length`.
///
/// Each is computed from its number, so rounding never adds up.
pub(super) fn schedule(rate: u32, length: Duration) -> impl Iterator<Item = Duration> {
    (0_u64..)
        .map(move |number| Duration::from_nanos(number * 1_000_000_000 / u64::from(rate.max(1))))
        .take_while(move |due| *due < length)
}

/// Sends each of `times` when it has come, until nobody listens any more.
///
/// From a thread of its own: the runtime's timer rounds to milliseconds, which is what is to be measured.
pub(super) fn pace(
    start: Instant,
    times: impl Iterator<Item = Duration> + Send + 'static,
) -> mpsc::UnboundedReceiver<Duration> {
    // Unbounded, and no longer than the schedule: a bound would make the pacer wait for the client.
    let (sender, receiver) = mpsc::unbounded_channel();
    thread::spawn(move || {
        for due in times {
            thread::sleep((start + due).saturating_duration_since(Instant::now()));
            if sender.send(due).is_err() {
                break;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payments_are_due_evenly_and_rounding_does_not_add_up() {
        let times: Vec<Duration> = schedule(3, Duration::from_secs(1_000)).collect();
        assert_eq!(times.len(), 3_000);
        assert_eq!(times[0], Duration::ZERO);
        assert_eq!(times[1], Duration::from_nanos(333_333_333));
        assert_eq!(times[2_997], Duration::from_secs(999));
        assert!(times.is_sorted());
    }

    #[test]
    fn the_end_is_not_part_of_the_schedule() {
        assert_eq!(schedule(2, Duration::from_secs(1)).count(), 2);
        assert_eq!(schedule(2, Duration::ZERO).count(), 0);
    }

    #[tokio::test]
    async fn nothing_is_sent_before_its_time_and_all_of_it_is_sent() {
        let start = Instant::now();
        let mut due = pace(start, schedule(1_000, Duration::from_millis(20)));
        let mut seen = 0;
        while let Some(offset) = due.recv().await {
            assert!(start.elapsed() >= offset);
            seen += 1;
        }
        assert_eq!(seen, 20);
    }
}
