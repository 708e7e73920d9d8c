//! The gate for `axum::serve`.

use std::{
    convert::Infallible,
    fmt,
    future::{Ready, ready},
    io,
    net::SocketAddr,
    task::{Context, Poll},
};

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use http::Request;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::{Connection, Gate, Guarded, gate};

/// Wraps a listener of `axum::serve`: who is held never gets as far as TLS or HTTP.
///
/// Serve with `into_make_service_with_connect_info::<Connection>()`: that is how a
/// [`BlackholeLayer`](crate::BlackholeLayer) inside gets hold of the connection it may have to drop, and how every
/// layer learns the peer's address. A TLS listener goes *around* this one and passes its address type on, as
/// `type Addr = L::Addr` does; then serve with [`with_connection`].
///
/// ```no_run
/// use axum::{Router, routing::get};
/// use fusebox_blackhole::{BlackholeLayer, BlackholeListener, Connection, GateConfig, JailConfig};
///
/// # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
/// let jail = JailConfig::new("edge").build()?;
/// tokio::spawn(jail.caretaker());
///
/// let app = Router::new().route("/", get(|| async { "hello" })).layer(BlackholeLayer::new(&jail));
/// let listener = tokio::net::TcpListener::bind("0.0.0.0:8080").await?;
/// let listener = BlackholeListener::new(listener, GateConfig::new(&jail).build()?);
/// axum::serve(listener, app.into_make_service_with_connect_info::<Connection>()).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
/// `accept` is as cancel safe as the inner listener's: a connection that was accepted and not returned yet is one that
/// is being turned away.
pub struct BlackholeListener<L: Listener> {
    listener: L,
    gate: Gate,
    reset: fn(&L::Io),
}

impl<L: Listener<Io = TcpStream, Addr = SocketAddr>> BlackholeListener<L> {
    /// Around a listener for TCP.
    #[must_use]
    pub fn new(listener: L, gate: Gate) -> Self {
        Self::with_reset(listener, gate, gate::reset)
    }
}

impl<L: Listener<Addr = SocketAddr>> BlackholeListener<L> {
    /// Around any other listener whose peers have addresses. `reset` makes the close of a connection, that follows, a
    /// reset: [`TcpStream::set_zero_linger`] on whatever TCP stream is in there. One that does nothing makes it a plain
    /// close.
    #[must_use]
    pub const fn with_reset(listener: L, gate: Gate, reset: fn(&L::Io)) -> Self {
        Self {
            listener,
            gate,
            reset,
        }
    }
}

impl<L: Listener<Addr = SocketAddr>> Listener for BlackholeListener<L> {
    type Io = Guarded<L::Io>;
    type Addr = Connection;

    async fn accept(&mut self) -> (Self::Io, Connection) {
        loop {
            let (stream, peer) = self.listener.accept().await;
            if let Some(stream) = self.gate.admit_with(stream, peer, self.reset) {
                let connection = stream.connection().clone();
                return (stream, connection);
            }
        }
    }

    /// The address that is listened on, as the peer of no connection: one type has to do for both.
    fn local_addr(&self) -> io::Result<Connection> {
        self.listener.local_addr().map(Connection::new)
    }
}

impl<L: Listener<Addr = SocketAddr>> Connected<IncomingStream<'_, BlackholeListener<L>>>
    for Connection
{
    fn connect_info(stream: IncomingStream<'_, BlackholeListener<L>>) -> Self {
        stream.remote_addr().clone()
    }
}

/// Puts the [`Connection`] into each request of a service under `axum::serve`, whatever listeners are around the
/// [`BlackholeListener`]: all they have to do is to pass its address type on.
///
/// ```no_run
/// # use axum::{Router, routing::get, serve::Listener};
/// use fusebox_blackhole::{Connection, with_connection};
///
/// # async fn serve(tls_around_blackhole: impl Listener<Addr = Connection>) -> std::io::Result<()> {
/// let app: Router = Router::new().route("/", get(|| async { "hello" }));
/// axum::serve(tls_around_blackhole, with_connection(app)).await
/// # }
/// ```
pub const fn with_connection<S>(service: S) -> MakeWithConnection<S> {
    MakeWithConnection(service)
}

/// Makes the service of a connection; see [`with_connection`].
#[derive(Clone, Debug)]
pub struct MakeWithConnection<S>(S);

impl<L, S> Service<IncomingStream<'_, L>> for MakeWithConnection<S>
where
    L: Listener<Addr = Connection>,
    S: Clone,
{
    type Response = WithConnection<S>;
    type Error = Infallible;
    type Future = Ready<Result<WithConnection<S>, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, stream: IncomingStream<'_, L>) -> Self::Future {
        ready(Ok(WithConnection {
            service: self.0.clone(),
            connection: stream.remote_addr().clone(),
        }))
    }
}

/// The service of one connection; see [`with_connection`].
#[derive(Clone, Debug)]
pub struct WithConnection<S> {
    service: S,
    connection: Connection,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for WithConnection<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        self.connection.attach(&mut request);
        self.service.call(request)
    }
}

impl<L: Listener> fmt::Debug for BlackholeListener<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlackholeListener")
            .field("gate", &self.gate)
            .finish_non_exhaustive()
    }
}
