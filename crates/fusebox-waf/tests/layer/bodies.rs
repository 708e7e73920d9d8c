//! What becomes of bodies.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use bytes::Bytes;
use fusebox_testkit::{MockBody, MockError, MockFrame};
use fusebox_waf::OverLimit;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt};

use crate::*;

#[tokio::test]
async fn an_attack_cut_into_frames_is_found_and_never_reaches_the_service() {
    let mock = mock();
    let frames = ["q=", "e", "v", "il"].map(MockFrame::data);
    let answer = send(settings(), &mock, form(MockBody::of(frames))).await;
    assert_eq!(answer.status(), 406);
    assert_eq!(mock.called(), 0);
}

#[tokio::test]
async fn a_body_that_is_announced_too_long_is_refused_unread() {
    let body =
        MockBody::of([MockFrame::data("q=123456789"), MockFrame::Panic]).announcing_its_length();
    let mock = mock();
    let settings = settings().request_body(8, OverLimit::Refuse);
    let answer = send(settings, &mock, form(body)).await;
    assert_eq!((answer.status().as_u16(), mock.called()), (413, 0));
}

#[tokio::test]
async fn a_body_that_turns_out_too_long_is_refused_where_that_shows() {
    let body = MockBody::of([
        MockFrame::data("q=1234"),
        MockFrame::data("567"),
        MockFrame::Panic,
    ]);
    let mock = mock();
    let settings = settings().request_body(8, OverLimit::Refuse);
    let answer = send(settings, &mock, form(body)).await;
    assert_eq!((answer.status().as_u16(), mock.called()), (413, 0));
}

#[tokio::test]
async fn of_a_long_body_the_first_part_is_inspected_and_the_rest_streams() {
    let limited = || settings().request_body(8, OverLimit::InspectFirstPart);
    let mock = mock();
    let body = MockBody::of([
        MockFrame::data("q=1234"),
        MockFrame::data("567evil"),
        MockFrame::Pending,
        MockFrame::data("more"),
        MockFrame::trailer("x-sum", "1"),
    ]);
    let answer = send(limited(), &mock, form(body)).await;
    assert_eq!(answer.status(), 200);
    let calls = mock.calls();
    assert_eq!(calls[0].body.bytes(), b"q=1234567evilmore");
    assert_eq!(calls[0].body.trailers.as_ref().unwrap()["x-sum"], "1");

    let early = MockBody::of(["q=evil", "12345678"].map(MockFrame::data));
    assert_eq!(send(limited(), &mock, form(early)).await.status(), 406);
}

#[tokio::test]
async fn what_no_rule_can_read_streams() {
    let mock = mock();
    let service = settings().build().unwrap().layer().layer(mock.service());
    let request = Request::post("/upload")
        .header("content-type", "image/png")
        .body(MockBody::of([MockFrame::data("evil"), MockFrame::Stall]))
        .unwrap();
    let mut future = pin!(service.oneshot(request));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(future.as_mut().poll(&mut cx).is_pending());
    assert_eq!(mock.called(), 1);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_inspected_and_handed_on_with_its_error() {
    let error = MockFrame::Error(MockError("reset"));
    let mock = mock();
    let body = MockBody::of([MockFrame::data("q=evil"), error.clone()]);
    assert_eq!(send(settings(), &mock, form(body)).await.status(), 406);

    let seen = Arc::new(Mutex::new(None));
    let inner = {
        let seen = seen.clone();
        tower::service_fn(
            move |request: Request<fusebox_waf::InspectedBody<MockBody>>| {
                let seen = seen.clone();
                async move {
                    let mut body = request.into_body();
                    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
                    let then = body.frame().await.unwrap().unwrap_err();
                    *seen.lock().unwrap() = Some((first, then, body.frame().await.is_none()));
                    Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
                }
            },
        )
    };
    let body = MockBody::of([MockFrame::data("q=good"), error]);
    let layer = settings().build().unwrap().layer();
    let _ = layer.layer(inner).oneshot(form(body)).await.unwrap();
    let seen = seen.lock().unwrap().take().unwrap();
    assert_eq!(seen, (Bytes::from("q=good"), MockError("reset"), true));
}
