//! What most stacks need: `use fusebox::prelude::*`.
//!
//! Handles and layers by their own names, the extension of [`tower::ServiceBuilder`], and the words that
//! appear in every layer's settings. Everything else is in its module.

pub use crate::identity::{IdentityConfig, IdentityResolver};
pub use crate::{CallError, Live, Mode, Registry, Rejection, RejectionKind, ServiceBuilderExt};

#[cfg(feature = "blackhole")]
pub use fusebox_blackhole::{BlackholeConfig, BlackholeLayer, Jail, JailConfig};
#[cfg(feature = "bulkhead")]
pub use fusebox_bulkhead::{BulkheadLayer, Compartment};
#[cfg(feature = "circuit-breaker")]
pub use fusebox_circuit_breaker::{Breaker, CircuitBreakerLayer};
#[cfg(feature = "rate-limit")]
pub use fusebox_rate_limit::{Policy, Quota, RateLimitLayer, RateLimiter};
#[cfg(feature = "waf")]
pub use fusebox_waf::{Ruleset, WafLayer};
