//! Rate limits by client: a bounded, lock-free table of quotas, and every answer on the wire.
//!
//! [`RateLimiter`] is the limiter: it shows what it does, can be steered while traffic flows, and decides
//! for anyone who asks. [`RateLimitLayer`] puts it in front of HTTP and gRPC services,
//! [`PlainRateLimitLayer`] in front of any other, or behind a client that wants to stay within someone
//! else's limit.
//!
//! ```
//! use fusebox_http::identity::IdentityConfig;
//! use fusebox_rate_limit::{Algorithm, KeyBy, Policy, Quota, QuotaHeaders, RateLimiter};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let limiter = RateLimiter::builder("api")
//!     // Twenty per second, forty at once, and no more than ten thousand a day: both or neither.
//!     .policy(Policy::new("burst", Quota::per_second(20).burst(40)))
//!     .policy(Policy::new("daily", Quota::per_day(10_000)).algorithm(Algorithm::SlidingWindow))
//!     .capacity(200_000)
//!     .build()?;
//!
//! // Who is calling, behind a proxy that appends to X-Forwarded-For.
//! let clients = IdentityConfig::new().trusted_proxies(["10.0.12.0/24"]).build()?;
//! let layer = limiter
//!     .layer()
//!     .keyed_by(KeyBy::Client(clients))
//!     .quota_headers(QuotaHeaders::Draft11);
//! # let _ = layer;
//! # Ok(())
//! # }
//! ```
//!
//! # What it promises
//! - **Bounds** of each algorithm over any stretch of time: see [`engine`]. All of them hold across threads, evictions,
//!   refunds, penalties, changes of a quota (which keep what clients have spent), and while the clock stands. A refund
//!   adds what it gives back, never above a full quota; a key that has to share gets only what time has not given back
//!   already.
//! - **Memory**: 16 bytes for each active key a policy has room for ([`RateLimiterBuilder::capacity`]), allocated when it is
//!   built; 24 for a sliding window. No number of keys makes it grow, and no number of keys gets anyone a fresh quota: see
//!   [`MemoryStore`](store::MemoryStore).
//! - **Cost**: an admission with one policy is one cache line, one compare-and-swap, one look at the clock, no
//!   allocation and no lock. The answer is passed on as it is, unless somebody
//!   [follows](RateLimiterBuilder::measure_latency) calls to their end or settles them. With several policies each of
//!   them is a line of its own, and all but one are looked at twice.
//! - **All or nothing**: a request spends in all policies of its tier or in none, also where they count under
//!   [different keys](Policy::keyed_by).
//!
//! # What it does not protect against
//! - Many clients at once: each within its quota, together too many. A quota that all share
//!   ([`KeyBy::Shared`]) or a bulkhead does.
//! - Clients that are many by themselves: whoever has a /48 of IPv6 has 65,536 networks, and whoever has a
//!   botnet has its addresses. Account quotas ([`KeyBy::Header`] behind the check of the key) count those as one.
//! - Slow requests: what they cost is counted when they begin. Give them a [cost](RateLimitLayer::cost_by) or
//!   [settle](RateLimitLayer::settle_by) them.
//! - Other processes: each counts for itself. Behind a balancer of `n` processes a client has up to `n` quotas,
//!   unless the [store](store::QuotaStore) is shared.
//! - Restarts: the memory forgets, and everybody begins with a full quota.
//!
//! # What must be true of the deployment
//! The key must name the client: behind a proxy, the peer's address names the proxy. And what a key is made
//! of must be checked before it counts: a client that invents API keys invents quotas.
//!
//! # Features
//!
//! | feature | adds |
//! | --- | --- |
//! | `layer` (default) | the handle and the layers; without it: the engines and the table alone |
//! | `tracing` | every event is also a `tracing` event with the target `fusebox` |

#[cfg(feature = "layer")]
mod body;
#[cfg(feature = "layer")]
mod call;
#[cfg(feature = "layer")]
mod charge;
#[cfg(feature = "layer")]
mod config;
pub mod engine;
#[cfg(feature = "layer")]
mod future;
#[cfg(feature = "layer")]
mod headers;
#[cfg(feature = "layer")]
mod heed;
#[cfg(feature = "layer")]
mod layer;
#[cfg(feature = "layer")]
mod limiter;
#[cfg(feature = "layer")]
mod plain;
#[cfg(feature = "layer")]
mod policies;
#[cfg(feature = "layer")]
mod policy;
#[cfg(feature = "layer")]
mod refusal;
#[cfg(feature = "layer")]
mod service;
pub mod store;
#[cfg(feature = "layer")]
mod template;
#[cfg(feature = "layer")]
mod waiting;

#[cfg(feature = "layer")]
pub use body::ResponseBody;
#[cfg(feature = "layer")]
pub use config::{ConfigError, Policy, RateLimiterBuilder};
pub use engine::Algorithm;
pub use engine::quota::{Quota, QuotaError};
#[cfg(feature = "layer")]
pub use future::ResponseFuture;
#[cfg(feature = "layer")]
pub use headers::QuotaHeaders;
#[cfg(feature = "layer")]
pub use heed::rest_asked;
#[cfg(feature = "layer")]
pub use layer::RateLimitLayer;
#[cfg(feature = "layer")]
pub use limiter::{Ask, RateLimiter, Reservation, Tier};
#[cfg(feature = "layer")]
pub use plain::{PlainFuture, PlainRateLimit, PlainRateLimitLayer};
#[cfg(feature = "layer")]
pub use policy::{Ended, Found, Head, KeyBy, KeyOf, Worth};
#[cfg(feature = "layer")]
pub use service::RateLimit;
pub use store::{Key, Overflow};
