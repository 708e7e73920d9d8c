//! The tower layer and its settings.

use std::{fmt, sync::Arc};

use fusebox_core::LayerKind;
use fusebox_http::{GrpcCode, Respond, identity::IdentityResolver};
use http::StatusCode;
use tower_layer::Layer;

use crate::{
    Blackhole, Jail, TarpitBudget, TarpitError, TrapError, Traps, strikes::Strikes, tarpit::Tarpit,
};

/// What becomes of a request whose client is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// The whole connection is closed without a byte of response.
    ///
    /// That takes a [`Connection`](crate::Connection) in the request's extensions. Without one (another listener, a
    /// test) the client gets what [`Deny`](Self::Deny) gives it, and over HTTP/1 the word that the connection closes.
    ///
    /// A connection that is not the client's own stays open, with other people's requests on it: where the peer is one of
    /// your proxies, the client is not the peer, or it is only its credential that is held, it is [`Deny`](Self::Deny).
    #[default]
    Drop,
    /// A response begins, and goes on and on: one byte now and then, within the [`TarpitBudget`]. Over budget, and for
    /// `HEAD`, whose answer has no body, it is [`Drop`](Self::Drop); where a connection would be kept that is not the
    /// client's own, [`Deny`](Self::Deny).
    Tarpit,
    /// 403, or gRPC `PERMISSION_DENIED`.
    Deny,
}

/// The settings of a [`BlackholeLayer`]; [`build`](Self::build) makes it.
///
/// ```
/// use fusebox_blackhole::{Action, BlackholeConfig, JailConfig, Traps};
/// use http::StatusCode;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let jail = JailConfig::new("edge").build()?;
/// let layer = BlackholeConfig::new(&jail)
///     .action(Action::Drop)
///     .strike_statuses([StatusCode::UNAUTHORIZED])
///     .traps(Traps::common())
///     .build()?;
/// # let _ = layer;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct BlackholeConfig {
    jail: Jail,
    identity: IdentityResolver,
    action: Action,
    tarpit: TarpitBudget,
    strikes: Strikes,
    respond: Option<Arc<dyn Respond>>,
}

/// What is wrong with a [`BlackholeConfig`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlackholeConfigError {
    /// The budget of the tarpit.
    Tarpit(TarpitError),
    /// A path that is none.
    Trap(TrapError),
    /// A status that is no fault of a client's.
    Status {
        /// What was given.
        given: StatusCode,
    },
}

impl fmt::Display for BlackholeConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tarpit(error) => write!(f, "tarpit: {error}"),
            Self::Trap(error) => error.fmt(f),
            Self::Status { given } => {
                write!(
                    f,
                    "strike_statuses: must be between 400 and 499, got {}",
                    given.as_u16()
                )
            }
        }
    }
}

impl std::error::Error for BlackholeConfigError {}

impl BlackholeConfig {
    /// Drops whom this jail holds; refusals by a rate limit or a WAF further in are strikes.
    pub fn new(jail: &Jail) -> Self {
        Self {
            jail: jail.clone(),
            identity: IdentityResolver::peer_only(),
            action: Action::default(),
            tarpit: TarpitBudget::default(),
            strikes: Strikes::default(),
            respond: None,
        }
    }

    /// How clients are told apart: the resolver of the other layers. The peer is the client, if it is not set.
    ///
    /// Whatever it says, a request is held if its address is, or the peer that it comes from: a header that makes another
    /// client of it is no way out. The resolver's trusted proxies are [protected](Jail::protect) when the layer is built:
    /// they can be jailed no more.
    pub fn identity(mut self, resolver: IdentityResolver) -> Self {
        self.identity = resolver;
        self
    }

    /// What becomes of the requests of those that are held.
    pub const fn action(mut self, action: Action) -> Self {
        self.action = action;
        self
    }

    /// How much the tarpit may cost.
    pub const fn tarpit(mut self, budget: TarpitBudget) -> Self {
        self.tarpit = budget;
        self
    }

    /// Of which layers further in refusals are strikes: those that are the client's doing (its quota, an attack), never
    /// that something was full or down. The rate limit and the WAF, if it is not set.
    pub fn strike_refusals_of(mut self, layers: impl IntoIterator<Item = LayerKind>) -> Self {
        self.strikes.refusals_of = layers.into_iter().collect();
        self
    }

    /// Which statuses of answers are strikes, such as 401 or 404. None, if it is not set.
    ///
    /// Choose them with a browser in mind that somebody else's page has asked for something: its strikes count, because
    /// whoever tries passwords could say the same of itself. See
    /// [what it does not protect against](crate#what-it-does-not-protect-against).
    pub fn strike_statuses(mut self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        self.strikes.statuses = statuses.into_iter().collect();
        self
    }

    /// Which gRPC statuses are strikes, where they are in the head of the answer, as those of refused calls are.
    pub fn strike_grpc_codes(mut self, codes: impl IntoIterator<Item = GrpcCode>) -> Self {
        self.strikes.grpc_codes = codes.into_iter().collect();
        self
    }

    /// Whether strikes of a client that is known by a
    /// [hashed header](fusebox_http::identity::IdentityConfig::hashed_header) are its address' as well. They are, if it is
    /// not set: who invents a new API key for each request would otherwise never have two. A quota that is spent is the
    /// key's alone.
    ///
    /// Not where many clients with keys share an address and the keys are checked further out.
    pub const fn strike_addresses_too(mut self, too: bool) -> Self {
        self.strikes.address_too = too;
        self
    }

    /// Which paths are strikes to ask for. A request that a browser was led to by somebody else's page
    /// (`Sec-Fetch-Site: cross-site`) is none, however it ends.
    ///
    /// One request is one strike at most: what a trapped path is answered with counts no more.
    pub fn traps(mut self, traps: Traps) -> Self {
        self.strikes.traps = traps;
        self
    }

    /// What [`Action::Deny`] answers.
    pub fn respond(mut self, respond: Arc<dyn Respond>) -> Self {
        self.respond = Some(respond);
        self
    }

    /// Makes the layer.
    ///
    /// # Errors
    /// [`BlackholeConfigError`] names the setting that cannot be meant.
    pub fn build(self) -> Result<BlackholeLayer, BlackholeConfigError> {
        self.tarpit.check().map_err(BlackholeConfigError::Tarpit)?;
        if let Some(given) = self
            .strikes
            .statuses
            .iter()
            .find(|status| !status.is_client_error())
        {
            return Err(BlackholeConfigError::Status { given: *given });
        }
        Ok(self.into_layer())
    }

    fn into_layer(self) -> BlackholeLayer {
        // Whatever else asks the jail, a gate or the kernel's sets: a proxy stands for many clients.
        let trusted: Vec<_> = self.identity.trusted_ranges().collect();
        if !trusted.is_empty() {
            self.jail.protect_ranges(trusted);
        }
        BlackholeLayer(Arc::new(Shared {
            tarpit: Tarpit::new(self.tarpit),
            jail: self.jail,
            identity: self.identity,
            peers: IdentityResolver::peer_only(),
            action: self.action,
            strikes: self.strikes,
            respond: self.respond,
        }))
    }
}

impl fmt::Debug for BlackholeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlackholeConfig")
            .field("jail", &self.jail)
            .field("identity", &self.identity)
            .field("action", &self.action)
            .field("tarpit", &self.tarpit)
            .field("strikes", &self.strikes)
            .field("own_response", &self.respond.is_some())
            .finish()
    }
}

/// Acts on the requests of those that are held, and counts strikes against the others.
///
/// It belongs outermost: what it turns away costs nothing further in, and the refusals of all layers inside pass it
/// on their way back. Clones, and all services made by one layer, share one state.
#[derive(Clone)]
pub struct BlackholeLayer(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) jail: Jail,
    pub(crate) identity: IdentityResolver,
    /// Finds the other end of a connection.
    pub(crate) peers: IdentityResolver,
    pub(crate) action: Action,
    pub(crate) tarpit: Tarpit,
    pub(crate) strikes: Strikes,
    pub(crate) respond: Option<Arc<dyn Respond>>,
}

impl BlackholeLayer {
    /// The layer with the settings of [`BlackholeConfig::new`].
    #[must_use]
    pub fn new(jail: &Jail) -> Self {
        BlackholeConfig::new(jail).into_layer()
    }

    /// The jail it asks.
    #[must_use]
    pub fn jail(&self) -> &Jail {
        &self.0.jail
    }

    /// Clients that are in its tarpit now.
    #[must_use]
    pub fn in_tarpit(&self) -> usize {
        self.0.tarpit.used()
    }
}

impl<S> Layer<S> for BlackholeLayer {
    type Service = Blackhole<S>;

    fn layer(&self, inner: S) -> Blackhole<S> {
        Blackhole::new(inner, self.0.clone())
    }
}

impl fmt::Debug for BlackholeLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlackholeLayer")
            .field("jail", &self.0.jail)
            .field("action", &self.0.action)
            .finish_non_exhaustive()
    }
}
