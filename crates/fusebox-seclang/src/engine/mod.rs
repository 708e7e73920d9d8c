//! Rules against a transaction.
//!
//! | file | holds |
//! | --- | --- |
//! | `texts` | the arena of values, with their bytes and what transformations made of them |
//! | `lists` | the collections: which values a variable shows |
//! | `tx` | the TX collection |
//! | `state` | all of it, recycled |
//! | `request` | what a request line and headers are read into |
//! | `phase` | which rules run |
//! | `scratch` | what automata write to while they run |
//! | `hits` | which entries may match which rule |
//! | `scan` | which rules need not run |
//! | `eval` | one rule: its targets, its operator |
//! | `expand` | macros |
//! | `effects` | what a match does |
//! | `persist` | collections that outlive a transaction |
//! | `resolve` | what is asked of a caller's resolvers |
//! | `audit`, `audit_json` | what an audit log is told |
//! | `found` | a rule that matched, for the caller |
//! | `transaction` | the door: what a caller drives |

mod audit;
mod audit_json;
mod body;
mod effects;
mod eval;
mod expand;
mod found;
mod hits;
mod lists;
mod persist;
mod phase;
mod request;
mod resolve;
mod scan;
mod scratch;
mod state;
mod texts;
mod transaction;
mod tx;

use crate::compile::{Head, Program, Rule};
pub(crate) use state::State;

pub use audit::AuditRecord;
pub use found::Match;
pub(crate) use lists::{Field, LISTS, List, lists_of};
pub(crate) use persist::Store;
pub(crate) use scratch::Scratch;
pub use transaction::{Action, Cause, Interruption, Slice, Transaction};
pub(crate) use tx::TxValue;

/// A program at work on a state.
struct Engine<'a> {
    program: &'a Program,
    store: &'a Store,
    state: &'a mut State,
    scratch: &'a Scratch,
}

impl Engine<'_> {
    fn rule(&self, at: u32) -> Option<&Rule> {
        self.program.rules.get(at as usize)
    }

    fn head(&self, at: u32) -> Option<&Head> {
        self.rule(at).and_then(|rule| rule.head.as_deref())
    }
}
