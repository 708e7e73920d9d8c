use std::sync::Arc;

use fusebox_core::Outcome;
use fusebox_http::{Asked, Classify, Respond, Standard};
use http::StatusCode;
use tower_layer::Layer;

use crate::{Breaker, CircuitBreaker, LooksIntoBoxes};

/// Puts a [`Breaker`] in front of an HTTP or gRPC service, on either side: a `tonic` channel, a hyper
/// client, an axum route.
///
/// The error is the inner service's own; a refusal is a response: HTTP 503 with `Retry-After`, or gRPC
/// `UNAVAILABLE`, marked with its [`Rejection`](fusebox_core::Rejection).
///
/// `J` says which errors are failures; see [`judge_errors`](Self::judge_errors).
#[derive(Clone)]
pub struct CircuitBreakerLayer<J = LooksIntoBoxes> {
    breaker: Breaker,
    policy: HttpPolicy,
    errors: J,
}

/// What answers mean, and what refusals look like, if not as usual.
#[derive(Clone, Default)]
pub(crate) struct HttpPolicy(Option<Arc<Own>>);

#[derive(Clone, Default)]
struct Own {
    classify: Option<Arc<dyn Classify>>,
    respond: Option<Arc<dyn Respond>>,
    own_requests: bool,
}

impl HttpPolicy {
    #[inline(always)]
    pub(crate) fn classify(&self) -> Option<Arc<dyn Classify>> {
        self.0.as_ref()?.classify.clone()
    }

    /// Whether anything of it is the user's own.
    #[inline(always)]
    pub(crate) const fn is_own(&self) -> bool {
        self.0.is_some()
    }

    /// Whether the head with this status may be that of a success.
    pub(crate) fn may_be_well(&self, status: StatusCode) -> bool {
        let own = self
            .0
            .as_ref()
            .and_then(|policy| policy.classify.as_deref());
        own.unwrap_or(&Standard).http(status) == Outcome::Success
    }

    pub(crate) fn respond(&self) -> Option<&dyn Respond> {
        self.0.as_ref()?.respond.as_deref()
    }

    pub(crate) fn set_classify(&mut self, classify: Arc<dyn Classify>) {
        self.own().classify = Some(classify);
    }

    pub(crate) fn set_respond(&mut self, respond: Arc<dyn Respond>) {
        self.own().respond = Some(respond);
    }

    pub(crate) fn set_own_requests(&mut self) {
        self.own().own_requests = true;
    }

    /// What was asked, as far as it is known now.
    #[inline(always)]
    pub(crate) fn asked(&self, asked: Asked) -> Asked {
        let own = self.0.as_ref().is_some_and(|policy| policy.own_requests);
        Asked { own, ..asked }
    }

    fn own(&mut self) -> &mut Own {
        Arc::make_mut(self.0.get_or_insert_default())
    }
}

impl Breaker {
    /// A layer for HTTP and gRPC services. All layers of one breaker, and all services they make, share
    /// its circuit.
    #[must_use]
    pub fn layer(&self) -> CircuitBreakerLayer {
        CircuitBreakerLayer {
            breaker: self.clone(),
            policy: HttpPolicy::default(),
            errors: LooksIntoBoxes,
        }
    }
}

impl<J> CircuitBreakerLayer<J> {
    /// What an error of the inner service says of the dependency. As it is, every error is a failure, except that
    /// a boxed one (`BoxError`) is looked into for the refusals of layers on this side.
    ///
    /// A client whose errors are a type of their own (hyper's) should at least be given
    /// [`RefusalsAreNeutral`](crate::RefusalsAreNeutral): what a limit on its connections refuses, say, comes as its
    /// error. And a proxy, whose request bodies come from elsewhere, has to tell its caller's faults apart, or a
    /// caller whose uploads break off opens the circuit for all:
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use fusebox_circuit_breaker::{Breaker, End, JudgeError, RefusalsAreNeutral};
    /// use fusebox_core::Outcome;
    /// # #[derive(Debug)]
    /// # struct ClientError;
    /// # impl std::fmt::Display for ClientError {
    /// #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("an error") }
    /// # }
    /// # impl std::error::Error for ClientError {}
    /// # impl ClientError { fn is_user(&self) -> bool { true } }
    ///
    /// // For hyper: whether there is a `hyper::Error` in the chain that `is_user()`.
    /// let layer = Breaker::builder("upstream")
    ///     .build()?
    ///     .layer()
    ///     .judge_errors(|error: &ClientError| {
    ///         if error.is_user() {
    ///             return End::from(Outcome::Cancelled);
    ///         }
    ///         RefusalsAreNeutral.judge_error(error)
    ///     });
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn judge_errors<K>(self, errors: K) -> CircuitBreakerLayer<K> {
        CircuitBreakerLayer {
            breaker: self.breaker,
            policy: self.policy,
            errors,
        }
    }

    /// The requests are this side's own: what they call themselves is believed.
    ///
    /// For clients that speak gRPC. An answer that is none (a load balancer's page with status 200, say) is then a
    /// failure, as it is for who has made the call. On a server, where anybody may send
    /// `content-type: application/grpc`, anybody could open the circuit with that.
    #[must_use]
    pub fn for_client(mut self) -> Self {
        self.policy.set_own_requests();
        self
    }

    /// One's own idea of which answers are failures.
    #[must_use]
    pub fn classify(mut self, classify: Arc<dyn Classify>) -> Self {
        self.policy.set_classify(classify);
        self
    }

    /// One's own response while the circuit is open: what is still known, an empty list, a cached page.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::sync::Arc;
    /// use bytes::Bytes;
    /// use fusebox_circuit_breaker::Breaker;
    /// use fusebox_core::Rejection;
    /// use fusebox_http::Protocol;
    ///
    /// let layer = Breaker::builder("recommendations")
    ///     .build()?
    ///     .layer()
    ///     .respond(Arc::new(|_: &Rejection, _: Protocol| {
    ///         http::Response::new(Bytes::from_static(b"[]"))
    ///     }));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn respond(mut self, respond: Arc<dyn Respond>) -> Self {
        self.policy.set_respond(respond);
        self
    }

    /// The handle of its circuit.
    #[must_use]
    pub const fn breaker(&self) -> &Breaker {
        &self.breaker
    }
}

impl<S, J: Clone> Layer<S> for CircuitBreakerLayer<J> {
    type Service = CircuitBreaker<S, J>;

    fn layer(&self, inner: S) -> Self::Service {
        CircuitBreaker::new(
            inner,
            self.breaker.clone(),
            self.policy.clone(),
            self.errors.clone(),
        )
    }
}

impl<J> std::fmt::Debug for CircuitBreakerLayer<J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CircuitBreakerLayer")
            .field("breaker", &self.breaker)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for HttpPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpPolicy")
            .field("own_classify", &self.classify().is_some())
            .field("own_respond", &self.respond().is_some())
            .finish()
    }
}
