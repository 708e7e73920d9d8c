//! A service behind a gate and under a layer, and clients of it.
//!
//! Loopback can never be jailed. So each test's clients connect from an address of 127.0.0.0/8, and the listener calls
//! them by the one in 192.0.2.0/24 with the same last byte.
#![allow(dead_code, reason = "each test uses a part")]

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, routing::get, serve::Listener};
use bytes::Bytes;
use fusebox_blackhole::{
    BlackholeConfig, BlackholeLayer, BlackholeListener, Connection, GateConfig, Jail, JailConfig,
    Terms, Traps,
};
use fusebox_core::Registration;
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpSocket, TcpStream},
    sync::mpsc,
};

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

/// Generous: only spent when something is wrong.
pub(crate) async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    let Ok(output) = tokio::time::timeout(Duration::from_secs(30), future).await else {
        panic!("{what}: not within 30 seconds")
    };
    output
}

/// What a real kernel or another process does tells nobody when it is done; it is asked until it is.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    soon(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

pub(crate) fn renamed(mut peer: SocketAddr) -> SocketAddr {
    if let SocketAddr::V4(v4) = &mut peer {
        let last = v4.ip().octets()[3];
        v4.set_ip([192, 0, 2, last].into());
    }
    peer
}

/// A listener whose peers seem to come from the internet.
pub(crate) struct Renaming(pub TcpListener);

impl Listener for Renaming {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        let (stream, peer) = Listener::accept(&mut self.0).await;
        (stream, renamed(peer))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

pub(crate) fn jail() -> Jail {
    JailConfig::new("test")
        .capacity(1_000)
        .terms(Terms::default().max_strikes(1))
        .registration(Registration::Unlisted)
        .build()
        .unwrap()
}

/// What the handlers of the service saw.
#[derive(Clone)]
pub(crate) struct Seen {
    /// Requests of `/hang` that are in progress.
    hanging: Arc<AtomicUsize>,
    started: mpsc::UnboundedSender<()>,
}

pub(crate) struct Hanging(Arc<AtomicUsize>);

impl Drop for Hanging {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(crate) struct Server {
    pub address: SocketAddr,
    pub hanging: Arc<AtomicUsize>,
    pub started: mpsc::UnboundedReceiver<()>,
}

pub(crate) fn router(
    layer: BlackholeLayer,
) -> (Router, Arc<AtomicUsize>, mpsc::UnboundedReceiver<()>) {
    let (started, receiver) = mpsc::unbounded_channel();
    let seen = Seen {
        hanging: Arc::new(AtomicUsize::new(0)),
        started,
    };
    let hanging = seen.hanging.clone();
    let hang = async move || {
        seen.hanging.fetch_add(1, Ordering::SeqCst);
        let _hanging = Hanging(seen.hanging.clone());
        let _ = seen.started.send(());
        std::future::pending::<&str>().await
    };
    let app = Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/hang", get(hang))
        .layer(layer);
    (app, hanging, receiver)
}

pub(crate) async fn serve(gate: GateConfig, config: BlackholeConfig) -> Server {
    serve_layer(gate, config).await.0
}

/// The server, and its layer.
pub(crate) async fn serve_layer(
    gate: GateConfig,
    config: BlackholeConfig,
) -> (Server, BlackholeLayer) {
    let layer = config
        .traps(Traps::new(["/.env"]).unwrap())
        .build()
        .unwrap();
    let (app, hanging, started) = router(layer.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let listener = BlackholeListener::new(Renaming(listener), gate.build().unwrap());
    let app = app.into_make_service_with_connect_info::<Connection>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let server = Server {
        address,
        hanging,
        started,
    };
    (server, layer)
}

/// Connects from 127.0.0.`last`.
pub(crate) async fn connect(server: SocketAddr, last: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket
        .bind(SocketAddr::from(([127, 0, 0, last], 0)))
        .unwrap();
    soon("connecting", socket.connect(server)).await.unwrap()
}

pub(crate) const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n";
pub(crate) const TRAP: &[u8] = b"GET /.env HTTP/1.1\r\nhost: test\r\n\r\n";

/// Reads one answer of `GET /`.
pub(crate) async fn hello(stream: &mut TcpStream) {
    let mut seen = Vec::new();
    while !seen.ends_with(b"hello") {
        let read = soon("an answer", stream.read_buf(&mut seen)).await.unwrap();
        assert_ne!(read, 0, "{}", String::from_utf8_lossy(&seen));
    }
    assert!(seen.starts_with(b"HTTP/1.1 200 OK"));
}

/// Everything that comes until the connection ends, and how it ends.
pub(crate) async fn rest(stream: &mut TcpStream) -> (Vec<u8>, io::Result<()>) {
    let mut seen = Vec::new();
    let end = soon("the end", stream.read_to_end(&mut seen)).await;
    (seen, end.map(|_| ()))
}

/// Counts what is read from it.
#[derive(Debug)]
pub(crate) struct Counting {
    pub stream: TcpStream,
    pub read: Arc<AtomicUsize>,
}

impl tokio::io::AsyncRead for Counting {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = std::pin::Pin::new(&mut self.stream).poll_read(cx, buf);
        self.read
            .fetch_add(buf.filled().len() - before, Ordering::SeqCst);
        polled
    }
}

impl tokio::io::AsyncWrite for Counting {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &[u8],
    ) -> std::task::Poll<io::Result<usize>> {
        std::pin::Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

pub(crate) type Sender = hyper::client::conn::http2::SendRequest<Empty<Bytes>>;

pub(crate) async fn http2<Io>(io: Io) -> Sender
where
    Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(io));
    let (sender, connection) = soon("the handshake", handshake).await.unwrap();
    tokio::spawn(connection);
    sender
}

pub(crate) fn request(path: &str) -> http::Request<Empty<Bytes>> {
    http::Request::get(format!("http://test{path}"))
        .body(Empty::new())
        .unwrap()
}
