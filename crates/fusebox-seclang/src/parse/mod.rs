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

/// Every name that a table here knows, by the section of the page that lists it.
#[cfg(test)]
pub(crate) fn known_names() -> Vec<(&'static str, Vec<&'static str>)> {
    let refused = |table: &[(&'static str, &'static str)]| -> Vec<&'static str> {
        table.iter().map(|(name, _)| *name).collect()
    };
    let variables = Variable::ALL.iter().map(|(name, _)| *name);
    let operators = operator::NAMES.iter().map(|(name, _)| *name);
    vec![
        ("Directives", setting::WITHOUT_EFFECT.to_vec()),
        ("Directives", refused(setting::REFUSED)),
        ("Variables", variables.collect()),
        ("Variables", refused(variable::REFUSED)),
        ("Operators", operators.collect()),
        ("Operators", refused(operator::REFUSED)),
        ("Actions", refused(action::REFUSED)),
        ("Options of ctl", refused(action::REFUSED_CTL)),
    ]
}

pub(crate) use action::{
    Action, Allow, AuditMode, Ctl, Disruptive, Processor, SetVar, SetVarValue,
};
pub(crate) use directive::{Directive, IdRange, Item, Matcher};
pub(crate) use operator::{Operator, OperatorName};
pub(crate) use setting::{BodyLimitAction, EngineMode, Setting};
pub(crate) use source::Sources;
pub(crate) use template::{Part, Template};
pub(crate) use variable::{Selector, Target, TargetMode, Variable};
