//! Threads that belong to one compartment: its calls, their response bodies and its blocking work run
//! there and nowhere else.
//!
//! A limit on calls in flight is no help against calls that compute: on shared threads a handful of
//! them keep every other call waiting for a turn. [`Threads`] is a tokio runtime of the compartment's
//! own, so the operating system shares the processors out. With [`nice`](ThreadSettings::nice) it is told
//! whose turn matters less, and with [`processors`](ThreadSettings::processors) who has none on which.
//!
//! | what | runs over there as | and comes back as |
//! | --- | --- | --- |
//! | a future | [`Threads::spawn`] | [`Task`] |
//! | a synchronous function | [`Threads::spawn_blocking`] | [`Task`] |
//! | a response body | [`Threads::body`] | [`RemoteBody`] |
//!
//! A panic over there comes back as [`Lost::Panicked`]; the threads live on.

mod body;
mod complaint;
mod handover;
mod pool;
mod priority;
mod processors;
mod settings;
mod task;
#[cfg(test)]
mod testing;

pub use body::{BodyError, RemoteBody};
pub use pool::Threads;
pub use processors::Processors;
pub use settings::{StartError, ThreadSettings};
pub use task::{Lost, Task};
