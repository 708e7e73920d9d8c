//! The oracle of the injection detectors: their gates change nothing, and what another port of the C library takes for an attack is
//! one here too.
//!
//! Both are run on the value many times over as well: what takes more than linear time for a few bytes is seen by the time limit of
//! the fuzzer.

use fusebox_seclang::libinjection::{self, Detector as _, Tokens};

/// As long as a body may be in practice, and a few milliseconds for a detector that is linear.
const LONG: usize = 1 << 12;

/// Panics where a detector does not do with `value` what it should.
pub(crate) fn check(value: &[u8]) {
    judged(value);
    // C's `strchr` finds the end of its list too, so that a NUL ends a variable; the other port reads on.
    let nul_in_variable = value.contains(&b'@') && value.contains(&0);
    let theirs = !nul_in_variable && libinjectionrs::detect_sqli(value).is_injection();
    assert!(
        !theirs || Tokens.sqli(value).is_some(),
        "missed SQL: {}",
        value.escape_ascii()
    );
    let theirs = libinjectionrs::detect_xss(value).is_injection();
    assert!(
        !theirs || Tokens.xss(value),
        "missed HTML: {}",
        value.escape_ascii()
    );
    if !value.is_empty() {
        judged(&value.repeat(LONG / value.len()));
    }
}

fn judged(value: &[u8]) {
    let sqli = Tokens.sqli(value);
    assert_eq!(libinjection::sqli(value), sqli, "{}", value.escape_ascii());
    if let Some(fingerprint) = sqli {
        assert!(
            (1..=5).contains(&fingerprint.as_bytes().len()),
            "{fingerprint:?}"
        );
    }
    let xss = Tokens.xss(value);
    assert_eq!(libinjection::xss(value), xss, "{}", value.escape_ascii());
}
