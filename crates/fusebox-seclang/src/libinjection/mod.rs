//! SQL injection and cross-site scripting by tokens instead of patterns: `@detectSQLi` and `@detectXSS`.
//!
//! The method is libinjection's (Nick Galbreath, Black Hat USA 2012): the value is read as SQL in several contexts, up
//! to five tokens are folded into a fingerprint, and known fingerprints are attacks; for XSS it is read as HTML, and
//! what could run a script is an attack.
//!
//! [`Tokens`] follows the C library's version 4.0, and finds more than it in three things: what 4.0 has come to read in another
//! way (brackets, exponents without digits) is read as it was before, too; a closing tag with a blank in it does not hide the
//! next tag; and a NUL does not hide an event, `on\0load`.

mod gate;
mod own;
mod plain;
mod sqli;
#[cfg(test)]
mod tests;
mod xss;

pub use gate::{Gated, is_json_name, may_be_sqli, may_be_xss};
pub use own::Tokens;

/// Tells attacks from other values.
pub trait Detector {
    /// The fingerprint of the SQL injection that `value` is, if it is one.
    fn sqli(&self, value: &[u8]) -> Option<Fingerprint>;

    /// Whether `value` could run a script in a browser.
    fn xss(&self, value: &[u8]) -> bool;
}

use crate::ByteSet;

/// The tokens of a SQL injection, one letter each, at most eight: `s&1` is a string, a logical operator, a number.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    letters: [u8; 8],
}

impl Fingerprint {
    /// The fingerprint of these letters; what is beyond eight is dropped.
    #[must_use]
    pub fn new(letters: &[u8]) -> Self {
        let mut fingerprint = Self { letters: [0; 8] };
        for (slot, letter) in fingerprint.letters.iter_mut().zip(letters) {
            *slot = *letter;
        }
        fingerprint
    }

    /// The letters.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.letters
            .split(|letter| *letter == 0)
            .next()
            .unwrap_or_default()
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.as_bytes().escape_ascii())
    }
}

/// A blank of Latin-1, which libinjection knows as one.
const NO_BREAK_SPACE: u8 = 0xa0;

/// The detector of the engine.
const DETECTOR: Gated<Tokens> = Gated(Tokens);

/// The fingerprint of the SQL injection that `value` is, if it is one.
///
/// ```
/// use fusebox_seclang::libinjection;
///
/// assert_eq!(libinjection::sqli(b"1' or '1'='1").unwrap().as_bytes(), b"s&sos");
/// assert!(libinjection::sqli(b"O'Neill or Mr. Smith").is_none());
/// ```
#[must_use]
pub fn sqli(value: &[u8]) -> Option<Fingerprint> {
    DETECTOR.sqli(value)
}

/// Whether `value` could run a script in a browser.
///
/// ```
/// use fusebox_seclang::libinjection;
///
/// assert!(libinjection::xss(b"<img src=x onerror=alert(1)>"));
/// assert!(!libinjection::xss(b"2 < 3 and 4 > 3"));
/// ```
#[must_use]
pub fn xss(value: &[u8]) -> bool {
    DETECTOR.xss(value)
}

/// As [`sqli`], where the bytes that occur in the value are known.
pub(crate) fn sqli_of(value: &[u8], present: ByteSet) -> Option<Fingerprint> {
    DETECTOR.sqli_of(value, present)
}

/// As [`xss`], where the bytes that occur in the value are known.
pub(crate) fn xss_of(value: &[u8], present: ByteSet) -> bool {
    DETECTOR.xss_of(value, present)
}
