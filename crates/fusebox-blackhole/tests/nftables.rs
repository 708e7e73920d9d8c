//! The kernel drops who is in: in network namespaces of the test's own, with packets.
//!
//! Needs root (or what it may do), `nft`, `ip`, `unshare` and `nsenter`. Without them it says so and has not run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test reports by panicking, and says what it did not do"
)]
#![cfg(all(feature = "nftables", target_os = "linux"))]

use std::{
    net::{IpAddr, TcpListener},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use fusebox_blackhole::{
    GateConfig, Jail, JailConfig,
    nftables::{MirrorError, NftConfig},
};
use fusebox_core::{Mode, Registration};

/// Set in the process that runs inside a namespace.
const INSIDE: &str = "FUSEBOX_TEST_IN_NAMESPACE";
const HOUR: Duration = Duration::from_secs(3_600);

fn jail() -> Jail {
    JailConfig::new("test")
        .capacity(1_000)
        .registration(Registration::Unlisted)
        .build()
        .unwrap()
}

fn run(line: &str) -> bool {
    let mut words = line.split(' ');
    let status = Command::new(words.next().unwrap())
        .args(words)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

fn must(line: &str) {
    assert!(run(line), "{line}");
}

/// Runs the test of that name once more, in a network namespace of its own. False inside, where it is to go on.
fn moved_into_a_namespace(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return false;
    }
    for needed in [
        "unshare --net nft list tables",
        "unshare --net ip link set lo up",
        "nsenter --version",
    ] {
        if !run(needed) {
            eprintln!("not run: {test}: no right, or no program, for `{needed}`");
            return true;
        }
    }
    let status = Command::new("unshare")
        .arg("--net")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success());
    true
}

/// A client in another namespace, at the other end of a cable.
struct Client(Child);

impl Client {
    fn new() -> Self {
        must("ip link set lo up");
        let process = Command::new("unshare")
            .args(["--net", "sleep", "1000"])
            .spawn()
            .unwrap();
        let client = Self(process);
        // Until it is in its own namespace, the interface would come back here.
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        let theirs = format!("/proc/{}/ns/net", client.0.id());
        let start = Instant::now();
        while std::fs::read_link(&theirs).is_ok_and(|theirs| theirs == own) {
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "no second namespace"
            );
            std::thread::yield_now();
        }
        must(&format!(
            "ip link add near type veth peer name far netns {}",
            client.0.id()
        ));
        must("ip addr add 198.51.100.1/24 dev near");
        must("ip addr add 2001:db8::1/64 dev near nodad");
        must("ip link set near up");
        client.must("ip addr add 198.51.100.2/24 dev far");
        client.must("ip addr add 2001:db8::2/64 dev far nodad");
        client.must("ip link set lo up");
        client.must("ip link set far up");
        client
    }

    fn inside(&self, line: &str) -> String {
        format!("nsenter --net --target {} {line}", self.0.id())
    }

    fn must(&self, line: &str) {
        must(&self.inside(line));
    }

    /// Whether the client gets as far as a connection. A packet that is dropped is never answered, so this takes the
    /// whole time when it does not; `SYN` is repeated after a second.
    fn connects(&self, address: &str, port: u16) -> bool {
        let script = format!("exec 3<>/dev/tcp/{address}/{port}");
        Command::new("nsenter")
            .args(["--net", "--target", &self.0.id().to_string()])
            .args(["timeout", "2", "bash", "-c", &script])
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn nft(words: &str) -> String {
    let output = Command::new("nft").args(words.split(' ')).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn packets_of_who_is_in_no_longer_reach_the_socket() {
    if moved_into_a_namespace("packets_of_who_is_in_no_longer_reach_the_socket") {
        return;
    }
    let client = Client::new();
    let jail = jail();
    let mirror = NftConfig::new()
        .every(Duration::from_millis(10))
        .start(&jail)
        .await
        .unwrap();
    for (here, there) in [
        ("198.51.100.1", "198.51.100.2"),
        ("2001:db8::1", "2001:db8::2"),
    ] {
        let listener = TcpListener::bind((here.parse::<IpAddr>().unwrap(), 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let there: IpAddr = there.parse().unwrap();

        assert!(client.connects(here, port), "{here}: before");
        listener.accept().unwrap();

        jail.ban(there, HOUR).unwrap();
        until("the kernel is told", || mirror.len() == 1).await;
        assert!(!client.connects(here, port), "{here}: banned");
        assert!(
            listener.accept().is_err(),
            "{here}: nothing has reached the socket"
        );

        assert!(jail.unban(there));
        until("the kernel is told", || mirror.is_empty()).await;
        assert!(client.connects(here, port), "{here}: unbanned");
        listener.accept().unwrap();
    }
    mirror.stop().await.unwrap();
    assert_eq!(nft("list tables"), "", "nothing is left behind");
}

#[tokio::test]
async fn a_connection_that_was_open_before_the_ban_is_closed_and_no_zombie() {
    if moved_into_a_namespace("a_connection_that_was_open_before_the_ban_is_closed_and_no_zombie") {
        return;
    }
    let client = Client::new();
    let jail = jail();
    let mirror = NftConfig::new()
        .every(Duration::from_millis(10))
        .start(&jail)
        .await
        .unwrap();
    let gate = GateConfig::new(&jail).build().unwrap();
    for (here, there) in [
        ("198.51.100.1", "198.51.100.2"),
        ("2001:db8::1", "2001:db8::2"),
    ] {
        let here: IpAddr = here.parse().unwrap();
        let listener = tokio::net::TcpListener::bind((here, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let script = format!("exec 3<>/dev/tcp/{here}/{port}; exec sleep 1000");
        let mut far = Command::new("nsenter")
            .args(["--net", "--target", &client.0.id().to_string()])
            .args(["bash", "-c", &script])
            .spawn()
            .unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let mut stream = gate.admit(stream, peer).unwrap();
        // It never says anything: only a packet of its own would end it otherwise.
        let waiting =
            tokio::spawn(
                async move { tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 1]).await },
            );
        jail.ban(there.parse().unwrap(), HOUR).unwrap();
        let closed = tokio::time::timeout(Duration::from_secs(30), waiting);
        let error = closed.await.expect("closed").unwrap().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionAborted);
        far.kill().unwrap();
        far.wait().unwrap();
    }
    mirror.stop().await.unwrap();
}

#[tokio::test]
async fn packets_for_other_ports_pass() {
    if moved_into_a_namespace("packets_for_other_ports_pass") {
        return;
    }
    let client = Client::new();
    let here = "198.51.100.1";
    let open = || {
        let listener = TcpListener::bind((here, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    };
    let ((_service, service), (_other, other)) = (open(), open());
    let _ssh = TcpListener::bind((here, 22)).unwrap();
    let jail = jail();
    jail.ban("198.51.100.2".parse().unwrap(), HOUR).unwrap();
    for (config, dropped, passed) in [
        (NftConfig::new(), vec![service, other], vec![22]),
        (
            NftConfig::new().ports([service, 443]),
            vec![service],
            vec![other, 22],
        ),
        (
            NftConfig::new().all_ports_but([other]),
            vec![service, 22],
            vec![other],
        ),
        (NftConfig::new().all_ports_but([]), vec![22], vec![]),
    ] {
        let shown = format!("{config:?}");
        let mirror = config.start(&jail).await.unwrap();
        for port in passed {
            assert!(client.connects(here, port), "{port}: {shown}");
        }
        for port in dropped {
            assert!(!client.connects(here, port), "{port}: {shown}");
        }
        // What is no TCP and no UDP is dropped where all ports are, but for those that are spared.
        let pings = run(&client.inside(&format!("ping -c 1 -W 1 {here}")));
        let has_ping = run("ping -V");
        assert_eq!(pings, has_ping && shown.contains("Only"), "{shown}");
        mirror.stop().await.unwrap();
    }
}

#[tokio::test]
async fn the_table_is_reconciled_at_the_start_follows_the_mode_and_is_left_if_so_asked() {
    if moved_into_a_namespace(
        "the_table_is_reconciled_at_the_start_follows_the_mode_and_is_left_if_so_asked",
    ) {
        return;
    }
    let config = || {
        NftConfig::new()
            .table("edge")
            .every(Duration::from_millis(10))
    };
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let first = jail();
    first.ban(ip("192.0.2.1"), HOUR).unwrap();
    first.ban(ip("192.0.2.2"), HOUR).unwrap();
    let mirror = config().remove_at_stop(false).start(&first).await.unwrap();
    assert_eq!(mirror.len(), 2);
    mirror.stop().await.unwrap();
    let left = nft("list set inet edge v4");
    assert!(
        left.contains("192.0.2.1") && left.contains("timeout 1h"),
        "{left}"
    );

    // Another process, with another jail, finds the table of the one before.
    let second = jail();
    second.ban(ip("192.0.2.2"), HOUR).unwrap();
    second.ban(ip("192.0.2.3"), HOUR).unwrap();
    for subnet in ["2001:db8::/64", "2001:db8:0:100::/56", "2001:db8::/48"] {
        second.ban_network(subnet.parse().unwrap(), HOUR).unwrap();
    }
    let mirror = config().start(&second).await.unwrap();
    let v4 = nft("list set inet edge v4");
    assert!(
        !v4.contains("192.0.2.1 ") && v4.contains("192.0.2.2") && v4.contains("192.0.2.3"),
        "{v4}"
    );
    for (set, address) in [
        ("v6_64", "2001:db8::"),
        ("v6_56", "2001:db8:0:100::"),
        ("v6_48", "2001:db8::"),
    ] {
        let listed = nft(&format!("list set inet edge {set}"));
        assert!(listed.contains(address), "{listed}");
    }

    // A longer sentence is another time.
    second.ban(ip("192.0.2.3"), 5 * HOUR).unwrap();
    until("the longer sentence", || {
        nft("list set inet edge v4").contains("timeout 5h")
    })
    .await;

    second.set_mode(Mode::Shadow);
    until("nobody is dropped in shadow mode", || mirror.is_empty()).await;
    assert!(!nft("list set inet edge v4").contains("192.0.2"));
    second.set_mode(Mode::Enforce);
    until("and all are when it acts again", || mirror.len() == 5).await;
    mirror.stop().await.unwrap();
    assert_eq!(nft("list tables"), "");
}

#[tokio::test]
async fn a_table_that_somebody_flushed_is_made_again() {
    if moved_into_a_namespace("a_table_that_somebody_flushed_is_made_again") {
        return;
    }
    let jail = jail();
    jail.ban("192.0.2.1".parse().unwrap(), HOUR).unwrap();
    let mirror = NftConfig::new()
        .every(Duration::from_millis(10))
        .start(&jail)
        .await
        .unwrap();
    nft("flush ruleset");
    assert_eq!(nft("list tables"), "");
    // Nothing has changed in the jail.
    until("it is there again", || {
        run("nft list table inet fusebox") && nft("list set inet fusebox v4").contains("192.0.2.1")
    })
    .await;
    mirror.stop().await.unwrap();
    assert_eq!(nft("list tables"), "");
}

#[tokio::test]
async fn a_mirror_that_is_dropped_goes_on_until_the_jail_is() {
    if moved_into_a_namespace("a_mirror_that_is_dropped_goes_on_until_the_jail_is") {
        return;
    }
    let jail = jail();
    drop(
        NftConfig::new()
            .every(Duration::from_millis(10))
            .start(&jail)
            .await
            .unwrap(),
    );
    jail.ban("192.0.2.1".parse().unwrap(), HOUR).unwrap();
    until("it goes on", || {
        nft("list set inet fusebox v4").contains("192.0.2.1")
    })
    .await;
    drop(jail);
    until("the table is gone", || nft("list tables").is_empty()).await;
}

#[tokio::test]
async fn many_elements_take_more_than_one_transaction() {
    if moved_into_a_namespace("many_elements_take_more_than_one_transaction") {
        return;
    }
    let jail = JailConfig::new("test")
        .capacity(40_000)
        .registration(Registration::Unlisted)
        .build()
        .unwrap();
    for number in 0..25_000_u32 {
        let address = std::net::Ipv4Addr::from_bits(0xc633_0000 + number);
        jail.ban(address.into(), HOUR).unwrap();
    }
    let mirror = NftConfig::new().start(&jail).await.unwrap();
    assert_eq!(
        nft("list set inet fusebox v4")
            .matches("timeout 1h")
            .count(),
        mirror.len()
    );
    assert!(mirror.len() > 24_900, "{}", mirror.len());
    jail.unban_all();
    until("all are out", || mirror.is_empty()).await;
    assert!(!nft("list set inet fusebox v4").contains("timeout 1h"));
    mirror.stop().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_meant_or_done_is_said() {
    let jail = jail();
    let start = async |config: NftConfig| config.start(&jail).await.unwrap_err().to_string();
    assert_eq!(
        start(NftConfig::new().table("a\"}")).await,
        "table: must be a letter and at most 64 letters, digits and `_` in all, got \"a\"}\""
    );
    assert_eq!(
        start(NftConfig::new().every(Duration::ZERO)).await,
        "every: must be at least 10ms, got 0ns"
    );
    assert_eq!(
        start(NftConfig::new().program([""; 0])).await,
        "program: must be at least one word, got none"
    );
    assert_eq!(
        start(NftConfig::new().program(["/nonexistent/nft"])).await,
        "nft could not be run"
    );
    assert_eq!(
        start(NftConfig::new().ports([])).await,
        "ports: must be at least one port, got none"
    );
    let refused = NftConfig::new()
        .program(["sh", "-c", "echo no >&2; exit 1"])
        .start(&jail)
        .await
        .unwrap_err();
    assert!(matches!(refused, MirrorError::Refused { said } if said == "no\n"));
}
