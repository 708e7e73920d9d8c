//! Tokens to a fingerprint: what servers take for one value becomes one token, so that few tokens say what a value does.
//!
//! A window of at most six tokens, of which those before `done` are decided. Each rule looks at the two or three tokens
//! from there on, takes some of them away and starts again; where none applies, one more token is decided.

use super::kind::{
    BACKSLASH, BAREWORD, COLLATE, COMMA, COMMENT, DOT, EVIL, EXPRESSION, FUNCTION, GROUP, KEYWORD,
    LEFT_BRACE, LEFT_PARENTHESIS, LOGIC, NONE, NUMBER, OPERATOR, RIGHT_BRACE, RIGHT_PARENTHESIS,
    SEMICOLON, SQL_TYPE, STRING, TSQL, UNION, VARIABLE,
};
use super::lexer::Lexer;
use super::table;
use super::token::{KEPT, Token};

/// Tokens of a fingerprint.
pub(super) const MOST: usize = 5;

/// One more helps to tell what the fifth is.
const WINDOW: usize = MOST + 1;

/// The tokens that are left of a value.
#[derive(Debug)]
pub(super) struct Folded {
    tokens: [Token; WINDOW],
    length: usize,
}

impl Folded {
    pub(super) fn tokens(&self) -> &[Token] {
        self.tokens.get(..self.length).unwrap_or_default()
    }

    pub(super) fn tokens_mut(&mut self) -> &mut [Token] {
        self.tokens.get_mut(..self.length).unwrap_or_default()
    }
}

struct Fold<'l, 'a> {
    lexer: &'l mut Lexer<'a>,
    more: bool,
    window: [Token; WINDOW],
    /// How many tokens are in the window.
    length: usize,
    /// How many of them are decided.
    done: usize,
    /// A comment that nothing has followed yet.
    comment: Option<Token>,
}

/// What a rule has done.
enum Next {
    /// Something: look again.
    Again,
    /// Nothing that calls for another look.
    On,
    /// The value is an attack whatever follows.
    Evil,
}

use Next::{Again, Evil, On};

/// Folds the tokens of a value.
pub(super) fn fold(lexer: &mut Lexer<'_>) -> Folded {
    let mut fold = Fold {
        lexer,
        more: true,
        window: [Token::NONE; WINDOW],
        length: 0,
        done: 0,
        comment: None,
    };
    fold.run();
    Folded {
        tokens: fold.window,
        length: fold.done.min(MOST),
    }
}

impl Fold<'_, '_> {
    fn run(&mut self) {
        if !self.skip_the_beginning() {
            return;
        }
        loop {
            self.restart_after_five();
            if !self.more || self.done >= MOST {
                self.done = self.length;
                break;
            }
            self.fill(2);
            if self.length - self.done < 2 {
                self.done = self.length;
                continue;
            }
            match self.two() {
                Again => continue,
                Evil => {
                    self.set_kind(0, EVIL);
                    self.done = 1;
                    return;
                }
                On => {}
            }
            self.fill(3);
            if self.length - self.done < 3 {
                self.done = self.length;
                continue;
            }
            if matches!(self.three(), On) {
                self.done += 1;
            }
        }
        if self.done < MOST
            && let Some(comment) = self.comment
        {
            self.put(self.done, comment);
            self.done += 1;
        }
    }

    /// Comments, types, parentheses and signs at the start say nothing. `false` if there is nothing else.
    fn skip_the_beginning(&mut self) -> bool {
        while let Some(token) = self.lexer.next() {
            let is_skipped =
                token.is_one_of(&[COMMENT, LEFT_PARENTHESIS, SQL_TYPE]) || token.is_unary();
            if !is_skipped {
                self.put(0, token);
                self.length = 1;
                return true;
            }
        }
        false
    }

    fn at(&self, place: usize) -> Token {
        self.window.get(place).copied().unwrap_or(Token::NONE)
    }

    fn put(&mut self, place: usize, token: Token) {
        if let Some(slot) = self.window.get_mut(place) {
            *slot = token;
        }
    }

    fn set_kind(&mut self, place: usize, kind: u8) {
        if let Some(slot) = self.window.get_mut(place) {
            slot.kind = kind;
        }
    }

    /// Reads on until so many tokens are undecided, or the window is full.
    fn fill(&mut self, undecided: usize) {
        while self.more && self.length < WINDOW && self.length - self.done < undecided {
            match self.lexer.next() {
                None => self.more = false,
                Some(token) if token.kind == COMMENT => self.comment = Some(token),
                Some(token) => {
                    self.comment = None;
                    self.put(self.length, token);
                    self.length += 1;
                }
            }
        }
    }

    /// Takes away the last `count` tokens and looks again, from the start if `anew`.
    fn drop_last(&mut self, count: usize, anew: bool) -> Next {
        self.length = self.length.saturating_sub(count);
        if anew {
            self.done = 0;
        }
        Again
    }

    /// Steps back by one token, whose meaning may have changed.
    fn drop_last_and_step_back(&mut self) -> Next {
        self.done = self.done.saturating_sub(1);
        self.drop_last(1, false)
    }

    /// Takes away the undecided token `offset`, and the next one takes its place.
    fn replace(&mut self, offset: usize) -> Next {
        self.put(self.done + offset, self.at(self.done + offset + 1));
        self.drop_last(1, true)
    }

    /// Five tokens that are a value in parentheses are one value, and more can follow.
    fn restart_after_five(&mut self) {
        if self.length < MOST {
            return;
        }
        let [a, b, c, d, e, sixth] = self.window;
        let value = &[BAREWORD, NUMBER];
        let is_value = match a.kind {
            NUMBER => {
                (b.is_one_of(&[OPERATOR, COMMA])
                    && c.kind == LEFT_PARENTHESIS
                    && d.kind == NUMBER
                    && e.kind == RIGHT_PARENTHESIS)
                    || (b.kind == RIGHT_PARENTHESIS
                        && c.kind == COMMA
                        && d.kind == LEFT_PARENTHESIS
                        && e.kind == NUMBER)
            }
            BAREWORD => {
                (b.kind == OPERATOR
                    && c.kind == LEFT_PARENTHESIS
                    && d.is_one_of(value)
                    && e.kind == RIGHT_PARENTHESIS)
                    || (b.kind == RIGHT_PARENTHESIS
                        && c.kind == OPERATOR
                        && d.kind == LEFT_PARENTHESIS
                        && e.kind == BAREWORD)
            }
            _ => false,
        };
        if !is_value {
            return;
        }
        if self.length > MOST {
            self.put(1, sixth);
            self.length = 2;
        } else {
            self.length = 1;
        }
        self.done = 0;
    }

    /// Rules for two tokens.
    fn two(&mut self) -> Next {
        let (a, b) = (self.at(self.done), self.at(self.done + 1));
        match (a.kind, b.kind) {
            // `'a' 'b'` is one string, and empty statements are none.
            (STRING, STRING) | (SEMICOLON, SEMICOLON) => return self.drop_last(1, false),
            (OPERATOR | LOGIC, _) if b.is_unary() || b.kind == SQL_TYPE => {
                return self.drop_last(1, true);
            }
            (LEFT_PARENTHESIS, _) if b.is_unary() => return self.drop_last_and_step_back(),
            _ => {}
        }
        if let Some(joined) = join(&a, &b) {
            self.put(self.done, joined);
            return self.drop_last_and_step_back();
        }
        match (a.kind, b.kind) {
            // A function, but after a semicolon a statement of Transact-SQL.
            (SEMICOLON, FUNCTION)
                if b.text()
                    .get(..2)
                    .is_some_and(|text| text.eq_ignore_ascii_case(b"IF")) =>
            {
                self.set_kind(self.done + 1, TSQL);
                Again
            }
            (BAREWORD | VARIABLE, LEFT_PARENTHESIS)
                if ALSO_FUNCTIONS.iter().any(|name| a.is(name)) =>
            {
                self.set_kind(self.done, FUNCTION);
                Again
            }
            (KEYWORD, next) if a.is(b"IN") || a.is(b"NOT IN") => {
                let is_operator = next == LEFT_PARENTHESIS;
                self.set_kind(self.done, if is_operator { OPERATOR } else { BAREWORD });
                Again
            }
            (OPERATOR, next) if a.is(b"LIKE") || a.is(b"NOT LIKE") => {
                if next == LEFT_PARENTHESIS {
                    self.set_kind(self.done, FUNCTION);
                }
                On
            }
            (
                SQL_TYPE,
                BAREWORD | NUMBER | SQL_TYPE | LEFT_PARENTHESIS | FUNCTION | VARIABLE | STRING,
            ) => self.replace(0),
            (COLLATE, BAREWORD) => {
                // There are too many collations to list; all have an underscore.
                let until_nul = b.text().iter().take_while(|byte| **byte != 0);
                if until_nul.into_iter().any(|byte| *byte == b'_') {
                    self.set_kind(self.done + 1, SQL_TYPE);
                    self.done = 0;
                }
                On
            }
            (BACKSLASH, _) => {
                if b.is_arithmetic() {
                    // Transact-SQL reads `\%1` as `0 % 1`.
                    self.set_kind(self.done, NUMBER);
                    self.done = 0;
                    Again
                } else {
                    self.replace(0)
                }
            }
            (LEFT_PARENTHESIS, LEFT_PARENTHESIS) | (RIGHT_PARENTHESIS, RIGHT_PARENTHESIS) => {
                self.drop_last(1, true)
            }
            (LEFT_BRACE, BAREWORD) => {
                if b.text().is_empty() {
                    // MySQL's ``{``.``.id}`` takes more tokens than there are here, and nobody writes it.
                    return Evil;
                }
                // `{name expression}` is the expression.
                self.drop_last(2, true)
            }
            (_, RIGHT_BRACE) => self.drop_last(1, true),
            _ => On,
        }
    }

    /// Rules for three tokens.
    fn three(&mut self) -> Next {
        let [a, b, c] = [0, 1, 2].map(|offset| self.at(self.done + offset));
        let unary = b.is_unary();
        match (a.kind, b.kind, c.kind) {
            // One value with the next, or one operator with the next, are like the first alone.
            (NUMBER | BAREWORD, OPERATOR, NUMBER | BAREWORD)
            | (LOGIC, _, LOGIC)
            | (VARIABLE, OPERATOR, VARIABLE | NUMBER | BAREWORD)
            | (
                BAREWORD | NUMBER | STRING | VARIABLE,
                COMMA,
                NUMBER | BAREWORD | STRING | VARIABLE,
            )
            // The name of a table with that of its database.
            | (BAREWORD, DOT, BAREWORD) => self.drop_last(2, true),
            (OPERATOR, between, OPERATOR) if between != LEFT_PARENTHESIS => self.drop_last(2, true),
            // A cast.
            (BAREWORD | NUMBER | VARIABLE | STRING, OPERATOR, SQL_TYPE) if b.text() == b"::" => {
                self.drop_last(2, true)
            }
            (EXPRESSION | GROUP | COMMA, _, LEFT_PARENTHESIS) if unary => self.replace(1),
            (KEYWORD | EXPRESSION | GROUP, _, NUMBER | BAREWORD | VARIABLE | STRING | FUNCTION)
                if unary =>
            {
                self.replace(1)
            }
            // `1,-1` is `1,1` is `1`.
            (COMMA, _, NUMBER | BAREWORD | VARIABLE | STRING) if unary => {
                self.put(self.done + 1, c);
                self.drop_last(3, true)
            }
            (COMMA, _, FUNCTION) if unary => self.replace(1),
            (EXPRESSION, DOT, BAREWORD) => self.replace(1),
            // With arguments it is none.
            (FUNCTION, LEFT_PARENTHESIS, after) if after != RIGHT_PARENTHESIS && a.is(b"USER") => {
                self.set_kind(self.done, BAREWORD);
                On
            }
            _ => On,
        }
    }
}

/// Words that are functions before a parenthesis, and names of columns elsewhere.
const ALSO_FUNCTIONS: &[&[u8]] = &[
    b"CURRENT_DATE",
    b"CURRENT_TIME",
    b"CURRENT_TIMESTAMP",
    b"CURRENT_USER",
    b"DATABASE",
    b"LOCALTIME",
    b"LOCALTIMESTAMP",
    b"PASSWORD",
    b"USER",
    b"USER_ID",
    b"USER_NAME",
];

/// Two words as one expression: `UNION ALL`.
fn join(a: &Token, b: &Token) -> Option<Token> {
    const WORDS: &[u8] = &[
        KEYWORD, BAREWORD, OPERATOR, UNION, FUNCTION, EXPRESSION, TSQL, SQL_TYPE,
    ];
    let may_join = a.is_one_of(WORDS) && (b.is_one_of(WORDS) || b.kind == LOGIC);
    let length = a.text().len() + 1 + b.text().len();
    if !may_join || length > KEPT {
        return None;
    }
    let mut text = [b' '; KEPT];
    let (first, second) = text.split_at_mut_checked(a.text().len() + 1)?;
    first.get_mut(..a.text().len())?.copy_from_slice(a.text());
    second.get_mut(..b.text().len())?.copy_from_slice(b.text());
    let text = text.get(..length)?;
    let mut joined = *a;
    joined.kind = table::lookup(text)?;
    joined.set(text);
    Some(joined)
}

/// The letters of the tokens; one that is evil stands for all.
pub(super) fn letters(tokens: &[Token]) -> [u8; MOST] {
    let mut letters = [NONE; MOST];
    if tokens.iter().any(|token| token.kind == EVIL) {
        let [first, ..] = &mut letters;
        *first = EVIL;
        return letters;
    }
    for (letter, token) in letters.iter_mut().zip(tokens) {
        *letter = token.kind;
    }
    letters
}
