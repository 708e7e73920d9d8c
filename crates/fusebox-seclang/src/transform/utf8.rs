//! `utf8toUnicode`.

use super::hex;

/// Every sequence of UTF-8 becomes `%uHHHH`, or `%uHHHHH` beyond the basic plane, in lower case.
///
/// Sequences that are too long for what they say, and surrogates, are decoded all the same, because servers do so, and
/// their first byte is left behind them as a trace, as in ModSecurity. A byte that begins no sequence stays; there
/// ModSecurity drops it, and with it what an attacker hid.
pub(super) fn to_unicode(input: &[u8], out: &mut Vec<u8>) {
    let mut rest = input;
    while let [first, tail @ ..] = rest {
        let Some((code, length)) = sequence(rest) else {
            out.push(*first);
            rest = tail;
            continue;
        };
        if *first >= 0xf5 {
            out.push(*first);
        }
        escape(code, out);
        if (0xd800..=0xdfff).contains(&code) {
            out.push(*first);
        }
        let shortest = match length {
            2 => 0x80,
            3 => 0x800,
            _ => 0x1_0000,
        };
        if code < shortest {
            out.push(*first);
        }
        rest = rest.get(length..).unwrap_or_default();
    }
}

/// The code that a lead byte and its continuation bytes say, and how many they are.
fn sequence(input: &[u8]) -> Option<(u32, usize)> {
    let first = *input.first()?;
    let (length, head) = match first {
        0xc0..=0xdf => (2, first & 0x1f),
        0xe0..=0xef => (3, first & 0x0f),
        0xf0..=0xf7 => (4, first & 0x07),
        _ => return None,
    };
    let mut code = u32::from(head);
    for byte in input.get(1..length)? {
        if byte & 0xc0 != 0x80 {
            return None;
        }
        code = code << 6 | u32::from(byte & 0x3f);
    }
    Some((code, length))
}

/// `%u` and four digits, or as many as it takes.
fn escape(code: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(b"%u");
    let start = out.len();
    for byte in code.to_be_bytes() {
        hex::push(byte, out);
    }
    let extra = usize::try_from(code.leading_zeros() / 4)
        .unwrap_or(4)
        .min(4);
    out.drain(start..start + extra);
}
