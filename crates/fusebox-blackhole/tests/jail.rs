//! The handle: bans, feeds, the file, steering.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use fusebox_blackhole::{
    BlackholeConfig, Cause, FeedConfig, FeedFormat, FeedLimits, Jail, JailConfig, Reason, Struck,
    Terms,
};
use fusebox_core::{Change, Event, EventKind, Mode, Registration, Registry, Value};
use fusebox_http::identity::{IdentityConfig, PeerAddr};

const HOUR: Duration = Duration::from_secs(3_600);

fn config() -> JailConfig {
    JailConfig::new("test")
        .capacity(1_000)
        .registration(Registration::Unlisted)
}

fn jail() -> Jail {
    config().build().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A folder of the test's own, gone when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("fusebox-jail-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Writes a file whose time of modification is so many seconds ahead of the last one's.
fn write(path: &Path, content: &str, modified: SystemTime) {
    fs::write(path, content).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(modified).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_banned_address_is_held_until_its_time_is_up() {
    let jail = jail();
    let sentence = jail.ban(ip("192.0.2.7"), HOUR).unwrap();
    assert_eq!(sentence.remaining, Some(HOUR));
    assert!(jail.holds(ip("192.0.2.7")) && !jail.holds(ip("192.0.2.8")));
    tokio::time::advance(HOUR / 2).await;
    let sentence = jail.why(ip("192.0.2.7")).unwrap();
    assert_eq!(
        (sentence.since, sentence.remaining),
        (Some(HOUR / 2), Some(HOUR / 2))
    );
    assert_eq!(sentence.reason, Reason::Jailed(Cause::Operator));
    tokio::time::advance(HOUR / 2).await;
    assert_eq!(jail.why(ip("192.0.2.7")), None);
}

#[tokio::test(start_paused = true)]
async fn strikes_lead_in_and_relapses_last_longer() {
    let terms = Terms::default().max_strikes(3).jitter_percent(0);
    let jail = config().terms(terms).build().unwrap();
    let client = ip("192.0.2.7");
    let mut lengths = Vec::new();
    for _ in 0..3 {
        assert_eq!(
            jail.strike_address(client, Cause::Waf),
            Struck::Counted { strikes: 1 }
        );
        assert_eq!(
            jail.strike_address(client, Cause::Waf),
            Struck::Counted { strikes: 2 }
        );
        assert!(matches!(
            jail.strike_address(client, Cause::Waf),
            Struck::Jailed { .. }
        ));
        let sentence = jail.why(client).unwrap();
        assert_eq!(sentence.sentences as usize, lengths.len() + 1);
        lengths.push(sentence.remaining.unwrap().as_secs() / 60);
        tokio::time::advance(sentence.remaining.unwrap()).await;
        assert!(!jail.holds(client));
    }
    assert_eq!(lengths, [10, 20, 40]);
}

#[tokio::test]
async fn proxies_loopback_and_listed_networks_cannot_be_banned() {
    let jail = config()
        .trusted_proxies(["203.0.113.0/28"])
        .never(["2001:db8::/48"])
        .build()
        .unwrap();
    for text in [
        "203.0.113.7",
        "2001:db8:0:5::1",
        "127.0.0.1",
        "::1",
        "0.0.0.0",
        "224.0.0.1",
    ] {
        assert_eq!(jail.ban(ip(text), HOUR), None, "{text}");
        for _ in 0..10 {
            assert_eq!(
                jail.strike_address(ip(text), Cause::Waf),
                Struck::Never,
                "{text}"
            );
        }
        assert!(!jail.holds(ip(text)), "{text}");
    }
    assert!(
        jail.ban_network("2001:db9::/48".parse().unwrap(), HOUR)
            .is_some()
    );
    assert!(jail.holds(ip("2001:db9:0:ffff::1")));
    assert!(
        jail.ban_network("192.0.2.0/24".parse().unwrap(), HOUR)
            .is_none(),
        "no single client"
    );
}

#[tokio::test]
async fn a_client_is_judged_by_its_64_whatever_prefix_limiters_count_by() {
    let client_of = |address: &str, prefix| {
        let mut request = http::Request::new(());
        let peer = PeerAddr(SocketAddr::new(ip(address), 443));
        request.extensions_mut().insert(peer);
        let resolver = IdentityConfig::new().ipv6_prefix(prefix).build().unwrap();
        resolver.resolve_once(&mut request).unwrap().unwrap()
    };
    let attacker = "2001:db8:0:1a7::5";
    for prefix in [48, 56, 64, 128] {
        let client = client_of(attacker, prefix);
        let jail = config()
            .terms(Terms::default().max_strikes(1))
            .build()
            .unwrap();
        let only_its_64_is_in = || {
            jail.holds(ip(attacker))
                && jail.holds(ip("2001:db8:0:1a7::6"))
                && ["2001:db8::5", "2001:db8:0:100::5"]
                    .iter()
                    .all(|neighbour| !jail.holds(ip(neighbour)))
        };
        jail.strike(&client, Cause::Waf);
        assert!(only_its_64_is_in(), "struck, /{prefix}");
        assert!(jail.unban_client(&client), "/{prefix}");
        assert!(!jail.holds(ip(attacker)), "/{prefix}");
        jail.ban_client(&client, HOUR).unwrap();
        assert!(only_its_64_is_in(), "banned, /{prefix}");
    }
}

#[tokio::test]
async fn unbanning_forgets_everything_about_a_client() {
    let jail = jail();
    jail.ban(ip("2001:db8::1"), HOUR).unwrap();
    assert!(jail.holds(ip("2001:db8::ffff")), "IPv6 is judged by /64");
    assert!(jail.unban(ip("2001:db8::2")));
    assert!(!jail.unban(ip("2001:db8::2")));
    assert!(!jail.holds(ip("2001:db8::1")));
    jail.ban(ip("192.0.2.1"), HOUR).unwrap();
    jail.ban(ip("192.0.2.2"), HOUR).unwrap();
    assert_eq!(jail.list().len(), 2);
    jail.unban_all();
    assert!(jail.list().is_empty() && !jail.holds(ip("192.0.2.1")));
}

#[tokio::test]
async fn sentences_survive_a_restart_and_a_torn_file() {
    let folder = Folder::new("restart");
    let open = || config().file(folder.file("jail")).build().unwrap();
    let first = open();
    first.ban(ip("192.0.2.7"), HOUR).unwrap();
    first.ban(ip("2001:db8::1"), HOUR).unwrap();
    first.save().unwrap();
    drop(first);

    let second = open();
    assert_eq!(second.list().len(), 2);
    let remaining = second.why(ip("192.0.2.7")).unwrap().remaining.unwrap();
    assert!(
        remaining <= HOUR + Duration::from_secs(1) && remaining > HOUR - Duration::from_secs(60),
        "{remaining:?}"
    );

    let whole = fs::read(folder.file("jail")).unwrap();
    fs::write(folder.file("jail"), &whole[..whole.len() - 5]).unwrap();
    assert_eq!(open().list().len(), 1);
    fs::write(folder.file("jail"), b"\0\0\0").unwrap();
    assert!(open().list().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_restart_is_no_amnesty() {
    let folder = Folder::new("amnesty");
    let terms = Terms::default().max_strikes(1).jitter_percent(0);
    let open = || {
        config()
            .terms(terms)
            .file(folder.file("jail"))
            .build()
            .unwrap()
    };
    let client = ip("192.0.2.7");
    let minutes = |jail: &Jail| {
        jail.strike_address(client, Cause::Waf);
        let sentence = jail.why(client).unwrap();
        sentence.remaining.unwrap().as_secs().div_ceil(60)
    };
    let first = open();
    assert_eq!(minutes(&first), 10);
    tokio::time::advance(Duration::from_secs(601)).await;
    assert!(!first.holds(client));
    first.save().unwrap();

    let second = open();
    assert!(!second.holds(client) && second.list().is_empty());
    assert_eq!(minutes(&second), 20, "the second sentence");
    tokio::time::advance(Duration::from_secs(1_201)).await;
    // Half of the time for which one is forgiven, and the other half after the restart.
    tokio::time::advance(Duration::from_secs(43_200)).await;
    second.save().unwrap();
    let third = open();
    tokio::time::advance(Duration::from_secs(43_200)).await;
    assert_eq!(minutes(&third), 20, "one of two is forgiven");
}

#[tokio::test]
async fn the_file_is_written_only_if_anything_has_changed() {
    let folder = Folder::new("unchanged");
    let path = folder.file("jail");
    let jail = config().file(&path).build().unwrap();
    jail.ban(ip("192.0.2.7"), HOUR).unwrap();
    jail.save().unwrap();
    fs::write(&path, "somebody else's").unwrap();
    jail.save().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"somebody else's");
    fs::remove_file(&path).unwrap();
    jail.save().unwrap();
    assert!(path.exists());
    fs::write(&path, "").unwrap();
    jail.unban(ip("192.0.2.7"));
    jail.save().unwrap();
    assert_ne!(fs::read(&path).unwrap(), b"");
}

#[tokio::test]
async fn what_is_in_the_file_and_can_never_be_jailed_stays_out() {
    let folder = Folder::new("never");
    let first = config().file(folder.file("jail")).build().unwrap();
    first.ban(ip("192.0.2.7"), HOUR).unwrap();
    first.save().unwrap();
    let second = config()
        .file(folder.file("jail"))
        .never(["192.0.2.0/24"])
        .build()
        .unwrap();
    assert!(!second.holds(ip("192.0.2.7")));
}

#[tokio::test]
async fn a_changed_feed_is_read_again_and_a_broken_one_leaves_the_old_in_force() {
    let folder = Folder::new("feed");
    let path = folder.file("drop.txt");
    let start = SystemTime::now() - HOUR;
    write(&path, "; DROP\n192.0.2.0/24 ; SBL1\n", start);
    let feed = FeedConfig::new("drop", &path).format(FeedFormat::SpamhausDrop);
    let jail = config().feed(feed).build().unwrap();
    assert_eq!(
        jail.why(ip("192.0.2.9")).unwrap().reason.to_string(),
        "list drop"
    );
    assert!(!jail.reload_feeds(), "nothing has changed");

    write(&path, "198.51.100.0/24\n", start + Duration::from_secs(1));
    assert!(jail.reload_feeds());
    assert!(jail.holds(ip("198.51.100.1")) && !jail.holds(ip("192.0.2.9")));

    for (broken, error, seconds) in [
        (
            "198.51.100.0/24\n<html>\n",
            "line 2: not an IP address or CIDR block",
            2,
        ),
        (
            "0.0.0.0/0\n",
            "line 1: 0.0.0.0/0 covers a private, reserved or never-banned address",
            3,
        ),
        ("", "0 records, and it must have at least 1", 4),
        ("64.0.0.0/7\n", "line 1: 64.0.0.0/7 is larger than a /8", 5),
    ] {
        write(&path, broken, start + Duration::from_secs(seconds));
        assert!(!jail.reload_feeds());
        assert_eq!(jail.feeds()[0].error.as_deref(), Some(error));
        assert_eq!(jail.feeds()[0].records, 1);
        assert!(
            jail.holds(ip("198.51.100.1")),
            "the old list stays in force"
        );
    }
    fs::remove_file(&path).unwrap();
    assert!(!jail.reload_feeds());
    assert!(jail.holds(ip("198.51.100.1")));
    write(&path, "192.0.2.0/24\n", start + Duration::from_secs(9));
    assert!(jail.reload_feeds());
    assert_eq!(jail.feeds()[0].error, None);
}

#[tokio::test]
async fn a_stale_feed_is_not_in_force() {
    let folder = Folder::new("stale");
    let path = folder.file("list");
    write(&path, "192.0.2.0/24\n", SystemTime::now() - HOUR);
    let feed = || FeedConfig::new("list", &path).stale_after(HOUR / 2);
    let jail = config().feed(feed()).build().unwrap();
    assert!(!jail.holds(ip("192.0.2.1")) && jail.feeds()[0].stale);
    write(&path, "192.0.2.0/24\n", SystemTime::now());
    assert!(jail.reload_feeds());
    assert!(jail.holds(ip("192.0.2.1")) && !jail.feeds()[0].stale);
}

#[test]
fn bad_settings_are_named_with_what_was_given() {
    for (config, message) in [
        (
            config().capacity(0),
            "capacity: must be between 1 and 67108864, got 0",
        ),
        (
            config().terms(Terms::default().max_strikes(0)),
            "max_strikes: must be between 1 and 63, got 0",
        ),
        (
            config().never(["10.0.0.0/33"]),
            "never: \"10.0.0.0/33\": the prefix length is not a number the address has room for",
        ),
        (
            config().trusted_proxies(["proxy"]),
            "trusted_proxies: \"proxy\": not an IP address or CIDR block",
        ),
        (
            config().check_every(Duration::ZERO),
            "check_every: must be at least 1s, got 0ns",
        ),
        (
            config().feed(FeedConfig::new("drop", "/nonexistent").limits(FeedLimits {
                least: 9,
                most: 8,
                ..FeedLimits::default()
            })),
            "feed \"drop\": limits: most: must be at least 1 and `least` (9), got 8",
        ),
        (
            config().feed(FeedConfig::new("drop", "/nonexistent").limits(FeedLimits {
                grow_to_percent: 99,
                ..FeedLimits::default()
            })),
            "feed \"drop\": limits: grow_to_percent: must be between 100 and 4294967295, got 99",
        ),
        (
            config().feed(FeedConfig::new("drop", "/nonexistent").limits(FeedLimits {
                shortest_ipv4: 33,
                ..FeedLimits::default()
            })),
            "feed \"drop\": limits: shortest_ipv4: must be between 0 and 32, got 33",
        ),
        (
            config().feed(FeedConfig::new("drop", "/nonexistent")),
            "feed \"drop\": the feed could not be read",
        ),
    ] {
        assert_eq!(config.build().unwrap_err().to_string(), message);
    }
}

#[tokio::test]
async fn a_live_handle_is_listed_shown_and_steered() {
    let registry = Registry::new();
    let jail = config()
        .registration(Registration::In(registry.clone()))
        .build()
        .unwrap();
    jail.ban(ip("192.0.2.7"), HOUR).unwrap();
    let handles = registry.handles();
    let snapshot = handles[0].snapshot();
    assert_eq!(snapshot.get("jailed"), Some(&Value::Gauge(1)));
    assert_eq!(snapshot.get("sentences"), Some(&Value::Count(1)));
    handles[0].set_mode(Mode::Shadow);
    assert_eq!(jail.mode(), Mode::Shadow);
    jail.set_terms(Terms::default().max_strikes(1)).unwrap();
    assert!(matches!(
        jail.strike_address(ip("192.0.2.8"), Cause::Trap),
        Struck::Jailed { .. }
    ));
    assert!(jail.set_terms(Terms::default().max_strikes(0)).is_err());
    assert_eq!(jail.terms(), Terms::default().max_strikes(1));
}

#[tokio::test]
async fn the_caretaker_reads_lists_saves_sentences_and_ends_with_the_jail() {
    let folder = Folder::new("caretaker");
    let path = folder.file("list");
    write(&path, "192.0.2.0/24\n", SystemTime::now() - HOUR);
    let jail = config()
        .feed(FeedConfig::new("list", &path))
        .file(folder.file("jail"))
        .check_every(Duration::from_secs(1))
        .build()
        .unwrap();
    let caretaker = tokio::spawn(jail.caretaker());
    write(&path, "198.51.100.0/24\n", SystemTime::now());
    jail.ban(ip("203.0.113.1"), HOUR).unwrap();
    let patience = Duration::from_secs(30);
    let done = async {
        while !(jail.holds(ip("198.51.100.1")) && folder.file("jail").exists()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(patience, done)
        .await
        .expect("looked after within seconds");
    drop(jail);
    tokio::time::timeout(patience, caretaker)
        .await
        .expect("ends with the jail")
        .unwrap();
}

#[tokio::test]
async fn the_proxies_of_a_layers_resolver_cannot_be_banned_and_no_list_holds_them() {
    let folder = Folder::new("proxies");
    let path = folder.file("list");
    let start = SystemTime::now() - HOUR;
    write(&path, "203.0.113.0/24\n", start);
    let feed = || FeedConfig::new("list", &path);
    let resolver = IdentityConfig::new()
        .trusted_proxies(["203.0.113.7", "198.51.100.0/24"])
        .cdn_header("cf-connecting-ip", ["2001:db8:cd::/48"])
        .build()
        .unwrap();
    let jail = config().feed(feed()).build().unwrap();
    jail.ban(ip("198.51.100.1"), HOUR).unwrap();
    jail.ban_network("2001:db8:cd::/48".parse().unwrap(), HOUR)
        .unwrap();
    assert!(jail.holds(ip("203.0.113.7")));

    let layer = BlackholeConfig::new(&jail).identity(resolver.clone());
    let _layer = layer.build().unwrap();
    for proxy in ["203.0.113.7", "198.51.100.1", "2001:db8:cd:5::1"] {
        assert!(
            !jail.holds(ip(proxy)) && jail.why(ip(proxy)).is_none(),
            "{proxy}"
        );
        assert_eq!(jail.ban(ip(proxy), HOUR), None, "{proxy}");
    }
    assert!(jail.list().is_empty());
    assert!(jail.holds(ip("203.0.113.8")), "no proxy");
    write(&path, "203.0.113.0/24\n\n", start + Duration::from_secs(1));
    assert!(!jail.reload_feeds());
    let error = "line 1: 203.0.113.0/24 covers a private, reserved or never-banned address";
    assert_eq!(jail.feeds()[0].error.as_deref(), Some(error));
    assert!(!jail.reload_feeds(), "no better for being looked at again");
    assert_eq!(jail.feeds()[0].error.as_deref(), Some(error));

    let error = config()
        .identity(&resolver)
        .feed(feed())
        .build()
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("feed \"list\": line 1: 203.0.113.0/24 covers")
    );
}

#[tokio::test]
async fn a_full_jail_takes_in_whoever_is_new_and_says_what_that_cost() {
    let jail = config().capacity(1).build().unwrap();
    let count = |name| match jail.snapshot().get(name) {
        Some(Value::Count(count)) => *count,
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(
        (count("freed_for_room"), count("forgotten_for_room")),
        (0, 0)
    );
    for number in 0..1_000_u32 {
        let address = std::net::Ipv4Addr::from_bits(0x8000_0000 + number).into();
        assert!(jail.ban(address, HOUR).is_some());
        assert!(jail.holds(address));
    }
    let freed = 1_000 - jail.list().len() as u64;
    assert!(freed > 700);
    assert_eq!(
        (count("freed_for_room"), count("forgotten_for_room")),
        (freed, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn each_sentence_and_each_release_is_one_event() {
    let changes: Arc<Mutex<Vec<Change>>> = Arc::default();
    let heard = changes.clone();
    let observer = move |event: &Event<'_>| {
        if let EventKind::Change(change) = event.kind {
            heard.lock().unwrap().push(change);
        }
    };
    let terms = Terms::default().max_strikes(2).jitter_percent(0);
    let jail = config()
        .terms(terms)
        .observer(Arc::new(observer))
        .build()
        .unwrap();
    jail.strike_address(ip("192.0.2.7"), Cause::Waf);
    assert!(
        changes.lock().unwrap().is_empty(),
        "a strike is no sentence"
    );
    jail.strike_address(ip("192.0.2.7"), Cause::Waf);
    jail.strike_address(ip("192.0.2.7"), Cause::Waf);
    jail.ban(ip("192.0.2.8"), HOUR).unwrap();
    assert!(jail.unban(ip("192.0.2.7")) && !jail.unban(ip("192.0.2.7")));
    jail.unban_all();
    jail.unban_all();
    let jailed = |cause, minutes: u64, sentences| Change::Jailed {
        cause,
        sentence: Duration::from_secs(minutes * 60),
        sentences,
    };
    assert_eq!(
        *changes.lock().unwrap(),
        [
            jailed("waf", 10, 1),
            jailed("operator", 60, 0),
            Change::Released { count: 1 },
            Change::Released { count: 1 },
        ]
    );
}

#[test]
fn whoever_is_let_out_to_make_room_for_a_strike_is_not_saved_any_more() {
    let folder = Folder::new("room");
    let file = folder.file("jail");
    let jail = config().capacity(1).file(&file).build().unwrap();
    for number in 0..10_000 {
        let inmate = std::net::Ipv4Addr::from_bits(0xc633_0000 + number);
        jail.ban(inmate.into(), HOUR).unwrap();
    }
    jail.save().unwrap();
    let saved = || {
        let restored = config().capacity(10_000).file(&file).build().unwrap();
        restored.list().len()
    };
    let before = jail.list().len();
    assert_eq!(saved(), before);
    // No more than a strike, and all that were there are in.
    let struck = jail.strike_address(ip("192.0.2.7"), Cause::Waf);
    assert_eq!(struck, Struck::Counted { strikes: 1 });
    assert_eq!(jail.list().len(), before - 1);
    jail.save().unwrap();
    assert_eq!(saved(), before - 1);
}
