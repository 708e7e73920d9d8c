//! What a breaker counts by itself reaches the statistics, all of it and once.
#![cfg(feature = "handle")]
#![expect(clippy::unwrap_used, reason = "a test's panic is its report")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use fusebox_circuit_breaker::{Breaker, BreakerBuilder, Window};
use fusebox_core::{Event, EventKind, Outcome, Registration};

fn builder() -> BreakerBuilder {
    Breaker::builder("dependency").registration(Registration::Unlisted)
}

fn succeed(breaker: &Breaker, calls: u64) {
    for _ in 0..calls {
        breaker.try_pass().unwrap().end(Outcome::Success);
    }
}

#[test]
fn every_success_of_every_thread_is_counted_once() {
    for window in [Window::Time(Duration::from_secs(10)), Window::Calls(100)] {
        let breaker = builder().window(window).build().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| succeed(&breaker, 10_000));
            }
            for _ in 0..100 {
                assert!(breaker.stats().outcome(Outcome::Success) <= 40_000);
            }
        });
        assert_eq!(breaker.stats().outcome(Outcome::Success), 40_000);
        assert_eq!(breaker.stats().outcome(Outcome::Success), 40_000);
    }
}

#[tokio::test(start_paused = true)]
async fn each_latency_is_measured_while_there_are_few() {
    let breaker = builder().build().unwrap();
    for _ in 0..5_000 {
        let pass = breaker.try_pass().unwrap();
        tokio::time::advance(Duration::from_millis(2)).await;
        pass.end(Outcome::Success);
    }
    let latency = breaker.stats().latency;
    assert_eq!(latency.count, 5_000);
    let off = latency.p50.abs_diff(Duration::from_millis(2));
    assert!(off < Duration::from_micros(50), "{latency:?}");
}

#[tokio::test(start_paused = true)]
async fn a_sample_stands_for_all_when_there_are_many() {
    let breaker = builder().build().unwrap();
    // All in one instant, which is more than any number in a second.
    succeed(&breaker, 100_000);
    let stats = breaker.stats();
    assert_eq!(stats.outcome(Outcome::Success), 100_000);
    let measured = stats.latency.count;
    assert!((99_000..=100_000).contains(&measured), "{measured}");
}

#[tokio::test(start_paused = true)]
async fn an_observer_hears_of_every_call() {
    let heard = Arc::new(AtomicU64::new(0));
    let counter = heard.clone();
    let observer = move |event: &Event<'_>| {
        if let EventKind::Call(_) = event.kind {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    };
    let breaker = builder().observer(Arc::new(observer)).build().unwrap();
    succeed(&breaker, 10_000);
    assert_eq!(heard.load(Ordering::Relaxed), 10_000);
    assert_eq!(breaker.stats().outcome(Outcome::Success), 10_000);
}

#[test]
fn the_calls_of_a_key_that_had_to_go_are_still_counted() {
    let breakers = builder().keyed().capacity(16).build::<u64>().unwrap();
    for key in 0..1_000 {
        succeed(&breakers.of(&key), 100);
    }
    assert_eq!(breakers.stats().outcome(Outcome::Success), 100_000);
}
