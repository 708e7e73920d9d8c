use std::{
    hash::Hash,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use fusebox_http::{Asked, Classify, Respond};
use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

#[cfg(doc)]
use super::KeyLike;
use super::{FindKey, Head, KeyedBreaker};
use crate::{
    Breaker, JudgeError, LooksIntoBoxes, ResponseBody, ResponseFuture,
    breaker::Admission,
    future::How,
    layer::HttpPolicy,
    service::{begin, refuse},
};

/// Puts a circuit of its own in front of each key of a service's requests.
///
/// `F` [finds](FindKey) the key of a request: `|head: &Head<'_>| -> Option<K>`. Without one the call goes through
/// [`KeyedBreaker::others`].
#[derive(Clone)]
pub struct KeyedCircuitBreakerLayer<K, F, J = LooksIntoBoxes> {
    breakers: KeyedBreaker<K>,
    key: F,
    policy: HttpPolicy,
    errors: J,
}

/// The service made by [`KeyedCircuitBreakerLayer`].
///
/// It is ready when the inner service is, and fails as that does, which opens no circuit: whose is meant is only known
/// with the request. For the same reason a refusal waits for the inner service here: where that may not get ready (a
/// limit that waits), put it further in, behind a service that always is.
#[derive(Clone)]
pub struct KeyedCircuitBreaker<S, K, F, J = LooksIntoBoxes> {
    inner: S,
    breakers: KeyedBreaker<K>,
    key: F,
    policy: HttpPolicy,
    errors: J,
}

impl<K> KeyedBreaker<K> {
    /// A layer for HTTP and gRPC services, with a circuit for each key that `key` finds.
    ///
    /// The key is made for each call: cheap are numbers, enums, names in an `Arc`. Where it would be copied out of the
    /// request, see [`layer_by_like`](Self::layer_by_like).
    #[must_use]
    pub fn layer_by<F>(&self, key: F) -> KeyedCircuitBreakerLayer<K, F>
    where
        F: Fn(&Head<'_>) -> Option<K> + Clone,
        K: Hash + Eq,
    {
        self.layer_by_like(key)
    }

    /// As [`layer_by`](Self::layer_by), with a key that is only [looked at](KeyLike) while its circuit is there:
    /// [`by_authority`](super::by_authority), [`by_method_and_path`](super::by_method_and_path), or one's own.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use fusebox_circuit_breaker::{Breaker, by_authority};
    ///
    /// let layer = Breaker::builder("upstreams").keyed().build()?.layer_by_like(by_authority);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn layer_by_like<F>(&self, key: F) -> KeyedCircuitBreakerLayer<K, F>
    where
        F: for<'a> FindKey<'a, K> + Clone,
    {
        KeyedCircuitBreakerLayer {
            breakers: self.clone(),
            key,
            policy: HttpPolicy::default(),
            errors: LooksIntoBoxes,
        }
    }
}

impl<K, F, J> KeyedCircuitBreakerLayer<K, F, J> {
    /// What an error of the inner service says of the dependency; see
    /// [`CircuitBreakerLayer::judge_errors`](crate::CircuitBreakerLayer::judge_errors).
    #[must_use]
    pub fn judge_errors<L>(self, errors: L) -> KeyedCircuitBreakerLayer<K, F, L> {
        KeyedCircuitBreakerLayer {
            breakers: self.breakers,
            key: self.key,
            policy: self.policy,
            errors,
        }
    }

    /// The requests are this side's own; see
    /// [`CircuitBreakerLayer::for_client`](crate::CircuitBreakerLayer::for_client).
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

    /// One's own response while a circuit is open.
    #[must_use]
    pub fn respond(mut self, respond: Arc<dyn Respond>) -> Self {
        self.policy.set_respond(respond);
        self
    }
}

impl<S, K, F: Clone, J: Clone> Layer<S> for KeyedCircuitBreakerLayer<K, F, J> {
    type Service = KeyedCircuitBreaker<S, K, F, J>;

    fn layer(&self, inner: S) -> Self::Service {
        KeyedCircuitBreaker {
            inner,
            breakers: self.breakers.clone(),
            key: self.key.clone(),
            policy: self.policy.clone(),
            errors: self.errors.clone(),
        }
    }
}

impl<S, K, F, J, ReqBody, ResBody> Service<Request<ReqBody>> for KeyedCircuitBreaker<S, K, F, J>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body<Data: From<Bytes>>,
    F: for<'a> FindKey<'a, K>,
    J: JudgeError<S::Error> + Clone,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, J>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let how = How {
            asked: Asked::by(&request),
            policy: self.policy.clone(),
        };
        let admission = match (self.key)(&Head::of(&request)) {
            Some(key) => self.breakers.with(key, Breaker::admit),
            None => self.breakers.others().admit(),
        };
        let errors = self.errors.clone();
        match admission {
            Admission::Passed(pass) => begin(pass, &mut self.inner, request, how, errors),
            Admission::Refused(rejection) => {
                let response = refuse(rejection, how.asked, how.policy.respond());
                ResponseFuture::refused(response, how, errors)
            }
        }
    }
}

impl<K, F, J> std::fmt::Debug for KeyedCircuitBreakerLayer<K, F, J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyedCircuitBreakerLayer")
            .field("breakers", &self.breakers)
            .finish_non_exhaustive()
    }
}

impl<S, K, F, J> std::fmt::Debug for KeyedCircuitBreaker<S, K, F, J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyedCircuitBreaker")
            .field("breakers", &self.breakers)
            .finish_non_exhaustive()
    }
}
