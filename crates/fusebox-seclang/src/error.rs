//! What can be wrong with a rule file, and where.

use std::path::PathBuf;
use std::sync::Arc;

/// A place in a rule file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Location {
    file: Arc<str>,
    line: u32,
}

impl Location {
    pub(crate) fn new(file: &Arc<str>, line: u32) -> Self {
        Self {
            file: Arc::clone(file),
            line,
        }
    }

    /// The file, as it was named to the builder or by an `Include`.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The line on which the directive starts, from 1.
    #[must_use]
    pub const fn line(&self) -> u32 {
        self.line
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Why rules could not be loaded: the first thing that is wrong, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesetError {
    location: Option<Location>,
    kind: ErrorKind,
}

impl RulesetError {
    pub(crate) const fn new(location: Location, kind: ErrorKind) -> Self {
        Self {
            location: Some(location),
            kind,
        }
    }

    /// The directive that is wrong; `None` when the file itself could not be read.
    #[must_use]
    pub const fn location(&self) -> Option<&Location> {
        self.location.as_ref()
    }

    /// What is wrong with it.
    #[must_use]
    pub const fn kind(&self) -> &ErrorKind {
        &self.kind
    }
}

impl From<ErrorKind> for RulesetError {
    fn from(kind: ErrorKind) -> Self {
        Self {
            location: None,
            kind,
        }
    }
}

impl std::fmt::Display for RulesetError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.location {
            Some(location) => write!(f, "{location}: {}", self.kind),
            None => self.kind.fmt(f),
        }
    }
}

impl std::error::Error for RulesetError {}

/// What is wrong with a directive.
///
/// Nothing that a rule asks for is left out in silence: what the engine cannot honour is one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A file could not be read.
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A rule file is not UTF-8.
    NotUtf8 {
        /// The file.
        path: PathBuf,
    },
    /// An `Include` names itself, directly or through others, or the nesting is too deep.
    IncludeDepth {
        /// How many files deep it went.
        depth: usize,
    },
    /// An `Include` that names a file matched none.
    IncludeEmpty {
        /// The pattern.
        pattern: String,
    },
    /// A quote was opened and never closed.
    Unclosed {
        /// The quote.
        quote: char,
    },
    /// The directive is not part of the language.
    UnknownDirective {
        /// Its name.
        name: String,
    },
    /// The directive needs what this engine does not have.
    Refused {
        /// The directive, operator or action.
        what: String,
        /// Why it cannot be honoured.
        why: &'static str,
    },
    /// The directive has too few or too many arguments.
    Arguments {
        /// The directive.
        directive: String,
        /// What it takes.
        expected: &'static str,
        /// How many it was given.
        found: usize,
    },
    /// The value is not one of those that the setting takes.
    Value {
        /// The directive, action or operator.
        what: String,
        /// The value as written.
        value: String,
        /// What it takes.
        expected: &'static str,
    },
    /// A variable that is not part of the language.
    UnknownVariable {
        /// Its name.
        name: String,
    },
    /// A variable with a selector where it has no parts, or the other way round.
    Selector {
        /// The variable.
        variable: String,
        /// What is wrong.
        why: &'static str,
    },
    /// An operator that is not part of the language.
    UnknownOperator {
        /// Its name.
        name: String,
    },
    /// An action that is not part of the language.
    UnknownAction {
        /// Its name.
        name: String,
    },
    /// A transformation that is not part of the language.
    UnknownTransformation {
        /// Its name.
        name: String,
    },
    /// A regular expression that does not compile.
    Regex {
        /// The expression as written.
        pattern: String,
        /// What the compiler said.
        reason: String,
    },
    /// An `@ipMatch` address that is none.
    Address {
        /// The text as written.
        text: String,
    },
    /// A rule without an `id`.
    MissingId,
    /// Two rules with the same `id`.
    DuplicateId {
        /// The `id`.
        id: u32,
        /// Where it was used first.
        first: Location,
    },
    /// A `chain` with no rule after it.
    DanglingChain,
    /// An action that only the first rule of a chain may have.
    ActionInLink {
        /// The action.
        action: &'static str,
    },
    /// A `skipAfter` to a marker or rule that does not follow.
    NoMarker {
        /// The name.
        name: String,
    },
    /// A list or text is longer than the engine takes.
    TooLarge {
        /// What.
        what: &'static str,
        /// How many are allowed.
        limit: usize,
        /// How many there are.
        found: usize,
    },
}

impl std::fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Read { path, reason } => {
                write!(f, "{}: cannot be read: {reason}", path.display())
            }
            Self::NotUtf8 { path } => write!(f, "{}: is not UTF-8", path.display()),
            Self::IncludeDepth { depth } => {
                write!(
                    f,
                    "Include: nested {depth} files deep, does a file include itself?"
                )
            }
            Self::IncludeEmpty { pattern } => write!(f, "Include: no file is named {pattern}"),
            Self::Unclosed { quote } => write!(f, "the quote {quote} is never closed"),
            Self::UnknownDirective { name } => write!(f, "{name}: no such directive"),
            Self::Refused { what, why } => write!(f, "{what}: {why}"),
            Self::Arguments {
                directive,
                expected,
                found,
            } => write!(f, "{directive}: takes {expected}, got {found}"),
            Self::Value {
                what,
                value,
                expected,
            } => write!(f, "{what}: must be {expected}, got {value:?}"),
            Self::UnknownVariable { name } => write!(f, "{name}: no such variable"),
            Self::Selector { variable, why } => write!(f, "{variable}: {why}"),
            Self::UnknownOperator { name } => write!(f, "@{name}: no such operator"),
            Self::UnknownAction { name } => write!(f, "{name}: no such action"),
            Self::UnknownTransformation { name } => write!(f, "t:{name}: no such transformation"),
            Self::Regex { pattern, reason } => {
                let start: String = pattern.chars().take(60).collect();
                write!(f, "@rx {start}: {reason}")
            }
            Self::Address { text } => write!(f, "@ipMatch: {text:?} is no address and no network"),
            Self::MissingId => f.write_str("the rule has no id"),
            Self::DuplicateId { id, first } => write!(f, "id {id}: already used at {first}"),
            Self::DanglingChain => f.write_str("chain: no rule follows"),
            Self::ActionInLink { action } => {
                write!(f, "{action}: only the first rule of a chain may have it")
            }
            Self::NoMarker { name } => {
                write!(
                    f,
                    "skipAfter: no marker or rule {name} follows in this configuration"
                )
            }
            Self::TooLarge { what, limit, found } => {
                write!(f, "{what}: at most {limit}, got {found}")
            }
        }
    }
}
