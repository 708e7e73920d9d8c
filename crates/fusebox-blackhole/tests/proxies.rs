//! What becomes of a connection that many share when one of them is held: nothing. On real sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]
#![cfg(feature = "axum")]

mod stack;

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use fusebox_blackhole::{Action, BlackholeConfig, GateConfig, TarpitBudget};
use fusebox_http::identity::IdentityConfig;
use http::{HeaderValue, Request};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};

use stack::{HOUR, connect, http2, jail, serve, soon, until};

const CONDEMNED: &str = "198.51.100.66";
const INNOCENT: &str = "198.51.100.1";

fn from(client: &'static str, path: &str) -> Request<Empty<Bytes>> {
    let mut request = stack::request(path);
    let name = http::HeaderName::from_static("x-forwarded-for");
    let headers = request.headers_mut();
    headers.insert(name, HeaderValue::from_static(client));
    request
}

/// Its own address, or anybody's, that the one at the other end speaks for others.
fn identities() -> [IdentityConfig; 3] {
    [
        IdentityConfig::new().trusted_proxies(["192.0.2.0/24"]),
        IdentityConfig::new()
            .trusted_proxies(["192.0.2.0/24"])
            .hashed_header("x-api-key")
            .on_missing(fusebox_http::identity::OnMissing::UseAddress),
        IdentityConfig::new().dangerously_trust_any_forwarded(),
    ]
}

#[tokio::test]
async fn of_two_clients_behind_a_proxy_one_is_denied_and_the_other_goes_on() {
    for (identity, proxy) in identities().into_iter().zip(40..) {
        for (action, more) in [(Action::Drop, 0), (Action::Tarpit, 10)] {
            let jail = jail();
            jail.ban(CONDEMNED.parse().unwrap(), HOUR).unwrap();
            let config = BlackholeConfig::new(&jail)
                .identity(identity.clone().build().unwrap())
                .action(action);
            let mut server = serve(GateConfig::new(&jail), config).await;

            // HTTP/2: their requests are on one connection at once.
            let mut both = http2(connect(server.address, proxy + more).await).await;
            let waiting = tokio::spawn(both.send_request(from(INNOCENT, "/hang")));
            soon("the handler", server.started.recv()).await.unwrap();
            for (client, path, status) in [
                (CONDEMNED, "/", 403),
                // One more that goes in by what it does here, and that request's own answer.
                ("198.51.100.67", "/.env", 403),
                (CONDEMNED, "/", 403),
                (INNOCENT, "/", 200),
            ] {
                let answer = soon("an answer", both.send_request(from(client, path))).await;
                let answer = answer.unwrap_or_else(|error| panic!("{action:?}: {error}"));
                assert_eq!(answer.status(), status, "{action:?} {client} {path}");
            }
            assert!(!waiting.is_finished(), "goes on");
            assert_eq!(server.hanging.load(Ordering::SeqCst), 1);

            // HTTP/1.1: one after the other, on a connection that the proxy keeps.
            let io = TokioIo::new(connect(server.address, proxy + more + 1).await);
            let handshake = hyper::client::conn::http1::handshake(io);
            let (mut kept, connection) = soon("the handshake", handshake).await.unwrap();
            tokio::spawn(connection);
            for (client, status) in [(CONDEMNED, 403), (INNOCENT, 200), (CONDEMNED, 403)] {
                soon("the connection", kept.ready()).await.unwrap();
                let answer = soon("an answer", kept.send_request(from(client, "/"))).await;
                let answer = answer.unwrap_or_else(|error| panic!("{action:?}: {error}"));
                assert_eq!(answer.status(), status, "{action:?} {client}");
                assert!(answer.headers().get("connection").is_none());
                let body = soon("its body", answer.into_body().collect()).await;
                body.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn of_two_keys_on_one_connection_one_is_denied_and_the_other_goes_on() {
    let with = |key: &'static str, path: &str| {
        let mut request = stack::request(path);
        let headers = request.headers_mut();
        headers.insert("x-api-key", HeaderValue::from_static(key));
        request
    };
    for (action, last) in [(Action::Drop, 80), (Action::Tarpit, 81)] {
        let jail = jail();
        let identity = IdentityConfig::new().hashed_header("x-api-key");
        // Only the key goes in: whoever has the other one is at the same address.
        let config = BlackholeConfig::new(&jail)
            .identity(identity.build().unwrap())
            .strike_addresses_too(false)
            .action(action);
        let mut server = serve(GateConfig::new(&jail), config).await;
        let mut both = http2(connect(server.address, last).await).await;
        let waiting = tokio::spawn(both.send_request(with("innocent", "/hang")));
        soon("the handler", server.started.recv()).await.unwrap();
        for (key, path, status) in [
            ("condemned", "/.env", 403),
            ("condemned", "/", 403),
            ("innocent", "/", 200),
        ] {
            let answer = soon("an answer", both.send_request(with(key, path))).await;
            let answer = answer.unwrap_or_else(|error| panic!("{action:?} {key}: {error}"));
            assert_eq!(answer.status(), status, "{action:?} {key} {path}");
        }
        assert!(!waiting.is_finished(), "goes on");
        assert_eq!(server.hanging.load(Ordering::SeqCst), 1);

        // Now it is the address that is condemned, and with it everything that comes from there.
        jail.ban([192, 0, 2, last].into(), HOUR).unwrap();
        let answer = soon("an end", both.send_request(with("innocent", "/"))).await;
        match action {
            Action::Drop => assert!(answer.is_err()),
            _ => assert_eq!(answer.unwrap().status(), 200, "from the tarpit"),
        }
    }
}

#[tokio::test]
async fn a_client_that_is_its_own_peer_is_dropped_though_there_are_proxies() {
    let jail = jail();
    jail.ban([192, 0, 2, 70].into(), HOUR).unwrap();
    let identity = IdentityConfig::new().trusted_proxies(["203.0.113.0/24"]);
    let config = BlackholeConfig::new(&jail).identity(identity.build().unwrap());
    // The listener lets it in: it was there before it was jailed.
    let server = serve(GateConfig::new(&stack::jail()), config).await;
    let mut sender = http2(connect(server.address, 70).await).await;
    soon("the drop", sender.send_request(from(INNOCENT, "/")))
        .await
        .unwrap_err();
}

#[tokio::test]
async fn a_client_of_the_tarpit_that_grants_no_window_has_its_place_no_longer_than_others() {
    let jail = jail();
    jail.ban([192, 0, 2, 71].into(), HOUR).unwrap();
    let budget = TarpitBudget::default()
        .slots(1)
        .longest(Duration::from_secs(1))
        .bytes_per_second(100);
    let config = BlackholeConfig::new(&jail)
        .action(Action::Tarpit)
        .tarpit(budget);
    let (server, layer) = stack::serve_layer(GateConfig::new(&stack::jail()), config).await;
    let stream = connect(server.address, 71).await;
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(0);
    let handshake = builder.handshake(TokioIo::new(stream));
    let (mut sender, connection) = soon("the handshake", handshake).await.unwrap();
    let driven = tokio::spawn(connection);
    let answer = soon("the head", sender.send_request(stack::request("/"))).await;
    // Keeps the stream open, and never gets a byte.
    let _body = answer.unwrap().into_body();
    assert_eq!(layer.in_tarpit(), 1);
    until("its place is free", || layer.in_tarpit() == 0).await;
    soon("its connection is closed", driven)
        .await
        .unwrap()
        .unwrap_err();
}
