//! Other rules under way.

use std::pin::pin;
use std::task::{Context, Waker};

use fusebox_testkit::{MockBody, MockFrame};
use fusebox_waf::{OverLimit, Ruleset};
use tower::{Layer, ServiceExt};

use crate::*;

#[tokio::test]
async fn rules_are_swapped_while_a_request_is_under_inspection() {
    let rules = settings().build().unwrap();
    let mock = mock();
    let service = rules.layer().layer(mock.service());
    let body = MockBody::of([
        MockFrame::data("q="),
        MockFrame::Pending,
        MockFrame::data("evil"),
    ]);
    let mut future = pin!(service.clone().oneshot(form(body)));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(future.as_mut().poll(&mut cx).is_pending());
    rules.swap(
        Ruleset::builder("none")
            .text("x", "SecRuleEngine On")
            .compile()
            .unwrap(),
    );
    assert_eq!(
        future.await.unwrap().status(),
        406,
        "it ends with what it began with"
    );
    let next = service
        .oneshot(form(MockBody::full("q=evil")))
        .await
        .unwrap();
    assert_eq!(next.status(), 200);
}

#[tokio::test]
async fn limits_are_swapped_with_the_rules_that_they_were_made_with() {
    let limited = |limit| settings().request_body(limit, OverLimit::Refuse);
    let rules = limited(8).build().unwrap();
    let service = rules.layer().layer(mock().service());
    let status = async || {
        let request = form(MockBody::full("q=123456789"));
        let answer = service.clone().oneshot(request).await;
        answer.unwrap().status().as_u16()
    };
    assert_eq!(status().await, 413);
    rules.swap(limited(1_000).compile().unwrap());
    assert_eq!(status().await, 200);
    rules.swap(limited(10).compile().unwrap());
    assert_eq!(status().await, 413);
}
