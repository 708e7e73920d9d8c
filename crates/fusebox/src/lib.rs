//! The electrical panel of a Rust service: [tower](https://docs.rs/tower) layers that keep one bad client,
//! one slow dependency or one greedy feature from taking the house down.
//!
//! Each layer is a crate of its own; this one re-exports them behind features, adds them to
//! [`tower::ServiceBuilder`] ([`ServiceBuilderExt`]) and says how they stack.
//!
//! | module (feature) | layer | answers | the caller then sees |
//! | --- | --- | --- | --- |
//! | [`blackhole`] | [`BlackholeLayer`](blackhole::BlackholeLayer) | "this peer has misbehaved often enough" | nothing: the connection is closed, trickled, or 403 |
//! | [`rate_limit`] | [`RateLimitLayer`](rate_limit::RateLimitLayer) | "this client has spent its quota" | 429, or gRPC `RESOURCE_EXHAUSTED`, with when to come back |
//! | [`waf`] | [`WafLayer`](waf::WafLayer) | "this request is an attack" | 403, or gRPC `PERMISSION_DENIED` |
//! | [`bulkhead`] | [`BulkheadLayer`](bulkhead::BulkheadLayer) | "this compartment is full" | 503, or gRPC `RESOURCE_EXHAUSTED` |
//! | [`circuit_breaker`] | [`CircuitBreakerLayer`](circuit_breaker::CircuitBreakerLayer) | "this dependency is down" | 503, or gRPC `UNAVAILABLE`, at once |
//!
//! # On a server
//!
//! ```
//! use std::time::Duration;
//!
//! use axum::{Router, routing::get};
//! use fusebox::prelude::*;
//! use fusebox::rate_limit::KeyBy;
//! use tower::ServiceBuilder;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let clients = RateLimiter::builder("api")
//!     .policy(Policy::new("burst", Quota::per_second(20).burst(40)))
//!     .build()?;
//! let reports = Compartment::builder("reports")
//!     .slots(5)
//!     .queue(8, Duration::from_millis(100))
//!     .build()?;
//!
//! let app: Router = Router::new()
//!     .route("/reports", get(|| async { "a long one" }))
//!     .route_layer(ServiceBuilder::new().bulkhead(&reports))
//!     // Around everything. The peer is the client: this service is directly exposed.
//!     .layer(
//!         ServiceBuilder::new()
//!             .quota(clients.layer().keyed_by(KeyBy::Client(IdentityResolver::peer_only())))
//!             .waf(WafLayer::core()?),
//!     );
//!
//! // At 3 a.m.: look, and steer, while traffic flows.
//! assert_eq!(reports.snapshot().in_flight, 0);
//! reports.resize(2)?;
//! # let _ = app;
//! # Ok(())
//! # }
//! ```
//!
//! # On a client
//!
//! Rate limit, bulkhead and circuit breaker have a plain flavour for services that know no HTTP; its error is a
//! [`CallError`], generic over the inner one. Here both sides of a call to somebody else: no faster than agreed, and not at all
//! while it is down.
//!
//! ```
//! use std::convert::Infallible;
//! use std::time::Duration;
//!
//! use fusebox::prelude::*;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let agreed = RateLimiter::builder("partner")
//!     .policy(Policy::new("contract", Quota::per_second(100)))
//!     .build()?;
//! let partner = Breaker::builder("partner").build()?;
//!
//! let mut client = ServiceBuilder::new()
//!     .layer(partner.plain_layer())
//!     .layer(agreed.plain_layer())
//!     .service(service_fn(async |order: u32| Ok::<_, Infallible>(order + 1)));
//!
//! assert_eq!(client.ready().await?.call(41).await?, 42);
//! # Ok(())
//! # }
//! ```
//!
//! # In which order
//!
//! A request should meet the cheapest and surest "no" first:
//!
//! ```text
//! accept ── the listener drops condemned peers before TLS and HTTP
//!   └─ blackhole        who is it? condemned clients get nothing
//!       └─ rate limit       a cheap refusal, by client
//!           └─ firewall         the expensive look: head first, body while it streams in
//!               └─ route ── bulkhead    its own slots, queue, threads, connections
//!                    └─ handler ── client ── circuit breaker ── timeout ── connection limit ── upstream
//! ```
//!
//! - **Rate limit before firewall**, so that a flood costs a table look-up and not an inspection. The other
//!   way round every request is inspected, whatever it is going to be refused for: a client that is over its quota
//!   can still make the firewall work, and its body is read first. What one gains is that attacks of such clients are
//!   seen (and are strikes for a blackhole around both), and that an attack does not spend its client's quota.
//! - **Blackhole around both**, since it learns from their refusals on their way back; further in it would hear of none.
//! - **Bulkhead innermost of the server's layers, per kind of route**: what is refused further out must
//!   not take a slot, and one compartment for everything isolates nothing.
//! - **Circuit breaker outside the timeout**, so that a call that ran out of time counts as the failure it
//!   is. Outside the connection limit too: a full pool is a local refusal, which the breaker ignores.
//! - **Retries outside the circuit breaker**, so that an open circuit ends them at once. A refusal is
//!   marked with a [`Rejection`]; a retry policy should leave those alone.
//! - **Health checks outside everything that load can fill.**
//!
//! # What every layer does
//!
//! A refusal is a *response*, not an error: `S::Error` stays what it was, and the response carries a
//! [`Rejection`] in its extensions. Every layer has a handle that is cheap to clone, can be read
//! ([`Live::snapshot`]) and steered while traffic flows, and is listed in the [`Registry`]. Every layer can
//! run in [`Mode::Shadow`] first. Each request makes one [`Event`] in each layer, which feeds counters,
//! `tracing` and your own [`Observer`]s.
//!
//! # Features
//!
//! | feature | adds |
//! | --- | --- |
//! | `blackhole` (default) | [`blackhole`] |
//! | `bulkhead` (default) | [`bulkhead`] |
//! | `circuit-breaker` (default) | [`circuit_breaker`] |
//! | `rate-limit` (default) | [`rate_limit`] |
//! | `waf` (default) | [`waf`] |
//! | `connections` | `bulkhead::connections`: a cap on open connections, for connectors |
//! | `nftables` | `blackhole::nftables`: the jail mirrored into the kernel's firewall (Linux) |
//! | `axum` | client identity from axum's `ConnectInfo`; `blackhole::BlackholeListener` |
//! | `tonic` | client identity from tonic's `TcpConnectInfo` |
//! | `serde` | snapshots and identities serialise |

mod builder;
pub mod prelude;

pub use builder::ServiceBuilderExt;
#[cfg(feature = "blackhole")]
pub use fusebox_blackhole as blackhole;
#[cfg(feature = "bulkhead")]
pub use fusebox_bulkhead as bulkhead;
#[cfg(feature = "circuit-breaker")]
pub use fusebox_circuit_breaker as circuit_breaker;
pub use fusebox_core::{
    Call, CallError, Change, Event, EventKind, LayerKind, Live, Mode, ModeError, Name, Observer,
    Outcome, Percent, Registration, Registry, Rejection, RejectionKind, Snapshot, Timestamp, Value,
    Verdict, stats,
};
pub use fusebox_http as http;
pub use fusebox_http::identity;
#[cfg(feature = "rate-limit")]
pub use fusebox_rate_limit as rate_limit;
#[cfg(feature = "waf")]
pub use fusebox_waf as waf;

/// The examples of the README, compiled and run.
#[cfg(all(doctest, feature = "bulkhead"))]
#[doc = include_str!("../../../README.md")]
struct Readme;
