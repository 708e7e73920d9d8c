//! What an inspection may cost.

use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use fusebox_core::Registration;
use fusebox_testkit::{MockBody, MockFrame};
use fusebox_waf::{OverLimit, OverTime, Ruleset};
use tower::{Layer, ServiceExt};

use crate::*;

#[tokio::test]
async fn a_long_inspection_lets_others_run_and_is_bounded() {
    let long: &'static str = Box::leak(format!("q={}", "a+b".repeat(30_000)).into_boxed_str());
    // Each has to look at all of it, and then matches.
    let slow: String = (20..50)
        .map(|id| {
            format!(
                "SecRule ARGS:q \"@rx ^(?:a.b)+(?:x{{{id}}})?$\" \"id:{id},phase:2,pass,nolog\"\n"
            )
        })
        .collect();
    let rules = || settings().text("slow.conf", &slow);
    let mock = mock();
    let service = rules().build().unwrap().layer().layer(mock.service());
    let mut polls = 0;
    let mut future = pin!(service.oneshot(form(MockBody::full(long))));
    let answer = std::future::poll_fn(|cx| {
        polls += 1;
        future.as_mut().poll(cx)
    })
    .await
    .unwrap();
    assert_eq!(answer.status(), 200);
    assert!(polls > 3, "{polls} polls");

    let impatient = |over| rules().time_budget(Duration::from_nanos(1), over);
    let refused = send(
        impatient(OverTime::Refuse),
        &mock,
        form(MockBody::full(long)),
    )
    .await;
    assert_eq!(refused.status(), 503);
    let passed = send(impatient(OverTime::Pass), &mock, form(MockBody::full(long))).await;
    assert_eq!(passed.status(), 200);
}

#[tokio::test]
async fn what_was_found_before_the_time_ran_out_counts() {
    for (found, status) in [("5", 403), ("4", 200)] {
        // Behind the decision about the head.
        let found_in_head =
            format!("SecAction \"id:1,phase:1,pass,nolog,setvar:tx.fusebox_score=+{found}\"");
        let rules = Ruleset::builder("core")
            .core()
            .text("late", &found_in_head)
            .time_budget(Duration::from_nanos(1), OverTime::Pass)
            .registration(Registration::Unlisted);
        let text = "two red shoes, please. ".repeat(9_000);
        let answer = send(rules, &mock(), core_post("text/plain", text)).await;
        assert_eq!(answer.status(), status, "{found}");
    }
}

#[tokio::test]
async fn a_long_body_within_a_limit_that_was_raised_is_looked_at_to_its_end() {
    // Each has to look at all of it: more than the engine allows for bodies of the usual limit.
    let many: String = (20..60)
        .map(|id| {
            format!(
                "SecRule ARGS:q \"@rx ^(?:a.)+(?:x{{{id}}})?$\" \"id:{id},phase:2,pass,nolog\"\n"
            )
        })
        .collect();
    let long = format!("q={}tail", "a+".repeat(1 << 20));
    let rules = settings()
        .text("many", &many)
        .text(
            "last",
            r#"SecRule ARGS "@endsWith tail" "id:99,phase:2,deny,status:406""#,
        )
        .request_body(4 << 20, OverLimit::Refuse)
        .time_budget(Duration::from_secs(600), OverTime::Refuse);
    let body = MockBody::of([MockFrame::Data(long.into())]);
    let answer = send(rules, &mock(), form(body)).await;
    assert_eq!(answer.status(), 406);
}

/// Thirty rules, each of which has to look at all of `q` and then matches.
fn many_looks() -> RulesetBuilder {
    let looks: String = (20..50)
        .map(|id| {
            format!(
                "SecRule ARGS:q \"@rx ^(?:a.)+(?:x{{{id}}})?$\" \"id:{id},phase:2,pass,nolog\"\n"
            )
        })
        .collect();
    settings()
        .text("many", &looks)
        .text(
            "last",
            r#"SecRule ARGS "@contains tail" "id:99,phase:2,deny,status:406""#,
        )
        .time_budget(Duration::from_secs(600), OverTime::Refuse)
}

#[tokio::test]
async fn what_is_out_of_its_work_is_undecided_and_no_long_body() {
    let long = || {
        form(MockBody::of([MockFrame::Data(
            format!("q={}tail", "a+".repeat(5_000)).into(),
        )]))
    };
    let answer = send(many_looks(), &mock(), long()).await;
    assert_eq!(answer.status(), 406, "the usual budget is enough");

    let small = many_looks().work_budget(64 << 10);
    let answer = send(small.clone(), &mock(), long()).await;
    assert_eq!(answer.status(), 503);
    assert_eq!(kind(&answer), RejectionKind::Undecided);

    let passing = small.time_budget(Duration::from_secs(600), OverTime::Pass);
    let answer = send(passing, &mock(), long()).await;
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn what_was_found_before_the_work_ran_out_counts() {
    for (found, status) in [("5", 403), ("4", 200)] {
        let found_in_head =
            format!("SecAction \"id:1,phase:1,pass,nolog,setvar:tx.fusebox_score=+{found}\"");
        let rules = core_settings()
            .text("late", &found_in_head)
            .work_budget(64 << 10)
            .time_budget(Duration::from_secs(600), OverTime::Pass);
        let text = "two red shoes, please. ".repeat(9_000);
        let answer = send(rules, &mock(), core_post("text/plain", text)).await;
        assert_eq!(answer.status(), status, "{found}");
    }
}

/// A flood of requests without a body, all ready at once on one thread: each takes its part of the share, and one that finds nothing
/// left of it waits for a look at the timers.
#[test]
fn requests_without_a_body_share_a_thread_as_well() {
    // On a thread of its own, so that nothing else has spent there.
    let flood = || {
        let mock = mock();
        let service = many_looks().build().unwrap().layer().layer(mock.service());
        let mut cx = Context::from_waker(Waker::noop());
        let mut waited = 0;
        for _ in 0..50 {
            let target = format!("/?q={}", "a+".repeat(500));
            let request = Request::get(target).body(MockBody::empty()).unwrap();
            let mut future = pin!(service.clone().oneshot(request));
            if future.as_mut().poll(&mut cx).is_pending() {
                waited += 1;
                assert!(future.as_mut().poll(&mut cx).is_ready());
            }
        }
        assert_eq!(mock.called(), 50);
        assert!((5..45).contains(&waited), "{waited} waited");
    };
    std::thread::spawn(flood).join().unwrap();
}

#[test]
fn ordinary_requests_without_a_body_are_decided_about_where_they_come() {
    let flood = || {
        let service = core_settings()
            .build()
            .unwrap()
            .layer()
            .layer(mock().service());
        let mut cx = Context::from_waker(Waker::noop());
        for at in 0..500 {
            let request = Request::get(format!("/search?q=red+shoes&page={at}&sort=price"))
                .header("host", "shop.example")
                .header(
                    "user-agent",
                    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Firefox/128.0",
                )
                .header("accept", "text/html,application/xhtml+xml,*/*;q=0.8")
                .header("referer", "https://shop.example/items?sort=price&page=2")
                .header("cookie", "session=6f1c0f2e9b; theme=dark")
                .body(MockBody::empty())
                .unwrap();
            let mut future = pin!(service.clone().oneshot(request));
            assert!(future.as_mut().poll(&mut cx).is_ready(), "request {at}");
        }
    };
    std::thread::spawn(flood).join().unwrap();
}
