//! One connection with one request on it, as an attacker makes them, and what becomes of it.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::client::{USER_AGENT, Way};

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reception {
    /// Answered with this status.
    Answered(u16),
    /// Closed without a byte.
    Closed,
    /// Never made: nothing came back.
    Silence,
}

impl std::fmt::Display for Reception {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Answered(status) => write!(f, "answered {status}"),
            Self::Closed => f.write_str("closed without a byte"),
            Self::Silence => f.write_str("no connection"),
        }
    }
}

/// A request as it goes over the wire, but for who sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Letter {
    /// Method and target.
    line: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Letter {
    /// `line` is a method and a target.
    #[must_use]
    pub(super) fn new(line: impl Into<String>) -> Self {
        Self {
            line: line.into(),
            headers: Vec::new(),
            body: String::new(),
        }
    }

    /// Its method and target.
    #[cfg(test)]
    pub(super) fn line(&self) -> &str {
        &self.line
    }

    /// Adds a header.
    #[must_use]
    pub(super) fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// With this body.
    #[must_use]
    pub(super) fn body(mut self, body: impl Into<String>) -> Self {
        self.body = body.into();
        self
    }

    /// What tells it from others, in one line that is not too long.
    #[must_use]
    pub(super) fn gist(&self) -> String {
        const LONGEST: usize = 160;
        let headers = self.headers.iter();
        let headers = headers.filter(|(name, _)| name != "content-type");
        let mut gist = self.line.clone();
        for (name, value) in headers {
            gist += &format!("  {name}: {value}");
        }
        if !self.body.is_empty() {
            gist += &format!("  {}", self.body);
        }
        let whole = gist.chars().count() <= LONGEST;
        let mut gist: String = gist.replace("\r\n", " ").chars().take(LONGEST).collect();
        if !whole {
            gist.push('…');
        }
        gist
    }

    /// The bytes, sent by `from`. What every client sends is added where it is not given.
    fn sealed(&self, host: SocketAddr, from: Option<Ipv4Addr>) -> String {
        let mut text = format!("{} HTTP/1.1\r\n", self.line);
        let mut add = |name: &str, value: &str| text += &format!("{name}: {value}\r\n");
        let given = |name: &str| self.headers.iter().any(|(given, _)| given == name);
        for (name, value) in [
            ("host", host.to_string().as_str()),
            ("user-agent", USER_AGENT),
            ("accept", "*/*"),
        ] {
            if !given(name) {
                add(name, value);
            }
        }
        for (name, value) in &self.headers {
            add(name, value);
        }
        if let Some(from) = from {
            add("x-forwarded-for", &from.to_string());
        }
        if !self.body.is_empty() {
            add("content-length", &self.body.len().to_string());
        }
        add("connection", "close");
        format!("{text}\r\n{}", self.body)
    }
}

/// Connects, sends the request, and reads until the connection ends.
///
/// What the system does not let us do (no such address here) is [`Reception::Silence`] too: every experiment has
/// visits that are answered.
pub(super) async fn visit(
    service: SocketAddr,
    (from, way): (Ipv4Addr, Way),
    letter: &Letter,
    patience: Duration,
) -> Reception {
    let mut stream = match timeout(patience, connect(service, (from, way))).await {
        Ok(Ok(stream)) => stream,
        // It was there, and is gone before we could look.
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionReset => return Reception::Closed,
        Ok(Err(_)) | Err(_) => return Reception::Silence,
    };
    let text = letter.sealed(service, (way == Way::Named).then_some(from));
    let mut answer = Vec::new();
    // A reset is an error, here or there, and the end of what there is to read.
    let exchange = async {
        let _ = stream.write_all(text.as_bytes()).await;
        let _ = stream.read_to_end(&mut answer).await;
    };
    // So is that nothing more comes.
    let _ = timeout(patience, exchange).await;
    status(&answer).map_or(Reception::Closed, Reception::Answered)
}

async fn connect(service: SocketAddr, (from, way): (Ipv4Addr, Way)) -> std::io::Result<TcpStream> {
    match way {
        Way::Named => TcpStream::connect(service).await,
        Way::Direct => {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddrV4::new(from, 0).into())?;
            socket.connect(service).await
        }
    }
}

fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    std::str::from_utf8(line).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const SOMEBODY: (Ipv4Addr, Way) = (Ipv4Addr::new(198, 19, 0, 1), Way::Named);

    #[test]
    fn what_is_given_is_not_added_and_what_is_missing_is() {
        let host = ([192, 0, 2, 1], 80).into();
        let letter = Letter::new("POST /payments")
            .header("user-agent", "sqlmap")
            .body("{}");
        assert_eq!(
            letter.sealed(host, Some(SOMEBODY.0)),
            "POST /payments HTTP/1.1\r\nhost: 192.0.2.1:80\r\naccept: */*\r\nuser-agent: sqlmap\r\n\
             x-forwarded-for: 198.19.0.1\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"
        );
        let bare = Letter::new("GET /").sealed(host, None);
        assert!(!bare.contains("content-length") && !bare.contains("x-forwarded-for"));
    }

    #[test]
    fn its_gist_is_one_line() {
        let letter = Letter::new("POST /payments")
            .header("content-type", "text/plain")
            .header("user-agent", "sqlmap")
            .body("one\r\ntwo");
        assert_eq!(letter.gist(), "POST /payments  user-agent: sqlmap  one two");
        let long = Letter::new("GET /").body("ä".repeat(1_000)).gist();
        assert_eq!(long.chars().count(), 161);
    }

    #[test]
    fn only_a_status_line_has_a_status() {
        assert_eq!(status(b"HTTP/1.1 403 Forbidden\r\n"), Some(403));
        for other in [&b""[..], b"HTTP/1.1 4", b"HTTP/1.1 abc", b"hello"] {
            assert_eq!(status(other), None);
        }
    }

    /// What a visitor makes of a server that does this with its only connection.
    async fn reception<F: Future<Output = ()> + Send>(
        serve: impl FnOnce(TcpStream) -> F + Send + 'static,
    ) -> Reception {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let service = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            serve(stream).await;
        });
        let letter = Letter::new("GET /");
        visit(service, SOMEBODY, &letter, Duration::from_secs(20)).await
    }

    #[tokio::test]
    async fn an_answer_a_close_and_a_reset_are_told_apart_from_silence() {
        let answered = reception(async |mut stream: TcpStream| {
            let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        });
        assert_eq!(answered.await, Reception::Answered(204));
        assert_eq!(
            reception(async |stream| drop(stream)).await,
            Reception::Closed
        );
        let reset = reception(async |stream: TcpStream| stream.set_zero_linger().unwrap());
        assert_eq!(reset.await, Reception::Closed);
    }

    #[tokio::test]
    async fn nobody_there_is_silence() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let service = listener.local_addr().unwrap();
        drop(listener);
        let letter = Letter::new("GET /");
        let silence = visit(service, SOMEBODY, &letter, Duration::from_secs(20)).await;
        assert_eq!(silence, Reception::Silence);
    }
}
