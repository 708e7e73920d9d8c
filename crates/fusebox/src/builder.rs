use tower::ServiceBuilder;
#[cfg(any(
    feature = "blackhole",
    feature = "bulkhead",
    feature = "circuit-breaker",
    feature = "rate-limit",
    feature = "waf"
))]
use tower_layer::Stack;

#[cfg(feature = "blackhole")]
use crate::blackhole::BlackholeLayer;
#[cfg(feature = "bulkhead")]
use crate::bulkhead::{BulkheadLayer, Compartment};
#[cfg(feature = "circuit-breaker")]
use crate::circuit_breaker::{Breaker, CircuitBreakerLayer};
#[cfg(feature = "rate-limit")]
use crate::rate_limit::RateLimitLayer;
#[cfg(feature = "waf")]
use crate::waf::WafLayer;

/// Adds the fusebox layers to [`tower::ServiceBuilder`].
///
/// A layer that its handle describes wholly is added by the handle, which stays with whoever reads and
/// steers it; every service that is built shares its state.
///
/// ```
/// use fusebox::prelude::*;
/// use tower::ServiceBuilder;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let payments = Compartment::builder("payments").slots(20).build()?;
/// let stack = ServiceBuilder::new().bulkhead(&payments);
/// # let _ = stack;
/// # Ok(())
/// # }
/// ```
pub trait ServiceBuilderExt<L>: sealed::Sealed + Sized {
    /// Lets peers that misbehave vanish; see [`blackhole`](crate::blackhole).
    ///
    /// Takes the layer: what counts as a strike is its business, and one jail may have several.
    #[cfg(feature = "blackhole")]
    fn blackhole(self, layer: BlackholeLayer) -> ServiceBuilder<Stack<BlackholeLayer, L>>;

    /// Puts the service into a compartment; see [`bulkhead`](crate::bulkhead).
    #[cfg(feature = "bulkhead")]
    fn bulkhead(self, compartment: &Compartment) -> ServiceBuilder<Stack<BulkheadLayer, L>>;

    /// Leaves the service alone while it is down; see [`circuit_breaker`](crate::circuit_breaker).
    #[cfg(feature = "circuit-breaker")]
    fn circuit_breaker(self, breaker: &Breaker) -> ServiceBuilder<Stack<CircuitBreakerLayer, L>>;

    /// Counts what each client spends; see [`rate_limit`](crate::rate_limit).
    ///
    /// Takes the layer, not the handle: who counts as a client is the layer's business, and one limiter
    /// may stand in several places. Not called `rate_limit`, because `ServiceBuilder` has a method of that
    /// name as soon as anyone in the build turns tower's feature `limit` on, and it would win.
    #[cfg(feature = "rate-limit")]
    fn quota<S>(self, layer: RateLimitLayer<S>) -> ServiceBuilder<Stack<RateLimitLayer<S>, L>>;

    /// Looks for attacks; see [`waf`](crate::waf).
    ///
    /// Takes the layer: how refusals are answered is its business, and one rule set may stand in several places.
    #[cfg(feature = "waf")]
    fn waf(self, layer: WafLayer) -> ServiceBuilder<Stack<WafLayer, L>>;
}

impl<L> ServiceBuilderExt<L> for ServiceBuilder<L> {
    #[cfg(feature = "blackhole")]
    fn blackhole(self, layer: BlackholeLayer) -> ServiceBuilder<Stack<BlackholeLayer, L>> {
        self.layer(layer)
    }

    #[cfg(feature = "bulkhead")]
    fn bulkhead(self, compartment: &Compartment) -> ServiceBuilder<Stack<BulkheadLayer, L>> {
        self.layer(compartment.layer())
    }

    #[cfg(feature = "circuit-breaker")]
    fn circuit_breaker(self, breaker: &Breaker) -> ServiceBuilder<Stack<CircuitBreakerLayer, L>> {
        self.layer(breaker.layer())
    }

    #[cfg(feature = "rate-limit")]
    fn quota<S>(self, layer: RateLimitLayer<S>) -> ServiceBuilder<Stack<RateLimitLayer<S>, L>> {
        self.layer(layer)
    }

    #[cfg(feature = "waf")]
    fn waf(self, layer: WafLayer) -> ServiceBuilder<Stack<WafLayer, L>> {
        self.layer(layer)
    }
}

mod sealed {
    /// Only `ServiceBuilder` has it, so a new layer may add a method here without breaking anybody.
    pub trait Sealed {}

    impl<L> Sealed for tower::ServiceBuilder<L> {}
}
