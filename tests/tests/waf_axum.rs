//! A firewall in front of axum's handlers, seen from the other end of a socket.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use fusebox_core::Registration;
use fusebox_stack_tests::{Server, until, within};
use fusebox_waf::{Ruleset, RulesetBuilder};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

fn settings() -> RulesetBuilder {
    Ruleset::builder("waf")
        .core()
        .registration(Registration::Unlisted)
}

async fn start(rules: &Ruleset) -> Server {
    let router = Router::new()
        .route("/search", get(async || "found"))
        .route("/echo", post(async |body: String| body))
        .layer(rules.layer());
    Server::start(router).await
}

/// A connection on which bytes are written as they stand here.
struct Wire(TcpStream);

impl Wire {
    async fn to(server: &Server) -> Self {
        Self(TcpStream::connect(server.address()).await.unwrap())
    }

    async fn write(&mut self, bytes: &str) {
        self.0.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// Reads until that has come, and says all that has.
    async fn read_to(&mut self, end: &str) -> String {
        let mut read = String::new();
        let mut buffer = [0; 1_024];
        while !read.contains(end) {
            let count = within(self.0.read(&mut buffer)).await.unwrap();
            assert!(count > 0, "closed after {read:?}");
            read.push_str(std::str::from_utf8(buffer.get(..count).unwrap()).unwrap());
        }
        read
    }
}

const HEAD: &str = "Host: shop.example\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n";
const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

#[tokio::test]
async fn an_attack_is_answered_and_the_connection_serves_the_next_request() {
    let rules = settings().build().unwrap();
    let server = start(&rules).await;
    let mut wire = Wire::to(&server).await;
    wire.write(&format!(
        "GET /search?q=1'+union+select+password+from+users-- HTTP/1.1\r\n{HEAD}\r\n"
    ))
    .await;
    let answer = wire.read_to("}").await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(answer.contains("\"request_id\":\""), "{answer}");
    wire.write(&format!("GET /search?q=red+shoes HTTP/1.1\r\n{HEAD}\r\n"))
        .await;
    let answer = wire.read_to("found").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_chunked_body_is_inspected_whole_and_arrives_whole() {
    let rules = settings().build().unwrap();
    let server = start(&rules).await;
    for (first, second, status, end) in [
        ("q=red+sh", "oes", "200", "q=red+shoes"),
        ("q=1'+union+sel", "ect+password+from+users--", "403", "}"),
    ] {
        let mut wire = Wire::to(&server).await;
        wire.write(&format!(
            "POST /echo HTTP/1.1\r\n{HEAD}{FORM}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n",
            first.len()
        ))
        .await;
        wire.write(&format!(
            "{:x}\r\n{second}\r\n0\r\nX-Sum: 1\r\n\r\n",
            second.len()
        ))
        .await;
        let answer = wire.read_to(end).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_go_on_only_if_its_head_may_pass() {
    let own = r#"SecRule REQUEST_FILENAME "@beginsWith /admin" "id:1,phase:1,deny,status:403""#;
    let rules = settings().text("own.conf", own).build().unwrap();
    let server = start(&rules).await;
    let asks = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\n{HEAD}{FORM}Content-Length: 3\r\nExpect: 100-continue\r\n\r\n"
        )
    };
    let mut wire = Wire::to(&server).await;
    wire.write(&asks("/echo")).await;
    assert!(wire.read_to("\r\n\r\n").await.starts_with("HTTP/1.1 100 "));
    wire.write("q=1").await;
    let answer = wire.read_to("q=1").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

    let mut wire = Wire::to(&server).await;
    wire.write(&asks("/admin")).await;
    let answer = wire.read_to("}").await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[tokio::test]
async fn a_client_that_goes_away_in_the_middle_of_its_body_is_told_as_gone() {
    let rules = settings().build().unwrap();
    let server = start(&rules).await;
    let mut wire = Wire::to(&server).await;
    wire.write(&format!(
        "POST /echo HTTP/1.1\r\n{HEAD}{FORM}Content-Length: 100\r\n\r\nq=half"
    ))
    .await;
    drop(wire);
    until("the call is over", || rules.stats().ended() == 1).await;
    assert_eq!(rules.stats().refused(), 0);
}

#[tokio::test]
async fn a_client_that_drips_is_turned_away() {
    let rules = settings()
        .body_deadline(Duration::from_millis(50))
        .build()
        .unwrap();
    let server = start(&rules).await;
    let mut wire = Wire::to(&server).await;
    wire.write(&format!(
        "POST /echo HTTP/1.1\r\n{HEAD}{FORM}Content-Length: 100\r\n\r\nq="
    ))
    .await;
    let answer = wire.read_to("}").await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}
