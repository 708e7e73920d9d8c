//! What the automata of the expressions write to while they run: one set per call at work, not per request.
//!
//! Each compiled expression has a pool of these of its own, which makes another one whenever two threads meet, and one for
//! every thread that comes for the first time: hundreds of allocations within its first request.

use std::cell::RefCell;

use regex_automata::meta::{Cache, Regex};

use crate::compile::Program;

/// A cache per expression. For CRS at the first level of paranoia they are 1.3 MiB: most expressions have a full automaton,
/// which needs none.
#[derive(Clone, Debug)]
pub(crate) struct Scratch {
    /// In a cell, because names are compared with expressions where the state is only read.
    caches: RefCell<Vec<Cache>>,
}

impl Scratch {
    /// All that the expressions of `program` need.
    pub(crate) fn new(program: &Program) -> Self {
        let caches = program.regexes.iter().map(Regex::create_cache);
        Self {
            caches: RefCell::new(caches.collect()),
        }
    }

    /// Runs `search` with the expression and its cache; `None` if there is no such expression.
    pub(crate) fn run<R>(
        &self,
        program: &Program,
        regex: u32,
        search: impl FnOnce(&Regex, &mut Cache) -> R,
    ) -> Option<R> {
        let at = regex as usize;
        let regex = program.regexes.get(at)?;
        // No search starts another, so nobody else has borrowed it.
        let mut caches = self.caches.try_borrow_mut().ok()?;
        Some(search(regex, caches.get_mut(at)?))
    }
}
