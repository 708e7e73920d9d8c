//! Everything that the tests of the Core Rule Set send, to the fast engine and to the plain one.
//!
//! What each test expects is checked by `cargo xtask crs`; here only that nothing which makes the engine fast changes what it
//! finds. So the files are read line by line, without their structure: a value of `uri`, `data` or a header is a text to send, and
//! how texts are put together into requests does not matter. Many go into one, because most of a request is not its texts.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may say that this cannot fail: its panic is the report"
)]

mod core_rules;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::SystemTime;

use fusebox_seclang::{Ruleset, Transaction, WorkBudget};

/// Each text once, in an order that puts different rules' into one request.
fn texts(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "yaml") {
                files.push(path);
            }
        }
    }
    let mut found = BTreeSet::new();
    for file in files {
        let bytes = std::fs::read(file).unwrap();
        for line in String::from_utf8_lossy(&bytes).lines() {
            let Some((key, value)) = line.split_once(": ") else {
                continue;
            };
            if matches!(key.trim(), "desc" | "description" | "author") {
                continue;
            }
            let value = value.trim();
            let value = match value.as_bytes() {
                [b'"', .., b'"'] => value[1..value.len() - 1]
                    .replace("\\\"", "\"")
                    .replace("\\\\", "\\"),
                [b'\'', .., b'\''] => value[1..value.len() - 1].replace("''", "'"),
                _ => value.to_owned(),
            };
            if value.len() > 2 {
                found.insert(value);
            }
        }
    }
    let found: Vec<String> = found.into_iter().collect();
    let step = 97;
    (0..step)
        .flat_map(|first| found.iter().skip(first).step_by(step).cloned())
        .collect()
}

/// What people write, which nothing should match: long and short, with and without marks.
fn prose() -> Vec<String> {
    let sentences = [
        "The handle feels solid and the blade stays sharp after a whole season.",
        "It's not what I'd expected, but \"good enough\" (mostly): 4/5; who knows?",
        "time to find more or less of the same, select few from many",
        "12 Mill Lane, Cambridge CB2 1TN, second-floor flat, ring twice",
        "if not exists union between and or like case when",
    ];
    let mut all: Vec<String> = sentences.iter().map(|text| (*text).to_owned()).collect();
    all.extend(sentences.iter().map(|text| text.repeat(30)));
    all.push(sentences.concat().repeat(20));
    all.extend(sentences.iter().map(|text| text.to_uppercase()));
    all
}

fn rules(folder: &Path, level: u8, plain: bool) -> Ruleset {
    let setup = format!(
        r#"
        SecRuleEngine DetectionOnly
        SecRequestBodyAccess On
        SecResponseBodyAccess On
        SecAction "id:900000,phase:1,pass,nolog,setvar:tx.blocking_paranoia_level={level}"
        SecRule REQUEST_HEADERS:Content-Type "^application/json" "id:200001,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
        "#
    );
    // The plain engine does thousands of times the work.
    let budget = WorkBudget {
        bytes: u64::MAX,
        ..WorkBudget::default()
    };
    let builder = Ruleset::builder()
        .text("setup", &setup)
        .crs(folder)
        .budget(budget);
    let builder = if plain { builder.plain() } else { builder };
    builder.build().unwrap_or_else(|error| panic!("{error}"))
}

fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => {
                out.push(char::from(byte));
            }
            byte => {
                let _infallible = write!(out, "%{byte:02x}");
            }
        }
    }
    out
}

/// All that was found, in order: rule, what of, and the line of the log.
fn sent(rules: &Ruleset, texts: &[String]) -> Vec<(u32, Vec<u8>, String)> {
    let mut tx = rules.transaction(SystemTime::UNIX_EPOCH);
    let [first, second, ..] = texts else {
        return Vec::new();
    };
    let uri = format!("/{}?q={}", first.replace(' ', "%20"), encoded(second));
    tx.request_line(b"POST", uri.as_bytes(), b"HTTP/1.1");
    tx.request_header(b"Host", b"shop.example.com");
    tx.request_header(b"User-Agent", second.as_bytes());
    tx.request_header(b"Referer", first.as_bytes());
    tx.request_header(b"Cookie", format!("a={first}; b={second}").as_bytes());
    tx.request_header(b"Content-Type", b"application/x-www-form-urlencoded");
    tx.end_request_headers();
    let mut body = String::new();
    for (number, text) in texts.iter().enumerate() {
        let _infallible = write!(body, "n{number}={}&", encoded(text));
    }
    // As it stands too: many are a body or a part of one.
    body.push_str(first);
    tx.request_body(body.as_bytes());
    tx.end_request_body();
    tx.response_line(200, b"HTTP/1.1");
    tx.response_header(b"Content-Type", b"text/html");
    tx.end_response_headers();
    tx.response_body(second.as_bytes());
    tx.end_response_body();
    tx.finish();
    assert!(!tx.is_over_budget());
    found(&tx)
}

fn found(tx: &Transaction) -> Vec<(u32, Vec<u8>, String)> {
    tx.matches()
        .map(|found| {
            let mut line = String::new();
            found.write_log_line(&mut line);
            (found.rule_id(), found.variable(), line)
        })
        .collect()
}

fn compare(level: u8, at_least: usize) {
    let Some(folder) = core_rules::folder() else {
        return;
    };
    let (fast, plain) = (rules(&folder, level, false), rules(&folder, level, true));
    let mut texts = texts(&folder.join("tests"));
    assert!(texts.len() > 1_000, "only {} texts", texts.len());
    texts.extend(prose());
    let mut matches = 0;
    for texts in texts.chunks(24) {
        let (fast, plain) = (sent(&fast, texts), sent(&plain, texts));
        matches += plain.len();
        assert_eq!(fast, plain, "{texts:?}");
    }
    assert!(matches > at_least, "only {matches} matches compared");
}

#[test]
fn both_engines_find_the_same_in_what_the_rules_are_tested_with_at_level_1() {
    compare(1, 2_500);
}

#[test]
fn both_engines_find_the_same_in_what_the_rules_are_tested_with_at_level_4() {
    compare(4, 5_000);
}
