//! `urlDecode`, `urlDecodeUni`, `urlEncode`.

use super::best_fit;
use super::scan::{hex_pair, narrow};

/// `%HH` and `+`; what is no valid escape stays as it is.
pub(super) fn decode(input: &[u8], out: &mut Vec<u8>) {
    walk(input, out, |_after_percent| None);
}

/// As [`decode`], and `true` if there was a percent sign that begins no valid escape: what a form is read with.
pub(crate) fn decode_counting(input: &[u8], out: &mut Vec<u8>) -> bool {
    walk(input, out, |_after_percent| None)
}

/// As [`decode`], and `%uHHHH`, the form that IIS accepts.
///
/// The code page is 20127 (US-ASCII), the one that ModSecurity's recommended configuration loads: `%u0107` is a `c`,
/// `%u2018` a quote. What that table does not know is its low byte, as in ModSecurity without a table.
pub(super) fn decode_uni(input: &[u8], out: &mut Vec<u8>) {
    walk(input, out, |after_percent| {
        let [b'u' | b'U', a, b, c, d, ..] = after_percent else {
            return None;
        };
        let (high, low) = (hex_pair(*a, *b)?, hex_pair(*c, *d)?);
        let code = u16::from_be_bytes([high, low]);
        Some(best_fit::us_ascii(code).unwrap_or_else(|| narrow(high, low)))
    });
}

/// Whether a percent sign began no escape.
fn walk(input: &[u8], out: &mut Vec<u8>, unicode: impl Fn(&[u8]) -> Option<u8>) -> bool {
    const UNICODE_LENGTH: usize = "uHHHH".len();
    let mut invalid = false;
    let mut rest = input;
    // A plus stands for every space, so there are many: they are replaced on the way, many bytes at a time.
    let plain = |out: &mut Vec<u8>, bytes: &[u8]| {
        out.extend(bytes.iter().map(|byte| match byte {
            b'+' => b' ',
            byte => *byte,
        }));
    };
    while let Some(position) = memchr::memchr(b'%', rest) {
        let (before, marked) = rest.split_at(position);
        plain(out, before);
        let Some((_percent, after)) = marked.split_first() else {
            break;
        };
        rest = after;
        if let Some(byte) = unicode(after) {
            out.push(byte);
            rest = after.get(UNICODE_LENGTH..).unwrap_or_default();
        } else if let [high, low, tail @ ..] = after
            && let Some(byte) = hex_pair(*high, *low)
        {
            out.push(byte);
            rest = tail;
        } else {
            invalid = true;
            out.push(b'%');
        }
    }
    plain(out, rest);
    invalid
}

/// Everything but `[A-Za-z0-9*]` as `%hh`, a space as `+`.
pub(super) fn encode(input: &[u8], out: &mut Vec<u8>) {
    for byte in input {
        match byte {
            b' ' => out.push(b'+'),
            byte if is_kept(*byte) => out.push(*byte),
            byte => {
                out.push(b'%');
                super::hex::push(*byte, out);
            }
        }
    }
}

/// What [`encode`] leaves as it is.
pub(super) const fn is_kept(byte: u8) -> bool {
    byte == b'*' || byte.is_ascii_alphanumeric()
}
