use std::time::Duration;

use crate::{Mode, Name, Outcome, RejectionKind, Timestamp};

/// Which layer speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LayerKind {
    /// Drops peers that misbehaved.
    Blackhole,
    /// Counts what each client spends.
    RateLimit,
    /// Looks for attacks.
    Waf,
    /// Divides capacity into compartments.
    Bulkhead,
    /// Stops calling what is down.
    CircuitBreaker,
    /// A layer of someone else's, by its name.
    Other(&'static str),
}

impl LayerKind {
    /// The word for it in snapshots, logs and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blackhole => "blackhole",
            Self::RateLimit => "rate_limit",
            Self::Waf => "waf",
            Self::Bulkhead => "bulkhead",
            Self::CircuitBreaker => "circuit_breaker",
            Self::Other(name) => name,
        }
    }
}

impl std::fmt::Display for LayerKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for LayerKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One decision, told once.
///
/// A request makes exactly one event in each layer it meets: when it is refused, or when it is over.
/// The same event feeds the counters, `tracing` and every [`Observer`]. It carries no client key and
/// nothing a client sent.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// The layer that decided.
    pub layer: LayerKind,
    /// The policy, compartment or circuit, by its configured name.
    pub policy: &'a Name,
    /// When it was told, on the handle's clock.
    pub at: Timestamp,
    /// What happened.
    pub kind: EventKind,
}

/// What an [`Event`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// A request was refused, or is over.
    Call(Call),
    /// An operator, or the layer itself, changed how it decides.
    Change(Change),
}

/// One request, from the layer's verdict to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// What the layer decided.
    pub verdict: Verdict,
    /// What became of the call; `None` when it was refused and therefore never made. A refusal that withholds the answer
    /// of a call that was made has both.
    pub outcome: Option<Outcome>,
    /// How long it waited for the verdict, in a queue for example.
    pub waited: Duration,
    /// How long it ran after the verdict, to the end of its response body. Zero when it never got to run:
    /// whoever asked gave up while it waited.
    pub ran: Duration,
}

impl Call {
    /// Whether the inner service was called: neither was it refused, nor given up in line.
    #[must_use]
    pub fn was_made(&self) -> bool {
        let given_up = self.ran.is_zero() && !self.waited.is_zero();
        match self.outcome {
            Some(Outcome::Cancelled) => !given_up,
            outcome => outcome.is_some(),
        }
    }
}

/// What a layer decided about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may pass.
    Admitted,
    /// It must not pass.
    Refused {
        /// Why.
        kind: RejectionKind,
        /// Whether the layer acted on it. In shadow mode it did not, and the call was made.
        enforced: bool,
    },
}

/// A change of how a layer decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// The mode was set.
    Mode {
        /// Before.
        from: Mode,
        /// Now.
        to: Mode,
    },
    /// A limit was set: slots of a compartment, connections, and the like.
    Limit {
        /// Which, by the name of its setting.
        what: &'static str,
        /// Before.
        from: u64,
        /// Now.
        to: u64,
    },
    /// One of a few ways of doing something was chosen.
    Choice {
        /// Of doing what, by the name of its setting.
        what: &'static str,
        /// Before.
        from: &'static str,
        /// Now.
        to: &'static str,
    },
    /// A circuit went from one state to another.
    Circuit {
        /// Before.
        from: CircuitState,
        /// Now.
        to: CircuitState,
    },
    /// A client, or a network of many, was jailed. Who it is stands in no event; the jail can be asked.
    Jailed {
        /// Why, in a word of the jail's.
        cause: &'static str,
        /// For how long from now on.
        sentence: Duration,
        /// How many sentences it has had from strikes, this one included if it is one, less those forgiven.
        sentences: u32,
    },
    /// Clients or networks were let out before their time.
    Released {
        /// How many.
        count: u64,
    },
}

/// Whether a circuit lets calls through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CircuitState {
    /// Traffic flows.
    Closed,
    /// The dependency is taken to be down: every call is refused, until the cool-down is over.
    Open,
    /// A few probes find out whether the dependency is back; every other call is refused.
    HalfOpen,
    /// Open by hand, until somebody says otherwise.
    ForcedOpen,
    /// Out of service by hand: traffic flows and nothing is judged.
    Disabled,
}

impl CircuitState {
    /// The word for it in snapshots, logs and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::ForcedOpen => "forced_open",
            Self::Disabled => "disabled",
        }
    }
}

impl std::fmt::Display for CircuitState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for CircuitState {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Hears every [`Event`] of the handles it was given to.
///
/// It is called on the request's own path: be quick, do not block. A panic in it is a panic in the
/// request.
pub trait Observer: Send + Sync {
    /// One event.
    fn on_event(&self, event: &Event<'_>);
}

impl<F: Fn(&Event<'_>) + Send + Sync> Observer for F {
    fn on_event(&self, event: &Event<'_>) {
        self(event);
    }
}
