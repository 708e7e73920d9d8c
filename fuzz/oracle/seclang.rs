//! The oracle of the rule language: a text is refused with its place or loads, and what loads means the same to the engine that
//! decides things at load and looks before it runs, and to the plain one.

use std::time::SystemTime;

use fusebox_seclang::{Ruleset, Transaction};

/// Panics where the parser, the compiler or the engine does not do with `data` what it should.
pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    // The files of this machine are not part of the input.
    let lower = text.to_ascii_lowercase();
    if lower.contains("include")
        || lower.contains("file")
        || lower.contains("@pmf")
        || lower.contains("@ipmatchf")
    {
        return;
    }
    let text = format!("SecRuleEngine On\nSecRequestBodyAccess On\n{text}");
    let builder = Ruleset::builder().text("fuzz", &text);
    match (builder.clone().build(), builder.plain().build()) {
        (Ok(fast), Ok(plain)) => assert_eq!(told(&request(&fast)), told(&request(&plain))),
        (Err(fast), Err(plain)) => {
            assert_eq!(fast, plain);
            assert!(fast.location().is_some(), "{fast}");
        }
        (fast, plain) => panic!("{fast:?} and {plain:?}"),
    }
}

fn request(rules: &Ruleset) -> Transaction {
    let mut tx = rules.transaction(SystemTime::UNIX_EPOCH);
    tx.request_line(
        b"POST",
        b"/path/to%20file.php?a=1&b=<script>&a=x%27y",
        b"HTTP/1.1",
    );
    tx.request_header(b"Host", b"example.com");
    tx.request_header(b"Cookie", b"session=1; theme=dark");
    tx.request_header(b"Content-Type", b"application/x-www-form-urlencoded");
    tx.request_body(b"c=union+select&d=%2e%2e%2f");
    tx.end_request_body();
    tx.response_line(200, b"HTTP/1.1");
    tx.end_response_headers();
    tx.end_response_body();
    tx.finish();
    tx
}

fn told(tx: &Transaction) -> (Vec<(Vec<u8>, String)>, String) {
    let matches = tx
        .matches()
        .map(|found| {
            let mut line = String::new();
            found.write_log_line(&mut line);
            (found.variable(), line)
        })
        .collect();
    (
        matches,
        format!("{:?} {:?}", tx.interruption(), tx.detected()),
    )
}
