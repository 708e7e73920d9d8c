use std::path::Path;
use std::sync::Arc;

use fusebox_http::{Classify, Respond};
use tower_layer::Layer;

use crate::refusal::Own;
use crate::{ConfigError, RespondToRefusal, Ruleset, Waf};

/// Inspects HTTP requests, and responses if asked for, by the rules of a [`Ruleset`].
///
/// Every service it makes, and every clone of those, shares the one handle. Errors stay the inner service's own: a refusal is a
/// response (403 or the rule's status, or gRPC `PERMISSION_DENIED`), marked with a [`Rejection`](fusebox_core::Rejection) in its
/// extensions.
///
/// ```
/// use std::convert::Infallible;
/// use bytes::Bytes;
/// use fusebox_waf::{InspectedBody, WafLayer};
/// use http::{Request, Response};
/// use http_body_util::Full;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// async fn search(_: Request<InspectedBody<Full<Bytes>>>) -> Result<Response<Full<Bytes>>, Infallible> {
///     Ok(Response::new(Full::from("found")))
/// }
///
/// let service = ServiceBuilder::new().layer(WafLayer::core()?).service(service_fn(search));
///
/// let get = |uri: &str| {
///     Request::builder()
///         .uri(uri)
///         .header("host", "shop.example")
///         .header("user-agent", "Mozilla/5.0")
///         .header("accept", "*/*")
///         .body(Full::<Bytes>::default())
/// };
/// let answer = service.clone().oneshot(get("/search?q=red+shoes")?).await?;
/// assert_eq!(answer.status(), 200);
/// let attack = service.oneshot(get("/search?q=1'+union+select+password+from+users--")?).await?;
/// assert_eq!(attack.status(), 403);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct WafLayer {
    rules: Ruleset,
    custom: Option<Arc<Custom>>,
}

/// What a user has set otherwise than usual; usually nothing.
#[derive(Clone, Default)]
pub(crate) struct Custom {
    pub(crate) respond: Option<Own>,
    pub(crate) classify: Option<Arc<dyn Classify>>,
}

impl WafLayer {
    /// A layer with these rules; the handle stays with whoever reads and steers it.
    #[must_use]
    pub const fn new(rules: Ruleset) -> Self {
        Self {
            rules,
            custom: None,
        }
    }

    /// A layer with fusebox's own rules and the usual settings; see [`core`](crate::core). The handle is
    /// [`ruleset`](Self::ruleset).
    ///
    /// # Errors
    /// None: that the built-in rules compile is tested. The type is that of every other way to a layer.
    pub fn core() -> Result<Self, ConfigError> {
        Ok(Ruleset::builder("core").core().build()?.layer())
    }

    /// A layer with the OWASP Core Rule Set in this folder and the usual settings.
    ///
    /// # Errors
    /// [`ConfigError::Rules`] if the folder cannot be read or a rule in it does not compile.
    pub fn crs(folder: impl AsRef<Path>) -> Result<Self, ConfigError> {
        Ok(Ruleset::builder("crs").crs(folder).build()?.layer())
    }

    /// The handle of its rules.
    #[must_use]
    pub const fn ruleset(&self) -> &Ruleset {
        &self.rules
    }

    /// Answers refusals with responses of one's own, unless set a problem document (RFC 9457) with the id of the request.
    #[must_use]
    pub fn respond(mut self, respond: Arc<dyn Respond>) -> Self {
        self.custom().respond = Some(Own::Any(respond));
        self
    }

    /// The same, by somebody who is told the id of the request, the rule's status and where it redirects to. Takes the place of
    /// [`respond`](Self::respond).
    #[must_use]
    pub fn respond_to_refusal(mut self, respond: Arc<dyn RespondToRefusal>) -> Self {
        self.custom().respond = Some(Own::Firewall(respond));
        self
    }

    /// Judges the inner service's answers by rules of one's own; [`Standard`](fusebox_http::Standard) unless set. A firewall only
    /// counts the outcomes.
    #[must_use]
    pub fn classify(mut self, classify: Arc<dyn Classify>) -> Self {
        self.custom().classify = Some(classify);
        self
    }

    fn custom(&mut self) -> &mut Custom {
        Arc::make_mut(self.custom.get_or_insert_default())
    }
}

impl<S> Layer<S> for WafLayer {
    type Service = Waf<S>;

    fn layer(&self, inner: S) -> Waf<S> {
        Waf {
            inner,
            rules: self.rules.clone(),
            custom: self.custom.clone(),
        }
    }
}

impl std::fmt::Debug for WafLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WafLayer")
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}
