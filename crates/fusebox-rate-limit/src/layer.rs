use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use fusebox_http::identity::IdentityResolver;
use fusebox_http::{Classify, Respond};
use http::Method;
use tower_layer::Layer;

use crate::headers::{QuotaHeaders, Telling};
use crate::heed::Heed;
use crate::limiter::RateLimiter;
use crate::policy::{CostOf, Exempts, Head, KeyBy, TierOf, WorthOf};
use crate::service::RateLimit;
use crate::store::{Key, MemoryStore, QuotaStore};
use crate::template::Template;
use crate::{ConfigError, Ended, Tier};

/// Limits the rate of HTTP and gRPC requests. Made by [`RateLimiter::layer`].
///
/// Every service it makes, and every clone of those, shares the one limiter. Errors stay the inner
/// service's own: a refusal is a response (429, or gRPC `RESOURCE_EXHAUSTED`) that says when to come
/// back, marked with a [`Rejection`](fusebox_core::Rejection) in its extensions.
///
/// ```
/// use std::convert::Infallible;
/// use bytes::Bytes;
/// use fusebox_http::identity::PeerAddr;
/// use fusebox_rate_limit::{Policy, Quota, QuotaHeaders, RateLimiter};
/// use http::{Request, Response};
/// use http_body_util::Full;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// async fn hello(_: Request<()>) -> Result<Response<Full<Bytes>>, Infallible> {
///     Ok(Response::new(Full::from("hello")))
/// }
///
/// let limiter = RateLimiter::builder("api")
///     .policy(Policy::new("burst", Quota::per_minute(2)))
///     .build()?;
/// let layer = limiter.layer().quota_headers(QuotaHeaders::Draft11);
/// let service = ServiceBuilder::new().layer(layer).service(service_fn(hello));
///
/// // A server inserts the peer's address; see `fusebox_http::identity`.
/// let request = || Request::builder().extension(PeerAddr(([192, 0, 2, 1], 50_312).into())).body(());
///
/// let answer = service.clone().oneshot(request()?).await?;
/// assert_eq!(answer.headers()["ratelimit"], r#""burst";r=1;t=30"#);
/// let _ = service.clone().oneshot(request()?).await?;
///
/// let refused = service.oneshot(request()?).await?;
/// assert_eq!(refused.status(), 429);
/// assert_eq!(refused.headers()["retry-after"], "30");
/// # Ok(())
/// # }
/// ```
pub struct RateLimitLayer<St = MemoryStore> {
    limiter: RateLimiter<St>,
    rules: Rules,
}

/// How requests are counted and answered.
#[derive(Clone)]
pub(crate) struct Rules {
    pub(crate) key: KeyBy,
    pub(crate) telling: Telling,
    /// What most users never set, apart from what each request reads.
    pub(crate) special: Option<Arc<Special>>,
    /// For each tier, what refusals are made from.
    pub(crate) templates: Box<[Template]>,
    /// Whether every request costs the same, is in the same tier, counts under one key, and is told nothing.
    pub(crate) usual: bool,
}

#[derive(Clone, Default)]
pub(crate) struct Special {
    pub(crate) tier: Option<TierOf>,
    pub(crate) cost: Option<CostOf>,
    pub(crate) exempts: Vec<Exempts>,
    pub(crate) exempt_methods: Vec<Method>,
    pub(crate) exempt_keys: HashSet<Key>,
    pub(crate) settles: bool,
    pub(crate) worth: Option<WorthOf>,
    pub(crate) respond: Option<Arc<dyn Respond>>,
    pub(crate) classify: Option<Arc<dyn Classify>>,
    pub(crate) heed: Option<Arc<Heed>>,
}

impl Special {
    /// Whether answers are read, by more than whoever follows a call.
    pub(crate) const fn reads(&self) -> bool {
        self.heed.is_some() || self.classify.is_some()
    }
}

impl<St: QuotaStore> RateLimiter<St> {
    /// A layer that limits HTTP and gRPC requests by the address of the peer; see
    /// [`keyed_by`](RateLimitLayer::keyed_by) for anything else.
    #[must_use]
    pub fn layer(&self) -> RateLimitLayer<St> {
        RateLimitLayer {
            limiter: self.clone(),
            rules: Rules {
                key: KeyBy::Client(IdentityResolver::peer_only()),
                telling: Telling::default(),
                special: None,
                templates: Box::default(),
                usual: false,
            },
        }
    }
}

impl<St> RateLimitLayer<St> {
    /// What requests are counted under; the peer's address unless set. Behind a proxy that is the proxy:
    /// give the resolver that knows it. Policies may have [keys of their own](crate::Policy::keyed_by).
    #[must_use]
    pub fn keyed_by(mut self, key: KeyBy) -> Self {
        self.rules.key = key;
        self
    }

    /// Whose policies apply to a request. Runs for every one.
    #[must_use]
    pub fn tier_by(self, tier: impl Fn(&Head<'_>) -> Option<Tier> + Send + Sync + 'static) -> Self {
        self.special(|special| special.tier = Some(Arc::new(tier)))
    }

    /// What a request costs; the limiter's usual cost unless set. A request that costs nothing passes uncounted.
    #[must_use]
    pub fn cost_by(self, cost: impl Fn(&Head<'_>) -> u64 + Send + Sync + 'static) -> Self {
        self.special(|special| special.cost = Some(Arc::new(cost)))
    }

    /// Lets requests with this method pass uncounted, such as `OPTIONS`.
    #[must_use]
    pub fn exempt_method(self, method: Method) -> Self {
        self.special(|special| special.exempt_methods.push(method))
    }

    /// Lets requests pass uncounted that would count under one of these keys: a monitor's address, a partner's API key.
    ///
    /// Where policies count under keys of their own, only those whose key it is do not count the request.
    ///
    /// ```
    /// # use fusebox_http::identity::IdentityResolver;
    /// # use fusebox_rate_limit::{Key, KeyBy, Policy, Quota, RateLimiter};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let limiter = RateLimiter::builder("api").policy(Policy::new("burst", Quota::per_second(20))).build()?;
    /// let clients = IdentityResolver::peer_only();
    /// let monitor = clients.key_of("192.0.2.7".parse()?).ok_or("no client's address")?;
    /// let layer = limiter
    ///     .layer()
    ///     .keyed_by(KeyBy::Client(clients))
    ///     .exempt_keys([Key::from(monitor), limiter.header_key(b"partner-1")]);
    /// # let _ = layer;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn exempt_keys(self, keys: impl IntoIterator<Item = Key>) -> Self {
        self.special(|special| special.exempt_keys.extend(keys))
    }

    /// Lets requests pass uncounted of which this is true: health checks, an operator's key.
    #[must_use]
    pub fn exempt_if(self, exempt: impl Fn(&Head<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.special(|special| special.exempts.push(Arc::new(exempt)))
    }

    /// Settles each request when it is over: it pays its cost before it is made, and the
    /// [`Worth`](crate::Worth) that the handler put into its answer in the end.
    ///
    /// Without an answer or without a word from the handler it is worth what it cost.
    #[must_use]
    pub fn settle(self) -> Self {
        self.special(|special| special.settles = true)
    }

    /// Settles each request when it is over: it pays its cost before it is made, and in the end what it
    /// was worth by this rule.
    ///
    /// ```
    /// # use fusebox_core::Outcome;
    /// # use fusebox_rate_limit::{Policy, Quota, RateLimiter};
    /// # let limiter = RateLimiter::builder("logins").policy(Policy::new("failed", Quota::per_minute(5))).build()?;
    /// // Only failed logins count; until it is known, each does.
    /// let logins = limiter.layer().settle_by(|ended| match ended.status {
    ///     Some(status) if status == 401 => ended.cost,
    ///     _ => 0,
    /// });
    /// // What the service could not do is not charged.
    /// let fair = limiter.layer().settle_by(|ended| match ended.outcome {
    ///     Outcome::Failure => 0,
    ///     _ => ended.cost,
    /// });
    /// # let _ = (logins, fair);
    /// # Ok::<(), fusebox_rate_limit::ConfigError>(())
    /// ```
    #[must_use]
    pub fn settle_by(self, worth: impl Fn(&Ended) -> u64 + Send + Sync + 'static) -> Self {
        self.special(|special| {
            special.settles = true;
            special.worth = Some(Arc::new(worth));
        })
    }

    /// Which header fields tell clients of their quotas, on success too; none unless set. `Retry-After` is sent with
    /// every refusal that has a time.
    #[must_use]
    pub const fn quota_headers(mut self, headers: QuotaHeaders) -> Self {
        self.rules.telling.quotas = headers;
        self
    }

    /// Also sends `X-RateLimit-Limit`, `-Remaining` and `-Reset` (in seconds from now), of the policy that is
    /// nearest to its end.
    #[must_use]
    pub const fn legacy_headers(mut self, legacy: bool) -> Self {
        self.rules.telling.legacy = legacy;
        self
    }

    /// Holds back when the server behind says so, for clients: after a 429 or 503 with `Retry-After`, after a `RateLimit` field
    /// that says nothing is left, after a `grpc-retry-pushback-ms`.
    ///
    /// Until then requests wait, if they will not have waited for longer than `max_wait` then, and are refused here
    /// otherwise, with the time to come back. No server is heeded for longer than `longest`. All requests through the
    /// services of this layer are held, whatever their keys: give each server a layer of its own.
    ///
    /// Whoever wakes looks whether the server has said something else meanwhile, and spends its quota only when it may
    /// go on: what was held back goes on as fast as the quota lets it, not all at once. So a request may be refused for
    /// its quota after it was held; a policy with a [`max_wait`](crate::Policy::max_wait) has it wait for its turn. In
    /// shadow mode nobody is held.
    ///
    /// # Errors
    /// [`ConfigError::Heed`] if `longest` is zero or over 31 days, or `max_wait` over an hour or longer than `longest`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use fusebox_rate_limit::{KeyBy, Policy, Quota, RateLimiter};
    /// let limiter = RateLimiter::builder("payments-api")
    ///     // What the contract allows, kept by waiting for the turn.
    ///     .policy(Policy::new("contract", Quota::per_second(10)).max_wait(Duration::from_secs(2)))
    ///     .build()?;
    /// let layer = limiter
    ///     .layer()
    ///     .keyed_by(KeyBy::Shared)
    ///     .heed(Duration::from_secs(300), Duration::from_secs(2))?;
    /// # let _ = layer;
    /// # Ok::<(), fusebox_rate_limit::ConfigError>(())
    /// ```
    pub fn heed(self, longest: Duration, max_wait: Duration) -> Result<Self, ConfigError> {
        let heed = Arc::new(Heed::new(longest, max_wait)?);
        Ok(self.special(|special| special.heed = Some(heed)))
    }

    /// Answers refusals with responses of one's own; unless set, with a problem document that names the violated
    /// policies, or with a gRPC status that carries a `RetryInfo`.
    #[must_use]
    pub fn respond(self, respond: Arc<dyn Respond>) -> Self {
        self.special(|special| special.respond = Some(respond))
    }

    /// Judges the inner service's answers by rules of one's own;
    /// [`Standard`](fusebox_http::Standard) unless set.
    #[must_use]
    pub fn classify(self, classify: Arc<dyn Classify>) -> Self {
        self.special(|special| special.classify = Some(classify))
    }

    fn special(mut self, change: impl FnOnce(&mut Special)) -> Self {
        let mut special = self.rules.special.as_deref().cloned().unwrap_or_default();
        change(&mut special);
        self.rules.special = Some(Arc::new(special));
        self
    }
}

impl<S, St: QuotaStore> Layer<S> for RateLimitLayer<St> {
    type Service = RateLimit<S, St>;

    fn layer(&self, inner: S) -> RateLimit<S, St> {
        let rules = &self.rules;
        let tiers = &self.limiter.shared.tiers;
        let own_keys = tiers.iter().any(|tier| tier.own_keys().is_some());
        let rules = Rules {
            templates: tiers
                .iter()
                .map(|policies| Template::new(rules.telling, policies))
                .collect(),
            usual: rules.special.is_none() && !rules.telling.anything() && !own_keys,
            ..rules.clone()
        };
        RateLimit::new(inner, self.limiter.clone(), Arc::new(rules))
    }
}

impl<St> Clone for RateLimitLayer<St> {
    fn clone(&self) -> Self {
        Self {
            limiter: self.limiter.clone(),
            rules: self.rules.clone(),
        }
    }
}

impl<St: QuotaStore> std::fmt::Debug for RateLimitLayer<St> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RateLimitLayer")
            .field("limiter", &self.limiter)
            .field("rules", &self.rules)
            .finish()
    }
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules")
            .field("key", &self.key)
            .field("telling", &self.telling)
            .finish_non_exhaustive()
    }
}
