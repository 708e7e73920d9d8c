//! Enforce, shadow, percentages, and rules that only detect.

use std::convert::Infallible;

use bytes::Bytes;
use fusebox_core::{Mode, RejectionKind, Value, Verdict};
use fusebox_testkit::{MockBody, Recorder};
use fusebox_waf::{Compressed, OverLimit};
use http::{HeaderValue, Response};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt};

use crate::*;

#[tokio::test]
async fn shadow_lets_through_and_tells_apart() {
    let rules = settings().mode(Mode::Shadow).build().unwrap();
    let mock = mock();
    let service = rules.layer().layer(mock.service());
    for expected in [200, 406] {
        let answer = service
            .clone()
            .oneshot(form(MockBody::full("q=evil")))
            .await;
        let answer = answer.unwrap();
        assert_eq!(answer.status(), expected);
        let _ = answer.into_body().collect().await;
        rules.set_mode(Mode::Enforce);
    }
    assert_eq!(mock.calls()[0].body.bytes(), b"q=evil");
    let stats = rules.stats();
    assert_eq!((stats.detected(), stats.refused()), (2, 1));
    assert_eq!(rules.hits(), [(2, 2)]);
    let counts = Value::Counts(vec![("2".to_owned(), 2)]);
    assert_eq!(rules.snapshot().get("hits"), Some(&counts));
}

#[tokio::test]
async fn a_percentage_acts_on_its_share_and_detects_all() {
    let rules = settings()
        .mode(Mode::percentage(25).unwrap())
        .build()
        .unwrap();
    let mock = mock();
    let service = rules.layer().layer(mock.service());
    let mut refused = 0_u64;
    for _ in 0..400 {
        let answer = service
            .clone()
            .oneshot(form(MockBody::full("q=evil")))
            .await;
        let answer = answer.unwrap();
        refused += u64::from(answer.status() == 406);
        let _ = answer.into_body().collect().await;
    }
    assert!((90..=110).contains(&refused), "{refused} of 400");
    assert_eq!(mock.called() as u64, 400 - refused);
    let stats = rules.stats();
    assert_eq!((stats.detected(), stats.refused()), (400, refused));
    assert_eq!(rules.hits(), [(2, 400)]);
}

#[tokio::test]
async fn rules_that_only_detect_are_told_as_shadowed() {
    let rules = settings()
        .text("detect", "SecRuleEngine DetectionOnly")
        .build()
        .unwrap();
    let answer = rules
        .layer()
        .layer(mock().service())
        .oneshot(form(MockBody::full("q=evil")));
    assert_eq!(answer.await.unwrap().status(), 200);
    let stats = rules.stats();
    assert_eq!((stats.detected(), stats.refused()), (1, 0));
}

#[tokio::test]
async fn rules_that_only_detect_go_on_with_the_response() {
    let detecting = settings()
        .text("detect", "SecRuleEngine DetectionOnly")
        .responses(64, OverLimit::Refuse);
    let (detecting, heard) = listening(detecting);
    let mock = answering(MockBody::full("secret"), "text/html");
    let rules = detecting.build().unwrap();
    let service = rules.layer().layer(mock.service());
    let answer = service.oneshot(form(MockBody::full("q=evil"))).await;
    let body = answer.unwrap().into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), "secret");
    let heard = heard.lock().unwrap();
    let (decision, findings) = &heard[0];
    assert_eq!(*decision, Some((2, false)), "the first that decided");
    let ids: Vec<_> = findings.iter().map(|(id, ..)| *id).collect();
    assert_eq!((ids, heard.len()), (vec![2, 6], 1));
    assert_eq!((rules.stats().detected(), rules.stats().refused()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn rules_that_only_detect_refuse_nothing_at_the_limits_of_the_layer_either() {
    let detecting = || settings().text("detect", "SecRuleEngine DetectionOnly");
    let coded = |coding: &'static str| {
        let mut request = form(MockBody::full("q=1"));
        let coding = HeaderValue::from_static(coding);
        request.headers_mut().insert("content-encoding", coding);
        request
    };
    let long = || MockBody::of(["q=12345678", "9"].map(MockFrame::data));
    let short = || detecting().request_body(8, OverLimit::Refuse);
    let stalled = MockBody::of([MockFrame::data("q="), MockFrame::Stall]);
    let cases = [
        (
            "announced",
            short(),
            form(long().announcing_its_length()),
            RejectionKind::TooLarge,
        ),
        (
            "longer than told",
            short(),
            form(long()),
            RejectionKind::TooLarge,
        ),
        (
            "a coding",
            detecting(),
            coded("br"),
            RejectionKind::Unsupported,
        ),
        (
            "no gzip",
            detecting().compressed(Compressed::DECODE),
            coded("gzip"),
            RejectionKind::Unsupported,
        ),
        ("slow", detecting(), form(stalled), RejectionKind::TooSlow),
    ];
    for (what, settings, request, kind) in cases {
        let recorder = Recorder::new();
        let rules = settings.observer(recorder.clone()).build().unwrap();
        // It does not read the body, of which some never end.
        let inner = tower::service_fn(async |_| {
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        });
        let answer = rules.layer().layer(inner).oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 200, "{what}");
        let _ = answer.into_body().collect().await;
        let shadowed = Verdict::Refused {
            kind,
            enforced: false,
        };
        assert_eq!(recorder.calls()[0].verdict, shadowed, "{what}");
        assert_eq!((rules.stats().detected(), rules.stats().refused()), (1, 0));
    }
}
