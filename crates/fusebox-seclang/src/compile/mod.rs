//! Directives to a [`Program`].
//!
//! | file | does |
//! | --- | --- |
//! | `settings` | adds up the settings |
//! | `draft` | joins chains, merges default actions, applies updates and removals |
//! | `lower` | numbers names, resolves skips and removals, compiles expressions, lists and chains of transformations |
//! | `regex` | reads expressions as PCRE without UTF does |
//!
//! All expressions are compiled here: the first request finds nothing left to do.

mod bits;
mod draft;
mod lower;
mod matcher;
mod operator;
mod program;
mod regex;
mod settings;

use crate::error::RulesetError;
use crate::parse::Sources;

pub(crate) use bits::contains as bits_contain;
pub(crate) use program::{
    Amount, CAPTURES, Change, Ctl, Disruptive, Effect, Head, Initial, Operator, Piece, Program,
    Rule, Select, Target, Text,
};
pub(crate) use settings::Settings;

/// Compiles what the sources say.
pub(crate) fn compile(sources: &Sources) -> Result<Program, RulesetError> {
    lower::lower(draft::build(sources)?)
}
