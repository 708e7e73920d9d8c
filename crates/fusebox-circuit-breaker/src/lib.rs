//! A circuit breaker that cannot stick, cannot be fooled, and sees gRPC trailers.
//!
//! It stands before a dependency (a database, a payment provider, a gRPC service) and watches how calls
//! end. When too many fail it *opens*: calls are refused at once instead of waiting for a dependency
//! that is down, and the dependency is left alone to get well. After a cool-down it is *half-open*: a
//! few probes find out whether the dependency is back, and only then traffic flows again.
//!
//! ```
//! # #[cfg(feature = "http")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use fusebox_circuit_breaker::{Breaker, Window};
//! use tower::ServiceBuilder;
//! # let client = tower::service_fn(|_: http::Request<()>| async {
//! #     Ok::<_, std::convert::Infallible>(http::Response::new(http_body_util::Full::<bytes::Bytes>::default()))
//! # });
//!
//! let breaker = Breaker::builder("payments")
//!     .window(Window::Time(Duration::from_secs(10)))
//!     .failure_ratio(0.5)
//!     .hanging_calls(10, Duration::from_millis(400))
//!     .exponential_cool_down(Duration::from_secs(5), Duration::from_secs(120))
//!     .ramp(0.1, Duration::from_secs(20))
//!     .build()?;
//!
//! // Around a hyper client, a tonic `Channel`, an axum route: any tower service.
//! let client = ServiceBuilder::new().layer(breaker.layer()).service(client);
//!
//! // The handle reads and steers it while traffic flows.
//! println!("{:?}", breaker.snapshot());
//! breaker.force_open();
//! # let _ = client;
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "http"))]
//! # fn main() {}
//! ```
//!
//! # What opens it
//!
//! Any mix of: the share of failures over a time window or over the last N calls
//! ([`failure_ratio`](BreakerBuilder::failure_ratio)), failures in a row
//! ([`consecutive_failures`](BreakerBuilder::consecutive_failures)), the share of slow calls
//! ([`slow_calls`](BreakerBuilder::slow_calls)), the share of calls nobody waited for
//! ([`Cancelled::TripsAt`]), and calls in flight that hang
//! ([`hanging_calls`](BreakerBuilder::hanging_calls)), which opens it before the first timeout has come
//! back. A success never opens it.
//!
//! # What counts
//!
//! A call is judged once, at its very end: the error, the trailers, the end of the body. A gRPC call is
//! judged by `grpc-status` wherever that is; without one it failed. An answer that is no gRPC at all is judged
//! by its HTTP status, unless the requests are known to be [one's own](CircuitBreakerLayer::for_client). What
//! the caller did wrong (`INVALID_ARGUMENT`, a 404) is no failure of the dependency. An error is one, unless
//! [`judge_errors`](CircuitBreakerLayer::judge_errors) says otherwise. A call that another layer on this side
//! has refused ([`Rejection`](fusebox_core::Rejection)) was never made and never counts.
//!
//! # What keeps it from sticking
//!
//! A probe holds a *lease*: with a deadline, so a probe that hangs makes room; given back when it is
//! dropped, cancelled, panics or is refused further in, none of which says anything about the
//! dependency. Every transition begins a new *generation*: what comes back from an older one moves
//! nothing.
//!
//! # What it costs
//!
//! A call through a closed circuit takes no lock, allocates nothing, and writes only to what is its own
//! thread's. A window of time reads the clock once per call, a window of calls does not. What a window costs
//! depends neither on its length nor on how many calls are in it; a window of calls costs more while there is
//! a failure in it, for then it has to remember which of them is the oldest. Every call's latency is measured
//! up to a thousand a second and thread, and beyond that a sample (see [`Breaker::stats`]).
//!
//! In instructions added to a call that does nothing: 147 with a window of time, 113 with one of calls, 124 for a
//! refusal; recloser, which keeps less and tells less, takes 149 and 125. With one failure in each hundred calls it is 160
//! and 226; recloser stays where it is. The layer for HTTP adds 521, because it
//! moves the response and its body into what watches them; the benches say what was tried against that.
//!
//! # What can be changed while traffic flows
//!
//! All that decides when it opens, for how long and how it closes ([`Breaker::reconfigure`]), whether it acts
//! ([`Breaker::set_mode`]), and the state itself ([`force_open`](Breaker::force_open),
//! [`disable`](Breaker::disable), [`reset`](Breaker::reset)). What says how much is remembered is fixed: the
//! window, and how old a call is that hangs. For a family all of it is done to all keys at once, or to one.
//!
//! # What it does not protect against
//!
//! - It does not end calls: put a timeout *inside* the breaker (between it and the dependency), where the
//!   breaker sees the timeout as a failure. Around the breaker a timeout is a cancelled call, which counts
//!   for nothing unless [`cancelled`](BreakerBuilder::cancelled) says so.
//! - It does not limit how many calls are in flight while it is closed: that is a bulkhead's work.
//! - The state is of this process. Ten instances find out ten times that a dependency is down.
//! - One circuit for many backends opens for all of them when one is down; give each its own.
//! - A caller's fault that the dependency calls its own: a gRPC server that answers `INTERNAL` to a message it cannot
//!   decode can be made to by anybody. One's own [`classify`](CircuitBreakerLayer::classify) may know better.
//! - gRPC-Web hides its trailers in the body, where they are not looked for.
//!
//! # Features
//!
//! | feature | adds |
//! | --- | --- |
//! | `http` (default) | [`CircuitBreakerLayer`], for HTTP and gRPC |
//! | `handle` | [`Breaker`] and [`PlainCircuitBreakerLayer`], for anything else |

#[cfg(feature = "http")]
mod body;
#[cfg(feature = "handle")]
mod breaker;
#[cfg(feature = "handle")]
mod config;
#[doc(hidden)]
pub mod engine;
#[cfg(feature = "http")]
mod future;
#[cfg(feature = "handle")]
mod keyed;
#[cfg(feature = "http")]
mod layer;
#[cfg(feature = "handle")]
mod pass;
#[cfg(feature = "handle")]
mod plain;
#[cfg(feature = "handle")]
mod policy;
#[cfg(feature = "handle")]
mod readiness;
#[cfg(feature = "handle")]
mod seat;
#[cfg(feature = "http")]
mod service;
#[cfg(feature = "handle")]
mod waiters;

#[cfg(feature = "http")]
pub use body::ResponseBody;
#[cfg(feature = "handle")]
pub use breaker::Breaker;
#[cfg(feature = "handle")]
pub use config::{BreakerBuilder, Cancelled, ConfigError, Window};
pub use engine::{CountsAs, End};
#[cfg(feature = "http")]
pub use future::ResponseFuture;
#[cfg(feature = "http")]
pub use keyed::{
    AuthorityLike, EndpointLike, FindKey, Head, KeyedCircuitBreaker, KeyedCircuitBreakerLayer,
    by_authority, by_method_and_path,
};
#[cfg(feature = "handle")]
pub use keyed::{KeyLike, KeyedBreaker, KeyedBuilder};
#[cfg(feature = "http")]
pub use layer::CircuitBreakerLayer;
#[cfg(feature = "handle")]
pub use pass::Pass;
#[cfg(feature = "handle")]
pub use plain::{PlainCircuitBreaker, PlainCircuitBreakerLayer, PlainResponseFuture};
#[cfg(feature = "handle")]
pub use policy::{ErrorsAreFailures, JudgeResult, RefusalsAreNeutral};
#[cfg(feature = "http")]
pub use policy::{JudgeError, LooksIntoBoxes};
#[cfg(feature = "http")]
pub use service::CircuitBreaker;
