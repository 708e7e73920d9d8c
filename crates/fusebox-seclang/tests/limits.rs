//! What a client may send, and what becomes of more: each bound with a body made to break it, as the rules see the outcome.

#![expect(
    clippy::panic,
    reason = "a test may say that this cannot fail: its panic is the report"
)]

use std::time::SystemTime;

use fusebox_seclang::{Action, OverBudget, Ruleset, Transaction, WorkBudget};

const FORM: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data; boundary=B";

/// What 200000 to 200003 of the recommended configuration do, and a report of what was read.
const RULES: &str = "SecRuleEngine On\nSecRequestBodyAccess On\n\
    SecRule REQUEST_HEADERS:Content-Type \"@contains json\" \"id:1,phase:1,pass,nolog,ctl:requestBodyProcessor=JSON\"\n\
    SecRule REQUEST_HEADERS:Content-Type \"@contains xml\" \"id:2,phase:1,pass,nolog,ctl:requestBodyProcessor=XML\"\n\
    SecRule REQBODY_ERROR \"!@eq 0\" \"id:3,phase:2,pass,msg:'%{REQBODY_ERROR_MSG}'\"\n\
    SecRule MULTIPART_FILE_LIMIT_EXCEEDED \"@eq 1\" \"id:4,phase:2,pass,msg:'too many files'\"\n\
    SecRule INBOUND_DATA_ERROR \"@eq 1\" \"id:5,phase:2,pass,msg:'too long'\"\n\
    SecRule &ARGS \"@gt 0\" \"id:6,phase:2,pass,msg:'%{MATCHED_VAR} arguments'\"\n";

struct Outcome {
    tx: Transaction,
    /// The status of a refusal while the body came, or after.
    refused: Option<u16>,
    messages: Vec<String>,
}

fn send(settings: &str, kind: &str, uri: &str, body: &[u8], chunk: usize) -> Outcome {
    let rules = Ruleset::builder()
        .text("rules", RULES)
        .text("settings", settings)
        .build()
        .unwrap_or_else(|error| panic!("{error}"));
    let mut tx = rules.transaction(SystemTime::UNIX_EPOCH);
    tx.request_line(b"POST", uri.as_bytes(), b"HTTP/1.1");
    tx.request_header(b"Content-Type", kind.as_bytes());
    for piece in body.chunks(chunk) {
        if tx.request_body(piece).is_some() {
            break;
        }
    }
    let stopped = tx.end_request_body();
    let refused = stopped.map(|stopped| match stopped.action() {
        Action::Deny { status } => *status,
        action => panic!("{action:?}"),
    });
    let messages = tx
        .matches()
        .map(|found| String::from_utf8_lossy(found.message()).into_owned());
    let messages = messages.collect();
    Outcome {
        tx,
        refused,
        messages,
    }
}

/// In one piece and in small ones.
fn says(settings: &str, kind: &str, body: &str, refused: Option<u16>, messages: &[&str]) {
    for chunk in [1, 7, 1 << 20] {
        let outcome = send(settings, kind, "/", body.as_bytes(), chunk);
        assert_eq!(
            (outcome.refused, &*outcome.messages.join(", ")),
            (refused, &*messages.join(", ")),
            "{settings} {chunk}"
        );
    }
}

#[test]
fn a_body_of_just_the_limit_passes_and_one_byte_more_does_not() {
    let reject = "SecRequestBodyLimit 9\nSecRequestBodyLimitAction Reject";
    says(reject, FORM, "a=1&b=234", None, &["2 arguments"]);
    says(reject, FORM, "a=1&b=2345", Some(413), &[]);
    let partial = "SecRequestBodyLimit 9\nSecRequestBodyLimitAction ProcessPartial";
    says(
        partial,
        FORM,
        "a=1&b=234&c=5",
        None,
        &["too long", "2 arguments"],
    );
    // What is cut is no JSON any more, and says so.
    says(
        partial,
        "application/json",
        "[1,2,3,4,5]",
        None,
        &["JSON, byte 9: ends too early", "too long", "4 arguments"],
    );
    let detect = format!("{reject}\nSecRuleEngine DetectionOnly");
    says(
        &detect,
        FORM,
        "a=1&b=2345",
        None,
        &["too long", "2 arguments"],
    );
}

#[test]
fn the_limit_without_files_counts_everything_but_their_content() {
    let limit = "SecRequestBodyNoFilesLimit 200";
    let file = "x".repeat(5_000);
    let part = |head: &str, value: &str| {
        format!(
            "--B\r\nContent-Disposition: form-data; name=\"a\"{head}\r\n\r\n{value}\r\n--B--\r\n"
        )
    };
    says(
        limit,
        MULTIPART,
        &part("; filename=\"f\"", &file),
        None,
        &[],
    );
    says(limit, MULTIPART, &part("", &file), Some(413), &[]);
    says(limit, FORM, &format!("a={file}"), Some(413), &[]);
    says(
        limit,
        "application/json",
        &format!("\"{file}\""),
        Some(413),
        &[],
    );
    says(limit, "text/xml", &format!("<a>{file}</a>"), Some(413), &[]);
    let partial = format!("{limit}\nSecRequestBodyLimitAction ProcessPartial");
    let outcome = send(&partial, FORM, "/", format!("a=1&b={file}").as_bytes(), 64);
    assert_eq!(
        (outcome.refused, outcome.messages),
        (None, vec!["too long".to_owned(), "2 arguments".to_owned()])
    );
}

#[test]
fn arguments_are_counted_in_every_kind_of_body_and_in_the_query() {
    let limit = "SecArgumentsLimit 3";
    let error = "more than 3 arguments";
    says(limit, FORM, "a&b&c", None, &["3 arguments"]);
    says(limit, FORM, "a&b&&c&d&e", None, &[error, "3 arguments"]);
    says(
        limit,
        "application/json",
        "[1,[],[2]]",
        None,
        &[error, "3 arguments"],
    );
    says(limit, "application/json", "[1,2]", None, &["3 arguments"]);
    let part = "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n";
    says(
        limit,
        MULTIPART,
        &format!("{}--B--\r\n", part.repeat(4)),
        None,
        &[error, "3 arguments"],
    );
    let file = part.replace("\"a\"", "\"a\"; filename=\"f\"");
    says(
        limit,
        MULTIPART,
        &format!("{}--B--\r\n", file.repeat(4)),
        None,
        &[error],
    );
    says(
        limit,
        "text/xml",
        "<a><b>1</b><b c='2' d='3'/><b>4</b></a>",
        None,
        &[error],
    );
    let outcome = send(limit, "", "/?a&b&c&d&e", b"", 1);
    assert_eq!(outcome.messages, [error, "3 arguments"]);
}

#[test]
fn nesting_has_a_bound_whatever_is_nested() {
    let limit = "SecRequestBodyJsonDepthLimit 4";
    says(
        limit,
        "application/json",
        "[[[[1]]]]",
        None,
        &["5 arguments"],
    );
    says(
        limit,
        "application/json",
        "[[[[[1]]]]]",
        None,
        &["JSON deeper than 4"],
    );
    says(
        limit,
        "application/json",
        &"{\"a\":".repeat(9),
        None,
        &["JSON deeper than 4"],
    );
    for (kind, open) in [("application/json", "["), ("text/xml", "<a>")] {
        let outcome = send("", kind, "/", open.repeat(30_000).as_bytes(), 4_096);
        let message = outcome.messages.concat();
        assert!(message.contains("deeper than"), "{kind}: {message}");
    }
}

#[test]
fn files_have_a_limit_and_parts_and_their_headers_have() {
    let file = |n: usize| {
        format!("--B\r\nContent-Disposition: form-data; name=\"a{n}\"; filename=\"f\"\r\n\r\n1\r\n")
    };
    let body: String = (0..4).map(file).collect();
    says(
        "SecUploadFileLimit 4",
        MULTIPART,
        &format!("{body}--B--\r\n"),
        None,
        &[],
    );
    says(
        "SecUploadFileLimit 3",
        MULTIPART,
        &format!("{body}--B--\r\n"),
        None,
        &["too many files"],
    );
    let many: String = (0..65).map(|n| format!("X-{n}: y\r\n")).collect();
    says(
        "",
        MULTIPART,
        &format!("--B\r\n{many}\r\n1\r\n--B--\r\n"),
        None,
        &["Multipart: too many part headers"],
    );
    let long = format!("--B\r\nX: {}\r\n\r\n1\r\n--B--\r\n", "y".repeat(1 << 16));
    says(
        "",
        MULTIPART,
        &long,
        None,
        &["Multipart: part header too long"],
    );
    let empty = "--B\r\n".repeat(20_000);
    let outcome = send("", MULTIPART, "/", empty.as_bytes(), 4_096);
    assert!(
        outcome
            .messages
            .concat()
            .contains("last boundary is missing"),
        "{:?}",
        outcome.messages
    );
}

/// Each shape in two sizes, one four times the other: work that grows with the square would be sixteen times as much.
#[test]
fn four_times_the_input_is_four_times_the_work() {
    let rules = "SecRule ARGS|ARGS_NAMES|REQUEST_COOKIES|REQUEST_COOKIES_NAMES|REQUEST_HEADERS|XML:/*|XML://@*|FILES|MULTIPART_PART_HEADERS \
                 \"@rx (?i)never[0-9]+x\" \"id:9,phase:2,pass,t:urlDecodeUni,t:htmlEntityDecode,t:jsDecode,t:cmdLine,t:replaceComments\"\n\
                 SecArgumentsLimit 100000\nSecRequestBodyNoFilesLimit 10000000\n";
    let part =
        "--B\r\nContent-Disposition: form-data; name=\"a\"; filename=\"f\"\r\nX: y\r\n\r\n1\r\n";
    let shapes: [(&str, &dyn Fn(usize) -> String); 12] = [
        (FORM, &|n| "a&".repeat(n)),
        (FORM, &|n| "a=%2525&".repeat(n)),
        (FORM, &|n| format!("a={}", "/*".repeat(n))),
        (FORM, &|n| format!("a={}", "&#x".repeat(n))),
        (FORM, &|n| format!("a={}", "\\u".repeat(n))),
        ("application/json", &|n| format!("[{}0]", "0,".repeat(n))),
        ("application/json", &|n| {
            format!("[{}]", "[],".repeat(n) + "[]")
        }),
        ("application/json", &|n| {
            format!("{{{}\"a\":0}}", "\"a\":{},".repeat(n))
        }),
        ("text/xml", &|n| format!("<r>{}</r>", "a<b/>".repeat(n))),
        ("text/xml", &|n| {
            format!(
                "<r>{}</r>",
                "<b c='&x;'>&</b>".replace('&', "&amp;").repeat(n)
            )
        }),
        (MULTIPART, &|n| format!("{}--B--\r\n", part.repeat(n / 8))),
        (MULTIPART, &|n| {
            format!("--B\r\n\r\n{}", "--C\r\n".repeat(n))
        }),
    ];
    for (at, (kind, shape)) in shapes.iter().enumerate() {
        let work = |n: usize| {
            send(rules, kind, "/", shape(n).as_bytes(), 4_096)
                .tx
                .work()
                .max(1)
        };
        let (small, large) = (work(1_500), work(6_000));
        assert!(
            large <= small * 5 + 4_096,
            "shape {at}: {small} and {large}"
        );
    }
    let cookies = |n: usize| {
        let rules = Ruleset::builder()
            .text("rules", RULES)
            .text("r", rules)
            .build()
            .unwrap();
        let mut tx = rules.transaction(SystemTime::UNIX_EPOCH);
        tx.request_line(b"GET", b"/", b"HTTP/1.1");
        tx.request_header(b"Cookie", "a=%41;".repeat(n).as_bytes());
        tx.end_request_body();
        tx.work()
    };
    let (small, large) = (cookies(1_500), cookies(6_000));
    assert!(large <= small * 5, "cookies: {small} and {large}");
}

/// Cookies have no count of their own: what they cost is bounded by the budget, as everything is.
#[test]
fn many_cookies_end_with_the_budget() {
    let rules = Ruleset::builder()
        .text("rules", RULES)
        .text("r", "SecRule REQUEST_COOKIES|REQUEST_COOKIES_NAMES \"!@rx ^[a-z]$\" \"id:9,phase:1,deny,t:urlDecodeUni,t:length\"")
        .budget(WorkBudget { bytes: 20_000, outcome: OverBudget::Refuse { status: 431 } })
        .build()
        .unwrap();
    let mut tx = rules.transaction(SystemTime::UNIX_EPOCH);
    tx.request_line(b"GET", b"/", b"HTTP/1.1");
    tx.request_header(b"Cookie", "a=1;".repeat(16_000).as_bytes());
    tx.end_request_headers();
    let stopped = tx.interruption().map(|stopped| stopped.action().clone());
    assert!(stopped.is_some(), "{}", tx.work());
    assert!(tx.work() < 200_000, "{}", tx.work());
}
