//! Each built-in rule against the examples in the comment above it.
//!
//! `# blocks:` is a request that this rule has to match and that has to be refused; `# scores:` one that it has to match; `# passes:`
//! one that it must not match and that must not be refused. A request is
//! `METHOD target <version> [Name: value].. form|json|xml|text|multipart body`, where what follows the target may be missing; line ends of
//! a multipart body are written as `|`, and its boundary is x.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use fusebox_seclang::Ruleset;
use fusebox_waf::core::{Core, CoreError, Paranoia, TAGS};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    Blocks,
    Scores,
    Passes,
}

#[derive(Debug)]
struct Example {
    rule: u32,
    claim: Claim,
    request: String,
    level: Paranoia,
}

/// The examples of all rules, and the rules that have none that they match, or none that they must not.
fn examples() -> (Vec<Example>, Vec<u32>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let mut all = Vec::new();
    let mut without = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let level = if path.to_string_lossy().contains("level-two") {
            Paranoia::Two
        } else {
            Paranoia::One
        };
        let mut open: Vec<(Claim, String)> = Vec::new();
        for line in fs::read_to_string(&path).unwrap().lines() {
            for (word, claim) in [
                ("# blocks: ", Claim::Blocks),
                ("# scores: ", Claim::Scores),
                ("# passes: ", Claim::Passes),
            ] {
                if let Some(request) = line.strip_prefix(word) {
                    open.push((claim, request.to_owned()));
                }
            }
            let Some(at) = line.find("\"id:") else {
                continue;
            };
            let digits: String = line[at + 4..]
                .chars()
                .take_while(char::is_ascii_digit)
                .collect();
            let rule: u32 = digits.parse().unwrap();
            let passes = open.iter().filter(|(claim, _)| *claim == Claim::Passes);
            let passes = passes.count();
            if (1_701_000..1_790_000).contains(&rule) && (passes == 0 || passes == open.len()) {
                without.push(rule);
            }
            all.extend(open.drain(..).map(|(claim, request)| Example {
                rule,
                claim,
                request,
                level,
            }));
        }
        assert!(open.is_empty(), "{}: examples of no rule", path.display());
    }
    (all, without)
}

/// Whether the request is refused, and which rules matched.
fn run(rules: &Ruleset, request: &str) -> (bool, Vec<u32>) {
    let (method, rest) = request.split_once(' ').unwrap();
    let (target, mut rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let mut version = "HTTP/1.1";
    if let Some((given, after)) = rest
        .strip_prefix('<')
        .and_then(|inner| inner.split_once('>'))
    {
        (version, rest) = (given, after.trim_start());
    }
    let mut headers = Vec::new();
    while let Some(inner) = rest.strip_prefix('[') {
        let (header, after) = inner.split_once(']').expect("a header ends with a bracket");
        let (name, value) = header.split_once(": ").expect("a header has a name");
        headers.push((name, value.to_owned()));
        rest = after.trim_start();
    }
    let (kind, body) = rest.split_once(' ').unwrap_or((rest, ""));
    let content_type = match kind {
        "" => None,
        "form" => Some("application/x-www-form-urlencoded"),
        "json" => Some("application/json"),
        "xml" => Some("application/xml"),
        "text" => Some("text/plain"),
        "multipart" => Some("multipart/form-data; boundary=x"),
        other => panic!("{request}: no body is a {other:?}"),
    };
    let body = match kind {
        "multipart" => body.replace('|', "\r\n"),
        _ => body.to_owned(),
    };
    let mut tx = rules.transaction(SystemTime::UNIX_EPOCH);
    tx.request_line(method.as_bytes(), target.as_bytes(), version.as_bytes());
    if !headers.iter().any(|(name, _)| *name == "Host") {
        tx.request_header(b"Host", b"shop.example");
    }
    for (name, value) in &headers {
        tx.request_header(name.as_bytes(), value.as_bytes());
    }
    if let Some(content_type) = content_type {
        tx.request_header(b"Content-Type", content_type.as_bytes());
        tx.request_header(b"Content-Length", body.len().to_string().as_bytes());
    }
    let stopped = tx
        .end_request_headers()
        .or_else(|| tx.request_body(body.as_bytes()))
        .or_else(|| tx.end_request_body());
    let is_refused = stopped.is_some();
    (
        is_refused,
        tx.matches().map(|found| found.rule_id()).collect(),
    )
}

#[test]
fn every_rule_does_what_its_examples_say() {
    let one = Core::new().build().unwrap();
    let two = Core::new().paranoia(Paranoia::Two).build().unwrap();
    let (examples, _without) = examples();
    assert!(
        examples.len() > 150,
        "only {} examples found",
        examples.len()
    );
    let mut wrong = Vec::new();
    for example in examples {
        let rules = if example.level == Paranoia::Two {
            &two
        } else {
            &one
        };
        let (is_refused, ids) = run(rules, &example.request);
        let matched = ids.contains(&example.rule);
        let is_right = match example.claim {
            Claim::Blocks => matched && is_refused,
            Claim::Scores => matched,
            Claim::Passes => !matched && !is_refused,
        };
        if !is_right {
            wrong.push(format!(
                "{example:?}: refused {is_refused}, matched {ids:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_rule_has_an_example_that_it_matches_and_one_that_it_must_not() {
    let (_examples, without) = examples();
    assert!(without.is_empty(), "without one or the other: {without:?}");
}

#[test]
fn every_rule_has_one_of_the_tags() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        for line in fs::read_to_string(entry.unwrap().path()).unwrap().lines() {
            if line.contains("\"id:17")
                && !line.contains("\"id:1700")
                && !line.contains("\"id:1790")
            {
                let (_, tag) = line.split_once("tag:'").expect(line);
                found.insert(tag.split_once('\'').unwrap().0.to_owned());
            }
        }
    }
    assert_eq!(found, TAGS.into_iter().map(str::to_owned).collect());
}

#[test]
fn a_higher_threshold_lets_one_match_pass() {
    let attack = "GET /get?file=/etc/passwd";
    assert!(run(&Core::new().build().unwrap(), attack).0);
    let (is_refused, ids) = run(&Core::new().threshold(500).build().unwrap(), attack);
    assert!(!is_refused && ids.contains(&1_703_020), "{ids:?}");
}

#[test]
fn the_head_is_refused_before_the_body_is_read() {
    let rules = Core::new().build().unwrap();
    let mut tx = rules.transaction(SystemTime::UNIX_EPOCH);
    tx.request_line(b"POST", b"/", b"HTTP/1.1");
    tx.request_header(b"User-Agent", b"sqlmap/1.8");
    assert_eq!(tx.end_request_headers().unwrap().phase(), 1);
}

/// As browsers write it: a text field, a file that was chosen, and one that was not.
#[test]
fn a_form_with_files_passes_whether_they_were_chosen_or_not() {
    let part = |head: &str, body: &str| {
        format!(
            "------FormBoundary7MA4YWxk\r\nContent-Disposition: form-data; {head}\r\n\r\n{body}\r\n"
        )
    };
    let body = [
        part("name=\"title\"", "It's a spade"),
        part(
            "name=\"image\"; filename=\"it's mine (1).jpg\"\r\nContent-Type: image/jpeg",
            "\u{fffd}JFIF\0\0",
        ),
        part(
            "name=\"manual\"; filename=\"\"\r\nContent-Type: application/octet-stream",
            "",
        ),
        "------FormBoundary7MA4YWxk--\r\n".to_owned(),
    ]
    .concat();
    for level in [Paranoia::One, Paranoia::Two] {
        let rules = Core::new().paranoia(level).build().unwrap();
        let mut tx = rules.transaction(SystemTime::UNIX_EPOCH);
        tx.request_line(b"POST", b"/items", b"HTTP/1.1");
        tx.request_header(b"Host", b"shop.example");
        tx.request_header(
            b"Content-Type",
            b"multipart/form-data; boundary=----FormBoundary7MA4YWxk",
        );
        let stopped = tx.end_request_headers();
        let stopped = stopped.or_else(|| tx.request_body(body.as_bytes()));
        let stopped = stopped.or_else(|| tx.end_request_body());
        let ids: Vec<_> = tx.matches().map(|found| found.rule_id()).collect();
        assert!(stopped.is_none(), "{level:?}: {ids:?}");
    }
}

#[test]
fn a_threshold_out_of_range_is_named() {
    for threshold in [0, 1_001] {
        let error = Core::new().threshold(threshold).build().unwrap_err();
        assert_eq!(
            error,
            CoreError::Threshold {
                threshold,
                highest: 1_000
            }
        );
        assert!(error.to_string().contains("1000"), "{error}");
    }
}
