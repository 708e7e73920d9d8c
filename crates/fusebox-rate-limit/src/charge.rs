//! What a request is charged: to whom, by whose policies, how much.

use fusebox_core::Timestamp;

use crate::layer::{Rules, Special};
use crate::limiter::{RateLimiter, Tier};
use crate::policies::Policies;
use crate::policy::{Found, Head, KeyBy};
use crate::store::{Act, Answer, Key, Keys, MOST_POLICIES, Question, QuotaStore};

/// What a request is charged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Charge {
    pub(crate) at: Timestamp,
    pub(crate) tier: Tier,
    pub(crate) to: Charged,
    pub(crate) cost: u64,
}

/// Whom a request is charged to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Charged {
    /// The same by all policies.
    One(Key),
    /// Somebody by each policy, and how many those are.
    Each([Key; MOST_POLICIES], usize),
}

impl Charged {
    pub(crate) fn keys(&self) -> Keys<'_> {
        match self {
            Self::One(key) => Keys::One(*key),
            Self::Each(keys, policies) => Keys::Each(keys.get(..*policies).unwrap_or(keys)),
        }
    }
}

/// Whom a look at a request has found.
enum Debtor {
    Is(Charged),
    Exempt,
    Unidentified,
}

impl Rules {
    /// What the request is charged; `None` if it is exempt, the time if nobody knows whom to charge.
    pub(crate) fn charge<St: QuotaStore>(
        &self,
        head: &Head<'_>,
        limiter: &RateLimiter<St>,
    ) -> Result<Option<Charge>, Timestamp> {
        let shared = &limiter.shared;
        let (mut tier, mut cost) = (Tier(0), shared.cost);
        let special = self.special.as_deref();
        if let Some(special) = special {
            if special.exempts(head) {
                return Ok(None);
            }
            if let Some(tier_of) = &special.tier {
                tier = shared.known(tier_of(head).unwrap_or_default());
            }
            if let Some(cost_of) = &special.cost {
                cost = cost_of(head);
            }
        }
        if cost == 0 {
            return Ok(None);
        }
        let find = |key: &KeyBy| match key.find(head, limiter) {
            Found::Key(key)
                if special.is_some_and(|special| special.exempt_keys.contains(&key)) =>
            {
                Found::Exempt
            }
            found => found,
        };
        let own = shared.tiers.get(tier.0).and_then(Policies::own_keys);
        let debtor = match own {
            None => Debtor::of(find(&self.key)),
            Some(own) => self.debtors(own, find),
        };
        match debtor {
            Debtor::Is(to) => Ok(Some(Charge {
                at: shared.clock.now(),
                tier,
                to,
                cost,
            })),
            Debtor::Exempt => Ok(None),
            Debtor::Unidentified => Err(shared.clock.now()),
        }
    }

    /// Whom each policy charges, some of which count under keys of their own.
    fn debtors(&self, own: &[Option<KeyBy>], find: impl Fn(&KeyBy) -> Found) -> Debtor {
        let mut keys = [Key::UNCOUNTED; MOST_POLICIES];
        // What all others count under is looked for once.
        let mut usual = None;
        for (key, own) in keys.iter_mut().zip(own) {
            let found = match own {
                Some(own) => find(own),
                None => *usual.get_or_insert_with(|| find(&self.key)),
            };
            *key = match found {
                Found::Key(key) => key,
                Found::Exempt => Key::UNCOUNTED,
                Found::Unidentified => return Debtor::Unidentified,
            };
        }
        if keys.iter().all(|key| *key == Key::UNCOUNTED) {
            return Debtor::Exempt;
        }
        Debtor::Is(Charged::Each(keys, own.len()))
    }

    /// Asks the store whether the charge can be spent.
    #[inline]
    pub(crate) fn ask<St: QuotaStore>(
        &self,
        limiter: &RateLimiter<St>,
        charge: &Charge,
    ) -> Answer<St::Later> {
        limiter.shared.store.ask(&Question {
            now: charge.at,
            tier: charge.tier.0,
            terms: limiter.shared.terms(charge.tier),
            keys: charge.to.keys(),
            cost: charge.cost,
            act: Act::Spend,
            detail: self.telling.anything(),
        })
    }
}

impl Debtor {
    const fn of(found: Found) -> Self {
        match found {
            Found::Key(key) => Self::Is(Charged::One(key)),
            Found::Exempt => Self::Exempt,
            Found::Unidentified => Self::Unidentified,
        }
    }
}

impl Special {
    /// Whether a request passes uncounted, whoever sends it.
    fn exempts(&self, head: &Head<'_>) -> bool {
        self.exempt_methods.contains(head.method)
            || self.exempts.iter().any(|exempts| exempts(head))
    }
}
