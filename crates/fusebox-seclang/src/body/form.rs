//! `application/x-www-form-urlencoded`, which is also the query string.

use memchr::memchr;

use super::budget::{Budget, Limits};
use super::{BodyError, Sink};
use crate::transform::url;

/// A form being read.
///
/// Pairs are parted by the separator, names and values by the first `=`. Both are decoded: `+`, and `%HH` where it is
/// valid; an escape that is not stays as it is and is noted. A pair without `=` is a name with an empty value; nothing
/// between two separators is nothing.
#[derive(Debug)]
pub struct Form {
    separator: u8,
    budget: Budget,
    /// The beginning of a pair whose end has not come yet.
    pair: Vec<u8>,
    invalid_escape: bool,
    scratch: Scratch,
}

/// Where a name and a value are decoded; kept, because most forms have more than one that needs it.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Scratch {
    /// Empties both, and keeps at most so much of each.
    pub(crate) fn rest(&mut self, keep: usize) {
        for buffer in [&mut self.name, &mut self.value] {
            buffer.clear();
            buffer.shrink_to(keep);
        }
    }
}

impl Form {
    /// A form whose pairs are parted by `separator`: `SecArgumentSeparator`, usually `&`.
    #[must_use]
    pub fn new(separator: u8, limits: Limits) -> Self {
        Self {
            separator,
            budget: Budget::new(limits),
            pair: Vec::new(),
            invalid_escape: false,
            scratch: Scratch::default(),
        }
    }

    pub(super) const fn set_separator(&mut self, separator: u8) {
        self.separator = separator;
    }

    /// Reads more of the form.
    ///
    /// # Errors
    /// [`BodyError::TooManyArguments`], [`BodyError::ArgumentsTooLong`].
    pub fn feed(&mut self, chunk: &[u8], sink: &mut impl Sink) -> Result<(), BodyError> {
        self.budget.grow(chunk.len());
        let mut rest = chunk;
        while let Some(position) = memchr(self.separator, rest) {
            let (piece, tail) = rest.split_at(position);
            rest = tail.get(1..).unwrap_or_default();
            if self.pair.is_empty() {
                self.pair(piece, sink)?;
            } else {
                self.pair.extend_from_slice(piece);
                self.carried(sink)?;
            }
        }
        self.pair.extend_from_slice(rest);
        Ok(())
    }

    /// Says that the form has ended.
    ///
    /// # Errors
    /// As [`feed`](Self::feed).
    pub fn finish(&mut self, sink: &mut impl Sink) -> Result<(), BodyError> {
        self.carried(sink)
    }

    /// Whether a percent sign was not followed by two digits.
    #[must_use]
    pub const fn has_invalid_escape(&self) -> bool {
        self.invalid_escape
    }

    fn carried(&mut self, sink: &mut impl Sink) -> Result<(), BodyError> {
        let mut pair = std::mem::take(&mut self.pair);
        let result = self.pair(&pair, sink);
        pair.clear();
        self.pair = pair;
        result
    }

    fn pair(&mut self, pair: &[u8], sink: &mut impl Sink) -> Result<(), BodyError> {
        if pair.is_empty() {
            return Ok(());
        }
        let (name, value) = split(pair);
        let mut escapes = Escapes::default();
        let name = escapes.decode(name, &mut self.scratch.name);
        let value = escapes.decode(value, &mut self.scratch.value);
        self.invalid_escape |= escapes.invalid;
        self.budget.spend(name.len() + value.len())?;
        sink.argument(name, value);
        Ok(())
    }
}

/// Reads a query string: one whole form, as [`Form`] does. `true` if an escape in it was not valid.
///
/// # Errors
/// [`BodyError::TooManyArguments`], [`BodyError::ArgumentsTooLong`].
pub fn query(
    query: &[u8],
    separator: u8,
    limits: Limits,
    sink: &mut impl Sink,
) -> Result<bool, BodyError> {
    query_with(&mut Scratch::default(), query, separator, limits, sink)
}

/// The same, decoding where another query was decoded.
pub(crate) fn query_with(
    scratch: &mut Scratch,
    query: &[u8],
    separator: u8,
    limits: Limits,
    sink: &mut impl Sink,
) -> Result<bool, BodyError> {
    let mut form = Form::new(separator, limits);
    form.budget.grow(query.len());
    std::mem::swap(&mut form.scratch, scratch);
    let mut pairs = query.split(|byte| *byte == separator);
    let result = pairs.try_for_each(|pair| form.pair(pair, sink));
    std::mem::swap(&mut form.scratch, scratch);
    result.map(|()| form.invalid_escape)
}

fn split(pair: &[u8]) -> (&[u8], &[u8]) {
    match memchr(b'=', pair) {
        Some(position) => {
            let (name, value) = pair.split_at(position);
            (name, value.get(1..).unwrap_or_default())
        }
        None => (pair, &[]),
    }
}

#[derive(Default)]
struct Escapes {
    invalid: bool,
}

impl Escapes {
    /// The decoded bytes: `input` itself if there is nothing to decode.
    fn decode<'a>(&mut self, input: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
        if memchr::memchr2(b'%', b'+', input).is_none() {
            return input;
        }
        scratch.clear();
        self.invalid |= url::decode_counting(input, scratch);
        scratch
    }
}
