//! What a store that does not keep a limiter's policies by itself needs to know of them.

use std::time::Duration;

use fusebox_core::{Name, time::nanos};

use crate::Quota;
use crate::engine::{Algorithm, steady::Steady};

/// The policies of a question: whose they are, and what each allows.
///
/// Empty where nobody says: [`MemoryStore`](super::MemoryStore) has its policies by heart.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms<'a> {
    /// The name of the limiter. With the tier's, a policy's and a [key](super::Key) it makes a name under which a count
    /// can be kept that many limiters share.
    pub limiter: &'a str,
    /// The name of the tier.
    pub tier: &'a str,
    /// Its policies, in their order.
    pub policies: &'a [PolicyTerms],
}

/// What a policy allows. The quota is that of now: it may be another one in the next question.
#[derive(Debug)]
pub struct PolicyTerms {
    name: Name,
    algorithm: Algorithm,
    max_wait: Duration,
    /// Amount, period in nanoseconds, burst.
    quota: Steady<3>,
}

impl PolicyTerms {
    /// A policy of that name.
    #[must_use]
    pub fn new(name: Name, algorithm: Algorithm, quota: Quota, max_wait: Duration) -> Self {
        Self {
            name,
            algorithm,
            max_wait,
            quota: Steady::new(numbers(quota)),
        }
    }

    /// Its name, unique in its tier.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// How it counts.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// How long a request may wait for its turn or its tokens.
    #[must_use]
    pub const fn max_wait(&self) -> Duration {
        self.max_wait
    }

    /// How much in which time.
    #[must_use]
    pub fn quota(&self) -> Quota {
        let [amount, period, burst] = self.quota.get();
        Quota::per(amount, Duration::from_nanos(period)).burst(burst)
    }

    /// Another quota from now on.
    #[cfg(feature = "layer")]
    pub(crate) fn set(&self, quota: Quota) {
        self.quota.change(|_| numbers(quota));
    }
}

fn numbers(quota: Quota) -> [u64; 3] {
    [quota.amount(), nanos(quota.period()), quota.burst_size()]
}
