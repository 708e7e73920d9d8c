//! The client's stack against a real server on a real socket, in every way a server can be unwell.
#![expect(clippy::unwrap_used, reason = "a test's panic is its report")]

use std::{net::SocketAddr, time::Duration};

use fusebox_circuit_breaker::{Breaker, BreakerBuilder};
use fusebox_core::{CircuitState, Outcome, Registration};
use fusebox_example_grpc::{
    bank::{Bank, Health},
    client::{Authoriser, DEADLINE},
    proto::{AuthoriseRequest, FollowRequest},
    server::{Limits, Running},
};
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Status};

/// Much longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(20);
const COOL_DOWN: Duration = Duration::from_millis(300);

/// Opens at the third failure in a row.
fn breaker() -> BreakerBuilder {
    Breaker::builder("authoriser")
        .consecutive_failures(3)
        .cool_down(COOL_DOWN)
        .probe_deadline(2 * DEADLINE)
        .registration(Registration::Unlisted)
}

struct Scene {
    bank: Bank,
    server: Option<Running>,
    address: SocketAddr,
    client: Authoriser,
}

impl Scene {
    fn set(breaker: BreakerBuilder, limits: Limits, slots: usize) -> Self {
        let bank = Bank::default();
        let any_port = ([127, 0, 0, 1], 0).into();
        let server = Running::start(any_port, bank.clone(), limits).unwrap();
        let address = server.address();
        let breaker = breaker.build().unwrap();
        Self {
            bank,
            server: Some(server),
            address,
            client: Authoriser::new(address, breaker, slots).unwrap(),
        }
    }

    fn usual() -> Self {
        Self::set(breaker(), Limits::default(), 32)
    }

    fn state(&self) -> CircuitState {
        self.client.breaker.state()
    }

    fn ended(&self, outcome: Outcome) -> u64 {
        self.client.breaker.stats().outcome(outcome)
    }

    async fn authorise(&self) -> Result<(), Status> {
        let payment = AuthoriseRequest {
            amount: 995,
            ..AuthoriseRequest::default()
        };
        let mut calls = self.client.calls.clone();
        calls.authorise(payment).await.map(drop)
    }

    async fn code(&self) -> Code {
        self.authorise()
            .await
            .map_or_else(|status| status.code(), |()| Code::Ok)
    }

    /// Until it works again, as a user would try.
    async fn recover(&self) {
        let tried = timeout(PATIENCE, async {
            while self.authorise().await.is_err() {
                sleep(COOL_DOWN / 10).await;
            }
        });
        tried.await.unwrap();
    }

    fn kill(&mut self) {
        self.server.take().unwrap().kill();
    }

    async fn start_again(&mut self) {
        // The port is free again when the dead one's listener is gone.
        let started = timeout(PATIENCE, async {
            loop {
                match Running::start(self.address, self.bank.clone(), Limits::default()) {
                    Ok(server) => return server,
                    Err(_) => sleep(COOL_DOWN / 10).await,
                }
            }
        });
        self.server = Some(started.await.unwrap());
    }
}

#[tokio::test]
async fn a_healthy_authoriser_keeps_it_closed() {
    let scene = Scene::usual();
    for _ in 0..50 {
        assert_eq!(scene.code().await, Code::Ok);
    }
    assert_eq!(scene.state(), CircuitState::Closed);
    assert_eq!(scene.ended(Outcome::Success), 50);
}

#[tokio::test]
async fn trailers_only_errors_open_it_and_while_open_nothing_reaches_the_bank() {
    let slow_to_return = breaker().cool_down(Duration::from_secs(3_600));
    let scene = Scene::set(slow_to_return, Limits::default(), 32);
    scene.bank.is(Health::Fails(Code::Unavailable));
    for _ in 0..3 {
        assert_eq!(scene.code().await, Code::Unavailable);
    }
    assert_eq!(scene.state(), CircuitState::Open);
    let asked = Instant::now();
    for _ in 0..100 {
        let status = scene.authorise().await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.metadata().contains_key("grpc-retry-pushback-ms"));
    }
    assert!(asked.elapsed() < 100 * DEADLINE / 10, "fast failures");
    assert_eq!(scene.bank.calls(), 3);
}

#[tokio::test]
async fn failures_in_trailers_count() {
    let scene = Scene::usual();
    scene.bank.is(Health::Fails(Code::Internal));
    for seen in 0..3 {
        assert_eq!(scene.state(), CircuitState::Closed);
        let mut calls = scene.client.calls.clone();
        let response = calls.follow(FollowRequest::default()).await.unwrap();
        // The head said 200, and so far all is well.
        assert_eq!(scene.ended(Outcome::Failure), seen);
        let mut steps = response.into_inner();
        assert_eq!(steps.message().await.unwrap().unwrap().what, "received");
        let status = steps.message().await.unwrap_err();
        assert_eq!(status.code(), Code::Internal);
    }
    assert_eq!(scene.state(), CircuitState::Open);
}

#[tokio::test]
async fn streams_that_die_half_way_count() {
    let mut scene = Scene::usual();
    scene.bank.is(Health::Hangs);
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut calls = scene.client.calls.clone();
        let response = calls.follow(FollowRequest::default()).await.unwrap();
        let mut steps = response.into_inner();
        steps.message().await.unwrap().unwrap();
        streams.push(steps);
    }
    scene.kill();
    for mut steps in streams {
        let broken = timeout(PATIENCE, steps.message()).await.unwrap();
        broken.unwrap_err();
    }
    assert_eq!(scene.ended(Outcome::Failure), 3);
    assert_eq!(scene.state(), CircuitState::Open);
}

#[tokio::test]
async fn cancelled_streams_do_not_count() {
    let scene = Scene::usual();
    scene.bank.is(Health::Hangs);
    for _ in 0..10 {
        let mut calls = scene.client.calls.clone();
        let response = calls.follow(FollowRequest::default()).await.unwrap();
        let mut steps = response.into_inner();
        steps.message().await.unwrap().unwrap();
        drop(steps);
    }
    assert_eq!(scene.ended(Outcome::Cancelled), 10);
    assert_eq!(scene.state(), CircuitState::Closed);
}

#[tokio::test]
async fn the_callers_fault_does_not_count() {
    let scene = Scene::usual();
    for _ in 0..10 {
        let mut calls = scene.client.calls.clone();
        let nothing = AuthoriseRequest::default();
        let status = calls.authorise(nothing).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
    }
    assert_eq!(scene.state(), CircuitState::Closed);
}

#[tokio::test]
async fn the_deadline_opens_it_when_the_bank_hangs_and_it_recovers() {
    let scene = Scene::usual();
    scene.bank.is(Health::Hangs);
    let begun = Instant::now();
    tokio::join!(scene.code(), scene.code(), scene.code());
    assert!(begun.elapsed() >= DEADLINE);
    assert_eq!(scene.ended(Outcome::Failure), 3);
    assert_eq!(scene.state(), CircuitState::Open);
    scene.bank.is(Health::Well);
    scene.recover().await;
    assert_eq!(scene.state(), CircuitState::Closed);
}

#[tokio::test]
async fn hanging_calls_open_it_before_the_first_deadline_has_passed() {
    let watching = breaker().hanging_calls(3, DEADLINE / 5);
    let scene = Scene::set(watching, Limits::default(), 32);
    scene.bank.is(Health::Hangs);
    let hanging = async { tokio::join!(scene.code(), scene.code(), scene.code()) };
    let opening = async {
        scene.bank.called(3).await;
        while scene.state() == CircuitState::Closed {
            // Whoever comes next notices. Should one get through before that, it hangs as well.
            let _ = timeout(DEADLINE / 50, scene.code()).await;
        }
        scene.ended(Outcome::Failure)
    };
    let (_, failures_when_it_opened) = tokio::join!(hanging, opening);
    assert_eq!(failures_when_it_opened, 0);
}

#[tokio::test]
async fn a_half_open_circuit_sends_one_probe_at_a_time_to_a_bank_that_hangs() {
    let scene = Scene::usual();
    scene.bank.is(Health::Hangs);
    tokio::join!(scene.code(), scene.code(), scene.code());
    assert_eq!(scene.state(), CircuitState::Open);
    let before = scene.bank.calls();
    let begun = Instant::now();
    let storm = async || {
        while begun.elapsed() < 4 * (COOL_DOWN + DEADLINE) {
            let _ = scene.code().await;
            sleep(COOL_DOWN / 30).await;
        }
    };
    tokio::join!(storm(), storm(), storm(), storm(), storm());
    // A probe is due after a cool-down, and takes the deadline to fail.
    let rounds = begun.elapsed().div_duration_f64(COOL_DOWN + DEADLINE);
    let probes = scene.bank.calls() - before;
    assert!(probes > 0);
    assert!(
        probes as f64 <= rounds + 1.0,
        "{probes} probes in {rounds} rounds"
    );
}

#[tokio::test]
async fn a_server_that_is_killed_opens_it_and_one_that_comes_back_closes_it() {
    let mut scene = Scene::usual();
    assert_eq!(scene.code().await, Code::Ok);
    scene.kill();
    let opened = timeout(PATIENCE, async {
        while scene.state() != CircuitState::Open {
            let _ = scene.code().await;
        }
    });
    opened.await.unwrap();
    scene.start_again().await;
    scene.recover().await;
    assert_eq!(scene.state(), CircuitState::Closed);
}

#[tokio::test]
async fn what_the_clients_own_bulkhead_refuses_does_not_count() {
    let scene = Scene::set(breaker(), Limits::default(), 1);
    scene.bank.is(Health::Hangs);
    let others = async {
        scene.bank.called(1).await;
        for _ in 0..10 {
            assert_eq!(scene.code().await, Code::ResourceExhausted);
        }
        assert_eq!(scene.state(), CircuitState::Closed);
        scene.bank.is(Health::Well);
    };
    let (held, ()) = tokio::join!(scene.code(), others);
    assert_eq!(held, Code::Ok);
    assert_eq!(scene.bank.calls(), 1);
}

#[tokio::test]
async fn what_the_servers_rate_limit_refuses_is_throttled_and_keeps_it_closed() {
    let limits = Limits {
        per_second: 5,
        ..Limits::default()
    };
    let scene = Scene::set(breaker(), limits, 32);
    let mut throttled = 0;
    for _ in 0..50 {
        throttled += u64::from(scene.code().await == Code::ResourceExhausted);
    }
    assert!(throttled > 0);
    assert_eq!(scene.ended(Outcome::Throttled), throttled);
    assert_eq!(scene.state(), CircuitState::Closed);
}
