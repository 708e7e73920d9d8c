//! A rule engine for the OWASP Core Rule Set, without http and tower.

pub mod body;
mod byteset;
mod compile;
mod engine;
mod error;
pub mod libinjection;
mod operator;
mod parse;
mod ruleset;
mod transform;

pub use byteset::ByteSet;
pub use engine::{Action, Interruption, Match, Transaction};
pub use error::{ErrorKind, Location, RulesetError};
pub use ruleset::{Ruleset, RulesetBuilder};
pub use transform::Transformation;
