//! What was read of a body before anybody else may see it.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

/// Frames are kept as they came, up to so many; what comes after is put together, so that a body of single bytes does not cost
/// a frame each.
const FRAMES: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Kept {
    frames: Vec<Bytes>,
    rest: BytesMut,
    length: usize,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Kept {
    /// Keeps one frame, and shows what is in it.
    pub(crate) fn keep(&mut self, mut data: impl Buf) -> Bytes {
        let data = data.copy_to_bytes(data.remaining());
        self.length = self.length.saturating_add(data.len());
        if self.frames.len() < FRAMES {
            self.frames.push(data.clone());
        } else {
            self.rest.extend_from_slice(&data);
        }
        data
    }

    /// How many bytes there are.
    pub(crate) const fn length(&self) -> usize {
        self.length
    }

    pub(crate) fn into_frames(mut self) -> (std::vec::IntoIter<Bytes>, Option<HeaderMap>) {
        if !self.rest.is_empty() {
            self.frames.push(self.rest.freeze());
        }
        (self.frames.into_iter(), self.trailers)
    }
}
