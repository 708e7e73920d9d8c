//! Body processors: what turns the bytes of a request into arguments, files and flags.
//!
//! A [`Processor`] takes the body in chunks of any size and tells a [`Sink`] what it finds as it finds it, so that the
//! transaction copies each value once, into its own arena. Nothing a client sends makes one panic, take more than
//! linear time or hold more than the body itself; what would be too much is an error that `REQBODY_ERROR` shows to the
//! rules.

mod budget;
mod cookies;
mod encoding;
mod error;
mod form;
mod json;
mod multipart;
mod xml;

#[cfg(test)]
mod tests;

pub use budget::Limits;
pub use cookies::cookies;
pub use error::{BodyError, JsonProblem, MultipartProblem};
pub use form::{Form, query};
pub(crate) use form::{Scratch as QueryScratch, query_with};
pub use json::Json;
pub use multipart::{Multipart, MultipartFlags};
pub use xml::Xml;

/// What takes the parts of a body: the transaction.
pub trait Sink {
    /// An argument: a field of a form, a value in JSON. Both are decoded.
    fn argument(&mut self, name: &[u8], value: &[u8]);

    /// An uploaded file: the form field that carried it, the name that the client gave it, how many bytes it has.
    ///
    /// Told when the file has ended. The content is not kept.
    fn file(&mut self, field: &[u8], filename: &[u8], size: u64) {
        let _ = (field, filename, size);
    }

    /// A header of a part of a multipart body: the name of the part, the line without its end.
    fn part_header(&mut self, part: &[u8], line: &[u8]) {
        let _ = (part, line);
    }

    /// A run of text in an XML document, without the blanks around it; what `XML:/*` selects. Where tags stand in the middle of
    /// text, also all of it together, as an application reads it.
    fn xml_text(&mut self, text: &[u8]) {
        let _ = text;
    }

    /// The value of an attribute in an XML document; what `XML://@*` selects.
    fn xml_attribute(&mut self, value: &[u8]) {
        let _ = value;
    }
}

/// Which processor reads a body: `ctl:requestBodyProcessor`, or what the content type implies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BodyKind {
    /// `application/x-www-form-urlencoded`.
    UrlEncoded,
    /// `multipart/form-data`.
    Multipart,
    /// JSON.
    Json,
    /// XML.
    Xml,
}

impl BodyKind {
    /// The processor of this name, in any case, as `ctl:requestBodyProcessor` gives it.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        [Self::UrlEncoded, Self::Multipart, Self::Json, Self::Xml]
            .into_iter()
            .find(|kind| kind.name().as_bytes().eq_ignore_ascii_case(name))
    }

    /// The name as `REQBODY_PROCESSOR` shows it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UrlEncoded => "URLENCODED",
            Self::Multipart => "MULTIPART",
            Self::Json => "JSON",
            Self::Xml => "XML",
        }
    }

    /// The processor that a content type selects without any rule: forms, as in ModSecurity. JSON and XML are selected
    /// by rules, with `ctl:requestBodyProcessor`.
    #[must_use]
    pub fn from_content_type(content_type: &[u8]) -> Option<Self> {
        const FORM: &[u8] = b"application/x-www-form-urlencoded";
        const MULTIPART: &[u8] = b"multipart/form-data";
        let starts_with = |prefix: &[u8]| {
            content_type
                .get(..prefix.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        if starts_with(FORM) {
            Some(Self::UrlEncoded)
        } else if starts_with(MULTIPART) {
            Some(Self::Multipart)
        } else {
            None
        }
    }
}

/// A body being read, by whichever processor.
///
/// ```
/// use fusebox_seclang::body::{BodyKind, Limits, Processor, Sink};
///
/// #[derive(Default)]
/// struct Arguments(Vec<(String, String)>);
///
/// impl Sink for Arguments {
///     fn argument(&mut self, name: &[u8], value: &[u8]) {
///         let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
///         self.0.push((text(name), text(value)));
///     }
/// }
///
/// let mut found = Arguments::default();
/// let mut body = Processor::new(BodyKind::Json, b"application/json", Limits::default());
/// body.feed(br#"{"user": {"na"#, &mut found)?;
/// body.feed(br#"me": "ann"}, "tags": [1, true]}"#, &mut found)?;
/// body.finish(&mut found)?;
/// assert_eq!(
///     found.0,
///     [
///         ("json.user.name", "ann"),
///         ("json.tags.array_0", "1"),
///         ("json.tags.array_1", "true"),
///         ("json.tags", "2"),
///     ]
///     .map(|(name, value)| (name.to_owned(), value.to_owned()))
/// );
/// # Ok::<(), fusebox_seclang::body::BodyError>(())
/// ```
#[derive(Debug)]
pub struct Processor {
    kind: Kind,
    /// Once something is wrong nothing that follows has a meaning; the first error stays the answer.
    failed: Option<BodyError>,
}

#[derive(Debug)]
enum Kind {
    UrlEncoded(Form),
    Multipart(Box<Multipart>),
    Json(Json),
    Xml(Xml),
}

impl Processor {
    /// A processor for one body. The content type tells a multipart body its boundary and XML its encoding; the others do
    /// not look at it.
    #[must_use]
    pub fn new(kind: BodyKind, content_type: &[u8], limits: Limits) -> Self {
        let kind = match kind {
            BodyKind::UrlEncoded => Kind::UrlEncoded(Form::new(b'&', limits)),
            BodyKind::Multipart => Kind::Multipart(Box::new(Multipart::new(content_type, limits))),
            BodyKind::Json => Kind::Json(Json::new(limits)),
            BodyKind::Xml => Kind::Xml(Xml::with_content_type(content_type, limits)),
        };
        Self { kind, failed: None }
    }

    /// What parts the pairs of a form: `SecArgumentSeparator`. To be said before the body comes.
    #[must_use]
    pub const fn separator(mut self, separator: u8) -> Self {
        if let Kind::UrlEncoded(form) = &mut self.kind {
            form.set_separator(separator);
        }
        self
    }

    /// Reads more of the body.
    ///
    /// # Errors
    /// What is wrong with the body, if anything is. The rest is ignored then, and the same error returned again.
    pub fn feed(&mut self, chunk: &[u8], sink: &mut impl Sink) -> Result<(), BodyError> {
        self.judge(|kind| match kind {
            Kind::UrlEncoded(form) => form.feed(chunk, sink),
            Kind::Multipart(multipart) => multipart.feed(chunk, sink),
            Kind::Json(json) => json.feed(chunk, sink),
            Kind::Xml(xml) => xml.feed(chunk),
        })
    }

    /// Says that the body has ended.
    ///
    /// # Errors
    /// What is wrong with the body, also that it ended too early.
    pub fn finish(&mut self, sink: &mut impl Sink) -> Result<(), BodyError> {
        self.judge(|kind| match kind {
            Kind::UrlEncoded(form) => form.finish(sink),
            Kind::Multipart(multipart) => multipart.finish(sink),
            Kind::Json(json) => json.finish(sink),
            Kind::Xml(xml) => xml.finish(sink),
        })
    }

    fn judge(
        &mut self,
        read: impl FnOnce(&mut Kind) -> Result<(), BodyError>,
    ) -> Result<(), BodyError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        read(&mut self.kind).inspect_err(|error| self.failed = Some(error.clone()))
    }

    /// Whether an escape in a form was not valid: `URLENCODED_ERROR`.
    #[must_use]
    pub const fn has_invalid_escape(&self) -> bool {
        match &self.kind {
            Kind::UrlEncoded(form) => form.has_invalid_escape(),
            _ => false,
        }
    }

    /// What was odd about a multipart body: the `MULTIPART_*` variables.
    #[must_use]
    pub const fn multipart_flags(&self) -> Option<MultipartFlags> {
        match &self.kind {
            Kind::Multipart(multipart) => Some(multipart.flags()),
            _ => None,
        }
    }

    /// How many bytes of the body were content of files, which `SecRequestBodyNoFilesLimit` does not count.
    #[must_use]
    pub const fn file_bytes(&self) -> u64 {
        match &self.kind {
            Kind::Multipart(multipart) => multipart.file_bytes(),
            _ => 0,
        }
    }
}
