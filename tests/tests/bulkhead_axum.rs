//! A compartment in front of axum's handlers, seen from the other end of a socket.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::State, routing::get};
use bytes::Bytes;
use fusebox_bulkhead::{Compartment, CompartmentBuilder};
use fusebox_core::Registration;
use fusebox_stack_tests::{Connection, Server, until, within};
use http::{Response, StatusCode};
use http_body_util::{
    BodyExt,
    channel::{Channel, Sender},
};
use tokio::sync::{Semaphore, mpsc};

fn builder(name: &str) -> CompartmentBuilder {
    Compartment::builder(name).registration(Registration::Unlisted)
}

/// Without threads of its own and with.
fn kinds(name: &str) -> [CompartmentBuilder; 2] {
    [builder(name), builder(name).threads(1)]
}

/// Answers when the test lets it.
#[derive(Clone)]
struct Gate {
    open: Arc<Semaphore>,
}

impl Gate {
    fn closed() -> Self {
        Self {
            open: Arc::new(Semaphore::new(0)),
        }
    }

    fn let_through(&self, calls: usize) {
        self.open.add_permits(calls);
    }
}

async fn gated(State(gate): State<Gate>) -> &'static str {
    gate.open.acquire().await.unwrap().forget();
    "done"
}

/// Hands the writing end of each response's body to the test.
#[derive(Clone)]
struct Streams(mpsc::UnboundedSender<Sender<Bytes>>);

async fn streamed(State(streams): State<Streams>) -> Response<axum::body::Body> {
    let (sender, body) = Channel::<Bytes>::new(1);
    streams.0.send(sender).unwrap();
    Response::new(axum::body::Body::new(body))
}

async fn in_flight(compartment: &Compartment, calls: usize) {
    let seen = || compartment.snapshot().in_flight == calls;
    until(&format!("{calls} in flight"), seen).await;
}

#[tokio::test]
async fn a_full_compartment_answers_503_with_a_problem_document_and_when_to_come_back() {
    let payments = builder("payments")
        .slots(1)
        .retry_after(Duration::from_millis(1_500))
        .build()
        .unwrap();
    let gate = Gate::closed();
    let router = Router::new()
        .route("/", get(gated))
        .with_state(gate.clone())
        .layer(payments.layer());
    let server = Server::start(router).await;

    let mut first = Connection::to(&server).await;
    let first = tokio::spawn(async move { first.fetch("/").await });
    in_flight(&payments, 1).await;

    let mut second = Connection::to(&server).await;
    let refusal = second.fetch("/").await.unwrap();
    assert_eq!(refusal.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        refusal.headers()["content-type"],
        "application/problem+json"
    );
    assert_eq!(refusal.headers()["retry-after"], "2", "rounded up");
    let problem: serde_json::Value = serde_json::from_slice(refusal.body()).unwrap();
    assert_eq!(problem["status"], 503);
    assert_eq!(problem["code"], "full");

    gate.let_through(2);
    let answer = within(first).await.unwrap().unwrap();
    assert_eq!(answer.body(), "done");
    // The same connection that was refused is served now.
    let answer = second.fetch("/").await.unwrap();
    assert_eq!(
        (answer.status(), &answer.body()[..]),
        (StatusCode::OK, &b"done"[..])
    );
}

#[tokio::test]
async fn a_slot_is_held_until_the_body_has_ended_and_free_when_the_client_sees_the_end() {
    for settings in kinds("reports") {
        let reports = settings.slots(1).build().unwrap();
        let (streams, mut started) = mpsc::unbounded_channel();
        let router = Router::new()
            .route("/", get(streamed))
            .with_state(Streams(streams))
            .layer(reports.layer());
        let server = Server::start(router).await;
        let mut reader = Connection::to(&server).await;
        let mut other = Connection::to(&server).await;

        for _ in 0..3 {
            let mut body = reader.get("/").await.unwrap().into_body();
            let mut sender = within(started.recv()).await.unwrap();
            within(sender.send_data(Bytes::from_static(b"row")))
                .await
                .unwrap();
            let frame = within(body.frame()).await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), "row");

            // Its head and a part of its body have long arrived; it is still under way.
            let refused = other.fetch("/").await.unwrap();
            assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);

            drop(sender);
            assert!(within(body.frame()).await.is_none());
            // At once, not soon: who has read the end may come again.
            assert_eq!(reports.snapshot().in_flight, 0);
        }
    }
}

#[tokio::test]
async fn a_client_that_goes_away_gives_its_slot_back() {
    for settings in kinds("reports") {
        let reports = settings.slots(1).build().unwrap();
        let gate = Gate::closed();
        let (streams, mut started) = mpsc::unbounded_channel();
        let router = Router::new()
            .route("/gated", get(gated).with_state(gate))
            .route("/streamed", get(streamed).with_state(Streams(streams)))
            .layer(reports.layer());
        let server = Server::start(router).await;

        // Before it has an answer.
        let mut client = Connection::to(&server).await;
        {
            let mut call = Box::pin(client.get("/gated"));
            tokio::select! {
                _ = &mut call => panic!("nobody opened the gate"),
                () = in_flight(&reports, 1) => {}
            }
        }
        drop(client);
        in_flight(&reports, 0).await;

        // In the middle of it, while the handler goes on sending.
        let mut client = Connection::to(&server).await;
        let body = client.get("/streamed").await.unwrap().into_body();
        let mut sender = within(started.recv()).await.unwrap();
        assert_eq!(reports.snapshot().in_flight, 1);
        drop(body);
        drop(client);
        let row = Bytes::from_static(&[b'x'; 65_536]);
        while within(sender.send_data(row.clone())).await.is_ok() {}
        in_flight(&reports, 0).await;
    }
}

#[tokio::test]
async fn two_routes_layered_from_one_layer_share_the_slots() {
    let payments = builder("payments").slots(1).build().unwrap();
    let gate = Gate::closed();
    let layer = payments.layer();
    let router = Router::new()
        // axum calls `layer()` for each of them, and clones the services for each request.
        .route("/a", get(gated).layer(layer.clone()))
        .route("/b", get(gated).layer(layer))
        .route("/free", get(|| async { "free" }))
        .with_state(gate.clone());
    let server = Server::start(router).await;

    let mut first = Connection::to(&server).await;
    let first = tokio::spawn(async move { first.fetch("/a").await });
    in_flight(&payments, 1).await;
    let mut second = Connection::to(&server).await;
    for path in ["/a", "/b"] {
        let refused = second.fetch(path).await.unwrap();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
    }
    assert_eq!(
        second.fetch("/free").await.unwrap().status(),
        StatusCode::OK
    );
    gate.let_through(2);
    within(first).await.unwrap().unwrap();
    assert_eq!(second.fetch("/b").await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_resize_under_traffic_loses_no_call_and_no_count() {
    let payments = builder("payments").slots(4).build().unwrap();
    let router = Router::new()
        .route("/", get(|| async { tokio::task::yield_now().await }))
        .layer(payments.layer());
    let server = Server::start(router).await;

    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut client = Connection::to(&server).await;
        clients.spawn(async move {
            let mut answers = [0_u64; 2];
            for _ in 0..200 {
                match client.fetch("/").await.unwrap().status() {
                    StatusCode::OK => answers[0] += 1,
                    StatusCode::SERVICE_UNAVAILABLE => answers[1] += 1,
                    status => panic!("{status}"),
                }
            }
            answers
        });
    }
    let mut answers = [0; 2];
    let mut sizes = [1, 3, 8, 2].into_iter().cycle();
    loop {
        tokio::select! {
            // A new size between any two requests, as far as the machine goes along.
            biased;
            ended = clients.join_next() => match ended {
                Some(ended) => {
                    let [served, refused] = ended.unwrap();
                    answers[0] += served;
                    answers[1] += refused;
                }
                None => break,
            },
            () = tokio::task::yield_now() => {
                payments.resize(sizes.next().unwrap()).unwrap();
            }
        }
    }
    assert_eq!(answers[0] + answers[1], 8 * 200);
    let snapshot = payments.snapshot();
    assert_eq!(snapshot.in_flight, 0);
    assert_eq!(
        snapshot.stats.outcome(fusebox_core::Outcome::Success),
        answers[0]
    );
    assert_eq!(snapshot.stats.refused(), answers[1]);

    // Exactly as many places as the last size says.
    payments.resize(3).unwrap();
    let held: Vec<_> = (0..3).map(|_| payments.try_acquire().unwrap()).collect();
    assert!(payments.try_acquire().is_err());
    drop(held);
}
