//! SQL injection.
//!
//! | file | holds |
//! | --- | --- |
//! | `table` | words and fingerprints |
//! | `token` | a token |
//! | `lexer` | bytes to tokens |
//! | `fold` | tokens to a fingerprint |
//! | here | in which contexts a value is read, and which matches are none after all |

mod fold;
mod lexer;
pub(super) mod table;
mod token;

use memchr::{memchr, memmem};

use super::Fingerprint;
use fold::Folded;
use lexer::{Context, Lexer};
use token::Token;
pub(crate) use token::kind;

/// The fingerprint of the injection that the value is, if it is one.
pub(super) fn detect(value: &[u8]) -> Option<Fingerprint> {
    let as_it_is = read(value, None);
    let in_single = || {
        memchr(b'\'', value)?;
        read(value, Some(b'\''))
    };
    let in_double = || {
        memchr(b'"', value)?;
        read(value, Some(b'"'))
    };
    as_it_is.or_else(in_single).or_else(in_double)
}

/// Reads the value as standard SQL, and as `MySQL` does if there is a difference; and whatever version 4.0 of the C library has
/// come to read in another way, as it did before, too: each has found attacks that the other does not.
fn read(value: &[u8], quote: Option<u8>) -> Option<Fingerprint> {
    // Strings in double quotes are MySQL's.
    let is_mysqls = quote == Some(b'"');
    for before_4 in [false, true] {
        let context = Context {
            quote,
            mysql: is_mysqls,
            before_4,
        };
        let mut look = read_once(value, context);
        let mut changed = look.changed;
        if look.found.is_none() && look.is_ambiguous && !is_mysqls {
            let mysql = true;
            look = read_once(value, Context { mysql, ..context });
            changed |= look.changed;
        }
        if look.found.is_some() || !changed {
            return look.found;
        }
    }
    None
}

/// What came of reading a value in one context.
struct Look {
    found: Option<Fingerprint>,
    is_ambiguous: bool,
    changed: bool,
}

fn read_once(value: &[u8], context: Context) -> Look {
    let mut lexer = Lexer::new(value, context);
    let mut folded = fold::fold(&mut lexer);
    end_with_a_comment(&mut folded);
    let tokens = folded.tokens();
    let letters = fold::letters(tokens);
    let fingerprint = Fingerprint::new(&letters);
    let is_attack = table::is_attack(fingerprint.as_bytes())
        && !is_harmless(fingerprint.as_bytes(), tokens, lexer.tokens, value);
    Look {
        found: is_attack.then_some(fingerprint),
        is_ambiguous: lexer.ambiguous,
        changed: lexer.changed,
    }
}

/// A backtick that nothing follows is the comment of PHP's old `MySQL` module.
fn end_with_a_comment(folded: &mut Folded) {
    if let [_, _, .., last] = folded.tokens_mut()
        && last.kind == kind::BAREWORD
        && (last.open, last.close) == (b'`', 0)
        && last.text().is_empty()
    {
        last.kind = kind::COMMENT;
    }
}

/// Fingerprints that text has as well, and what tells the text from the attack. `read` is the number of tokens before folding.
fn is_harmless(fingerprint: &[u8], tokens: &[Token], read: u32, value: &[u8]) -> bool {
    // SQL Server does not log what has this word in a comment.
    if fingerprint.len() > 1
        && fingerprint.ends_with(&[kind::COMMENT])
        && memmem::find(value, b"sp_password").is_some()
    {
        return false;
    }
    match (fingerprint, tokens) {
        ([_, _], [first, second]) => is_harmless_pair(first, second, read, value),
        ([_, _, _], [first, second, third]) => {
            is_harmless_triple(fingerprint, [first, second, third], read)
        }
        _ => false,
    }
}

fn is_harmless_pair(first: &Token, second: &Token, read: u32, value: &[u8]) -> bool {
    if second.kind == kind::UNION {
        // `1 union` is English; with something folded away it is not.
        return read == 2;
    }
    let starts_with = |byte| second.text().first() == Some(&byte);
    if starts_with(b'#') {
        return true;
    }
    let is_comment = second.kind == kind::COMMENT;
    if first.kind == kind::BAREWORD && is_comment && !starts_with(b'/') {
        return true;
    }
    if first.kind == kind::NUMBER && is_comment {
        // `1234-ABCD--` has a number of an order; what follows the number in an attack is a blank or the comment.
        if starts_with(b'/') || read > 2 {
            return false;
        }
        let after = value.get(first.text().len()..).unwrap_or_default();
        return !matches!(after, [] | [0..=b' ' | 0x80.., ..] | [b'/', b'*', ..] | [b'-', b'-', ..]);
    }
    // Many put two hyphens into a text; attackers end with them.
    second.text().len() > 2 && starts_with(b'-')
}

fn is_harmless_triple(fingerprint: &[u8], tokens: [&Token; 3], read: u32) -> bool {
    let [first, second, third] = tokens;
    match fingerprint {
        b"sos" | b"s&s" => {
            // An attack leaves the quotes around it open: `..foo' + 'bar..`
            let fits = first.open == 0 && third.close == 0 && first.close == third.open;
            !fits
        }
        // `sexy and 17` is text, `sexy and 17<18` is not.
        b"s&n" | b"n&1" | b"1&1" | b"1&v" | b"1&s" => read == 3,
        _ if second.kind == kind::KEYWORD => {
            // Only writing a file is.
            let text = second.text();
            text.len() < 5
                || !text
                    .get(..4)
                    .is_some_and(|text| text.eq_ignore_ascii_case(b"INTO"))
        }
        _ => false,
    }
}
