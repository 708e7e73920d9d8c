use std::marker::PhantomData;

use tower_layer::Layer;

use super::{
    PlainBulkhead,
    place::{Anywhere, Local, can_be_local},
};
use crate::{Compartment, ConfigError, Everyone};

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
pub struct PlainBulkheadLayer<K = Everyone, W = Anywhere> {
    compartment: Compartment,
    key: K,
    keyed: bool,
    place: PhantomData<fn() -> W>,
}

impl<K: Clone, W> Clone for PlainBulkheadLayer<K, W> {
    fn clone(&self) -> Self {
        Self {
            compartment: self.compartment.clone(),
            key: self.key.clone(),
            keyed: self.keyed,
            place: PhantomData,
        }
    }
}

impl Compartment {
    /// A layer that puts services of any kind into this compartment.
    #[must_use]
    pub fn plain_layer(&self) -> PlainBulkheadLayer {
        PlainBulkheadLayer {
            compartment: self.clone(),
            key: Everyone,
            keyed: false,
            place: PhantomData,
        }
    }
}

impl<K, W> PlainBulkheadLayer<K, W> {
    /// Says whose a request is, so that nobody holds more than
    /// [`slots_per_key`](crate::CompartmentBuilder::slots_per_key).
    ///
    /// # Errors
    /// [`ConfigError::Without`] when the compartment is not divided.
    pub fn by_key<F>(self, key: F) -> Result<PlainBulkheadLayer<F, W>, ConfigError> {
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
            place: PhantomData,
        })
    }

    /// Runs calls where they are polled, and asks nothing of a service but that it is `Clone`: it may be bound to its
    /// thread, and requests may borrow.
    ///
    /// A service that is not `Clone` either has a place in the
    /// [backpressure flavour](Compartment::backpressure_layer).
    ///
    /// # Errors
    /// [`ConfigError::Conflict`] when the compartment has threads of its own.
    ///
    /// ```
    /// use std::{convert::Infallible, rc::Rc};
    /// use fusebox_bulkhead::Compartment;
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let reports = Compartment::builder("reports").slots(1).build()?;
    /// let of_this_thread = Rc::new(2);
    /// let service = ServiceBuilder::new()
    ///     .layer(reports.plain_layer().local()?)
    ///     .service(service_fn(move |number: &u32| {
    ///         let product = number * *of_this_thread;
    ///         async move { Ok::<_, Infallible>(product) }
    ///     }));
    /// assert_eq!(service.oneshot(&21).await, Ok(42));
    /// # Ok(())
    /// # }
    /// ```
    pub fn local(self) -> Result<PlainBulkheadLayer<K, Local>, ConfigError> {
        can_be_local(&self.compartment)?;
        Ok(PlainBulkheadLayer {
            compartment: self.compartment,
            key: self.key,
            keyed: self.keyed,
            place: PhantomData,
        })
    }
}

impl<S, K: Clone, W> Layer<S> for PlainBulkheadLayer<K, W> {
    type Service = PlainBulkhead<S, K, W>;

    fn layer(&self, inner: S) -> PlainBulkhead<S, K, W> {
        if !self.keyed {
            self.compartment.is_used_without_keys();
        }
        PlainBulkhead {
            compartment: self.compartment.clone(),
            inner,
            key: self.key.clone(),
            place: PhantomData,
        }
    }
}

impl<K, W> std::fmt::Debug for PlainBulkheadLayer<K, W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlainBulkheadLayer")
            .field("compartment", &self.compartment)
            .finish_non_exhaustive()
    }
}
