//! What no detector has to be asked about: a look at which bytes there are, instead of microseconds of reading.
//!
//! Each gate is a claim about the method, not about one implementation of it, and the tests check it against the
//! detector behind it.

use super::{Detector, Fingerprint, plain};
use crate::ByteSet;

/// What one word or number is made of. One expression alone is no injection; a number before a word (`1union`) makes
/// two tokens, but no fingerprint.
const WORD: ByteSet = ByteSet::DIGITS
    .union(ByteSet::UPPERCASE)
    .union(ByteSet::LOWERCASE)
    .union(ByteSet::of(b"_"));

/// What numbers, versions and addresses are made of. With letters a dot would part keywords: `select.11null`.
const NUMBER: ByteSet = ByteSet::DIGITS.union(ByteSet::of(b"."));

/// Whether a value with these bytes in it could be a SQL injection.
///
/// ```
/// use fusebox_seclang::{ByteSet, libinjection::may_be_sqli};
///
/// assert!(!may_be_sqli(ByteSet::of(b"4f2a9c0e_session")));
/// assert!(!may_be_sqli(ByteSet::of(b"192.0.2.7")));
/// assert!(may_be_sqli(ByteSet::of(b"1 or 1")));
/// ```
#[must_use]
pub const fn may_be_sqli(present: ByteSet) -> bool {
    !present.is_subset(WORD) && !present.is_subset(NUMBER)
}

/// Whether the value is the name of a value in JSON, as the body processor makes it: `json.`, then words, numbers and dots.
///
/// A dot parts a word only after a keyword, and none begins with `json.`, so such a name is one token: no injection. Asked
/// because half of what a JSON body gives the rules to look at is names.
#[must_use]
pub fn is_json_name(value: &[u8]) -> bool {
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
    value
        .strip_prefix(b"json.")
        .is_some_and(|rest| rest.iter().all(inner))
}

/// Whether a value with these bytes in it could be XSS: it opens a tag, or it gives an attribute a value.
///
/// ```
/// use fusebox_seclang::{ByteSet, libinjection::may_be_xss};
///
/// assert!(!may_be_xss(ByteSet::of(b"a sentence, with 'quotes' & all > nothing.")));
/// assert!(may_be_xss(ByteSet::of(b"\" onload=alert(1)")));
/// ```
#[must_use]
pub const fn may_be_xss(present: ByteSet) -> bool {
    present.intersects(ByteSet::of(b"<="))
}

/// A detector that is asked only where the answer is not known beforehand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gated<D>(pub D);

impl<D: Detector> Gated<D> {
    /// As [`sqli`](Detector::sqli), where the bytes that occur in the value are known.
    pub(super) fn sqli_of(&self, value: &[u8], present: ByteSet) -> Option<Fingerprint> {
        if !may_be_sqli(present) || is_json_name(value) || plain::is_no_sql(value) {
            None
        } else {
            self.0.sqli(value)
        }
    }

    /// As [`xss`](Detector::xss), where the bytes that occur in the value are known.
    pub(super) fn xss_of(&self, value: &[u8], present: ByteSet) -> bool {
        may_be_xss(present) && self.0.xss(value)
    }
}

impl<D: Detector> Detector for Gated<D> {
    fn sqli(&self, value: &[u8]) -> Option<Fingerprint> {
        self.sqli_of(value, ByteSet::of(value))
    }

    fn xss(&self, value: &[u8]) -> bool {
        self.xss_of(value, ByteSet::of(value))
    }
}
