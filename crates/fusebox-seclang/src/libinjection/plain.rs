//! Values that read like SQL to a tokenizer but cannot be an injection: most headers, names, addresses and much text.
//!
//! A detector costs microseconds for each of them. What is said here rests on two facts about libinjection's tables:
//! no fingerprint is made of names, numbers, operators and punctuation alone, without a keyword, a string, a comment,
//! a variable or a parenthesis; and with parentheses but none of the others, none begins as a user agent does,
//! `Mozilla/5.0 (`, which is a name and a parenthesis, or a name, an operator and a number.

use super::sqli::table::{self, LONGEST};
use crate::ByteSet;

/// Whether `value` is certainly no SQL injection. Linear; `false` says nothing.
///
/// Parentheses elsewhere are left to the detector: what it folds away can bring an operator and a parenthesis together
/// that were not, so the tokens around one say nothing.
pub(super) fn is_no_sql(value: &[u8]) -> bool {
    let may_have_parentheses = starts_like_a_product(value);
    let mut rest = value;
    while let [byte, after @ ..] = rest {
        let length = name_length(rest);
        if length > 0 {
            let (name, after) = rest.split_at(length);
            if has_keyword(name) {
                return false;
            }
            rest = after;
            continue;
        }
        match (byte, after.first()) {
            // Comments, and a logical operator.
            (b'-', Some(b'-')) | (b'/', Some(b'*')) | (b'&', Some(b'&')) => return false,
            (b'(' | b')', _) if !may_have_parentheses => return false,
            (byte, _) if PLAIN.contains(*byte) => {}
            _ => return false,
        }
        rest = after;
    }
    true
}

/// Blanks, operators and punctuation that are one token each, or one with a neighbour, of no other kind.
const PLAIN: ByteSet = ByteSet::of(b" \t\r\n.,:;?-/&+=%*<>!~^()");

/// `name/1.0 (`, as the first product of a user agent with its comment (RFC 9110 section 10.1.5).
fn starts_like_a_product(value: &[u8]) -> bool {
    let name = value
        .iter()
        .take_while(|byte| byte.is_ascii_alphabetic())
        .count();
    let (name, rest) = value.split_at(name);
    let Some(rest) = rest.strip_prefix(b"/") else {
        return false;
    };
    let version = rest
        .iter()
        .take_while(|byte| byte.is_ascii_digit() || **byte == b'.')
        .count();
    let (version, rest) = rest.split_at(version);
    !name.is_empty()
        && version.first().is_some_and(u8::is_ascii_digit)
        && rest.trim_ascii_start().starts_with(b"(")
}

/// How many bytes at the start of `rest` are part of a name or a number. The no-break space of Latin-1 is a blank to
/// libinjection, so it is left to it.
fn name_length(rest: &[u8]) -> usize {
    rest.iter()
        .take_while(|byte| {
            byte.is_ascii_alphanumeric()
                || **byte == b'_'
                || (**byte >= 0x80 && **byte != super::NO_BREAK_SPACE)
        })
        .count()
}

/// Whether a run of letters and digits is a keyword or, after the digits it begins with, has one in it.
fn has_keyword(name: &[u8]) -> bool {
    // A number ends where its digits, its exponent or its suffix end, and a name may follow at once: `1union`.
    let digits = name.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return is_keyword(name);
    }
    // No tail that is longer can be one.
    let first = digits.max(name.len().saturating_sub(LONGEST));
    (first..name.len()).any(|start| is_keyword(name.get(start..).unwrap_or_default()))
}

/// `LIKE` is an operator, which is let through.
fn is_keyword(name: &[u8]) -> bool {
    table::is_word(name) && !name.eq_ignore_ascii_case(b"LIKE")
}

#[cfg(test)]
mod tests {
    use super::super::sqli::table::fingerprints;
    use super::*;

    /// The two facts, about every fingerprint in the table. `LIKE` is an operator.
    #[test]
    fn no_fingerprint_is_made_of_what_passes() {
        for fingerprint in fingerprints() {
            let without = fingerprint.chars().all(|token| "N1O,.:;?".contains(token));
            assert!(!without, "{fingerprint}");
            let with = fingerprint
                .chars()
                .all(|token| "N1O,.:;?()".contains(token));
            let begins = ["N(", "NO1"]
                .iter()
                .any(|start| fingerprint.starts_with(start));
            assert!(!(with && begins), "{fingerprint}");
        }
    }

    #[test]
    fn what_clients_send_every_day_passes() {
        for value in [
            "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
            "en-US,en;q=0.5",
            "gzip, deflate, br",
            "/products/blue-shirt",
            "blue cotton shirt, size 40",
            "2024-01-01 10:00:00",
            "8f14e45f-ceea-167a-5a36-dedd4bea2543",
            "Grüße, Welt!",
            "a=1&b=2",
        ] {
            assert!(is_no_sql(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn what_could_be_sql_does_not() {
        for value in [
            "1 or 1",
            "1union",
            "x'",
            "1--",
            "a/*b",
            "1 && 1",
            "sleep(5)",
            "1,(1)",
            "1)+1",
            "select.11null",
            "1 x(1+",
            "@a",
            "$a",
            "[a]",
            "{a",
            "`a`",
            "a\\b",
            "a#b",
            "a|b",
            "\"a",
            "(1)",
            "x (1)",
            "union/1 (",
            "a\0b",
            "a\u{a0}b",
        ] {
            assert!(!is_no_sql(value.as_bytes()), "{value}");
        }
    }
}
