use std::time::{Duration, SystemTime};

use http::{HeaderMap, header::RETRY_AFTER};

/// How long an answer asks to be left alone: `grpc-retry-pushback-ms` or `Retry-After`.
///
/// `Retry-After` is a number of seconds or a date (RFC 9110, section 10.2.3); a date is compared with
/// the system's clock, and one that has passed asks for nothing. A pushback that is not a number of
/// milliseconds means "do not retry" (gRFC A6) and says nothing of when the server is well again. What
/// cannot be read is `None`.
///
/// ```
/// use std::time::Duration;
/// use http::HeaderMap;
///
/// let mut headers = HeaderMap::new();
/// headers.insert("retry-after", "120".parse().unwrap());
/// assert_eq!(fusebox_http::retry_after(&headers), Some(Duration::from_secs(120)));
/// ```
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    if let Some(pushback) = headers.get("grpc-retry-pushback-ms") {
        return number(pushback.as_bytes()).map(Duration::from_millis);
    }
    let value = headers.get(RETRY_AFTER)?.as_bytes();
    if let Some(seconds) = number(value) {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()?;
    date.duration_since(SystemTime::now()).ok()
}

/// Digits and nothing else; more than fit is as much as fits.
fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(value.iter().fold(0_u64, |number, digit| {
        number
            .saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    }))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(name: &'static str, value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        retry_after(&headers)
    }

    #[test]
    fn reads_seconds_and_milliseconds() {
        assert_eq!(of("retry-after", "7"), Some(Duration::from_secs(7)));
        assert_eq!(
            of("grpc-retry-pushback-ms", "1500"),
            Some(Duration::from_millis(1_500))
        );
    }

    #[test]
    fn reads_a_date_that_is_yet_to_come() {
        let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(90));
        let wait = of("retry-after", &soon).unwrap();
        assert!(wait > Duration::from_secs(80) && wait <= Duration::from_secs(90));
        assert_eq!(of("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"), None);
    }

    #[test]
    fn what_cannot_be_read_asks_for_nothing() {
        for wrong in ["", "-1", "1.5", "+3", " 3", "soon", "0x10"] {
            assert_eq!(of("retry-after", wrong), None, "{wrong:?}");
            assert_eq!(of("grpc-retry-pushback-ms", wrong), None, "{wrong:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    #[test]
    fn a_number_that_does_not_fit_is_a_very_long_time() {
        let nines = "9".repeat(400);
        assert_eq!(
            of("retry-after", &nines),
            Some(Duration::from_secs(u64::MAX))
        );
    }
}
