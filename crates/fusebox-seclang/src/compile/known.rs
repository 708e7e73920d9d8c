//! What is known about TX at a point of the rules, and what follows from it: whether a condition holds, what a `setvar` sets.

use std::collections::HashMap;

use super::draft::{Effect, Link};
use super::regex;
use crate::Transformation;
use crate::operator::number;
use crate::parse::{
    Operator, OperatorName, Part, Selector, SetVarValue, Target, TargetMode, Template, Variable,
};

/// What is known about one variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Unset,
    Constant(Vec<u8>),
    Unknown,
}

/// What is known about TX at one point.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// Unset where there is no entry.
    vars: HashMap<Box<[u8]>, Known>,
    /// Beginnings of names that were put together at run time.
    pub(super) prefixes: Vec<Box<[u8]>>,
}

impl Facts {
    pub(super) fn get(&self, name: &[u8]) -> Known {
        let capture = matches!(name, [b'0'..=b'9']);
        if capture || self.prefixes.iter().any(|prefix| name.starts_with(prefix)) {
            return Known::Unknown;
        }
        self.vars.get(name).cloned().unwrap_or(Known::Unset)
    }

    pub(super) fn set(&mut self, name: &[u8], known: Known) {
        self.vars.insert(name.into(), known);
    }

    /// What holds on both ways.
    pub(super) fn join(&mut self, other: &Self) {
        for prefix in &other.prefixes {
            if !self.prefixes.contains(prefix) {
                self.prefixes.push(prefix.clone());
            }
        }
        let mut names: Vec<&Box<[u8]>> = self.vars.keys().chain(other.vars.keys()).collect();
        names.sort_unstable();
        names.dedup();
        let different: Vec<Box<[u8]>> = names
            .into_iter()
            .filter(|name| self.get(name) != other.get(name))
            .cloned()
            .collect();
        for name in different {
            self.set(&name, Known::Unknown);
        }
    }

    /// The text, if every macro in it is known.
    pub(super) fn text(&self, template: &Template) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        for part in &template.parts {
            match part {
                Part::Text(known) => text.extend_from_slice(known),
                Part::Macro(found) if found.variable == Variable::Tx => {
                    match self.get(found.name.as_ref()?.as_bytes()) {
                        Known::Constant(known) => text.extend_from_slice(&known),
                        Known::Unset => {}
                        Known::Unknown => return None,
                    }
                }
                Part::Macro(_) => return None,
            }
        }
        Some(text)
    }
}

/// The variable that an effect changes and what it is then, if that is known.
pub(super) fn constant_change(effect: &Effect, facts: &Facts) -> Option<(Box<[u8]>, Known)> {
    let Effect::SetVar(set) = effect else {
        return None;
    };
    if set.collection != Variable::Tx {
        return None;
    }
    let name = set.name.constant()?;
    let before = || match facts.get(name) {
        Known::Unset => Some(0),
        Known::Constant(text) => Some(number(&text)),
        Known::Unknown => None,
    };
    let known = match &set.value {
        SetVarValue::Remove => Known::Unset,
        SetVarValue::Set(text) => Known::Constant(facts.text(text)?),
        SetVarValue::Add(text) => {
            let sum = before()?.saturating_add(number(&facts.text(text)?));
            Known::Constant(sum.to_string().into_bytes())
        }
        SetVarValue::Subtract(text) => {
            let difference = before()?.saturating_sub(number(&facts.text(text)?));
            Known::Constant(difference.to_string().into_bytes())
        }
    };
    Some((name.into(), known))
}

/// Whether the link always matches, never does, or it depends.
pub(super) fn decide(link: &Link, facts: &Facts) -> Option<bool> {
    let Some(operator) = &link.operator else {
        return Some(true);
    };
    if !link.excluded.is_empty() || link.multi_match || link.targets.is_empty() {
        return None;
    }
    let mut any = false;
    for target in &link.targets {
        any |= decide_target(target, operator, &link.transformations, facts)?;
    }
    Some(any)
}

pub(super) fn decide_target(
    target: &Target,
    operator: &Operator,
    transformations: &[String],
    facts: &Facts,
) -> Option<bool> {
    let Selector::Name(name) = &target.selector else {
        return None;
    };
    if target.variable != Variable::Tx {
        return None;
    }
    let known = facts.get(name.as_bytes());
    let value = match (target.mode, known) {
        (_, Known::Unknown) | (TargetMode::Exclude, _) => return None,
        (TargetMode::Count, Known::Unset) => b"0".to_vec(),
        (TargetMode::Count, Known::Constant(_)) => b"1".to_vec(),
        // There is no value to look at, so none matches, not even a negated operator.
        (TargetMode::Value, Known::Unset) => return Some(false),
        (TargetMode::Value, Known::Constant(value)) => transform(value, transformations)?,
    };
    Some(holds(operator, &value, facts)? != operator.negated)
}

pub(super) fn transform(mut value: Vec<u8>, names: &[String]) -> Option<Vec<u8>> {
    for name in names {
        let mut out = Vec::new();
        if Transformation::from_name(name)?.apply(&value, &mut out) {
            value = out;
        }
    }
    Some(value)
}

pub(super) fn holds(operator: &Operator, value: &[u8], facts: &Facts) -> Option<bool> {
    match operator.name {
        OperatorName::UnconditionalMatch => return Some(true),
        OperatorName::NoMatch => return Some(false),
        OperatorName::Rx => {
            let regex = regex::compile(&operator.argument, false).ok()?;
            return Some(regex.is_match(value));
        }
        _ => {}
    }
    let argument = facts.text(&Template::parse(&operator.argument).ok()?)?;
    let (left, right) = (number(value), number(&argument));
    Some(match operator.name {
        OperatorName::Eq => left == right,
        OperatorName::Ge => left >= right,
        OperatorName::Gt => left > right,
        OperatorName::Le => left <= right,
        OperatorName::Lt => left < right,
        OperatorName::StrEq => value == argument,
        OperatorName::Within => memchr::memmem::find(&argument, value).is_some(),
        OperatorName::Contains | OperatorName::StrMatch => {
            memchr::memmem::find(value, &argument).is_some()
        }
        OperatorName::BeginsWith => value.starts_with(&argument),
        OperatorName::EndsWith => value.ends_with(&argument),
        _ => return None,
    })
}

const fn is_match_variable(variable: Variable) -> bool {
    matches!(
        variable,
        Variable::MatchedVar
            | Variable::MatchedVarName
            | Variable::MatchedVars
            | Variable::MatchedVarsNames
    )
}

/// Whether a text names what matched.
pub(super) fn names_match(template: &Template) -> bool {
    template
        .parts
        .iter()
        .any(|part| matches!(part, Part::Macro(found) if is_match_variable(found.variable)))
}

/// Whether a link looks at what the one before it matched.
pub(super) fn looks_back(link: &Link) -> bool {
    let operator = link.operator.as_ref().map(|operator| &operator.argument);
    link.targets
        .iter()
        .any(|target| is_match_variable(target.variable))
        || operator.is_some_and(|argument| {
            Template::parse(argument).is_ok_and(|template| names_match(&template))
        })
}

/// Whether no effect of the link names what matched.
pub(super) fn effects_are_plain(link: &Link) -> bool {
    link.effects.iter().all(|effect| match effect {
        Effect::SetVar(set) => {
            let value_is_plain = match &set.value {
                SetVarValue::Remove => true,
                SetVarValue::Set(text) | SetVarValue::Add(text) | SetVarValue::Subtract(text) => {
                    !names_match(text)
                }
            };
            value_is_plain && !names_match(&set.name)
        }
        Effect::InitCol { key, .. } => !names_match(key),
        Effect::ExpireVar { name, .. } => !names_match(name),
        Effect::Ctl(_) => true,
    })
}
