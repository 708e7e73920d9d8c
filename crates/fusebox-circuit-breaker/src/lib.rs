//! crate docs
#[doc(hidden)]
pub mod engine;
