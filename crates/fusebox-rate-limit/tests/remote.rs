//! A store on the other side of a network: answers come later, and sometimes not at all.
#![cfg(all(feature = "layer", not(fusebox_loom)))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail by panicking too"
)]

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fusebox_core::time::Clock;
use fusebox_core::{
    LayerKind, Mode, Observer, Outcome, Percent, Registration, RejectionKind, Timestamp, Value,
};
use fusebox_rate_limit::engine::gcra::Gcra;
use fusebox_rate_limit::store::{
    Accounts, Act, Answer, Key, Keys, Layout, MemoryStore, Overflow, Question, QuotaStore,
    StoreError, Terms, Verdict,
};
use fusebox_rate_limit::{
    Algorithm, Ask, KeyBy, Policy, Quota, RateLimitLayer, RateLimiter, ResponseBody,
};
use fusebox_testkit::{Counted, Fixture, MockBody, Recorder, Situation, Subject, contract};
use http::{Request, Response};
use tower::{Layer, ServiceExt, service_fn};

/// The memory of another process.
#[derive(Clone)]
struct Remote {
    memory: Arc<MemoryStore>,
    down: Arc<AtomicBool>,
}

impl Remote {
    fn new(rules: Gcra) -> Self {
        let layout = Layout {
            capacity: 16,
            overflow: Overflow::Refuse,
        };
        Self {
            memory: Arc::new(
                MemoryStore::new(vec![vec![Accounts::bucket(rules, layout)]]).unwrap(),
            ),
            down: Arc::default(),
        }
    }
}

impl QuotaStore for Remote {
    type Later = Pin<Box<dyn Future<Output = Result<Verdict, StoreError>> + Send>>;

    fn ask(&self, question: &Question<'_>) -> Answer<Self::Later> {
        let remote = self.clone();
        let Question {
            now,
            tier,
            cost,
            act,
            detail,
            ..
        } = *question;
        let key = question.keys.get(0);
        Answer::Later(Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(2)).await;
            if remote.down.load(Ordering::Relaxed) {
                return Err(StoreError::new("connection refused"));
            }
            let keys = Keys::One(key);
            let question = Question {
                now,
                tier,
                terms: Terms::default(),
                keys,
                cost,
                act,
                detail,
            };
            Ok(remote.memory.decide(&question))
        }))
    }
}

fn limiter(
    remote: &Remote,
    policy: Policy,
    mode: Mode,
    observer: Option<Arc<dyn Observer>>,
) -> RateLimiter<Remote> {
    let builder = RateLimiter::builder("test")
        .policy(policy)
        .mode(mode)
        .registration(Registration::Unlisted);
    let builder = match observer {
        Some(observer) => builder.observer(observer),
        None => builder,
    };
    builder.build_with(remote.clone()).unwrap()
}

/// What keeps a limiter in its situation.
struct Refill(Remote, Quota);

impl Drop for Refill {
    fn drop(&mut self) {
        let _ = self.0.memory.change(Clock::new().now(), 0, 0, self.1);
    }
}

/// The contract of every layer, with answers that come later.
struct FromAfar;

impl Subject for FromAfar {
    const KIND: LayerKind = LayerKind::RateLimit;
    type Layer = RateLimitLayer<Remote>;
    type Body = ResponseBody<MockBody, Remote>;

    async fn fixture(
        &self,
        situation: Situation,
        observer: Option<Arc<dyn Observer>>,
    ) -> Option<Fixture<Self::Layer>> {
        let (quota, wait) = (Quota::per_second(1), Duration::from_secs(60));
        let (policy, rules, more) = match situation {
            Situation::Waits => (
                Policy::new("test", quota)
                    .algorithm(Algorithm::Shaper { queue: 8 })
                    .max_wait(wait),
                Gcra::shaper(quota, 8, wait).unwrap(),
                Quota::per_second(1_000),
            ),
            _ => {
                let quota = Quota::per_day(2);
                let rules = Gcra::meter(quota, Duration::ZERO).unwrap();
                (Policy::new("test", quota), rules, Quota::per_day(8))
            }
        };
        let mode = match situation {
            Situation::Shadow => Mode::Shadow,
            _ => Mode::Enforce,
        };
        let remote = Remote::new(rules);
        let limiter = limiter(&remote, policy, mode, observer);
        let spent = match situation {
            Situation::Admits => 0,
            Situation::Waits => 1,
            Situation::Refuses | Situation::Shadow => 2,
        };
        for _ in 0..spent {
            let _ = remote.memory.decide(&Question {
                now: Timestamp::ZERO,
                tier: 0,
                terms: Terms::default(),
                keys: Keys::One(Key::SHARED),
                cost: 1,
                act: Act::Penalise,
                detail: false,
            });
        }
        let counted = limiter.clone();
        Some(
            Fixture::new(limiter.layer().keyed_by(KeyBy::Shared))
                .counting(move || Counted::from(&counted.stats()))
                .keeping(Refill(remote, more)),
        )
    }
}

contract! {
    mod from_afar: FromAfar;
}

async fn status(layer: &RateLimitLayer<Remote>) -> u16 {
    let service = layer.layer(service_fn(async |_: Request<()>| {
        Ok::<_, std::convert::Infallible>(Response::new(MockBody::empty()))
    }));
    service
        .oneshot(Request::new(()))
        .await
        .unwrap()
        .status()
        .as_u16()
}

fn daily() -> (Remote, Policy) {
    let quota = Quota::per_day(2);
    (
        Remote::new(Gcra::meter(quota, Duration::ZERO).unwrap()),
        Policy::new("daily", quota),
    )
}

fn unanswered<St: QuotaStore>(limiter: &RateLimiter<St>) -> Option<Value> {
    limiter.snapshot().get("unanswered").cloned()
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_lets_pass_and_is_counted() {
    let (remote, policy) = daily();
    let limiter = limiter(&remote, policy, Mode::Enforce, None);
    let layer = limiter.layer().keyed_by(KeyBy::Shared);
    for code in [200, 200, 429] {
        assert_eq!(status(&layer).await, code);
    }
    remote.down.store(true, Ordering::Relaxed);
    assert_eq!(status(&layer).await, 200);
    assert!(limiter.wait(Key::SHARED).await.is_ok());
    assert_eq!(unanswered(&limiter), Some(Value::Count(2)));
    assert_eq!(limiter.stats().outcome(Outcome::Success), 3);
    remote.down.store(false, Ordering::Relaxed);
    assert_eq!(status(&layer).await, 429);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_refuses_where_that_was_asked_for() {
    let (remote, policy) = daily();
    let limiter = RateLimiter::builder("test")
        .policy(policy)
        .refuse_when_store_fails()
        .registration(Registration::Unlisted)
        .build_with(remote.clone())
        .unwrap();
    remote.down.store(true, Ordering::Relaxed);
    let layer = limiter.layer().keyed_by(KeyBy::Shared);
    assert_eq!(status(&layer).await, 503);
    let refused = limiter.wait(Key::SHARED).await.unwrap_err();
    assert_eq!(refused.kind(), RejectionKind::TooManyKeys);
    assert_eq!(unanswered(&limiter), Some(Value::Count(2)));
}

#[tokio::test(start_paused = true)]
async fn the_way_to_the_store_and_back_is_time_that_a_call_waits_and_not_that_it_runs() {
    let (remote, policy) = daily();
    let recorder = Recorder::new();
    let limiter = limiter(&remote, policy, Mode::Enforce, Some(recorder.clone()));
    let layer = limiter.layer().keyed_by(KeyBy::Shared);
    assert_eq!(status(&layer).await, 200);
    let call = recorder.calls()[0];
    // The timer is as exact as a millisecond.
    assert!(call.waited >= Duration::from_millis(2), "{call:?}");
    assert_eq!(call.ran, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_a_request_was_not_worth_is_given_back_in_the_background() {
    let (remote, policy) = daily();
    let limiter = limiter(&remote, policy, Mode::Enforce, None);
    let layer = limiter.layer().keyed_by(KeyBy::Shared).settle_by(|_| 0);
    for _ in 0..9 {
        assert_eq!(status(&layer).await, 200);
        // The answer that nobody waits for.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(limiter.wait(Ask::key(Key::SHARED).cost(2)).await.is_ok());
    assert!(limiter.wait(Key::SHARED).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_request_is_held_as_long_as_the_server_says_wherever_the_quotas_are() {
    let quota = Quota::per_second(100);
    let remote = Remote::new(Gcra::meter(quota, Duration::ZERO).unwrap());
    let limiter = limiter(&remote, Policy::new("contract", quota), Mode::Enforce, None);
    let wait = Duration::from_secs(60);
    let layer = limiter
        .layer()
        .keyed_by(KeyBy::Shared)
        .heed(wait, wait)
        .unwrap();
    let service = layer.layer(service_fn(async |_: Request<()>| {
        let answer = Response::builder().status(503).header("retry-after", 30);
        Ok::<_, std::convert::Infallible>(answer.body(MockBody::empty()).unwrap())
    }));
    let begun = tokio::time::Instant::now();
    let _ = service.clone().oneshot(Request::new(())).await;
    assert!(begun.elapsed() < Duration::from_secs(1));
    let _ = service.oneshot(Request::new(())).await;
    assert!(begun.elapsed() >= Duration::from_secs(30));
}

/// Two requests at once, of which the first makes the server want to be left alone for half a minute before the second has
/// its answer from the store; nothing is left that either could be charged. The status of the second, how long it took,
/// and how much is left then.
async fn let_through_meanwhile(mode: Mode, down: bool) -> (u16, Duration, u64) {
    let (remote, policy) = daily();
    let question = |act, cost| Question {
        now: Clock::new().now(),
        tier: 0,
        terms: Terms::default(),
        keys: Keys::One(Key::SHARED),
        cost,
        act,
        detail: true,
    };
    let _ = remote.memory.decide(&question(Act::Penalise, 2));
    let limiter = limiter(&remote, policy, mode, None);
    // The first refusal is the one that is acted on, of the many of a percentage.
    assert!(limiter.wait(Key::SHARED).await.is_err());
    remote.down.store(down, Ordering::Relaxed);
    let wait = Duration::from_secs(60);
    let layer = limiter.layer().keyed_by(KeyBy::Shared).heed(wait, wait);
    let service = layer.unwrap().layer(service_fn(async |_: Request<()>| {
        let answer = Response::builder().status(503).header("retry-after", 30);
        Ok::<_, std::convert::Infallible>(answer.body(MockBody::empty()).unwrap())
    }));
    let begun = tokio::time::Instant::now();
    let up_again = async {
        tokio::time::sleep(Duration::from_millis(3)).await;
        remote.down.store(false, Ordering::Relaxed);
    };
    let ask = || service.clone().oneshot(Request::new(()));
    let (first, second, ()) = tokio::join!(biased; ask(), ask(), up_again);
    assert_eq!(first.unwrap().status(), 503);
    let took = begun.elapsed();
    // Had anything been given back in the background, it would be there by now.
    tokio::time::sleep(Duration::from_millis(5)).await;
    let standings = remote.memory.decide(&question(Act::Peek, 1)).standings;
    let left = standings.unwrap()[0].remaining;
    (second.unwrap().status().as_u16(), took, left)
}

#[tokio::test(start_paused = true)]
async fn who_was_let_through_by_a_store_that_does_not_answer_is_held_and_asks_again() {
    let (status, took, left) = let_through_meanwhile(Mode::Enforce, true).await;
    assert!(took >= Duration::from_secs(30), "{took:?}");
    assert_eq!(
        (status, left),
        (429, 0),
        "it had spent nothing to be given back"
    );
}

#[tokio::test(start_paused = true)]
async fn whose_refusal_was_let_through_is_not_held_and_gives_nothing_back() {
    let mode = Mode::Percentage(Percent::new(1).unwrap());
    let (status, took, left) = let_through_meanwhile(mode, false).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!((status, left), (503, 0));
}
