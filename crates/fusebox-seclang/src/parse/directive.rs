//! One directive.

use std::path::Path;
use std::sync::Arc;

use super::action::Action;
use super::operator::Operator;
use super::setting::Setting;
use super::variable::{Target, TargetMode};
use crate::error::{ErrorKind, Location};

/// A directive, where it stands, and where the files that it names are.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) directive: Directive,
    pub(crate) location: Location,
    pub(crate) folder: Arc<Path>,
}

/// What a directive says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Directive {
    Rule(RuleText),
    Action(Vec<Action>),
    Marker(String),
    DefaultAction(Vec<Action>),
    RemoveById(Vec<IdRange>),
    RemoveByTag(Matcher),
    RemoveByMsg(Matcher),
    UpdateTargetById(Vec<IdRange>, Vec<Target>),
    UpdateTargetByTag(Matcher, Vec<Target>),
    UpdateTargetByMsg(Matcher, Vec<Target>),
    UpdateActionById(u32, Vec<Action>),
    Setting(Setting),
}

/// A `SecRule`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RuleText {
    pub(crate) targets: Vec<Target>,
    pub(crate) operator: Operator,
    pub(crate) actions: Vec<Action>,
}

/// Rules by `id`, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IdRange {
    pub(crate) first: u32,
    pub(crate) last: u32,
}

impl IdRange {
    /// `1-9, 20 30`, as the directives take it.
    pub(crate) fn parse_list(what: &str, text: &str) -> Result<Vec<Self>, ErrorKind> {
        text.split([',', ' ', '\t'])
            .filter(|range| !range.is_empty())
            .map(|range| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                match (first.trim().parse(), last.trim().parse()) {
                    (Ok(first), Ok(last)) if first <= last => Ok(Self { first, last }),
                    _ => Err(ErrorKind::Value {
                        what: what.to_owned(),
                        value: range.to_owned(),
                        expected: "an id or a range of ids",
                    }),
                }
            })
            .collect()
    }

    pub(crate) const fn contains(self, id: u32) -> bool {
        self.first <= id && id <= self.last
    }
}

/// Rules by tag or message: the text as a whole, or as a regular expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Matcher {
    pub(crate) pattern: String,
}

impl Matcher {
    pub(crate) fn new(pattern: &str) -> Self {
        Self {
            pattern: pattern.trim().to_owned(),
        }
    }
}

pub(super) fn parse(name: &str, arguments: &[String]) -> Result<Directive, ErrorKind> {
    let lower = name.to_ascii_lowercase();
    let wrong = |expected| ErrorKind::Arguments {
        directive: name.to_owned(),
        expected,
        found: arguments.len(),
    };
    let one = || match arguments {
        [one] => Ok(one.as_str()),
        _ => Err(wrong("one argument")),
    };
    let ids = || match arguments {
        [] => Err(wrong("ids")),
        _ => IdRange::parse_list(name, &arguments.join(" ")),
    };
    let two = |expected| match arguments {
        [first, second] => Ok((first, second)),
        _ => Err(wrong(expected)),
    };
    Ok(match lower.as_str() {
        "secrule" => match arguments {
            [targets, operator] => rule(targets, operator, "")?,
            [targets, operator, actions] => rule(targets, operator, actions)?,
            _ => return Err(wrong("targets, an operator and actions")),
        },
        "secaction" => Directive::Action(Action::parse_list(one()?)?),
        "secmarker" => Directive::Marker(one()?.to_owned()),
        "secdefaultaction" => Directive::DefaultAction(Action::parse_list(one()?)?),
        "secruleremovebyid" => Directive::RemoveById(ids()?),
        "secruleremovebytag" => Directive::RemoveByTag(Matcher::new(one()?)),
        "secruleremovebymsg" => Directive::RemoveByMsg(Matcher::new(one()?)),
        "secruleupdatetargetbyid" => {
            let (rules, targets) = two("ids and targets")?;
            Directive::UpdateTargetById(
                IdRange::parse_list(name, rules)?,
                Target::parse_list(targets)?,
            )
        }
        "secruleupdatetargetbytag" => {
            let (tag, targets) = two("a tag and targets")?;
            Directive::UpdateTargetByTag(Matcher::new(tag), Target::parse_list(targets)?)
        }
        "secruleupdatetargetbymsg" => {
            let (msg, targets) = two("a message and targets")?;
            Directive::UpdateTargetByMsg(Matcher::new(msg), Target::parse_list(targets)?)
        }
        "secruleupdateactionbyid" => {
            let (id, actions) = two("an id and actions")?;
            let id = id.parse().map_err(|_| ErrorKind::Value {
                what: name.to_owned(),
                value: id.clone(),
                expected: "the id of a rule",
            })?;
            Directive::UpdateActionById(id, Action::parse_list(actions)?)
        }
        _ => match Setting::parse(name, arguments)? {
            Some(setting) => Directive::Setting(setting),
            None => {
                return Err(ErrorKind::UnknownDirective {
                    name: name.to_owned(),
                });
            }
        },
    })
}

fn rule(targets: &str, operator: &str, actions: &str) -> Result<Directive, ErrorKind> {
    let text = targets;
    let targets = Target::parse_list(text)?;
    let looks = |target: &Target| target.mode != TargetMode::Exclude;
    if !targets.iter().any(looks) {
        return Err(ErrorKind::Value {
            what: "SecRule".to_owned(),
            value: text.to_owned(),
            expected: "at least one target to look at",
        });
    }
    Ok(Directive::Rule(RuleText {
        targets,
        operator: Operator::parse(operator)?,
        actions: Action::parse_list(actions)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::Sources;

    fn only(text: &str) -> Result<Directive, String> {
        let mut sources = Sources::default();
        sources
            .text("t", Path::new("."), text)
            .map_err(|error| error.to_string())?;
        Ok(sources.items()[0].directive.clone())
    }

    #[test]
    fn reads_directives_in_any_case() {
        assert_eq!(
            only("secmarker END").unwrap(),
            Directive::Marker("END".into())
        );
        assert_eq!(
            only("SecRuleRemoveById 1 \"3-5\" 9,10").unwrap(),
            Directive::RemoveById(vec![
                IdRange { first: 1, last: 1 },
                IdRange { first: 3, last: 5 },
                IdRange { first: 9, last: 9 },
                IdRange {
                    first: 10,
                    last: 10
                },
            ])
        );
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        for (text, expected) in [
            ("SecRool ARGS x", "t:1: SecRool: no such directive"),
            (
                "SecRule ARGS",
                "t:1: SecRule: takes targets, an operator and actions, got 1",
            ),
            (
                "SecRuleEngine Maybe",
                "t:1: SecRuleEngine: must be On, Off or DetectionOnly, got \"Maybe\"",
            ),
            (
                "SecRuleScript x.lua",
                "t:1: SecRuleScript: no program is run in the middle of a request",
            ),
            (
                "SecRuleRemoveById 9-1",
                "t:1: SecRuleRemoveById: must be an id or a range of ids, got \"9-1\"",
            ),
            ("\n\nSecMarker 'x", "t:3: the quote ' is never closed"),
        ] {
            assert_eq!(only(text).unwrap_err(), expected, "{text}");
        }
    }
}
