//! Requests that nobody sent: what they leave behind makes the first real one as fast as the thousandth.
//!
//! The large automata build their states as texts need them, each thread's caches are made when it first asks for them, and the
//! state of a transaction grows to the size that requests have. A few benign requests at load have all of that done; what they
//! cannot foresee (another thread, other text) costs microseconds, once.

use std::time::SystemTime;

use crate::ruleset::Ruleset;

const HEADERS: &[(&str, &str)] = &[
    ("Host", "www.example.com"),
    (
        "User-Agent",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    ),
    (
        "Accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    ),
    ("Accept-Language", "en-US,en;q=0.5"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    (
        "Referer",
        "https://www.example.com/catalogue?page=1&order=price",
    ),
    (
        "Cookie",
        "session=5f4dcc3b5aa765d61d8327deb882cf99; theme=dark; lang=en; consent=1; seen=1718000000",
    ),
    ("Sec-Fetch-Dest", "document"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Site", "same-origin"),
    ("Connection", "keep-alive"),
];

const REQUESTS: &[(&str, &str, &str, &str)] = &[
    ("GET", "/static/css/site.css?v=3", "", ""),
    (
        "GET",
        "/search?q=warm+winter+coat&page=2&order=price&max=100",
        "",
        "",
    ),
    (
        "POST",
        "/address",
        "application/x-www-form-urlencoded",
        "name=John+Smith&street=4+Long+Road&city=Leeds&email=john%40example.com&note=Please+ring+twice%2C+thank+you.",
    ),
    (
        "POST",
        "/orders",
        "application/json",
        r#"{"id":17,"lines":[{"sku":"AB-12","count":2,"gift":false,"note":"As a present"}],"total":"19.99","currency":"EUR"}"#,
    ),
];

/// Sends them, twice: the first time grows the state, the second finds it grown.
pub(crate) fn warm(rules: &Ruleset) {
    for (method, uri, kind, body) in REQUESTS.iter().chain(REQUESTS) {
        let mut tx = rules.transaction(SystemTime::UNIX_EPOCH);
        tx.request_line(method.as_bytes(), uri.as_bytes(), b"HTTP/1.1");
        for (name, value) in HEADERS {
            tx.request_header(name.as_bytes(), value.as_bytes());
        }
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
        tx.response_body(b"<!DOCTYPE html><html><body><h1>Welcome</h1><p>It is good to see you.</p></body></html>");
        tx.end_response_body();
        tx.finish();
    }
}
