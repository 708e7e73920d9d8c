//! What must be true of what is read out of a server's answer, whatever it sends: nothing is made up, and a field that
//! is written as the RFC says is read as it was meant.

use std::time::Duration;

use fusebox_rate_limit::rest_asked;
use http::{HeaderMap, HeaderValue, StatusCode};

const FIELDS: [&str; 5] = [
    "ratelimit",
    "ratelimit",
    "retry-after",
    "date",
    "grpc-retry-pushback-ms",
];

pub(crate) fn check(data: &[u8]) {
    as_it_comes(data);
    as_it_is_meant(data);
}

/// A line for each field.
fn as_it_comes(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for (name, line) in FIELDS.into_iter().zip(data.split(|byte| *byte == b'\n')) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(name, value);
        }
    }
    let asked = |status, headers: &HeaderMap| rest_asked(status, headers);
    let (ok, refused) = (StatusCode::OK, StatusCode::TOO_MANY_REQUESTS);
    // Nothing is asked for that is no number in there, but by a date.
    let whole = asked(ok, &headers);
    assert!(whole.is_zero() || is_there(whole, &headers), "{whole:?}");
    // What is said of quotas may be overruled by a `Retry-After`, what is said of the call may not.
    let mut overruled = headers.clone();
    overruled.remove("ratelimit");
    assert!(asked(refused, &headers) >= asked(ok, &overruled));
    headers.remove("retry-after");
    assert_eq!(asked(refused, &headers), whole);
    headers.remove("ratelimit");
    assert!(asked(ok, &headers) <= whole);
    headers.remove("grpc-retry-pushback-ms");
    assert_eq!(asked(refused, &headers), Duration::ZERO);
}

fn is_there(asked: Duration, headers: &HeaderMap) -> bool {
    let saturates = [
        Duration::from_secs(u64::MAX),
        Duration::from_millis(u64::MAX),
    ];
    let numbers = [asked.as_secs().to_string(), asked.as_millis().to_string()];
    saturates.contains(&asked)
        || headers.values().any(|value| {
            let text = String::from_utf8_lossy(value.as_bytes());
            numbers.iter().any(|number| text.contains(number.as_str()))
        })
}

/// Four bytes an item: what is left, the time, which name, and what other parameters stand in between.
fn as_it_is_meant(data: &[u8]) {
    let (mut field, mut longest) = (String::new(), 0);
    for item in data.chunks_exact(4) {
        let [left, seconds, name, others] = item else {
            return;
        };
        let left = left % 3;
        if !field.is_empty() {
            field.push_str(if others & 1 == 0 { ", " } else { "," });
        }
        let name = [
            "\"burst\"",
            "\"a\\\"b;r=0;t=999, \"",
            "burst",
            "\"\\\\\"",
            "\"\"",
        ][usize::from(name % 5)];
        let other = |bit: u8, text| if others >> bit & 1 == 1 { text } else { "" };
        field.push_str(name);
        field.push_str(other(1, ";pk=:cHsdsRa894==:"));
        let (r, t) = (format!(";r={left}"), format!(";t={seconds}"));
        let (first, second) = if others & 4 == 0 { (r, t) } else { (t, r) };
        field.push_str(&first);
        field.push_str(other(3, "; x=\";r=0;t=999\""));
        field.push_str(&second);
        field.push_str(other(4, ";y"));
        if left == 0 {
            longest = longest.max(u64::from(*seconds));
        }
    }
    let mut headers = HeaderMap::new();
    headers.insert("ratelimit", HeaderValue::from_str(&field).unwrap());
    let asked = rest_asked(StatusCode::OK, &headers);
    assert_eq!(asked, Duration::from_secs(longest), "{field}");
}
