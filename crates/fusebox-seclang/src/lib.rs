//! A rule engine for the OWASP Core Rule Set, without http and tower.

pub mod body;
mod budget;
mod byteset;
mod compile;
mod engine;
mod error;
pub mod libinjection;
mod operator;
mod parse;
mod ruleset;
mod transform;

pub use budget::{OverBudget, WorkBudget};
pub use byteset::ByteSet;
pub use engine::{Action, Interruption, Match, Slice, Transaction};
pub use error::{ErrorKind, Location, RulesetError};
pub use ruleset::{Ruleset, RulesetBuilder};
pub use transform::Transformation;
