//! The table of who is in, against a naive model and under attack.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test reports by panicking"
)]

use std::{collections::HashMap, net::Ipv4Addr, time::Duration};

use fusebox_blackhole::engine::{Cause, Cells, Inmate, Key, Never, Rules, Struck, Terms, Width};
use fusebox_core::Timestamp;
use proptest::prelude::*;

fn key(text: &str) -> Key {
    Key::of_address(text.parse().unwrap()).unwrap()
}

fn v4(number: u32) -> Key {
    // Above 0.0.0.0/8 and 127.0.0.0/8, below multicast.
    Key::of_address(Ipv4Addr::from_bits(0x8000_0000 + number).into()).unwrap()
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::ZERO + Duration::from_secs(seconds)
}

fn rules() -> Rules {
    Rules {
        terms: Terms::default().jitter_percent(0),
        never: Never::default(),
    }
}

fn strike(cells: &Cells, key: Key, now: u64) -> Struck {
    cells.strike(key, Cause::RateLimit, &rules(), at(now), 0)
}

fn jail(cells: &Cells, key: Key, now: u64, until: u64) -> Option<Inmate> {
    cells.jail(key, Cause::Operator, at(until), &rules(), at(now))
}

#[test]
fn the_fifth_strike_leads_in_and_the_end_of_the_sentence_out() {
    let cells = Cells::new(1_000, 1);
    let client = key("192.0.2.1");
    for strikes in 1..5 {
        assert_eq!(strike(&cells, client, 1_000), Struck::Counted { strikes });
        assert_eq!(cells.check(client, at(1_000)), None);
    }
    let Struck::Jailed { inmate, around } = strike(&cells, client, 1_000) else {
        panic!("five strikes lead in")
    };
    assert_eq!(around, [None, None]);
    assert_eq!(
        (inmate.since, inmate.until, inmate.cause, inmate.sentences),
        (at(1_000), at(1_600), Cause::RateLimit, 1)
    );
    assert_eq!(cells.check(client, at(1_599)), Some(inmate));
    assert_eq!(strike(&cells, client, 1_599), Struck::AlreadyIn);
    assert_eq!(cells.check(client, at(1_600)), None);
    assert_eq!(cells.check(key("192.0.2.2"), at(1_000)), None);
}

#[test]
fn a_sentence_never_ends_early() {
    let cells = Cells::new(1_000, 1);
    let now = at(1_000) + Duration::from_millis(900);
    let rules = Rules {
        terms: Terms::default().max_strikes(1).jitter_percent(0),
        ..rules()
    };
    cells.strike(v4(1), Cause::Trap, &rules, now, 0);
    assert!(
        cells
            .check(v4(1), now + Duration::from_millis(599_999))
            .is_some()
    );
    assert!(cells.check(v4(1), now + Duration::from_secs(601)).is_none());
}

#[test]
fn loopback_proxies_and_listed_networks_cannot_be_jailed() {
    let cells = Cells::new(1_000, 1);
    let never = Never::new([
        "198.51.100.0/24".parse().unwrap(),
        "2001:db8::5".parse().unwrap(),
    ]);
    let rules = Rules { never, ..rules() };
    for text in ["198.51.100.7", "2001:db8::6"] {
        for _ in 0..20 {
            assert_eq!(
                cells.strike(key(text), Cause::Waf, &rules, at(1), 0),
                Struck::Never,
                "{text}"
            );
        }
        assert_eq!(
            cells.jail(key(text), Cause::Operator, at(99), &rules, at(1)),
            None
        );
        assert_eq!(cells.check(key(text), at(1)), None);
    }
    assert_eq!(Key::of_address("127.0.0.1".parse().unwrap()), None);
    assert_eq!(Key::of_address("::1".parse().unwrap()), None);
}

#[test]
fn an_operators_sentence_is_lengthened_and_never_shortened() {
    let cells = Cells::new(1_000, 1);
    assert_eq!(jail(&cells, v4(1), 10, 500).unwrap().until, at(500));
    assert_eq!(jail(&cells, v4(1), 20, 100).unwrap().until, at(500));
    assert_eq!(jail(&cells, v4(1), 30, 900).unwrap().until, at(900));
    assert_eq!(cells.release(v4(1), at(40)).unwrap().until, at(900));
    assert_eq!(cells.check(v4(1), at(40)), None);
    assert_eq!(cells.release(v4(1), at(40)), None);
}

#[test]
fn a_ban_does_not_bring_back_relapses_that_were_forgiven() {
    const DAY: u64 = 86_400;
    let cells = Cells::new(1_000, 1);
    let rules = Rules {
        terms: Terms::default().max_strikes(1).jitter_percent(0),
        ..rules()
    };
    let strike = |now| match cells.strike(v4(1), Cause::Waf, &rules, at(now), 0) {
        Struck::Jailed { inmate, .. } => inmate,
        other => panic!("{other:?}"),
    };
    let third = [10, 10_000, 20_000].map(strike)[2];
    assert_eq!(third.sentences, 3);
    // Two days of good behaviour, then an operator's minute.
    let ban = 20_000 + 2_400 + 2 * DAY;
    assert_eq!(jail(&cells, v4(1), ban, ban + 60).unwrap().sentences, 1);
    let next = strike(ban + 60);
    assert_eq!((next.sentences, next.until), (2, at(ban + 60 + 1_200)));
}

#[test]
fn neighbours_take_their_56_and_48_in_with_them() {
    let cells = Cells::new(1_000, 1);
    let rules = Rules {
        terms: Terms::default()
            .max_strikes(1)
            .neighbours_in_56(Some(3))
            .neighbours_in_48(Some(5)),
        never: Never::default(),
    };
    let strike = |text: &str| match cells.strike(key(text), Cause::Waf, &rules, at(100), 0) {
        Struck::Jailed { around, .. } => {
            around.map(|inmate| inmate.map(|inmate| inmate.key.width()))
        }
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(strike("2001:db8:0:100::1"), [None, None]);
    assert_eq!(strike("2001:db8:0:101::1"), [None, None]);
    assert_eq!(cells.check(key("2001:db8:0:1ff::1"), at(100)), None);
    assert_eq!(strike("2001:db8:0:102::1"), [Some(Width::Net56), None]);
    let inside = cells.check(key("2001:db8:0:1ff::1"), at(100)).unwrap();
    assert_eq!(
        (inside.cause, inside.key.width()),
        (Cause::Neighbours, Width::Net56)
    );
    assert_eq!(cells.check(key("2001:db8:0:200::1"), at(100)), None);
    assert_eq!(strike("2001:db8:0:200::1"), [None, None]);
    assert_eq!(strike("2001:db8:0:300::1"), [None, Some(Width::Net48)]);
    assert!(cells.check(key("2001:db8:0:ffff::1"), at(100)).is_some());
    assert_eq!(
        cells.check(key("2001:db8:1::1"), at(100)),
        None,
        "another /48"
    );
    // The network's sentence ends by itself.
    assert_eq!(cells.check(key("2001:db8:0:ffff::1"), at(100 + 700)), None);
}

/// Four strikes from each /64, then the next one: none of them ever goes in.
#[test]
fn an_attacker_that_changes_its_64_before_each_last_strike_goes_in_with_its_network() {
    let cells = Cells::new(1_000, 1);
    let strike_four_times = |subnet: u32, now| {
        let client = key(&format!("2001:db8:0:{subnet:x}::1"));
        (0..4).find_map(|_| match strike(&cells, client, now) {
            Struck::Jailed { inmate, around } => Some((inmate.key.width(), inmate.cause, around)),
            _ => None,
        })
    };
    // Within one /56, 40 strikes.
    let led_in: Vec<_> = (0..10)
        .map(|subnet| strike_four_times(subnet, 1_000))
        .collect();
    assert!(led_in[..9].iter().all(Option::is_none));
    assert_eq!(
        led_in[9],
        Some((Width::Net56, Cause::Neighbours, [None, None]))
    );
    assert!(cells.check(key("2001:db8:0:ff::1"), at(1_000)).is_some());
    assert_eq!(cells.check(key("2001:db8:0:100::1"), at(1_000)), None);
    // A new /56 each time: 120 in the /48, with the 40 from before.
    let led_in: Vec<_> = (1..=20)
        .map(|subnet| strike_four_times(subnet << 8, 1_010))
        .collect();
    assert!(led_in[..19].iter().all(Option::is_none));
    assert_eq!(
        led_in[19],
        Some((Width::Net48, Cause::Neighbours, [None, None]))
    );
    assert!(cells.check(key("2001:db8:0:ffff::1"), at(1_010)).is_some());
    assert_eq!(cells.check(key("2001:db8:1::1"), at(1_010)), None);
}

#[test]
fn the_strikes_of_a_network_are_forgotten_and_may_be_left_uncounted() {
    let cells = Cells::new(1_000, 1);
    for round in 0..40_u32 {
        let client = key(&format!("2001:db8:0:{round:x}::1"));
        for _ in 0..4 {
            // 16 in 900 seconds, which is more than a third beyond the find time.
            let struck = strike(&cells, client, 1_000 + 225 * u64::from(round));
            assert!(matches!(struck, Struck::Counted { .. }), "{struck:?}");
        }
    }
    let rules = Rules {
        terms: Terms::default().spread_strikes(None),
        never: Never::default(),
    };
    let cells = Cells::new(1_000, 1);
    for subnet in 0..100_u32 {
        let client = key(&format!("2001:db8:0:{subnet:x}::1"));
        for _ in 0..4 {
            let struck = cells.strike(client, Cause::Waf, &rules, at(1_000), 0);
            assert!(matches!(struck, Struck::Counted { .. }), "{struck:?}");
        }
    }
}

#[test]
fn neighbours_that_are_out_again_do_not_count() {
    let cells = Cells::new(1_000, 1);
    for subnet in 0..40_u32 {
        let client = key(&format!("2001:db8:0:{subnet:x}::1"));
        let now = 1_000 + 700 * u64::from(subnet);
        for _ in 0..5 {
            let struck = strike(&cells, client, now);
            assert!(!matches!(struck, Struck::Jailed { around, .. } if around != [None, None]));
        }
        assert!(cells.check(client, at(now)).is_some());
    }
}

#[test]
fn a_network_with_a_never_listed_neighbour_stays_out() {
    let cells = Cells::new(1_000, 1);
    let rules = Rules {
        terms: Terms::default()
            .max_strikes(1)
            .neighbours_in_56(Some(2))
            .neighbours_in_48(Some(2)),
        never: Never::new(["2001:db8:0:1ff::7".parse().unwrap()]),
    };
    for subnet in 0..20 {
        let client = key(&format!("2001:db8:0:1{subnet:02x}::1"));
        cells.strike(client, Cause::Waf, &rules, at(100), 0);
    }
    assert_eq!(cells.check(key("2001:db8:0:1ff::7"), at(100)), None);
    assert_eq!(cells.check(key("2001:db8:0:1fe::1"), at(100)), None);
}

#[test]
fn holds_what_it_was_asked_for() {
    const CLIENTS: u32 = 100_000;
    let cells = Cells::new(CLIENTS as usize, 42);
    for client in 0..CLIENTS {
        assert!(jail(&cells, v4(client), 1, 1_000).is_some());
    }
    let missing = (0..CLIENTS)
        .filter(|client| cells.check(v4(*client), at(2)).is_none())
        .count();
    assert!(
        missing * 1_000 <= CLIENTS as usize,
        "{missing} of {CLIENTS} had to make way"
    );
    let mut shown = 0;
    cells.for_each(at(2), |_| shown += 1);
    assert_eq!(shown, CLIENTS as usize - missing);
    assert!(
        cells.memory() <= 48 * CLIENTS as usize,
        "{}",
        cells.memory()
    );
}

#[test]
fn ten_million_attempts_from_distinct_addresses_stay_within_the_cap_and_free_nobody() {
    let cells = Cells::new(1_000, 42);
    let (capacity, memory) = (cells.capacity(), cells.memory());
    let prisoners: Vec<_> = (0..500).map(v4).collect();
    for prisoner in &prisoners {
        assert!(jail(&cells, *prisoner, 1, 100_000).is_some());
    }
    let rules = rules();
    for attempt in 0..10_000_000_u32 {
        let now = at(10 + u64::from(attempt) / 100_000);
        cells.strike(
            v4(1_000_000 + attempt),
            Cause::RateLimit,
            &rules,
            now,
            attempt,
        );
    }
    assert_eq!((cells.capacity(), cells.memory()), (capacity, memory));
    for prisoner in prisoners {
        assert!(
            cells.check(prisoner, at(200)).is_some(),
            "strikes push out no sentence"
        );
    }
}

#[test]
fn an_attacker_with_a_48_fills_no_more_than_one_block() {
    let cells = Cells::new(10_000, 42);
    let prisoners: Vec<_> = (0..5_000).map(v4).collect();
    for prisoner in &prisoners {
        jail(&cells, *prisoner, 1, 1_000);
    }
    for subnet in 0..=0xffff_u32 {
        let client = key(&format!("2001:db8:0:{subnet:x}::1"));
        jail(&cells, client, 1, 100_000);
    }
    let freed = prisoners
        .iter()
        .filter(|key| cells.check(**key, at(2)).is_none())
        .count();
    assert!(freed <= 256, "{freed}");
}

#[test]
fn longer_sentences_stay_when_there_is_no_room_for_all() {
    let cells = Cells::new(1, 42);
    for client in 0..10_000_u32 {
        assert!(jail(&cells, v4(client), 1, 1_000 + u64::from(client)).is_some());
    }
    assert!(cells.check(v4(9_999), at(2)).is_some());
    let mut ends = Vec::new();
    cells.for_each(at(2), |inmate| ends.push(inmate.until));
    assert!(ends.iter().all(|until| *until > at(9_000)), "{ends:?}");
    let freed = cells.crowded().freed;
    assert_eq!(freed as usize, 10_000 - ends.len());

    // Whoever comes next has a place, and whoever comes after that has the same one.
    for newcomer in 20_000..30_000_u32 {
        assert!(jail(&cells, v4(newcomer), 1, 5).is_some());
        assert!(cells.check(v4(newcomer), at(2)).is_some());
    }
    let mut long = 0;
    cells.for_each(at(2), |inmate| {
        long += usize::from(inmate.until > at(9_000));
    });
    // One cell of each bucket, and there are 32.
    assert!(ends.len() - long <= 32, "{} of {}", long, ends.len());
}

#[test]
fn whoever_is_new_is_judged_though_everybody_in_a_full_jail_is_in() {
    let cells = Cells::new(1, 42);
    for client in 0..10_000_u32 {
        jail(&cells, v4(client), 1, 100_000);
    }
    assert_eq!(cells.crowded().forgotten, 0);
    for newcomer in 20_000..20_100_u32 {
        for strikes in 1..5 {
            let struck = strike(&cells, v4(newcomer), 1_000);
            assert_eq!(struck, Struck::Counted { strikes });
        }
        let struck = strike(&cells, v4(newcomer), 1_000);
        assert!(matches!(struck, Struck::Jailed { .. }), "{struck:?}");
        assert!(cells.check(v4(newcomer), at(1_000)).is_some());
    }
    let inside = |now| {
        let mut long = 0;
        cells.for_each(at(now), |inmate| {
            long += usize::from(inmate.until > at(9_000));
        });
        long
    };
    let before = inside(1_000);
    assert!(before >= cells.capacity() - 32, "{before}");
    // A flood of new addresses finds the room that is there, and makes no more.
    let freed = cells.crowded().freed;
    for newcomer in 100_000..1_100_000_u32 {
        strike(&cells, v4(newcomer), 1_000);
    }
    assert!(
        inside(1_000) + 32 >= before,
        "{} of {before}",
        inside(1_000)
    );
    assert!(cells.crowded().freed - freed <= 64);
}

/// One thread writes, the other reads: an even end of a sentence goes with one cause, an odd end with another. They are in
/// two words of the cell.
#[test]
fn a_reader_never_sees_half_of_one_record_and_half_of_another() {
    const WRITES: u64 = 3_000_000;
    let cells = Cells::new(1, 7);
    let cause = |until: u64| {
        if until.is_multiple_of(2) {
            Cause::Operator
        } else {
            Cause::Shared
        }
    };
    let write = |until| cells.jail(v4(1), cause(until), at(until), &rules(), at(1));
    write(1_000).unwrap();
    std::thread::scope(|scope| {
        let writer = scope
            .spawn(|| (1_001..1_000 + WRITES).for_each(|until| assert!(write(until).is_some())));
        while !writer.is_finished() {
            let inmate = cells.check(v4(1), at(50)).expect("in at any time");
            assert_eq!(inmate.cause, cause(inmate.until.as_nanos() / 1_000_000_000));
        }
    });
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Strike(u32),
    Jail(u32, u64),
    Release(u32),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let client = || 0..12_u32;
    let step = prop_oneof![
        4 => client().prop_map(Step::Strike),
        1 => (client(), 0..2_000_u64).prop_map(|(client, time)| Step::Jail(client, time)),
        1 => client().prop_map(Step::Release),
        2 => (0..300_u64).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 0..200)
}

/// One client of the naive model: the time of each strike, and of each release.
#[derive(Clone, Debug, Default)]
struct Naive {
    strikes: Vec<u64>,
    until: u64,
    sentences: u64,
}

proptest! {
    /// Strikes are counted by parts of the find time; the model counts them so too, from the list of all of them.
    /// That the parts agree with exact times is tested with the record.
    #[test]
    fn agrees_with_a_map_of_lists(steps in steps(), seed in any::<u64>()) {
        let cells = Cells::new(1_000, seed);
        let part = |time: u64| time / 86;
        let mut model: HashMap<u32, Naive> = HashMap::new();
        let mut now = 10_000_u64;
        for step in steps {
            match step {
                Step::Wait(time) => now += time,
                Step::Release(client) => {
                    let was = cells.release(v4(client), at(now)).is_some();
                    let known = model.remove(&client);
                    prop_assert_eq!(was, known.is_some_and(|naive| naive.until > now));
                }
                Step::Jail(client, time) => {
                    jail(&cells, v4(client), now, now + time);
                    let naive = model.entry(client).or_default();
                    if naive.until < now + time {
                        naive.until = now + time;
                        naive.strikes.clear();
                    }
                }
                Step::Strike(client) => {
                    let struck = strike(&cells, v4(client), now);
                    let naive = model.entry(client).or_default();
                    if naive.until > now {
                        prop_assert_eq!(struck, Struck::AlreadyIn);
                        continue;
                    }
                    naive.strikes.push(now);
                    let counts = naive.strikes.iter().filter(|time| part(now) - part(**time) < 8).count();
                    if counts < 5 {
                        prop_assert_eq!(struck, Struck::Counted { strikes: counts.try_into().unwrap() });
                    } else {
                        let forgiven = (now - naive.until) / 86_400;
                        let relapses = naive.sentences.saturating_sub(forgiven);
                        naive.until = now + (600 << relapses).min(7 * 86_400);
                        naive.sentences = relapses + 1;
                        naive.strikes.clear();
                        let until = match struck {
                            Struck::Jailed { inmate, .. } => inmate.until,
                            other => return Err(TestCaseError::fail(format!("{other:?}"))),
                        };
                        prop_assert_eq!(until, at(naive.until));
                    }
                }
            }
            for client in 0..12 {
                let inside = model.get(&client).is_some_and(|naive| naive.until > now);
                prop_assert_eq!(cells.check(v4(client), at(now)).is_some(), inside);
            }
        }
    }
}
