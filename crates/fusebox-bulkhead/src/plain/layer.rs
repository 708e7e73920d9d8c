use tower_layer::Layer;

use crate::{Compartment, ConfigError, Everyone, plain::PlainBulkhead};

/// Puts services of any kind into a compartment. Made by [`Compartment::plain_layer`].
///
/// A call is over when its future is ready or dropped. A refusal is
/// [`CallError::Rejected`](fusebox_core::CallError::Rejected); the inner service's own errors are
/// [`CallError::Inner`](fusebox_core::CallError::Inner).
///
/// ```
/// use std::convert::Infallible;
/// use fusebox_bulkhead::Compartment;
/// use fusebox_core::CallError;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// async fn double(number: u32) -> Result<u32, Infallible> {
///     Ok(number * 2)
/// }
///
/// let reports = Compartment::builder("reports").slots(1).build()?;
/// let service = ServiceBuilder::new().layer(reports.plain_layer()).service(service_fn(double));
///
/// assert_eq!(service.clone().oneshot(21).await, Ok(42));
///
/// let taken = reports.try_acquire()?;
/// assert!(matches!(service.oneshot(21).await, Err(CallError::Rejected(_))));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PlainBulkheadLayer<K = Everyone> {
    compartment: Compartment,
    key: K,
    keyed: bool,
}

impl Compartment {
    /// A layer that puts services of any kind into this compartment.
    #[must_use]
    pub fn plain_layer(&self) -> PlainBulkheadLayer {
        PlainBulkheadLayer {
            compartment: self.clone(),
            key: Everyone,
            keyed: false,
        }
    }
}

impl<K> PlainBulkheadLayer<K> {
    /// Says whose a request is, so that nobody holds more than
    /// [`slots_per_key`](crate::CompartmentBuilder::slots_per_key).
    ///
    /// # Errors
    /// [`ConfigError::Without`] when the compartment is not divided.
    pub fn by_key<F>(self, key: F) -> Result<PlainBulkheadLayer<F>, ConfigError> {
        if !self.compartment.has_shares() {
            return Err(ConfigError::Without {
                field: "by_key",
                needs: "slots_per_key",
            });
        }
        Ok(PlainBulkheadLayer {
            compartment: self.compartment,
            key,
            keyed: true,
        })
    }
}

impl<S, K: Clone> Layer<S> for PlainBulkheadLayer<K> {
    type Service = PlainBulkhead<S, K>;

    fn layer(&self, inner: S) -> PlainBulkhead<S, K> {
        if !self.keyed {
            self.compartment.is_used_without_keys();
        }
        PlainBulkhead {
            compartment: self.compartment.clone(),
            inner,
            key: self.key.clone(),
        }
    }
}

impl<K> std::fmt::Debug for PlainBulkheadLayer<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlainBulkheadLayer")
            .field("compartment", &self.compartment)
            .finish_non_exhaustive()
    }
}
