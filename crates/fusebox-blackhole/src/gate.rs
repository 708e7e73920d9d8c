//! Before TLS and before HTTP: who may connect at all.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use fusebox_core::{Call, Mode, RejectionKind, Timestamp, Verdict};
use tokio::net::TcpStream;

use crate::{
    Connection, Guarded, Jail,
    engine::{AcceptRate, Door, DoorLimits, Key, Pass, Turned},
};

/// Peers that are kept in mind: some 2 MB.
const DEFAULT_CAPACITY: usize = 1 << 16;

/// How a connection ends that a condemned peer made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Close {
    /// With a reset: the socket and its buffers are gone at once, here and at the peer (`SO_LINGER` of zero).
    #[default]
    Reset,
    /// With a plain close: the peer sees an empty answer and no sign of having been noticed. The operating system keeps
    /// the socket for the usual minute if the peer does not close as well.
    Silent,
}

/// The settings of a [`Gate`].
#[derive(Clone, Debug)]
#[must_use]
pub struct GateConfig {
    jail: Jail,
    close: Close,
    connections: Option<u32>,
    accepts: Option<(u32, Duration)>,
    capacity: usize,
}

/// What is wrong with a [`GateConfig`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GateConfigError {
    /// No client could ever connect.
    NoConnections,
    /// A rate that lets nobody in, or is no limit.
    Accepts {
        /// How many connections.
        connections: u32,
        /// In which time.
        per: Duration,
    },
    /// Nobody could be kept in mind.
    NoCapacity,
}

impl fmt::Display for GateConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoConnections => f.write_str("connections_per_client: must be at least 1, got 0"),
            Self::Accepts { connections, per } => write!(
                f,
                "accepts_per_client: must be at least 1 and no more than one each nanosecond, got {connections} in {per:?}"
            ),
            Self::NoCapacity => f.write_str("capacity: must be at least 1, got 0"),
        }
    }
}

impl std::error::Error for GateConfigError {}

impl GateConfig {
    /// A gate that turns away whom this jail holds, with a [reset](Close::Reset), and nobody else.
    pub fn new(jail: &Jail) -> Self {
        Self {
            jail: jail.clone(),
            close: Close::default(),
            connections: None,
            accepts: None,
            capacity: DEFAULT_CAPACITY,
        }
    }

    /// How the connections of those end that are turned away, and of those that are
    /// [dropped](crate::Action::Drop) later.
    pub const fn close(mut self, close: Close) -> Self {
        self.close = close;
        self
    }

    /// Connections that one client (an IPv4 address, an IPv6 /64) may have at once. Those that can never be jailed,
    /// your proxies among them, may have any number.
    pub const fn connections_per_client(mut self, connections: u32) -> Self {
        self.connections = Some(connections);
        self
    }

    /// Connections that one client may make in each such time, all of them at once if it likes.
    pub const fn accepts_per_client(mut self, connections: u32, per: Duration) -> Self {
        self.accepts = Some((connections, per));
        self
    }

    /// Clients that are kept in mind for these limits, 65536 if it is not set: some 25 bytes each. Have room for twice
    /// as many connections as the process may have open.
    pub const fn capacity(mut self, clients: usize) -> Self {
        self.capacity = clients;
        self
    }

    /// Makes the gate.
    ///
    /// # Errors
    /// [`GateConfigError`] names the setting that cannot be meant.
    pub fn build(self) -> Result<Gate, GateConfigError> {
        if self.connections == Some(0) {
            return Err(GateConfigError::NoConnections);
        }
        if self.capacity == 0 {
            return Err(GateConfigError::NoCapacity);
        }
        let rate = match self.accepts {
            Some((connections, per)) => Some(
                AcceptRate::new(connections, per)
                    .ok_or(GateConfigError::Accepts { connections, per })?,
            ),
            None => None,
        };
        let limits = DoorLimits {
            connections: self.connections,
            rate,
        };
        let limited = limits.connections.is_some() || limits.rate.is_some();
        Ok(Gate(Arc::new(Inner {
            door: limited.then(|| Arc::new(Door::new(self.capacity, self.jail.seed()))),
            jail: self.jail,
            close: self.close,
            limits,
            turned_away: [const { AtomicU64::new(0) }; 3],
        })))
    }
}

/// Lets connections in, or closes them: the place for it is right behind `accept`.
///
/// `axum::serve` has it in a `BlackholeListener` (feature `axum`). With an accept loop of your own, and hyper:
///
/// ```no_run
/// use fusebox_blackhole::{Gate, GateConfig, Jail};
///
/// # async fn serve(listener: tokio::net::TcpListener, jail: Jail) -> Result<(), Box<dyn std::error::Error>> {
/// let gate: Gate = GateConfig::new(&jail).connections_per_client(100).build()?;
/// loop {
///     let (stream, peer) = listener.accept().await?;
///     // Who is held is gone by now: before TLS, before HTTP, before a task is spawned.
///     let Some(stream) = gate.admit(stream, peer) else { continue };
///     let connection = stream.connection().clone();
///     tokio::spawn(async move {
///         // In hyper's service: `connection.attach(&mut request)`, then the service under a `BlackholeLayer`.
///         # let _ = (stream, connection);
///     });
/// }
/// # }
/// ```
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    jail: Jail,
    door: Option<Arc<Door>>,
    limits: DoorLimits,
    close: Close,
    /// Held, too many, too fast.
    turned_away: [AtomicU64; 3],
}

/// How many connections a [`Gate`] has turned away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TurnedAway {
    /// Because the jail holds the peer.
    pub held: u64,
    /// Because the peer has too many.
    pub too_many: u64,
    /// Because the peer makes them too fast.
    pub too_fast: u64,
}

impl Gate {
    /// Lets a connection in, or closes it.
    ///
    /// The guarded stream is the connection from now on; its [`Connection`] goes into each of its requests.
    #[must_use]
    pub fn admit(&self, stream: TcpStream, peer: SocketAddr) -> Option<Guarded<TcpStream>> {
        self.admit_with(stream, peer, reset)
    }

    /// [`admit`](Self::admit) for streams of other types. `reset` makes the close of the stream, that follows, a reset.
    #[must_use]
    pub fn admit_with<Io>(
        &self,
        stream: Io,
        peer: SocketAddr,
        reset: fn(&Io),
    ) -> Option<Guarded<Io>> {
        let reset = (self.0.close == Close::Reset).then_some(reset);
        match self.enter(peer) {
            Some(visit) => {
                let connection = Connection::new(peer);
                let jail = &self.0.jail;
                let entry = jail.enter(&connection);
                // Whoever was banned since the look, and before its connection could be found.
                if jail.mode() == Mode::Enforce
                    && jail.holds_at(peer.ip().to_canonical(), jail.now())
                {
                    connection.close();
                }
                Some(Guarded::new(stream, connection, reset, visit, entry))
            }
            None => {
                if let Some(reset) = reset {
                    reset(&stream);
                }
                None
            }
        }
    }

    fn enter(&self, peer: SocketAddr) -> Option<Visit> {
        let inner = &*self.0;
        let now = inner.jail.now();
        let address = peer.ip().to_canonical();
        if inner.jail.holds_at(address, now) && self.turn_away(RejectionKind::Banned, 0, now) {
            return None;
        }
        let Some(door) = &inner.door else {
            return Some(Visit::uncounted());
        };
        let Some(key) = Key::of_peer(address) else {
            return Some(Visit::uncounted());
        };
        if inner.jail.protects(address) {
            return Some(Visit::uncounted());
        }
        match door.enter(key, &inner.limits, now) {
            Ok(pass) => Some(Visit(Some((door.clone(), pass)))),
            Err(Turned::TooMany) if self.turn_away(RejectionKind::Full, 1, now) => None,
            Err(Turned::TooFast) if self.turn_away(RejectionKind::QuotaExceeded, 2, now) => None,
            Err(_) => Some(Visit::uncounted()),
        }
    }

    /// Tells that a connection is refused; true if it really is.
    fn turn_away(&self, kind: RejectionKind, why: usize, now: Timestamp) -> bool {
        let enforced = self.0.jail.enforces_next();
        if enforced && let Some(count) = self.0.turned_away.get(why) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let call = Call {
            verdict: Verdict::Refused { kind, enforced },
            outcome: None,
            waited: Duration::ZERO,
            ran: Duration::ZERO,
        };
        self.0.jail.report(now, call);
        enforced
    }

    /// How many connections it has turned away since it was made.
    #[must_use]
    pub fn turned_away(&self) -> TurnedAway {
        let [held, too_many, too_fast] = &self.0.turned_away;
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        TurnedAway {
            held: count(held),
            too_many: count(too_many),
            too_fast: count(too_fast),
        }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("close", &self.0.close)
            .field("limits", &self.0.limits)
            .field("turned_away", &self.turned_away())
            .finish_non_exhaustive()
    }
}

/// Makes the close of a socket a reset.
pub(crate) fn reset(stream: &TcpStream) {
    // A socket that is gone already needs none.
    let _ = stream.set_zero_linger();
}

/// A connection that counts while this lives.
pub(crate) struct Visit(Option<(Arc<Door>, Pass)>);

impl Visit {
    pub(crate) const fn uncounted() -> Self {
        Self(None)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if let Some((door, pass)) = self.0.take() {
            door.leave(pass);
        }
    }
}
