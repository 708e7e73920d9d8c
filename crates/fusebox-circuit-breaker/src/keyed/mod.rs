//! One circuit per key: per authority, per endpoint, per whatever a closure says.

mod breakers;
#[cfg(feature = "http")]
mod head;
#[cfg(feature = "http")]
mod layer;
mod like;
mod map;

pub use breakers::{KeyedBreaker, KeyedBuilder};
#[cfg(feature = "http")]
pub use head::{AuthorityLike, EndpointLike, FindKey, Head, by_authority, by_method_and_path};
#[cfg(feature = "http")]
pub use layer::{KeyedCircuitBreaker, KeyedCircuitBreakerLayer};
pub use like::KeyLike;
