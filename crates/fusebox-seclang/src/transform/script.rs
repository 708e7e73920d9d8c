//! `jsDecode`, `cssDecode`, `escapeSeqDecode`: the languages in which a backslash hides a letter.

use super::scan::{Decoded, decode_escapes, hex, hex_pair, is_space, narrow, run_length};

/// JavaScript: `\uHHHH` (full-width forms become ASCII), `\xHH`, `\OOO` up to `\377`, `\n` and its like. Any other
/// escaped character stands for itself.
pub(super) fn js(input: &[u8], out: &mut Vec<u8>) {
    decode_escapes(input, b'\\', out, |after| {
        if let [b'u', a, b, c, d, ..] = after
            && let (Some(high), Some(low)) = (hex_pair(*a, *b), hex_pair(*c, *d))
        {
            return Decoded::byte(narrow(high, low), 5);
        }
        if let [b'x', high, low, ..] = after
            && let Some(byte) = hex_pair(*high, *low)
        {
            return Decoded::byte(byte, 3);
        }
        match after {
            [b'0'..=b'3', ..] => octal(after, 3),
            // Three digits would be more than a byte.
            [b'4'..=b'7', ..] => octal(after, 2),
            [letter, ..] => Decoded::byte(control(*letter).unwrap_or(*letter), 1),
            [] => Decoded::NO_ESCAPE,
        }
    });
}

/// ANSI C: as in JavaScript but without `\u`, with `\XHH`, and with octal numbers that overflow.
pub(super) fn ansi_c(input: &[u8], out: &mut Vec<u8>) {
    decode_escapes(input, b'\\', out, |after| {
        if let [b'x' | b'X', high, low, ..] = after
            && let Some(byte) = hex_pair(*high, *low)
        {
            return Decoded::byte(byte, 3);
        }
        match after {
            [b'0'..=b'7', ..] => octal(after, 3),
            [letter, ..] => Decoded::byte(control(*letter).unwrap_or(*letter), 1),
            [] => Decoded::NO_ESCAPE,
        }
    });
}

/// CSS 2: up to six hexadecimal digits and one blank after them, an escaped newline that is nothing, or a character
/// that stands for itself.
///
/// Of the digits the last two count; where four say a full-width form, it becomes ASCII. A backslash at the very end
/// is dropped.
pub(super) fn css(input: &[u8], out: &mut Vec<u8>) {
    decode_escapes(input, b'\\', out, |after| {
        let length = run_length(after, 6, |byte| hex(byte).is_some());
        let byte = match after.get(..length).unwrap_or_default() {
            [] => {
                return match after {
                    [b'\n', ..] => Decoded::nothing(1),
                    [letter, ..] => Decoded::byte(*letter, 1),
                    [] => Decoded::nothing(0),
                };
            }
            [digit] => hex(*digit),
            // Only leading zeros leave it a number of four digits.
            [a, b, c, d] | [b'0', a, b, c, d] | [b'0', b'0', a, b, c, d] => {
                match (hex_pair(*a, *b), hex_pair(*c, *d)) {
                    (Some(high), Some(low)) => Some(narrow(high, low)),
                    _ => None,
                }
            }
            [.., high, low] => hex_pair(*high, *low),
        };
        let blank = after.get(length).is_some_and(|byte| is_space(*byte));
        Decoded::byte(byte.unwrap_or_default(), length + usize::from(blank))
    });
}

/// Up to `most` octal digits, of which the low byte counts.
fn octal(digits: &[u8], most: usize) -> Decoded {
    let length = run_length(digits, most, |byte| matches!(byte, b'0'..=b'7'));
    let byte = digits
        .iter()
        .take(length)
        .fold(0_u8, |byte, digit| (byte << 3) | (digit & 7));
    Decoded::byte(byte, length)
}

/// The letters that say a control character in C and JavaScript.
const fn control(letter: u8) -> Option<u8> {
    Some(match letter {
        b'a' => 0x07,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        _ => return None,
    })
}
