//! `@detectSQLi` and `@detectXSS`: where the detector will be asked. Until it is here they never match.

pub(crate) const fn is_sqli(_text: &[u8]) -> bool {
    false
}

pub(crate) const fn is_xss(_text: &[u8]) -> bool {
    false
}

pub(crate) const fn sqli_fingerprint(_text: &[u8]) -> Vec<u8> {
    Vec::new()
}
