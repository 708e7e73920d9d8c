use std::borrow::Cow;

use super::{Detector, Fingerprint};

/// The crate `libinjectionrs`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Port;

impl Detector for Port {
    fn sqli(&self, value: &[u8]) -> Option<Fingerprint> {
        let found = libinjectionrs::detect_sqli(&bounded(value));
        found.is_injection().then(|| {
            Fingerprint::new(
                found
                    .fingerprint
                    .as_ref()
                    .map_or(&[], |fingerprint| fingerprint.as_bytes()),
            )
        })
    }

    fn xss(&self, value: &[u8]) -> bool {
        libinjectionrs::detect_xss(value).is_injection()
    }
}

/// How many dots and backticks of one word are left to the port. Names in SQL have two or three.
const MAX_DOTS: usize = 64;

/// `value`, with the dots and backticks replaced that a word has too many of.
///
/// At each of them the port looks up the word from its beginning, so a word of nothing but dots costs the square of
/// its length: half a second for 128 KiB.
fn bounded(value: &[u8]) -> Cow<'_, [u8]> {
    let mut bounded = Cow::Borrowed(value);
    let mut dots = 0;
    for (position, byte) in value.iter().enumerate() {
        if ENDS_A_WORD.contains(*byte) {
            dots = 0;
        } else if matches!(byte, b'.' | b'`') {
            dots += 1;
            if dots > MAX_DOTS
                && let Some(slot) = bounded.to_mut().get_mut(position)
            {
                *slot = b'_';
            }
        }
    }
    bounded
}

/// The bytes that no word of libinjection's SQL contains.
const ENDS_A_WORD: crate::ByteSet =
    crate::ByteSet::of(b" []{}<>:\\?=@!#~+-*/&|^%(),';\t\n\x0b\x0c\r\"\xa0\0");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_of_too_many_dots_are_touched() {
        let usual = "a.b.c ".repeat(100);
        assert!(matches!(bounded(usual.as_bytes()), Cow::Borrowed(_)));
        let hostile = "a.".repeat(100);
        let bounded = bounded(hostile.as_bytes());
        assert_eq!(
            bounded.iter().filter(|byte| **byte == b'.').count(),
            MAX_DOTS
        );
        assert_eq!(bounded.len(), hostile.len());
    }
}
