//! Wall time: short batches of every case in turn, many times over.

use std::time::{Duration, Instant};

use super::case::Case;
use super::statistics::median;
use crate::drive::Batch;

/// How long one batch should take: long against the two clock reads around it (some 50 ns), short against a time
/// slice of the scheduler, so that most batches run undisturbed.
const BATCH: Duration = Duration::from_millis(1);

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Batches of each case.
    pub rounds: usize,
}

impl Plan {
    /// Enough for a median that a busy neighbour hardly moves; a dozen cases take some five seconds.
    pub const FULL: Self = Self { rounds: 301 };
    /// A look.
    pub const QUICK: Self = Self { rounds: 15 };
}

/// What was seen of one case.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Timing {
    /// Nanoseconds per call, round by round.
    pub(super) rounds: Vec<f64>,
    /// How many calls a batch had.
    pub(super) calls: u64,
}

impl Timing {
    /// About how many calls fit into `budget`: at least a hundred, at most ten thousand, after which a count per call
    /// does not get any sharper.
    pub(super) fn calls_in(&self, budget: Duration) -> u64 {
        let ns = median(&self.rounds).unwrap_or(1.0).max(1.0);
        whole(nanoseconds(budget) / ns).clamp(100, 10_000)
    }
}

/// How long a slow case may be timed in all.
const SLOW: Duration = Duration::from_millis(600);

/// A slow case takes its turn in every so many rounds only: spread over all of them, and three times at least. What it
/// takes to build counts, too.
fn stride(case: &Case, call: Duration, rounds: usize) -> usize {
    if case.counted_with.is_none() {
        return 1;
    }
    let turns = nanoseconds(SLOW) / nanoseconds(call).max(1.0);
    let turns = usize::try_from(whole(turns)).unwrap_or(usize::MAX).max(3);
    rounds.div_ceil(turns).max(1)
}

/// Times all cases round by round: A B C, B C A, C A B, and so on. Whatever the machine does meanwhile falls on all of
/// them, and none always runs after the same other.
pub(super) fn time(cases: &[Case], plan: Plan) -> Vec<Timing> {
    let mut running: Vec<_> = cases
        .iter()
        .map(|case| {
            let mut batch = (case.make)();
            let (calls, stride) = if case.counted_with.is_some() {
                // Twice, because the first call of all may do things once.
                let _once = batch(1);
                let start = Instant::now();
                let call = batch(1);
                let whole_call = start.elapsed();
                let calls = if whole_call > 2 * call {
                    1
                } else {
                    calibrate(&mut batch)
                };
                (calls, stride(case, whole_call, plan.rounds))
            } else {
                (calibrate(&mut batch), 1)
            };
            (batch, calls, stride, Vec::with_capacity(plan.rounds))
        })
        .collect();
    for round in 0..plan.rounds {
        for index in order(round, cases.len()) {
            if let Some((batch, calls, stride, rounds)) = running.get_mut(index) {
                if round % *stride != 0 {
                    continue;
                }
                let took = batch(*calls);
                rounds.push(nanoseconds(took) / float(*calls));
            }
        }
    }
    running
        .into_iter()
        .map(|(_, calls, _, rounds)| Timing { rounds, calls })
        .collect()
}

/// How many calls fill a batch. Doubling until it takes a good part of one also warms the case up.
fn calibrate(batch: &mut Batch) -> u64 {
    // Past this a call takes less than any processor's cycle: the loop was optimised away, and doubling would not end.
    const MOST: u64 = 1 << 32;
    let mut calls = 1;
    loop {
        let took = batch(calls);
        if took >= BATCH / 4 || calls >= MOST {
            let share = nanoseconds(BATCH) / nanoseconds(took).max(1.0);
            return whole(float(calls) * share).max(1);
        }
        calls *= 2;
    }
}

/// The order of the cases in one round.
fn order(round: usize, cases: usize) -> impl Iterator<Item = usize> {
    (0..cases).map(move |place| (place + round) % cases)
}

fn nanoseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

/// Counts of calls are far below 2^53, where a float still holds every whole number.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of calls are far below 2^53"
)]
fn float(calls: u64) -> f64 {
    calls as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a positive count; the cast saturates"
)]
fn whole(calls: f64) -> u64 {
    calls as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::repeat;

    #[test]
    fn every_round_has_every_case_and_each_goes_first_in_turn() {
        let rounds: Vec<Vec<usize>> = (0..4).map(|round| order(round, 3).collect()).collect();
        assert_eq!(rounds, [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]);
    }

    #[test]
    fn a_batch_is_as_many_calls_as_fill_its_time() {
        // A clock of its own: every call "takes" a microsecond.
        let mut batch: Batch = Box::new(Duration::from_micros);
        assert_eq!(calibrate(&mut batch), 1_000);
        let mut slow: Batch = Box::new(|calls| Duration::from_millis(3 * calls));
        assert_eq!(calibrate(&mut slow), 1);
    }

    #[test]
    fn slow_cases_are_counted_over_fewer_calls() {
        let timing = |ns| Timing {
            rounds: vec![ns],
            calls: 1,
        };
        let budget = Duration::from_millis(200);
        assert_eq!(timing(40.0).calls_in(budget), 10_000);
        assert_eq!(timing(1e6).calls_in(budget), 200);
        assert_eq!(timing(1e9).calls_in(budget), 100);
    }

    #[test]
    fn a_slow_case_takes_every_so_many_turns_and_three_at_least() {
        let slow = Case::new("slow", || repeat(|| ())).counted_with("slow ones");
        let usual = Case::new("usual", || repeat(|| ()));
        assert_eq!(stride(&slow, Duration::from_millis(10), 300), 5);
        assert_eq!(stride(&slow, Duration::from_secs(1), 300), 100);
        assert_eq!(stride(&slow, Duration::from_millis(1), 300), 1);
        assert_eq!(stride(&usual, Duration::from_secs(1), 300), 1);
    }

    #[test]
    fn times_every_case_as_often_as_planned() {
        let case = |name| Case::new(name, || repeat(|| ()));
        let timings = time(&[case("a"), case("b")], Plan { rounds: 3 });
        assert_eq!(timings.len(), 2);
        assert!(timings.iter().all(|timing| timing.rounds.len() == 3));
    }
}
