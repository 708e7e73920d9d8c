//! The service as a process: what it says, and how it stops.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    reason = "a test may say that something cannot fail; clippy sees that only in its functions, not their helpers"
)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// How long it may take to stop before the test says that it does not.
const PATIENCE: Duration = Duration::from_secs(20);

struct Service {
    child: Child,
    address: String,
    /// What it says after its address.
    said: BufReader<std::process::ChildStdout>,
}

impl Drop for Service {
    fn drop(&mut self) {
        // It has ended already unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Service {
    fn start(directory: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_storefront"))
            .args(["--port", "0", "--orders", "500", "--data-dir"])
            .arg(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").unwrap();
        Self {
            address: address.to_owned(),
            child,
            said,
        }
    }

    fn get(&self, path: &str) -> String {
        self.send(&format!("GET {path}"), "host: shop\r\n", "")
    }

    fn send(&self, line: &str, headers: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let length = body.len();
        write!(
            stream,
            "{line} HTTP/1.1\r\n{headers}connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn stop(&mut self, signal: Signal) -> ExitStatus {
        let id = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(id, signal).unwrap();
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "it does not stop");
            sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn it_says_what_to_try_and_stops_cleanly_when_asked() {
    let directory = tempfile::tempdir().unwrap();
    for signal in [Signal::INT, Signal::TERM] {
        let mut service = Service::start(directory.path());
        let health = service.get("/healthz");
        assert!(health.starts_with("HTTP/1.1 200"), "{health}");
        assert!(health.ends_with("ok\n"), "{health}");

        assert!(service.stop(signal).success(), "{signal:?}");
        let mut said = String::new();
        service.said.read_to_string(&mut said).unwrap();
        let examples = said.lines().filter(|line| line.trim().starts_with("curl "));
        assert_eq!(examples.count(), 3, "{said}");
        // Nothing is left to recover: the log was moved into the database.
        assert!(!directory.path().join("shop.db-wal").exists());
    }
}

#[test]
fn what_it_says_to_try_is_answered_as_curl_sends_it() {
    let directory = tempfile::tempdir().unwrap();
    let service = Service::start(directory.path());
    let curl = format!(
        "Host: {}\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\n",
        service.address
    );
    let paying = format!("{curl}Idempotency-Key: my-first\r\nContent-Type: application/json\r\n");
    let order = r#"{"order_id":1,"amount":1999,"currency":"EUR"}"#;
    let answer = service.send("POST /payments", &paying, order);
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    for path in ["/analytics/top-products?days=30&limit=3", "/fusebox"] {
        let answer = service.send(&format!("GET {path}"), &curl, "");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    // Whoever tries it out may try too much: loopback is told to wait, and never banned.
    let statuses: Vec<String> = (0..200)
        .map(|_| service.send("GET /payments/7", &curl, ""))
        .collect();
    assert!(
        statuses
            .iter()
            .any(|answer| answer.starts_with("HTTP/1.1 404"))
    );
    assert!(
        statuses
            .iter()
            .all(|answer| !answer.is_empty() && !answer.starts_with("HTTP/1.1 403"))
    );
}
