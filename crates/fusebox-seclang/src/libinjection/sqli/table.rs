//! What libinjection knows: words of SQL and what they are, and the fingerprints of attacks.
//!
//! Both are facts collected by Nick Galbreath and others (libinjection, BSD-3-Clause), as of its version 3.10, which 4.0 has
//! not changed. They are text files, so that a change can be read as one.

use super::kind;

/// A word or an expression of several, and the kind of token that it is.
#[derive(Clone, Copy)]
pub(crate) struct Keyword {
    pub(crate) word: &'static [u8],
    pub(crate) kind: u8,
}

/// Sorted lines of a word in capitals, a tab and a kind. The kind of what is only ever a part of an expression is `-`.
const TEXT: &[u8] = include_bytes!("keywords.txt");

const COUNT: usize = lines(TEXT);

static KEYWORDS: [Keyword; COUNT] = keywords();

/// Where the words with a first byte start, by that byte; the last entry is their number.
static FIRST: [u16; 257] = first();

/// The sorted fingerprints in capitals, each a line of five letters, filled up with blanks.
static FINGERPRINTS: &[u8] = include_bytes!("fingerprints.txt");

const FINGERPRINT: usize = 5;

const fn lines(mut text: &[u8]) -> usize {
    let mut count = 0;
    while let [byte, rest @ ..] = text {
        count += (*byte == b'\n') as usize;
        text = rest;
    }
    count
}

#[expect(
    clippy::indexing_slicing,
    reason = "runs in the compiler, which stops at what is out of bounds"
)]
const fn keywords() -> [Keyword; COUNT] {
    let mut all = [Keyword { word: b"", kind: 0 }; COUNT];
    let mut text = TEXT;
    let mut at = 0;
    while at < COUNT {
        let mut length = 0;
        while text[length] != b'\t' {
            length += 1;
        }
        let (word, rest) = text.split_at(length);
        all[at] = Keyword {
            word,
            kind: rest[1],
        };
        assert!(rest[2] == b'\n');
        (_, text) = rest.split_at(3);
        at += 1;
    }
    all
}

#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "runs in the compiler; there are a thousand words"
)]
const fn first() -> [u16; 257] {
    let all = keywords();
    let mut first = [COUNT as u16; 257];
    let mut at = COUNT;
    while at > 0 {
        at -= 1;
        let mut byte = 0;
        while byte <= all[at].word[0] as usize {
            first[byte] = at as u16;
            byte += 1;
        }
    }
    first
}

/// The longest word.
pub(crate) const LONGEST: usize = longest();

#[expect(clippy::indexing_slicing, reason = "runs in the compiler")]
const fn longest() -> usize {
    let all = keywords();
    let mut longest = 0;
    let mut at = 0;
    while at < COUNT {
        if all[at].word.len() > longest {
            longest = all[at].word.len();
        }
        at += 1;
    }
    longest
}

/// The word in any case, or a part of an expression.
fn find(word: &[u8]) -> Option<Keyword> {
    if word.len() > LONGEST {
        return None;
    }
    let capital = usize::from(word.first()?.to_ascii_uppercase());
    let start = usize::from(*FIRST.get(capital)?);
    let end = usize::from(*FIRST.get(capital + 1)?);
    let range = KEYWORDS.get(start..end)?;
    let found = range.binary_search_by(|keyword| {
        let capitals = word.iter().map(u8::to_ascii_uppercase);
        keyword.word.iter().copied().cmp(capitals)
    });
    range.get(found.ok()?).copied()
}

/// The kind of a word or an expression.
pub(super) fn lookup(word: &[u8]) -> Option<u8> {
    find(word)
        .map(|keyword| keyword.kind)
        .filter(|kind| *kind != kind::PART)
}

/// Whether this is a word, or a part of an expression.
pub(crate) fn is_word(word: &[u8]) -> bool {
    find(word).is_some()
}

/// Whether a value with tokens of these kinds is an attack, as far as tokens can tell.
pub(super) fn is_attack(fingerprint: &[u8]) -> bool {
    if fingerprint.is_empty() || fingerprint.len() > FINGERPRINT {
        return false;
    }
    let mut wanted = [b' '; FINGERPRINT];
    for (slot, kind) in wanted.iter_mut().zip(fingerprint) {
        *slot = kind.to_ascii_uppercase();
    }
    let (lines, _) = FINGERPRINTS.as_chunks::<{ FINGERPRINT + 1 }>();
    lines
        .binary_search_by(|[line @ .., _]| line.cmp(&wanted))
        .is_ok()
}

#[cfg(test)]
pub(crate) fn fingerprints() -> impl Iterator<Item = &'static str> {
    let lines = FINGERPRINTS.split(|byte| *byte == b'\n');
    lines
        .map(|line| str::from_utf8(line.trim_ascii()).unwrap())
        .filter(|line| !line.is_empty())
}

#[cfg(test)]
pub(crate) fn words() -> impl Iterator<Item = (&'static [u8], u8)> {
    KEYWORDS.iter().map(|keyword| (keyword.word, keyword.kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_sorted() {
        assert!(KEYWORDS.is_sorted_by_key(|keyword| keyword.word));
        let (lines, rest) = FINGERPRINTS.as_chunks::<{ FINGERPRINT + 1 }>();
        assert!(lines.is_sorted() && rest.is_empty());
        assert!(lines.iter().all(|line| line.ends_with(b"\n")));
    }

    #[test]
    fn every_word_is_found_in_any_case() {
        for (word, kind) in words() {
            assert_eq!(find(word).unwrap().kind, kind);
            assert_eq!(find(&word.to_ascii_lowercase()).unwrap().kind, kind);
            assert!(
                find(&[word, b"x"].concat()).is_none_or(|found| found.word.len() == word.len() + 1)
            );
        }
        assert_eq!(lookup(b"dumpfile"), None);
        assert!(is_word(b"dumpfile"));
        assert_eq!(lookup(b"group by"), Some(b'B'));
        for none in [&b""[..], b"\xff", b"selec", b"~"] {
            assert!(find(none).is_none(), "{none:?}");
        }
    }

    #[test]
    fn every_fingerprint_is_found() {
        assert_eq!(fingerprints().count(), 8_367);
        assert!(fingerprints().all(|letters| is_attack(letters.as_bytes())));
        assert!(is_attack(b"s&sos") && is_attack(b"X"));
        for none in [&b""[..], b"n", b"1", b"s&sosx", b"nn"] {
            assert!(!is_attack(none), "{none:?}");
        }
    }

    /// The port of somebody else has the same tables.
    #[test]
    fn the_tables_are_libinjections() {
        use libinjectionrs::sqli::sqli_data::SQL_KEYWORDS;
        let mut theirs = 0;
        for keyword in SQL_KEYWORDS {
            match keyword.word.strip_prefix('0') {
                Some(fingerprint) => assert!(is_attack(fingerprint.as_bytes())),
                None => {
                    assert_eq!(lookup(keyword.word.as_bytes()), Some(keyword.token_type));
                }
            }
            theirs += 1;
        }
        let ours = words().filter(|(_, kind)| *kind != kind::PART).count() + fingerprints().count();
        assert_eq!(ours, theirs);
    }

    /// What the gate asks: every word that an expression is made of, but `LIKE`.
    #[test]
    fn the_parts_of_expressions_are_words() {
        for (word, _) in words() {
            let parts = word.split(|byte| !(byte.is_ascii_alphanumeric() || *byte == b'_'));
            for part in parts.filter(|part| !part.is_empty()) {
                assert!(is_word(part), "{}", part.escape_ascii());
            }
        }
    }
}
