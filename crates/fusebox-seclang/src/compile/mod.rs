//! Directives to a [`Program`].
//!
//! | file | does |
//! | --- | --- |
//! | `settings` | adds up the settings |
//! | `draft` | joins chains, merges default actions, applies updates and removals |
//! | `fold` | decides at load what is known at load |
//! | `lower` | numbers names, resolves skips and removals, compiles expressions, lists and chains of transformations |
//! | `regex` | reads expressions as PCRE without UTF does |
//!
//! All expressions are compiled here: the first request finds nothing left to do.

mod bits;
mod draft;
mod fold;
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
pub(crate) fn compile(sources: &Sources, folding: bool) -> Result<Program, RulesetError> {
    let mut drafts = draft::build(sources)?;
    // Before anything is dropped: a rule that can never run must be right all the same.
    lower::check(&drafts.steps)?;
    let mut start = fold::Start::new();
    if folding {
        (drafts.steps, start) = fold::fold(drafts.steps);
    }
    lower::lower(drafts, &start)
}
