//! What clients are told of their quotas.
//!
//! Two header fields of `draft-ietf-httpapi-ratelimit-headers` (the fields of version 11 are those of 08 and
//! later), and the three that came before it. All are structured fields (RFC 9651) of printable ASCII,
//! which the names of policies are checked for.

use std::cell::RefCell;
use std::time::Duration;

use fusebox_core::Name;
use fusebox_http::number;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::Tier;
use crate::charge::{Charge, Charged};
use crate::policies::Policies;
use crate::store::{Key, MOST_POLICIES, Standing};

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LEGACY_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const LEGACY_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const LEGACY_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Which header fields tell clients of their quotas, besides `Retry-After`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuotaHeaders {
    /// None.
    #[default]
    None,
    /// `RateLimit` and `RateLimit-Policy` as in `draft-ietf-httpapi-ratelimit-headers-11`.
    ///
    /// A bucket is told as its burst, and as the time in which all of it comes back. `t` is the time until all of it is
    /// there again or the window ends; where nothing is left, the time until as much is there as this request costs: what
    /// `Retry-After` says. Policies that do not count a request are not told of.
    Draft11,
}

/// How the policies of a request's tier stand.
#[derive(Clone, Debug)]
pub(crate) struct Standings {
    pub(crate) tier: Tier,
    /// The policies that do not count the request (bit 0 is the first) and have nothing to say of it.
    uncounted: u8,
    all: Box<[Standing; MOST_POLICIES]>,
}

impl Standings {
    pub(crate) fn of(charge: &Charge, all: Box<[Standing; MOST_POLICIES]>) -> Self {
        let uncounted = match &charge.to {
            Charged::One(_) => 0,
            Charged::Each(keys, policies) => {
                let keys = keys.iter().take(*policies).enumerate();
                keys.fold(0, |set, (policy, key)| {
                    set | u8::from(*key == Key::UNCOUNTED) << policy
                })
            }
        };
        Self {
            tier: charge.tier,
            uncounted,
            all,
        }
    }

    /// Whether all policies count the request.
    pub(crate) const fn is_whole(&self) -> bool {
        self.uncounted == 0
    }

    /// What there is of each policy, of those that count the request.
    fn counted<T>(&self, of: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
        let counts = |policy: &usize| self.uncounted >> policy & 1 == 0;
        let policies = of.take(MOST_POLICIES).enumerate();
        policies.filter_map(move |(policy, of)| counts(&policy).then_some(of))
    }
}

/// What is written into which answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Telling {
    pub(crate) quotas: QuotaHeaders,
    pub(crate) legacy: bool,
}

impl Telling {
    /// Whether anything needs to be known of how policies stand.
    pub(crate) const fn anything(self) -> bool {
        self.legacy || !matches!(self.quotas, QuotaHeaders::None)
    }

    /// How many header fields it adds.
    pub(crate) const fn fields(self) -> usize {
        let quotas = match self.quotas {
            QuotaHeaders::None => 0,
            QuotaHeaders::Draft11 => 2,
        };
        if self.legacy { quotas + 3 } else { quotas }
    }

    /// Adds the header fields.
    pub(crate) fn write(self, headers: &mut HeaderMap, policies: &Policies, standings: &Standings) {
        // Room for all at once, and no more: past six fields the map takes a block that is twice as large.
        headers.reserve(self.fields());
        let mut told = self.values(policies, standings);
        if self.quotas == QuotaHeaders::Draft11 {
            told.policy = match standings.uncounted {
                0 => policies.field(),
                _ => policy_field(standings.counted(policies.told())),
            };
        }
        self.write_all(headers, told);
    }

    /// Adds these.
    pub(crate) fn write_all(self, headers: &mut HeaderMap, told: Fields) {
        if self.quotas == QuotaHeaders::Draft11 {
            // Appended, since an inner layer may have quotas of its own: both are lists.
            if let Some(policy) = told.policy {
                headers.append(RATELIMIT_POLICY, policy);
            }
            if let Some(quotas) = told.quotas {
                headers.append(RATELIMIT, quotas);
            }
        }
        if self.legacy
            && let Some([limit, remaining, reset]) = told.legacy
        {
            headers.insert(LEGACY_LIMIT, limit);
            headers.insert(LEGACY_REMAINING, remaining);
            headers.insert(LEGACY_RESET, reset);
        }
    }

    /// What differs from request to request.
    pub(crate) fn values(self, policies: &Policies, standings: &Standings) -> Fields {
        let mut told = Fields::default();
        if self.quotas == QuotaHeaders::Draft11 {
            let standing = policies.names().zip(&*standings.all);
            told.quotas = list(standings.counted(standing), |text, (name, standing)| {
                item(text, name, b";r=", standing.remaining);
                digits(text, b";t=", seconds(standing.reset));
            });
        }
        if self.legacy {
            let tightest = tightest(policies, standings);
            told.legacy = tightest.map(|(quota, standing)| {
                [quota, standing.remaining, seconds(standing.reset)].map(number)
            });
        }
        told
    }
}

/// The values of the header fields.
#[derive(Default)]
pub(crate) struct Fields {
    pub(crate) policy: Option<HeaderValue>,
    pub(crate) quotas: Option<HeaderValue>,
    /// Limit, what remains of it, and the time until it is reset.
    pub(crate) legacy: Option<[HeaderValue; 3]>,
}

/// The `RateLimit-Policy` field of these policies: their names, what they allow, in which time.
pub(crate) fn policy_field<'p>(
    told: impl Iterator<Item = (&'p Name, u64, Duration)>,
) -> Option<HeaderValue> {
    list(told, |text, (name, quota, window)| {
        item(text, name, b";q=", quota);
        digits(text, b";w=", seconds(window));
    })
}

/// The policy of which the smallest part is left.
fn tightest(policies: &Policies, standings: &Standings) -> Option<(u64, Standing)> {
    let quotas = policies.told().map(|(_, quota, _)| quota);
    // a / b < c / d, without dividing.
    standings
        .counted(quotas.zip(standings.all.iter().copied()))
        .min_by(|(b, a), (d, c)| {
            let left = u128::from(a.remaining) * u128::from(*d);
            left.cmp(&(u128::from(c.remaining) * u128::from(*b)))
        })
}

/// Members of a list, one line for all. `None` if they cannot be written into a header, which names are checked for.
fn list<T>(
    members: impl Iterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T),
) -> Option<HeaderValue> {
    thread_local! {
        /// Where lines are put together before they are as long as they will be.
        static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    LINE.with_borrow_mut(|text| {
        text.clear();
        for (at, member) in members.enumerate() {
            if at > 0 {
                text.extend_from_slice(b", ");
            }
            write(text, member);
        }
        HeaderValue::from_bytes(text).ok()
    })
}

fn item(text: &mut Vec<u8>, name: &Name, parameter: &[u8], value: u64) {
    text.push(b'"');
    text.extend_from_slice(name.as_str().as_bytes());
    text.push(b'"');
    digits(text, parameter, value);
}

fn digits(text: &mut Vec<u8>, parameter: &[u8], value: u64) {
    /// The largest integer of a structured field (RFC 9651, section 3.3.1).
    const MOST: u64 = 999_999_999_999_999;
    text.extend_from_slice(parameter);
    let mut room = [0; 15];
    let mut rest = value.min(MOST);
    let mut first = room.len();
    for (at, digit) in room.iter_mut().enumerate().rev() {
        // The remainder of a division by ten.
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        first = at;
        if rest == 0 {
            break;
        }
    }
    text.extend_from_slice(room.get(first..).unwrap_or_default());
}

/// Whole seconds, rounded up: whoever comes back then is not too early.
pub(crate) fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Policy, Quota};

    fn written(telling: Telling, policies: &[Policy], standings: &[(u64, u64)]) -> HeaderMap {
        let policies = Policies::new(&"test".into(), &"default".into(), policies);
        let mut all = [Standing::default(); MOST_POLICIES];
        for (standing, (remaining, millis)) in all.iter_mut().zip(standings) {
            *standing = Standing {
                remaining: *remaining,
                reset: Duration::from_millis(*millis),
            };
        }
        let standings = Standings {
            tier: Tier(0),
            uncounted: 0,
            all: Box::new(all),
        };
        let mut headers = HeaderMap::new();
        telling.write(&mut headers, &policies, &standings);
        headers
    }

    const DRAFT: Telling = Telling {
        quotas: QuotaHeaders::Draft11,
        legacy: false,
    };

    #[test]
    fn the_drafts_own_examples_are_written_as_the_draft_writes_them() {
        let burst = Policy::new("burst", Quota::per_minute(100));
        let headers = written(DRAFT, std::slice::from_ref(&burst), &[(50, 30_000)]);
        assert_eq!(headers["ratelimit-policy"], r#""burst";q=100;w=60"#);
        assert_eq!(headers["ratelimit"], r#""burst";r=50;t=30"#);

        let daily = Policy::new("daily", Quota::per_day(1_000));
        let headers = written(DRAFT, &[burst, daily], &[(0, 1), (999, 36_000_000)]);
        assert_eq!(
            headers["ratelimit-policy"],
            r#""burst";q=100;w=60, "daily";q=1000;w=86400"#
        );
        assert_eq!(
            headers["ratelimit"],
            r#""burst";r=0;t=1, "daily";r=999;t=36000"#
        );
    }

    #[test]
    fn a_bucket_is_told_as_its_burst_and_the_time_in_which_it_fills() {
        let bucket = Policy::new("api", Quota::per_second(20).burst(50));
        let headers = written(DRAFT, &[bucket], &[(40, 500)]);
        assert_eq!(headers["ratelimit-policy"], r#""api";q=50;w=3"#);
        assert_eq!(headers["ratelimit"], r#""api";r=40;t=1"#);
    }

    #[test]
    fn the_old_headers_tell_of_the_policy_that_is_nearest_to_its_end() {
        let telling = Telling {
            quotas: QuotaHeaders::None,
            legacy: true,
        };
        let policies = [
            Policy::new("burst", Quota::per_second(40)),
            Policy::new("daily", Quota::per_day(1_000)),
        ];
        let headers = written(telling, &policies, &[(20, 500), (100, 50_000_000)]);
        assert_eq!(headers["x-ratelimit-limit"], "1000");
        assert_eq!(headers["x-ratelimit-remaining"], "100");
        assert_eq!(headers["x-ratelimit-reset"], "50000");
        assert!(headers.get("ratelimit").is_none());
    }

    #[test]
    fn numbers_have_at_most_fifteen_digits() {
        for (value, digits) in [
            (0, "=0"),
            (9, "=9"),
            (10, "=10"),
            (999_999_999_999_999, "=999999999999999"),
            (u64::MAX, "=999999999999999"),
        ] {
            let mut text = Vec::new();
            super::digits(&mut text, b"=", value);
            assert_eq!(text, digits.as_bytes());
        }
    }
}
