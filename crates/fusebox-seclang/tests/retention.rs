//! What a request leaves behind in memory does not depend on how large it was.
//!
//! A test of its own program: it counts every byte that is allocated.

mod core_rules;

use std::alloc::System;
use std::time::SystemTime;

use fusebox_seclang::Ruleset;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn held() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated.wrapping_sub(stats.bytes_deallocated)
}

fn send(rules: &Ruleset, kind: &str, body: &[u8]) {
    let mut tx = rules.transaction(SystemTime::UNIX_EPOCH);
    tx.request_line(b"POST", b"/?a=1", b"HTTP/1.1");
    tx.request_header(b"Host", b"shop.example.com");
    tx.request_header(b"Content-Type", kind.as_bytes());
    tx.end_request_headers();
    tx.request_body(body);
    tx.end_request_body();
    tx.response_line(200, b"HTTP/1.1");
    tx.response_header(b"Content-Type", b"text/html");
    tx.end_response_headers();
    tx.response_body(body);
    tx.end_response_body();
    tx.finish();
}

/// Bodies that fill every buffer there is: texts, arguments, matches, log lines, what is decoded.
fn hostile() -> Vec<(&'static str, String)> {
    const FORM: &str = "application/x-www-form-urlencoded";
    let attack = "%27%20UNION%20SELECT%20x%20FROM%20y--%20%3Cscript%3Ealert(1)%3C/script%3E;wget%20http://e/;../../etc/passwd";
    vec![
        (FORM, format!("a={}", "%41".repeat(40_000))),
        (FORM, (0..8_000).map(|n| format!("{n:x}={n}'&")).collect()),
        (
            FORM,
            (0..1_000).map(|n| format!("a{n}={attack}{n}&")).collect(),
        ),
        (
            "application/json",
            format!(
                "[{}]",
                vec![format!("{}1{}", "[".repeat(300), "]".repeat(300)); 200].join(",")
            ),
        ),
    ]
}

#[test]
fn a_burst_of_large_bodies_leaves_no_large_buffers_behind() {
    /// A state keeps at most 128 KiB of each of its two dozen buffers.
    const STATE: usize = 24 * (128 << 10);
    let Some(folder) = core_rules::folder() else {
        return;
    };
    let setup = r#"
        SecRuleEngine DetectionOnly
        SecRequestBodyAccess On
        SecResponseBodyAccess On
        SecResponseBodyMimeType text/html
        SecRule REQUEST_HEADERS:Content-Type "^application/json" "id:200001,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
        "#;
    let rules = Ruleset::builder()
        .text("setup", setup)
        .crs(folder)
        .build()
        .unwrap();
    let bodies = hostile();
    // What the automata of the expressions build as they go stays, up to a limit of their own, and so it is left out here.
    for (kind, body) in &bodies {
        send(&rules, kind, body.as_bytes());
    }
    let before = held();
    // Many at once, so that many states have to grow.
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut open = Vec::new();
                for (kind, body) in bodies.iter().cycle().take(8) {
                    let mut tx = rules.transaction(SystemTime::UNIX_EPOCH);
                    tx.request_line(b"POST", b"/", b"HTTP/1.1");
                    tx.request_header(b"Content-Type", kind.as_bytes());
                    tx.end_request_headers();
                    tx.request_body(body.as_bytes());
                    tx.end_request_body();
                    open.push(tx);
                }
            });
        }
    });
    let left = held().saturating_sub(before);
    println!("{left} bytes left by 16 requests");
    assert!(left <= 16 * STATE, "{left} of {}", 16 * STATE);
}
