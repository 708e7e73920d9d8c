//! Bytes to tokens of HTML, as browsers of all ages read them.
//!
//! The states are those of the HTML standard (13.2.5), reduced to what scripts can hide in.

use memchr::{memchr, memmem};

use crate::ByteSet;

/// A token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// Text between tags, the end of a tag, and whatever else runs nothing.
    Other,
    TagOpen(&'a [u8]),
    AttributeName(&'a [u8]),
    AttributeValue(&'a [u8]),
    Comment(&'a [u8]),
    Doctype,
}

/// Where in a page a value would be put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Context {
    Text,
    /// Among the attributes of a tag.
    Attributes,
    /// Into the value of an attribute with this quote.
    Quoted(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Text,
    TagOpen,
    TagName {
        closing: bool,
    },
    BeforeAttributeName,
    AfterAttributeName,
    BeforeAttributeValue,
    /// With the quote before it, or without if the value begins there.
    QuotedValue {
        quote: u8,
        skip: usize,
    },
    End,
}

/// Reads a value in one context. Each byte is looked at a bounded number of times.
pub(super) struct Tokens<'a> {
    value: &'a [u8],
    at: usize,
    state: State,
}

/// What parts names and values. Old browsers take a vertical tab for a blank.
const BLANK: ByteSet = ByteSet::SPACE;

/// What may stand between them: Internet Explorer took NUL for nothing.
const SKIPPED: ByteSet = BLANK.with(0);

impl<'a> Tokens<'a> {
    pub(super) const fn new(value: &'a [u8], context: Context) -> Self {
        let state = match context {
            Context::Text => State::Text,
            Context::Attributes => State::BeforeAttributeName,
            Context::Quoted(quote) => State::QuotedValue { quote, skip: 0 },
        };
        Self {
            value,
            at: 0,
            state,
        }
    }

    fn rest(&self) -> &'a [u8] {
        self.value.get(self.at..).unwrap_or_default()
    }

    /// The next `length` bytes, and `more` that belong to nothing.
    fn take(&mut self, length: usize, more: usize) -> &'a [u8] {
        let taken = self.rest().get(..length).unwrap_or_default();
        self.at += length + more;
        taken
    }

    fn take_all(&mut self) -> &'a [u8] {
        self.state = State::End;
        self.take(self.rest().len(), 0)
    }

    fn skip_blanks(&mut self) {
        let blanks = self
            .rest()
            .iter()
            .take_while(|byte| SKIPPED.contains(**byte));
        self.at += blanks.count();
    }

    fn tag_open(&mut self) -> Option<Token<'a>> {
        match self.rest() {
            [] => None,
            [b'!', after @ ..] => {
                self.at += 1;
                Some(self.declaration(after))
            }
            [b'/', b'>', ..] => {
                self.at += 1;
                self.state = State::Text;
                Some(Token::Other)
            }
            [b'/', byte, ..] if byte.is_ascii_alphabetic() => {
                self.at += 1;
                self.state = State::TagName { closing: true };
                Some(Token::Other)
            }
            [b'/'] => None,
            [b'/' | b'?', ..] => {
                self.at += 1;
                Some(self.comment_until(b">"))
            }
            // A comment in Internet Explorer 9 and Safari 4.0.
            [b'%', ..] => {
                self.at += 1;
                Some(self.comment_until(b"%>"))
            }
            [byte, ..] if byte.is_ascii_alphabetic() || *byte == 0 => {
                self.state = State::TagName { closing: false };
                Some(Token::Other)
            }
            // No tag; what follows may be one.
            _ => {
                self.state = State::Text;
                Some(Token::Other)
            }
        }
    }

    fn declaration(&mut self, after: &[u8]) -> Token<'a> {
        if after
            .get(..7)
            .is_some_and(|word| word.eq_ignore_ascii_case(b"doctype"))
        {
            return Token::Doctype;
        }
        if after.starts_with(b"[CDATA[") {
            self.at += 7;
            let _text = self.comment_until(b"]]>");
            return Token::Other;
        }
        if after.starts_with(b"--") {
            self.at += 2;
            return self.comment();
        }
        self.comment_until(b">")
    }

    fn comment_until(&mut self, end: &[u8]) -> Token<'a> {
        Token::Comment(match memmem::find(self.rest(), end) {
            Some(length) => {
                self.state = State::Text;
                self.take(length, end.len())
            }
            None => self.take_all(),
        })
    }

    /// Ends in `-->` or `-!>`, NULs after the first hyphen left aside.
    fn comment(&mut self) -> Token<'a> {
        let rest = self.rest();
        let mut from = 0;
        while let Some(hyphen) = rest.get(from..).and_then(|rest| memchr(b'-', rest)) {
            let start = from + hyphen;
            let after = rest.get(start + 1..).unwrap_or_default();
            let nuls = after.iter().take_while(|byte| **byte == 0).count();
            match after.get(nuls..) {
                Some([b'-' | b'!', b'>', ..]) => {
                    self.state = State::Text;
                    return Token::Comment(self.take(start, 1 + nuls + 2));
                }
                _ => from = start + 1,
            }
        }
        Token::Comment(self.take_all())
    }

    fn tag_name(&mut self, closing: bool) -> Token<'a> {
        let rest = self.rest();
        let end = rest
            .iter()
            .position(|byte| BLANK.contains(*byte) || matches!(byte, b'/' | b'>'));
        let Some(length) = end else {
            return Token::TagOpen(self.take_all());
        };
        if rest.get(length) == Some(&b'>') {
            self.state = State::Text;
            let name = self.take(length, 1);
            return if closing {
                Token::Other
            } else {
                Token::TagOpen(name)
            };
        }
        self.state = State::BeforeAttributeName;
        Token::TagOpen(self.take(length, 1))
    }

    fn before_attribute_name(&mut self) -> Option<Token<'a>> {
        loop {
            self.skip_blanks();
            match self.rest() {
                [] => return None,
                [b'/', b'>', ..] => return Some(self.end_of_tag(2)),
                [b'/'] => return None,
                [b'/', ..] => self.at += 1,
                [b'>', ..] => return Some(self.end_of_tag(1)),
                _ => return Some(self.attribute_name()),
            }
        }
    }

    fn end_of_tag(&mut self, length: usize) -> Token<'a> {
        self.at += length;
        self.state = State::Text;
        Token::Other
    }

    /// At least one byte, whatever it is.
    fn attribute_name(&mut self) -> Token<'a> {
        let rest = self.rest();
        let end = rest
            .iter()
            .skip(1)
            .position(|byte| BLANK.contains(*byte) || matches!(byte, b'/' | b'=' | b'>'));
        let Some(length) = end.map(|end| end + 1) else {
            return Token::AttributeName(self.take_all());
        };
        let (state, more) = match rest.get(length) {
            Some(b'=') => (State::BeforeAttributeValue, 1),
            Some(b'/') => (State::BeforeAttributeName, 1),
            Some(b'>') => (State::BeforeAttributeName, 0),
            _ => (State::AfterAttributeName, 1),
        };
        self.state = state;
        Token::AttributeName(self.take(length, more))
    }

    fn after_attribute_name(&mut self) -> Option<Token<'a>> {
        self.skip_blanks();
        if self.rest().starts_with(b"=") {
            self.at += 1;
            return self.before_attribute_value();
        }
        self.before_attribute_name()
    }

    fn before_attribute_value(&mut self) -> Option<Token<'a>> {
        self.skip_blanks();
        match self.rest() {
            [] => None,
            [quote @ (b'"' | b'\'' | b'`'), ..] => Some(self.quoted_value(*quote, 1)),
            _ => Some(self.bare_value()),
        }
    }

    fn quoted_value(&mut self, quote: u8, skip: usize) -> Token<'a> {
        self.at += skip;
        Token::AttributeValue(match memchr(quote, self.rest()) {
            Some(length) => {
                self.state = State::BeforeAttributeName;
                self.take(length, 1)
            }
            None => self.take_all(),
        })
    }

    fn bare_value(&mut self) -> Token<'a> {
        let rest = self.rest();
        let end = rest
            .iter()
            .position(|byte| BLANK.contains(*byte) || *byte == b'>');
        let Some(length) = end else {
            return Token::AttributeValue(self.take_all());
        };
        self.state = State::BeforeAttributeName;
        let more = usize::from(rest.get(length) != Some(&b'>'));
        Token::AttributeValue(self.take(length, more))
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        match self.state {
            State::Text => {
                let tag = memchr(b'<', self.rest())?;
                self.at += tag + 1;
                self.state = State::TagOpen;
                Some(Token::Other)
            }
            State::TagOpen => self.tag_open(),
            State::TagName { closing } => Some(self.tag_name(closing)),
            State::BeforeAttributeName => self.before_attribute_name(),
            State::AfterAttributeName => self.after_attribute_name(),
            State::BeforeAttributeValue => self.before_attribute_value(),
            State::QuotedValue { quote, skip } => Some(self.quoted_value(quote, skip)),
            State::End => None,
        }
    }
}
