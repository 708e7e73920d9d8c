//! Settings change while traffic flows, and nothing that was counted is lost.
#![cfg(feature = "handle")]
#![expect(clippy::unwrap_used, reason = "a test's panic is its report")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use fusebox_circuit_breaker::{Breaker, BreakerBuilder, ConfigError, Window};
use fusebox_core::{Change, CircuitState, Event, EventKind, Outcome, Registration};
use tokio::time::advance;

fn builder() -> BreakerBuilder {
    Breaker::builder("dependency")
        .minimum_calls(10)
        .failure_ratio(0.9)
        .without_consecutive_failures()
        .cool_down(Duration::from_secs(10))
        .registration(Registration::Unlisted)
}

fn end(breaker: &Breaker, outcome: Outcome, calls: usize) {
    for _ in 0..calls {
        breaker.try_pass().unwrap().end(outcome);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_counted_before_counts_by_the_new_threshold() {
    for window in [Window::Time(Duration::from_secs(60)), Window::Calls(100)] {
        let builder = || builder().window(window);
        let breaker = builder().build().unwrap();
        end(&breaker, Outcome::Success, 10);
        end(&breaker, Outcome::Failure, 10);
        assert_eq!(breaker.state(), CircuitState::Closed);
        breaker.reconfigure(&builder().failure_ratio(0.5)).unwrap();
        end(&breaker, Outcome::Success, 1);
        assert_eq!(breaker.state(), CircuitState::Closed);
        end(&breaker, Outcome::Failure, 1);
        assert_eq!(breaker.state(), CircuitState::Open);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cool_down_that_has_begun_ends_when_it_was_to_end() {
    let breaker = builder().build().unwrap();
    end(&breaker, Outcome::Failure, 10);
    let longer = builder().cool_down(Duration::from_secs(100));
    breaker.reconfigure(&longer).unwrap();
    assert_eq!(breaker.state(), CircuitState::Open);
    advance(Duration::from_secs(10)).await;
    end(&breaker, Outcome::Failure, 1);
    let refused = breaker.try_pass().unwrap_err();
    assert_eq!(refused.retry_after(), Some(Duration::from_secs(100)));
}

#[tokio::test(start_paused = true)]
async fn slow_calls_are_seen_from_the_next_call_on() {
    let breaker = builder().build().unwrap();
    // So many that most calls are not timed.
    end(&breaker, Outcome::Success, 9_990);
    let slow = || builder().slow_calls(Duration::from_millis(10), 0.001);
    breaker.reconfigure(&slow()).unwrap();
    for _ in 0..10 {
        let pass = breaker.try_pass().unwrap();
        advance(Duration::from_millis(10)).await;
        pass.end(Outcome::Success);
    }
    assert!(
        breaker.try_pass().is_err(),
        "ten of ten thousand are enough"
    );
}

#[tokio::test(start_paused = true)]
async fn how_many_calls_may_hang_is_changed_while_they_do() {
    let second = Duration::from_secs(1);
    let breaker = builder().hanging_calls(10, second).build().unwrap();
    let hanging: Vec<_> = (0..3).map(|_| breaker.try_pass().unwrap()).collect();
    advance(2 * second).await;
    end(&breaker, Outcome::Success, 1);
    assert_eq!(breaker.state(), CircuitState::Closed);
    breaker
        .reconfigure(&builder().hanging_calls(3, second))
        .unwrap();
    assert!(breaker.try_pass().is_err(), "those that hung before count");
    assert_eq!(breaker.state(), CircuitState::Open);
    drop(hanging);
}

#[tokio::test(start_paused = true)]
async fn probes_and_their_deadline_are_changed_while_it_is_half_open() {
    let second = Duration::from_secs(1);
    let settings = || builder().close_after(100);
    let breaker = settings().build().unwrap();
    end(&breaker, Outcome::Failure, 10);
    advance(10 * second).await;
    let mut probes = vec![breaker.try_pass().unwrap()];
    assert!(breaker.try_pass().is_err());
    breaker.reconfigure(&settings().probes(3)).unwrap();
    probes.extend((0..2).map(|_| breaker.try_pass().unwrap()));
    assert!(breaker.try_pass().is_err());
    breaker.reconfigure(&settings().probes(2)).unwrap();
    // The first one: the place that is free is one of the two that are left.
    probes.remove(0).end(Outcome::Success);
    assert!(breaker.try_pass().is_err(), "two are under way");
    assert_eq!(breaker.probes_in_flight(), 2);
    advance(5 * second).await;
    let sooner = settings().probes(2).probe_deadline(5 * second);
    breaker.reconfigure(&sooner).unwrap();
    assert_eq!(breaker.probes_in_flight(), 0, "they have missed it");
    assert!(breaker.try_pass().is_ok());
}

#[test]
fn what_is_fixed_is_named_with_both_values_and_nothing_changes() {
    let breaker = builder().build().unwrap();
    let wrong = [
        (
            builder().window(Window::Calls(100)),
            "window: was built with 10s and cannot be changed, got 100 calls",
        ),
        (
            builder().hanging_calls(5, Duration::from_millis(400)),
            "hanging_calls: was built with none and cannot be changed, got 400ms",
        ),
        (
            builder().failure_ratio(7.0),
            "failure_ratio: must be between 0 and 1, got 7",
        ),
    ];
    for (settings, message) in wrong {
        let settings = settings.minimum_calls(1);
        let error: ConfigError = breaker.reconfigure(&settings).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    end(&breaker, Outcome::Failure, 9);
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[test]
fn an_observer_hears_of_each_number_that_differs() {
    let heard: Arc<Mutex<Vec<_>>> = Arc::default();
    let ear = heard.clone();
    let observer = move |event: &Event<'_>| {
        if let EventKind::Change(Change::Limit { what, from, to }) = event.kind {
            ear.lock().unwrap().push((what, from, to));
        }
    };
    let breaker = builder().observer(Arc::new(observer)).build().unwrap();
    let settings = builder().failure_ratio(0.5).minimum_calls(20);
    breaker.reconfigure(&settings).unwrap();
    breaker.reconfigure(&settings).unwrap();
    assert_eq!(
        *heard.lock().unwrap(),
        [
            ("minimum_calls", 10, 20),
            ("failure_ratio", 900_000, 500_000)
        ]
    );
}

#[test]
fn a_family_is_changed_as_one() {
    let breakers = builder().keyed().build().unwrap();
    let before = breakers.of(&"before");
    end(&before, Outcome::Failure, 5);
    breakers.reconfigure(&builder().minimum_calls(6)).unwrap();
    end(&before, Outcome::Failure, 1);
    assert_eq!(before.state(), CircuitState::Open);
    end(&breakers.of(&"after"), Outcome::Failure, 6);
    assert_eq!(breakers.of(&"after").state(), CircuitState::Open);
}
