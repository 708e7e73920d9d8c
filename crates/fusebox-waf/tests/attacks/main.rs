//! Attacks of today and what looks like them, through the layer: what the built-in rules stop, and what they leave alone.
//!
//! The tables are data, and honest ones: an attack that passes is marked as missed and a harmless request that is refused as refused, each
//! with its reason, and a mark that is no longer true fails like anything else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's helpers fail by panicking too"
)]

#[path = "../common/sentence.rs"]
mod sentence;

use std::collections::BTreeMap;
use std::convert::Infallible;

use bytes::Bytes;
use fusebox_core::Registration;
use fusebox_waf::{InspectedBody, Ruleset};
use http::{Request, Response};
use http_body_util::Full;
use tower::{Layer, ServiceExt, service_fn};

use crate::sentence::Sentence;

/// A line of a table.
struct Line<'a> {
    family: &'a str,
    text: &'a str,
    marked: bool,
}

fn lines<'a>(table: &'a str, mark: &str) -> Vec<Line<'a>> {
    let (mut family, mut lines) = ("", Vec::new());
    for line in table.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            family = name;
        } else if !line.is_empty() && !line.starts_with('#') {
            let text = line.strip_prefix(mark).map(str::trim_start);
            lines.push(Line {
                family,
                text: text.unwrap_or(line),
                marked: text.is_some(),
            });
        }
    }
    lines
}

/// The bytes that a line stands for.
fn unescape(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text);
    while let Some((before, after)) = rest.split_once('<') {
        bytes.extend_from_slice(before.as_bytes());
        let (name, behind) = after.split_once('>').unwrap_or((after, ""));
        let letter = match name {
            "CR" => Some('\r'),
            "LF" => Some('\n'),
            "TAB" => Some('\t'),
            "NUL" => Some('\0'),
            _ => name
                .strip_prefix("U+")
                .and_then(|hex| u32::from_str_radix(hex, 16).ok())
                .and_then(char::from_u32),
        };
        match letter {
            Some(letter) => {
                bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                rest = behind;
            }
            None => {
                bytes.push(b'<');
                rest = after;
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

/// As a browser does it.
fn percent(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        match byte {
            b' ' => text.push('+'),
            byte if byte.is_ascii_alphanumeric() || b"-_.~*".contains(byte) => {
                text.push(char::from(*byte));
            }
            byte => text += &format!("%{byte:02X}"),
        }
        text
    })
}

fn request(line: &str) -> Request<Full<Bytes>> {
    let (place, rest) = line.split_once(' ').expect("a place and a payload");
    let raw = unescape(rest);
    let post =
        |kind: &str, body: Vec<u8>| Sentence::new("POST", "/api/items").with_body(kind, body);
    let sentence = match place {
        "q" => Sentence::new("GET", &format!("/search?q={}", percent(&raw))),
        "f" => post(
            "application/x-www-form-urlencoded",
            format!("page=2&text={}", percent(&raw)).into_bytes(),
        ),
        "j" => {
            // What is escaped in the table already stays as it is.
            let text = String::from_utf8(raw).unwrap();
            let quoted = if text.contains("\\u") {
                format!("\"{text}\"")
            } else {
                serde_json::Value::from(text).to_string()
            };
            post(
                "application/json",
                format!(r#"{{"id": 7, "text": {quoted}}}"#).into_bytes(),
            )
        }
        "b" => post("application/json", raw),
        "x" => post("application/xml", raw),
        "t" => post("text/plain", raw),
        "m" => {
            let (head, text) = rest.split_once('|').expect("a head and a text");
            let kind = if head.contains("filename") {
                "\r\nContent-Type: text/plain"
            } else {
                ""
            };
            let mut body = format!("--x\r\nContent-Disposition: {head}{kind}\r\n\r\n").into_bytes();
            body.extend(unescape(text));
            body.extend_from_slice(b"\r\n--x--\r\n");
            post("multipart/form-data; boundary=x", body)
        }
        "h" => {
            let (name, value) = rest.split_once(": ").expect("a name and a value");
            Sentence::new("GET", "/items").with_header(name, &unescape(value))
        }
        "c" => Sentence::new("GET", "/items")
            .with_header("cookie", &[b"theme=dark; id=".as_slice(), &raw].concat()),
        "p" => Sentence::new("GET", rest),
        "r" => Sentence::parse(rest),
        other => panic!("{line}: no place is called {other:?}"),
    };
    sentence
        .to_request()
        .unwrap_or_else(|| panic!("{line}: no such request"))
}

/// The lines on which the rules do something else than is written, and how many of each family they refuse.
async fn judge(lines: &[Line<'_>], attacks: bool) -> (Vec<String>, String) {
    let rules = Ruleset::builder("table")
        .core()
        .registration(Registration::Unlisted)
        .build()
        .unwrap();
    let inner = service_fn(async |_: Request<InspectedBody<Full<Bytes>>>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let service = rules.layer().layer(inner);
    let mut wrong = Vec::new();
    let mut tally: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let (mut refused_in_all, mut before) = (0, BTreeMap::new());
    for line in lines {
        let answer = service.clone().oneshot(request(line.text)).await.unwrap();
        let is_refused = answer.status() != 200;
        let hits: BTreeMap<_, _> = rules.hits().into_iter().collect();
        let (refused, all) = tally.entry(line.family).or_default();
        *refused += usize::from(is_refused);
        *all += 1;
        refused_in_all += usize::from(is_refused);
        if is_refused != (attacks != line.marked) {
            let matched: Vec<_> = hits
                .iter()
                .filter(|(id, count)| before.get(*id) != Some(*count))
                .map(|(id, _)| *id)
                .collect();
            let (family, text) = (line.family, line.text);
            wrong.push(format!("{family}: {} {matched:?} {text}", answer.status()));
        }
        before = hits;
    }
    let families = tally
        .iter()
        .map(|(family, (refused, all))| format!("{family} {refused}/{all}"));
    let families = families.collect::<Vec<_>>().join(", ");
    (
        wrong,
        format!("refused {refused_in_all} of {}: {families}", lines.len()),
    )
}

#[tokio::test]
async fn the_attacks_of_the_table_are_refused() {
    let lines = lines(include_str!("attacks.txt"), "missed:");
    assert!(lines.len() >= 300, "{} attacks", lines.len());
    let (wrong, report) = judge(&lines, true).await;
    println!("attacks {report}");
    assert!(wrong.is_empty(), "{report}\n{}", wrong.join("\n"));
}

#[tokio::test]
async fn what_looks_like_an_attack_passes() {
    let lines = lines(include_str!("harmless.txt"), "refused:");
    assert!(lines.len() >= 200, "{} requests", lines.len());
    let (wrong, report) = judge(&lines, false).await;
    println!("harmless {report}");
    assert!(wrong.is_empty(), "{report}\n{}", wrong.join("\n"));
}
