//! `parityEven7bit`, `parityOdd7bit`, `parityZero7bit`.

/// Sets the high bit of bytes with an odd number of ones, and clears it of the others.
pub(super) const fn even(byte: u8) -> u8 {
    if has_odd_parity(byte) {
        byte | 0x80
    } else {
        byte & 0x7f
    }
}

/// Sets the high bit of bytes with an even number of ones, and clears it of the others.
pub(super) const fn odd(byte: u8) -> u8 {
    if !has_odd_parity(byte) {
        byte | 0x80
    } else {
        byte & 0x7f
    }
}

/// Clears the high bit.
pub(super) const fn zero(byte: u8) -> u8 {
    byte & 0x7f
}

const fn has_odd_parity(byte: u8) -> bool {
    byte.count_ones() & 1 == 1
}
