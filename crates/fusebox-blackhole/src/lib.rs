//! fusebox blackhole

#[cfg(feature = "http")]
mod body;
#[cfg(feature = "http")]
mod config;
#[cfg(feature = "http")]
mod connection;
pub mod engine;
#[cfg(feature = "http")]
mod feeds;
#[cfg(feature = "http")]
mod file;
#[cfg(feature = "http")]
mod future;
#[cfg(feature = "http")]
mod gate;
#[cfg(feature = "http")]
mod jail;
#[cfg(feature = "http")]
mod layer;
#[cfg(feature = "axum")]
mod listener;
#[cfg(feature = "http")]
mod record;
#[cfg(feature = "http")]
mod service;
#[cfg(feature = "http")]
mod strikes;
#[cfg(feature = "http")]
mod tarpit;
#[cfg(feature = "http")]
mod traps;

pub use engine::{
    Cause, FeedError, FeedFormat, FeedLimits, LineProblem, Network, NetworkError, Struck, Terms,
    TermsError,
};
#[cfg(feature = "axum")]
pub use listener::{BlackholeListener, MakeWithConnection, WithConnection, with_connection};
#[cfg(feature = "http")]
pub use {
    body::BlackholeBody,
    config::{FeedConfig, JailConfig, JailConfigError},
    connection::{Connection, Guarded},
    feeds::FeedState,
    future::ResponseFuture,
    gate::{Close, Gate, GateConfig, GateConfigError, TurnedAway},
    jail::{Jail, Reason, Sentence},
    layer::{Action, BlackholeConfig, BlackholeConfigError, BlackholeLayer},
    service::Blackhole,
    tarpit::{TarpitBudget, TarpitError},
    traps::{TrapError, Traps},
};
