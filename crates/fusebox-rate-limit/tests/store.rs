//! The memory store: what it promises under floods, contention and shortage of room.
#![cfg(not(fusebox_loom))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail by panicking too"
)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fusebox_core::{Timestamp, Value};
use fusebox_rate_limit::Quota;
use fusebox_rate_limit::engine::{gcra::Gcra, log::Log, window::Window};
use fusebox_rate_limit::store::{
    Accounts, Act, Decision, Key, Keys, Layout, MemoryStore, Overflow, Question, QuotaStore, Terms,
};

fn layout(capacity: usize, overflow: Overflow) -> Layout {
    Layout { capacity, overflow }
}

fn bucket(quota: Quota, layout: Layout) -> Accounts {
    Accounts::bucket(Gcra::meter(quota, Duration::ZERO).unwrap(), layout)
}

fn store(accounts: Accounts) -> MemoryStore {
    MemoryStore::new(vec![vec![accounts]]).unwrap()
}

fn question(nanos: u64, key: u128, act: Act) -> Question<'static> {
    Question {
        now: Timestamp::from_nanos(nanos),
        tier: 0,
        terms: Terms::default(),
        keys: Keys::One(Key::from_bits(key)),
        cost: 1,
        act,
        detail: false,
    }
}

fn passes(store: &MemoryStore, nanos: u64, key: u128) -> bool {
    let verdict = store.decide(&question(nanos, key, Act::Spend));
    matches!(verdict.decision, Decision::Admitted { .. })
}

fn field(store: &MemoryStore, name: &str) -> u64 {
    let fields = store.fields(Timestamp::from_nanos(1));
    match fields.iter().find(|(field, _)| *field == name) {
        Some((_, Value::Count(n) | Value::Gauge(n))) => *n,
        other => panic!("{name}: {other:?}"),
    }
}

const SECOND: u64 = 1_000_000_000;
const DAY_LONG: u64 = 86_400 * SECOND;
const DAY: Quota = Quota::per_day(10).burst(10);

fn algorithms(quota: Quota, layout: Layout) -> [(&'static str, Accounts); 5] {
    let window = |sliding| Accounts::window(Window::new(quota, sliding).unwrap(), layout);
    [
        ("token bucket", bucket(quota, layout)),
        ("shaper", {
            let rules = Gcra::shaper(quota, quota.amount() - 1, Duration::from_secs(864_000));
            Accounts::bucket(rules.unwrap(), layout)
        }),
        ("fixed window", window(false)),
        ("sliding window", window(true)),
        (
            "sliding log",
            Accounts::log(Log::new(quota).unwrap(), layout),
        ),
    ]
}

#[test]
fn a_store_that_would_limit_nobody_or_not_by_all_is_none() {
    let roomy = || bucket(Quota::per_day(1), layout(16, Overflow::Refuse));
    let tier = |policies: usize| (0..policies).map(|_| roomy()).collect::<Vec<_>>();
    for tiers in [vec![], vec![tier(0)], vec![tier(1), tier(5)]] {
        let error = MemoryStore::new(tiers).unwrap_err();
        assert!(matches!(error.given, 0 | 5), "{error}");
    }
    assert!(MemoryStore::new(vec![tier(4)]).is_ok());
}

#[test]
fn every_algorithm_admits_a_keys_quota_and_no_more_while_the_clock_stands() {
    for (name, accounts) in algorithms(DAY, layout(100, Overflow::Refuse)) {
        let store = store(accounts);
        for key in 0..50 {
            let admitted = (0..30).filter(|_| passes(&store, SECOND, key)).count();
            assert_eq!(admitted, 10, "{name}");
        }
    }
}

#[test]
fn every_algorithm_peeks_without_spending_gives_back_and_penalises() {
    for (name, accounts) in algorithms(DAY, layout(100, Overflow::Share)) {
        let store = store(accounts);
        let ask = |act| {
            store.decide(&Question {
                detail: true,
                ..question(SECOND, 7, act)
            })
        };
        for _ in 0..20 {
            ask(Act::Peek);
        }
        assert!((0..10).all(|_| passes(&store, SECOND, 7)), "{name}");
        assert!(!passes(&store, SECOND, 7), "{name}");
        assert_eq!(ask(Act::Peek).violated, 1, "{name}");
        ask(Act::Refund {
            spent_at: Timestamp::from_nanos(SECOND),
        });
        // A turn is not given back: somebody else would start beside the next one.
        assert_eq!(passes(&store, SECOND, 7), name != "shaper", "{name}");
        assert!(!passes(&store, SECOND, 7), "{name}");
        // Another key, that is only penalised.
        for _ in 0..10 {
            let _ = store.decide(&question(SECOND, 8, Act::Penalise));
        }
        assert!(!passes(&store, SECOND, 8), "{name}");
    }
}

#[test]
fn all_policies_spend_or_none_does() {
    let roomy = layout(100, Overflow::Refuse);
    let store = MemoryStore::new(vec![vec![
        bucket(Quota::per_day(5).burst(5), roomy),
        Accounts::window(Window::new(Quota::per_day(3), false).unwrap(), roomy),
    ]])
    .unwrap();
    let ask = |act| {
        store.decide(&Question {
            detail: true,
            ..question(SECOND, 7, act)
        })
    };
    for _ in 0..3 {
        assert_eq!(ask(Act::Spend).violated, 0);
    }
    for _ in 0..9 {
        let refused = ask(Act::Spend);
        assert_eq!(refused.violated, 0b10);
        assert_eq!(
            refused.standings.unwrap()[0].remaining,
            2,
            "nothing was spent"
        );
    }
}

#[test]
fn who_will_not_wait_takes_no_turn() {
    let rules = Gcra::shaper(Quota::per_second(1), 8, Duration::from_secs(60)).unwrap();
    let roomy = layout(100, Overflow::Refuse);
    let policies = |shaper| {
        let day = bucket(DAY, roomy);
        let shaper = Accounts::bucket(shaper, roomy);
        MemoryStore::new(vec![vec![shaper, day]]).unwrap()
    };
    let store = policies(rules);
    let ask = |act| store.decide(&question(SECOND, 7, act)).decision;
    let wait = |secs| Decision::Admitted {
        wait: Duration::from_secs(secs),
    };
    assert_eq!(ask(Act::SpendNow), wait(0));
    for _ in 0..20 {
        let retry_after = Some(Duration::from_secs(1));
        assert_eq!(ask(Act::SpendNow), Decision::Refused { retry_after });
    }
    assert_eq!(ask(Act::Spend), wait(1));
    assert_eq!(ask(Act::Spend), wait(2));
    // Of ten in a day, three are spent.
    let day = Question {
        keys: Keys::Each(&[Key::UNCOUNTED, Key::from_bits(7)]),
        ..question(SECOND, 0, Act::Spend)
    };
    let left = (0..20).filter(|_| store.decide(&day).violated == 0).count();
    assert_eq!(left, 7);
}

#[test]
fn policies_under_different_keys_are_all_or_nothing_too() {
    let roomy = layout(100, Overflow::Refuse);
    let store = MemoryStore::new(vec![vec![
        bucket(Quota::per_day(5).burst(5), roomy),
        bucket(Quota::per_day(8).burst(8), roomy),
    ]])
    .unwrap();
    let ask = |client| {
        let keys = [Key::from_bits(client), Key::SHARED];
        store.decide(&Question {
            keys: Keys::Each(&keys),
            ..question(SECOND, 0, Act::Spend)
        })
    };
    let admitted = |client| (0..9).filter(|_| ask(client).violated == 0).count();
    assert_eq!(admitted(1), 5);
    assert_eq!(admitted(2), 3, "what all share is spent");
    assert_eq!(ask(3).violated, 0b10);
}

/// Three threads spend all that each of many keys has. Where they meet at its end, one of them has spent in the last policy
/// already when it finds that another was faster in the first, and gives that back.
fn spent_together(name: &str, tight: Accounts, wide: Accounts) {
    const KEYS: u128 = 200;
    let store = MemoryStore::new(vec![vec![tight, wide]]).unwrap();
    let admitted: Vec<AtomicU64> = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for (key, count) in admitted.iter().enumerate() {
                    while passes(&store, SECOND, key as u128) {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    for (key, count) in admitted.iter().enumerate() {
        let key = Key::from_bits(key as u128);
        let left = |keys| {
            let ask = Question {
                keys: Keys::Each(keys),
                ..question(SECOND, 0, Act::Spend)
            };
            (0..20).filter(|_| store.decide(&ask).violated == 0).count()
        };
        // Each policy by itself.
        let left = (left(&[key, Key::UNCOUNTED]), left(&[Key::UNCOUNTED, key]));
        let admitted = count.load(Ordering::Relaxed);
        assert_eq!((admitted, left), (10, (0, 4)), "{name}, {key:?}");
    }
}

#[test]
fn threads_together_get_what_one_would_get_and_nothing_more_is_spent() {
    let roomy = layout(1_000, Overflow::Share);
    let (ten, fourteen) = (DAY, Quota::per_day(14).burst(14));
    for (name, wide) in algorithms(fourteen, roomy) {
        spent_together(name, bucket(ten, roomy), wide);
    }
    for (name, tight) in algorithms(ten, roomy) {
        spent_together(name, tight, bucket(fourteen, roomy));
    }
}

#[test]
fn a_new_quota_keeps_what_was_spent() {
    let store = store(bucket(
        Quota::per_second(10).burst(10),
        layout(10, Overflow::Share),
    ));
    assert!((0..8).all(|_| passes(&store, SECOND, 7)));
    let now = Timestamp::from_nanos(SECOND);
    // Fewer: 8 are spent already.
    store
        .change(now, 0, 0, Quota::per_second(1).burst(9))
        .unwrap();
    assert!(passes(&store, SECOND, 7));
    assert!(!passes(&store, SECOND, 7));
    // From here on one per second, not ten.
    assert!(!passes(&store, SECOND + 900_000_000, 7));
    assert!(passes(&store, 2 * SECOND + 10_000_000, 7));
    assert!(store.change(now, 0, 0, Quota::per_second(0)).is_err());
    assert!(store.change(now, 0, 9, DAY).is_err());
}

#[test]
fn a_log_keeps_what_was_spent_whatever_its_quota_becomes() {
    let five = Quota::per_minute(5);
    let roomy = layout(100, Overflow::Refuse);
    let store = store(Accounts::log(Log::new(five).unwrap(), roomy));
    let at = |secs| secs * SECOND;
    let change = |secs, quota| {
        let now = Timestamp::from_nanos(at(secs));
        store.change(now, 0, 0, quota)
    };
    let spend = |secs| (0..99).filter(|_| passes(&store, at(secs), 7)).count();
    let bytes = field(&store, "bytes");
    assert_eq!(spend(100), 5);
    // Of eight, five are spent; and there is memory for eight now.
    change(101, Quota::per_minute(8)).unwrap();
    assert_eq!(spend(102), 3);
    assert!(field(&store, "bytes") > bytes);
    // Of two, eight: six more than there are must be gone before there is room for one.
    change(103, Quota::per_minute(2)).unwrap();
    assert_eq!((spend(159), spend(161), spend(162)), (0, 0, 2));
    // A shorter window is over earlier, a longer one later.
    change(163, Quota::per(2, Duration::from_secs(10))).unwrap();
    assert_eq!((spend(171), spend(172)), (0, 2));
    change(173, Quota::per(2, Duration::from_secs(100))).unwrap();
    assert_eq!((spend(271), spend(272)), (0, 2));
    assert!(change(273, Quota::per_minute(65)).is_err());
}

#[test]
fn without_room_a_new_key_is_refused_or_shares_and_an_old_one_keeps_its_debt() {
    // Two lines of eight words.
    for overflow in [Overflow::Refuse, Overflow::Share] {
        let store = store(bucket(DAY, layout(1, overflow)));
        let spent: Vec<u128> = (0..16).collect();
        for key in &spent {
            while passes(&store, SECOND, *key) {}
        }
        let before = field(&store, "overflowed");
        let admitted: usize = (100..200)
            .map(|key| (0..20).filter(|_| passes(&store, SECOND, key)).count())
            .sum();
        match overflow {
            Overflow::Refuse => assert_eq!(admitted, 0),
            // No more than the shares have, all together.
            Overflow::Share => assert!((1..=640).contains(&admitted), "{admitted}"),
        }
        assert!(field(&store, "overflowed") > before);
        assert!(
            spent.iter().all(|key| !passes(&store, SECOND, *key)),
            "{overflow:?}"
        );
        // When the words are full quotas again there is room for others.
        let days = 20 * 86_400 * SECOND;
        assert!(
            (300..310).all(|key| passes(&store, days, key)),
            "{overflow:?}"
        );
        assert!(field(&store, "evicted") > 0);
    }
}

#[test]
fn a_key_that_shared_takes_what_was_spent_along() {
    let store = store(bucket(DAY, layout(1, Overflow::Share)));
    for key in 0..16 {
        assert!(passes(&store, SECOND, key));
    }
    // No room: it spends all of its share.
    let late = 1_000;
    while passes(&store, SECOND, late) {}
    // The sixteen have paid back their one by now; of the ten, few have come back.
    let later = SECOND + 3 * 8_640 * SECOND;
    let admitted = (0..20).filter(|_| passes(&store, later, late)).count();
    assert!(
        (2..=3).contains(&admitted),
        "{admitted}, which is more than came back"
    );
}

#[test]
fn what_others_spend_in_a_new_window_does_not_make_those_who_share_forget_the_one_before() {
    let quota = Quota::per(1_000, Duration::from_secs(1));
    let window = Window::new(quota, true).unwrap();
    let store = store(Accounts::window(window, layout(1, Overflow::Share)));
    // All sixteen words, in both windows: the one before counts too.
    for filler in 0..16 {
        assert!(passes(&store, SECOND - 2, filler));
    }
    assert_eq!(field(&store, "overflowed"), 0);
    let spender = 1_000_000;
    let spent = (0..2_000).filter(|_| passes(&store, SECOND - 1, spender));
    assert_eq!(spent.count(), 1_000);
    // So many that there is one of them in each of the shares.
    for other in 1_000..3_000 {
        let _ = passes(&store, SECOND, other);
    }
    assert!(!passes(&store, SECOND, spender));
    let half = (0..2_000).filter(|_| passes(&store, SECOND + SECOND / 2, spender));
    assert!(half.count() <= 500);
}

#[test]
fn what_time_has_given_back_is_not_given_back_again_to_those_who_share() {
    let store = store(bucket(DAY, layout(1, Overflow::Share)));
    let left = |nanos, key| {
        let ask = question(nanos, key, Act::Peek);
        let verdict = store.decide(&Question {
            detail: true,
            ..ask
        });
        verdict.standings.unwrap()[0].remaining
    };
    let late = 1_000;
    assert!(passes(&store, SECOND, late));
    let week = 7 * 86_400 * SECOND;
    for key in 0..16 {
        while passes(&store, week, key) {}
    }
    // Its place is gone. Somebody else is in its position.
    let full = left(week, late);
    let other = (2_000..3_000).find(|key| passes(&store, week, *key) && left(week, late) < full);
    let other = other.unwrap();
    while passes(&store, week, other) {}
    let refund = |spent_at| {
        let spent_at = Timestamp::from_nanos(spent_at);
        let _ = store.decide(&question(week, late, Act::Refund { spent_at }));
    };
    // What it spent a week ago has come back a week ago.
    refund(SECOND);
    assert!(!passes(&store, week, other));
    // What it spends among those who share, it can give back.
    let soon = week + 8_700 * SECOND;
    assert!(passes(&store, soon, late));
    assert!(!passes(&store, soon, late));
    let spent_at = Timestamp::from_nanos(soon);
    let _ = store.decide(&question(soon, late, Act::Refund { spent_at }));
    assert!(passes(&store, soon, late));
}

/// Floods a store of 100,000 keys with `keys` others, a spent client among them.
fn flood(keys: u64) {
    let store = store(bucket(DAY, layout(100_000, Overflow::Share)));
    let bytes = field(&store, "bytes");
    let victims: Vec<u128> = (0..100).map(|n| 1 << 100 | n).collect();
    for victim in &victims {
        while passes(&store, SECOND, *victim) {}
    }
    for key in 0..keys {
        // A microsecond each: a flood is over long before a day's quota has come back.
        passes(&store, SECOND + key * 1_000, u128::from(key));
    }
    let after = SECOND + keys * 1_000;
    for victim in &victims {
        assert!(
            !passes(&store, after, *victim),
            "the flood has paid for a client"
        );
    }
    assert_eq!(field(&store, "bytes"), bytes, "memory stays at its cap");
    assert!(field(&store, "overflowed") > 0, "the flood was not one");
}

#[test]
fn a_flood_of_keys_neither_grows_the_store_nor_pays_for_a_client() {
    flood(400_000);
}

/// Bytes of memory that this process uses; none where nobody says.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1_024
}

/// `cargo xtask flood`
#[test]
#[ignore = "a hundred million keys: half a minute in release, many minutes without"]
fn a_flood_of_a_hundred_million_keys_does_neither() {
    let before = resident();
    flood(100_000_000);
    // A byte that each key leaves behind would be a hundred million.
    let grown = resident().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes");
}

#[test]
fn as_many_active_keys_as_the_capacity_says_find_room() {
    const KEYS: u64 = 100_000;
    for (name, accounts) in algorithms(DAY, layout(100_000, Overflow::Refuse)) {
        let store = store(accounts);
        let ask = |nanos, key| passes(&store, nanos, u128::from(key));
        // Each in two windows in a row, which is when a sliding window needs room for both.
        let (first, second) = (DAY_LONG - SECOND, DAY_LONG + SECOND);
        let placed = (0..KEYS).filter(|key| ask(first, *key)).count() as u64;
        let again = (0..KEYS).filter(|key| ask(second, *key)).count() as u64;
        // One in a hundred thousand finds no place in the worst case, which is the log's. Six of them do once in ten thousand
        // runs.
        assert!(
            placed >= KEYS - 5 && again >= KEYS - 5,
            "{name}: {placed}, {again}"
        );
        let bytes = field(&store, "bytes");
        match name {
            "sliding log" => assert!(bytes <= KEYS * (3 * 8 * 10 + 120), "{name}: {bytes}"),
            _ => assert!(bytes <= KEYS * 24 + 128, "{name}: {bytes}"),
        }
    }
}

#[test]
fn the_active_keys_are_estimated_from_a_sample() {
    let store = store(bucket(DAY, layout(200_000, Overflow::Share)));
    for key in 0..200_000 {
        assert!(passes(&store, SECOND, key), "{key}");
    }
    let active = field(&store, "keys");
    assert!((190_000..210_000).contains(&active), "{active}");
}
