//! The breaker for services that know no HTTP: any `Service<Request>`.

mod future;
mod layer;
mod service;

pub use future::PlainResponseFuture;
pub use layer::PlainCircuitBreakerLayer;
pub use service::PlainCircuitBreaker;
