use std::sync::Arc;

use fusebox_http::{Classify, Respond};
use tower_layer::Layer;

use crate::{Bulkhead, Compartment, ConfigError, Everyone};

/// Puts HTTP and gRPC services into a compartment. Made by [`Compartment::layer`].
///
/// Every service it makes, and every clone of those, shares the one compartment. Errors stay the inner
/// service's own: a refusal is a response, marked with a [`Rejection`](fusebox_core::Rejection) in its
/// extensions.
///
/// ```
/// use std::convert::Infallible;
/// use bytes::Bytes;
/// use fusebox_bulkhead::Compartment;
/// use http::{Request, Response};
/// use http_body_util::Full;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// async fn pay(_: Request<()>) -> Result<Response<Full<Bytes>>, Infallible> {
///     Ok(Response::new(Full::from("paid")))
/// }
///
/// let payments = Compartment::builder("payments").slots(1).build()?;
/// let service = ServiceBuilder::new().layer(payments.layer()).service(service_fn(pay));
///
/// let first = service.clone().oneshot(Request::new(())).await?;
/// assert_eq!(first.status(), 200);
///
/// // Its body has not been read yet, so the only slot is taken.
/// let second = service.clone().oneshot(Request::new(())).await?;
/// assert_eq!(second.status(), 503);
///
/// drop(first);
/// let third = service.oneshot(Request::new(())).await?;
/// assert_eq!(third.status(), 200);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct BulkheadLayer<K = Everyone> {
    compartment: Compartment,
    custom: Option<Arc<Custom>>,
    key: K,
    keyed: bool,
}

/// What a user has set otherwise than usual; usually nothing.
#[derive(Clone, Default)]
pub(crate) struct Custom {
    pub(crate) respond: Option<Arc<dyn Respond>>,
    pub(crate) classify: Option<Arc<dyn Classify>>,
}

impl Compartment {
    /// A layer that puts HTTP and gRPC services into this compartment.
    #[must_use]
    pub fn layer(&self) -> BulkheadLayer {
        BulkheadLayer {
            compartment: self.clone(),
            custom: None,
            key: Everyone,
            keyed: false,
        }
    }
}

impl<K> BulkheadLayer<K> {
    /// Says whose a request is, so that nobody holds more than
    /// [`slots_per_key`](crate::CompartmentBuilder::slots_per_key).
    ///
    /// A key has to be something that a client cannot choose: who invents a new tenant with each request gets a new
    /// share with each. Take what was authenticated, or where the request comes from.
    ///
    /// # Errors
    /// [`ConfigError::Without`] when the compartment is not divided.
    ///
    /// ```
    /// use fusebox_bulkhead::{Compartment, Key};
    /// use fusebox_http::identity::IdentityResolver;
    /// use http::Request;
    ///
    /// let clients = Compartment::builder("clients").slots(100).slots_per_key(10).build()?;
    /// let resolver = IdentityResolver::peer_only();
    /// let layer = clients.layer().by_key(move |request: &Request<String>| {
    ///     resolver.key(request.headers(), request.extensions()).map(|key| Key::of(&key))
    /// })?;
    /// # let _ = layer;
    /// # Ok::<(), fusebox_bulkhead::ConfigError>(())
    /// ```
    pub fn by_key<F>(self, key: F) -> Result<BulkheadLayer<F>, ConfigError> {
        if !self.compartment.has_shares() {
            return Err(ConfigError::Without {
                field: "by_key",
                needs: "slots_per_key",
            });
        }
        Ok(BulkheadLayer {
            compartment: self.compartment,
            custom: self.custom,
            key,
            keyed: true,
        })
    }

    /// Answers refusals with responses of one's own;
    /// [`standard_response`](fusebox_http::standard_response) unless set.
    #[must_use]
    pub fn respond(mut self, respond: Arc<dyn Respond>) -> Self {
        self.custom().respond = Some(respond);
        self
    }

    /// Judges the inner service's answers by rules of one's own;
    /// [`Standard`](fusebox_http::Standard) unless set. A bulkhead only counts the outcomes.
    #[must_use]
    pub fn classify(mut self, classify: Arc<dyn Classify>) -> Self {
        self.custom().classify = Some(classify);
        self
    }
}

impl<K> BulkheadLayer<K> {
    fn custom(&mut self) -> &mut Custom {
        Arc::make_mut(self.custom.get_or_insert_default())
    }
}

impl<S, K: Clone> Layer<S> for BulkheadLayer<K> {
    type Service = Bulkhead<S, K>;

    fn layer(&self, inner: S) -> Bulkhead<S, K> {
        if !self.keyed {
            self.compartment.is_used_without_keys();
        }
        Bulkhead {
            inner,
            compartment: self.compartment.clone(),
            custom: self.custom.clone(),
            key: self.key.clone(),
        }
    }
}

impl<K> std::fmt::Debug for BulkheadLayer<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BulkheadLayer")
            .field("compartment", &self.compartment)
            .field("custom", &self.custom)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Custom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Custom")
            .field("respond", &self.respond.is_some())
            .field("classify", &self.classify.is_some())
            .finish()
    }
}
