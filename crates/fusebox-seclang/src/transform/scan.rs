//! What the decoders have in common: hexadecimal digits, blanks, and the walk from escape to escape.

use memchr::memchr;

/// The value of a hexadecimal digit.
pub(crate) const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// The byte that two hexadecimal digits say.
pub(super) const fn hex_pair(high: u8, low: u8) -> Option<u8> {
    match (hex(high), hex(low)) {
        (Some(high), Some(low)) => Some(high << 4 | low),
        _ => None,
    }
}

/// The byte that `\uHHHH` says in JavaScript and CSS, and `%uHHHH` where no code page knows better: its low half, and
/// for full-width forms (U+FF01 to U+FF5E) the ASCII character they stand for.
pub(super) const fn narrow(high: u8, low: u8) -> u8 {
    if high == 0xff && low > 0 && low < 0x5f {
        low + 0x20
    } else {
        low
    }
}

/// What C's `isspace` accepts: Rust's `is_ascii_whitespace` leaves the vertical tab out.
pub(super) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Copies `input` and lets `decode` replace every escape.
///
/// `decode` sees what follows the `mark` and says how much of that belongs to the escape and what it stands for. What
/// it says consumed is never looked at again, so the whole walk is linear.
pub(super) fn decode_escapes(
    input: &[u8],
    mark: u8,
    out: &mut Vec<u8>,
    decode: impl Fn(&[u8]) -> Decoded,
) {
    let mut rest = input;
    while let Some(position) = memchr(mark, rest) {
        let (before, escape) = rest.split_at(position);
        out.extend_from_slice(before);
        let after = escape.get(1..).unwrap_or_default();
        let decoded = decode(after);
        match decoded.meaning {
            Meaning::Byte(byte) => out.push(byte),
            Meaning::Nothing => {}
            Meaning::Mark => out.push(mark),
        }
        rest = after.get(decoded.consumed..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

/// One escape: how many bytes after the mark belong to it, and what it means.
#[derive(Clone, Copy)]
pub(super) struct Decoded {
    pub(super) consumed: usize,
    pub(super) meaning: Meaning,
}

#[derive(Clone, Copy)]
pub(super) enum Meaning {
    Byte(u8),
    Nothing,
    /// No escape after all: the mark stands for itself.
    Mark,
}

impl Decoded {
    pub(super) const NO_ESCAPE: Self = Self {
        consumed: 0,
        meaning: Meaning::Mark,
    };

    pub(super) const fn byte(byte: u8, consumed: usize) -> Self {
        Self {
            consumed,
            meaning: Meaning::Byte(byte),
        }
    }

    pub(super) const fn nothing(consumed: usize) -> Self {
        Self {
            consumed,
            meaning: Meaning::Nothing,
        }
    }
}

/// How many bytes at the start of `input`, at most `most`, satisfy `wanted`.
pub(super) fn run_length(input: &[u8], most: usize, wanted: impl Fn(u8) -> bool) -> usize {
    input
        .iter()
        .take(most)
        .take_while(|byte| wanted(**byte))
        .count()
}
