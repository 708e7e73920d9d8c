//! `base64Decode`, `base64DecodeExt`, `base64Encode`.

/// Decodes up to the first byte that does not belong there. Line ends are skipped and padding may be missing, so the
/// beginning of something cut off is still seen.
pub(super) fn decode(input: &[u8], out: &mut Vec<u8>) {
    let mut bits = Bits::default();
    for byte in input {
        match (byte, standard(*byte)) {
            (b'\r' | b'\n', _) => {}
            (_, Some(six)) => bits.push(six, out),
            (_, None) => break,
        }
    }
}

/// Skips everything that does not belong there, and takes the URL-safe alphabet too. Padding after a single digit of a
/// group makes the whole nothing, as in ModSecurity.
pub(super) fn decode_forgiving(input: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let mut bits = Bits::default();
    let mut rest = input;
    while let [byte, tail @ ..] = rest {
        match byte {
            b'=' if bits.held == 6 && tail.first() != Some(&b'=') => {
                out.truncate(start);
                return;
            }
            b'-' => bits.push(62, out),
            b'_' => bits.push(63, out),
            byte => {
                if let Some(six) = standard(*byte) {
                    bits.push(six, out);
                }
            }
        }
        rest = tail;
    }
}

/// RFC 4648 section 4, with padding.
pub(super) fn encode(input: &[u8], out: &mut Vec<u8>) {
    for group in input.chunks(3) {
        let byte = |position| u32::from(group.get(position).copied().unwrap_or_default());
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let present = digit <= group.len();
            let six = (word >> (18 - 6 * digit)) & 0x3f;
            out.push(if present { letter(six) } else { b'=' });
        }
    }
}

fn letter(six: u32) -> u8 {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    usize::try_from(six)
        .ok()
        .and_then(|six| ALPHABET.get(six))
        .copied()
        .unwrap_or(b'=')
}

const fn standard(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

/// The bits that do not yet make a byte.
#[derive(Default)]
struct Bits {
    word: u16,
    held: u8,
}

impl Bits {
    fn push(&mut self, six: u8, out: &mut Vec<u8>) {
        self.word = self.word << 6 | u16::from(six);
        if self.held < 2 {
            self.held += 6;
            return;
        }
        self.held -= 2;
        let [_, byte] = (self.word >> self.held).to_be_bytes();
        out.push(byte);
    }
}
