//! `hexDecode`, `hexEncode`, `sqlHexDecode`.

use super::scan::hex_pair;

/// Two digits, one byte. Nothing is checked: a letter that is no digit counts as the C code counts it, and an odd last
/// digit is dropped.
pub(super) fn decode(input: &[u8], out: &mut Vec<u8>) {
    out.extend(input.chunks_exact(2).map(|pair| {
        pair.iter().fold(0_u8, |byte, digit| {
            byte.wrapping_mul(16).wrapping_add(unchecked(*digit))
        })
    }));
}

const fn unchecked(digit: u8) -> u8 {
    if digit >= b'A' {
        (digit & 0xdf).wrapping_sub(b'A').wrapping_add(10)
    } else {
        digit.wrapping_sub(b'0')
    }
}

/// Two lower-case digits for each byte.
pub(super) fn encode(input: &[u8], out: &mut Vec<u8>) {
    out.reserve(input.len().saturating_mul(2));
    for byte in input {
        push(*byte, out);
    }
}

/// Appends `byte` as two digits.
pub(super) fn push(byte: u8, out: &mut Vec<u8>) {
    const fn digit(four: u8) -> u8 {
        if four < 10 {
            b'0' + four
        } else {
            b'a' + four - 10
        }
    }
    out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
}

/// `0x` and pairs of digits become the bytes they say: `0x414243` is `ABC`.
pub(super) fn sql(input: &[u8], out: &mut Vec<u8>) {
    let mut rest = input;
    while let Some(position) = memchr::memchr(b'0', rest) {
        let (before, literal) = rest.split_at(position);
        out.extend_from_slice(before);
        if let [_zero, b'x' | b'X', digits @ ..] = literal
            && let [high, low, ..] = digits
            && hex_pair(*high, *low).is_some()
        {
            rest = literal_bytes(digits, out);
        } else {
            out.push(b'0');
            rest = literal.get(1..).unwrap_or_default();
        }
    }
    out.extend_from_slice(rest);
}

fn literal_bytes<'a>(digits: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let mut rest = digits;
    while let [high, low, tail @ ..] = rest
        && let Some(byte) = hex_pair(*high, *low)
    {
        out.push(byte);
        rest = tail;
    }
    rest
}
