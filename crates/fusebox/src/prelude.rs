//! What most stacks need: `use fusebox::prelude::*`.
//!
//! Handles and layers by their own names, the extension of [`tower::ServiceBuilder`], and the words that
//! appear in every layer's settings. Everything else is in its module.

pub use crate::{Live, Mode, Registry, Rejection, RejectionKind, ServiceBuilderExt};

#[cfg(feature = "bulkhead")]
pub use fusebox_bulkhead::{BulkheadLayer, Compartment};
