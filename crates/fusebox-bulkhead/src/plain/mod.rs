//! The flavour for any `Service<Request>`: requests and responses are opaque, a refusal is an error.

pub(crate) mod future;
mod layer;
mod service;

pub use self::{future::ResponseFuture, layer::PlainBulkheadLayer, service::PlainBulkhead};
