//! What the operators ask of one value.

/// The number at the start of `text`, as C's `atoi` reads it: blanks, a sign, digits; 0 if there is none.
///
/// Saturates instead of overflowing: a hostile Content-Length of thirty digits is large, not negative.
pub(crate) fn number(text: &[u8]) -> i64 {
    let text = text.trim_ascii_start();
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let mut number: i64 = 0;
    for byte in digits.iter().take_while(|byte| byte.is_ascii_digit()) {
        number = number
            .saturating_mul(10)
            .saturating_add(i64::from(byte - b'0'));
    }
    if negative { -number } else { number }
}

/// `needle` in `text`, and not in the middle of a longer word.
pub(crate) fn contains_word(text: &[u8], needle: &[u8]) -> bool {
    if needle.is_empty() {
        return true;
    }
    let is_word = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    memchr::memmem::find_iter(text, needle).any(|at| {
        let before = at.checked_sub(1).and_then(|before| text.get(before));
        !is_word(before) && !is_word(text.get(at + needle.len()))
    })
}

/// A `%` that two hexadecimal digits do not follow.
pub(crate) fn bad_url_encoding(text: &[u8]) -> bool {
    memchr::memchr_iter(b'%', text).any(|at| {
        !matches!(
            text.get(at + 1..at + 3),
            Some([a, b]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit()
        )
    })
}

/// Bytes that are no UTF-8: overlong forms, surrogates and numbers beyond Unicode included.
pub(crate) fn bad_utf8(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers_as_c_does_and_never_overflows() {
        for (text, expected) in [
            ("", 0),
            ("12", 12),
            (" -7x", -7),
            ("+3", 3),
            ("x5", 0),
            ("99999999999999999999", i64::MAX),
        ] {
            assert_eq!(number(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn finds_whole_words() {
        assert!(contains_word(b"a select b", b"select"));
        assert!(contains_word(b"select", b"select"));
        assert!(!contains_word(b"selected", b"select"));
        assert!(!contains_word(b"_select", b"select"));
        assert!(contains_word(b"selected select", b"select"));
    }

    #[test]
    fn tells_bad_encodings() {
        assert!(!bad_url_encoding(b"a%20b"));
        assert!(bad_url_encoding(b"a%2"));
        assert!(bad_url_encoding(b"100%"));
        assert!(bad_utf8(b"\xc0\xaf"));
        assert!(!bad_utf8("\u{e9}".as_bytes()));
    }
}
