//! Whatever a crowded store does with its keys (evicts them, lets them share, gives them places again), no key gets
//! more than its quota: every algorithm against an exact model that never forgets anybody.
#![cfg(not(fusebox_loom))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail by panicking too"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use fusebox_core::Timestamp;
use fusebox_rate_limit::Quota;
use fusebox_rate_limit::engine::{gcra::Gcra, log::Log, window::Window};
use fusebox_rate_limit::store::{
    Accounts, Act, Decision, Key, Keys, Layout, MemoryStore, Overflow, Question, Terms,
};
use proptest::prelude::*;

/// More than the sixteen places of the smallest table, and enough for some to meet in one of the 64 shares.
const KEYS: u128 = 60;
const PERIOD: u64 = 10_000_000_000;

#[derive(Clone, Copy, Debug)]
enum Did {
    Spend(u128, u64),
    /// Gives back the n-th of what was admitted and not given back yet.
    Refund(prop::sample::Index),
    Penalise(u128, u64),
    /// So many per so many tenths of the first period, and so many at once.
    Change(u64, u64, u64),
}

fn steps() -> impl Strategy<Value = Vec<(u64, Did)>> {
    let tenths = prop::sample::select(vec![5, 10, 20]);
    let did = prop_oneof![
        16 => (0..KEYS, 1..4_u64).prop_map(|(key, cost)| Did::Spend(key, cost)),
        4 => any::<prop::sample::Index>().prop_map(Did::Refund),
        1 => (0..KEYS, 1..9_u64).prop_map(|(key, cost)| Did::Penalise(key, cost)),
        1 => (1..5_u64, tenths, 1..6_u64).prop_map(|(amount, tenths, burst)| Did::Change(amount, tenths, burst)),
    ];
    // The clock stands still, creeps, or leaps.
    let pause =
        prop_oneof![12 => Just(0_u64), 2 => 1..PERIOD / 20, 2 => 1..PERIOD / 2, 1 => 1..4 * PERIOD];
    prop::collection::vec((pause, did), 1..400)
}

/// What one algorithm owes one key, exactly.
trait Model {
    /// What was admitted; an error if it should not have been.
    fn spent(&mut self, key: u128, now: u64, cost: u64) -> Result<(), String>;
    fn refunded(&mut self, key: u128, now: u64, spent_at: u64, cost: u64);
    /// Another quota, if the algorithm can.
    fn changed(&mut self, _now: u64, _quota: Quota) {}
}

fn play(
    accounts: Accounts,
    model: &mut impl Model,
    steps: Vec<(u64, Did)>,
) -> Result<(), TestCaseError> {
    let store = MemoryStore::new(vec![vec![accounts]]).unwrap();
    let mut now = PERIOD;
    let mut admitted: Vec<(u128, u64, u64)> = Vec::new();
    for (pause, did) in steps {
        now += pause;
        let ask = |key, cost, act| {
            store.decide(&Question {
                now: Timestamp::from_nanos(now),
                tier: 0,
                terms: Terms::default(),
                keys: Keys::One(Key::from_bits(key)),
                cost,
                act,
                detail: false,
            })
        };
        match did {
            Did::Spend(key, cost) => {
                let verdict = ask(key, cost, Act::Spend);
                if matches!(verdict.decision, Decision::Admitted { .. }) {
                    let spent = model.spent(key, now, cost);
                    prop_assert!(spent.is_ok(), "key {key} at {now}: {spent:?}");
                    admitted.push((key, now, cost));
                }
            }
            Did::Refund(index) if !admitted.is_empty() => {
                let (key, at, cost) = admitted.swap_remove(index.index(admitted.len()));
                let spent_at = Timestamp::from_nanos(at);
                let _ = ask(key, cost, Act::Refund { spent_at });
                model.refunded(key, now, at, cost);
            }
            Did::Refund(_) => {}
            Did::Penalise(key, cost) => {
                // It has an upper end, so that of several that share one may be forgiven a part of its penalty. What
                // must not be is that it gets anybody more than the quota: the models know nothing of it.
                let _ = ask(key, cost, Act::Penalise);
            }
            Did::Change(amount, tenths, burst) => {
                let period = Duration::from_nanos(PERIOD / 10 * tenths);
                let quota = Quota::per(amount, period).burst(burst);
                if store
                    .change(Timestamp::from_nanos(now), 0, 0, quota)
                    .is_ok()
                {
                    model.changed(now, quota);
                }
            }
        }
    }
    Ok(())
}

/// Units in which nothing is ever rounded: a nanosecond brings a whole number of them, also in twice the period.
const TOKEN: i128 = 2 * PERIOD as i128;

struct Bucket {
    quota: Quota,
    since: u64,
    /// What has come since the beginning, by one clock for all: rates change for all at once.
    came: i128,
    /// For each key its level, and what had come then.
    levels: BTreeMap<u128, (i128, i128)>,
    slack: i128,
}

impl Bucket {
    fn advance(&mut self, now: u64) {
        let in_a_nano = TOKEN / i128::try_from(self.quota.period().as_nanos()).unwrap();
        self.came += i128::from(now - self.since) * i128::from(self.quota.amount()) * in_a_nano;
        self.since = now;
    }

    fn full(&self) -> i128 {
        i128::from(self.quota.burst_size()) * TOKEN
    }

    fn level(&mut self, key: u128, now: u64) -> &mut i128 {
        self.advance(now);
        let (full, came) = (self.full(), self.came);
        let (level, then) = self.levels.entry(key).or_insert((full, came));
        *level = (*level + came - *then).min(full);
        *then = came;
        level
    }
}

impl Model for Bucket {
    fn spent(&mut self, key: u128, now: u64, cost: u64) -> Result<(), String> {
        let slack = self.slack;
        let level = self.level(key, now);
        *level -= i128::from(cost) * TOKEN;
        if *level < -slack {
            Err(format!("{} over", -*level))
        } else {
            Ok(())
        }
    }

    fn refunded(&mut self, key: u128, now: u64, _: u64, cost: u64) {
        let full = self.full();
        let level = self.level(key, now);
        *level = (*level + i128::from(cost) * TOKEN).min(full);
    }

    fn changed(&mut self, now: u64, quota: Quota) {
        // What is spent stays spent: everybody's difference to full is the same.
        let keys: Vec<_> = self.levels.keys().copied().collect();
        let before = self.full();
        for key in keys {
            self.level(key, now);
        }
        self.advance(now);
        self.quota = quota;
        let grown = self.full() - before;
        for (level, _) in self.levels.values_mut() {
            *level += grown;
        }
        // The clock is rounded once more.
        self.slack += TOKEN / 256;
    }
}

struct Windows {
    rules: Window,
    limit: u64,
    period: Duration,
    sliding: bool,
    counts: BTreeMap<(u128, u64), u64>,
    /// In which window each moment was, whatever has become of the quota since.
    numbers: BTreeMap<u64, u64>,
}

impl Windows {
    fn count(&mut self, key: u128, at: u64) -> &mut u64 {
        let now = || self.rules.at(Timestamp::from_nanos(at)).number();
        let number = *self.numbers.entry(at).or_insert_with(now);
        self.counts.entry((key, number)).or_default()
    }

    /// The part of the window before that a sliding one still counts, as if it had been spent evenly.
    fn carried(&self, key: u128, now: u64) -> u64 {
        let moment = self.rules.at(Timestamp::from_nanos(now));
        let before = moment.number().checked_sub(1).filter(|_| self.sliding);
        let before = before.and_then(|number| self.counts.get(&(key, number)));
        let rest = u128::from(before.copied().unwrap_or(0)) * moment.reset().as_nanos();
        // A window has 2^24 ticks at most, and ends up to one later than it does.
        let slack = self.period.as_nanos() >> 20;
        u64::try_from(rest.saturating_sub(slack) / self.period.as_nanos()).unwrap()
    }
}

impl Model for Windows {
    fn spent(&mut self, key: u128, now: u64, cost: u64) -> Result<(), String> {
        let limit = self.limit;
        let count = self.count(key, now);
        *count += cost;
        let count = *count + self.carried(key, now);
        if count > limit {
            Err(format!("{count} of {limit}"))
        } else {
            Ok(())
        }
    }

    fn refunded(&mut self, key: u128, _: u64, spent_at: u64, cost: u64) {
        let count = self.count(key, spent_at);
        *count = count.saturating_sub(cost);
    }

    fn changed(&mut self, now: u64, quota: Quota) {
        (self.limit, self.period) = (quota.amount(), quota.period());
        self.rules
            .change(Timestamp::from_nanos(now), quota)
            .unwrap();
    }
}

struct Everything {
    limit: usize,
    window: u64,
    /// The moments of each key, oldest first.
    moments: BTreeMap<u128, Vec<u64>>,
}

impl Everything {
    fn within(&mut self, key: u128, now: u64) -> &mut Vec<u64> {
        let window = self.window;
        let moments = self.moments.entry(key).or_default();
        moments.retain(|moment| now - *moment < window);
        moments
    }
}

impl Model for Everything {
    fn spent(&mut self, key: u128, now: u64, cost: u64) -> Result<(), String> {
        let limit = self.limit;
        let moments = self.within(key, now);
        moments.extend((0..cost).map(|_| now));
        let spent = moments.len();
        if spent > limit {
            Err(format!("{spent} of {limit}"))
        } else {
            Ok(())
        }
    }

    fn refunded(&mut self, key: u128, now: u64, spent_at: u64, cost: u64) {
        let moments = self.within(key, now);
        for _ in 0..cost {
            if let Some(at) = moments.iter().position(|moment| *moment == spent_at) {
                moments.remove(at);
            }
        }
    }

    fn changed(&mut self, now: u64, quota: Quota) {
        // What lies too far back now is forgotten, however long the next window is.
        let keys: Vec<_> = self.moments.keys().copied().collect();
        for key in keys {
            self.within(key, now);
        }
        self.limit = usize::try_from(quota.amount()).unwrap();
        self.window = u64::try_from(quota.period().as_nanos()).unwrap();
    }
}

fn layout(overflow: Overflow) -> Layout {
    Layout {
        capacity: 1,
        overflow,
    }
}

fn overflows() -> impl Strategy<Value = Overflow> {
    prop::sample::select(vec![Overflow::Share, Overflow::Refuse])
}

fn quota() -> Quota {
    Quota::per(3, Duration::from_nanos(PERIOD)).burst(5)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(250) })]

    #[test]
    fn a_bucket_is_never_fuller_for_having_been_evicted(overflow in overflows(), steps in steps()) {
        let rules = Gcra::meter(quota(), Duration::ZERO).unwrap();
        let mut model = Bucket {
            quota: quota(),
            since: 0,
            came: 0,
            levels: BTreeMap::new(),
            slack: TOKEN / 128,
        };
        play(Accounts::bucket(rules, layout(overflow)), &mut model, steps)?;
    }

    #[test]
    fn a_window_admits_no_more_for_having_been_evicted(
        sliding: bool, overflow in overflows(), steps in steps(),
    ) {
        let rules = || Window::new(quota(), sliding).unwrap();
        let mut model = Windows { rules: rules(), limit: 3, period: Duration::from_nanos(PERIOD), sliding, counts: BTreeMap::new(), numbers: BTreeMap::new() };
        play(Accounts::window(rules(), layout(overflow)), &mut model, steps)?;
    }

    #[test]
    fn a_log_forgets_nothing_for_having_been_evicted(overflow in overflows(), steps in steps()) {
        let rules = Log::new(quota()).unwrap();
        let mut model = Everything { limit: 3, window: PERIOD, moments: BTreeMap::new() };
        play(Accounts::log(rules, layout(overflow)), &mut model, steps)?;
    }
}
