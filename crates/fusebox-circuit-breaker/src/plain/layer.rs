use tower_layer::Layer;

use super::PlainCircuitBreaker;
use crate::{Breaker, RefusalsAreNeutral};

/// Puts a [`Breaker`] in front of any service; a refusal is
/// [`CallError::Rejected`](fusebox_core::CallError::Rejected).
///
/// `J` says which results are failures; see [`JudgeResult`](crate::JudgeResult).
#[derive(Clone, Debug)]
pub struct PlainCircuitBreakerLayer<J = RefusalsAreNeutral> {
    breaker: Breaker,
    judge: J,
}

impl Breaker {
    /// A layer for services that know no HTTP. All layers of one breaker share its circuit.
    #[must_use]
    pub fn plain_layer(&self) -> PlainCircuitBreakerLayer {
        PlainCircuitBreakerLayer {
            breaker: self.clone(),
            judge: RefusalsAreNeutral,
        }
    }
}

impl<J> PlainCircuitBreakerLayer<J> {
    /// One's own idea of what is a failure.
    #[must_use]
    pub fn judged_by<K>(self, judge: K) -> PlainCircuitBreakerLayer<K> {
        PlainCircuitBreakerLayer {
            breaker: self.breaker,
            judge,
        }
    }
}

impl<S, J: Clone> Layer<S> for PlainCircuitBreakerLayer<J> {
    type Service = PlainCircuitBreaker<S, J>;

    fn layer(&self, inner: S) -> Self::Service {
        PlainCircuitBreaker::new(inner, self.breaker.clone(), self.judge.clone())
    }
}
