//! fusebox bulkhead
#[cfg(feature = "threads")]
pub mod threads;
