//! Every order of the accesses of a few threads to one line of the table, within a bound on preemptions.
#![cfg(fusebox_loom)]
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
use fusebox_rate_limit::store::{
    Accounts, Act, Decision, Key, Keys, Layout, MemoryStore, Overflow, Question, Terms,
};
use loom::{sync::Arc, thread};

const HOUR: u64 = 3_600_000_000_000;

/// Four words in two lines, all of them home to every key.
fn store(burst: u64, overflow: Overflow) -> Arc<MemoryStore> {
    let quota = Quota::per_hour(1).burst(burst);
    let rules = Gcra::meter(quota, Duration::ZERO).unwrap();
    let layout = Layout {
        capacity: 1,
        overflow,
    };
    Arc::new(MemoryStore::new(vec![vec![Accounts::bucket(rules, layout)]]).unwrap())
}

fn ask(store: &MemoryStore, now: u64, key: u128, act: Act) -> bool {
    let verdict = store.decide(&Question {
        now: Timestamp::from_nanos(now),
        tier: 0,
        terms: Terms::default(),
        keys: Keys::One(Key::from_bits(key)),
        cost: 1,
        act,
        detail: false,
    });
    matches!(verdict.decision, Decision::Admitted { .. })
}

fn model(preemptions: usize, body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(body);
}

/// Two threads see a key for the first time: it gets one word, and one quota.
#[test]
fn a_new_key_is_inserted_once() {
    model(3, || {
        let store = store(1, Overflow::Refuse);
        let other = {
            let store = store.clone();
            thread::spawn(move || ask(&store, HOUR, 7, Act::Spend))
        };
        let mine = ask(&store, HOUR, 7, Act::Spend);
        let theirs = other.join().unwrap();
        assert!(mine ^ theirs, "one is admitted, and one only");
        assert!(!ask(&store, HOUR, 7, Act::Spend));
    });
}

/// As above, but what is free is not the same to both: to the later one the older words are full quotas.
#[test]
fn a_new_key_is_inserted_once_where_two_clocks_disagree_on_what_is_free() {
    model(2, || {
        let store = store(2, Overflow::Refuse);
        for key in [1, 2, 3] {
            assert!(ask(&store, 0, key, Act::Spend));
        }
        let late = HOUR + HOUR / 100;
        let other = {
            let store = store.clone();
            thread::spawn(move || {
                u32::from(ask(&store, late, 7, Act::Spend))
                    + u32::from(ask(&store, late, 7, Act::Spend))
            })
        };
        // An instant before the words of the first three are full quotas.
        let early = HOUR - HOUR / 100;
        let mine = u32::from(ask(&store, early, 7, Act::Spend))
            + u32::from(ask(&store, early, 7, Act::Spend));
        let theirs = other.join().unwrap();
        assert_eq!(mine + theirs, 2, "one burst, whoever got it");
        assert!(!ask(&store, late, 7, Act::Spend));
    });
}

/// A key's word is evicted at the very moment it spends again: it spends from its full quota, once.
#[test]
fn spending_and_eviction_of_one_word_exclude_each_other() {
    model(2, || {
        let store = store(1, Overflow::Share);
        for key in [1, 2, 3, 4] {
            assert!(ask(&store, 0, key, Act::Spend));
        }
        let late = 3 * HOUR;
        let other = {
            let store = store.clone();
            thread::spawn(move || ask(&store, late, 9, Act::Spend))
        };
        assert!(ask(&store, late, 1, Act::Spend), "it has its quota again");
        assert!(other.join().unwrap(), "there is room for a fifth");
        assert!(!ask(&store, late, 1, Act::Spend));
        assert!(!ask(&store, late, 9, Act::Spend));
    });
}

/// No room but in the share, and then there is: a key that spends in both at once has one quota.
#[test]
fn a_key_that_shares_while_a_place_comes_free_spends_once() {
    model(2, || {
        let store = store(1, Overflow::Share);
        for key in [1, 2, 3, 4] {
            assert!(ask(&store, 0, key, Act::Spend));
        }
        let late = HOUR + HOUR / 100;
        let other = {
            let store = store.clone();
            thread::spawn(move || ask(&store, late, 7, Act::Spend))
        };
        let mine = ask(&store, HOUR - HOUR / 100, 7, Act::Spend);
        let theirs = other.join().unwrap();
        assert!(
            u32::from(mine) + u32::from(theirs) <= 1,
            "at most one quota"
        );
    });
}

/// Spending, giving back and asking at once end where they would end one after the other.
#[test]
fn refunds_and_spending_do_not_lose_each_other() {
    model(2, || {
        let store = store(2, Overflow::Refuse);
        assert!(ask(&store, HOUR, 7, Act::Spend));
        let other = {
            let store = store.clone();
            let spent_at = Timestamp::from_nanos(HOUR);
            thread::spawn(move || ask(&store, HOUR, 7, Act::Refund { spent_at }))
        };
        assert!(ask(&store, HOUR, 7, Act::Spend));
        other.join().unwrap();
        assert!(ask(&store, HOUR, 7, Act::Spend));
        assert!(!ask(&store, HOUR, 7, Act::Spend));
    });
}

/// Policies under keys of their own, the first of which has less.
fn two_policies(first: u64, last: u64) -> Arc<MemoryStore> {
    let accounts = |burst| {
        let rules = Gcra::meter(Quota::per_hour(1).burst(burst), Duration::ZERO).unwrap();
        let layout = Layout {
            capacity: 1,
            overflow: Overflow::Refuse,
        };
        Accounts::bucket(rules, layout)
    };
    Arc::new(MemoryStore::new(vec![vec![accounts(first), accounts(last)]]).unwrap())
}

fn ask_both(store: &MemoryStore, client: u128, act: Act) -> (bool, [u64; 2]) {
    let keys = [Key::from_bits(client), Key::SHARED];
    let verdict = store.decide(&Question {
        now: Timestamp::from_nanos(HOUR),
        tier: 0,
        terms: Terms::default(),
        keys: Keys::Each(&keys),
        cost: 1,
        act,
        detail: act == Act::Peek,
    });
    let left = verdict.standings.map_or([0; 2], |standings| {
        [standings[0].remaining, standings[1].remaining]
    });
    let passes = matches!(verdict.decision, Decision::Admitted { .. });
    (passes, left)
}

/// Both find room in both policies, one is too late in the first: it gives back what it has spent in the last.
#[test]
fn who_is_too_late_for_one_policy_has_spent_nothing_in_the_other() {
    model(3, || {
        let store = two_policies(2, 3);
        assert!(ask_both(&store, 7, Act::Spend).0);
        let other = {
            let store = store.clone();
            thread::spawn(move || ask_both(&store, 7, Act::Spend).0)
        };
        let mine = ask_both(&store, 7, Act::Spend).0;
        let theirs = other.join().unwrap();
        assert!(mine ^ theirs, "one is admitted, and one only");
        assert_eq!(ask_both(&store, 7, Act::Peek).1, [0, 1]);
    });
}

/// What one client gives back meets what another spends in the policy that both share.
#[test]
fn giving_back_and_spending_in_a_shared_policy_do_not_lose_each_other() {
    model(2, || {
        let store = two_policies(2, 5);
        assert!(ask_both(&store, 7, Act::Spend).0);
        assert!(ask_both(&store, 8, Act::Spend).0);
        let [same, another] = [7, 8].map(|client| {
            let store = store.clone();
            thread::spawn(move || ask_both(&store, client, Act::Spend).0)
        });
        let mine = ask_both(&store, 7, Act::Spend).0;
        let theirs = same.join().unwrap();
        assert!(mine ^ theirs, "one is admitted, and one only");
        assert!(
            another.join().unwrap(),
            "there was room for it all the time"
        );
        assert_eq!(ask_both(&store, 7, Act::Peek).1, [0, 1]);
        assert_eq!(ask_both(&store, 8, Act::Peek).1, [0, 1]);
    });
}
