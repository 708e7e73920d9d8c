//! Compartments for tower services.

#[cfg(feature = "tower")]
mod backpressure;
#[cfg(feature = "http")]
mod body;
#[cfg(feature = "tower")]
mod call;
#[cfg(feature = "tower")]
mod compartment;
#[cfg(feature = "tower")]
mod config;
#[cfg(feature = "connections")]
pub mod connections;
pub mod engine;
#[cfg(feature = "http")]
pub mod future;
#[cfg(feature = "tower")]
mod key;
#[cfg(feature = "http")]
mod layer;
#[cfg(feature = "tower")]
pub mod plain;
#[cfg(feature = "http")]
mod service;
#[cfg(feature = "tower")]
mod slot;
#[cfg(feature = "tower")]
mod snapshot;
#[cfg(feature = "threads")]
pub mod threads;
#[cfg(feature = "tower")]
mod waiting;

#[cfg(feature = "tower")]
pub use {
    backpressure::{Backpressure, BackpressureLayer},
    compartment::Compartment,
    config::{CompartmentBuilder, ConfigError, HoldUntil},
    engine::QueueOrder,
    key::{Everyone, Key, KeyOf, Whose},
    plain::{PlainBulkhead, PlainBulkheadLayer},
    slot::Slot,
    snapshot::{CompartmentSnapshot, KeysSnapshot},
};
#[cfg(feature = "http")]
pub use {body::ResponseBody, layer::BulkheadLayer, service::Bulkhead};
