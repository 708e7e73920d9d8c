//! One circuit per key.
#![cfg(feature = "http")]
#![expect(clippy::unwrap_used, reason = "a test's panic is its report")]

use std::{
    convert::Infallible,
    sync::{Arc, Barrier, Mutex, OnceLock},
    time::Duration,
};

use fusebox_circuit_breaker::{
    Breaker, BreakerBuilder, CircuitBreakerLayer, KeyedBreaker, KeyedBuilder,
    KeyedCircuitBreakerLayer, ResponseBody, Window, by_authority, by_method_and_path,
};
use fusebox_core::{
    Change, CircuitState, Event, EventKind, LayerKind, Mode, Observer, Outcome, Registration,
    Rejection, Value,
};
use fusebox_testkit::{Counted, Fixture, MockBody, Situation, Subject, contract};
use http::{Request, Response};
use tokio::time::advance;
use tower::{Layer, ServiceExt, service_fn};

const COOL_DOWN: Duration = Duration::from_secs(10);

fn builder() -> KeyedBuilder {
    Breaker::builder("upstreams")
        .consecutive_failures(1)
        .cool_down(COOL_DOWN)
        .registration(Registration::Unlisted)
        .keyed()
}

fn fail(breaker: &Breaker) {
    breaker.try_pass().unwrap().end(Outcome::Failure);
}

fn open(breakers: &KeyedBreaker<u32>) -> usize {
    let states = breakers.states();
    let open = |state| state == CircuitState::Open;
    states.into_iter().filter(|(_, state)| open(*state)).count()
}

#[tokio::test(start_paused = true)]
async fn each_authority_has_a_circuit_of_its_own() {
    let breakers = builder().build().unwrap();
    let down = service_fn(|request: Request<()>| async move {
        let status = match request.uri().host() {
            Some("down.test") => 503,
            _ => 200,
        };
        let response = Response::builder().status(status);
        Ok::<_, Infallible>(response.body(MockBody::empty()).unwrap())
    });
    let client = breakers.layer_by_like(by_authority).layer(down);
    let get = |uri: &str| client.clone().oneshot(Request::get(uri).body(()).unwrap());
    get("http://down.test/").await.unwrap();
    let refused = get("http://down.test/").await.unwrap();
    assert!(refused.extensions().get::<Rejection>().is_some());
    assert_eq!(get("http://up.test/").await.unwrap().status(), 200);
    assert_eq!(breakers.states().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn each_endpoint_has_a_circuit_of_its_own() {
    let breakers = builder().build().unwrap();
    let down = service_fn(|request: Request<()>| async move {
        let status = match request.uri().path() {
            "/carts" if request.method() == http::Method::PUT => 500,
            _ => 200,
        };
        let response = Response::builder().status(status);
        Ok::<_, Infallible>(response.body(MockBody::empty()).unwrap())
    });
    let client = breakers.layer_by_like(by_method_and_path).layer(down);
    let call = async |request: http::request::Builder| {
        let response = client.clone().oneshot(request.body(()).unwrap());
        response.await.unwrap().status().as_u16()
    };
    assert_eq!(call(Request::put("/carts")).await, 500);
    assert_eq!(call(Request::put("/carts?again")).await, 503);
    assert_eq!(call(Request::get("/carts")).await, 200);
    assert_eq!(call(Request::put("/orders")).await, 200);
    assert_eq!(breakers.states().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_whole_family_is_opened_disabled_and_closed_by_hand_and_so_are_keys_that_come_later() {
    let breakers = builder().build::<u32>().unwrap();
    let before = breakers.of(&1);
    breakers.force_open();
    assert!(before.try_pass().is_err());
    assert!(breakers.try_pass(2).is_err());
    assert!(breakers.others().try_pass().is_err());
    // One of them by itself.
    breakers.of(&1).reset();
    assert!(breakers.try_pass(1).is_ok());
    breakers.disable();
    for key in 1..4 {
        fail(&breakers.of(&key));
        assert_eq!(breakers.of(&key).state(), CircuitState::Disabled);
    }
    breakers.reset();
    for key in 1..5 {
        assert_eq!(breakers.of(&key).state(), CircuitState::Closed);
        fail(&breakers.of(&key));
        assert_eq!(breakers.of(&key).state(), CircuitState::Open);
    }
}

/// A family of three keys, and an observer of it that does something with it at each transition.
fn observed(
    act: impl Fn(&KeyedBreaker<u32>) + Send + Sync + 'static,
) -> (KeyedBreaker<u32>, Arc<OnceLock<KeyedBreaker<u32>>>) {
    let known = Arc::new(OnceLock::<KeyedBreaker<u32>>::new());
    let family = known.clone();
    let observer = move |event: &Event<'_>| {
        if let (EventKind::Change(Change::Circuit { .. }), Some(family)) =
            (event.kind, family.get())
        {
            act(family);
        }
    };
    let breakers = Breaker::builder("upstreams")
        .observer(Arc::new(observer))
        .registration(Registration::Unlisted)
        .keyed()
        .build()
        .unwrap();
    for key in 0..3 {
        let _ = breakers.of(&key);
    }
    known.set(breakers.clone()).unwrap();
    (breakers, known)
}

/// What comes of that, if it comes at all.
fn in_time<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, waiting) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(act()));
    waiting.recv_timeout(Duration::from_secs(20)).unwrap()
}

#[test]
fn an_observer_may_look_at_the_family_while_it_is_changed_by_hand() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let looking = seen.clone();
    let (breakers, _known) = observed(move |family| {
        looking.lock().unwrap().push(open_by_hand(family));
    });
    in_time(move || {
        breakers.force_open();
        // And of a key that comes only now.
        assert_eq!(breakers.of(&7).state(), CircuitState::ForcedOpen);
    });
    // Three keys and the circuit of all others; whoever is told finds all of it done.
    assert_eq!(*seen.lock().unwrap(), [3; 4]);
}

#[test]
fn an_observer_may_change_it_again() {
    let (breakers, _known) = observed(|family| {
        if open_by_hand(family) > 0 {
            family.reset();
        }
    });
    in_time(move || {
        breakers.force_open();
        assert_eq!(open_by_hand(&breakers), 0);
        assert_eq!(breakers.of(&7).state(), CircuitState::Closed);
    });
}

#[test]
fn what_two_threads_do_to_a_family_at_once_does_not_mix() {
    let breakers = builder().build::<u32>().unwrap();
    for key in 0..100 {
        let _ = breakers.of(&key);
    }
    for _ in 0..200 {
        let start = Barrier::new(2);
        std::thread::scope(|scope| {
            for act in [KeyedBreaker::force_open, KeyedBreaker::disable] {
                let (start, breakers) = (&start, &breakers);
                scope.spawn(move || {
                    start.wait();
                    act(breakers);
                });
            }
        });
        let all = breakers.others().state();
        assert!(breakers.states().iter().all(|(_, state)| *state == all));
    }
}

fn open_by_hand(breakers: &KeyedBreaker<u32>) -> usize {
    let states = breakers.states().into_iter();
    states
        .filter(|(_, state)| *state == CircuitState::ForcedOpen)
        .count()
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_is_not_lost_to_any_number_of_new_keys() {
    let breakers = builder().capacity(16).build::<u32>().unwrap();
    fail(&breakers.of(&0));
    for key in 1..10_000 {
        breakers.of(&key).try_pass().unwrap().end(Outcome::Success);
    }
    assert_eq!(breakers.of(&0).state(), CircuitState::Open);
    assert!(breakers.states().len() <= 16);
}

#[tokio::test(start_paused = true)]
async fn when_nothing_may_go_new_keys_share_a_circuit_and_memory_is_bounded() {
    let breakers = builder().capacity(16).build::<u32>().unwrap();
    let mut keys = 0..;
    while open(&breakers) < 16 {
        let breaker = breakers.of(&keys.next().unwrap());
        if let Ok(pass) = breaker.try_pass() {
            pass.end(Outcome::Failure);
        }
    }
    breakers.others().reset();
    let next = keys.next().unwrap();
    fail(&breakers.of(&next));
    assert_eq!(breakers.others().state(), CircuitState::Open);
    assert_eq!(breakers.states().len(), 16);
    // An open circuit whose cool-down is over stays, for a while;
    advance(COOL_DOWN).await;
    for _ in 0..3 {
        let _ = breakers.of(&next);
    }
    assert!(!breakers.states().iter().any(|(key, _)| *key == next));
    // and may go when nobody has called it for long.
    advance(3 * COOL_DOWN).await;
    for _ in 0..3 {
        let _ = breakers.of(&next);
    }
    assert!(breakers.states().iter().any(|(key, _)| *key == next));
}

#[tokio::test(start_paused = true)]
async fn neither_a_half_open_circuit_nor_a_ramp_is_lost_to_new_keys() {
    let each = Breaker::builder("upstreams")
        .consecutive_failures(1)
        .cool_down(COOL_DOWN)
        .close_after(2)
        .ramp(0.1, COOL_DOWN)
        .registration(Registration::Unlisted);
    let breakers = each.keyed().capacity(16).build::<u32>().unwrap();
    fail(&breakers.of(&0));
    advance(COOL_DOWN).await;
    let probe = || breakers.of(&0).try_pass().unwrap();
    let flood = |from: u32| {
        for key in from..from + 1_000 {
            let _ = breakers.of(&key);
        }
    };
    probe().end(Outcome::Success);
    flood(1);
    assert_eq!(breakers.of(&0).state(), CircuitState::HalfOpen);
    probe().end(Outcome::Success);
    flood(1_001);
    assert!(breakers.states().iter().any(|(key, _)| *key == 0));
    let passed = (0..100).filter(|_| breakers.of(&0).try_pass().is_ok());
    assert!(passed.count() < 20, "it still ramps");
}

#[tokio::test(start_paused = true)]
async fn never_more_than_their_share_is_open_at_once() {
    let breakers = builder().open_at_most(25).build::<u32>().unwrap();
    for key in 0..100 {
        let _ = breakers.of(&key);
    }
    for key in 0..100 {
        fail(&breakers.of(&key));
    }
    assert_eq!(open(&breakers), 25);
    // One that closes makes room for another.
    advance(COOL_DOWN).await;
    breakers.of(&0).try_pass().unwrap().end(Outcome::Success);
    fail(&breakers.of(&99));
    assert_eq!(breakers.of(&99).state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn keys_that_nobody_calls_any_more_do_not_keep_others_from_opening() {
    let breakers = builder().open_at_most(10).build::<u32>().unwrap();
    for key in 0..100 {
        let _ = breakers.of(&key);
    }
    for key in 0..10 {
        fail(&breakers.of(&key));
    }
    fail(&breakers.of(&99));
    assert_eq!(breakers.of(&99).state(), CircuitState::Closed);
    assert_eq!(
        breakers.snapshot().get("kept_closed"),
        Some(&Value::Count(1))
    );
    // The ten are gone for good: pods that were replaced.
    advance(COOL_DOWN).await;
    for key in 90..100 {
        fail(&breakers.of(&key));
        assert_eq!(breakers.of(&key).state(), CircuitState::Open);
    }
    fail(&breakers.of(&50));
    assert_eq!(breakers.of(&50).state(), CircuitState::Closed);
    // One that comes back finds its place taken: its calls pass.
    breakers.of(&0).try_pass().unwrap().end(Outcome::Success);
    assert_eq!(breakers.of(&0).state(), CircuitState::Closed);
    // The same of half-open ones that never hear of their probes.
    advance(COOL_DOWN).await;
    let probes: Vec<_> = (90..100)
        .map(|key| breakers.of(&key).try_pass().unwrap())
        .collect();
    assert!(probes.iter().all(fusebox_circuit_breaker::Pass::is_probe));
    fail(&breakers.of(&50));
    assert_eq!(breakers.of(&50).state(), CircuitState::Closed);
    advance(Duration::from_secs(30)).await;
    fail(&breakers.of(&50));
    assert_eq!(breakers.of(&50).state(), CircuitState::Open);
}

#[test]
fn bad_settings_are_named_with_both_values() {
    let wrong = |builder: KeyedBuilder| builder.build::<u32>().unwrap_err().to_string();
    assert_eq!(
        wrong(builder().open_at_most(101)),
        "open_at_most: must be at most 100, got 101"
    );
    assert_eq!(
        wrong(builder().capacity(0)),
        "capacity: must be more than 0, got 0"
    );
    let remembering = Breaker::builder("upstreams").window(Window::Calls(1 << 20));
    assert_eq!(
        wrong(remembering.keyed()),
        "window, capacity: together they must remember at most 67108864 calls, got 1048576 for each of 1024 keys"
    );
}

#[tokio::test]
async fn the_snapshot_counts_keys_and_names_none() {
    let breakers = builder().build::<u32>().unwrap();
    fail(&breakers.of(&1));
    let _ = breakers.of(&2);
    let snapshot = breakers.snapshot();
    assert_eq!(snapshot.get("keys"), Some(&Value::Gauge(2)));
    assert_eq!(snapshot.get("not_closed"), Some(&Value::Gauge(1)));
}

/// The layer of one key keeps the contract of the layer of one circuit.
struct Keyed;

type KeyOf = fn(&fusebox_circuit_breaker::Head<'_>) -> Option<u32>;

impl Subject for Keyed {
    const KIND: LayerKind = LayerKind::CircuitBreaker;
    type Layer = KeyedCircuitBreakerLayer<u32, KeyOf>;
    type Body = ResponseBody<MockBody>;

    async fn fixture(
        &self,
        situation: Situation,
        observer: Option<Arc<dyn Observer>>,
    ) -> Option<Fixture<Self::Layer>> {
        let mode = match situation {
            Situation::Admits | Situation::Refuses => Mode::Enforce,
            Situation::Shadow => Mode::Shadow,
            Situation::Waits => return None,
        };
        let settings = Breaker::builder("upstreams")
            .consecutive_failures(1)
            .cool_down(COOL_DOWN)
            .probe_deadline(Duration::from_secs(3_600))
            .close_at_ratio(1.0, 1_000)
            .mode(mode)
            .registration(Registration::Unlisted);
        let settings = observer
            .into_iter()
            .fold(settings, BreakerBuilder::observer);
        let breakers = settings.keyed().build().unwrap();
        let breaker = breakers.of(&7);
        fail(&breaker);
        if situation == Situation::Admits {
            advance(COOL_DOWN).await;
            breaker.try_pass().unwrap().end(Outcome::Cancelled);
        }
        let (holding, counting) = (breaker.clone(), breaker.clone());
        let key: KeyOf = |_| Some(7);
        Some(
            Fixture::new(breakers.layer_by(key))
                .holding(move || holding.probes_in_flight())
                .counting(move || Counted::from(&counting.stats()))
                .keeping(ClosesOnDrop(breaker)),
        )
    }
}

struct ClosesOnDrop(Breaker);

impl Drop for ClosesOnDrop {
    fn drop(&mut self) {
        self.0.reset();
    }
}

contract! {
    mod keyed: Keyed;
}

// The layers fit where tower needs them.
const _: () = {
    fusebox_testkit::assert_layer::<CircuitBreakerLayer>();
    fusebox_testkit::assert_layer::<KeyedCircuitBreakerLayer<u32, KeyOf>>();
};
