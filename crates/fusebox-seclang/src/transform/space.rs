//! Blanks and NULs: `compressWhitespace`, `removeWhitespace`, `trim`, `trimLeft`, `trimRight`, `removeNulls`,
//! `replaceNulls`.

use super::scan::is_space;

/// The no-break space of Latin-1, and the second byte of that of UTF-8.
pub(super) const NO_BREAK_SPACE: u8 = 0xa0;

/// Every run of blanks becomes one space.
///
/// The reference counts the no-break space as a blank and means the one byte of Latin-1. In UTF-8 that byte is also the
/// end of other letters (`à`, the Cyrillic `Р`), so here it has to stand alone or be a no-break space of UTF-8.
pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) {
    // Most long texts have single spaces and no other blanks, which is seen many bytes at a time.
    if input.len() >= LONG && has_single_spaces_only(input) {
        out.extend_from_slice(input);
        return;
    }
    let mut in_blanks = false;
    each_blank(input, |part| match part {
        Part::Blank => {
            if !in_blanks {
                out.push(b' ');
            }
            in_blanks = true;
        }
        Part::Other(byte) => {
            out.push(byte);
            in_blanks = false;
        }
    });
}

const LONG: usize = 256;

fn has_single_spaces_only(input: &[u8]) -> bool {
    memchr::memmem::find(input, b"  ").is_none()
        && memchr::memchr3(b'\t', b'\n', b'\r', input).is_none()
        && memchr::memchr3(0x0b, 0x0c, NO_BREAK_SPACE, input).is_none()
}

/// Removes every blank; which those are is as in [`compress`].
pub(super) fn remove(input: &[u8], out: &mut Vec<u8>) {
    if memchr::memchr(NO_BREAK_SPACE, input).is_none() {
        remove_ascii(input, out);
        return;
    }
    each_blank(input, |part| {
        if let Part::Other(byte) = part {
            out.push(byte);
        }
    });
}

/// Every byte is written, and the next one over it if it was a blank: no branch that text could make go wrong.
fn remove_ascii(input: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + input.len(), 0);
    let to = out.get_mut(start..).unwrap_or_default();
    let mut kept = 0;
    for byte in input {
        if let Some(to) = to.get_mut(kept) {
            *to = *byte;
        }
        kept += usize::from(!is_space(*byte));
    }
    out.truncate(start + kept);
}

enum Part {
    Blank,
    Other(u8),
}

fn each_blank(input: &[u8], mut found: impl FnMut(Part)) {
    let mut after_high = false;
    let mut rest = input;
    while let [byte, tail @ ..] = rest {
        let (part, after) = match rest {
            [0xc2, NO_BREAK_SPACE, after @ ..] if !after_high => (Part::Blank, after),
            [NO_BREAK_SPACE, ..] if !after_high => (Part::Blank, tail),
            _ if is_space(*byte) => (Part::Blank, tail),
            _ => (Part::Other(*byte), tail),
        };
        after_high = matches!(part, Part::Other(0x80..));
        found(part);
        rest = after;
    }
}

/// Removes blanks from both ends.
pub(super) fn trim(input: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(without_left(without_right(input)));
}

/// Removes blanks from the beginning.
pub(super) fn trim_left(input: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(without_left(input));
}

/// Removes blanks from the end.
pub(super) fn trim_right(input: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(without_right(input));
}

fn without_left(mut input: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = input
        && is_space(*first)
    {
        input = rest;
    }
    input
}

fn without_right(mut input: &[u8]) -> &[u8] {
    while let [rest @ .., last] = input
        && is_space(*last)
    {
        input = rest;
    }
    input
}

/// Removes every NUL.
pub(super) fn remove_nulls(input: &[u8], out: &mut Vec<u8>) {
    out.extend(input.iter().filter(|byte| **byte != 0));
}

/// Every NUL becomes a space.
pub(super) fn replace_null(byte: u8) -> u8 {
    if byte == 0 { b' ' } else { byte }
}
