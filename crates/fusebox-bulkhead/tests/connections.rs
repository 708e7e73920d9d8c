//! The contract of the house, as far as connectors have it: they answer with a connection, and not with
//! a response that the kit could look at.
#![expect(clippy::unwrap_used, reason = "a test: a panic is its report")]

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use fusebox_bulkhead::{
    Compartment, CompartmentBuilder,
    connections::{ConnectionLimit, LimitedConnection},
};
use fusebox_core::{CallError, Outcome, Registration, RejectionKind, Verdict};
use fusebox_testkit::{
    MockBody, MockError, MockHandle, MockService, Recorder, Script, assert_layer, assert_service,
};
use http::{Request, Response};
use tower::{Layer, Service};

type Connector = ConnectionLimit<MockService>;
type Connected = LimitedConnection<Response<MockBody>>;
type Connecting = Pin<Box<dyn Future<Output = Result<Connected, CallError<MockError>>> + Send>>;

/// A compartment with room for one connection, a connector that follows a script, and who hears of it.
struct Scene {
    compartment: Compartment,
    recorder: Arc<Recorder>,
    mock: MockHandle,
    connector: Connector,
}

impl Scene {
    fn set(settings: CompartmentBuilder, script: Script) -> Self {
        let recorder = Recorder::new();
        let compartment = settings
            .slots(1)
            .observer(recorder.clone())
            .build()
            .unwrap();
        let mock = MockService::new(script).handle();
        let connector = compartment.connection_layer().layer(mock.service());
        Self {
            compartment,
            recorder,
            mock,
            connector,
        }
    }

    fn connect(&mut self) -> Connecting {
        assert!(poll_ready(&mut self.connector).is_ready());
        self.connector.call(Request::new(MockBody::empty()))
    }

    fn told(&self) -> Vec<(Verdict, Option<Outcome>)> {
        let calls = self.recorder.calls();
        calls
            .iter()
            .map(|call| (call.verdict, call.outcome))
            .collect()
    }

    fn open(&self) -> usize {
        self.compartment.snapshot().in_flight
    }
}

fn settings() -> CompartmentBuilder {
    Compartment::builder("connections").registration(Registration::Unlisted)
}

fn answers() -> Script {
    Script::ok(MockBody::empty())
}

fn admitted(outcome: Outcome) -> (Verdict, Option<Outcome>) {
    (Verdict::Admitted, Some(outcome))
}

fn poll_ready(connector: &mut Connector) -> Poll<Result<(), CallError<MockError>>> {
    let mut cx = Context::from_waker(Waker::noop());
    Service::<Request<MockBody>>::poll_ready(connector, &mut cx)
}

fn poll(connecting: &mut Connecting) -> Poll<Result<Connected, CallError<MockError>>> {
    connecting
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn fits_where_connectors_do() {
    assert_layer::<fusebox_bulkhead::connections::ConnectionLimitLayer>();
    assert_service::<Connector, Request<MockBody>>();
}

#[tokio::test]
async fn one_event_when_the_connection_is_closed() {
    let mut scene = Scene::set(settings(), answers());
    let connection = scene.connect().await.unwrap();
    assert_eq!(scene.open(), 1);
    assert_eq!(scene.told(), []);
    drop(connection);
    assert_eq!(scene.open(), 0);
    assert_eq!(scene.told(), [admitted(Outcome::Success)]);
}

#[tokio::test]
async fn a_connection_that_fails_is_a_failure_with_the_connectors_own_error() {
    const ERROR: MockError = MockError("no route to host");
    let mut scene = Scene::set(settings(), Script::fail(ERROR).pending(2));
    assert_eq!(
        scene.connect().await.map(|_| ()),
        Err(CallError::Inner(ERROR))
    );
    assert_eq!(scene.open(), 0);
    assert_eq!(scene.told(), [admitted(Outcome::Failure)]);
}

#[tokio::test]
async fn a_full_compartment_never_connects() {
    let mut scene = Scene::set(settings(), answers());
    let connection = scene.connect().await.unwrap();
    let refused = scene.connect().await.unwrap_err();
    assert_eq!(refused.rejection().unwrap().kind(), RejectionKind::Full);
    assert_eq!(scene.mock.called(), 1);
    drop(connection);
    scene.connect().await.unwrap();
    assert_eq!(scene.mock.called(), 2);
}

#[tokio::test]
async fn every_connector_of_a_compartment_shares_its_slots() {
    let mut scene = Scene::set(settings(), answers());
    let _connection = scene.connect().await.unwrap();
    let layer = scene.compartment.connection_layer();
    for mut other in [scene.connector.clone(), layer.layer(scene.mock.service())] {
        assert!(poll_ready(&mut other).is_ready());
        let refused = other
            .call(Request::new(MockBody::empty()))
            .await
            .unwrap_err();
        assert_eq!(refused.rejection().unwrap().kind(), RejectionKind::Full);
    }
}

#[tokio::test]
async fn the_instance_that_is_ready_is_the_one_that_connects() {
    let mut scene = Scene::set(settings(), answers().ready_after(2));
    for _ in 0..3 {
        while poll_ready(&mut scene.connector).is_pending() {}
        let call = scene.connector.call(Request::new(MockBody::empty()));
        drop(call.await.unwrap());
    }
    let calls = scene.mock.calls();
    assert_eq!(calls.len(), 3);
    assert!(calls.iter().all(|call| call.was_ready));
}

#[tokio::test]
async fn given_up_at_any_await_it_gives_its_slot_back() {
    for polls in 0..=3 {
        let mut scene = Scene::set(settings(), answers().pending(2));
        let mut connecting = scene.connect();
        let mut connected = None;
        for _ in 0..polls {
            if let Poll::Ready(connection) = poll(&mut connecting) {
                connected = Some(connection.unwrap());
            }
        }
        let connected_once = connected.is_some();
        assert_eq!(connected_once, polls == 3);
        drop(connecting);
        drop(connected);
        assert_eq!(scene.open(), 0, "after {polls} polls");
        assert_eq!(scene.mock.in_progress(), 0);
        let told = scene.told();
        let outcome = if connected_once {
            Outcome::Success
        } else {
            Outcome::Cancelled
        };
        assert_eq!(told, [admitted(outcome)], "after {polls} polls");
        scene.connect().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn in_line_it_waits_its_turn_and_no_longer_than_it_may() {
    let patient = settings().queue(1, Duration::from_secs(5));
    let mut scene = Scene::set(patient, answers());
    let connection = scene.connect().await.unwrap();

    let mut given_up = scene.connect();
    assert!(poll(&mut given_up).is_pending());
    assert_eq!(scene.compartment.snapshot().waiting, 1);
    drop(given_up);
    assert_eq!(scene.compartment.snapshot().waiting, 0);

    let refused = scene.connect().await.unwrap_err();
    let kind = refused.rejection().unwrap().kind();
    assert_eq!(kind, RejectionKind::QueueTimeout);
    assert_eq!(scene.mock.called(), 1, "nobody connects before the verdict");

    let mut waits = scene.connect();
    assert!(poll(&mut waits).is_pending());
    drop(connection);
    let connection = waits.await.unwrap();
    assert_eq!(scene.open(), 1);
    drop(connection);
    assert_eq!(scene.open(), 0);
}

#[tokio::test]
async fn a_connector_that_panics_gives_its_slot_back() {
    for script in [
        Script::panic_in_call(),
        Script::panic_in_future().pending(1),
    ] {
        let mut scene = Scene::set(settings(), script);
        let mut connecting = scene.connect();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            while poll(&mut connecting).is_pending() {}
        }));
        assert!(panicked.is_err());
        drop(connecting);
        assert_eq!(scene.open(), 0);
        assert_eq!(scene.told(), [admitted(Outcome::Failure)]);
        scene.mock.follow(answers());
        scene.connect().await.unwrap();
    }
}
