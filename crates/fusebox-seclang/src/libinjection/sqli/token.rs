//! A token of SQL, with as much of its text as rules ask for.

/// What a token is, by the letter that stands for it in a fingerprint.
pub(crate) mod kind {
    pub(crate) const BACKSLASH: u8 = b'\\';
    pub(crate) const BAREWORD: u8 = b'n';
    pub(crate) const COLLATE: u8 = b'A';
    pub(crate) const COLON: u8 = b':';
    pub(crate) const COMMA: u8 = b',';
    pub(crate) const COMMENT: u8 = b'c';
    pub(crate) const DOT: u8 = b'.';
    /// What cannot be read the way a server would: always an attack.
    pub(crate) const EVIL: u8 = b'X';
    pub(crate) const EXPRESSION: u8 = b'E';
    pub(crate) const FUNCTION: u8 = b'f';
    pub(crate) const GROUP: u8 = b'B';
    pub(crate) const KEYWORD: u8 = b'k';
    pub(crate) const LEFT_BRACE: u8 = b'{';
    pub(crate) const LEFT_PARENTHESIS: u8 = b'(';
    pub(crate) const LOGIC: u8 = b'&';
    /// No token at all.
    pub(crate) const NONE: u8 = 0;
    pub(crate) const NUMBER: u8 = b'1';
    pub(crate) const OPERATOR: u8 = b'o';
    /// In the table only: a part of an expression, and nothing by itself.
    pub(crate) const PART: u8 = b'-';
    pub(crate) const RIGHT_BRACE: u8 = b'}';
    pub(crate) const RIGHT_PARENTHESIS: u8 = b')';
    pub(crate) const SEMICOLON: u8 = b';';
    pub(crate) const SQL_TYPE: u8 = b't';
    pub(crate) const STRING: u8 = b's';
    pub(crate) const TSQL: u8 = b'T';
    pub(crate) const UNION: u8 = b'U';
    pub(crate) const UNKNOWN: u8 = b'?';
    pub(crate) const VARIABLE: u8 = b'v';
}

/// As much of a text as is kept: longer than any word of the table, so that nothing longer can be one.
pub(super) const KEPT: usize = 31;

/// A token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub(super) kind: u8,
    /// The quote that a string began with; 0 for one that began before the value.
    pub(super) open: u8,
    /// The quote that it ended with; 0 if it did not.
    pub(super) close: u8,
    length: u8,
    text: [u8; KEPT],
}

impl Token {
    pub(super) const NONE: Self = Self {
        kind: kind::NONE,
        open: 0,
        close: 0,
        length: 0,
        text: [0; KEPT],
    };

    pub(super) fn new(kind: u8, text: &[u8]) -> Self {
        let mut token = Self::NONE;
        token.kind = kind;
        token.set(text);
        token
    }

    pub(super) fn set(&mut self, text: &[u8]) {
        let kept = text.len().min(KEPT);
        if let (Some(to), Some(from)) = (self.text.get_mut(..kept), text.get(..kept)) {
            to.copy_from_slice(from);
        }
        // At most 31.
        self.length = u8::try_from(kept).unwrap_or(0);
    }

    pub(super) fn quoted(mut self, open: u8, close: u8) -> Self {
        (self.open, self.close) = (open, close);
        self
    }

    pub(super) fn text(&self) -> &[u8] {
        self.text
            .get(..usize::from(self.length))
            .unwrap_or_default()
    }

    pub(super) fn is(&self, word: &[u8]) -> bool {
        self.text().eq_ignore_ascii_case(word)
    }

    pub(super) fn is_one_of(&self, kinds: &[u8]) -> bool {
        kinds.contains(&self.kind)
    }

    /// `+`, `-`, `!`, `~`, `!!` and `NOT`.
    pub(super) fn is_unary(&self) -> bool {
        self.kind == kind::OPERATOR
            && (matches!(self.text(), [b'+' | b'-' | b'!' | b'~'] | b"!!") || self.is(b"NOT"))
    }

    pub(super) fn is_arithmetic(&self) -> bool {
        self.kind == kind::OPERATOR && matches!(self.text(), [b'*' | b'/' | b'-' | b'+' | b'%'])
    }
}
