//! Clients that go away at every moment there is, and protocols that leave HTTP.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Path,
    middleware::{Next, from_fn},
    routing::get,
};
use bytes::Bytes;
use fusebox_bulkhead::{Compartment, CompartmentBuilder};
use fusebox_core::{Outcome, Registration};
use fusebox_stack_tests::{Connection, PATIENCE, Server, until, within};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, channel::Channel};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Without threads of its own and with.
fn kinds() -> [CompartmentBuilder; 2] {
    let builder = || Compartment::builder("chaos").registration(Registration::Unlisted);
    [builder(), builder().threads(2)]
}

/// A stream of rows without an end: only its reader ends it.
async fn endless() -> Response<Body> {
    let (mut sender, body) = Channel::<Bytes>::new(1);
    tokio::spawn(
        async move { while sender.send_data(Bytes::from_static(b"row")).await.is_ok() {} },
    );
    Response::new(Body::new(body))
}

/// Asks until it is let in, reads to the end or, of what has none, the first row, and goes away.
///
/// How far a client of the storm gets before it goes is a race that a
/// busy machine may decide for all of them in the same way. These decide it themselves.
async fn insist(address: SocketAddr, path: &str) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let mut connection = Connection::open(address).await;
        let response = connection.get(path).await.unwrap();
        if response.status() == StatusCode::OK {
            let mut body = response.into_body();
            let first = within(body.frame()).await.unwrap().unwrap();
            assert!(first.is_data());
            if path != "/endless" {
                within(body.collect()).await.unwrap();
            }
            return;
        }
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(tokio::time::Instant::now() < deadline, "never let in");
        tokio::task::yield_now().await;
    }
}

/// Takes `pause` yields to its head, and streams ten rows with as many in between.
async fn rows(Path(pause): Path<u32>) -> Response<Body> {
    yields(pause).await;
    let (mut sender, body) = Channel::<Bytes>::new(1);
    tokio::spawn(async move {
        for _ in 0..10 {
            yields(pause).await;
            if sender.send_data(Bytes::from_static(b"row")).await.is_err() {
                return;
            }
        }
    });
    Response::new(Body::new(body))
}

#[tokio::test]
async fn however_clients_go_away_no_slot_and_no_event_is_lost() {
    const CLIENTS: u32 = 8;
    const CALLS: u32 = 60;
    for settings in kinds() {
        // Some wait, a few are refused.
        let compartment = settings
            .slots(3)
            .queue(3, Duration::from_secs(5))
            .build()
            .unwrap();
        let arrived = Arc::new(AtomicU64::new(0));
        let counted = arrived.clone();
        let count = move |request, next: Next| {
            counted.fetch_add(1, Ordering::SeqCst);
            next.run(request)
        };
        let router = Router::new()
            .route("/rows/{pause}", get(rows))
            .route("/endless", get(endless))
            .layer(compartment.layer())
            .layer(from_fn(count));
        let server = Server::start(router).await;
        let mut clients = tokio::task::JoinSet::new();
        for client in 0..CLIENTS {
            let address = server.address();
            clients.spawn(async move {
                for call in 0..CALLS {
                    // Some whose end is no matter of luck, in the midst of it.
                    match call % 20 {
                        5 => insist(address, "/endless").await,
                        15 => insist(address, "/rows/1").await,
                        _ => {}
                    }
                    // Every way to go, in an order that is no order.
                    let dice = (client * CALLS + call).wrapping_mul(2_654_435_761) >> 8;
                    let (patience, frames, pause) = (dice % 40, (dice / 40) % 13, dice / 520 % 8);
                    let mut connection = Connection::open(address).await;
                    let path = format!("/rows/{pause}");
                    let answer = async {
                        let mut body = connection.get(&path).await?.into_body();
                        for _ in 0..frames {
                            if within(body.frame()).await.transpose()?.is_none() {
                                break;
                            }
                        }
                        Ok::<_, hyper::Error>(())
                    };
                    tokio::select! {
                        biased;
                        answered = answer => answered.unwrap(),
                        () = yields(patience * 4) => {}
                    }
                }
            });
        }
        while let Some(client) = clients.join_next().await {
            client.unwrap();
        }
        let now = || compartment.snapshot();
        until("nobody is in it", || {
            now().in_flight == 0 && now().waiting == 0
        })
        .await;
        let told = || {
            let stats = now().stats;
            let outcomes = Outcome::ALL.map(|outcome| stats.outcome(outcome));
            outcomes.iter().sum::<u64>() + stats.refused()
        };
        // Not all that were sent: a client may be gone before its request is read.
        let arrived = arrived.load(Ordering::SeqCst);
        until("every call is told", || told() >= arrived).await;
        assert_eq!(told(), arrived, "and told once");
        assert_eq!(now().stats.outcome(Outcome::Failure), 0);
        // Three of each kind by every client that insisted, whatever became of the others.
        let insisted = u64::from(CLIENTS * CALLS / 20);
        for outcome in [Outcome::Success, Outcome::Cancelled] {
            let ended = now().stats.outcome(outcome);
            assert!(ended >= insisted, "{outcome}: {ended} of {insisted}");
        }
        let slots: Vec<_> = (0..3).map(|_| compartment.try_acquire().unwrap()).collect();
        assert!(compartment.try_acquire().is_err());
        drop(slots);
    }
}

async fn yields(times: u32) {
    for _ in 0..times {
        tokio::task::yield_now().await;
    }
}

async fn echo(mut request: Request<Body>) -> Response<Body> {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut io = TokioIo::new(upgrade.await.unwrap());
        let mut word = [0; 5];
        io.read_exact(&mut word).await.unwrap();
        io.write_all(&word).await.unwrap();
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let upgraded = http::HeaderValue::from_static("echo");
    response.headers_mut().insert("upgrade", upgraded);
    response
}

#[tokio::test]
async fn a_connection_that_leaves_http_is_let_go_with_its_head() {
    for settings in kinds() {
        let compartment = settings.slots(1).build().unwrap();
        let router = Router::new()
            .route("/", get(echo))
            .layer(compartment.layer());
        let server = Server::start(router).await;
        let stream = within(TcpStream::connect(server.address())).await.unwrap();
        let (mut sender, connection) = within(handshake(TokioIo::new(stream))).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        let request = Request::get("/")
            .header("host", "loopback")
            .header("connection", "upgrade")
            .header("upgrade", "echo")
            .body(Empty::<Bytes>::new())
            .unwrap();
        let response = within(sender.send_request(request)).await.unwrap();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        // What follows is no HTTP, and nothing that a bulkhead of calls could see the end of.
        assert_eq!(compartment.snapshot().in_flight, 0);
        let upgraded = within(hyper::upgrade::on(response)).await.unwrap();
        let mut io = TokioIo::new(upgraded);
        let mut word = [0; 5];
        within(io.write_all(b"hello")).await.unwrap();
        within(io.read_exact(&mut word)).await.unwrap();
        assert_eq!(&word, b"hello");
    }
}
