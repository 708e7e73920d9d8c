//! SecLang text to a list of directives: nothing is interpreted here beyond the shape of the language.
//!
//! | file | from | to |
//! | --- | --- | --- |
//! | `source` | files, `Include` globs | logical lines, each with its place |
//! | `words` | a logical line | words, quotes taken off |
//! | `directive` | words | a [`Directive`] |
//! | `variable`, `operator`, `action`, `template` | one word of it | its tree |
//!
//! All of it is linear in its input, and every list is bounded by the size of the text it came from.

mod action;
mod directive;
mod operator;
mod setting;
mod source;
mod template;
mod variable;
mod words;

pub(crate) use action::{
    Action, Allow, AuditMode, Ctl, Disruptive, Processor, SetVar, SetVarValue,
};
pub(crate) use directive::{Directive, IdRange, Item, Matcher};
pub(crate) use operator::{Operator, OperatorName};
pub(crate) use setting::{BodyLimitAction, EngineMode, Setting};
pub(crate) use source::Sources;
pub(crate) use template::{Part, Template};
pub(crate) use variable::{Selector, Target, TargetMode, Variable};
