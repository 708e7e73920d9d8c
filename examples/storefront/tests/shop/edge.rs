//! What a request meets before the shop.

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use storefront::{
    app::Settings,
    compartments::Protection,
    edge::{Bans, EdgeSettings, QUOTA},
    serve::serve_until,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinSet,
};
use tower::ServiceExt;

use crate::desk::{Answer, Desk, order, payment, request, request_from};

const ATTACKER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const ATTACK: &str = "/analytics/revenue?days=1'%20UNION%20SELECT%20password%20FROM%20users--";

/// More than a second's quota, and more than enough strikes after it.
const TOO_MANY: u64 = QUOTA.0 + QUOTA.1 + 10;

async fn get(desk: &Desk, client: Ipv4Addr, path: &str) -> Answer {
    desk.ask(request_from(client, Method::GET, path, Body::empty()))
        .await
}

/// How often each status was the answer to so many requests, all of them at once: how fast they are served has no say in
/// how much of the quota has come back meanwhile.
async fn statuses(desk: &Desk, client: Ipv4Addr, path: &str, times: u64) -> BTreeMap<u16, u64> {
    let mut asking = JoinSet::new();
    for _ in 0..times {
        let asked = request_from(client, Method::GET, path, Body::empty());
        asking.spawn(desk.shop.router().oneshot(asked));
    }
    let mut seen = BTreeMap::new();
    for answer in asking.join_all().await {
        *seen.entry(answer.unwrap().status().as_u16()).or_default() += 1;
    }
    seen
}

#[tokio::test]
async fn an_attack_is_refused_and_told_nothing_of_why() {
    let desk = Desk::with(Protection::Fusebox).await;
    let answer = get(&desk, ATTACKER, ATTACK).await;
    assert_eq!(answer.status, 403);
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert!(!answer.body.to_string().contains("SQL"), "{answer:?}");
    desk.shop.close().await;

    // That it is the firewall, and not the shop, shows where there is none.
    let bare = Desk::with(Protection::None).await;
    let answer = get(&bare, ATTACKER, ATTACK).await;
    assert_eq!(answer.problem(), (400, "invalid_query"));
    bare.shop.close().await;
}

#[tokio::test]
async fn who_goes_on_beyond_its_quota_is_banned_and_its_neighbour_is_not() {
    let desk = Desk::with(Protection::Fusebox).await;
    let seen = statuses(&desk, ATTACKER, "/payments/7", TOO_MANY).await;
    // Answered, then told to wait, then banned.
    assert!(seen[&404] >= QUOTA.1, "{seen:?}");
    assert_eq!(seen[&429], 5, "{seen:?}");
    assert_eq!(get(&desk, ATTACKER, "/payments/7").await.status, 403);

    assert_eq!(get(&desk, NEIGHBOUR, "/payments/7").await.status, 404);
    let panel = get(&desk, NEIGHBOUR, "/fusebox").await.body;
    let jail = &panel["edge"][0];
    assert_eq!(jail["name"], "shop", "{panel}");
    assert!(desk.shop.edge().unwrap().jail().holds(ATTACKER.into()));
    desk.shop.close().await;
}

#[tokio::test]
async fn five_attacks_are_enough_for_a_ban_and_so_are_five_traps() {
    for path in [ATTACK, "/.env"] {
        let desk = Desk::with(Protection::Fusebox).await;
        for _ in 0..5 {
            get(&desk, ATTACKER, path).await;
        }
        assert_eq!(get(&desk, ATTACKER, "/payments/7").await.status, 403);
        desk.shop.close().await;
    }
}

#[tokio::test]
async fn health_checks_have_no_quota() {
    let desk = Desk::with(Protection::Fusebox).await;
    let seen = statuses(&desk, NEIGHBOUR, "/healthz", TOO_MANY).await;
    assert_eq!(seen, BTreeMap::from([(200, TOO_MANY)]));
    desk.shop.close().await;
}

#[tokio::test]
async fn loopback_has_a_quota_and_is_never_banned() {
    let desk = Desk::with(Protection::Fusebox).await;
    let seen = statuses(&desk, Ipv4Addr::LOCALHOST, "/payments/7", TOO_MANY).await;
    assert!(seen[&404] >= QUOTA.1, "{seen:?}");
    assert_eq!(seen[&404] + seen[&429], TOO_MANY, "{seen:?}");
    assert!(seen[&429] > 5, "{seen:?}");
    desk.shop.close().await;
}

#[tokio::test]
async fn without_fusebox_there_is_neither_quota_nor_ban() {
    for protection in [Protection::None, Protection::Semaphore] {
        let desk = Desk::with(protection).await;
        let seen = statuses(&desk, ATTACKER, "/payments/7", TOO_MANY).await;
        assert_eq!(seen, BTreeMap::from([(404, TOO_MANY)]), "{protection}");
        desk.shop.close().await;
    }
}

fn through(proxy: Ipv4Addr, client: Ipv4Addr, path: &str) -> Request<Body> {
    let mut request = request_from(proxy, Method::GET, path, Body::empty());
    let client = client.to_string().parse().unwrap();
    request.headers_mut().insert("x-forwarded-for", client);
    request
}

#[tokio::test]
async fn a_trusted_proxy_says_whom_it_speaks_for_and_nobody_else_does() {
    let proxy = Ipv4Addr::new(10, 0, 12, 1);
    let desk = Desk::open(Settings {
        edge: EdgeSettings {
            trusted_proxies: vec!["10.0.12.0/24".to_owned()],
            ..EdgeSettings::default()
        },
        ..Settings::default()
    })
    .await;
    for _ in 0..5 {
        desk.ask(through(proxy, ATTACKER, ATTACK)).await;
    }
    let status = async |request| desk.ask(request).await.status;
    assert_eq!(status(through(proxy, ATTACKER, "/payments/7")).await, 403);
    assert_eq!(status(through(proxy, NEIGHBOUR, "/payments/7")).await, 404);

    // A liar bans itself, not the one it names.
    let liar = Ipv4Addr::new(203, 0, 113, 77);
    for _ in 0..5 {
        desk.ask(through(liar, NEIGHBOUR, ATTACK)).await;
    }
    assert_eq!(status(through(proxy, NEIGHBOUR, "/payments/7")).await, 404);
    assert_eq!(get(&desk, liar, "/payments/7").await.status, 403);
    desk.shop.close().await;
}

#[tokio::test]
async fn the_handler_turns_banned_clients_away_where_no_layer_does() {
    let desk = Desk::open(Settings {
        edge: EdgeSettings {
            bans: Bans::Handler,
            ..EdgeSettings::default()
        },
        ..Settings::default()
    })
    .await;
    let pay = async |client: Ipv4Addr| {
        let mut request = payment("mine", &order(1));
        let peer = fusebox_http::identity::PeerAddr((client, 50_000).into());
        request.extensions_mut().insert(peer);
        desk.ask(request).await
    };
    for _ in 0..5 {
        get(&desk, ATTACKER, "/.env").await;
    }
    assert_eq!(pay(ATTACKER).await.problem(), (403, "banned"));
    assert_eq!(pay(NEIGHBOUR).await.status, StatusCode::CREATED);
    desk.shop.close().await;
}

#[tokio::test]
async fn on_a_socket_a_proxys_client_is_told_and_its_connection_serves_the_others() {
    let desk = Desk::open(Settings {
        edge: EdgeSettings {
            trusted_proxies: vec!["127.0.0.1".to_owned()],
            bans: Bans::Drop,
            ..EdgeSettings::default()
        },
        ..Settings::default()
    })
    .await;
    let jail = desk.shop.edge().unwrap().jail().clone();
    jail.ban(ATTACKER.into(), Duration::from_secs(60)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async {
        let _ = stopped.await;
    };
    let patience = Duration::from_secs(5);
    let served = tokio::spawn(serve_until(stopped, listener, desk.shop, patience));
    let ask = async |client: Ipv4Addr| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = "GET /payments/7 HTTP/1.1\r\nhost: shop.example\r\nuser-agent: test/1.0\r\naccept: */*\r\n";
        let request = format!("{head}x-forwarded-for: {client}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A reset is an error, and an end of what there is to read.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    };
    // Its connection is the proxy's, which is not closed for one client's sake.
    let answer = ask(ATTACKER).await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let answer = ask(NEIGHBOUR).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    stop.send(()).unwrap();
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_request_whose_client_nobody_can_tell_is_refused() {
    let desk = Desk::with(Protection::Fusebox).await;
    let mut request = request(Method::GET, "/payments/7", Body::empty());
    request.extensions_mut().clear();
    assert_eq!(desk.ask(request).await.status, 403);
    desk.shop.close().await;
}
