//! What a text must have for an expression to match it.
//!
//! Everything here may only be too weak: a text that matches has it all. The tree of the expression is walked once; for each part
//! we know how short a match can be, sets of bytes of which a match holds at least one each, and strings of which a match holds at
//! least one. After Russ Cox, "Regular Expression Matching with a Trigram Index" (2012), which asks the same of a code search, with
//! whole strings instead of trigrams and with sets of bytes, because a value of a request is short.

use regex_syntax::hir::{Class, Hir, HirKind};

use super::restrict::PLAIN;
use crate::ByteSet;

/// What a text must have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// Bytes.
    pub(super) length: usize,
    /// Of each of these at least one byte.
    pub(super) sets: Vec<ByteSet>,
    /// At least one of these, without case; nothing is known if there are none.
    pub(super) literals: Vec<Vec<u8>>,
}

/// What a text must have, by what it is written in; `None` where no such text matches.
#[derive(Clone, Debug, Default)]
pub(super) struct NeedsBy {
    pub(super) any: Option<Needs>,
    pub(super) plain: [Option<Needs>; PLAIN],
}

impl NeedsBy {
    pub(super) fn plain(&self, alphabet: usize) -> Option<&Needs> {
        self.plain.get(alphabet)?.as_ref()
    }
}

/// Strings are cut to this: longer ones tell little more and make the automaton larger.
pub(super) const MAX_LITERAL: usize = 8;

/// A single byte is better looked up in a set.
const MIN_LITERAL: usize = 2;

/// Strings that one part of an expression is multiplied out to.
const MAX_EXACT: usize = 64;

/// Strings for one expression; CRS's lists of function names have a few hundred.
const MAX_LITERALS: usize = 800;

/// Classes that are multiplied out: both cases of a letter, a quote or another.
const MAX_CLASS: u32 = 8;

/// Sets that are kept for one expression.
const MAX_SETS: usize = 6;

impl Needs {
    pub(super) fn of(hir: &Hir) -> Self {
        let known = walk(hir);
        let literals = known.best().map(cut).unwrap_or_default();
        let mut sets = known.sets;
        // The rarest first: small sets without letters and digits.
        sets.sort_by_key(|set| rank(*set));
        sets.dedup();
        sets.truncate(MAX_SETS);
        Self {
            length: hir.properties().minimum_len().unwrap_or(0),
            sets,
            literals,
        }
    }

    /// What a text must have to hold one of these phrases.
    pub(super) fn of_phrases(phrases: &[Vec<u8>]) -> Self {
        let literals = cut(phrases.to_vec());
        let usable = literals.iter().all(|literal| literal.len() >= MIN_LITERAL);
        let first = phrases.iter().fold(ByteSet::EMPTY, |set, phrase| {
            let byte = phrase.first().copied().unwrap_or_default();
            set.with(byte.to_ascii_lowercase())
                .with(byte.to_ascii_uppercase())
        });
        Self {
            length: phrases.iter().map(Vec::len).min().unwrap_or(0),
            sets: vec![first],
            literals: if usable { literals } else { Vec::new() },
        }
    }
}

/// How common the bytes of a set are in benign values: a letter counts for a vowel's share, a digit likewise, other bytes little.
fn rank(set: ByteSet) -> u32 {
    let common = ByteSet::LOWERCASE.union(ByteSet::DIGITS);
    let usual = ByteSet::of(b"/.-_ =&;,:+").union(ByteSet::UPPERCASE);
    40 * set.intersection(common).len() + 10 * set.intersection(usual).len() + set.len()
}

/// What is known about a part of an expression.
#[derive(Clone, Debug, Default)]
struct Known {
    /// All strings it can match, in lower case, if they are few.
    exact: Option<Vec<Vec<u8>>>,
    /// A match holds one of these.
    within: Option<Vec<Vec<u8>>>,
    sets: Vec<ByteSet>,
}

impl Known {
    /// The strings of which a match holds one, if there are useful ones.
    fn best(&self) -> Option<Vec<Vec<u8>>> {
        better(self.exact.clone(), self.within.clone())
    }
}

/// How much a set of strings rules out: by its shortest, then by how few there are.
fn value_of(literals: &[Vec<u8>]) -> (usize, usize) {
    let shortest = literals.iter().map(Vec::len).min().unwrap_or(0);
    (shortest.min(MAX_LITERAL), usize::MAX - literals.len())
}

fn better(a: Option<Vec<Vec<u8>>>, b: Option<Vec<Vec<u8>>>) -> Option<Vec<Vec<u8>>> {
    let usable = |set: &Vec<Vec<u8>>| {
        !set.is_empty()
            && set.len() <= MAX_LITERALS
            && set.iter().all(|literal| literal.len() >= MIN_LITERAL)
    };
    match (a.filter(usable), b.filter(usable)) {
        (Some(a), Some(b)) => Some(if value_of(&a) >= value_of(&b) { a } else { b }),
        (a, b) => a.or(b),
    }
}

/// A text that holds a string holds any part of it.
fn cut(mut literals: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    for literal in &mut literals {
        literal.truncate(MAX_LITERAL);
        literal.make_ascii_lowercase();
    }
    literals.sort_unstable();
    literals.dedup();
    literals
}

fn walk(hir: &Hir) -> Known {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Known {
            exact: Some(vec![Vec::new()]),
            ..Known::default()
        },
        HirKind::Literal(literal) => Known {
            exact: Some(vec![literal.0.to_ascii_lowercase()]),
            within: None,
            sets: literal.0.iter().map(|byte| ByteSet::of(&[*byte])).collect(),
        },
        HirKind::Class(class) => of_class(class),
        HirKind::Capture(capture) => walk(&capture.sub),
        HirKind::Repetition(repetition) => {
            let inner = walk(&repetition.sub);
            match (repetition.min, repetition.max) {
                (0, Some(1)) => Known {
                    exact: inner.exact.map(|mut exact| {
                        exact.push(Vec::new());
                        exact
                    }),
                    ..Known::default()
                },
                (0, _) => Known::default(),
                (1, Some(1)) => inner,
                _ => Known {
                    exact: None,
                    within: inner.best(),
                    sets: inner.sets,
                },
            }
        }
        HirKind::Concat(parts) => concat(parts),
        HirKind::Alternation(parts) => alternation(parts),
    }
}

fn of_class(class: &Class) -> Known {
    let set = match class {
        Class::Bytes(bytes) => bytes.ranges().iter().fold(ByteSet::EMPTY, |set, range| {
            set.union(ByteSet::range(range.start(), range.end()))
        }),
        // Not built without Unicode; nothing is known then.
        Class::Unicode(_) => return Known::default(),
    };
    let exact = (set.len() <= MAX_CLASS).then(|| {
        let mut exact: Vec<Vec<u8>> = set
            .iter()
            .map(|byte| vec![byte.to_ascii_lowercase()])
            .collect();
        exact.sort_unstable();
        exact.dedup();
        exact
    });
    Known {
        exact,
        within: None,
        sets: if set == ByteSet::FULL {
            Vec::new()
        } else {
            vec![set]
        },
    }
}

fn concat(parts: &[Hir]) -> Known {
    let mut sets = Vec::new();
    let mut within: Option<Vec<Vec<u8>>> = None;
    // What the parts since the last gap multiply out to.
    let mut run: Vec<Vec<u8>> = vec![Vec::new()];
    let mut whole = true;
    for part in parts {
        let known = walk(part);
        sets.extend(known.sets.iter().copied());
        let product = known.exact.as_ref().and_then(|exact| multiply(&run, exact));
        match product {
            Some(product) => run = product,
            None => {
                whole = false;
                within = better(within, Some(std::mem::take(&mut run)));
                within = better(within, known.best());
                // A part too large to multiply may still begin the next run.
                run = match known.exact {
                    Some(exact) if exact.len() <= MAX_EXACT => exact,
                    _ => vec![Vec::new()],
                };
            }
        }
    }
    if whole {
        return Known {
            exact: Some(run),
            within: None,
            sets,
        };
    }
    Known {
        exact: None,
        within: better(within, Some(run)),
        sets,
    }
}

/// Every string of one followed by every string of the other, if that is not too much.
fn multiply(left: &[Vec<u8>], right: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    if left.len().saturating_mul(right.len()) > MAX_EXACT {
        return None;
    }
    let mut product: Vec<Vec<u8>> = left
        .iter()
        .flat_map(|left| {
            right
                .iter()
                .map(move |right| [&left[..], &right[..]].concat())
        })
        .collect();
    product.sort_unstable();
    product.dedup();
    Some(product)
}

fn alternation(parts: &[Hir]) -> Known {
    let known: Vec<Known> = parts.iter().map(walk).collect();
    let exact: Option<Vec<Vec<u8>>> = known
        .iter()
        .map(|known| known.exact.clone())
        .collect::<Option<Vec<_>>>()
        .map(|sets| sets.concat())
        .filter(|exact| exact.len() <= MAX_LITERALS);
    let within = known
        .iter()
        .map(Known::best)
        .collect::<Option<Vec<_>>>()
        .map(|sets| sets.concat());
    // One set for all of them: the rarest of each.
    let one = known
        .iter()
        .map(|known| known.sets.iter().copied().min_by_key(|set| rank(*set)))
        .try_fold(ByteSet::EMPTY, |all, set| Some(all.union(set?)));
    Known {
        exact,
        within,
        sets: one.into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::compile::regex;

    fn needs(pattern: &str) -> Needs {
        Needs::of(&regex::tree(pattern, false).unwrap())
    }

    fn literals(pattern: &str) -> Vec<String> {
        let literals = needs(pattern).literals;
        literals
            .iter()
            .map(|literal| String::from_utf8_lossy(literal).into_owned())
            .collect()
    }

    #[test]
    fn finds_the_strings_that_a_match_must_hold() {
        for (pattern, expected) in [
            (r"a+union\s+select", &["select"][..]),
            ("(?i)UniOn", &["union"]),
            (r"\b(?:eval|exec)\s*\(", &["eval", "exec"]),
            ("ab?c", &["abc", "ac"]),
            ("[xy]z.*", &["xz", "yz"]),
            ("foo|b", &[]),
            (".*", &[]),
            ("(?:ab)?", &[]),
            ("(?:abc){2,}", &["abc"]),
            ("information_schema", &["informat"]),
        ] {
            assert_eq!(literals(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn finds_the_sets_of_which_a_match_holds_a_byte() {
        let sets = needs(r"\.{2,3}[/;\\]").sets;
        assert!(sets.contains(&ByteSet::of(b".")), "{sets:?}");
        assert!(sets.contains(&ByteSet::of(b"/;\\")), "{sets:?}");
        assert_eq!(needs("a*").sets, []);
        assert_eq!(needs("(?:<a|>b)").sets, [ByteSet::of(b"<>")]);
    }

    /// Whether the needs let the text through.
    fn passes(needs: &Needs, text: &[u8]) -> bool {
        let lower = text.to_ascii_lowercase();
        let present = ByteSet::of(text);
        text.len() >= needs.length
            && needs.sets.iter().all(|set| set.intersects(present))
            && (needs.literals.is_empty()
                || needs
                    .literals
                    .iter()
                    .any(|literal| memchr::memmem::find(&lower, literal).is_some()))
    }

    proptest! {
        /// Random expressions over a small alphabet, random texts over the same: what matches always passes.
        #[test]
        fn what_matches_has_what_is_needed(
            pattern in r"(\(\?i\))?([ab]|\[ab\]|c|\.|\(a\|bc\)|\(ab\?\|[xb]\{1,2\}\)){1,6}([*+?]|\{2\})?[abx]{0,3}(\|[abc]{0,3})?\$?",
            texts in prop::collection::vec("[abcABCx]{0,10}", 30),
        ) {
            let Ok(regex) = regex::compile(&pattern, false) else { return Ok(()) };
            let needs = needs(&pattern);
            for text in texts {
                if regex.is_match(text.as_bytes()) {
                    prop_assert!(passes(&needs, text.as_bytes()), "{} {} {:?}", pattern, text, needs);
                }
            }
        }
    }
}
