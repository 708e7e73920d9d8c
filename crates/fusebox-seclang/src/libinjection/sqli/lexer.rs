//! Bytes to tokens, as the servers with their dialects would read them.

use memchr::{memchr, memmem};

use super::kind;
use super::table;
use super::token::Token;
use crate::ByteSet;
use crate::libinjection::NO_BREAK_SPACE;

/// How a value is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Context {
    /// The quote of the string that the value would be put into.
    pub(super) quote: Option<u8>,
    /// Comments as `MySQL` has them: `#` begins one, and `--` only does before a blank.
    pub(super) mysql: bool,
    /// Brackets and exponents without digits as versions before 4.0 read them: as names and as numbers.
    pub(super) before_4: bool,
}

/// Reads a value in one context. Each byte is looked at a bounded number of times.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    value: &'a [u8],
    at: usize,
    context: Context,
    /// Tokens so far.
    pub(super) tokens: u32,
    /// There was something that `MySQL` reads in another way.
    pub(super) ambiguous: bool,
    /// There was something that versions before 4.0 read in another way.
    pub(super) changed: bool,
}

const BLANK: ByteSet = ByteSet::of(b" \t\n\x0b\x0c\r\0").union(ByteSet::of(&[NO_BREAK_SPACE]));

/// What a NUL is taken for among digits and letters: the C library asks `strchr`, which finds the end of the list.
const NUL: ByteSet = ByteSet::of(&[0]);

const DIGITS: ByteSet = ByteSet::DIGITS;
const HEX: ByteSet = DIGITS.union(ByteSet::of(b"abcdefABCDEF")).union(NUL);
const BITS: ByteSet = ByteSet::of(b"01").union(NUL);
const MONEY: ByteSet = DIGITS.union(ByteSet::of(b".,")).union(NUL);
const LETTERS: ByteSet = ByteSet::UPPERCASE.union(ByteSet::LOWERCASE).union(NUL);

/// What ends a word.
const AFTER_WORD: ByteSet = ByteSet::of(b" []{}<>:\\?=@!#~+-*/&|^%(),';\t\n\x0b\x0c\r\"\0")
    .union(ByteSet::of(&[NO_BREAK_SPACE]));

/// What ends the name of a variable.
const AFTER_VARIABLE: ByteSet = ByteSet::of(b" <>:\\?=@!#~+-*/&|^%(),';\t\n\x0b\x0c\r'`\"\0");

impl<'a> Lexer<'a> {
    pub(super) const fn new(value: &'a [u8], context: Context) -> Self {
        Self {
            value,
            at: 0,
            context,
            tokens: 0,
            ambiguous: false,
            changed: false,
        }
    }

    /// The next token.
    pub(super) fn next(&mut self) -> Option<Token> {
        let token = self.read()?;
        self.tokens += 1;
        Some(token)
    }

    fn read(&mut self) -> Option<Token> {
        if self.at == 0
            && !self.value.is_empty()
            && let Some(quote) = self.context.quote
        {
            return Some(self.string(quote, 0));
        }
        while let [byte, after @ ..] = self.rest() {
            let next = after.first().copied();
            let token = match *byte {
                0..=b' ' | 0x7f | NO_BREAK_SPACE => {
                    self.at += 1;
                    continue;
                }
                byte @ (b'(' | b')' | b',' | b';' | b'{' | b'}') => self.take(byte, 1),
                b'%' | b'^' | b'+' | b'~' => self.take(kind::OPERATOR, 1),
                b'!' | b'&' | b'*' | b':' | b'<' | b'=' | b'>' | b'|' => self.operator(),
                b'?' | b']' => self.take(kind::UNKNOWN, 1),
                b'#' => self.hash(),
                b'-' => self.dash(),
                b'/' if next == Some(b'*') => self.comment(),
                b'/' => self.take(kind::OPERATOR, 1),
                b'\\' if next == Some(b'N') => self.take(kind::NUMBER, 2),
                b'\\' => self.take(kind::BACKSLASH, 1),
                b'\'' | b'"' => self.string(*byte, 1),
                b'`' => self.tick(),
                b'$' => self.money(),
                b'@' => self.variable(),
                b'[' => self.bracket(),
                b'.' | b'0'..=b'9' => match self.number() {
                    Some(token) => token,
                    None => continue,
                },
                b'b' | b'B' => self.literal(BITS),
                b'x' | b'X' => self.literal(HEX),
                b'e' | b'E' => self.escaped_string(),
                b'n' | b'N' if next == Some(b'\'') && after.len() > 1 => self.escaped_string(),
                b'n' | b'N' => self.oracle_string(1),
                b'q' | b'Q' => self.oracle_string(0),
                b'u' | b'U' => self.unicode_string(),
                _ => self.word(),
            };
            return Some(token);
        }
        None
    }

    fn rest(&self) -> &'a [u8] {
        self.value.get(self.at..).unwrap_or_default()
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.rest().get(ahead).copied()
    }

    /// The next `length` bytes as one token.
    fn take(&mut self, kind: u8, length: usize) -> Token {
        let rest = self.rest();
        self.at += length;
        Token::new(kind, rest.get(..length).unwrap_or(rest))
    }

    /// A string of which the value starts `skipped` bytes further and ends at `end`, a quote after which `after` more bytes
    /// belong to it; or never.
    fn text(&mut self, skipped: usize, end: Option<usize>, after: usize) -> Token {
        let rest = self.rest().get(skipped..).unwrap_or_default();
        let token = Token::new(
            kind::STRING,
            rest.get(..end.unwrap_or(rest.len())).unwrap_or(rest),
        );
        self.at += skipped + end.map_or(rest.len(), |end| end + after);
        token
    }

    /// A string that ends at a quote that is neither doubled nor escaped; it begins `skipped` bytes from here.
    fn string(&mut self, quote: u8, skipped: usize) -> Token {
        let text = self.rest().get(skipped..).unwrap_or_default();
        let mut from = 0;
        let end = loop {
            let Some(found) = text.get(from..).and_then(|text| memchr(quote, text)) else {
                break None;
            };
            let at = from + found;
            let before = text.get(..at).unwrap_or_default();
            let backslashes = before
                .iter()
                .rev()
                .take_while(|byte| **byte == b'\\')
                .count();
            if backslashes % 2 == 1 {
                from = at + 1;
            } else if text.get(at + 1) == Some(&quote) {
                from = at + 2;
            } else {
                break Some(at);
            }
        };
        // A string that began before the value has no quote to begin with.
        let open = if skipped > 0 { quote } else { 0 };
        self.text(skipped, end, 1)
            .quoted(open, if end.is_some() { quote } else { 0 })
    }

    fn comment_to_the_end_of_the_line(&mut self) -> Token {
        let rest = self.rest();
        let line = memchr(b'\n', rest);
        let token = self.take(kind::COMMENT, line.unwrap_or(rest.len()));
        self.at += usize::from(line.is_some());
        token
    }

    /// An operator, but for `MySQL` a comment.
    fn hash(&mut self) -> Token {
        self.ambiguous = true;
        if self.context.mysql {
            self.comment_to_the_end_of_the_line()
        } else {
            self.take(kind::OPERATOR, 1)
        }
    }

    /// Two make a comment; `MySQL` wants a blank after them.
    fn dash(&mut self) -> Token {
        if self.peek(1) != Some(b'-') {
            return self.take(kind::OPERATOR, 1);
        }
        if self.peek(2).is_none_or(|byte| BLANK.contains(byte)) {
            return self.comment_to_the_end_of_the_line();
        }
        if self.context.mysql {
            return self.take(kind::OPERATOR, 1);
        }
        self.ambiguous = true;
        self.comment_to_the_end_of_the_line()
    }

    /// `/* .. */`. `PostgreSQL` nests them, and `MySQL` runs what is in `/*! .. */`: neither can be read for all servers.
    fn comment(&mut self) -> Token {
        let rest = self.rest();
        let inside = rest.get(2..).unwrap_or_default();
        let end = memmem::find(inside, b"*/");
        // The star that ends the comment may be the one of a slash and a star.
        let searched = end.map_or(&[][..], |end| inside.get(..=end).unwrap_or_default());
        let is_evil = inside.first() == Some(&b'!') || memmem::find(searched, b"/*").is_some();
        let kind = if is_evil { kind::EVIL } else { kind::COMMENT };
        self.take(kind, end.map_or(rest.len(), |end| end + 4))
    }

    /// Of one, two or three characters.
    fn operator(&mut self) -> Token {
        let rest = self.rest();
        if rest.starts_with(b"<=>") {
            return self.take(kind::OPERATOR, 3);
        }
        if let Some(kind) = rest.get(..2).and_then(table::lookup) {
            return self.take(kind, 2);
        }
        // A colon is none by itself, but at the very end the C library says so.
        let is_colon = rest.first() == Some(&b':') && rest.len() > 1;
        self.take(
            if is_colon {
                kind::COLON
            } else {
                kind::OPERATOR
            },
            1,
        )
    }

    fn word(&mut self) -> Token {
        let rest = self.rest();
        let length = span(rest, |byte| !AFTER_WORD.contains(byte));
        let mut token = self.take(kind::BAREWORD, length);
        // `SELECT.1` and `` SELECT`column` `` begin with a keyword.
        let parts = token.text().iter().enumerate();
        let keyword = parts
            .filter(|(_, byte)| matches!(byte, b'.' | b'`'))
            .find_map(|(at, _)| {
                let part = rest.get(..at)?;
                Some((
                    at,
                    table::lookup(part).filter(|kind| *kind != kind::BAREWORD)?,
                ))
            });
        if let Some((part, kind)) = keyword {
            self.at -= length - part;
            return Token::new(kind, rest.get(..part).unwrap_or_default());
        }
        token.kind = rest
            .get(..length)
            .and_then(table::lookup)
            .unwrap_or(kind::BAREWORD);
        token
    }

    /// A name between backticks; that of a function is one.
    fn tick(&mut self) -> Token {
        let mut token = self.string(b'`', 1);
        token.kind = match table::lookup(token.text()) {
            Some(kind::FUNCTION) => kind::FUNCTION,
            _ => kind::BAREWORD,
        };
        token
    }

    fn variable(&mut self) -> Token {
        self.at += 1;
        if self.peek(0) == Some(b'@') {
            self.at += 1;
        }
        let mut token = match self.peek(0) {
            Some(b'`') => self.tick(),
            Some(quote @ (b'\'' | b'"')) => self.string(quote, 1),
            _ => {
                let length = span(self.rest(), |byte| !AFTER_VARIABLE.contains(byte));
                self.take(kind::VARIABLE, length)
            }
        };
        token.kind = kind::VARIABLE;
        token
    }

    /// An array of `PostgreSQL`, or a name of SQL Server.
    fn bracket(&mut self) -> Token {
        if !self.context.mysql && !self.context.before_4 {
            self.changed = true;
            return self.take(kind::LEFT_PARENTHESIS, 1);
        }
        let rest = self.rest();
        let length = memchr(b']', rest).map_or(rest.len(), |end| end + 1);
        self.take(kind::BAREWORD, length)
    }

    /// `b'0101'`, `x'beef'`
    fn literal(&mut self, digits: ByteSet) -> Token {
        let text = self.rest().get(1..).unwrap_or_default();
        if let Some(text) = text.strip_prefix(b"'") {
            let length = span(text, |byte| digits.contains(byte));
            if text.get(length) == Some(&b'\'') {
                return self.take(kind::NUMBER, length + 3);
            }
        }
        self.word()
    }

    /// `e'..'` and `n'..'`
    fn escaped_string(&mut self) -> Token {
        if self.peek(1) == Some(b'\'') && self.peek(2).is_some() {
            self.string(b'\'', 2)
        } else {
            self.word()
        }
    }

    /// `u&'..'`
    fn unicode_string(&mut self) -> Token {
        if !self.rest().get(1..).unwrap_or_default().starts_with(b"&'") {
            return self.word();
        }
        self.at += 2;
        let token = self.string(b'\'', 1);
        let close = if token.close == b'\'' { b'u' } else { 0 };
        token.quoted(b'u', close)
    }

    /// Oracle's `q'[..]'`, or `nq'[..]'` with `skipped` 1.
    fn oracle_string(&mut self, skipped: usize) -> Token {
        let rest = self.rest().get(skipped..).unwrap_or_default();
        let [b'q' | b'Q', b'\'', quote @ b'!'..=0x7f, text @ ..] = rest else {
            return self.word();
        };
        let quote = match quote {
            b'(' => b')',
            b'[' => b']',
            b'{' => b'}',
            b'<' => b'>',
            other => *other,
        };
        let end = memmem::find(text, &[quote, b'\'']);
        let close = if end.is_some() { b'q' } else { 0 };
        self.text(skipped + 3, end, 2).quoted(b'q', close)
    }

    /// `$1,000.00`, `$$text$$` and `$tag$text$tag$`
    fn money(&mut self) -> Token {
        let rest = self.rest();
        let after = rest.get(1..).unwrap_or_default();
        match span(after, |byte| MONEY.contains(byte)) {
            0 => {}
            1 if after.first() == Some(&b'.') => return self.word(),
            digits => return self.take(kind::NUMBER, 1 + digits),
        }
        let tag = match after.first() {
            Some(b'$') => 0,
            _ => match span(after, |byte| LETTERS.contains(byte)) {
                0 => return self.take(kind::BAREWORD, 1),
                letters => letters,
            },
        };
        let (Some(b'$'), Some(mark)) = (after.get(tag).copied(), rest.get(..tag + 2)) else {
            return self.take(kind::BAREWORD, 1);
        };
        let end = memmem::find(rest.get(mark.len()..).unwrap_or_default(), mark);
        let close = if end.is_some() { b'$' } else { 0 };
        self.text(mark.len(), end, mark.len()).quoted(b'$', close)
    }

    /// A number or a dot. `None` for `1.e`: `MySQL` takes what follows an exponent without digits as if the number was not there.
    fn number(&mut self) -> Option<Token> {
        let rest = self.rest();
        let digits = match rest {
            [b'0', b'x' | b'X', ..] => Some(HEX),
            [b'0', b'b' | b'B', ..] => Some(BITS),
            _ => None,
        };
        if let Some(digits) = digits {
            let text = rest.get(2..).unwrap_or_default();
            return Some(match span(text, |byte| digits.contains(byte)) {
                0 => self.take(kind::BAREWORD, 2),
                length => self.take(kind::NUMBER, 2 + length),
            });
        }
        let digits = |from: usize| {
            let rest = rest.get(from..).unwrap_or_default();
            from + span(rest, |byte| DIGITS.contains(byte))
        };
        let byte = |at: usize| rest.get(at).copied();
        let mut end = digits(0);
        if byte(end) == Some(b'.') {
            end = digits(end + 1);
            if end == 1 {
                return Some(self.take(kind::DOT, 1));
            }
        }
        let mut is_number = true;
        if matches!(byte(end), Some(b'e' | b'E')) {
            end += 1;
            end += usize::from(matches!(byte(end), Some(b'+' | b'-')));
            let exponent = digits(end);
            is_number = self.context.before_4 || exponent > end;
            self.changed |= exponent == end;
            end = exponent;
        }
        // The suffixes of Oracle, where a number ends; and `1fUNION`.
        if matches!(byte(end), Some(b'd' | b'D' | b'f' | b'F')) {
            let ends = match byte(end + 1) {
                None | Some(b';' | b'u' | b'U') => true,
                Some(byte) => BLANK.contains(byte),
            };
            end += usize::from(ends);
        }
        let token = self.take(kind::NUMBER, end);
        is_number.then_some(token)
    }
}

/// How many bytes there are at the start of which this is true.
fn span(text: &[u8], is: impl Fn(u8) -> bool) -> usize {
    text.iter()
        .position(|byte| !is(*byte))
        .unwrap_or(text.len())
}
