//! The client's side: what a server says of its limits, and holding back until it is ready again.

use std::time::{Duration, SystemTime};

use fusebox_core::{
    Timestamp,
    sync::{AtomicU64, Ordering},
};
use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};

use crate::ConfigError;
use crate::config::LONGEST_WAIT;

/// A month's quota is the longest there is; a server that says more is mistaken, and so is who believes it.
const LONGEST_REST: Duration = Duration::from_secs(31 * 86_400);

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
    pub(crate) fn new(longest: Duration, max_wait: Duration) -> Result<Self, ConfigError> {
        let most_wait = longest.min(LONGEST_WAIT);
        for (field, given, least, most) in [
            ("longest", longest, Duration::from_nanos(1), LONGEST_REST),
            ("max_wait", max_wait, Duration::ZERO, most_wait),
        ] {
            if given < least || given > most {
                return Err(ConfigError::Heed { field, given, most });
            }
        }
        Ok(Self {
            until: AtomicU64::new(0),
            longest,
            max_wait,
        })
    }

    /// How long the server still wants to be left alone.
    pub(crate) fn rest(&self, now: Timestamp) -> Duration {
        Timestamp::from_nanos(self.until.load(Ordering::Relaxed)).since(now)
    }

    /// Hears what an answer says.
    pub(crate) fn hear(&self, status: StatusCode, headers: &HeaderMap, now: Timestamp) {
        let after = rest_asked(status, headers);
        if !after.is_zero() {
            let until = now + after.min(self.longest);
            self.until.fetch_max(until.as_nanos(), Ordering::Relaxed);
        }
    }
}

/// For how long a server's answer asks to be left alone; zero if it does not. What [`heed`](crate::RateLimitLayer::heed)
/// goes by, for clients that hold back by themselves.
///
/// `Retry-After` (RFC 9110, section 10.2.3; of a 429 or 503 only), and only without one that can be read, the `t` of what
/// has nothing left in a `RateLimit` field: the first takes precedence (draft-ietf-httpapi-ratelimit-headers-11). Or
/// `grpc-retry-pushback-ms` (gRFC A6), if that is longer. What cannot be read asks for nothing.
///
/// ```
/// use std::time::Duration;
/// use http::{HeaderMap, StatusCode};
/// use fusebox_rate_limit::rest_asked;
///
/// let mut headers = HeaderMap::new();
/// headers.insert("ratelimit", r#""burst";r=0;t=3, "daily";r=970;t=36000"#.parse().unwrap());
/// assert_eq!(rest_asked(StatusCode::OK, &headers), Duration::from_secs(3));
/// headers.insert("retry-after", "120".parse().unwrap());
/// assert_eq!(rest_asked(StatusCode::TOO_MANY_REQUESTS, &headers), Duration::from_secs(120));
/// ```
#[must_use]
pub fn rest_asked(status: StatusCode, headers: &HeaderMap) -> Duration {
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
    [after.or(exhausted), pushback]
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
    // One that is over asks for no more.
    Some(then.duration_since(now).unwrap_or_default())
}

/// When all is there again of which a `RateLimit` field says that nothing is left: the longest `t` of the items with
/// `r=0`. A field that is no list of items with parameters (RFC 9651) is ignored as a whole, as the RFC wants it; blanks
/// are taken where they do no harm. Each byte is looked at once.
fn exhausted(field: &[u8]) -> Option<Duration> {
    let mut longest = None;
    let mut rest = field.trim_ascii();
    loop {
        rest = bare(rest)?.1;
        let (mut left, mut seconds) = (None, None);
        while let [b';', after @ ..] = rest {
            let (name, after) = name(after.trim_ascii_start())?;
            let (value, after) = match after {
                [b'=', after @ ..] => bare(after)?,
                _ => (&[][..], after.trim_ascii_start()),
            };
            match name {
                b"r" => left = number(value),
                b"t" => seconds = number(value),
                _ => {}
            }
            rest = after;
        }
        if left == Some(0) {
            longest = longest.max(seconds);
        }
        match rest {
            [] => return longest.map(Duration::from_secs),
            [b',', after @ ..] => rest = after.trim_ascii_start(),
            _ => return None,
        }
    }
}

/// A bare item, and what follows it and its blanks. A string ends at its closing quote, anything else at a separator.
fn bare(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = match text {
        [b'"', string @ ..] => {
            let mut escaped = false;
            let close = string.iter().position(|byte| {
                let closes = *byte == b'"' && !escaped;
                escaped = *byte == b'\\' && !escaped;
                closes
            });
            close? + 2
        }
        _ => text
            .iter()
            .position(|byte| matches!(byte, b';' | b',' | b'"' | b' ' | b'\t'))
            .unwrap_or(text.len()),
    };
    let (item, after) = text.split_at_checked(end)?;
    (!item.is_empty()).then_some((item, after.trim_ascii_start()))
}

/// The name of a parameter, and what follows it.
fn name(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_name = |byte: &u8| {
        byte.is_ascii_lowercase()
            || byte.is_ascii_digit()
            || matches!(byte, b'_' | b'-' | b'.' | b'*')
    };
    let end = text.iter().position(|byte| !is_name(byte));
    let (name, after) = text.split_at_checked(end.unwrap_or(text.len()))?;
    (!name.is_empty()).then_some((name, after))
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
        rest_asked(StatusCode::from_u16(status).unwrap(), &fields.collect())
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
    fn retry_after_goes_before_what_is_said_of_quotas() {
        let quota = ("ratelimit", r#""daily";r=0;t=3600"#);
        for (after, seconds) in [("5", 5), ("0", 0), ("7200", 7_200), ("soon", 3_600)] {
            let asked = heard(429, &[quota, ("retry-after", after)]);
            assert_eq!(asked, Duration::from_secs(seconds), "{after}");
        }
        let past = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(heard(503, &[quota, ("retry-after", past)]), Duration::ZERO);
        assert_eq!(
            heard(200, &[quota, ("retry-after", "5")]),
            Duration::from_secs(3_600)
        );
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
            (r#""burst";r=0;pk=:cHsdsRa894==:;t=30"#, 30),
            (r#""burst";r=0;x="a;t=9, b;r=0";t=30;y"#, 30),
            (r#""a\"b;r=0;t=9,";r=0;t=30"#, 30),
            (r#""a\\";r=0;t=30"#, 30),
            (r#"burst;r=0;t=30"#, 30),
            (r#""burst";r=0;t=30;t=40"#, 40),
            // One that cannot be read, and the field is ignored.
            (r#""burst";r=0;t=30, "daily" r=1"#, 0),
            (r#""burst";r=0;t=30,"#, 0),
            (r#""burst";r=0;t=30;"#, 0),
            (r#""burst";R=0;t=30"#, 0),
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
        let heed = Heed::new(Duration::from_secs(60), Duration::ZERO).unwrap();
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

    #[test]
    fn settings_that_cannot_work_are_errors_that_name_the_field_and_the_limit() {
        let secs = Duration::from_secs;
        for (longest, max_wait, says) in [
            (secs(0), secs(0), "heed: longest: must be above zero"),
            (secs(40 * 86_400), secs(0), "heed: longest: must be at most"),
            (
                secs(60),
                secs(61),
                "heed: max_wait: must be at most 60s, got 61s",
            ),
            (
                secs(86_400),
                secs(7_200),
                "heed: max_wait: must be at most 3600s, got 7200s",
            ),
        ] {
            let error = Heed::new(longest, max_wait).unwrap_err().to_string();
            assert!(error.starts_with(says), "{error}");
        }
        assert!(Heed::new(secs(60), secs(60)).is_ok());
    }
}
