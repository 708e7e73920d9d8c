//! `@detectSQLi` and `@detectXSS`.

use crate::libinjection;

pub(crate) fn is_sqli(text: &[u8]) -> bool {
    libinjection::sqli(text).is_some()
}

pub(crate) fn is_xss(text: &[u8]) -> bool {
    libinjection::xss(text)
}

/// What `capture` puts into TX.0.
pub(crate) fn sqli_fingerprint(text: &[u8]) -> Vec<u8> {
    libinjection::sqli(text).map_or_else(Vec::new, |found| found.as_bytes().to_vec())
}
