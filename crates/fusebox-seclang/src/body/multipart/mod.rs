//! `multipart/form-data` (RFC 7578), as strict as ModSecurity: what is odd sets a flag, what is ambiguous is an error.

mod boundary;
mod disposition;

use boundary::Boundary;
use memchr::memmem;

use super::budget::{Budget, Limits};
use super::{BodyError, MultipartProblem, Sink};

/// What was odd about a multipart body: the `MULTIPART_*` variables, each named after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a variable of the language"
)]
pub struct MultipartFlags {
    /// `MULTIPART_BOUNDARY_QUOTED`
    pub boundary_quoted: bool,
    /// `MULTIPART_BOUNDARY_WHITESPACE`
    pub boundary_whitespace: bool,
    /// `MULTIPART_MISSING_SEMICOLON`
    pub missing_semicolon: bool,
    /// `MULTIPART_DATA_BEFORE`
    pub data_before: bool,
    /// `MULTIPART_DATA_AFTER`
    pub data_after: bool,
    /// `MULTIPART_HEADER_FOLDING`
    pub header_folding: bool,
    /// `MULTIPART_INVALID_HEADER_FOLDING`
    pub invalid_header_folding: bool,
    /// `MULTIPART_INVALID_QUOTING`
    pub invalid_quoting: bool,
    /// `MULTIPART_INVALID_PART`
    pub invalid_part: bool,
    /// `MULTIPART_LF_LINE`
    pub lf_line: bool,
    /// Some line ended in CRLF; with [`lf_line`](Self::lf_line), `MULTIPART_CRLF_LF_LINES`.
    pub crlf_line: bool,
    /// `MULTIPART_FILE_LIMIT_EXCEEDED`: more files than `SecUploadFileLimit`, which the transaction sets.
    pub file_limit_exceeded: bool,
    /// The body could not be read.
    pub error: bool,
    /// Some line looks like a boundary and is none.
    stray_boundary: bool,
    /// The last boundary was there.
    complete: bool,
}

impl MultipartFlags {
    /// `MULTIPART_CRLF_LF_LINES`: both line ends in one body.
    #[must_use]
    pub const fn mixed_lines(self) -> bool {
        self.crlf_line && self.lf_line
    }

    /// `MULTIPART_UNMATCHED_BOUNDARY`: 0 if every line that looks like a boundary is one, 2 if one is not but the body
    /// is complete, 1 if it is not complete either.
    #[must_use]
    pub const fn unmatched_boundary(self) -> u8 {
        match (self.stray_boundary, self.complete) {
            (false, _) => 0,
            (true, true) => 2,
            (true, false) => 1,
        }
    }

    /// `MULTIPART_STRICT_ERROR`: whether any of the others is set, but for the unmatched boundary, which legitimate
    /// content can look like.
    #[must_use]
    pub const fn strict_error(self) -> bool {
        self.error
            || self.boundary_quoted
            || self.boundary_whitespace
            || self.missing_semicolon
            || self.data_before
            || self.data_after
            || self.header_folding
            || self.invalid_header_folding
            || self.invalid_quoting
            || self.invalid_part
            || self.lf_line
            || self.file_limit_exceeded
    }
}

/// A multipart body being read, line by line.
#[derive(Debug)]
pub struct Multipart {
    budget: Budget,
    /// What was wrong with the content type, told at the first opportunity.
    refused: Option<MultipartProblem>,
    boundary: Vec<u8>,
    /// Finds `--` and the boundary within a line: a line of hyphens must not cost its length times the boundary's.
    finder: memmem::Finder<'static>,
    flags: MultipartFlags,
    place: Place,
    part: Part,
    /// The line so far, at most [`LINE`] bytes.
    line: Vec<u8>,
    /// Whether `line` is the beginning of one.
    at_line_start: bool,
    seen_boundary: bool,
    seen_data: bool,
    file_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the first boundary.
    Preamble,
    Headers,
    Data,
    /// After the last boundary.
    Epilogue,
}

/// The part being read.
#[derive(Debug, Default)]
struct Part {
    /// The header lines without their ends, folded ones joined, one after the other.
    headers: Vec<Vec<u8>>,
    name: Vec<u8>,
    filename: Option<Vec<u8>>,
    value: Vec<u8>,
    size: u64,
    /// The end of the last line of data: it belongs to the data unless a boundary follows.
    held: &'static [u8],
}

/// How long a line may be that is looked at as a whole: ModSecurity's buffer. Data may have longer ones.
const LINE: usize = 4096;

impl Multipart {
    /// A body of this content type, of which nothing has come yet.
    #[must_use]
    pub fn new(content_type: &[u8], limits: Limits) -> Self {
        let (boundary, refused) = match boundary::parse(content_type) {
            Ok(boundary) => (boundary, None),
            Err(problem) => (Boundary::default(), Some(problem)),
        };
        let mark = [b"--", boundary.text.as_slice()].concat();
        Self {
            budget: Budget::new(limits),
            flags: MultipartFlags {
                boundary_quoted: boundary.quoted,
                boundary_whitespace: boundary.whitespace,
                missing_semicolon: boundary.missing_semicolon,
                error: refused.is_some(),
                ..MultipartFlags::default()
            },
            refused,
            finder: memmem::Finder::new(&mark).into_owned(),
            boundary: boundary.text,
            place: Place::Preamble,
            part: Part::default(),
            line: Vec::new(),
            at_line_start: true,
            seen_boundary: false,
            seen_data: false,
            file_bytes: 0,
        }
    }

    /// What was odd so far.
    #[must_use]
    pub const fn flags(&self) -> MultipartFlags {
        self.flags
    }

    /// How many bytes of content files had so far.
    #[must_use]
    pub const fn file_bytes(&self) -> u64 {
        // The line under way is content as well, or a slow client would be refused where a fast one passes.
        let in_file = matches!(self.place, Place::Data) && self.part.filename.is_some();
        let held = if in_file { self.line.len() } else { 0 };
        self.file_bytes + held as u64
    }

    /// Reads more of the body.
    ///
    /// # Errors
    /// [`BodyError::Multipart`], [`BodyError::TooManyArguments`], [`BodyError::ArgumentsTooLong`].
    pub fn feed(&mut self, chunk: &[u8], sink: &mut impl Sink) -> Result<(), BodyError> {
        if let Some(problem) = self.refused {
            return Err(BodyError::Multipart(problem));
        }
        self.budget.grow(chunk.len());
        self.seen_data |= !chunk.is_empty();
        let mut rest = chunk;
        while !rest.is_empty() {
            if self.place == Place::Epilogue {
                self.flags.data_after = true;
                return Ok(());
            }
            // A carriage return is never the last byte of a full line, so that a CRLF stays together.
            let room = LINE - self.line.len().min(LINE);
            let window = rest.get(..room.min(rest.len())).unwrap_or(rest);
            let (taken, ended) = match memchr::memchr(b'\n', window) {
                Some(position) => (position + 1, true),
                None if window.len() == room && window.last() == Some(&b'\r') && room > 1 => {
                    (room - 1, false)
                }
                None => (window.len(), false),
            };
            let (piece, tail) = rest.split_at(taken);
            self.line.extend_from_slice(piece);
            rest = tail;
            let full = self.line.len() >= LINE
                || (self.line.len() + 1 == LINE && rest.first() == Some(&b'\r'));
            if ended || full {
                self.line(ended, sink).inspect_err(|error| {
                    if matches!(error, BodyError::Multipart(_)) {
                        self.flags.error = true;
                    }
                })?;
            }
        }
        Ok(())
    }

    /// Says that the body has ended. Nothing at all is a body too.
    ///
    /// # Errors
    /// As [`feed`](Self::feed), and that the last boundary is missing.
    pub fn finish(&mut self, sink: &mut impl Sink) -> Result<(), BodyError> {
        if let Some(problem) = self.refused {
            return Err(BodyError::Multipart(problem));
        }
        if self.is_final_boundary_without_end() {
            self.end_part(sink)?;
            self.enter_epilogue();
        }
        if self.seen_data && self.place != Place::Epilogue {
            self.flags.error = true;
            return Err(BodyError::Multipart(if self.seen_boundary {
                MultipartProblem::NoEnd
            } else {
                MultipartProblem::NoParts
            }));
        }
        Ok(())
    }

    /// The last line of a body may have no end.
    fn is_final_boundary_without_end(&self) -> bool {
        self.seen_boundary
            && self.at_line_start
            && self
                .line
                .strip_prefix(b"--")
                .and_then(|line| line.strip_prefix(self.boundary.as_slice()))
                .is_some_and(|rest| rest == b"--")
    }

    fn enter_epilogue(&mut self) {
        self.place = Place::Epilogue;
        self.flags.complete = true;
    }

    /// A line, or as much of one as fits.
    fn line(&mut self, ended: bool, sink: &mut impl Sink) -> Result<(), BodyError> {
        let line = std::mem::take(&mut self.line);
        let result = self.classify(&line, ended, sink);
        self.line = line;
        self.line.clear();
        self.at_line_start = ended;
        result
    }

    fn classify(
        &mut self,
        line: &[u8],
        ended: bool,
        sink: &mut impl Sink,
    ) -> Result<(), BodyError> {
        if self.at_line_start {
            match line {
                [b'-', b'-', _, _, ..] => {
                    if self.boundary_line(line, sink)? {
                        return Ok(());
                    }
                }
                _ => self.flags.stray_boundary |= self.finder.find(line).is_some(),
            }
        }
        match self.place {
            Place::Preamble => {
                self.flags.data_before = true;
                Ok(())
            }
            Place::Headers if !ended => Err(BodyError::Multipart(MultipartProblem::HeaderTooLong)),
            Place::Headers => self.header_line(line, sink).map_err(BodyError::Multipart),
            Place::Data => self.data(line),
            Place::Epilogue => Ok(()),
        }
    }

    /// A line that begins with two hyphens. `true` if it is a boundary.
    fn boundary_line(&mut self, line: &[u8], sink: &mut impl Sink) -> Result<bool, BodyError> {
        let after = line.get(2..).unwrap_or_default();
        let Some(end) = after.strip_prefix(self.boundary.as_slice()) else {
            self.refuse_disguised_boundary(after)?;
            self.flags.stray_boundary = true;
            return Ok(false);
        };
        let (end, last) = match end.strip_prefix(b"--") {
            Some(end) => (end, true),
            None => (end, false),
        };
        match end {
            b"\r\n" => self.flags.crlf_line = true,
            b"\n" => self.flags.lf_line = true,
            _ => return Err(BodyError::Multipart(MultipartProblem::BoundaryLine)),
        }
        self.end_part(sink)?;
        self.seen_boundary = true;
        if last {
            self.enter_epilogue();
        } else {
            self.place = Place::Headers;
        }
        Ok(true)
    }

    /// A boundary in quotes or behind blanks: some server will take it for one.
    fn refuse_disguised_boundary(&self, after: &[u8]) -> Result<(), BodyError> {
        if self.flags.boundary_quoted
            && let [b'"', quoted @ ..] = after
            && quoted.starts_with(&self.boundary)
        {
            return Err(BodyError::Multipart(MultipartProblem::QuotedBoundaryLine));
        }
        let trimmed = after.trim_ascii_start();
        if trimmed.len() < after.len() && trimmed.starts_with(&self.boundary) {
            return Err(BodyError::Multipart(MultipartProblem::BlankBoundaryLine));
        }
        Ok(())
    }

    fn header_line(&mut self, line: &[u8], sink: &mut impl Sink) -> Result<(), MultipartProblem> {
        if line.contains(&0) {
            return Err(MultipartProblem::HeaderNul);
        }
        let text = match line {
            [text @ .., b'\r', b'\n'] => {
                self.flags.crlf_line = true;
                text
            }
            [text @ .., b'\n'] => {
                self.flags.lf_line = true;
                text
            }
            text => text,
        };
        match text.first() {
            None => self.end_headers(sink),
            Some(byte) if byte.is_ascii_whitespace() || *byte == 0x0b => self.folded_header(text),
            Some(_) => self.new_header(text),
        }
    }

    fn folded_header(&mut self, text: &[u8]) -> Result<(), MultipartProblem> {
        self.flags.header_folding = true;
        let is_blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
        let blanks = text.iter().take_while(|byte| is_blank(byte)).count();
        let (blanks, text) = text.split_at(blanks);
        // RFC 2557 folds with spaces and tabs; PHP takes any blank.
        self.flags.invalid_header_folding |=
            blanks.iter().any(|byte| !matches!(byte, b' ' | b'\t'));
        let header = self
            .part
            .headers
            .last_mut()
            .ok_or(MultipartProblem::HeaderFolding)?;
        header.push(b' ');
        header.extend_from_slice(text);
        if header.len() > LINE {
            return Err(MultipartProblem::HeaderTooLong);
        }
        Ok(())
    }

    fn new_header(&mut self, text: &[u8]) -> Result<(), MultipartProblem> {
        let name = header_name(text).ok_or(MultipartProblem::HeaderColon)?;
        if name.is_empty() {
            return Err(MultipartProblem::HeaderName);
        }
        // Each name is compared with each, so there have to be few.
        if self.part.headers.len() >= self.budget.limits().part_headers {
            return Err(MultipartProblem::TooManyHeaders);
        }
        if self.part.header(name).is_some() {
            return Err(MultipartProblem::HeaderTwice);
        }
        self.part.headers.push(text.to_vec());
        Ok(())
    }

    fn end_headers(&mut self, sink: &mut impl Sink) -> Result<(), MultipartProblem> {
        let header = self
            .part
            .header(b"content-disposition")
            .ok_or(MultipartProblem::NoDisposition)?;
        let found = disposition::parse(header).ok_or(MultipartProblem::Disposition)?;
        self.flags.invalid_quoting |= found.invalid_quoting;
        if found.name.is_empty() {
            return Err(MultipartProblem::NoName);
        }
        for line in &self.part.headers {
            sink.part_header(&found.name, line);
        }
        self.part.name = found.name;
        // Browsers send an empty name for a field of files that nobody filled in.
        self.part.filename = found.filename.filter(|filename| !filename.is_empty());
        self.place = Place::Data;
        Ok(())
    }

    fn data(&mut self, line: &[u8]) -> Result<(), BodyError> {
        let held = std::mem::take(&mut self.part.held);
        let (content, held_now): (_, &'static [u8]) = match line {
            [content @ .., b'\r', b'\n'] => (content, b"\r\n"),
            [content @ .., b'\n'] => (content, b"\n"),
            content => (content, b""),
        };
        self.part.held = held_now;
        let size = (held.len() + content.len()) as u64;
        self.part.size += size;
        if self.part.filename.is_some() {
            self.file_bytes += size;
        } else {
            self.part.value.extend_from_slice(held);
            self.part.value.extend_from_slice(content);
        }
        Ok(())
    }

    /// Tells what the part was that a boundary has ended.
    fn end_part(&mut self, sink: &mut impl Sink) -> Result<(), BodyError> {
        if self.place == Place::Preamble {
            return Ok(());
        }
        let part = std::mem::take(&mut self.part);
        if self.place == Place::Headers {
            // A boundary among the headers: the part has no name.
            self.flags.invalid_part = true;
        } else if let Some(filename) = &part.filename {
            self.budget.spend(part.name.len() + filename.len())?;
            sink.file(&part.name, filename, part.size);
        } else {
            self.budget.spend(part.name.len() + part.value.len())?;
            sink.argument(&part.name, &part.value);
        }
        Ok(())
    }
}

impl Part {
    /// The value of a header, found by its name in any case.
    fn header(&self, name: &[u8]) -> Option<&[u8]> {
        self.headers.iter().find_map(|line| {
            let found = header_name(line)?;
            let value = line.get(found.len() + 1..)?;
            found
                .eq_ignore_ascii_case(name)
                .then(|| value.trim_ascii_start())
        })
    }
}

fn header_name(line: &[u8]) -> Option<&[u8]> {
    let colon = memchr::memchr(b':', line)?;
    line.get(..colon)
}
