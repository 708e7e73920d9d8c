//! The client's side: what a server says of its limits, and holding back until it is ready again.

use std::time::{Duration, SystemTime};

use fusebox_core::{
    Timestamp,
    sync::{AtomicU64, Ordering},
};
use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};

/// Until when a server wants to be left alone.
#[derive(Debug)]
pub(crate) struct Heed {
    /// Nanoseconds on the limiter's clock. It only grows: the server's last word may be an older answer.
    until: AtomicU64,
    /// What a server may ask for at most: a mistake there must not end all traffic here.
    longest: Duration,
    /// How long a request waits for the server rather than be refused.
    pub(crate) max_wait: Duration,
}

impl Heed {
    pub(crate) const fn new(longest: Duration, max_wait: Duration) -> Self {
        Self {
            until: AtomicU64::new(0),
            longest,
            max_wait,
        }
    }

    /// How long the server still wants to be left alone.
    pub(crate) fn rest(&self, now: Timestamp) -> Duration {
        Timestamp::from_nanos(self.until.load(Ordering::Relaxed)).since(now)
    }

    /// Hears what an answer says.
    pub(crate) fn hear(&self, status: StatusCode, headers: &HeaderMap, now: Timestamp) {
        let after = told(status, headers);
        if !after.is_zero() {
            let until = now + after.min(self.longest);
            self.until.fetch_max(until.as_nanos(), Ordering::Relaxed);
        }
    }
}

/// For how long an answer asks to be left alone.
fn told(status: StatusCode, headers: &HeaderMap) -> Duration {
    let refused = matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    );
    let after = refused.then(|| retry_after(headers)).flatten();
    let exhausted = headers
        .get_all("ratelimit")
        .iter()
        .filter_map(|line| exhausted(line.as_bytes()))
        .max();
    let pushback = headers.get("grpc-retry-pushback-ms");
    let pushback = pushback.and_then(|value| number(value.as_bytes()).map(Duration::from_millis));
    [after, exhausted, pushback]
        .into_iter()
        .flatten()
        .max()
        .unwrap_or(Duration::ZERO)
}

/// Seconds, or a date (RFC 9110, section 10.2.3). A date is measured against the server's own, so that
/// clocks that differ do no harm.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?;
    if let Some(seconds) = number(value.as_bytes()) {
        return Some(Duration::from_secs(seconds));
    }
    let date = |value: &http::HeaderValue| httpdate::parse_http_date(value.to_str().ok()?).ok();
    let then = date(value)?;
    let now = headers
        .get(DATE)
        .and_then(date)
        .unwrap_or_else(SystemTime::now);
    then.duration_since(now).ok()
}

/// When the first quota of a `RateLimit` field with nothing left is there again: the longest `t` of the items
/// with `r=0`. Each byte is looked at a fixed number of times.
fn exhausted(field: &[u8]) -> Option<Duration> {
    let mut longest = None;
    let mut quoted = false;
    for item in field.split(|byte| {
        quoted ^= *byte == b'"';
        *byte == b',' && !quoted
    }) {
        // Names cannot be taken for parameters: what counts begins after the closing quote, if there is one.
        let close = item
            .iter()
            .rposition(|byte| *byte == b'"')
            .map_or(0, |at| at + 1);
        let quotes = item.iter().filter(|byte| **byte == b'"').count();
        if quotes % 2 == 1 {
            // It does not close: malformed, to the end of the field.
            break;
        }
        let parameters = item.get(close..).unwrap_or_default();
        let value = |name: &[u8]| {
            parameters
                .split(|byte| *byte == b';')
                .find_map(|part| number(part.trim_ascii().strip_prefix(name)?))
        };
        if value(b"r=") == Some(0)
            && let Some(seconds) = value(b"t=")
        {
            longest = longest.max(Some(Duration::from_secs(seconds)));
        }
    }
    longest
}

/// Digits and nothing else; too many of them are as many as there can be.
fn number(digits: &[u8]) -> Option<u64> {
    let digits = digits.trim_ascii();
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        digit.is_ascii_digit().then(|| {
            number
                .saturating_mul(10)
                .saturating_add(u64::from(digit - b'0'))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(status: u16, fields: &[(&'static str, &'static str)]) -> Duration {
        let fields = fields
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()));
        told(StatusCode::from_u16(status).unwrap(), &fields.collect())
    }

    #[test]
    fn retry_after_is_heard_from_refusals_as_seconds_or_as_a_date() {
        let seconds = |secs| Duration::from_secs(secs);
        assert_eq!(heard(429, &[("retry-after", "120")]), seconds(120));
        assert_eq!(heard(503, &[("retry-after", " 7 ")]), seconds(7));
        // The first examples of RFC 9110, section 10.2.3 and 5.6.7.
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        let after = ("retry-after", "Sun, 06 Nov 1994 08:50:37 GMT");
        assert_eq!(heard(503, &[date, after]), seconds(60));
        assert_eq!(heard(503, &[date, ("retry-after", date.1)]), seconds(0));
        assert_eq!(heard(200, &[("retry-after", "120")]), seconds(0));
        for nonsense in ["", "-1", "1.5", "soon", "12 34"] {
            assert_eq!(
                heard(429, &[("retry-after", nonsense)]),
                seconds(0),
                "{nonsense}"
            );
        }
        let endless = heard(429, &[("retry-after", "99999999999999999999999999")]);
        assert_eq!(endless, seconds(u64::MAX));
    }

    #[test]
    fn a_quota_with_nothing_left_is_heard_whatever_the_status() {
        for (field, seconds) in [
            (r#""burst";r=0;t=30"#, 30),
            (r#""burst";r=50;t=30"#, 0),
            (r#""burst";t=30;r=0"#, 30),
            (r#""burst"; r=0 ; t=3, "daily";r=0;t=60"#, 60),
            (r#""burst";r=0;t=3, "daily";r=9;t=60"#, 3),
            (r#""a,b;r=0;t=9";r=1;t=5"#, 0),
            (r#""open;r=0;t=9"#, 0),
            (r#""burst";r=0"#, 0),
            (r#""burst";r=;t=5"#, 0),
            (r#"";,,;;"",""#, 0),
        ] {
            assert_eq!(
                heard(200, &[("ratelimit", field)]),
                Duration::from_secs(seconds),
                "{field}"
            );
        }
    }

    #[test]
    fn nobody_is_left_alone_for_longer_than_was_agreed_or_sooner_than_was_asked() {
        let heed = Heed::new(Duration::from_secs(60), Duration::ZERO);
        let headers = |seconds: &'static str| {
            HeaderMap::from_iter([(RETRY_AFTER, http::HeaderValue::from_static(seconds))])
        };
        let now = Timestamp::from_nanos(5);
        heed.hear(StatusCode::TOO_MANY_REQUESTS, &headers("86400"), now);
        assert_eq!(heed.rest(now), Duration::from_secs(60));
        heed.hear(StatusCode::TOO_MANY_REQUESTS, &headers("1"), now);
        assert_eq!(heed.rest(now), Duration::from_secs(60));
        assert_eq!(heed.rest(now + Duration::from_secs(61)), Duration::ZERO);
    }
}
