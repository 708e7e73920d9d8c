//! Directives to a [`Program`].
//!
//! | file | does |
//! | --- | --- |
//! | `settings` | adds up the settings |
//! | `draft` | joins chains, merges default actions, applies updates and removals |
//! | `fold` | decides at load what is known at load |
//! | `known` | what follows from what is known |
//! | `lower` | numbers names, resolves skips and removals, compiles expressions, lists and chains of transformations |
//! | `needs` | what a text must have for an expression to match it |
//! | `groups` | which captures somebody looks at |
//! | `filter` | which rules one look at a text rules out |
//! | `regex` | reads expressions as PCRE without UTF does |
//! | `restrict` | what is left of an expression for texts of plain words |
//!
//! All expressions are compiled here: the first request finds nothing left to do.

mod bits;
mod draft;
mod filter;
mod fold;
mod groups;
mod known;
mod lower;
mod matcher;
mod needs;
mod operator;
mod program;
mod regex;
mod restrict;
mod settings;

use std::sync::Arc;

use crate::error::RulesetError;
use crate::parse::Sources;
use crate::resolver::{BlockLists, GeoDatabase};

pub(crate) use bits::Bits;
pub(crate) use bits::contains as bits_contain;
pub(crate) use filter::{Filter, Lane, Lanes, MAX_WORDS, Place, Probe, Screen};
pub(crate) use program::{
    Amount, CAPTURES, Change, Ctl, Disruptive, Effect, Head, Initial, Operator, Piece, Program,
    Rule, Select, Target, Text,
};
pub(crate) use settings::Settings;

/// What a caller has given beside the rules.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resolvers {
    pub(crate) block_lists: Option<Arc<dyn BlockLists>>,
    pub(crate) geo: Option<Arc<dyn GeoDatabase>>,
}

/// Compiles what the sources say.
pub(crate) fn compile(
    sources: &Sources,
    resolvers: &Resolvers,
    fast: bool,
) -> Result<Program, RulesetError> {
    let mut drafts = draft::build(sources)?;
    // Before anything is dropped: a rule that can never run must be right all the same.
    let trees = lower::check(&drafts.steps, resolvers)?;
    let mut start = fold::Start::new();
    if fast {
        (drafts.steps, start) = fold::fold(drafts.steps);
    }
    lower::lower(drafts, &start, trees, resolvers, fast)
}
