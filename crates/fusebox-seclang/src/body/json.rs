//! JSON (RFC 8259), by a push parser of our own: it stops at any byte and goes on at the next chunk.
//!
//! Every scalar becomes an argument, named as libmodsecurity names it: `json.user.name`, `json.tags.array_0`. So does every
//! array, with its length for a value, as in Coraza: a rule that looks at the end of a name (`__in`) finds the key of an array.
//! The name
//! is built as the parser descends, so a value costs its own length and not its depth.

use super::budget::{Budget, Limits};
use super::{BodyError, JsonProblem, Sink};

/// A JSON document being read.
///
/// Strings are unescaped; half of a surrogate pair becomes the three bytes that UTF-8 would have for it, so that
/// nothing is lost and `@validateUtf8Encoding` sees it. Numbers are shown as they were written, `null` is empty. Bytes
/// that are no UTF-8 pass.
#[derive(Debug)]
pub struct Json {
    budget: Budget,
    expect: Expect,
    token: Token,
    /// The name of what comes next, of the innermost container at least.
    path: Vec<u8>,
    open: Vec<Container>,
    /// The text of the token, as far as it has come.
    text: Vec<u8>,
    offset: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    Value,
    /// After `[`.
    ValueOrEnd,
    /// After a comma in an object.
    Key,
    /// After `{`.
    KeyOrEnd,
    Colon,
    CommaOrEnd,
    /// After the one value that a document is.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    None,
    String {
        is_key: bool,
        escape: Escape,
    },
    /// A number or a word.
    Word,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    None,
    Backslash,
    /// After `\u`: how many digits have come, and what they say.
    Unicode {
        digits: u8,
        code: u16,
    },
    /// After the first half of a surrogate pair.
    High(u16),
    /// And after a backslash behind it.
    HighBackslash(u16),
    /// And after the `u`.
    HighUnicode {
        high: u16,
        digits: u8,
        code: u16,
    },
}

/// An open object or array, and how long the path to it is.
#[derive(Clone, Copy, Debug)]
struct Container {
    path: usize,
    kind: ContainerKind,
}

#[derive(Clone, Copy, Debug)]
enum ContainerKind {
    Object,
    Array { next: usize },
}

/// What every name begins with.
const ROOT: &[u8] = b"json";

impl Json {
    /// A document of which nothing has come yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            budget: Budget::new(limits),
            expect: Expect::Value,
            token: Token::None,
            path: ROOT.to_vec(),
            open: Vec::new(),
            text: Vec::new(),
            offset: 0,
        }
    }

    /// Reads more of the document.
    ///
    /// # Errors
    /// [`BodyError::Json`], [`BodyError::JsonTooDeep`], [`BodyError::TooManyArguments`],
    /// [`BodyError::ArgumentsTooLong`].
    pub fn feed(&mut self, chunk: &[u8], sink: &mut impl Sink) -> Result<(), BodyError> {
        self.budget.grow(chunk.len());
        let mut rest = chunk;
        while let Some(byte) = rest.first() {
            let consumed = match self.token {
                Token::None => {
                    self.structure(*byte, sink)?;
                    1
                }
                Token::String {
                    is_key,
                    escape: Escape::None,
                } => self.string(rest, is_key, sink)?,
                Token::String { is_key, escape } => {
                    usize::from(self.escape(*byte, is_key, escape)?)
                }
                Token::Word => self.word(rest, sink)?,
            };
            rest = rest.get(consumed..).unwrap_or_default();
            self.offset += consumed as u64;
        }
        Ok(())
    }

    /// Says that the document has ended. Nothing at all is a document too: a request may say JSON and have no body.
    ///
    /// # Errors
    /// As [`feed`](Self::feed), and [`JsonProblem::End`].
    pub fn finish(&mut self, sink: &mut impl Sink) -> Result<(), BodyError> {
        if self.token == Token::Word {
            self.end_word(sink)?;
        }
        let empty = self.offset == 0;
        if empty || (self.token == Token::None && self.expect == Expect::Nothing) {
            Ok(())
        } else {
            Err(self.problem(JsonProblem::End))
        }
    }

    /// One byte between tokens.
    fn structure(&mut self, byte: u8, sink: &mut impl Sink) -> Result<(), BodyError> {
        match (byte, self.expect) {
            (b' ' | b'\t' | b'\n' | b'\r', _) => Ok(()),
            (b'"', Expect::Key | Expect::KeyOrEnd) => {
                self.begin(Token::String {
                    is_key: true,
                    escape: Escape::None,
                });
                Ok(())
            }
            (b'}', Expect::KeyOrEnd) => self.close(byte, sink),
            (b']', Expect::ValueOrEnd) => self.close(byte, sink),
            (b'}' | b']', Expect::CommaOrEnd) => self.close(byte, sink),
            (b',', Expect::CommaOrEnd) => {
                self.expect = match self.open.last().map(|container| container.kind) {
                    Some(ContainerKind::Object) => Expect::Key,
                    _ => Expect::Value,
                };
                Ok(())
            }
            (b':', Expect::Colon) => {
                self.expect = Expect::Value;
                Ok(())
            }
            (_, Expect::Value | Expect::ValueOrEnd) => self.value(byte),
            _ => Err(self.problem(JsonProblem::Unexpected(byte))),
        }
    }

    /// The first byte of a value.
    fn value(&mut self, byte: u8) -> Result<(), BodyError> {
        match byte {
            b'{' | b'[' => {
                self.name_element();
                return self.open(byte);
            }
            b'"' => self.begin(Token::String {
                is_key: false,
                escape: Escape::None,
            }),
            b'-' | b'0'..=b'9' | b'a'..=b'z' => {
                self.begin(Token::Word);
                self.text.push(byte);
            }
            _ => return Err(self.problem(JsonProblem::Unexpected(byte))),
        }
        self.name_element();
        Ok(())
    }

    fn begin(&mut self, token: Token) {
        self.text.clear();
        self.token = token;
    }

    /// Completes the path with the number of an array's element; that of an object's was completed by its key.
    fn name_element(&mut self) {
        let Some(Container {
            path,
            kind: ContainerKind::Array { next },
        }) = self.open.last_mut()
        else {
            return;
        };
        self.path.truncate(*path);
        self.path.extend_from_slice(b".array_");
        push_decimal(*next, &mut self.path);
        *next += 1;
    }

    fn open(&mut self, byte: u8) -> Result<(), BodyError> {
        let limit = self.budget.limits().json_depth;
        if self.open.len() >= limit {
            return Err(BodyError::JsonTooDeep { limit });
        }
        let (kind, expect) = if byte == b'{' {
            (ContainerKind::Object, Expect::KeyOrEnd)
        } else {
            (ContainerKind::Array { next: 0 }, Expect::ValueOrEnd)
        };
        self.open.push(Container {
            path: self.path.len(),
            kind,
        });
        self.expect = expect;
        Ok(())
    }

    fn close(&mut self, byte: u8, sink: &mut impl Sink) -> Result<(), BodyError> {
        let closed = self.open.pop();
        let closes = match closed.map(|container| container.kind) {
            Some(ContainerKind::Object) => b'}',
            Some(ContainerKind::Array { .. }) => b']',
            None => return Err(self.problem(JsonProblem::Unexpected(byte))),
        };
        if byte != closes {
            return Err(self.problem(JsonProblem::Unexpected(byte)));
        }
        if let Some(Container {
            path,
            kind: ContainerKind::Array { next },
        }) = closed
        {
            self.path.truncate(path);
            self.text.clear();
            push_decimal(next, &mut self.text);
            self.budget.spend(self.path.len() + self.text.len())?;
            sink.argument(&self.path, &self.text);
        }
        self.after_value();
        Ok(())
    }

    fn after_value(&mut self) {
        self.expect = if self.open.is_empty() {
            Expect::Nothing
        } else {
            Expect::CommaOrEnd
        };
    }

    /// The rest of a string, up to its end, an escape or the end of the chunk; says how many bytes that was.
    fn string(
        &mut self,
        rest: &[u8],
        is_key: bool,
        sink: &mut impl Sink,
    ) -> Result<usize, BodyError> {
        let plain = rest
            .iter()
            .position(|byte| matches!(byte, 0..0x20 | b'"' | b'\\'));
        let (run, end) = rest.split_at(plain.unwrap_or(rest.len()));
        self.text.extend_from_slice(run);
        let Some(byte) = end.first() else {
            return Ok(run.len());
        };
        match byte {
            b'"' => self.end_string(is_key, sink)?,
            b'\\' => self.escape_is(is_key, Escape::Backslash),
            _ => {
                self.offset += run.len() as u64;
                return Err(self.problem(JsonProblem::Control));
            }
        }
        Ok(run.len() + 1)
    }

    fn end_string(&mut self, is_key: bool, sink: &mut impl Sink) -> Result<(), BodyError> {
        self.token = Token::None;
        if is_key {
            if let Some(container) = self.open.last() {
                self.path.truncate(container.path);
            }
            self.path.push(b'.');
            self.path.extend_from_slice(&self.text);
            self.expect = Expect::Colon;
            Ok(())
        } else {
            self.tell(sink)
        }
    }

    fn tell(&mut self, sink: &mut impl Sink) -> Result<(), BodyError> {
        self.budget.spend(self.path.len() + self.text.len())?;
        sink.argument(&self.path, &self.text);
        self.after_value();
        Ok(())
    }

    fn escape_is(&mut self, is_key: bool, escape: Escape) {
        self.token = Token::String { is_key, escape };
    }

    /// One byte of an escape. `false` if the byte is none of it and has to be looked at again.
    fn escape(&mut self, byte: u8, is_key: bool, escape: Escape) -> Result<bool, BodyError> {
        let next = match escape {
            Escape::None => return Ok(false),
            Escape::Backslash if byte == b'u' => Escape::Unicode { digits: 0, code: 0 },
            Escape::Backslash => {
                let meaning = self.simple_escape(byte)?;
                self.text.push(meaning);
                Escape::None
            }
            Escape::Unicode { digits, code } => match self.digit(byte, digits, code)? {
                (4, code @ 0xd800..=0xdbff) => Escape::High(code),
                (4, code) => {
                    push_code(u32::from(code), &mut self.text);
                    Escape::None
                }
                (digits, code) => Escape::Unicode { digits, code },
            },
            Escape::High(high) if byte == b'\\' => Escape::HighBackslash(high),
            Escape::High(high) => {
                push_code(u32::from(high), &mut self.text);
                self.escape_is(is_key, Escape::None);
                return Ok(false);
            }
            Escape::HighBackslash(high) if byte == b'u' => Escape::HighUnicode {
                high,
                digits: 0,
                code: 0,
            },
            Escape::HighBackslash(high) => {
                push_code(u32::from(high), &mut self.text);
                let meaning = self.simple_escape(byte)?;
                self.text.push(meaning);
                Escape::None
            }
            Escape::HighUnicode { high, digits, code } => match self.digit(byte, digits, code)? {
                (4, low @ 0xdc00..=0xdfff) => {
                    let pair = (u32::from(high & 0x3ff) << 10) | u32::from(low & 0x3ff);
                    push_code(0x1_0000 + pair, &mut self.text);
                    Escape::None
                }
                (4, code) => {
                    push_code(u32::from(high), &mut self.text);
                    if matches!(code, 0xd800..=0xdbff) {
                        Escape::High(code)
                    } else {
                        push_code(u32::from(code), &mut self.text);
                        Escape::None
                    }
                }
                (digits, code) => Escape::HighUnicode { high, digits, code },
            },
        };
        self.escape_is(is_key, next);
        Ok(true)
    }

    fn simple_escape(&self, byte: u8) -> Result<u8, BodyError> {
        Ok(match byte {
            b'"' | b'\\' | b'/' => byte,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            _ => return Err(self.problem(JsonProblem::Escape)),
        })
    }

    fn digit(&self, byte: u8, digits: u8, code: u16) -> Result<(u8, u16), BodyError> {
        let digit =
            crate::transform::hex_digit(byte).ok_or_else(|| self.problem(JsonProblem::Escape))?;
        Ok((digits + 1, code << 4 | u16::from(digit)))
    }

    /// The rest of a number or a word, as far as it goes; says how many bytes that was. The first byte that cannot
    /// belong to either ends it and is not consumed.
    fn word(&mut self, rest: &[u8], sink: &mut impl Sink) -> Result<usize, BodyError> {
        let run = rest
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
            .count();
        self.text
            .extend_from_slice(rest.get(..run).unwrap_or_default());
        if run == 0 {
            self.end_word(sink)?;
        }
        Ok(run)
    }

    fn end_word(&mut self, sink: &mut impl Sink) -> Result<(), BodyError> {
        self.token = Token::None;
        match self.text.as_slice() {
            b"true" | b"false" => {}
            b"null" => self.text.clear(),
            number if is_number(number) => {}
            _ => return Err(self.problem(JsonProblem::Word)),
        }
        self.tell(sink)
    }

    const fn problem(&self, problem: JsonProblem) -> BodyError {
        BodyError::Json {
            offset: self.offset,
            problem,
        }
    }
}

/// RFC 8259 section 6: no plus, no leading zero, digits on both sides of a point.
fn is_number(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let text = match text {
        [b'0', rest @ ..] => rest,
        [b'1'..=b'9', rest @ ..] => without_digits(rest),
        _ => return false,
    };
    let text = match text {
        [b'.', b'0'..=b'9', rest @ ..] => without_digits(rest),
        [b'.', ..] => return false,
        rest => rest,
    };
    match text {
        [b'e' | b'E', b'+' | b'-', b'0'..=b'9', rest @ ..]
        | [b'e' | b'E', b'0'..=b'9', rest @ ..] => without_digits(rest).is_empty(),
        rest => rest.is_empty(),
    }
}

fn without_digits(mut text: &[u8]) -> &[u8] {
    while let [b'0'..=b'9', rest @ ..] = text {
        text = rest;
    }
    text
}

/// Appends a code point as UTF-8, half of a surrogate pair too, which `char` cannot be.
fn push_code(code: u32, out: &mut Vec<u8>) {
    if let Some(character) = char::from_u32(code) {
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    } else {
        let [_, _, high, low] = code.to_be_bytes();
        out.extend_from_slice(&[
            0xe0 | high >> 4,
            0x80 | (high & 0x0f) << 2 | low >> 6,
            0x80 | low & 0x3f,
        ]);
    }
}

fn push_decimal(number: usize, out: &mut Vec<u8>) {
    use std::io::Write as _;
    // Writing to a vector cannot fail.
    let _written = write!(out, "{number}");
}
