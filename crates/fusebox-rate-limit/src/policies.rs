//! What is said of a tier's policies: their names, and their quotas now.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fusebox_core::{Name, time::nanos};
use http::HeaderValue;

use crate::config::Policy;
use crate::engine::Algorithm;
use crate::policy::KeyBy;
use crate::store::{MOST_POLICIES, PolicyTerms, Terms};
use crate::{Quota, QuotaError, headers, refusal};

/// A tier, as it is told to clients and operators.
#[derive(Debug)]
pub(crate) struct Policies {
    limiter: Name,
    name: Name,
    policies: Box<[PolicyTerms]>,
    /// What each policy counts under, where that is not what the layer says.
    keys: Box<[Option<KeyBy>]>,
    /// The problem document for each set of violated policies, written once: names do not change.
    problems: Box<[Bytes]>,
    /// What [`field`](Self::field) says as long as no quota was changed.
    field: Option<HeaderValue>,
    changed: AtomicBool,
}

impl Policies {
    pub(crate) fn new(limiter: &Name, name: &Name, policies: &[Policy]) -> Self {
        let known = |policy: &Policy| {
            let name = policy.name.clone();
            PolicyTerms::new(name, policy.algorithm, policy.quota, policy.max_wait)
        };
        let sets = 1_u8 << policies.len().min(MOST_POLICIES);
        let named = |violated: u8| {
            let names = policies.iter().map(|policy| &policy.name).enumerate();
            names.filter_map(move |(at, name)| (violated >> at & 1 == 1).then_some(name))
        };
        let mut told = Self {
            limiter: limiter.clone(),
            name: name.clone(),
            policies: policies.iter().map(known).collect(),
            keys: policies.iter().map(|policy| policy.key.clone()).collect(),
            problems: (0..sets).map(|set| refusal::problem(named(set))).collect(),
            field: None,
            changed: AtomicBool::new(false),
        };
        told.field = headers::policy_field(told.told());
        told
    }

    /// Whether [`field`](Self::field) is what it was in the beginning.
    pub(crate) fn is_unchanged(&self) -> bool {
        !self.changed.load(Ordering::Relaxed)
    }

    /// The `RateLimit-Policy` field.
    pub(crate) fn field(&self) -> Option<HeaderValue> {
        if self.changed.load(Ordering::Relaxed) {
            // An operator has been here. What that costs is not worth a lock, or a pointer that counts its readers.
            return headers::policy_field(self.told());
        }
        self.field.clone()
    }

    /// The problem document of a refusal by these policies.
    pub(crate) fn problem(&self, violated: u8) -> Bytes {
        self.problems
            .get(usize::from(violated))
            .cloned()
            .unwrap_or_default()
    }

    /// What each policy counts under where that is not what the layer says; `None` if the layer says it of all.
    pub(crate) fn own_keys(&self) -> Option<&[Option<KeyBy>]> {
        self.keys.iter().any(Option::is_some).then_some(&*self.keys)
    }

    /// What a store is told of them.
    pub(crate) fn terms(&self) -> Terms<'_> {
        Terms {
            limiter: self.limiter.as_str(),
            tier: self.name.as_str(),
            policies: &self.policies,
        }
    }

    pub(crate) const fn name(&self) -> &Name {
        &self.name
    }

    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.policies
            .iter()
            .position(|known| known.name().as_str() == name)
    }

    pub(crate) fn name_of(&self, policy: u32) -> Option<Name> {
        let policy = usize::try_from(policy).ok()?;
        self.policies.get(policy).map(|known| known.name().clone())
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &Name> {
        self.policies.iter().map(PolicyTerms::name)
    }

    pub(crate) fn quotas(&self) -> impl Iterator<Item = (&Name, Quota)> {
        self.policies
            .iter()
            .map(|known| (known.name(), known.quota()))
    }

    /// What clients are told of each policy: how much in which time.
    pub(crate) fn told(&self) -> impl Iterator<Item = (&Name, u64, Duration)> {
        self.policies.iter().map(|known| {
            let quota = known.quota();
            match known.algorithm() {
                // All of the burst, and how long it takes to come back.
                Algorithm::TokenBucket | Algorithm::LeakyBucket => {
                    let burst = quota.burst_size();
                    let amount = quota.amount().max(1);
                    // Nearly always in 64 bits, where a division is ten times as fast as in 128.
                    let refill = match nanos(quota.period()).checked_mul(burst) {
                        Some(product) => product / amount,
                        None => {
                            let product = quota.period().as_nanos() * u128::from(burst);
                            u64::try_from(product / u128::from(amount)).unwrap_or(u64::MAX)
                        }
                    };
                    (known.name(), burst, Duration::from_nanos(refill))
                }
                _ => (known.name(), quota.amount(), quota.period()),
            }
        })
    }

    /// Whether the policy could have been built with that quota.
    pub(crate) fn fits(&self, policy: usize, quota: Quota, cost: u64) -> Result<(), QuotaError> {
        let known = self.policies.get(policy).ok_or(QuotaError::Unknown)?;
        quota.check()?;
        let policy = Policy::new(known.name().clone(), quota).algorithm(known.algorithm());
        let burst = policy.most_cost();
        if cost > burst {
            return Err(QuotaError::BurstBelowCost { burst, cost });
        }
        let (max_wait, needed) = (known.max_wait(), policy.time_for(cost));
        if !max_wait.is_zero() && max_wait < needed {
            return Err(QuotaError::WaitTooShort { max_wait, needed });
        }
        Ok(())
    }

    /// Remembers a policy's new quota, and returns the one before.
    pub(crate) fn set(&self, policy: usize, quota: Quota) -> Quota {
        match self.policies.get(policy) {
            Some(known) => {
                let before = known.quota();
                known.set(quota);
                self.changed.store(true, Ordering::Relaxed);
                before
            }
            None => quota,
        }
    }
}
