//! Bodies and the built-in rules.

use std::time::Duration;

use fusebox_core::{Registration, RejectionKind};
use fusebox_testkit::MockBody;
use fusebox_waf::{OverLimit, OverTime, Ruleset};
use http::Request;

use crate::*;

#[tokio::test]
async fn with_the_built_in_rules_a_long_text_passes_in_part_and_cut_json_is_malformed() {
    for (kind, start, repeated, end, status) in [
        (
            "application/x-www-form-urlencoded",
            "q=red",
            "+shoes",
            "",
            200,
        ),
        ("text/plain", "red", " shoes", "", 200),
        ("application/json", "[0", ",1", "]", 400),
    ] {
        let text = format!("{start}{}{end}", repeated.repeat(100));
        let request = Request::post("/import")
            .header("host", "shop.example")
            .header("user-agent", "Mozilla/5.0")
            .header("accept", "*/*")
            .header("content-type", kind)
            .body(MockBody::full(Box::leak(text.clone().into_boxed_str())))
            .unwrap();
        let rules = Ruleset::builder("core")
            .core()
            .request_body(100, OverLimit::InspectFirstPart)
            .registration(Registration::Unlisted);
        let mock = mock();
        let answer = send(rules, &mock, request).await;
        assert_eq!(answer.status(), status, "{kind}");
        if status == 200 {
            assert_eq!(mock.calls()[0].body.bytes(), text.as_bytes(), "{kind}");
        }
    }
}

#[tokio::test]
async fn a_body_that_is_not_what_it_says_is_refused_and_no_strike() {
    for (content_type, body) in [
        ("application/json", r#"{"a": "#),
        ("application/xml", "<a><b></a>"),
        ("multipart/form-data; boundary=x", "no part at all"),
    ] {
        let request = core_post(content_type, body.to_owned());
        let answer = send(core_settings(), &mock(), request).await;
        assert_eq!(answer.status(), 400, "{content_type}");
        assert_eq!(kind(&answer), RejectionKind::Unsupported, "{content_type}");
    }
}

#[tokio::test]
async fn with_the_built_in_rules_the_limit_is_the_one_that_is_set() {
    let note = format!(r#""{}","#, "two red shoes, please. ".repeat(100));
    let json = format!("[{}0]", note.repeat(390));
    let mock = mock();
    // Not the time either, where nothing is optimised and others compute as well.
    let patient = || core_settings().time_budget(Duration::from_secs(600), OverTime::Refuse);
    let answer = send(
        patient(),
        &mock,
        core_post("application/json", json.clone()),
    )
    .await;
    assert_eq!((answer.status().as_u16(), mock.called()), (200, 1));

    let small = patient().request_body(300_000, OverLimit::Refuse);
    let answer = send(small, &mock, core_post("application/json", json)).await;
    assert_eq!(answer.status(), 413);

    // Behind what was the limit of arguments alone.
    let late = format!(
        "a={}&q=1'+union+select+password+from+users--",
        "x".repeat(140_000)
    );
    let first_part = patient().request_body(1 << 20, OverLimit::InspectFirstPart);
    let answer = send(
        first_part,
        &mock,
        core_post("application/x-www-form-urlencoded", late),
    )
    .await;
    assert_eq!(answer.status(), 403);
}
