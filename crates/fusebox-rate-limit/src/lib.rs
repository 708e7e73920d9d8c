//! fusebox rate limit
pub mod engine;
#[cfg(feature = "layer")]
mod config;
#[cfg(feature = "layer")]
mod limiter;
#[cfg(feature = "layer")]
mod policies;
pub mod store;
mod sync;

pub use engine::quota::{Quota, QuotaError};

pub use store::Key;
#[cfg(feature = "layer")]
pub use config::{Algorithm, ConfigError, Policy, RateLimiterBuilder};
#[cfg(feature = "layer")]
pub use limiter::{Ask, RateLimiter, Reservation, Tier};
