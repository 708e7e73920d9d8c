//! However a body is cut, and wherever the limit is: what goes in comes out.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking too")]

use fusebox_core::Registration;
use fusebox_testkit::{
    MockBody, MockError, MockFrame, MockService, Script, body_to_frames, poll_n_times,
};
use fusebox_waf::{OverLimit, Ruleset};
use http::Request;
use proptest::prelude::*;
use tower::{Layer, ServiceExt};

fn rules(limit: usize) -> Ruleset {
    Ruleset::builder("replay")
        .text("rules.conf", "SecRuleEngine On\nSecRequestBodyAccess On\nSecRule ARGS \"@streq x\" \"id:1,phase:2,deny\"")
        .request_body(limit, OverLimit::InspectFirstPart)
        .registration(Registration::Unlisted)
        .build()
        .unwrap()
}

fn frame() -> impl Strategy<Value = MockFrame> {
    prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..200).prop_map(|data| MockFrame::Data(data.into())),
        1 => Just(MockFrame::Pending),
    ]
}

fn body() -> impl Strategy<Value = MockBody> {
    (
        prop::collection::vec(frame(), 0..150),
        0..3,
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(mut frames, end, hides, announces)| {
            match end {
                0 => {}
                1 => frames.push(MockFrame::trailer("x-sum", "1")),
                _ => frames.push(MockFrame::Error(MockError("reset"))),
            }
            let mut body = MockBody::of(frames);
            if hides {
                body = body.hiding_its_end();
            }
            if announces {
                body = body.announcing_its_length();
            }
            body
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_body_is_replayed_byte_for_byte(body in body(), limit in 1_usize..20_000) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mock = MockService::new(Script::ok(MockBody::empty())).handle();
            let service = rules(limit).layer().layer(mock.service());
            let sent = body.clone();
            let request = Request::post("/").header("content-type", "text/plain").body(body).unwrap();
            let answer = service.oneshot(request).await.unwrap();
            prop_assert_eq!(answer.status(), 200);
            let calls = mock.calls();
            let got = &calls.first().unwrap().body;
            match body_to_frames(sent).await {
                Ok(frames) => {
                    prop_assert_eq!(frames.bytes(), got.bytes());
                    prop_assert_eq!(frames.trailers, got.trailers.clone());
                }
                // What came before the error; that the error comes too, another test says.
                Err(_) => prop_assert!(got.trailers.is_none()),
            }
            Ok(())
        })?;
    }
}

/// Every place where a client may go away: nothing is told twice, nothing stays behind, the next request is served.
#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_anywhere_leaves_nothing_behind() {
    let rules = rules(1_000);
    let mock = MockService::new(Script::ok(MockBody::full("hello")).pending(2)).handle();
    for polls in 1..=20 {
        let service = rules.layer().layer(mock.service());
        let mut frames = vec![
            MockFrame::data("q=1"),
            MockFrame::Pending,
            MockFrame::data("2"),
        ];
        frames.push(MockFrame::Pending);
        let request = Request::post("/").body(MockBody::of(frames)).unwrap();
        let mut future = Box::pin(service.oneshot(request));
        let _ = poll_n_times(future.as_mut(), polls);
        drop(future);
    }
    let stats = rules.stats();
    assert_eq!(stats.ended(), 20, "each is told once");
    assert_eq!((stats.detected(), stats.refused()), (0, 0));
    let next = Request::post("/").body(MockBody::full("q=x")).unwrap();
    let answer = rules
        .layer()
        .layer(mock.service())
        .oneshot(next)
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
}
