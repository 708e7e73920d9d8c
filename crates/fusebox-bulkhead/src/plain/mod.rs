//! The flavour for any `Service<Request>`: requests and responses are opaque, a refusal is an error.

pub(crate) mod future;
mod layer;
pub(crate) mod place;
mod service;

pub use self::{
    future::ResponseFuture,
    layer::PlainBulkheadLayer,
    place::{Anywhere, Local},
    service::PlainBulkhead,
};
