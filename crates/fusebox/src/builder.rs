use tower::ServiceBuilder;
#[cfg(feature = "bulkhead")]
use {fusebox_bulkhead::BulkheadLayer, fusebox_bulkhead::Compartment, tower_layer::Stack};

/// Adds the fusebox layers to [`tower::ServiceBuilder`].
///
/// Each method takes the layer's handle by reference: the handle stays with whoever reads and steers it,
/// and every service that is built shares its state.
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
    /// Puts the service into a compartment; see [`bulkhead`](crate::bulkhead).
    #[cfg(feature = "bulkhead")]
    fn bulkhead(self, compartment: &Compartment) -> ServiceBuilder<Stack<BulkheadLayer, L>>;
}

impl<L> ServiceBuilderExt<L> for ServiceBuilder<L> {
    #[cfg(feature = "bulkhead")]
    fn bulkhead(self, compartment: &Compartment) -> ServiceBuilder<Stack<BulkheadLayer, L>> {
        self.layer(compartment.layer())
    }
}

mod sealed {
    /// Only `ServiceBuilder` has it, so a new layer may add a method here without breaking anybody.
    pub trait Sealed {}

    impl<L> Sealed for tower::ServiceBuilder<L> {}
}
