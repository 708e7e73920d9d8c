//! The settings of a limiter.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fusebox_core::{Mode, Name, Observer, Registration};

use crate::engine::Algorithm;
use crate::engine::gcra::Gcra;
use crate::engine::log::Log;
use crate::engine::window::Window;
use crate::limiter::RateLimiter;
use crate::policy::KeyBy;
use crate::store::{Accounts, Layout, MOST_POLICIES, MemoryStore, Overflow, QuotaStore};
use crate::{Quota, QuotaError};

/// Active keys that a policy has room for unless set: 1.6 MB of words.
const DEFAULT_CAPACITY: usize = 100_000;
/// More are a mistake of units: 16 GB of words.
const MOST_CAPACITY: usize = 1_000_000_000;
/// Nobody waits for a quota longer than this, so a longer wait is a mistake of units.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// One quota: its name, how it counts, how many keys it has room for.
///
/// ```
/// use fusebox_rate_limit::{Algorithm, Policy, Quota};
///
/// let burst = Policy::new("burst", Quota::per_second(20).burst(40));
/// let daily = Policy::new("daily", Quota::per_day(10_000)).algorithm(Algorithm::FixedWindow);
/// # let _ = (burst, daily);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a policy does nothing until a limiter is built with it"]
pub struct Policy {
    pub(crate) name: Name,
    pub(crate) quota: Quota,
    pub(crate) algorithm: Algorithm,
    pub(crate) key: Option<KeyBy>,
    capacity: Option<usize>,
    overflow: Option<Overflow>,
    pub(crate) max_wait: Duration,
}

impl Policy {
    /// A token bucket of this name. Names appear in headers, logs and metrics.
    pub fn new(name: impl Into<Name>, quota: Quota) -> Self {
        Self {
            name: name.into(),
            quota,
            algorithm: Algorithm::default(),
            key: None,
            capacity: None,
            overflow: None,
            max_wait: Duration::ZERO,
        }
    }

    /// How it counts; [`Algorithm::TokenBucket`] unless set.
    pub const fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// What this policy counts requests under; what the [layer](crate::RateLimitLayer::keyed_by) says unless set.
    ///
    /// So a request may have to fit into several quotas of several parties, and spends in all of them or in none:
    ///
    /// ```
    /// use fusebox_rate_limit::{KeyBy, Policy, Quota, RateLimiter};
    /// use http::HeaderName;
    ///
    /// # fn main() -> Result<(), fusebox_rate_limit::ConfigError> {
    /// let limiter = RateLimiter::builder("api")
    ///     .policy(Policy::new("address", Quota::per_second(50)))
    ///     .policy(
    ///         Policy::new("account", Quota::per_day(10_000))
    ///             .keyed_by(KeyBy::Header(HeaderName::from_static("x-api-key"))),
    ///     )
    ///     .policy(Policy::new("everybody", Quota::per_second(2_000)).keyed_by(KeyBy::Shared))
    ///     .build()?;
    /// # let _ = limiter;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A request that is [exempt](crate::Found::Exempt) by one key is not counted by the policies that count under it;
    /// one that is [nobody's](crate::Found::Unidentified) is refused. This is for layers: whoever asks the handle gives
    /// the [keys](crate::Ask::keys) along.
    pub fn keyed_by(mut self, key: KeyBy) -> Self {
        self.key = Some(key);
        self
    }

    /// How many keys may be active at once; the limiter's unless set. It takes 16 bytes for each, now; a sliding window,
    /// which keeps two counts, takes 24. See [`MemoryStore`].
    pub const fn capacity(mut self, keys: usize) -> Self {
        self.capacity = Some(keys);
        self
    }

    /// What happens to a new key when there is no room; the limiter's unless set.
    pub const fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = Some(overflow);
        self
    }

    /// Lets requests wait for their tokens, up to this long, rather than be refused: for clients that want
    /// to stay within someone else's limit. Buckets only; zero unless set, and otherwise at least what it takes until
    /// one more request is paid for.
    ///
    /// A request that is given up while it waits has spent its turn.
    pub const fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = wait;
        self
    }

    /// The most that one request may cost.
    pub(crate) const fn most_cost(&self) -> u64 {
        match self.algorithm {
            Algorithm::TokenBucket | Algorithm::LeakyBucket => self.quota.burst_size(),
            Algorithm::Shaper { .. } => u64::MAX,
            _ => self.quota.amount(),
        }
    }

    /// How long it takes until a request of that cost is paid for.
    pub(crate) fn time_for(&self, cost: u64) -> Duration {
        let product = self.quota.period().as_nanos().saturating_mul(cost.into());
        let nanos = product / u128::from(self.quota.amount().max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn accounts(&self, defaults: Layout) -> Result<Accounts, QuotaError> {
        let layout = Layout {
            capacity: self.capacity.unwrap_or(defaults.capacity),
            overflow: self.overflow.unwrap_or(defaults.overflow),
        };
        Ok(match self.algorithm {
            Algorithm::TokenBucket | Algorithm::LeakyBucket => {
                Accounts::bucket(Gcra::meter(self.quota, self.max_wait)?, layout)
            }
            Algorithm::Shaper { queue } => {
                Accounts::bucket(Gcra::shaper(self.quota, queue, self.max_wait)?, layout)
            }
            Algorithm::FixedWindow => Accounts::window(Window::new(self.quota, false)?, layout),
            Algorithm::SlidingWindow => Accounts::window(Window::new(self.quota, true)?, layout),
            Algorithm::SlidingLog => Accounts::log(Log::new(self.quota)?, layout),
        })
    }
}

/// A named set of policies for some of the callers.
#[derive(Clone, Debug)]
pub(crate) struct TierSettings {
    pub(crate) name: Name,
    pub(crate) policies: Vec<Policy>,
}

/// Settings of a [`RateLimiter`]; made by [`RateLimiter::builder`].
#[derive(Clone)]
#[must_use = "settings do nothing until they are built"]
pub struct RateLimiterBuilder {
    pub(crate) name: Name,
    pub(crate) tiers: Vec<TierSettings>,
    pub(crate) cost: u64,
    defaults: Layout,
    pub(crate) hash_key: Option<[u8; 16]>,
    pub(crate) latency: bool,
    pub(crate) open_when_store_fails: bool,
    pub(crate) mode: Mode,
    pub(crate) observers: Vec<Arc<dyn Observer>>,
    pub(crate) registration: Registration,
}

impl RateLimiterBuilder {
    pub(crate) fn new(name: Name) -> Self {
        Self {
            name,
            tiers: vec![TierSettings {
                name: "default".into(),
                policies: Vec::new(),
            }],
            cost: 1,
            defaults: Layout {
                capacity: DEFAULT_CAPACITY,
                overflow: Overflow::default(),
            },
            hash_key: None,
            latency: false,
            open_when_store_fails: true,
            mode: Mode::default(),
            observers: Vec::new(),
            registration: Registration::default(),
        }
    }

    /// Adds a policy that applies to everybody who is in no other tier. At least one is required, at most
    /// four are possible. A request passes if all agree, and then spends with all.
    pub fn policy(mut self, policy: Policy) -> Self {
        if let Some(default) = self.tiers.first_mut() {
            default.policies.push(policy);
        }
        self
    }

    /// Adds a tier: policies that apply to some callers instead of the usual ones. Who is in it, the
    /// layer is told by [`tier_by`](crate::RateLimitLayer::tier_by).
    ///
    /// Each tier counts for itself: a caller who changes tiers begins there with what it has spent there.
    pub fn tier(
        mut self,
        name: impl Into<Name>,
        policies: impl IntoIterator<Item = Policy>,
    ) -> Self {
        self.tiers.push(TierSettings {
            name: name.into(),
            policies: policies.into_iter().collect(),
        });
        self
    }

    /// What a request costs, in the unit of the quotas; 1 unless set.
    pub const fn cost(mut self, cost: u64) -> Self {
        self.cost = cost;
        self
    }

    /// How many keys each policy has room for at once; 100,000 unless set. See
    /// [`MemoryStore`] for what that takes and what it means.
    pub const fn capacity(mut self, keys: usize) -> Self {
        self.defaults.capacity = keys;
        self
    }

    /// What happens to a new key when there is no room; [`Overflow::Share`] unless set.
    pub const fn overflow(mut self, overflow: Overflow) -> Self {
        self.defaults.overflow = overflow;
        self
    }

    /// The key of the hash that makes keys of text ([`RateLimiter::text_key`], [`KeyBy::Header`], [`KeyBy::Path`]); drawn at
    /// random unless set.
    ///
    /// Set it, from a secret, where keys must mean the same in other processes or after a restart: for a
    /// [store](QuotaStore) that many share. Whoever knows it can find texts that share a quota. Client identities have a
    /// [hash key](fusebox_http::identity::IdentityConfig::hash_key) of their own.
    pub const fn hash_key(mut self, key: [u8; 16]) -> Self {
        self.hash_key = Some(key);
        self
    }

    /// Follows every call to the end of its body and measures how long it ran, at the price of a guard on the body and
    /// a second look at the clock; unless set, that is done only while somebody listens: an observer, or `tracing` at
    /// the level `TRACE`.
    ///
    /// A call that nobody follows is counted when the head of its answer is there, as what the head says (its status,
    /// or its `grpc-status`): a body that breaks off later, and trailers, are not looked at.
    pub const fn measure_latency(mut self, latency: bool) -> Self {
        self.latency = latency;
        self
    }

    /// Refuses requests when the store does not answer; unless set they pass. The memory always answers. Either way the
    /// snapshot counts them as `unanswered`.
    pub const fn refuse_when_store_fails(mut self) -> Self {
        self.open_when_store_fails = false;
        self
    }

    /// Whether it acts on its decisions; [`Mode::Enforce`] unless set.
    pub const fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Adds somebody who hears every event of this limiter.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.push(observer);
        self
    }

    /// Where the limiter is listed; in the process's own registry unless set.
    pub fn registration(mut self, registration: Registration) -> Self {
        self.registration = registration;
        self
    }

    /// A limiter with its quotas in the memory of this process.
    ///
    /// # Errors
    /// [`ConfigError`] naming the field and what is wrong with it.
    pub fn build(self) -> Result<RateLimiter, ConfigError> {
        self.check()?;
        let mut tiers = Vec::with_capacity(self.tiers.len());
        for tier in &self.tiers {
            let mut accounts = Vec::with_capacity(tier.policies.len());
            for policy in &tier.policies {
                let made = policy.accounts(self.defaults);
                accounts.push(made.map_err(|error| ConfigError::Quota {
                    policy: policy.name.clone(),
                    error,
                })?);
            }
            tiers.push(accounts);
        }
        let store = MemoryStore::new(tiers).map_err(|error| ConfigError::Policies {
            tier: Name::from(error.tier.to_string()),
            given: error.given,
        })?;
        Ok(RateLimiter::new(self, store))
    }

    /// A limiter with its quotas in that store. What is asked of it comes with the [terms](crate::store::Terms) of the policies; one
    /// that has policies of its own must have the same tiers.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_with<St: QuotaStore>(self, store: St) -> Result<RateLimiter<St>, ConfigError> {
        self.check()?;
        Ok(RateLimiter::new(self, store))
    }

    fn check(&self) -> Result<(), ConfigError> {
        for (at, tier) in self.tiers.iter().enumerate() {
            if self
                .tiers
                .iter()
                .skip(at + 1)
                .any(|other| other.name == tier.name)
            {
                return Err(ConfigError::Twice {
                    what: "tier",
                    name: tier.name.clone(),
                });
            }
            if tier.policies.is_empty() || tier.policies.len() > MOST_POLICIES {
                return Err(ConfigError::Policies {
                    tier: tier.name.clone(),
                    given: tier.policies.len(),
                });
            }
            for (at, policy) in tier.policies.iter().enumerate() {
                let name = || policy.name.clone();
                let others = tier.policies.iter().skip(at + 1);
                if others.into_iter().any(|other| other.name == policy.name) {
                    return Err(ConfigError::Twice {
                        what: "policy",
                        name: name(),
                    });
                }
                self.check_policy(policy)?;
            }
        }
        Ok(())
    }

    fn check_policy(&self, policy: &Policy) -> Result<(), ConfigError> {
        let name = || policy.name.clone();
        // They are written into headers as strings of RFC 9651.
        let fits = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
        if policy.name.as_str().is_empty() || !policy.name.as_str().bytes().all(fits) {
            return Err(ConfigError::Name { name: name() });
        }
        policy.quota.check().map_err(|error| ConfigError::Quota {
            policy: name(),
            error,
        })?;
        if self.cost > policy.most_cost() {
            return Err(ConfigError::Quota {
                policy: name(),
                error: QuotaError::BurstBelowCost {
                    burst: policy.most_cost(),
                    cost: self.cost,
                },
            });
        }
        let capacity = policy.capacity.unwrap_or(self.defaults.capacity);
        if capacity == 0 || capacity > MOST_CAPACITY {
            return Err(ConfigError::Capacity {
                policy: name(),
                given: capacity,
            });
        }
        let waits = !policy.max_wait.is_zero();
        let may_wait = matches!(
            policy.algorithm,
            Algorithm::TokenBucket | Algorithm::LeakyBucket | Algorithm::Shaper { .. }
        );
        let must_wait = matches!(policy.algorithm, Algorithm::Shaper { .. });
        if policy.max_wait > LONGEST_WAIT || (waits && !may_wait) || (must_wait && !waits) {
            return Err(ConfigError::MaxWait {
                policy: name(),
                algorithm: policy.algorithm,
                given: policy.max_wait,
            });
        }
        let needed = policy.time_for(self.cost);
        if waits && policy.max_wait < needed {
            return Err(ConfigError::MaxWaitTooShort {
                policy: name(),
                given: policy.max_wait,
                needed,
            });
        }
        Ok(())
    }
}

impl fmt::Debug for RateLimiterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiterBuilder")
            .field("name", &self.name)
            .field("tiers", &self.tiers)
            .field("cost", &self.cost)
            .field("defaults", &self.defaults)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

/// Why a limiter cannot be built.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// A tier has no policy, or more than four.
    Policies {
        /// The tier.
        tier: Name,
        /// How many it has.
        given: usize,
    },
    /// A policy's quota is none.
    Quota {
        /// The policy.
        policy: Name,
        /// What is wrong with its quota.
        error: QuotaError,
    },
    /// Two tiers, or two policies of a tier, have one name.
    Twice {
        /// `tier` or `policy`.
        what: &'static str,
        /// The name.
        name: Name,
    },
    /// A policy's name cannot be written into a header.
    Name {
        /// The name.
        name: Name,
    },
    /// There is room for no key, or for more than any memory has.
    Capacity {
        /// The policy.
        policy: Name,
        /// What was given.
        given: usize,
    },
    /// The algorithm knows no waiting, or cannot do without, or the wait is longer than an hour.
    MaxWait {
        /// The policy.
        policy: Name,
        /// Its algorithm.
        algorithm: Algorithm,
        /// What was given.
        given: Duration,
    },
    /// Nobody would wait long enough for the next request to be paid for.
    MaxWaitTooShort {
        /// The policy.
        policy: Name,
        /// What was given.
        given: Duration,
        /// How long it takes at the policy's rate.
        needed: Duration,
    },
    /// What a server may ask for, or how long anybody waits for it, is no time that makes sense.
    Heed {
        /// `longest` or `max_wait`.
        field: &'static str,
        /// What was given.
        given: Duration,
        /// The most it may be.
        most: Duration,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policies { tier, given } => {
                write!(
                    f,
                    "tier \"{tier}\": must have 1 to {MOST_POLICIES} policies, got {given}"
                )
            }
            Self::Quota { policy, error } => write!(f, "policy \"{policy}\": {error}"),
            Self::Twice { what, name } => write!(f, "{what}: the name \"{name}\" is taken"),
            Self::Name { name } => write!(
                f,
                "policy name: must be printable ASCII without quotes and backslashes, got {name:?}"
            ),
            Self::Capacity { policy, given } => write!(
                f,
                "policy \"{policy}\": capacity: must be 1 to {MOST_CAPACITY}, got {given}"
            ),
            Self::MaxWait {
                policy,
                algorithm,
                given,
            } => write!(
                f,
                "policy \"{policy}\": max_wait: {given:?} does not go with {algorithm:?} (buckets only, at most \
                 {LONGEST_WAIT:?}, and a shaper needs one)"
            ),
            Self::MaxWaitTooShort {
                policy,
                given,
                needed,
            } => write!(
                f,
                "policy \"{policy}\": max_wait: one more request takes {needed:?} at this rate, got {given:?}"
            ),
            Self::Heed { field, given, most } => {
                let above = if given.is_zero() {
                    "above zero and "
                } else {
                    ""
                };
                write!(
                    f,
                    "heed: {field}: must be {above}at most {most:?}, got {given:?}"
                )
            }
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Quota { error, .. } => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(policy: Policy) -> Result<(), ConfigError> {
        let builder = RateLimiter::builder("test").registration(Registration::Unlisted);
        builder.cost(3).policy(policy).build().map(drop)
    }

    #[test]
    fn settings_that_cannot_work_are_errors_that_name_the_policy_and_the_field() {
        let quota = Quota::per_second(10);
        for (policy, says) in [
            (
                Policy::new("p", Quota::per_second(0)),
                "policy \"p\": amount: must be at least 1, got 0",
            ),
            (
                Policy::new("p", quota.burst(2)),
                "policy \"p\": burst: must be at least the cost of one request (3), got 2",
            ),
            (
                Policy::new("p", Quota::per(5, Duration::ZERO)),
                "policy \"p\": period: must be longer than zero",
            ),
            (
                Policy::new("p", Quota::per_day(1).burst(u64::MAX)),
                "policy \"p\": burst: a burst of",
            ),
            (
                Policy::new("p", Quota::per_day(100)).algorithm(Algorithm::SlidingLog),
                "policy \"p\": amount: this algorithm counts to 64, got 100",
            ),
            (
                Policy::new("p", quota).algorithm(Algorithm::Shaper { queue: 3 }),
                "policy \"p\": max_wait: 0ns does not go with Shaper",
            ),
            (
                Policy::new("p", quota)
                    .algorithm(Algorithm::FixedWindow)
                    .max_wait(Duration::from_secs(1)),
                "policy \"p\": max_wait: 1s does not go with FixedWindow",
            ),
            (
                Policy::new("p", quota).max_wait(Duration::from_millis(299)),
                "policy \"p\": max_wait: one more request takes 300ms at this rate, got 299ms",
            ),
            (
                Policy::new("p", quota).capacity(0),
                "policy \"p\": capacity: must be 1 to",
            ),
            (
                Policy::new("p\"q", quota),
                "policy name: must be printable ASCII",
            ),
        ] {
            let error = built(policy).unwrap_err().to_string();
            assert!(error.starts_with(says), "{error}");
        }
        assert_eq!(built(Policy::new("p", quota)), Ok(()));
    }

    #[test]
    fn a_tier_has_one_to_four_policies_with_names_of_their_own() {
        let policy = |name: &str| Policy::new(name, Quota::per_second(10)).capacity(10);
        let builder = || RateLimiter::builder("test").registration(Registration::Unlisted);
        let none = builder().build().unwrap_err();
        assert_eq!(
            none.to_string(),
            "tier \"default\": must have 1 to 4 policies, got 0"
        );
        let same = builder()
            .policy(policy("a"))
            .policy(policy("a"))
            .build()
            .unwrap_err();
        assert_eq!(same.to_string(), "policy: the name \"a\" is taken");
        let tiers = builder()
            .policy(policy("a"))
            .tier("paid", [policy("a")])
            .tier("paid", []);
        assert!(matches!(
            tiers.build(),
            Err(ConfigError::Twice { what: "tier", .. })
        ));
    }
}
