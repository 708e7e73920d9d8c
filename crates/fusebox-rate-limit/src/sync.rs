//! The fence of the model checker, or std's; the rest is in `fusebox_core::sync`.

#[cfg(not(fusebox_loom))]
pub(crate) use std::sync::atomic::fence;

#[cfg(fusebox_loom)]
pub(crate) use loom::sync::atomic::fence;
