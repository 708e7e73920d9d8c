//! Blanks and NULs: `compressWhitespace`, `removeWhitespace`, `trim`, `trimLeft`, `trimRight`, `removeNulls`,
//! `replaceNulls`.

use super::scan::is_space;

/// The no-break space of Latin-1, which the reference counts as a blank.
pub(super) const NO_BREAK_SPACE: u8 = 0xa0;

/// Every run of blanks becomes one space.
pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) {
    let mut in_blanks = false;
    for byte in input {
        let blank = is_blank(*byte);
        if !blank {
            out.push(*byte);
        } else if !in_blanks {
            out.push(b' ');
        }
        in_blanks = blank;
    }
}

/// Removes every blank, and the first byte of a no-break space in UTF-8 with its second.
pub(super) fn remove(input: &[u8], out: &mut Vec<u8>) {
    let mut rest = input;
    while let [byte, tail @ ..] = rest {
        rest = match rest {
            [0xc2, NO_BREAK_SPACE, after @ ..] => after,
            _ => {
                if !is_blank(*byte) {
                    out.push(*byte);
                }
                tail
            }
        };
    }
}

const fn is_blank(byte: u8) -> bool {
    is_space(byte) || byte == NO_BREAK_SPACE
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
