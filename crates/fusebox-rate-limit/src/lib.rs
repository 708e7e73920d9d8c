//! fusebox rate limit
pub mod engine;
mod sync;

pub use engine::quota::{Quota, QuotaError};
