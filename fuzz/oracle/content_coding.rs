//! What must be true of a content coding that is taken off, whatever a client sends: it ends, it gives no more than the ratio allows,
//! how the body was cut changes nothing, and what comes out is what another reader gets.

use std::io::Read as _;

use bytes::Bytes;
use flate2::read::{MultiGzDecoder, ZlibDecoder};

use crate::decode::{Coding, DecodeError, Decoder};

/// What is given before the ratio counts, and what one step may give beyond it.
const ALWAYS: usize = 64 << 10;
const PIECE: usize = 16 << 10;

/// The first byte says which coding and which ratio, the second how the rest is cut.
pub(crate) fn check(data: &[u8]) {
    let [how, cut, coded @ ..] = data else {
        return;
    };
    let coding = if how & 1 == 0 {
        Coding::Gzip
    } else {
        Coding::Deflate
    };
    let ratio = u32::from(how >> 1) * 8 + 1;
    let whole = decode(coding, ratio, coded, coded.len().max(1));
    let pieces = decode(coding, ratio, coded, usize::from(*cut) + 1);
    match (&whole, &pieces) {
        // Cut, less has come when the ratio is looked at.
        (Ok(_), Err(DecodeError::Bomb)) | (Err(DecodeError::Bomb), Err(_)) => {}
        _ => assert_eq!(whole, pieces, "by pieces of {cut}"),
    }
    if let Ok(whole) = whole {
        agrees(coding, coded, &whole);
    }
}

fn decode(coding: Coding, ratio: u32, coded: &[u8], cut: usize) -> Result<Vec<u8>, DecodeError> {
    let mut decoder = Decoder::new(coding, ratio).expect("it is one of the two");
    let mut all = Vec::new();
    let mut steps = 0_usize;
    let mut shown = 0;
    for chunk in coded.chunks(cut) {
        shown += chunk.len();
        let mut chunk = Bytes::copy_from_slice(chunk);
        while let Some(piece) = decoder.step(&mut chunk)? {
            all.extend_from_slice(piece);
            steps += 1;
            assert!(
                steps <= 4 * (coded.len() + all.len()) + 64,
                "it does not end"
            );
            let most = ALWAYS.max(shown.saturating_mul(ratio as usize)) + PIECE;
            assert!(all.len() <= most, "{} of {shown}", all.len());
        }
        assert!(chunk.is_empty(), "something is left");
    }
    decoder.finish()?;
    Ok(all)
}

/// By the library's own readers, which read the frame themselves.
fn agrees(coding: Coding, coded: &[u8], decoded: &[u8]) {
    if coded.is_empty() {
        return assert!(decoded.is_empty());
    }
    let mut other = Vec::new();
    let read = match coding {
        Coding::Gzip => MultiGzDecoder::new(coded).read_to_end(&mut other),
        _ => ZlibDecoder::new(coded).read_to_end(&mut other),
    };
    assert!(read.is_ok(), "{read:?}: nobody else reads it");
    assert!(other == decoded, "another reader gets something else");
}
