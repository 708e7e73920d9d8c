//! A compartment of open connections.
//!
//! Calls in flight and connections are not the same thing: a pool keeps connections open that no call
//! uses, and one connection of HTTP/2 carries many calls. A dependency that bears twenty connections
//! is kept to twenty by a compartment whose slots are connections, around the connector of its client:
//! hyper-util's `Client`, tonic's `connect_with_connector`, or anything else that asks a
//! `Service` for a connection.
//!
//! ```
//! use std::time::Duration;
//! use fusebox_bulkhead::Compartment;
//! use hyper_util::{client::legacy::{Client, connect::HttpConnector}, rt::TokioExecutor};
//! use http_body_util::Empty;
//! use tower_layer::Layer;
//!
//! # fn example() -> Result<(), fusebox_bulkhead::ConfigError> {
//! // Twenty connections; who needs one more waits for it, half a second at most.
//! let connections = Compartment::builder("payments connections")
//!     .slots(20)
//!     .queue(100, Duration::from_millis(500))
//!     .build()?;
//!
//! let connector = connections.connection_layer().layer(HttpConnector::new());
//! let client = Client::builder(TokioExecutor::new()).build::<_, Empty<bytes::Bytes>>(connector);
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async { example() }).unwrap();
//! ```
//!
//! # What it does not do
//!
//! It closes nothing. Idle connections of a pool hold their places until the pool lets go of them, so a
//! client of many hosts needs a short idle timeout or a compartment for each host.
//!
//! # TLS
//!
//! Limit the connector under the TLS connector (`HttpsConnector`'s `wrap_connector`, tonic's own TLS):
//! the connection counts from its first packet on, and the error stays one that
//! [`Rejection::find`](fusebox_core::Rejection::find) sees. A connector whose error is a boxed one is
//! for [`CallError`](fusebox_core::CallError) to wrap only after `map_err` has given it a type.

mod layer;
mod limited;

pub use layer::{ConnectFuture, ConnectionLimit, ConnectionLimitLayer};
pub use limited::LimitedConnection;
