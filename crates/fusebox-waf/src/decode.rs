//! Takes the content coding off a request body, for the rules alone: what is handed on stays as it was sent.

use bytes::{Buf, Bytes};
use flate2::{Crc, Decompress, FlushDecompress, Status};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

/// So much is decoded at a time.
const PIECE: usize = 16 << 10;
/// What is small is no bomb, however small it was before.
const ALWAYS: u64 = 64 << 10;
/// An honest body is one member, or a few where somebody joined files. Each costs a table to be cleared.
const MOST_MEMBERS: u32 = 64;

/// The content coding of a body (RFC 9110, section 8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// None at all.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 1950. Raw deflate, which some clients of old took it for, is malformed.
    Deflate,
    /// One that is not known here, or several.
    Other,
}

impl Coding {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut coding = Self::Identity;
        let fields = headers.get_all(CONTENT_ENCODING).iter();
        for name in fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b',')) {
            let named = match name.trim_ascii().to_ascii_lowercase().as_slice() {
                // Empty elements of a list mean nothing (RFC 9110, section 5.6.1.2).
                b"identity" | b"" => continue,
                b"gzip" | b"x-gzip" => Self::Gzip,
                b"deflate" => Self::Deflate,
                _ => Self::Other,
            };
            // Two are one too many: nobody sends them, and each multiplies what the other makes of a byte.
            coding = if coding == Self::Identity {
                named
            } else {
                Self::Other
            };
        }
        coding
    }
}

/// Why a coding could not be taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// It is not what it says it is: cut short, corrupt, or followed by something else.
    Malformed,
    /// More would come out of it than the ratio allows.
    Bomb,
}

/// Decodes a body piece by piece.
///
/// The frame around the data is read here and not by the library, whose reader of several members takes 75 KiB anew for each:
/// fifty thousand of them fit into a megabyte.
pub(crate) struct Decoder {
    at: At,
    /// What was read of a header or a trailer that is not complete.
    frame: Vec<u8>,
    inflate: Decompress,
    out: Box<[u8]>,
    checksum: Crc,
    members: u32,
    most_times: u32,
    taken: u64,
    given: u64,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Header,
    /// In a gzip frame, or in zlib's, which the library reads.
    Data {
        framed: bool,
    },
    Trailer,
    /// Nothing: the body is over.
    End,
}

/// The checksum and the length behind the data.
const TRAILER: usize = 8;
/// There is room for a name; who puts more there has something else in mind.
const LONGEST_HEADER: usize = 1 << 10;

impl Decoder {
    /// `None` where there is nothing to decode, or nobody who could.
    pub(crate) fn new(coding: Coding, most_times: u32) -> Option<Self> {
        let at = match coding {
            Coding::Gzip => At::Header,
            Coding::Deflate => At::Data { framed: false },
            Coding::Identity | Coding::Other => return None,
        };
        Some(Self {
            at,
            frame: Vec::new(),
            inflate: Decompress::new(coding == Coding::Deflate),
            out: vec![0; PIECE].into_boxed_slice(),
            checksum: Crc::new(),
            members: 0,
            most_times,
            taken: 0,
            given: 0,
        })
    }

    /// Takes something off `coded`, and shows what comes out of it: perhaps nothing. `None` if it waits for more.
    pub(crate) fn step(&mut self, coded: &mut Bytes) -> Result<Option<&[u8]>, DecodeError> {
        let framed = match self.at {
            At::Data { framed } => framed,
            _ if coded.is_empty() => return Ok(None),
            At::Header => return self.header(coded),
            At::Trailer => return self.trailer(coded),
            At::End => return Err(DecodeError::Malformed),
        };
        let (read, written) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self
            .inflate
            .decompress(coded, &mut self.out, FlushDecompress::None)
            .map_err(|_| DecodeError::Malformed)?;
        let (read, written) = (
            self.inflate.total_in() - read,
            self.inflate.total_out() - written,
        );
        self.take(coded, usize::try_from(read).unwrap_or(usize::MAX));
        self.given += written;
        if self.given > ALWAYS.max(self.taken.saturating_mul(self.most_times.into())) {
            return Err(DecodeError::Bomb);
        }
        if status == Status::StreamEnd {
            self.at = if framed { At::Trailer } else { At::End };
        } else if read == 0 && written == 0 {
            // With something to read and room to write, that would be for ever.
            return if coded.is_empty() {
                Ok(None)
            } else {
                Err(DecodeError::Malformed)
            };
        }
        let written = usize::try_from(written).unwrap_or(usize::MAX);
        let piece = self.out.get(..written).unwrap_or_default();
        if framed {
            self.checksum.update(piece);
        }
        Ok(Some(piece))
    }

    /// The body is over: whether the coding is, too.
    pub(crate) fn finish(&self) -> Result<(), DecodeError> {
        let is_whole = match self.at {
            At::End => true,
            At::Header => self.frame.is_empty(),
            // An empty body has no coding, whatever its head says.
            At::Data { .. } | At::Trailer => self.taken == 0,
        };
        is_whole.then_some(()).ok_or(DecodeError::Malformed)
    }

    fn header(&mut self, coded: &mut Bytes) -> Result<Option<&[u8]>, DecodeError> {
        let before = self.frame.len();
        let room = LONGEST_HEADER.saturating_sub(before).min(coded.len());
        self.frame
            .extend_from_slice(coded.get(..room).unwrap_or_default());
        match header(&self.frame)? {
            Some(length) => {
                self.take(coded, length.saturating_sub(before));
                self.frame.clear();
                self.members += 1;
                if self.members > MOST_MEMBERS {
                    return Err(DecodeError::Malformed);
                }
                self.inflate.reset(false);
                self.checksum.reset();
                self.at = At::Data { framed: true };
            }
            None if self.frame.len() >= LONGEST_HEADER => return Err(DecodeError::Malformed),
            None => self.take(coded, room),
        }
        Ok(Some(&[]))
    }

    fn trailer(&mut self, coded: &mut Bytes) -> Result<Option<&[u8]>, DecodeError> {
        let room = TRAILER.saturating_sub(self.frame.len()).min(coded.len());
        self.frame
            .extend_from_slice(coded.get(..room).unwrap_or_default());
        self.take(coded, room);
        if self.frame.len() >= TRAILER {
            let length = self.checksum.amount();
            let said = [self.checksum.sum().to_le_bytes(), length.to_le_bytes()];
            if self.frame != said.as_flattened() {
                return Err(DecodeError::Malformed);
            }
            self.frame.clear();
            // Members one after the other are one body (RFC 1952, section 2.2). A reader that stops after the first does not
            // see what is in the second; one that goes on does, so the rules have to.
            self.at = At::Header;
        }
        Ok(Some(&[]))
    }

    fn take(&mut self, coded: &mut Bytes, bytes: usize) {
        let bytes = bytes.min(coded.len());
        coded.advance(bytes);
        self.taken += bytes as u64;
    }
}

/// The length of the gzip header at the beginning (RFC 1952, section 2.3). `None` if it is not complete.
fn header(bytes: &[u8]) -> Result<Option<usize>, DecodeError> {
    const CHECKSUM: u8 = 2;
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    // "Must give an error indication if any reserved bit is non-zero."
    const RESERVED: u8 = 0xe0;
    let Some((fixed, mut rest)) = bytes.split_at_checked(10) else {
        return Ok(None);
    };
    let flags = match fixed {
        [0x1f, 0x8b, 8, flags, ..] if flags & RESERVED == 0 => *flags,
        _ => return Err(DecodeError::Malformed),
    };
    if flags & EXTRA != 0 {
        let Some((length, after)) = rest.split_first_chunk() else {
            return Ok(None);
        };
        let Some(after) = after.get(usize::from(u16::from_le_bytes(*length))..) else {
            return Ok(None);
        };
        rest = after;
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            let Some(end) = rest.iter().position(|byte| *byte == 0) else {
                return Ok(None);
            };
            rest = rest.get(end + 1..).unwrap_or_default();
        }
    }
    if flags & CHECKSUM != 0 {
        let Some((said, after)) = rest.split_first_chunk() else {
            return Ok(None);
        };
        let mut sum = Crc::new();
        sum.update(bytes.get(..bytes.len() - rest.len()).unwrap_or_default());
        // The lower half of a CRC32.
        if u32::from(u16::from_le_bytes(*said)) != sum.sum() & 0xffff {
            return Err(DecodeError::Malformed);
        }
        rest = after;
    }
    Ok(Some(bytes.len() - rest.len()))
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder")
            .field("at", &self.at)
            .field("taken", &self.taken)
            .field("given", &self.given)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, GzBuilder, write};
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let builder = GzBuilder::new()
            .filename("a.txt")
            .comment("b")
            .extra([1; 9]);
        let mut encoder = builder.write(Vec::new(), Compression::best());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(data: &[u8]) -> Vec<u8> {
        let mut encoder = write::ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    /// Decodes what comes in pieces of so many bytes.
    fn decode(coding: Coding, coded: &[u8], cut: usize) -> Result<Vec<u8>, DecodeError> {
        let mut decoder = Decoder::new(coding, 1_032).unwrap();
        let mut all = Vec::new();
        for chunk in coded.chunks(cut) {
            let mut chunk = Bytes::copy_from_slice(chunk);
            while let Some(piece) = decoder.step(&mut chunk)? {
                all.extend_from_slice(piece);
            }
            assert!(chunk.is_empty());
        }
        decoder.finish()?;
        Ok(all)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn what_was_coded_comes_out(
            data in prop::collection::vec(0_u8..4, 0..40_000), cut in 1_usize..5_000,
        ) {
            prop_assert_eq!(decode(Coding::Gzip, &gzip(&data), cut).unwrap(), data.clone());
            prop_assert_eq!(decode(Coding::Deflate, &zlib(&data), cut).unwrap(), data);
        }

        #[test]
        fn noise_ends(noise in prop::collection::vec(any::<u8>(), 0..2_000), cut in 1_usize..500) {
            let mut coded = gzip(b"");
            coded.extend_from_slice(&noise);
            let _ = decode(Coding::Gzip, &coded, cut);
            let _ = decode(Coding::Gzip, &noise, cut);
            let _ = decode(Coding::Deflate, &noise, cut);
        }
    }

    #[test]
    fn members_are_one_body() {
        let mut coded = gzip(b"q=1&");
        coded.extend(gzip(b""));
        coded.extend(gzip(b"p=evil"));
        assert_eq!(decode(Coding::Gzip, &coded, 3).unwrap(), b"q=1&p=evil");
        let many = gzip(b"").repeat(65);
        assert_eq!(
            decode(Coding::Gzip, &many, 1_000),
            Err(DecodeError::Malformed)
        );
    }

    #[test]
    fn what_is_cut_corrupt_or_longer_is_malformed() {
        let malformed = |coding, coded: &[u8]| {
            assert_eq!(decode(coding, coded, 7), Err(DecodeError::Malformed));
        };
        for (coding, coded) in [
            (Coding::Gzip, gzip(b"q=evil")),
            (Coding::Deflate, zlib(b"q=evil")),
        ] {
            for end in 1..coded.len() {
                malformed(coding, coded.get(..end).unwrap());
            }
            let mut longer = coded.clone();
            longer.push(0);
            // One more member may begin so.
            malformed(coding, &longer);
            let mut corrupt = coded.clone();
            *corrupt.last_mut().unwrap() ^= 1;
            malformed(coding, &corrupt);
        }
        let mut reserved = gzip(b"x");
        *reserved.get_mut(3).unwrap() |= 0x80;
        malformed(Coding::Gzip, &reserved);
        let mut endless = vec![0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 0];
        endless.extend([b'a'; 2_000]);
        malformed(Coding::Gzip, &endless);
        // Raw deflate.
        let mut raw = write::DeflateEncoder::new(Vec::new(), Compression::best());
        raw.write_all(b"q=evil").unwrap();
        malformed(Coding::Deflate, &raw.finish().unwrap());
    }

    #[test]
    fn an_empty_body_has_no_coding() {
        assert_eq!(decode(Coding::Gzip, b"", 1).unwrap(), b"");
        assert_eq!(decode(Coding::Deflate, b"", 1).unwrap(), b"");
    }

    #[test]
    fn a_bomb_is_noticed_before_it_is_unpacked() {
        let mut decoder = Decoder::new(Coding::Gzip, 100).unwrap();
        let mut coded = Bytes::from(gzip(&vec![0; 10 << 20]));
        let mut out = 0;
        let error = loop {
            match decoder.step(&mut coded) {
                Ok(piece) => out += piece.unwrap().len(),
                Err(error) => break error,
            }
        };
        assert_eq!(error, DecodeError::Bomb);
        assert!(out <= 64 << 10, "{out}");
    }

    #[test]
    fn a_coding_is_read_from_all_fields() {
        let of = |fields: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(CONTENT_ENCODING, HeaderValue::from_static(field));
            }
            Coding::of(&headers)
        };
        assert_eq!(of(&[]), Coding::Identity);
        assert_eq!(of(&["identity, "]), Coding::Identity);
        assert_eq!(of(&["GZip"]), Coding::Gzip);
        assert_eq!(of(&["x-gzip", "identity"]), Coding::Gzip);
        assert_eq!(of(&["deflate"]), Coding::Deflate);
        for several in [&["gzip, gzip"][..], &["gzip", "deflate"], &["br"], &["zip"]] {
            assert_eq!(of(several), Coding::Other, "{several:?}");
        }
    }
}
