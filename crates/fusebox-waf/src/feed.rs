//! A body on its way to the rules, in pieces that keep no thread for long.

use bytes::Bytes;

use crate::decode::{DecodeError, Decoder};

/// The most that is shown at once.
const PIECE: usize = 16 << 10;

#[derive(Debug, Default)]
pub(crate) struct Feed {
    unread: Bytes,
    /// Takes the content coding off, where there is one.
    decoder: Option<Decoder>,
    piece: Bytes,
}

impl Feed {
    pub(crate) fn decoding(decoder: Option<Decoder>) -> Self {
        Self {
            decoder,
            ..Self::default()
        }
    }

    /// More has come. Only to be given when nothing is left.
    pub(crate) fn give(&mut self, bytes: Bytes) {
        self.unread = bytes;
    }

    /// The next piece; `None` if everything is shown that has come.
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>, DecodeError> {
        if let Some(decoder) = &mut self.decoder {
            return decoder.step(&mut self.unread);
        }
        if self.unread.is_empty() {
            return Ok(None);
        }
        let length = self.unread.len().min(PIECE);
        self.piece = self.unread.split_to(length);
        Ok(Some(&self.piece))
    }

    /// The body has ended: whether it may end here.
    pub(crate) fn finish(&self) -> Result<(), DecodeError> {
        self.decoder.as_ref().map_or(Ok(()), Decoder::finish)
    }
}
