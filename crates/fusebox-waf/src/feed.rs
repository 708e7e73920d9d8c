//! A body on its way to the rules, in pieces that keep no thread for long.

use bytes::Bytes;

use crate::decode::{DecodeError, Decoder};

/// The most that is shown at once.
const PIECE: usize = 16 << 10;
/// So much is shown before others run: well under a millisecond of parsing.
const TURN: usize = 64 << 10;
/// What a piece costs however short it is: frames of one byte are work, too.
const EACH: usize = 256;

#[derive(Debug, Default)]
pub(crate) struct Feed {
    unread: Bytes,
    /// Takes the content coding off, where there is one.
    decoder: Option<Decoder>,
    piece: Bytes,
    turn: usize,
}

/// What is next.
#[derive(Debug)]
pub(crate) enum Next<'f> {
    Piece(&'f [u8]),
    /// Everything is shown that has come.
    Nothing,
    /// Let others run first.
    Rest,
}

impl Feed {
    pub(crate) fn decoding(decoder: Option<Decoder>) -> Self {
        Self {
            decoder,
            ..Self::default()
        }
    }

    /// More has come. Only to be given when there is [`Nothing`](Next::Nothing) left.
    pub(crate) fn give(&mut self, bytes: Bytes) {
        self.unread = bytes;
    }

    pub(crate) fn next(&mut self) -> Result<Next<'_>, DecodeError> {
        if self.turn >= TURN {
            self.turn = 0;
            return Ok(Next::Rest);
        }
        let piece = match &mut self.decoder {
            Some(decoder) => match decoder.step(&mut self.unread)? {
                Some(piece) => piece,
                None => return Ok(Next::Nothing),
            },
            None if self.unread.is_empty() => return Ok(Next::Nothing),
            None => {
                let length = self.unread.len().min(PIECE);
                self.piece = self.unread.split_to(length);
                &self.piece
            }
        };
        self.turn += piece.len() + EACH;
        Ok(Next::Piece(piece))
    }

    /// The body has ended: whether it may end here.
    pub(crate) fn finish(&self) -> Result<(), DecodeError> {
        self.decoder.as_ref().map_or(Ok(()), Decoder::finish)
    }
}
