//! Connections that end without a word, on real sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]
#![cfg(feature = "axum")]

mod stack;

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::serve::Listener;
use fusebox_blackhole::{
    Action, BlackholeConfig, BlackholeLayer, BlackholeListener, Close, Gate, GateConfig,
    TarpitBudget, Traps, with_connection,
};
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use stack::{
    Counting, GET, HOUR, Renaming, TRAP, connect, hello, http2, jail, renamed, request, rest,
    router, serve, soon, until,
};

#[tokio::test]
async fn an_http1_connection_is_dropped_without_a_byte_and_what_was_pipelined_behind_is_never_handled()
 {
    let jail = jail();
    for (last, close) in [(1, Close::Reset), (2, Close::Silent)] {
        let server = serve(
            GateConfig::new(&jail).close(close),
            BlackholeConfig::new(&jail),
        )
        .await;
        let mut stream = connect(server.address, last).await;
        stream.write_all(GET).await.unwrap();
        hello(&mut stream).await;
        let pipelined = [TRAP, GET, b"GET /hang HTTP/1.1\r\nhost: test\r\n\r\n"].concat();
        stream.write_all(&pipelined).await.unwrap();
        let (seen, end) = rest(&mut stream).await;
        assert_eq!(seen, b"", "{close:?}: {}", String::from_utf8_lossy(&seen));
        match close {
            Close::Reset => assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset),
            Close::Silent => end.unwrap(),
        }
        assert_eq!(server.hanging.load(Ordering::SeqCst), 0);
        let why = jail.why([192, 0, 2, last].into()).unwrap();
        assert_eq!(why.reason.to_string(), "trap");
    }
}

#[tokio::test]
async fn a_trap_that_is_pipelined_behind_others_ends_the_connection_too() {
    let jail = jail();
    let server = serve(
        GateConfig::new(&jail).close(Close::Silent),
        BlackholeConfig::new(&jail),
    )
    .await;
    let mut stream = connect(server.address, 3).await;
    stream
        .write_all(&[GET, TRAP, GET, GET].concat())
        .await
        .unwrap();
    let (seen, end) = rest(&mut stream).await;
    end.unwrap();
    let answers = String::from_utf8_lossy(&seen).matches("HTTP/1.1").count();
    assert!(answers <= 1, "{answers} answers");
}

#[tokio::test]
async fn a_condemned_peer_is_closed_before_it_can_say_anything() {
    let jail = jail();
    jail.ban([192, 0, 2, 4].into(), HOUR).unwrap();
    for close in [Close::Reset, Close::Silent] {
        let server = serve(
            GateConfig::new(&jail).close(close),
            BlackholeConfig::new(&jail),
        )
        .await;
        // Nothing is sent: the server must not wait for it.
        let mut stream = connect(server.address, 4).await;
        let (seen, end) = rest(&mut stream).await;
        assert_eq!(seen, b"");
        assert_eq!(end.is_err(), close == Close::Reset, "{close:?}: {end:?}");
        let mut innocent = connect(server.address, 5).await;
        innocent.write_all(GET).await.unwrap();
        hello(&mut innocent).await;
    }
    jail.unban([192, 0, 2, 4].into());
    let server = serve(GateConfig::new(&jail), BlackholeConfig::new(&jail)).await;
    let mut stream = connect(server.address, 4).await;
    stream.write_all(GET).await.unwrap();
    hello(&mut stream).await;
}

#[tokio::test]
async fn an_http2_connection_is_dropped_with_all_its_streams_and_their_handlers_are_cancelled() {
    let jail = jail();
    let mut server = serve(GateConfig::new(&jail), BlackholeConfig::new(&jail)).await;
    let read = Arc::new(AtomicUsize::new(0));
    let counting = Counting {
        stream: connect(server.address, 6).await,
        read: read.clone(),
    };
    let mut sender = http2(counting).await;
    // Whatever has to be said at the beginning of a connection is said with the first answer.
    let first = soon("the first answer", sender.send_request(request("/")))
        .await
        .unwrap();
    assert_eq!(
        first.into_body().collect().await.unwrap().to_bytes(),
        "hello"
    );
    let hanging: Vec<_> = (0..5)
        .map(|_| tokio::spawn(sender.send_request(request("/hang"))))
        .collect();
    for _ in 0..5 {
        soon("five handlers", server.started.recv()).await.unwrap();
    }
    assert_eq!(server.hanging.load(Ordering::SeqCst), 5);
    let before = read.load(Ordering::SeqCst);
    soon("the drop", sender.send_request(request("/.env")))
        .await
        .unwrap_err();
    for answer in hanging {
        soon("the other streams", answer)
            .await
            .unwrap()
            .unwrap_err();
    }
    assert_eq!(
        read.load(Ordering::SeqCst),
        before,
        "not a byte is sent after the drop"
    );
    until("all handlers are cancelled", || {
        server.hanging.load(Ordering::SeqCst) == 0
    })
    .await;
}

#[tokio::test]
async fn requests_of_a_connection_that_was_open_before_the_ban_are_dropped() {
    let jail = jail();
    let mut server = serve(GateConfig::new(&jail), BlackholeConfig::new(&jail)).await;
    let mut sender = http2(connect(server.address, 7).await).await;
    let hanging = tokio::spawn(sender.send_request(request("/hang")));
    soon("the handler", server.started.recv()).await.unwrap();
    jail.ban([192, 0, 2, 7].into(), HOUR).unwrap();
    soon("the drop", sender.send_request(request("/")))
        .await
        .unwrap_err();
    soon("the other stream", hanging)
        .await
        .unwrap()
        .unwrap_err();
    until("the handler is cancelled", || {
        server.hanging.load(Ordering::SeqCst) == 0
    })
    .await;
}

#[tokio::test]
async fn an_operator_can_close_connections_that_say_nothing() {
    let jail = jail();
    let mut server = serve(GateConfig::new(&jail), BlackholeConfig::new(&jail)).await;
    let mut idle = connect(server.address, 16).await;
    idle.write_all(GET).await.unwrap();
    hello(&mut idle).await;
    let mut other = http2(connect(server.address, 17).await).await;
    let hanging = tokio::spawn(other.send_request(request("/hang")));
    soon("the handler", server.started.recv()).await.unwrap();

    assert_eq!(jail.disconnect("198.51.100.0/24".parse().unwrap()), 0);
    assert_eq!(jail.disconnect("192.0.2.16".parse().unwrap()), 1);
    let (seen, end) = rest(&mut idle).await;
    assert_eq!(
        (seen, end.unwrap_err().kind()),
        (vec![], io::ErrorKind::ConnectionReset)
    );
    assert!(!hanging.is_finished());

    jail.protect(["192.0.2.17".parse().unwrap()]);
    assert_eq!(jail.disconnect("192.0.2.0/24".parse().unwrap()), 0);
    assert_eq!(server.hanging.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn who_is_denied_is_told_so_and_keeps_the_connection() {
    let jail = jail();
    let config = BlackholeConfig::new(&jail).action(Action::Deny);
    let server = serve(GateConfig::new(&jail), config).await;
    let mut sender = http2(connect(server.address, 8).await).await;
    for path in ["/.env", "/"] {
        let answer = soon("the answer", sender.send_request(request(path)))
            .await
            .unwrap();
        assert_eq!(answer.status(), 403);
    }
}

#[tokio::test]
async fn without_a_connection_to_drop_the_client_is_denied_and_the_connection_closes() {
    let jail = jail();
    jail.ban([192, 0, 2, 9].into(), HOUR).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (app, _, _) = router(BlackholeLayer::new(&jail));
    // An own listener, that tells who the peer is and nothing else.
    tokio::spawn(async move {
        let (stream, peer) = listener.accept().await.unwrap();
        let service =
            hyper::service::service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
                request
                    .extensions_mut()
                    .insert(fusebox_http::identity::PeerAddr(renamed(peer)));
                tower_service::Service::call(&mut app.clone(), request)
            });
        hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await
    });
    let mut stream = connect(address, 9).await;
    stream.write_all(GET).await.unwrap();
    let (seen, end) = rest(&mut stream).await;
    end.unwrap();
    let seen = String::from_utf8(seen).unwrap();
    assert!(
        seen.starts_with("HTTP/1.1 403") && seen.contains("connection: close"),
        "{seen}"
    );
}

#[tokio::test]
async fn a_client_has_no_more_connections_than_it_may_and_a_closed_one_makes_room() {
    let jail = jail();
    let gate = GateConfig::new(&jail).connections_per_client(2);
    let server = serve(gate, BlackholeConfig::new(&jail)).await;
    let open = async |last| {
        let mut stream = connect(server.address, last).await;
        stream.write_all(GET).await.unwrap();
        hello(&mut stream).await;
        stream
    };
    let first = open(10).await;
    let _second = open(10).await;
    let mut third = connect(server.address, 10).await;
    let (seen, end) = rest(&mut third).await;
    assert_eq!(
        (seen, end.unwrap_err().kind()),
        (vec![], io::ErrorKind::ConnectionReset)
    );
    let _other = open(11).await;
    drop(first);
    soon("room again", async {
        loop {
            let mut stream = connect(server.address, 10).await;
            let sent = stream.write_all(GET).await;
            let mut byte = [0];
            if sent.is_ok() && matches!(stream.read(&mut byte).await, Ok(1)) {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_connects_too_fast_is_turned_away_and_counted() {
    let jail = jail();
    let gate = GateConfig::new(&jail)
        .accepts_per_client(3, HOUR)
        .build()
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut let_in = 0;
    for _ in 0..5 {
        let _client = connect(address, 12).await;
        let (stream, peer) = listener.accept().await.unwrap();
        let_in += usize::from(gate.admit(stream, renamed(peer)).is_some());
    }
    assert_eq!((let_in, gate.turned_away().too_fast), (3, 2));
}

#[tokio::test]
async fn a_tarpit_trickles_within_its_budget_and_drops_over_it() {
    let jail = jail();
    jail.ban([192, 0, 2, 13].into(), HOUR).unwrap();
    let budget = TarpitBudget::default()
        .slots(2)
        .longest(Duration::from_secs(2))
        .bytes_per_second(10);
    let layer = BlackholeConfig::new(&jail)
        .action(Action::Tarpit)
        .tarpit(budget)
        .build()
        .unwrap();
    let (app, _, _) = router(layer.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // The gate would turn them away: these were connected before they were jailed.
    let gate = GateConfig::new(&stack::jail()).build().unwrap();
    let listener = BlackholeListener::new(Renaming(listener), gate);
    tokio::spawn(async move { axum::serve(listener, with_connection(app)).await });

    let mut stuck = Vec::new();
    for _ in 0..2 {
        let mut stream = connect(address, 13).await;
        stream.write_all(GET).await.unwrap();
        stuck.push(stream);
        until("a place in the tarpit", || layer.in_tarpit() == stuck.len()).await;
    }
    let mut third = connect(address, 13).await;
    third.write_all(GET).await.unwrap();
    let (seen, end) = rest(&mut third).await;
    assert_eq!(
        (seen, end.unwrap_err().kind()),
        (vec![], io::ErrorKind::ConnectionReset)
    );

    // The answer to this one has no body that could trickle.
    let mut fourth = connect(address, 13).await;
    fourth
        .write_all(b"HEAD / HTTP/1.1\r\nhost: test\r\n\r\n")
        .await
        .unwrap();
    let (seen, end) = rest(&mut fourth).await;
    assert_eq!(
        (seen, end.unwrap_err().kind()),
        (vec![], io::ErrorKind::ConnectionReset)
    );

    // One reads, the other does not: both are gone when their time is up.
    let mut reader = stuck.pop().unwrap();
    let (seen, end) = rest(&mut reader).await;
    assert!(end.is_err(), "not an orderly end");
    let text = String::from_utf8_lossy(&seen);
    assert!(
        text.starts_with("HTTP/1.1 200") && !text.ends_with("0\r\n\r\n"),
        "{text}"
    );
    assert!(text.matches("\r\n \r\n").count() <= 20, "{text}");
    until("both places are free", || layer.in_tarpit() == 0).await;
    drop(stuck);
}

/// TLS around the gate, as the listener of a user has it: all it does for the gate is to pass the address type on.
struct Tls<L> {
    listener: L,
    acceptor: tokio_rustls::TlsAcceptor,
}

impl<L: Listener> Listener for Tls<L> {
    type Io = tokio_rustls::server::TlsStream<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, L::Addr) {
        loop {
            let (stream, peer) = self.listener.accept().await;
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> io::Result<L::Addr> {
        self.listener.local_addr()
    }
}

fn certified() -> (tokio_rustls::TlsAcceptor, tokio_rustls::TlsConnector) {
    let own = rcgen::generate_simple_self_signed(["test".to_owned()]).unwrap();
    let certificate = own.cert.der().clone();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(own.signing_key.serialize_der().into());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let server = rustls::ServerConfig::builder().with_no_client_auth();
    let server = server.with_single_cert(vec![certificate], key).unwrap();
    let client = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server).into(), Arc::new(client).into())
}

#[tokio::test]
async fn a_tls_connection_is_dropped_without_a_byte_and_the_next_gets_no_handshake() {
    let jail = jail();
    let layer = BlackholeConfig::new(&jail)
        .traps(Traps::new(["/.env"]).unwrap())
        .build()
        .unwrap();
    let (app, _, _) = router(layer);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (acceptor, connector) = certified();
    let gate = GateConfig::new(&jail).build().unwrap();
    let listener = Tls {
        listener: BlackholeListener::new(Renaming(listener), gate),
        acceptor,
    };
    tokio::spawn(async move { axum::serve(listener, with_connection(app)).await });

    let read = Arc::new(AtomicUsize::new(0));
    let handshake = async || {
        let stream = Counting {
            stream: connect(address, 15).await,
            read: read.clone(),
        };
        soon(
            "the handshake",
            connector.connect("test".try_into().unwrap(), stream),
        )
        .await
    };
    let mut stream = handshake().await.unwrap();
    stream.write_all(GET).await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"hello") {
        assert_ne!(
            soon("an answer", stream.read_buf(&mut seen)).await.unwrap(),
            0
        );
    }
    let before = read.load(Ordering::SeqCst);
    stream.write_all(TRAP).await.unwrap();
    seen.clear();
    soon("the end", stream.read_to_end(&mut seen))
        .await
        .unwrap_err();
    assert_eq!(seen, b"");
    assert_eq!(
        read.load(Ordering::SeqCst),
        before,
        "not even an alert that TLS ends"
    );
    handshake().await.unwrap_err();
    assert_eq!(read.load(Ordering::SeqCst), before);
}

/// Of no use but to say that a gate fits where no axum is.
#[tokio::test]
async fn hyper_serves_guarded_connections_of_a_gate() {
    let jail = jail();
    let gate: Gate = GateConfig::new(&jail).build().unwrap();
    let layer = BlackholeConfig::new(&jail)
        .traps(Traps::new(["/.env"]).unwrap())
        .build()
        .unwrap();
    let (app, _, _) = router(layer);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, peer) = listener.accept().await.unwrap();
            let Some(stream) = gate.admit(stream, renamed(peer)) else {
                continue;
            };
            let (connection, app) = (stream.connection().clone(), app.clone());
            let service = hyper::service::service_fn(
                move |mut request: http::Request<hyper::body::Incoming>| {
                    connection.attach(&mut request);
                    let answer = tower_service::Service::call(&mut app.clone(), request);
                    async move {
                        Ok::<_, Infallible>(answer.await.unwrap_or_else(|error| match error {}))
                    }
                },
            );
            tokio::spawn(async move {
                let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    let mut stream = connect(address, 14).await;
    stream.write_all(GET).await.unwrap();
    hello(&mut stream).await;
    stream.write_all(TRAP).await.unwrap();
    let (seen, _) = rest(&mut stream).await;
    assert_eq!(seen, b"");
    let mut again = connect(address, 14).await;
    assert_eq!(rest(&mut again).await.0, b"");
}
