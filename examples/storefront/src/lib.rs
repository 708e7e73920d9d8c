//! A small shop back end whose payments stay fast while its analytics burns.
//!
//! Run it with `cargo run --release -p storefront`, and see it under fire with
//! `cargo run --release -p storefront -- storm`.

pub mod analytics;
pub mod app;
pub mod cli;
pub mod compartments;
pub mod db;
pub mod edge;
pub mod jobs;
pub mod payments;
pub mod problem;
pub mod serve;
mod signals;
pub mod storm;
