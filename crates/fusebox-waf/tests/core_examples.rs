//! Each built-in rule against the examples in the comment above it.
//!
//! `# blocks:` is a request that this rule has to match and that has to be refused; `# scores:` one that it has to match; `# passes:`
//! one that it must not match and that must not be refused. What a request looks like is said in `common/sentence.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may"
)]

#[path = "common/sentence.rs"]
mod sentence;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use bytes::Bytes;
use fusebox_core::Registration;
use fusebox_seclang::Ruleset;
use fusebox_waf::InspectedBody;
use fusebox_waf::core::{Core, CoreError, Paranoia, TAGS};
use http::{Request, Response};
use http_body_util::Full;
use tower::{Layer, ServiceExt, service_fn};

use crate::sentence::Sentence;

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

/// Whether the engine refuses the request, and which rules matched.
fn run(rules: &Ruleset, request: &str) -> (bool, Vec<u32>) {
    let sentence = Sentence::parse(request);
    let mut tx = rules.transaction(SystemTime::UNIX_EPOCH);
    let (method, target) = (sentence.method.as_bytes(), sentence.target.as_bytes());
    tx.request_line(method, target, sentence.version.as_bytes());
    if !sentence.headers.iter().any(|(name, _)| name == "Host") {
        tx.request_header(b"Host", b"shop.example");
    }
    for (name, value) in &sentence.headers {
        tx.request_header(name.as_bytes(), value);
    }
    let stopped = tx
        .end_request_headers()
        .or_else(|| tx.request_body(&sentence.body))
        .or_else(|| tx.end_request_body());
    let is_refused = stopped.is_some();
    (
        is_refused,
        tx.matches().map(|found| found.rule_id()).collect(),
    )
}

/// The same by the layer; `None` if no server hands such a request to one.
async fn run_layer(rules: &fusebox_waf::Ruleset, request: &str) -> Option<(bool, Vec<u32>)> {
    let request = Sentence::parse(request).to_request()?;
    let inner = service_fn(async |_: Request<InspectedBody<Full<Bytes>>>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let before: BTreeMap<_, _> = rules.hits().into_iter().collect();
    let answer = rules.layer().layer(inner).oneshot(request).await.unwrap();
    let matched = rules
        .hits()
        .into_iter()
        .filter(|(id, count)| before.get(id) != Some(count))
        .map(|(id, _)| id);
    Some((answer.status() != 200, matched.collect()))
}

fn is_right(example: &Example, is_refused: bool, ids: &[u32]) -> bool {
    let matched = ids.contains(&example.rule);
    match example.claim {
        Claim::Blocks => matched && is_refused,
        Claim::Scores => matched,
        Claim::Passes => !matched && !is_refused,
    }
}

/// What no server hands to a layer: hyper has refused it, or joined it to something else.
const SERVER_ONLY: [&str; 1] = ["GET / <JUNK/1.0>"];

#[tokio::test]
async fn every_rule_does_the_same_in_the_layer() {
    let of = |level| {
        fusebox_waf::Ruleset::builder("examples")
            .core_with(Core::new().paranoia(level))
            .registration(Registration::Unlisted)
            .build()
            .unwrap()
    };
    let (one, two) = (of(Paranoia::One), of(Paranoia::Two));
    let (examples, _without) = examples();
    let mut wrong = Vec::new();
    let mut unseen = Vec::new();
    for example in examples {
        let rules = if example.level == Paranoia::Two {
            &two
        } else {
            &one
        };
        match run_layer(rules, &example.request).await {
            None => unseen.push(example.request),
            Some((is_refused, ids)) if !is_right(&example, is_refused, &ids) => {
                wrong.push(format!(
                    "{example:?}: refused {is_refused}, matched {ids:?}"
                ));
            }
            Some(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(unseen, SERVER_ONLY);
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
        if !is_right(&example, is_refused, &ids) {
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
