//! Expressions as PCRE without UTF reads them, for `regex-automata`.

use regex_automata::meta;
use regex_automata::util::syntax;
use regex_syntax::hir::Hir;

use crate::error::ErrorKind;

/// A compiled expression.
pub(crate) type Regex = meta::Regex;

/// An expression's program may take this much; CRS's largest (933120, 6,268 states) takes a tenth.
const SIZE_LIMIT: usize = 10 << 20;

/// Expressions whose full automaton is at most this large have it built at load: nothing is left to build while requests wait, and
/// hostile text costs what any other does. Three quarters of CRS's are, in 3 MiB all together; the others build theirs as they go.
const DFA_SIZE_LIMIT: usize = 500_000;

/// Expressions whose automaton is likely to be larger are not tried: states of the expression itself.
const DFA_STATE_LIMIT: usize = 1_000;

/// `.` matches a line end, `$` only the very end: what Coraza and ModSecurity 2 agree on.
fn config(ignore_case: bool) -> syntax::Config {
    syntax::Config::new()
        .unicode(false)
        .utf8(false)
        .dot_matches_new_line(true)
        .case_insensitive(ignore_case)
}

pub(crate) fn compile(pattern: &str, ignore_case: bool) -> Result<Regex, ErrorKind> {
    build(pattern, &tree(pattern, ignore_case)?)
}

/// Compiles an expression whose syntax tree is known.
pub(super) fn build(pattern: &str, tree: &Hir) -> Result<Regex, ErrorKind> {
    meta::Regex::builder()
        .configure(
            meta::Config::new()
                .utf8_empty(false)
                .dfa_size_limit(Some(DFA_SIZE_LIMIT))
                .dfa_state_limit(Some(DFA_STATE_LIMIT))
                .nfa_size_limit(Some(SIZE_LIMIT)),
        )
        .build_from_hir(tree)
        .map_err(|error| refused(pattern, &error.to_string()))
}

/// The syntax tree of an expression; the filter reads it too.
pub(crate) fn tree(pattern: &str, ignore_case: bool) -> Result<Hir, ErrorKind> {
    syntax::parse_with(&as_bytes(pattern), &config(ignore_case))
        .map_err(|error| refused(pattern, &error.to_string()))
}

fn refused(pattern: &str, reason: &str) -> ErrorKind {
    ErrorKind::Regex {
        pattern: pattern.to_owned(),
        // The last line of a syntax error says what it is; the lines before it draw an arrow.
        reason: reason.lines().last().unwrap_or_default().to_owned(),
    }
}

/// `\x{hh}` and characters beyond ASCII, written as the bytes they are.
///
/// Without Unicode the syntax takes neither; PCRE without UTF takes `\x{ff}` as one byte and a character as its UTF-8 bytes, one
/// by one even in a class.
fn as_bytes(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        if let Some((byte, after)) = braced_byte(rest) {
            push_byte(&mut out, byte);
            rest = after;
            continue;
        }
        let mut length = c.len_utf8();
        if c == '\\' {
            // An escaped backslash must not start an escape of its own.
            let escaped = rest.get(1..).and_then(|after| after.chars().next());
            if escaped.is_some_and(|c| c.is_ascii()) {
                length = 2;
            }
        }
        let (piece, after) = rest.split_at(length);
        if c.is_ascii() {
            out.push_str(piece);
        } else {
            piece.bytes().for_each(|byte| push_byte(&mut out, byte));
        }
        rest = after;
    }
    out
}

fn push_byte(out: &mut String, byte: u8) {
    use std::fmt::Write as _;
    let _infallible = write!(out, "\\x{byte:02x}");
}

/// The byte that `\x{..}` at the start of `text` stands for, if it is one, and the text after it.
fn braced_byte(text: &str) -> Option<(u8, &str)> {
    let (hex, after) = text.strip_prefix("\\x{")?.split_once('}')?;
    Some((u8::from_str_radix(hex, 16).ok()?, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_bytes_as_pcre_without_utf_does() {
        assert_eq!(as_bytes(r"a\x{ff}b\\x{ff}"), r"a\xffb\\x{ff}");
        assert_eq!(as_bytes("[“]"), r"[\xe2\x80\x9c]");
        assert!(
            compile(r"[^\x{bc}>]\x{be}", false)
                .unwrap()
                .is_match(b"a\xbe")
        );
        assert!(compile("[‘]", false).unwrap().is_match(b"\x98"));
    }

    #[test]
    fn a_dot_takes_a_line_end_and_a_dollar_only_the_end() {
        assert!(compile("a.b", false).unwrap().is_match(b"a\nb"));
        assert!(!compile("a$", false).unwrap().is_match(b"a\n"));
    }

    #[test]
    fn classes_are_ascii_and_so_is_case() {
        assert!(!compile(r"\s", false).unwrap().is_match("\u{a0}".as_bytes()));
        assert!(
            !compile("(?i)k", false)
                .unwrap()
                .is_match("\u{212a}".as_bytes())
        );
        assert!(compile("K", true).unwrap().is_match(b"k"));
    }

    #[test]
    fn what_the_syntax_lacks_is_an_error() {
        let error = compile(r"a(?=b)", false).unwrap_err();
        assert!(error.to_string().contains("look-around"), "{error}");
    }
}
