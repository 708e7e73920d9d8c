//! `md5`, `sha1`, `length`: what says something of a value instead of changing it.

use std::io::Write as _;

use md5::Md5;
use sha1::{Digest as _, Sha1};

/// The MD5 digest (RFC 1321), sixteen raw bytes: `hexEncode` makes text of them.
pub(super) fn md5(input: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&Md5::digest(input));
}

/// The SHA-1 digest (FIPS 180-4), twenty raw bytes.
pub(super) fn sha1(input: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&Sha1::digest(input));
}

/// How many bytes there are, in decimal.
pub(super) fn length(input: &[u8], out: &mut Vec<u8>) {
    // Writing to a vector cannot fail.
    let _written = write!(out, "{}", input.len());
}
