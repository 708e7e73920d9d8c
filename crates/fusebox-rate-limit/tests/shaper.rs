//! A shaper's promise is its spacing: whatever is given back, changed, evicted or shared, no two calls of a key start closer
//! together than the rate says.
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
use fusebox_rate_limit::engine::gcra::Gcra;
use fusebox_rate_limit::store::{
    Accounts, Act, Decision, Key, Keys, Layout, MemoryStore, Overflow, Question, Terms,
};
use proptest::prelude::*;

/// More than the sixteen places of the smallest table.
const KEYS: u128 = 24;
const SECOND: u64 = 1_000_000_000;
const LONGEST: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug)]
enum Did {
    Spend {
        key: u128,
        cost: u64,
        waits: bool,
    },
    /// Gives back the n-th of what was admitted and not given back yet.
    Refund(prop::sample::Index),
    Penalise(u128, u64),
    /// So many per second from here on.
    Change(u64),
}

fn steps() -> impl Strategy<Value = Vec<(u64, Did)>> {
    let spend = (0..KEYS, 1..4_u64, prop::bool::weighted(0.8));
    let did = prop_oneof![
        16 => spend.prop_map(|(key, cost, waits)| Did::Spend { key, cost, waits }),
        6 => any::<prop::sample::Index>().prop_map(Did::Refund),
        1 => (0..KEYS, 1..9_u64).prop_map(|(key, cost)| Did::Penalise(key, cost)),
        1 => (1..9_u64).prop_map(Did::Change),
    ];
    // The clock stands still, creeps, or leaps.
    let pause = prop_oneof![12 => Just(0_u64), 4 => 1..SECOND, 1 => 1..40 * SECOND];
    prop::collection::vec((pause, did), 1..300)
}

/// A call that was given its turn: when it starts, and how long nobody may start after it.
#[derive(Clone, Copy, Debug)]
struct Turn {
    start: u64,
    gap: u64,
}

/// All turns of each key since the rate was last made faster: what was promised before that is another row of turns.
#[derive(Default)]
struct Turns(BTreeMap<u128, Vec<Turn>>);

impl Turns {
    /// The gaps between this turn and each before it, which are exact to within `slack` and do not add up.
    fn take(&mut self, key: u128, turn: Turn, slack: u64) -> Result<(), String> {
        let turns = self.0.entry(key).or_default();
        let mut gaps = 0;
        for before in turns.iter().rev() {
            gaps += before.gap;
            if turn.start + slack < before.start + gaps {
                return Err(format!("{turn:?} too soon after {before:?}"));
            }
        }
        turns.push(turn);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(250) })]

    #[test]
    fn no_two_calls_start_closer_together_than_the_rate_says(
        share: bool, mut rate in 1..9_u64, queue in 1..12_u64, steps in steps(),
    ) {
        let overflow = if share { Overflow::Share } else { Overflow::Refuse };
        let rules = Gcra::shaper(Quota::per_second(rate), queue, LONGEST).unwrap();
        let accounts = Accounts::bucket(rules, Layout { capacity: 1, overflow });
        let store = MemoryStore::new(vec![vec![accounts]]).unwrap();
        let mut turns = Turns::default();
        let mut admitted: Vec<(u128, u64, u64)> = Vec::new();
        let mut now = SECOND;
        // A tick is at most 1/256 of a token; the clock is rounded once more with each change.
        let mut ticks = 2;
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
                Did::Spend { key, cost, waits } => {
                    let act = if waits { Act::Spend } else { Act::SpendNow };
                    if let Decision::Admitted { wait } = ask(key, cost, act).decision {
                        prop_assert!(waits || wait.is_zero());
                        prop_assert!(wait <= LONGEST);
                        let start = now + u64::try_from(wait.as_nanos()).unwrap();
                        let turn = Turn { start, gap: cost * SECOND / rate };
                        let taken = turns.take(key, turn, ticks * SECOND / rate / 256 + ticks);
                        prop_assert!(taken.is_ok(), "{taken:?}");
                        admitted.push((key, now, cost));
                    }
                }
                Did::Refund(index) if !admitted.is_empty() => {
                    let (key, at, cost) = admitted.swap_remove(index.index(admitted.len()));
                    let spent_at = Timestamp::from_nanos(at);
                    let _ = ask(key, cost, Act::Refund { spent_at });
                }
                Did::Refund(_) => {}
                Did::Penalise(key, cost) => {
                    let _ = ask(key, cost, Act::Penalise);
                }
                Did::Change(next) => {
                    let quota = Quota::per_second(next);
                    if store.change(Timestamp::from_nanos(now), 0, 0, quota).is_ok() {
                        if next > rate {
                            turns = Turns::default();
                        }
                        rate = next;
                        ticks += 1;
                    }
                }
            }
        }
    }
}

#[test]
fn a_turn_that_was_given_back_is_nobody_elses() {
    let rules = Gcra::shaper(Quota::per_second(1), 8, LONGEST).unwrap();
    let overflow = Overflow::Refuse;
    let accounts = Accounts::bucket(
        rules,
        Layout {
            capacity: 1,
            overflow,
        },
    );
    let store = MemoryStore::new(vec![vec![accounts]]).unwrap();
    let ask = |act| {
        let verdict = store.decide(&Question {
            now: Timestamp::from_nanos(SECOND),
            tier: 0,
            terms: Terms::default(),
            keys: Keys::One(Key::SHARED),
            cost: 1,
            act,
            detail: false,
        });
        match verdict.decision {
            Decision::Admitted { wait } => wait.as_secs(),
            refused => panic!("{refused:?}"),
        }
    };
    let spent_at = Timestamp::from_nanos(SECOND);
    assert_eq!([ask(Act::Spend), ask(Act::Spend)], [0, 1]);
    ask(Act::Refund { spent_at });
    assert_eq!([ask(Act::Spend), ask(Act::Spend)], [2, 3]);
}
