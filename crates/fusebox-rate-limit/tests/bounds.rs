//! Every algorithm is held to its bound against a naive exact model.
//!
//! The models keep whole numbers that need no rounding, or a list of everything that ever happened.
//! Two things are asked: whatever the engine admits, the model admits (nobody gets more than the
//! bound), and what the model admits with a little to spare, the engine admits (nobody gets much less).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail by panicking too"
)]

use std::time::Duration;

use fusebox_core::Timestamp;
use fusebox_rate_limit::Quota;
use fusebox_rate_limit::engine::gcra::Gcra;
use fusebox_rate_limit::engine::log::Log;
use fusebox_rate_limit::engine::window::Window;
use fusebox_rate_limit::engine::{STATE_MASK, Step};
use proptest::prelude::*;

/// Every period below divides it, so that a nanosecond brings a whole number of units.
const TOKEN: u128 = 60_000_000_000;

#[derive(Clone, Copy, Debug)]
enum Did {
    Spend(u64),
    /// Gives back the n-th of what was admitted and not given back yet.
    Refund(prop::sample::Index),
    Penalise(u64),
    /// Another rate and burst.
    Change(Quota),
}

fn quotas() -> impl Strategy<Value = Quota> {
    let period = prop::sample::select(vec![
        1_000_000,
        1_000_000_000,
        2_000_000_000,
        60_000_000_000,
    ]);
    (1..50_u64, period, 1..60_u64).prop_map(|(amount, period, burst)| {
        Quota::per(amount, Duration::from_nanos(period)).burst(burst)
    })
}

fn steps(changes: bool) -> impl Strategy<Value = Vec<(u64, Did)>> {
    let did = prop_oneof![
        12 => (1..6_u64).prop_map(Did::Spend),
        3 => any::<prop::sample::Index>().prop_map(Did::Refund),
        1 => (1..20_u64).prop_map(Did::Penalise),
        u32::from(changes) => quotas().prop_map(Did::Change),
    ];
    // The clock stands still, creeps, or leaps.
    let pause = prop_oneof![3 => Just(0_u64), 2 => 1..2_000_u64, 4 => 1_000..900_000_000_u64, 1 => 1..400_000_000_000_u64];
    prop::collection::vec((pause, did), 1..120)
}

/// A bucket that is counted in units of which a token has so many that nothing is ever rounded.
struct Bucket {
    level: i128,
    quota: Quota,
    at: u64,
}

impl Bucket {
    fn capacity(&self) -> i128 {
        i128::from(self.quota.burst_size()) * TOKEN as i128
    }

    fn advance(&mut self, now: u64) {
        let per_nano = u128::from(self.quota.amount()) * TOKEN / self.quota.period().as_nanos();
        let came = u128::from(now - self.at) * per_nano;
        self.level = (self.level + came as i128).min(self.capacity());
        self.at = now;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn no_wait_is_longer_than_was_agreed_whatever_the_rate_becomes(
        quota in quotas(), steps in steps(true), millis in 1..100_000_u64, queue in prop::option::of(1..200_u64),
    ) {
        let longest = Duration::from_millis(millis);
        let gcra = match queue {
            Some(queue) => Gcra::shaper(quota, queue, longest),
            None => Gcra::meter(quota, longest),
        };
        let gcra = gcra.unwrap();
        let mut state = gcra.at(Timestamp::ZERO).full();
        let mut now = 0;
        for (pause, did) in steps {
            now += pause;
            let moment = gcra.at(Timestamp::from_nanos(now));
            match did {
                Did::Spend(cost) => {
                    if let Step::Spent { state: after, wait } = moment.spend(state, cost) {
                        let wait = moment.duration(wait);
                        prop_assert!(wait <= longest, "{wait:?} of {longest:?}");
                        state = after;
                    }
                }
                Did::Change(quota) => {
                    // Refused if it is beyond what can be counted; nothing is changed then.
                    let _ = gcra.change(Timestamp::from_nanos(now), quota);
                }
                Did::Refund(_) => state = moment.refund(state, 1),
                Did::Penalise(cost) => state = moment.penalise(state, cost),
            }
        }
    }
}

#[test]
fn a_faster_rate_lets_more_wait_and_a_slower_one_fewer() {
    let second = Duration::from_secs(1);
    let gcra = Gcra::meter(Quota::per_second(10).burst(1), 2 * second).unwrap();
    let admitted = || {
        let moment = gcra.at(Timestamp::from_nanos(1));
        let mut state = moment.full();
        let mut admitted = 0;
        while let Step::Spent { state: after, .. } = moment.spend(state, 1) {
            (state, admitted) = (after, admitted + 1);
        }
        admitted
    };
    assert_eq!(admitted(), 21);
    for (rate, expected) in [(1, 3), (30, 61), (10, 21)] {
        gcra.change(Timestamp::from_nanos(1), Quota::per_second(rate).burst(1))
            .unwrap();
        assert_eq!(admitted(), expected, "at {rate} per second");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(600) })]

    #[test]
    fn a_token_bucket_admits_what_an_exact_bucket_admits(quota in quotas(), steps in steps(true)) {
        let gcra = Gcra::meter(quota, Duration::ZERO).unwrap();
        let mut bucket = Bucket { level: 0, quota, at: 0 };
        bucket.level = bucket.capacity();
        let mut state = gcra.at(Timestamp::ZERO).full();
        let mut now = 0;
        let mut admitted: Vec<u64> = Vec::new();
        // The steps of the clock: at most a tick either way, and one for each change of its speed. A tick is
        // at most 1/256 of a token here.
        let tick = TOKEN as i128 / 256;
        let mut slack = tick;
        for (pause, did) in steps {
            now += pause;
            bucket.advance(now);
            let moment = gcra.at(Timestamp::from_nanos(now));
            prop_assert_eq!(moment.idle(state) , moment.reset(state).is_zero());
            match did {
                Did::Spend(cost) => match moment.spend(state, cost) {
                    Step::Spent { state: after, wait } => {
                        prop_assert_eq!(wait, 0);
                        bucket.level -= i128::from(cost) * TOKEN as i128;
                        prop_assert!(bucket.level >= -slack, "{} over", -bucket.level);
                        prop_assert!(after <= STATE_MASK);
                        state = after;
                        admitted.push(cost);
                    }
                    Step::Denied { wait } => {
                        let cost = i128::from(cost) * TOKEN as i128;
                        prop_assert!(bucket.level < cost + slack, "refused with {} to spare", bucket.level - cost);
                        if wait != u64::MAX {
                            // After the wait it is admitted, and not much earlier.
                            let later = Timestamp::from_nanos(now) + moment.duration(wait);
                            let spent = gcra.at(later).spend(state, u64::try_from(cost / TOKEN as i128).unwrap());
                            let admitted = matches!(spent, Step::Spent { .. });
                            prop_assert!(admitted, "refused after the wait it was told");
                        }
                    }
                },
                Did::Refund(index) if !admitted.is_empty() => {
                    let cost = admitted.swap_remove(index.index(admitted.len()));
                    state = moment.refund(state, cost);
                    bucket.level = (bucket.level + i128::from(cost) * TOKEN as i128).min(bucket.capacity());
                }
                Did::Refund(_) => {}
                Did::Penalise(cost) => {
                    state = moment.penalise(state, cost);
                    let least = -bucket.capacity();
                    let level = bucket.level - i128::from(cost) * TOKEN as i128;
                    bucket.level = level.max(least.min(bucket.level));
                }
                Did::Change(next) => {
                    let most = i128::from(next.burst_size()) * TOKEN as i128;
                    if gcra.change(Timestamp::from_nanos(now), next).is_ok() {
                        // What is spent stays spent: the difference to full is the same.
                        bucket.level += most - bucket.capacity();
                        bucket.quota = next;
                        slack += tick;
                    }
                }
            }
        }
    }

    #[test]
    fn a_token_bucket_keeps_its_bound_over_every_stretch_of_time(quota in quotas(), steps in steps(false)) {
        let gcra = Gcra::meter(quota, Duration::ZERO).unwrap();
        let mut state = gcra.at(Timestamp::ZERO).full();
        let mut now = 0;
        let mut admitted: Vec<(u64, u64)> = Vec::new();
        for (pause, did) in steps {
            now += pause;
            if let Did::Spend(cost) = did
                && let Step::Spent { state: after, .. } = gcra.at(Timestamp::from_nanos(now)).spend(state, cost)
            {
                state = after;
                admitted.push((now, cost));
            }
        }
        for (first, (from, _)) in admitted.iter().enumerate() {
            let mut sum = 0;
            for (to, cost) in &admitted[first..] {
                sum += u128::from(*cost);
                let rate = u128::from(quota.amount()) * u128::from(to - from);
                // A tick, which is at most this.
                let tick = quota.period().as_nanos() / 256;
                let bound = u128::from(quota.burst_size()) * quota.period().as_nanos() + rate + tick;
                prop_assert!(sum * quota.period().as_nanos() <= bound);
            }
        }
    }

    #[test]
    fn a_shaper_starts_one_after_the_other_at_the_rate_and_bounds_its_queue(
        quota in quotas(), queue in 0..8_u64, pauses in prop::collection::vec(0..300_000_000_u64, 1..80),
    ) {
        let gcra = Gcra::shaper(quota, queue, Duration::from_secs(3_600)).unwrap();
        let mut state = gcra.at(Timestamp::ZERO).full();
        let gap = u64::try_from(quota.period().as_nanos()).unwrap() / quota.amount();
        let mut now = 0;
        let mut starts: Vec<u64> = Vec::new();
        for pause in pauses {
            now += pause;
            let moment = gcra.at(Timestamp::from_nanos(now));
            if let Step::Spent { state: after, wait } = moment.spend(state, 1) {
                state = after;
                starts.push(now + u64::try_from(moment.duration(wait).as_nanos()).unwrap());
                // A wait ends up to a tick late, by when the next in line may have come.
                let tick = gap / 256 + 1;
                let waiting = starts.iter().filter(|start| **start > now + tick).count() as u64;
                prop_assert!(waiting <= queue.max(1), "{waiting} wait, {queue} may");
            }
        }
        // To within a tick, and the ticks do not add up.
        for (first, from) in starts.iter().enumerate() {
            for (place, to) in starts[first..].iter().enumerate() {
                prop_assert!(to - from + gap / 256 + 1 >= gap * place as u64, "{place} in {}", to - from);
            }
        }
    }

    #[test]
    fn windows_admit_no_more_than_their_limit_each(
        limit in 1..40_u64, sliding: bool, steps in steps(false),
    ) {
        let window = Window::new(Quota::per(limit, Duration::from_secs(1)), sliding).unwrap();
        // What a sliding window has for the even and the odd windows.
        let mut states = [0, 0];
        let mut spent = std::collections::BTreeMap::<u64, u64>::new();
        let mut admitted: Vec<(u64, u64, u64)> = Vec::new();
        let mut now = 0;
        for (pause, did) in steps {
            now += pause;
            let moment = window.at(Timestamp::from_nanos(now));
            let number = moment.number();
            let mine = if sliding && number & 1 == 1 { 1 } else { 0 };
            let other = if sliding { 1 - mine } else { mine };
            let before = if sliding { moment.before(states[other]) } else { 0 };
            let counted = spent.get(&number).copied().unwrap_or(0);
            let counted_before = number.checked_sub(1).and_then(|before| spent.get(&before)).copied().unwrap_or(0);
            prop_assert!(!sliding || before == counted_before);
            match did {
                Did::Spend(cost) => match moment.spend(states[mine], before, cost) {
                    Step::Spent { state, .. } => {
                        states[mine] = state;
                        *spent.entry(number).or_default() += cost;
                        prop_assert!(spent[&number] <= limit);
                        admitted.push((now, number, cost));
                    }
                    Step::Denied { wait } if wait != u64::MAX => {
                        prop_assert!(counted + before + cost > limit, "refused though there was room");
                        let later = window.at(Timestamp::from_nanos(now) + moment.duration(wait));
                        let slot = if sliding { (later.number() & 1) as usize } else { 0 };
                        let before = if sliding { later.before(states[slot ^ 1]) } else { 0 };
                        let spent = later.spend(states[slot], before, cost);
                        let admitted = matches!(spent, Step::Spent { .. });
                        prop_assert!(admitted, "refused after the wait it was told");
                    }
                    Step::Denied { .. } => prop_assert!(cost > limit),
                },
                Did::Refund(index) if !admitted.is_empty() => {
                    let (at, number, cost) = admitted.swap_remove(index.index(admitted.len()));
                    let then = window.at(Timestamp::from_nanos(at));
                    let slot = if sliding { (number & 1) as usize } else { 0 };
                    let after = then.refund(states[slot], cost);
                    if after != states[slot] {
                        *spent.get_mut(&number).unwrap() -= cost;
                    } else {
                        // Its window is over: there is nothing left to give back.
                        prop_assert!(number != moment.number());
                    }
                    states[slot] = after;
                }
                _ => {}
            }
        }
    }

    #[test]
    fn a_window_keeps_its_bound_over_every_stretch_of_time(
        limit in 1..40_u64, sliding: bool, steps in steps(false),
    ) {
        let length = 1_000_000_000;
        let window = Window::new(Quota::per(limit, Duration::from_nanos(length)), sliding).unwrap();
        let mut states = [0, 0];
        // What was admitted and not given back.
        let mut admitted: Vec<(u64, u64)> = Vec::new();
        let mut now = 0;
        for (pause, did) in steps {
            now += pause;
            let moment = window.at(Timestamp::from_nanos(now));
            let slot = (moment.number() & 1) as usize;
            let before = if sliding { moment.before(states[slot ^ 1]) } else { 0 };
            match did {
                Did::Spend(cost) => {
                    if let Step::Spent { state, .. } = moment.spend(states[slot], before, cost) {
                        states[slot] = state;
                        admitted.push((now, cost));
                    }
                }
                Did::Refund(index) if !admitted.is_empty() => {
                    let (at, cost) = admitted.remove(index.index(admitted.len()));
                    let then = window.at(Timestamp::from_nanos(at));
                    let slot = (then.number() & 1) as usize;
                    states[slot] = then.refund(states[slot], cost);
                }
                Did::Penalise(cost) => states[slot] = moment.penalise(states[slot], cost),
                _ => {}
            }
        }
        for (first, (from, _)) in admitted.iter().enumerate() {
            let mut sum = 0;
            for (to, cost) in &admitted[first..] {
                sum += cost;
                // A stretch that ends a moment after its last call.
                let windows = (to - from + 1).div_ceil(length) + 1;
                prop_assert!(sum <= limit * windows, "{sum} in {}", to - from);
            }
        }
    }

    #[test]
    fn a_sliding_window_after_a_full_one_admits_at_an_even_rate(
        limit in 1..200_u64, moments in prop::collection::vec(0..1_000_000_000_u64, 1..60),
    ) {
        let window = Window::new(Quota::per(limit, Duration::from_secs(1)), true).unwrap();
        let full = window.at(Timestamp::ZERO);
        let Step::Spent { state: before, .. } = full.spend(full.full(), 0, limit) else {
            panic!("an empty window has room for its limit");
        };
        let mut moments = moments;
        moments.sort_unstable();
        let (mut state, mut spent) = (0, 0_u64);
        for into in moments {
            let moment = window.at(Timestamp::from_nanos(1_000_000_100 + into));
            if let Step::Spent { state: after, .. } = moment.spend(state, moment.before(before), 1) {
                state = after;
                spent += 1;
                let even = u128::from(limit) * u128::from(into + 100);
                prop_assert!(u128::from(spent) * 1_000_000_000 <= even, "{spent} after {into}");
            }
        }
    }

    #[test]
    fn a_log_admits_exactly_what_the_list_of_everything_admits(limit in 1..9_u64, steps in steps(false)) {
        let log = Log::new(Quota::per(limit, Duration::from_secs(2))).unwrap();
        let window = 2_000_000_000;
        let mut kept = Vec::new();
        let mut everything: Vec<u64> = Vec::new();
        let mut now = 0;
        for (pause, did) in steps {
            now += pause;
            let at = Timestamp::from_nanos(now);
            log.expire(&mut kept, at);
            match did {
                Did::Spend(cost) => {
                    let within = everything.iter().filter(|moment| now - **moment < window).count() as u64;
                    let spent = log.spend(&mut kept, at, cost);
                    prop_assert_eq!(spent.is_ok(), within + cost <= limit);
                    match spent {
                        Ok(()) => everything.extend(std::iter::repeat_n(now, usize::try_from(cost).unwrap())),
                        Err(Duration::MAX) => prop_assert!(cost > limit),
                        Err(wait) => {
                            let mut later = kept.clone();
                            log.expire(&mut later, at + wait);
                            prop_assert!(log.spend(&mut later, at + wait, cost).is_ok());
                        }
                    }
                    prop_assert!(kept.len() as u64 <= limit);
                }
                Did::Refund(index) if !everything.is_empty() => {
                    let moment = everything.swap_remove(index.index(everything.len()));
                    log.refund(&mut kept, at, Timestamp::from_nanos(moment), 1);
                }
                _ => {}
            }
        }
    }
}

#[test]
fn a_quota_of_any_size_is_counted_or_refused_with_an_error() {
    for amount in [1, 3, 1_000, 1_000_000, 1_000_000_000] {
        for period in [
            1,
            1_000,
            1_000_000_000,
            86_400_000_000_000,
            31_536_000_000_000_000,
        ] {
            for burst in [1, 1_000, 1 << 33, 1 << 34, u64::MAX] {
                let quota = Quota::per(amount, Duration::from_nanos(period)).burst(burst);
                let Ok(gcra) = Gcra::meter(quota, Duration::ZERO) else {
                    continue;
                };
                let moment = gcra.at(Timestamp::from_nanos(12_345));
                assert_eq!(moment.remaining(moment.full()), burst, "{quota}");
                let Step::Spent { state, .. } = moment.spend(moment.full(), burst) else {
                    panic!("{quota}: a full bucket has its burst");
                };
                assert!(!moment.idle(state), "{quota}");
                assert_eq!(moment.remaining(state), 0, "{quota}");
                assert!(
                    matches!(moment.spend(state, 1), Step::Denied { .. }),
                    "{quota}"
                );
            }
        }
    }
}
