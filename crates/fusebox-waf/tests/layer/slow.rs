//! Bodies that take their time.

use std::convert::Infallible;
use std::task::Context;
use std::time::Duration;

use bytes::Bytes;
use fusebox_testkit::{MockBody, MockFrame};
use http::Request;
use tower::{Layer, ServiceExt};

use crate::*;

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_is_refused_at_the_deadline() {
    let mock = mock();
    let body = MockBody::of([MockFrame::data("q="), MockFrame::Stall]);
    let settings = settings()
        .body_deadline(Duration::from_secs(10))
        .body_rate(1, Duration::from_secs(60));
    let start = tokio::time::Instant::now();
    let answer = send(settings, &mock, form(body)).await;
    assert_eq!((answer.status().as_u16(), mock.called()), (408, 0));
    assert_eq!(start.elapsed().as_secs(), 10);
}

/// A byte each second, for ever.
struct Drip(tokio::time::Interval);

impl http_body::Body for Drip {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        self.0
            .poll_tick(cx)
            .map(|_| Some(Ok(http_body::Frame::data("x".into()))))
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_drips_is_refused_when_it_falls_behind_its_rate() {
    let settings = settings()
        .body_deadline(Duration::from_secs(3_000))
        .body_rate(10, Duration::from_secs(5));
    let service = settings.build().unwrap().layer().layer(mock().service());
    let drip = Drip(tokio::time::interval(Duration::from_secs(1)));
    let start = tokio::time::Instant::now();
    let request = Request::post("/").header("content-type", "application/json");
    let answer = service.oneshot(request.body(drip).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 408);
    // Six bytes after five seconds, worth 0.6 seconds more.
    assert!(
        (5..=6).contains(&start.elapsed().as_secs()),
        "{:?}",
        start.elapsed()
    );
}
