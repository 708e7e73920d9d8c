//! XML: text and attributes, as CRS looks at them.
//!
//! `quick-xml` reads the document; it fetches nothing and expands no entity but the five that XML itself has and
//! numeric ones, so there are neither external entities nor expansion bombs. What a document declares of its own is
//! not expanded but shown to the rules as text, and a document that declares entities is an error besides: put together from
//! several of them, an attack would be seen nowhere.
//!
//! Comments, processing instructions and CDATA sections do not part a text. Tags do; but text with tags in it (`un<b>ion</b>`) is
//! also shown as a whole, since an application that asks for the text of an element gets just that. What is in comments and
//! instructions, and where a document type is to be fetched, are texts of their own.

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};

use super::budget::{Budget, Limits};
use super::encoding::{self, Decoded};
use super::{BodyError, Sink};

/// An XML document being read.
///
/// The document is read when it has ended: an XML parser that can stop at any byte has to keep what it has of a tag,
/// and a limit on bodies bounds a whole document as well as a tag.
#[derive(Debug)]
pub struct Xml {
    budget: Budget,
    content_type: Box<[u8]>,
    document: Vec<u8>,
}

impl Xml {
    /// A document of which nothing has come yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self::with_content_type(b"", limits)
    }

    /// The same; the content type may name the encoding.
    #[must_use]
    pub fn with_content_type(content_type: &[u8], limits: Limits) -> Self {
        Self {
            budget: Budget::new(limits),
            content_type: content_type.into(),
            document: Vec::new(),
        }
    }

    /// Reads more of the document.
    ///
    /// # Errors
    /// None yet; they come when the document has ended.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<(), BodyError> {
        self.budget.grow(chunk.len());
        self.document.extend_from_slice(chunk);
        Ok(())
    }

    /// Says that the document has ended. Nothing at all is a document too.
    ///
    /// # Errors
    /// [`BodyError::Xml`], [`BodyError::XmlEncoding`], [`BodyError::XmlEntity`], [`BodyError::XmlTooDeep`],
    /// [`BodyError::TooManyArguments`], [`BodyError::ArgumentsTooLong`].
    pub fn finish(&mut self, sink: &mut impl Sink) -> Result<(), BodyError> {
        let document = std::mem::take(&mut self.document);
        let budget = &mut self.budget;
        match encoding::decode(&document, &self.content_type)? {
            Decoded::Text(text) => {
                let back = |text: &str, out: &mut Vec<u8>| out.extend_from_slice(text.as_bytes());
                Walk::new(&text, budget, sink, back).run()
            }
            Decoded::Bytes(text) => {
                let back = |text: &str, out: &mut Vec<u8>| {
                    out.extend(
                        text.chars()
                            .map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')),
                    );
                };
                Walk::new(&text, budget, sink, back).run()
            }
        }
    }
}

/// One pass over a document.
struct Walk<'a, S, B> {
    reader: Reader<&'a [u8]>,
    budget: &'a mut Budget,
    sink: &'a mut S,
    /// From the parser's text to the bytes that were in the body.
    back: B,
    open: Vec<Element>,
    seen_element: bool,
    declares_entities: bool,
    /// The run of text so far: an entity or a CDATA section does not end it, a tag does.
    text: Vec<u8>,
    /// All runs, one behind the other.
    content: Vec<u8>,
    /// Where in it text has tags in the middle: the outermost elements of that kind, in order.
    mixed: Vec<(usize, usize)>,
}

/// An element that is not closed yet.
#[derive(Clone, Copy, Debug)]
struct Element {
    /// Where its content starts.
    start: usize,
    /// Its own texts: more than one, and there is a tag between them, if only an empty one.
    texts: u32,
    has_text_below: bool,
}

impl<'a, S: Sink, B: Fn(&str, &mut Vec<u8>)> Walk<'a, S, B> {
    fn new(document: &'a str, budget: &'a mut Budget, sink: &'a mut S, back: B) -> Self {
        Self {
            reader: Reader::from_str(document),
            budget,
            sink,
            back,
            open: Vec::new(),
            seen_element: false,
            declares_entities: false,
            text: Vec::new(),
            content: Vec::new(),
            mixed: Vec::new(),
        }
    }

    fn run(mut self) -> Result<(), BodyError> {
        loop {
            let event = self
                .reader
                .read_event()
                .map_err(|error| self.error(error.to_string()))?;
            match event {
                Event::Start(tag) => {
                    self.end_text()?;
                    self.deeper()?;
                    self.attributes(&tag)?;
                }
                Event::Empty(tag) => {
                    self.end_text()?;
                    self.seen_element = true;
                    self.attributes(&tag)?;
                }
                Event::End(_) => {
                    self.end_text()?;
                    self.close();
                }
                Event::Text(text) => (self.back)(&text, &mut self.text),
                Event::CData(text) => (self.back)(&text, &mut self.text),
                Event::GeneralRef(reference) => {
                    let mut text = std::mem::take(&mut self.text);
                    self.reference(&reference, &mut text);
                    self.text = text;
                }
                Event::DocType(declaration) => {
                    // The name alone says nothing.
                    if declaration.contains('[') {
                        (self.back)(&declaration, &mut self.text);
                        self.end_text()?;
                        if declaration.contains("<!ENTITY") {
                            // The rest is looked at all the same.
                            self.declares_entities = true;
                        }
                    } else if declaration.contains(['\'', '"']) {
                        // Where the declarations are to be fetched.
                        self.aside(&declaration)?;
                    }
                }
                Event::Comment(text) => self.aside(&text)?,
                Event::PI(text) => self.aside(&text)?,
                Event::Decl(_) => {}
                Event::Eof => return self.end(),
            }
        }
    }

    fn end(mut self) -> Result<(), BodyError> {
        self.end_text()?;
        if !self.open.is_empty() {
            return Err(self.error("an element is not closed".to_owned()));
        }
        let empty = self.reader.buffer_position() == 0;
        if !self.seen_element && !empty {
            return Err(self.error("no element".to_owned()));
        }
        // Ranges that do not overlap: at most as much again as the document has.
        for (start, end) in &self.mixed {
            let text = self.content.get(*start..*end).unwrap_or_default();
            let text = text.trim_ascii();
            self.budget.spend(text.len())?;
            self.sink.xml_text(text);
        }
        if self.declares_entities {
            return Err(BodyError::XmlEntity);
        }
        Ok(())
    }

    fn close(&mut self) {
        let Some(closed) = self.open.pop() else {
            return;
        };
        if closed.texts >= 2 || (closed.texts == 1 && closed.has_text_below) {
            let inside = |(start, _): &(usize, usize)| *start >= closed.start;
            while self.mixed.last().is_some_and(inside) {
                self.mixed.pop();
            }
            self.mixed.push((closed.start, self.content.len()));
        }
        if let Some(parent) = self.open.last_mut() {
            parent.has_text_below |= closed.texts > 0 || closed.has_text_below;
        }
    }

    fn deeper(&mut self) -> Result<(), BodyError> {
        let limit = self.budget.limits().xml_depth;
        self.seen_element = true;
        self.open.push(Element {
            start: self.content.len(),
            texts: 0,
            has_text_below: false,
        });
        if self.open.len() > limit {
            return Err(BodyError::XmlTooDeep { limit });
        }
        Ok(())
    }

    /// What a reference stands for; one that only the document itself could explain stays as it is.
    fn reference(&self, name: &str, out: &mut Vec<u8>) {
        let character = BytesRef::new(name).resolve_char_ref().ok().flatten();
        if let Some(character) = character {
            // Not by `back`: the character need not be one of Latin-1.
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        } else if let Some(text) = resolve_predefined_entity(name) {
            out.extend_from_slice(text.as_bytes());
        } else {
            out.push(b'&');
            (self.back)(name, out);
            out.push(b';');
        }
    }

    fn end_text(&mut self) -> Result<(), BodyError> {
        self.content.extend_from_slice(&self.text);
        let text = self.text.trim_ascii();
        if !text.is_empty() {
            if let Some(element) = self.open.last_mut() {
                element.texts = element.texts.saturating_add(1);
            }
            self.budget.spend(text.len())?;
            self.sink.xml_text(text);
        }
        self.text.clear();
        Ok(())
    }

    /// A text of its own, of what `XPath` selects no text from: who reads it all the same must not read what no rule has seen.
    fn aside(&mut self, text: &str) -> Result<(), BodyError> {
        let mut bytes = Vec::new();
        (self.back)(text, &mut bytes);
        let bytes = bytes.trim_ascii();
        if !bytes.is_empty() {
            self.budget.spend(bytes.len())?;
            self.sink.xml_text(bytes);
        }
        Ok(())
    }

    /// Namespace declarations are no attributes: `XPath` does not select them, and every SOAP request has some.
    fn attributes(&mut self, tag: &BytesStart<'_>) -> Result<(), BodyError> {
        // Without the check for duplicates, which compares each with each.
        for attribute in tag.attributes().with_checks(false) {
            let attribute = attribute.map_err(|error| self.error(error.to_string()))?;
            let name = attribute.key.into_inner();
            if name == "xmlns" || name.starts_with("xmlns:") {
                continue;
            }
            let mut value = Vec::new();
            self.unescape(&attribute.value, &mut value);
            self.budget.spend(value.len())?;
            self.sink.xml_attribute(&value);
        }
        Ok(())
    }

    /// Resolves the references of an attribute one by one: one that is unknown must not hide the others.
    fn unescape(&self, value: &str, out: &mut Vec<u8>) {
        let mut rest = value;
        while let Some((before, after)) = rest.split_once('&') {
            (self.back)(before, out);
            rest = match after.split_once(';') {
                Some((name, after)) if !name.contains('&') => {
                    self.reference(name, out);
                    after
                }
                _ => {
                    out.push(b'&');
                    after
                }
            };
        }
        (self.back)(rest, out);
    }

    fn error(&self, message: String) -> BodyError {
        BodyError::Xml {
            offset: self.reader.buffer_position(),
            message: message.into(),
        }
    }
}
