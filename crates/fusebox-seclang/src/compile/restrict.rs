//! What is left of an expression for texts of few different bytes.
//!
//! CRS guards every letter of its lists of commands against quotes, brackets and backslashes in between, and asks for operators
//! and quotes around its words. A text that has none of those bytes can take none of these ways: without them the expression is a
//! list of plain words, or cannot match at all.

use regex_syntax::hir::{Class, ClassBytes, ClassBytesRange, Hir, HirKind, Repetition};

use crate::ByteSet;

/// How many alphabets there are.
pub(crate) const PLAIN: usize = 1;

/// What plain texts are written in, the smallest first: words, numbers and names.
pub(crate) const ALPHABETS: [ByteSet; PLAIN] = [WORDS];

const WORDS: ByteSet = ByteSet::LOWERCASE
    .union(ByteSet::UPPERCASE)
    .union(ByteSet::DIGITS)
    .union(ByteSet::of(b" .,_-"));

/// The smallest alphabet that these bytes are of.
pub(crate) fn alphabet_of(present: ByteSet) -> Option<usize> {
    ALPHABETS
        .iter()
        .position(|alphabet| present.is_subset(*alphabet))
}

/// What becomes of an expression in one alphabet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Plain {
    /// It matches no text of these bytes.
    Never,
    /// It asks for no other byte.
    Same,
    /// This one does what it does.
    Other(u32),
}

/// An expression that matches the texts of `alphabet` that `hir` matches, in the same places; `None` if it matches none.
pub(super) fn restrict(hir: &Hir, alphabet: ByteSet) -> Option<Hir> {
    Some(match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => hir.clone(),
        HirKind::Literal(literal) => {
            if !literal.0.iter().all(|byte| alphabet.contains(*byte)) {
                return None;
            }
            hir.clone()
        }
        HirKind::Class(Class::Bytes(class)) => {
            let mut left = class.clone();
            left.intersect(&class_of(alphabet));
            if left.ranges().is_empty() {
                return None;
            }
            Hir::class(Class::Bytes(left))
        }
        // Not built without Unicode.
        HirKind::Class(Class::Unicode(_)) => hir.clone(),
        // Nobody asks for the groups of what is restricted.
        HirKind::Capture(capture) => restrict(&capture.sub, alphabet)?,
        HirKind::Repetition(repetition) => match restrict(&repetition.sub, alphabet) {
            Some(sub) => Hir::repetition(Repetition {
                sub: Box::new(sub),
                ..repetition.clone()
            }),
            None if repetition.min == 0 => Hir::empty(),
            None => return None,
        },
        HirKind::Concat(parts) => Hir::concat(
            parts
                .iter()
                .map(|part| restrict(part, alphabet))
                .collect::<Option<_>>()?,
        ),
        HirKind::Alternation(parts) => {
            let left: Vec<Hir> = parts
                .iter()
                .filter_map(|part| restrict(part, alphabet))
                .collect();
            if left.is_empty() {
                return None;
            }
            Hir::alternation(left)
        }
    })
}

fn class_of(set: ByteSet) -> ClassBytes {
    ClassBytes::new(set.iter().map(|byte| ClassBytesRange::new(byte, byte)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::compile::regex;

    fn restricted(pattern: &str, alphabet: &[u8]) -> Option<String> {
        let tree = regex::tree(pattern, false).unwrap();
        restrict(&tree, ByteSet::of(alphabet)).map(|tree| tree.to_string())
    }

    #[test]
    fn leaves_what_the_bytes_can_be() {
        let plain = |pattern: &str| Some(regex::tree(pattern, false).unwrap().to_string());
        let letters = b"abcdefghijklmnopqrstuvwxyz ";
        assert_eq!(restricted(r#"l["'\\]*s["'\\]*\s"#, letters), plain("ls "));
        assert_eq!(
            restricted("select|union;|from", letters),
            plain("select|from")
        );
        assert_eq!(restricted("(?:a;)?b", letters), plain("b"));
        assert_eq!(restricted("a;|;", letters), None);
        assert_eq!(restricted("(?:a;)+b", letters), None);
        assert_eq!(restricted("a[^b]", b"ab"), plain("aa"));
    }

    #[test]
    fn upper_and_lower_case_of_a_text_have_the_same_alphabet() {
        for alphabet in ALPHABETS {
            for byte in alphabet.iter() {
                assert!(alphabet.contains(byte.to_ascii_lowercase()));
                assert!(alphabet.contains(byte.to_ascii_uppercase()));
            }
        }
    }

    proptest! {
        /// Random expressions, random texts of half their bytes: both forms match the same, in the same place.
        #[test]
        fn matches_what_the_whole_expression_matches(
            pattern in r"(\(\?i\))?([ab]|\[a;\]|c|\.|\(a;\|bc\)|\(ab\?\|[x;b]\{1,2\}\)|\(\?:;a\)[?*]|\\b){1,6}([*+?]|\{2\})?[abx;]{0,3}(\|[abc;]{0,3})?\$?",
            texts in prop::collection::vec("[abcABCx ]{0,10}", 30),
        ) {
            let Ok(tree) = regex::tree(&pattern, false) else { return Ok(()) };
            let whole = regex::build(&pattern, &tree).unwrap();
            let left = restrict(&tree, ByteSet::of(b"abcABCx "));
            let left = left.map(|tree| regex::build(&pattern, &tree).unwrap());
            for text in texts {
                let found = left.as_ref().and_then(|left| left.find(&text));
                prop_assert_eq!(whole.find(&text), found, "{} {}", pattern, text);
            }
        }
    }
}
