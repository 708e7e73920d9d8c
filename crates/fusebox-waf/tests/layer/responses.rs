//! Responses under inspection.

use std::convert::Infallible;
use std::time::Duration;

use fusebox_core::{Outcome, RejectionKind, Verdict};
use fusebox_testkit::{MockBody, MockError, MockFrame, MockHandle, MockService, Recorder, Script};
use fusebox_waf::OverLimit;
use http::Response;
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt};

use crate::*;

#[tokio::test]
async fn a_response_is_inspected_where_it_was_asked_for() {
    let looking = || settings().responses(64, OverLimit::InspectFirstPart);
    let leak = || MockBody::of(["the sec", "ret"].map(MockFrame::data));
    let request = || form(MockBody::full("q=1"));
    let status =
        async |settings, mock: MockHandle| send(settings, &mock, request()).await.status().as_u16();
    assert_eq!(
        status(looking(), answering(leak(), "text/html; charset=utf-8")).await,
        500
    );
    assert_eq!(status(looking(), answering(leak(), "image/png")).await, 200);
    assert_eq!(
        status(looking(), answering(leak(), "text/event-stream")).await,
        200
    );
    assert_eq!(
        status(settings(), answering(leak(), "text/html")).await,
        200
    );

    let mut answer = Response::new(MockBody::full("x"));
    answer
        .headers_mut()
        .insert("x-leak", "now".parse().unwrap());
    let mock = MockService::new(Script::answer(answer)).handle();
    let refused = send(looking(), &mock, request()).await;
    assert_eq!(refused.status(), 502);
    assert_eq!(kind(&refused), RejectionKind::Withheld);
}

/// Its head is refused, or its body is, wherever that ends: the call was made.
#[tokio::test(start_paused = true)]
async fn a_withheld_answer_is_told_with_the_outcome_of_the_call() {
    let answer = |status: u16, leaks: bool, body: MockBody| {
        let mut answer = Response::builder().status(status);
        answer = answer.header("content-type", "text/html");
        if leaks {
            answer = answer.header("x-leak", "now");
        }
        answer.body(body).unwrap()
    };
    let data = |text| MockFrame::data(text);
    let error = MockFrame::Error(MockError("reset"));
    let long = [data("a secret of some length"), data("more"), data("more")];
    for (what, answer, outcome) in [
        (
            "a head",
            answer(200, true, MockBody::full("x")),
            Outcome::Cancelled,
        ),
        (
            "a failure",
            answer(503, true, MockBody::full("x")),
            Outcome::Failure,
        ),
        (
            "a whole body",
            answer(200, false, MockBody::full("secret")),
            Outcome::Success,
        ),
        (
            "a broken body",
            answer(200, false, MockBody::of([data("secret"), error])),
            Outcome::Failure,
        ),
        (
            "a body that is cut",
            answer(200, false, MockBody::of(long)),
            Outcome::Cancelled,
        ),
    ] {
        let recorder = Recorder::new();
        let rules = settings()
            .responses(20, OverLimit::Refuse)
            .observer(recorder.clone())
            .build()
            .unwrap();
        let mut answer = Some(answer);
        let slow = tower::service_fn(move |_| {
            let answer = answer.take();
            async move {
                tokio::time::sleep(Duration::from_secs(2)).await;
                Ok::<_, Infallible>(answer.unwrap())
            }
        });
        let service = rules.layer().layer(slow);
        let refused = service.oneshot(form(MockBody::full("q=1"))).await.unwrap();
        assert_eq!(kind(&refused), RejectionKind::Withheld, "{what}");
        let calls = recorder.calls();
        let [call] = calls.as_slice() else {
            panic!("{what}: {calls:?}");
        };
        assert_eq!(
            call.verdict,
            Verdict::Refused {
                kind: RejectionKind::Withheld,
                enforced: true
            },
            "{what}"
        );
        assert_eq!(call.outcome, Some(outcome), "{what}");
        assert_eq!(call.ran, Duration::from_secs(2), "{what}");
        let stats = rules.stats();
        assert_eq!((stats.refused(), stats.ended()), (1, 1), "{what}");
    }
}

#[tokio::test]
async fn a_response_under_inspection_arrives_as_it_was_sent() {
    let frames = [
        MockFrame::data("a"),
        MockFrame::Pending,
        MockFrame::data("bc"),
        MockFrame::trailer("x-sum", "1"),
    ];
    let mock = answering(MockBody::of(frames), "text/html");
    for (limit, over) in [(64, OverLimit::Refuse), (2, OverLimit::InspectFirstPart)] {
        let looking = settings().responses(limit, over);
        let answer = send(looking, &mock, form(MockBody::empty())).await;
        let body = answer.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["x-sum"], "1");
        assert_eq!(body.to_bytes(), "abc");
    }
    let strict = settings().responses(2, OverLimit::Refuse);
    let refused = send(strict, &mock, form(MockBody::empty())).await;
    assert_eq!(refused.status(), 500);
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_written_slowly_is_held_to_the_deadline_and_no_longer() {
    let slow = |first| MockBody::of([MockFrame::data(first), MockFrame::Stall]);
    for (over, first, status) in [
        (OverLimit::InspectFirstPart, "hello", 200),
        (OverLimit::InspectFirstPart, "the secret", 500),
        (OverLimit::Refuse, "hello", 500),
    ] {
        let looking = settings()
            .responses(64, over)
            .response_deadline(Duration::from_secs(7));
        let start = tokio::time::Instant::now();
        let mock = answering(slow(first), "text/plain");
        let answer = send(looking, &mock, form(MockBody::empty())).await;
        assert_eq!(start.elapsed().as_secs(), 7, "{over:?} {first}");
        assert_eq!(answer.status(), status, "{over:?} {first}");
        if status == 200 {
            let mut body = answer.into_body();
            let frame = body.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), "hello");
            let more = tokio::time::timeout(Duration::from_secs(60), body.frame());
            assert!(more.await.is_err(), "the rest as it comes");
        } else {
            assert_eq!(kind(&answer), RejectionKind::Withheld);
        }
    }
}
