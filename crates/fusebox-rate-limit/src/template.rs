//! Refusals by HTTP as most of them are, put together once.

use std::time::Duration;

use bytes::Bytes;
use fusebox_core::Rejection;
use fusebox_http::number;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::headers::{Fields, Standings, Telling, seconds};
use crate::policies::Policies;

/// The header fields of a tier's refusals.
///
/// A map that is made field by field hashes each name and looks for its place each time. A copy of one that is there costs
/// a third of that: only the values that differ are written into it.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    headers: HeaderMap,
    /// What stands where. A map is iterated in the same order as the one that it is a copy of.
    slots: Box<[Slot]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    /// Always the same.
    Fixed,
    RetryAfter,
    Quotas,
    Limit,
    Remaining,
    Reset,
}

impl Template {
    pub(crate) fn new(telling: Telling, policies: &Policies) -> Self {
        const LATER: HeaderValue = HeaderValue::from_static("");
        let told = Fields {
            policy: policies.field(),
            quotas: Some(LATER),
            legacy: Some([LATER, LATER, LATER]),
        };
        let mut headers = HeaderMap::with_capacity(2 + telling.fields());
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(RETRY_AFTER, LATER);
        telling.write_all(&mut headers, told);
        let slot = |name: &http::HeaderName| match name.as_str() {
            "retry-after" => Slot::RetryAfter,
            "ratelimit" => Slot::Quotas,
            "x-ratelimit-limit" => Slot::Limit,
            "x-ratelimit-remaining" => Slot::Remaining,
            "x-ratelimit-reset" => Slot::Reset,
            _ => Slot::Fixed,
        };
        Self {
            slots: headers.keys().map(slot).collect(),
            headers,
        }
    }

    /// The answer to a request that is refused for its quota, for so long.
    pub(crate) fn refusal(
        &self,
        telling: Telling,
        rejection: Rejection,
        after: Duration,
        problem: Bytes,
        told: Option<(&Policies, &Standings)>,
    ) -> Response<Bytes> {
        let mut response = Response::new(problem);
        *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        let headers = response.headers_mut();
        *headers = self.headers.clone();
        let mut after = Some(number(seconds(after).max(1)));
        let told = told.map(|(policies, standings)| telling.values(policies, standings));
        let mut told = told.unwrap_or_default();
        let [mut limit, mut remaining, mut reset] = match told.legacy {
            Some(legacy) => legacy.map(Some),
            None => [None, None, None],
        };
        for (slot, value) in self.slots.iter().zip(headers.values_mut()) {
            let new = match slot {
                Slot::Fixed => continue,
                Slot::RetryAfter => after.take(),
                Slot::Quotas => told.quotas.take(),
                Slot::Limit => limit.take(),
                Slot::Remaining => remaining.take(),
                Slot::Reset => reset.take(),
            };
            if let Some(new) = new {
                *value = new;
            }
        }
        response.extensions_mut().insert(rejection);
        response
    }
}
