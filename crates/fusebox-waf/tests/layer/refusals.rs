//! What a refusal looks like to a client.

use std::pin::pin;
use std::task::{Context, Waker};

use bytes::Bytes;
use fusebox_core::RejectionKind;
use fusebox_testkit::{MockBody, MockFrame};
use fusebox_waf::{OverLimit, Refusal};
use http::Request;
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt};

use crate::*;

#[tokio::test]
async fn an_attack_in_the_head_is_refused_before_a_byte_of_the_body_is_read() {
    let mock = mock();
    // Reading it would panic.
    let mut request = form(MockBody::of([MockFrame::Panic]));
    request
        .headers_mut()
        .insert("x-attack", "now".parse().unwrap());
    let answer = send(settings(), &mock, request).await;
    assert_eq!(answer.status(), 403);
    assert_eq!(mock.called(), 0);
    assert_eq!(kind(&answer), RejectionKind::Forbidden);
}

#[tokio::test]
async fn a_refusal_names_the_request_and_nothing_else() {
    let mut request = form(MockBody::full("q=evil"));
    request
        .headers_mut()
        .insert("x-request-id", "abc-123".parse().unwrap());
    let answer = send(settings(), &mock(), request).await;
    assert_eq!(answer.status(), 406);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    assert_eq!(answer.headers()["x-request-id"], "abc-123");
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["status"], 406);
    assert_eq!(problem["request_id"], "abc-123");
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert!(!text.contains("Evil") && !text.contains("evil"), "{text}");
}

#[tokio::test]
async fn an_id_that_is_none_is_not_repeated() {
    for id in ["<script>", "", &"x".repeat(65), "a b"] {
        let mut request = form(MockBody::full("q=evil"));
        request
            .headers_mut()
            .insert("x-request-id", id.parse().unwrap());
        let answer = send(settings(), &mock(), request).await;
        let given = answer.headers()["x-request-id"].to_str().unwrap();
        assert_ne!(given, id);
        assert!(given.len() >= 24, "{given}");
    }
}

#[tokio::test]
async fn a_grpc_call_is_refused_in_its_own_language_and_never_buffered() {
    let mock = mock();
    let call = |body| {
        Request::post("/shop.Orders/Watch")
            .header("content-type", "application/grpc")
            .body(body)
            .unwrap()
    };
    let mut request = call(MockBody::empty());
    request
        .headers_mut()
        .insert("x-attack", "now".parse().unwrap());
    let answer = send(settings(), &mock, request).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["grpc-status"], "7");
    assert_eq!(mock.called(), 0);

    let service = settings().build().unwrap().layer().layer(mock.service());
    let mut future = pin!(service.oneshot(call(MockBody::of([MockFrame::Stall]))));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(future.as_mut().poll(&mut cx).is_pending());
    assert_eq!(mock.called(), 1, "the call is made while its body is open");
}

#[tokio::test]
async fn a_redirect_and_a_drop_are_answers() {
    let answer = send(settings(), &mock(), form(MockBody::full("go=away"))).await;
    assert_eq!(answer.status(), 302);
    assert_eq!(answer.headers()["location"], "https://elsewhere.example/");
    for (version, closes) in [
        (http::Version::HTTP_11, true),
        (http::Version::HTTP_2, false),
    ] {
        let mut request = form(MockBody::empty());
        *request.version_mut() = version;
        request
            .headers_mut()
            .insert("x-drop", "now".parse().unwrap());
        let answer = send(settings(), &mock(), request).await;
        assert_eq!(answer.status(), 403);
        assert_eq!(answer.headers().contains_key("connection"), closes);
    }
}

#[tokio::test]
async fn what_is_refused_for_its_form_is_no_attack() {
    let long = form(MockBody::full("q=123456789"));
    let short = || settings().request_body(8, OverLimit::Refuse);
    let answer = send(short(), &mock(), long).await;
    assert_eq!(kind(&answer), RejectionKind::TooLarge);

    let rules = settings().text("small", "SecRequestBodyNoFilesLimit 4");
    let answer = send(rules, &mock(), form(MockBody::full("q=12345"))).await;
    assert_eq!(answer.status(), 413);
    assert_eq!(kind(&answer), RejectionKind::TooLarge);

    let mut coded = form(MockBody::full("q=1"));
    coded
        .headers_mut()
        .insert("content-encoding", "br".parse().unwrap());
    let answer = send(settings(), &mock(), coded).await;
    assert_eq!(kind(&answer), RejectionKind::Unsupported);

    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["code"], "unsupported");
}

#[tokio::test]
async fn a_host_that_is_not_the_one_of_the_target_is_a_second_one() {
    let two = r#"SecRule &REQUEST_HEADERS:Host "@gt 1" "id:20,phase:1,deny,status:421""#;
    let status = async |uri: &str, host: Option<&str>| {
        let mut request = Request::get(uri).version(http::Version::HTTP_2);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let request = request.body(MockBody::empty()).unwrap();
        let answer = send(settings().text("two.conf", two), &mock(), request).await;
        answer.status().as_u16()
    };
    assert_eq!(status("https://shop.example/", None).await, 200);
    assert_eq!(
        status("https://shop.example/", Some("Shop.example")).await,
        200
    );
    assert_eq!(
        status("https://me@shop.example/", Some("shop.example")).await,
        200
    );
    assert_eq!(status("/", Some("shop.example")).await, 200);
    for (uri, host, expected) in [
        ("https://shop.example:443/", "shop.example", 200),
        ("https://shop.example/", "Shop.example:443", 200),
        ("http://shop.example:80/", "shop.example", 200),
        ("http://shop.example:443/", "shop.example", 421),
        ("https://shop.example:8443/", "shop.example", 421),
    ] {
        assert_eq!(status(uri, Some(host)).await, expected, "{uri} {host}");
    }
    assert_eq!(
        status("https://shop.example/", Some("admin.example")).await,
        421
    );
}

#[tokio::test]
async fn a_response_of_ones_own_is_told_what_the_rule_says_and_is_marked() {
    let page = |refusal: &Refusal<'_>| {
        let location = refusal.location.map(|place| place.to_str().unwrap());
        let text = format!(
            "{} {} {} {}",
            refusal.request_id,
            refusal.status.as_u16(),
            refusal.rule_id,
            location.unwrap_or("-")
        );
        Response::new(Bytes::from(text))
    };
    let layer = settings().build().unwrap().layer();
    let layer = layer.respond_to_refusal(Arc::new(page));
    for (body, said) in [
        ("q=evil", "abc-123 406 2 -"),
        ("go=away", "abc-123 302 3 https://elsewhere.example/"),
    ] {
        let mut request = form(MockBody::full(body));
        let id = "abc-123".parse().unwrap();
        request.headers_mut().insert("x-request-id", id);
        let service = layer.layer(mock().service());
        let answer = service.oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 200, "as it was made");
        assert_eq!(answer.headers()["x-request-id"], "abc-123");
        assert_eq!(kind(&answer), RejectionKind::Forbidden);
        let got = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(got, said);
    }
}
