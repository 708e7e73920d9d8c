//! Whole stacks on real axum, tonic and hyper.
//!
//! What the tests share: servers on loopback, a client whose connection a test can hold on to or cut,
//! and waiting that is bounded. Nothing waits for time to pass; [`PATIENCE`] turns a hang into a
//! failure.

mod client;
mod server;
mod wait;

pub use client::Connection;
pub use server::Server;
pub use wait::{PATIENCE, until, within};
