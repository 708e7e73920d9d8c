//! The API over a socket, as its customers see it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail by panicking too"
)]

use std::net::SocketAddr;

use fusebox_core::Value;
use fusebox_rate_limit::{Quota, Tier};
use tiers::{Accounts, Limiters, Plan, app};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn serve() -> (SocketAddr, Limiters) {
    let accounts = Accounts::default()
        .with("f1", "ann", Plan::Free)
        .with("f2", "ann", Plan::Free)
        .with("f3", "cid", Plan::Free)
        .with("p1", "bob", Plan::Paid);
    let limiters = Limiters::new().unwrap();
    let app = app(&limiters, accounts).into_make_service_with_connect_info::<SocketAddr>();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, limiters)
}

/// The head of the answer, and its body.
async fn get(address: SocketAddr, path: &str, key: &str) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: api\r\nx-api-key: {key}\r\nconnection: close\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Asks until it is refused, which a machine that answers more than two requests a second will be.
async fn first_refusal(address: SocketAddr, path: &str, key: &str) -> String {
    loop {
        let answer = get(address, path, key).await;
        match status(&answer) {
            "200" => {}
            "429" => return answer,
            other => panic!("{other}"),
        }
    }
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap()
}

#[tokio::test]
async fn an_account_has_one_quota_for_all_its_keys_and_its_plan_says_which() {
    let (address, _) = serve().await;
    let first = get(address, "/quote", "f1").await;
    assert_eq!(status(&first), "200");
    assert!(first.contains("ratelimit-policy: \"burst\";q=5;w=3, \"daily\";q=100;w=86400\r\n"));
    assert!(first.contains("ratelimit: \"burst\";r="));

    let refused = first_refusal(address, "/quote", "f2").await;
    assert!(refused.contains("retry-after: 1\r\n"), "{refused}");
    assert!(refused.contains("\"violated-policies\":[\"burst\"]"));

    // Another account, and one that pays.
    assert_eq!(status(&get(address, "/quote", "f3").await), "200");
    for _ in 0..20 {
        assert_eq!(status(&get(address, "/quote", "p1").await), "200");
    }
}

#[tokio::test]
async fn what_is_dear_costs_more() {
    let (address, _) = serve().await;
    assert_eq!(status(&get(address, "/report", "f1").await), "200");
    let refused = first_refusal(address, "/report", "f1").await;
    // Four of five at once: the next is there when three more have come, at two a second.
    assert!(refused.contains("retry-after: 2\r\n") || refused.contains("retry-after: 1\r\n"));
}

#[tokio::test]
async fn whoever_tries_out_keys_has_no_quota_of_their_own_and_is_slowed_down() {
    let (address, limiters) = serve().await;
    let few = Quota::per_hour(20);
    let usual = Tier::default();
    limiters.addresses.set_quota(usual, "address", few).unwrap();
    let mut slowed = 0;
    for guess in 0..30 {
        match status(&get(address, "/quote", &format!("guess-{guess}")).await) {
            "401" => {}
            "429" => slowed += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!(slowed, 10);
    assert_eq!(
        limiters.accounts.snapshot().get("keys"),
        Some(&Value::Gauge(0))
    );
}
