use std::sync::Arc;

use fusebox_http::{Classify, Respond};
use tower_layer::Layer;

use crate::{Bulkhead, Compartment};

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
#[derive(Clone, Debug)]
pub struct BulkheadLayer {
    compartment: Compartment,
    custom: Custom,
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
            custom: Custom::default(),
        }
    }
}

impl BulkheadLayer {
    /// Answers refusals with responses of one's own;
    /// [`standard_response`](fusebox_http::standard_response) unless set.
    #[must_use]
    pub fn respond(mut self, respond: Arc<dyn Respond>) -> Self {
        self.custom.respond = Some(respond);
        self
    }

    /// Judges the inner service's answers by rules of one's own;
    /// [`Standard`](fusebox_http::Standard) unless set. A bulkhead only counts the outcomes.
    #[must_use]
    pub fn classify(mut self, classify: Arc<dyn Classify>) -> Self {
        self.custom.classify = Some(classify);
        self
    }
}

impl<S> Layer<S> for BulkheadLayer {
    type Service = Bulkhead<S>;

    fn layer(&self, inner: S) -> Bulkhead<S> {
        Bulkhead::new(inner, self.compartment.clone(), self.custom.clone())
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
