//! What threads of one's own are for, and what becomes of them.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::{
    pin::Pin,
    sync::{Arc, Mutex, mpsc},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{Router, body::Body, extract::State, routing::get};
use bytes::Bytes;
use fusebox_bulkhead::{Compartment, CompartmentBuilder};
use fusebox_core::{Outcome, Registration};
use fusebox_stack_tests::{Connection, PATIENCE, Server, until, within};
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::sync::oneshot;

fn builder(name: &str) -> CompartmentBuilder {
    Compartment::builder(name).registration(Registration::Unlisted)
}

async fn in_flight(compartment: &Compartment, calls: usize) {
    let seen = || compartment.snapshot().in_flight == calls;
    until(&format!("{calls} in flight"), seen).await;
}

/// Work that does not give its thread back until the test says so.
#[derive(Clone)]
struct Computation(Arc<Mutex<mpsc::Receiver<()>>>);

async fn compute(State(computation): State<Computation>) -> &'static str {
    computation.0.lock().unwrap().recv().unwrap();
    "computed"
}

/// The server has one thread. Without threads of its own the first computation would have it, and the
/// test would hang.
#[tokio::test(flavor = "current_thread")]
async fn handlers_that_never_yield_leave_everybody_else_alone() {
    let analytics = builder("analytics")
        .slots(2)
        .threads(2)
        .nice(10)
        .build()
        .unwrap();
    let payments = builder("payments").slots(1).build().unwrap();
    let (done, computation) = mpsc::channel();
    let router = Router::new()
        .route("/analytics", get(compute))
        .with_state(Computation(Arc::new(Mutex::new(computation))))
        .layer(analytics.layer())
        .merge(
            Router::new()
                .route("/payments", get(|| async { "paid" }))
                .layer(payments.layer()),
        );
    let server = Server::start(router).await;

    let mut computing = Vec::new();
    for _ in 0..2 {
        let mut connection = Connection::to(&server).await;
        computing.push(tokio::spawn(
            async move { connection.fetch("/analytics").await },
        ));
    }
    in_flight(&analytics, 2).await;
    let mut client = Connection::to(&server).await;
    for _ in 0..50 {
        assert_eq!(client.fetch("/payments").await.unwrap().body(), "paid");
        let refused = client.fetch("/analytics").await.unwrap();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    for _ in &computing {
        done.send(()).unwrap();
    }
    for call in computing {
        assert_eq!(within(call).await.unwrap().unwrap().body(), "computed");
    }
    assert_eq!(payments.snapshot().stats.outcome(Outcome::Success), 50);
    assert_eq!(analytics.snapshot().stats.outcome(Outcome::Success), 2);
}

#[tokio::test]
async fn a_handler_that_blocks_does_so_on_the_compartments_own_blocking_threads() {
    let reports = builder("reports").slots(1).threads(1).build().unwrap();
    let name = || std::thread::current().name().unwrap_or_default().to_owned();
    // It holds the only slot, and needs no other.
    let blocks = move || async move { tokio::task::spawn_blocking(name).await.unwrap() };
    let router = Router::new()
        .route("/", get(blocks))
        .layer(reports.layer())
        .route("/elsewhere", get(blocks));
    let server = Server::start(router).await;
    let mut client = Connection::to(&server).await;
    assert_eq!(client.fetch("/").await.unwrap().body(), "reports");
    assert_ne!(client.fetch("/elsewhere").await.unwrap().body(), "reports");
}

#[tokio::test]
async fn a_panic_is_a_500_or_a_broken_body_and_counts_as_a_failure() {
    let analytics = builder("analytics").slots(1).threads(1).build().unwrap();
    let name = || async { std::thread::current().name().unwrap_or_default().to_owned() };
    let (streams, mut started) = tokio::sync::mpsc::channel(1);
    let streamed = || async move {
        let (break_off, broken) = oneshot::channel();
        streams.send(break_off).await.unwrap();
        Response::new(Body::new(Breaks { row: false, broken }))
    };
    let router = Router::new()
        .route("/name", get(name))
        .route("/panics", get(panics))
        .route("/streams", get(streamed))
        .layer(analytics.layer())
        .route("/elsewhere", get(name));
    let server = Server::start(router).await;

    for failures in [2, 4, 6] {
        let mut client = Connection::to(&server).await;
        assert_eq!(client.fetch("/name").await.unwrap().body(), "analytics");
        assert_ne!(
            client.fetch("/elsewhere").await.unwrap().body(),
            "analytics"
        );

        let refusal = client.fetch("/panics").await.unwrap();
        assert_eq!(refusal.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let problem: serde_json::Value = serde_json::from_slice(refusal.body()).unwrap();
        assert_eq!(problem["code"], "panicked");

        let mut body = client.get("/streams").await.unwrap().into_body();
        let frame = within(body.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "row");
        within(started.recv()).await.unwrap().send(()).unwrap();
        // Never an end that looks like one: the client must not take a part for the whole.
        within(body.frame()).await.unwrap().unwrap_err();

        in_flight(&analytics, 0).await;
        let told = || analytics.snapshot().stats.outcome(Outcome::Failure);
        until("they are failures", || told() == failures).await;
    }
}

async fn panics() {
    if true {
        // As a panic, without a word on the standard error.
        std::panic::resume_unwind(Box::new("a test wants it"));
    }
}

/// One row, and a panic when the test wants it.
struct Breaks {
    row: bool,
    broken: oneshot::Receiver<()>,
}

impl http_body::Body for Breaks {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if !std::mem::replace(&mut self.row, true) {
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"row")))));
        }
        let _ = ready!(Pin::new(&mut self.broken).poll(cx));
        std::panic::resume_unwind(Box::new("a test wants it"));
    }
}

#[tokio::test]
async fn a_shutdown_lets_calls_end_and_answers_new_ones_with_503() {
    let analytics = builder("analytics").slots(2).threads(1).build().unwrap();
    let (done, computation) = mpsc::channel();
    let router = Router::new()
        .route("/", get(compute))
        .with_state(Computation(Arc::new(Mutex::new(computation))))
        .layer(analytics.layer());
    let server = Server::start(router).await;
    let mut connection = Connection::to(&server).await;
    let call = tokio::spawn(async move { connection.fetch("/").await });
    in_flight(&analytics, 1).await;

    let stopping = analytics.clone();
    let shutdown = tokio::spawn(async move { stopping.shutdown(PATIENCE).await });
    until("it is closed", || analytics.snapshot().closed).await;
    let mut late = Connection::to(&server).await;
    let refused = late.fetch("/").await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    let problem: serde_json::Value = serde_json::from_slice(refused.body()).unwrap();
    assert_eq!(problem["code"], "shutting_down");

    done.send(()).unwrap();
    assert_eq!(within(call).await.unwrap().unwrap().body(), "computed");
    assert_eq!(within(shutdown).await.unwrap(), 0);
}

#[tokio::test]
async fn a_shutdown_without_patience_answers_those_it_cuts_off() {
    let analytics = builder("analytics").slots(1).threads(1).build().unwrap();
    let router = Router::new()
        .route("/", get(std::future::pending::<()>))
        .layer(analytics.layer());
    let server = Server::start(router).await;
    let mut connection = Connection::to(&server).await;
    let call = tokio::spawn(async move { connection.fetch("/").await });
    in_flight(&analytics, 1).await;
    assert_eq!(within(analytics.shutdown(Duration::ZERO)).await, 1);
    let refused = within(call).await.unwrap().unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    in_flight(&analytics, 0).await;
}
