//! The atomics and locks of the engines: std's, or loom's when models are checked.
//!
//! `--cfg fusebox_loom` and not `--cfg loom`: tokio and others react to the latter and then miss
//! their own test dependencies.

#[cfg(not(fusebox_loom))]
pub use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};

#[cfg(fusebox_loom)]
pub use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};

/// Locks, and takes what a panicking holder left.
///
/// Every user of it restores its invariants before it can panic, so a poisoned lock holds sound data;
/// refusing to go on would let one panic close a compartment for ever.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
