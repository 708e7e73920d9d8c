//! The words every fusebox layer shares: [`Timestamp`], [`Outcome`], [`Event`], [`Mode`],
//! [`Rejection`], the [`Registry`] of live handles and their [`Snapshot`]s.
//!
//! Nothing here knows HTTP, tower or a runtime. An engine is written against these types alone and
//! takes the time as an argument; the shell around it (a layer, a handle) reads a [`Clock`] and tells
//! what happened, once, as an [`Event`].
//!
//! # Features
//!
//! | feature | adds |
//! | --- | --- |
//! | `tokio` (default) | [`Clock`]: tokio's clock, so that a paused runtime pauses fusebox |
//! | `tracing` (default) | every [`Event`] is also a `tracing` event with the target `fusebox` |
//! | `stats` (default) | [`stats`]: counters and latency histograms, sharded by thread |
//! | `serde` | snapshots serialise |
//!
//! [`Clock`]: time::Clock

mod error;
mod event;
mod mode;
mod name;
mod outcome;
mod registry;
mod rejection;
#[cfg(feature = "stats")]
mod report;
mod snapshot;
#[cfg(feature = "stats")]
pub mod stats;
#[doc(hidden)]
pub mod sync;
pub mod time;

pub use error::CallError;
pub use event::{Call, Change, CircuitState, Event, EventKind, LayerKind, Observer, Verdict};
pub use mode::{Mode, ModeCell, ModeError, Percent};
pub use name::Name;
pub use outcome::Outcome;
pub use registry::{Live, Registration, Registry};
pub use rejection::{Rejection, RejectionKind};
#[cfg(feature = "stats")]
pub use report::Reporter;
pub use snapshot::{Snapshot, Value};
pub use time::Timestamp;
