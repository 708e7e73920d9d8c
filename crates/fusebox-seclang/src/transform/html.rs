//! `htmlEntityDecode`.

use super::scan::{Decoded, decode_escapes, hex, run_length};

/// Numeric entities, and the five names that ModSecurity knows, with or without a semicolon.
///
/// A number is cut to its low byte (what is beyond 63 bits is 0xff, as `strtol` saturates); `&nbsp;` is the byte 0xa0.
/// A name that is not known stays as it is.
pub(super) fn decode(input: &[u8], out: &mut Vec<u8>) {
    decode_escapes(input, b'&', out, entity);
}

/// Longer than every name that is known, so that a run of letters is not measured to its end.
const NAME_LENGTH: usize = "nbsp".len() + 1;

fn entity(after: &[u8]) -> Decoded {
    let (byte, length) = match after {
        [b'#', b'x' | b'X', digits @ ..] => match number(digits, 16) {
            Some((byte, length)) => (byte, 2 + length),
            None => return Decoded::NO_ESCAPE,
        },
        [b'#', digits @ ..] => match number(digits, 10) {
            Some((byte, length)) => (byte, 1 + length),
            None => return Decoded::NO_ESCAPE,
        },
        name => {
            let length = run_length(name, NAME_LENGTH, |byte| byte.is_ascii_alphanumeric());
            match known(name.get(..length).unwrap_or_default()) {
                Some(byte) => (byte, length),
                None => return Decoded::NO_ESCAPE,
            }
        }
    };
    let semicolon = usize::from(after.get(length) == Some(&b';'));
    Decoded::byte(byte, length + semicolon)
}

fn known(name: &[u8]) -> Option<u8> {
    const NAMES: [(&[u8], u8); 5] = [
        (b"quot", b'"'),
        (b"amp", b'&'),
        (b"lt", b'<'),
        (b"gt", b'>'),
        (b"nbsp", 0xa0),
    ];
    let known = NAMES
        .iter()
        .find(|(known, _byte)| known.eq_ignore_ascii_case(name))?;
    Some(known.1)
}

/// The low byte of a number, and how many digits it has.
fn number(digits: &[u8], base: u8) -> Option<(u8, usize)> {
    let mut value: i64 = 0;
    let mut length = 0;
    for digit in digits.iter().map_while(|byte| hex(*byte)) {
        if digit >= base {
            break;
        }
        value = value
            .saturating_mul(i64::from(base))
            .saturating_add(i64::from(digit));
        length += 1;
    }
    let [low, ..] = value.to_le_bytes();
    (length > 0).then_some((low, length))
}
