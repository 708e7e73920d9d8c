use std::fmt;

/// What is wrong with a body: the reason behind `REQBODY_ERROR`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyError {
    /// More arguments than [`Limits::arguments`](super::Limits::arguments).
    TooManyArguments {
        /// The limit.
        limit: usize,
    },
    /// Longer arguments, all together, than [`Limits::argument_bytes`](super::Limits::argument_bytes) and the length of
    /// the body allow.
    ArgumentsTooLong {
        /// The limit.
        limit: usize,
    },
    /// The body is no JSON.
    Json {
        /// How many bytes before the one that is wrong.
        offset: u64,
        /// What is wrong.
        problem: JsonProblem,
    },
    /// JSON nested deeper than [`Limits::json_depth`](super::Limits::json_depth).
    JsonTooDeep {
        /// The limit.
        limit: usize,
    },
    /// The body is no XML.
    Xml {
        /// Where in the body.
        offset: u64,
        /// What is wrong, in the words of the XML parser.
        message: Box<str>,
    },
    /// XML in an encoding that is not understood, so that nothing is known of what an application will read.
    XmlEncoding {
        /// Its name, or what is wrong with it.
        name: Box<str>,
    },
    /// XML that declares entities. They are not expanded, so what an application would make of the document is not known.
    XmlEntity,
    /// XML nested deeper than [`Limits::xml_depth`](super::Limits::xml_depth).
    XmlTooDeep {
        /// The limit.
        limit: usize,
    },
    /// The body is not what its multipart content type says.
    Multipart(MultipartProblem),
}

/// Why a body is no JSON (RFC 8259).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JsonProblem {
    /// A byte that cannot be there.
    Unexpected(u8),
    /// A number, or `true`, `false`, `null`, that is none.
    Word,
    /// A backslash in a string that escapes nothing.
    Escape,
    /// A control character in a string.
    Control,
    /// The end, too early.
    End,
}

/// Why a body is not a multipart form (RFC 2046, RFC 7578).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MultipartProblem {
    /// The content type is too long to be looked at.
    ContentTypeTooLong,
    /// The content type is not `multipart/form-data`.
    ContentType,
    /// The content type has no boundary, or one that is not written in lower case.
    NoBoundary,
    /// The content type has more than one boundary, or a boundary that speaks of boundaries.
    SeveralBoundaries,
    /// Something other than one semicolon stands before the boundary.
    BeforeBoundary,
    /// Something other than blanks stands between the word and the equals sign.
    BoundaryName,
    /// A quote at one end only.
    BoundaryQuote,
    /// A boundary of characters that RFC 2046 does not allow.
    BoundaryCharacters,
    /// A boundary of no characters.
    BoundaryEmpty,
    /// A boundary with something behind it on its line.
    BoundaryLine,
    /// A boundary in quotes in the body.
    QuotedBoundaryLine,
    /// A boundary with blanks before it in the body.
    BlankBoundaryLine,
    /// A part header with a NUL.
    HeaderNul,
    /// A part header that is too long.
    HeaderTooLong,
    /// A continuation line of no part header.
    HeaderFolding,
    /// A part header without a colon.
    HeaderColon,
    /// A part header without a name.
    HeaderName,
    /// A part header for the second time.
    HeaderTwice,
    /// More part headers than the limit.
    TooManyHeaders,
    /// A part without `Content-Disposition`.
    NoDisposition,
    /// A `Content-Disposition` that is not understood.
    Disposition,
    /// A `Content-Disposition` without a name.
    NoName,
    /// A body without its first boundary.
    NoParts,
    /// A body without its last boundary.
    NoEnd,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyArguments { limit } => write!(f, "more than {limit} arguments"),
            Self::ArgumentsTooLong { limit } => {
                write!(f, "arguments of more than {limit} bytes")
            }
            Self::Json { offset, problem } => write!(f, "JSON, byte {offset}: {problem}"),
            Self::JsonTooDeep { limit } => write!(f, "JSON deeper than {limit}"),
            Self::Xml { offset, message } => write!(f, "XML, byte {offset}: {message}"),
            Self::XmlEncoding { name } => write!(f, "XML in an unknown encoding: {name}"),
            Self::XmlEntity => f.write_str("XML that declares entities"),
            Self::XmlTooDeep { limit } => write!(f, "XML deeper than {limit}"),
            Self::Multipart(problem) => write!(f, "Multipart: {problem}"),
        }
    }
}

impl std::error::Error for BodyError {}

impl fmt::Display for JsonProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unexpected(byte) => write!(f, "unexpected '{}'", byte.escape_ascii()),
            Self::Word => f.write_str("not a number, true, false or null"),
            Self::Escape => f.write_str("invalid escape in a string"),
            Self::Control => f.write_str("control character in a string"),
            Self::End => f.write_str("ends too early"),
        }
    }
}

impl fmt::Display for MultipartProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ContentTypeTooLong => "content type too long",
            Self::ContentType => "content type is not multipart/form-data",
            Self::NoBoundary => "no boundary in the content type",
            Self::SeveralBoundaries => "several boundaries in the content type",
            Self::BeforeBoundary => "more than a semicolon before the boundary",
            Self::BoundaryName => "malformed boundary parameter",
            Self::BoundaryQuote => "boundary quoted at one end",
            Self::BoundaryCharacters => "boundary of characters that are not allowed",
            Self::BoundaryEmpty => "boundary is empty",
            Self::BoundaryLine => "boundary with something behind it",
            Self::QuotedBoundaryLine => "boundary in quotes",
            Self::BlankBoundaryLine => "blanks before a boundary",
            Self::HeaderNul => "NUL in a part header",
            Self::HeaderTooLong => "part header too long",
            Self::HeaderFolding => "folded part header without a beginning",
            Self::HeaderColon => "part header without a colon",
            Self::HeaderName => "part header without a name",
            Self::HeaderTwice => "part header for the second time",
            Self::TooManyHeaders => "too many part headers",
            Self::NoDisposition => "part without Content-Disposition",
            Self::Disposition => "Content-Disposition is malformed",
            Self::NoName => "Content-Disposition without a name",
            Self::NoParts => "no boundary in the body",
            Self::NoEnd => "last boundary is missing",
        })
    }
}
