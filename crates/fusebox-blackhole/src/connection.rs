//! A connection that can be ended from inside a request.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use fusebox_core::sync::lock;
use fusebox_http::identity::PeerAddr;
use http::{Extensions, Request};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{gate::Visit, lines::Entry};

/// The handle of a connection that a [`Gate`](crate::Gate) let in: who is at its other end, and the means to end it.
///
/// It travels in the extensions of each request of the connection, where
/// [`BlackholeLayer`](crate::BlackholeLayer) finds it, and so does a handler of yours. Under `axum::serve` it is the
/// [`ConnectInfo`](axum::extract::ConnectInfo) of a `BlackholeListener`; where you accept connections yourself,
/// [`attach`](Self::attach) puts it there. `Debug` leaves the address out.
#[derive(Clone)]
pub struct Connection {
    peer: SocketAddr,
    line: Arc<Line>,
}

/// What the handles and the stream of a connection share.
pub(crate) struct Line {
    cut: AtomicBool,
    /// Whoever waits to read, and whoever waits to write: of a stream that is split they are two. Both are to notice that
    /// it was cut.
    reader: Waiting,
    writer: Waiting,
}

#[derive(Default)]
struct Waiting(Mutex<Option<Waker>>);

impl Connection {
    pub(crate) fn new(peer: SocketAddr) -> Self {
        Self {
            peer,
            line: Arc::new(Line {
                cut: AtomicBool::new(false),
                reader: Waiting::default(),
                writer: Waiting::default(),
            }),
        }
    }

    /// The other end.
    #[must_use]
    pub const fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Ends the connection: from now on not a byte is read from it or written to it, and whoever drives it is told
    /// that it is broken. All its requests end with it: those of the other HTTP/2 streams are cancelled like those of a
    /// client that went away.
    ///
    /// What was handed to the operating system before may still be on its way.
    pub fn close(&self) {
        self.line.cut();
    }

    pub(crate) fn downgrade(&self) -> Weak<Line> {
        Arc::downgrade(&self.line)
    }

    /// Whether it was [closed](Self::close) from this side.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.line.cut.load(Ordering::SeqCst)
    }

    /// Puts the handle into a request of this connection, and the peer's address as well, where
    /// [`IdentityResolver`](fusebox_http::identity::IdentityResolver) looks for it.
    pub fn attach<B>(&self, request: &mut Request<B>) {
        let extensions = request.extensions_mut();
        extensions.insert(PeerAddr(self.peer));
        extensions.insert(self.clone());
    }

    /// The handle in a request's extensions.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        #[cfg(feature = "axum")]
        if let Some(axum::extract::ConnectInfo(connection)) =
            extensions.get::<axum::extract::ConnectInfo<Self>>()
        {
            return Some(connection);
        }
        extensions.get()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

impl Line {
    /// False if it was cut before.
    pub(crate) fn cut(&self) -> bool {
        let was_cut = self.cut.swap(true, Ordering::SeqCst);
        self.reader.wake();
        self.writer.wake();
        !was_cut
    }

    /// Remembers who waits. `Err` if it waits in vain.
    fn wait(&self, waiting: &Waiting, cx: &Context<'_>) -> io::Result<()> {
        waiting.remember(cx);
        // Again, and after the waker is there: whoever cut the line before that found nobody to wake.
        self.check()
    }

    fn check(&self) -> io::Result<()> {
        if self.cut.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

impl Waiting {
    fn remember(&self, cx: &Context<'_>) {
        let mut waker = lock(&self.0);
        match &*waker {
            Some(known) if known.will_wake(cx.waker()) => {}
            _ => *waker = Some(cx.waker().clone()),
        }
    }

    fn wake(&self) {
        let waker = lock(&self.0).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The stream of a connection that a [`Gate`](crate::Gate) let in.
///
/// Reads and writes are the inner stream's until the [`Connection`] is closed; then both fail, and when it is dropped
/// the peer gets what [`Close`](crate::Close) says. While it lives its client's connection counts.
pub struct Guarded<Io> {
    io: Io,
    connection: Connection,
    /// Makes the close of the socket a reset; none for a plain close.
    reset: Option<fn(&Io)>,
    _visit: Visit,
    /// None where nobody could ever be told to close it.
    _entry: Option<Entry>,
}

impl<Io> Guarded<Io> {
    pub(crate) const fn new(
        io: Io,
        connection: Connection,
        reset: Option<fn(&Io)>,
        visit: Visit,
        entry: Option<Entry>,
    ) -> Self {
        Self {
            io,
            connection,
            reset,
            _visit: visit,
            _entry: entry,
        }
    }

    /// The handle of the connection.
    #[must_use]
    pub const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The inner stream.
    #[must_use]
    pub const fn get_ref(&self) -> &Io {
        &self.io
    }
}

impl<Io> Drop for Guarded<Io> {
    fn drop(&mut self) {
        if let Some(reset) = self.reset
            && self.connection.is_closed()
        {
            reset(&self.io);
        }
    }
}

impl<Io> fmt::Debug for Guarded<Io> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded")
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Guarded<Io> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.connection.line.check()?;
        let polled = Pin::new(&mut this.io).poll_read(cx, buf);
        if polled.is_pending() {
            let line = &this.connection.line;
            line.wait(&line.reader, cx)?;
        }
        polled
    }
}

impl<Io> Guarded<Io> {
    /// A write, unless the line is cut.
    fn unless_cut<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(&mut Io, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        self.connection.line.check()?;
        let polled = write(&mut self.io, cx);
        if polled.is_pending() {
            let line = &self.connection.line;
            line.wait(&line.writer, cx)?;
        }
        polled
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Guarded<Io> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut()
            .unless_cut(cx, |io, cx| Pin::new(io).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut()
            .unless_cut(cx, |io, cx| Pin::new(io).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut()
            .unless_cut(cx, |io, cx| Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.connection.is_closed() {
            // An orderly end would send something.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn guarded(io: tokio::io::DuplexStream) -> Guarded<tokio::io::DuplexStream> {
        let connection = Connection::new(([192, 0, 2, 1], 1).into());
        Guarded::new(io, connection, None, Visit::uncounted(), None)
    }

    #[tokio::test]
    async fn passes_everything_on_until_it_is_closed_and_nothing_after() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut stream = guarded(near);
        let connection = stream.connection().clone();
        stream.write_all(b"before").await.unwrap();
        far.write_all(b"more").await.unwrap();
        let mut read = [0; 4];
        stream.read_exact(&mut read).await.unwrap();
        connection.close();
        far.write_all(b"late").await.unwrap();
        assert_eq!(
            stream.read(&mut read).await.unwrap_err().kind(),
            io::ErrorKind::ConnectionAborted
        );
        assert_eq!(
            stream.write(b"after").await.unwrap_err().kind(),
            io::ErrorKind::ConnectionAborted
        );
        assert_eq!(
            stream.flush().await.unwrap_err().kind(),
            io::ErrorKind::ConnectionAborted
        );
        stream.shutdown().await.unwrap();
        drop(stream);
        let mut seen = Vec::new();
        far.read_to_end(&mut seen).await.unwrap();
        assert_eq!(seen, b"before");
    }

    #[tokio::test]
    async fn whoever_waits_for_the_peer_is_told_when_it_is_closed() {
        let (near, _far) = tokio::io::duplex(64);
        let mut stream = guarded(near);
        let connection = stream.connection().clone();
        let waiting = tokio::spawn(async move { stream.read(&mut [0; 4]).await });
        tokio::task::yield_now().await;
        connection.close();
        assert_eq!(
            waiting.await.unwrap().unwrap_err().kind(),
            io::ErrorKind::ConnectionAborted
        );
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_stream_that_is_split_both_halves_are_told() {
        let (near, _far) = tokio::io::duplex(4);
        let stream = guarded(near);
        let connection = stream.connection().clone();
        let (mut reader, mut writer) = tokio::io::split(stream);
        let reading = tokio::spawn(async move { reader.read(&mut [0; 4]).await.map(|_| ()) });
        let writing = tokio::spawn(async move { writer.write_all(b"more than fits").await });
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        assert!(!reading.is_finished() && !writing.is_finished());
        connection.close();
        for half in [reading, writing] {
            let told = tokio::time::timeout(std::time::Duration::from_secs(1), half).await;
            let told = told.expect("waits for ever").unwrap();
            assert_eq!(told.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        }
    }

    #[test]
    fn debug_shows_no_address() {
        let connection = Connection::new(([192, 0, 2, 1], 1).into());
        assert_eq!(
            format!("{connection:?}"),
            "Connection { closed: false, .. }"
        );
    }
}
