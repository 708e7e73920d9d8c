//! The list of actions of a rule.

use super::directive::{IdRange, Matcher};
use super::setting::{EngineMode, audit_parts};
use super::template::Template;
use super::variable::{Target, Variable};
use crate::error::ErrorKind;

/// One action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Id(u32),
    Phase(u8),
    Msg(Template),
    LogData(Template),
    Tag(Template),
    Ver(String),
    Rev(String),
    Maturity(u8),
    Accuracy(u8),
    Severity(u8),
    /// `t:none`
    ClearTransformations,
    Transformation(String),
    Log(bool),
    AuditLog(bool),
    Capture,
    MultiMatch,
    Chain,
    SkipAfter(String),
    Skip(u32),
    Disruptive(Disruptive),
    Status(u16),
    SetVar(SetVar),
    /// `expirevar:collection.name=seconds`
    ExpireVar {
        collection: Variable,
        name: Template,
        seconds: u32,
    },
    /// `initcol:collection=key`
    InitCol {
        collection: Variable,
        key: Template,
    },
    Ctl(Ctl),
}

/// What becomes of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Disruptive {
    Pass,
    /// What the default action says.
    Block,
    Deny,
    Drop,
    Redirect(Template),
    Allow(Allow),
}

/// How far `allow` reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allow {
    /// No further rule, except in phase 5.
    Everything,
    /// No further rule of this phase.
    Phase,
    /// No further rule of phases 1 and 2.
    Request,
}

/// `setvar:collection.name=value`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SetVar {
    pub(crate) collection: Variable,
    /// In lower case where it is text.
    pub(crate) name: Template,
    pub(crate) value: SetVarValue,
}

/// What a `setvar` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SetVarValue {
    Remove,
    Set(Template),
    Add(Template),
    Subtract(Template),
}

/// `ctl:option=value`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ctl {
    AuditEngine(AuditMode),
    AuditLogParts(String),
    ForceRequestBodyVariable(bool),
    RequestBodyAccess(bool),
    RequestBodyProcessor(Processor),
    ResponseBodyAccess(bool),
    RuleEngine(EngineMode),
    RemoveById(Vec<IdRange>),
    RemoveByTag(Matcher),
    RemoveByMsg(Matcher),
    RemoveTargetById(Vec<IdRange>, Target),
    RemoveTargetByTag(Matcher, Target),
    RemoveTargetByMsg(Matcher, Target),
}

/// What `SecAuditEngine` and `ctl:auditEngine` say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AuditMode {
    On,
    Off,
    RelevantOnly,
}

/// How a request body is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Processor {
    UrlEncoded,
    Multipart,
    Json,
    Xml,
    Raw,
}

impl Processor {
    /// What `REQBODY_PROCESSOR` says.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::UrlEncoded => "URLENCODED",
            Self::Multipart => "MULTIPART",
            Self::Json => "JSON",
            Self::Xml => "XML",
            Self::Raw => "RAW",
        }
    }
}

impl AuditMode {
    pub(crate) fn parse(what: &str, value: &str) -> Result<Self, ErrorKind> {
        Ok(match value.to_ascii_lowercase().as_str() {
            "on" => Self::On,
            "off" => Self::Off,
            "relevantonly" => Self::RelevantOnly,
            _ => return Err(bad(what, value, "On, Off or RelevantOnly")),
        })
    }
}

pub(super) const REFUSED: &[(&str, &str)] = &[
    ("append", "bodies are not rewritten"),
    ("deprecatevar", "use expirevar"),
    ("exec", "no program is run in the middle of a request"),
    (
        "pause",
        "holds a thread in the middle of a request; use the blackhole layer's tarpit",
    ),
    ("prepend", "bodies are not rewritten"),
    ("proxy", "requests are not sent elsewhere"),
    (
        "sanitiseArg",
        "the caller gets the audit record and writes it: leave out there what must not be kept, or its part",
    ),
    (
        "sanitiseMatched",
        "the caller gets the audit record and writes it: leave out there what must not be kept, or its part",
    ),
    (
        "sanitiseMatchedBytes",
        "the caller gets the audit record and writes it: leave out there what must not be kept, or its part",
    ),
    (
        "sanitiseRequestHeader",
        "the caller gets the audit record and writes it: leave out there what must not be kept, or its part",
    ),
    (
        "sanitiseResponseHeader",
        "the caller gets the audit record and writes it: leave out there what must not be kept, or its part",
    ),
    (
        "setenv",
        "the process environment is not changed by a request",
    ),
    ("setrsc", "use initcol:resource=.."),
    ("setsid", "use initcol:session=.."),
    ("setuid", "use initcol:user=.."),
    ("xmlns", "XML expressions have no namespaces, see XML"),
];

pub(super) const REFUSED_CTL: &[(&str, &str)] = &[
    ("debugLogLevel", "there is no debug log to steer"),
    ("hashEnforcement", "hash injection is not built in"),
    ("hashEngine", "hash injection is not built in"),
    (
        "parseXmlIntoArgs",
        "XML is looked at as XML:/* and XML://@*",
    ),
    (
        "requestBodyLimit",
        "one limit holds for all, see SecRequestBodyLimit",
    ),
    (
        "responseBodyLimit",
        "one limit holds for all, see SecResponseBodyLimit",
    ),
];

impl Action {
    pub(crate) fn parse_list(text: &str) -> Result<Vec<Self>, ErrorKind> {
        split(text)?
            .into_iter()
            .map(|(name, value)| Self::parse(&name, value))
            .collect()
    }

    fn parse(name: &str, value: Option<String>) -> Result<Self, ErrorKind> {
        let lower = name.to_ascii_lowercase();
        if let Some((_, why)) = REFUSED
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(&lower))
        {
            return Err(ErrorKind::Refused {
                what: name.to_owned(),
                why,
            });
        }
        let flag = |action: Self| match &value {
            None => Ok(action),
            Some(value) => Err(bad(name, value, "without a value")),
        };
        let given = || {
            value.as_deref().ok_or_else(|| ErrorKind::Value {
                what: name.to_owned(),
                value: String::new(),
                expected: "followed by a value",
            })
        };
        Ok(match lower.as_str() {
            "id" => Self::Id(number(name, given()?)?),
            "phase" => Self::Phase(phase(given()?)?),
            "msg" => Self::Msg(Template::parse(given()?)?),
            "logdata" => Self::LogData(Template::parse(given()?)?),
            "tag" => Self::Tag(Template::parse(given()?)?),
            "ver" => Self::Ver(given()?.to_owned()),
            "rev" => Self::Rev(given()?.to_owned()),
            "maturity" => Self::Maturity(number(name, given()?)?),
            "accuracy" => Self::Accuracy(number(name, given()?)?),
            "severity" => Self::Severity(severity(given()?)?),
            "t" => match given()? {
                none if none.eq_ignore_ascii_case("none") => Self::ClearTransformations,
                transformation => Self::Transformation(transformation.to_owned()),
            },
            "log" => flag(Self::Log(true))?,
            "nolog" => flag(Self::Log(false))?,
            "auditlog" => flag(Self::AuditLog(true))?,
            "noauditlog" => flag(Self::AuditLog(false))?,
            "capture" => flag(Self::Capture)?,
            "multimatch" => flag(Self::MultiMatch)?,
            "chain" => flag(Self::Chain)?,
            "skipafter" => Self::SkipAfter(given()?.to_owned()),
            "skip" => Self::Skip(number(name, given()?)?),
            "pass" => flag(Self::Disruptive(Disruptive::Pass))?,
            "block" => flag(Self::Disruptive(Disruptive::Block))?,
            "deny" => flag(Self::Disruptive(Disruptive::Deny))?,
            "drop" => flag(Self::Disruptive(Disruptive::Drop))?,
            "redirect" => Self::Disruptive(Disruptive::Redirect(Template::parse(given()?)?)),
            "allow" => Self::Disruptive(Disruptive::Allow(match value.as_deref() {
                None => Allow::Everything,
                Some(scope) if scope.eq_ignore_ascii_case("phase") => Allow::Phase,
                Some(scope) if scope.eq_ignore_ascii_case("request") => Allow::Request,
                Some(scope) => return Err(bad(name, scope, "phase or request")),
            })),
            "status" => Self::Status(status(given()?)?),
            "setvar" => Self::SetVar(set_var(given()?)?),
            "expirevar" => expire_var(given()?)?,
            "initcol" => init_col(given()?)?,
            "ctl" => Self::Ctl(ctl(given()?)?),
            _ => {
                return Err(ErrorKind::UnknownAction {
                    name: name.to_owned(),
                });
            }
        })
    }
}

fn bad(what: &str, value: &str, expected: &'static str) -> ErrorKind {
    ErrorKind::Value {
        what: what.to_owned(),
        value: value.to_owned(),
        expected,
    }
}

fn number<T: std::str::FromStr>(what: &str, value: &str) -> Result<T, ErrorKind> {
    value
        .trim()
        .parse()
        .map_err(|_| bad(what, value, "a whole number that fits"))
}

fn phase(value: &str) -> Result<u8, ErrorKind> {
    Ok(match value.trim().to_ascii_lowercase().as_str() {
        "1" => 1,
        "2" | "request" => 2,
        "3" => 3,
        "4" | "response" => 4,
        "5" | "logging" => 5,
        _ => return Err(bad("phase", value, "1 to 5, request, response or logging")),
    })
}

fn status(value: &str) -> Result<u16, ErrorKind> {
    let status = number("status", value)?;
    if (100..=599).contains(&status) {
        Ok(status)
    } else {
        Err(bad("status", value, "an HTTP status, 100 to 599"))
    }
}

fn severity(value: &str) -> Result<u8, ErrorKind> {
    const NAMES: [&str; 8] = [
        "EMERGENCY",
        "ALERT",
        "CRITICAL",
        "ERROR",
        "WARNING",
        "NOTICE",
        "INFO",
        "DEBUG",
    ];
    (0..)
        .zip(NAMES)
        .find(|(number, name)| name.eq_ignore_ascii_case(value) || value == number.to_string())
        .map(|(number, _)| number)
        .ok_or_else(|| bad("severity", value, "0 to 7 or its name"))
}

/// How long the name of a variable may be in a rule.
const MAX_NAME: usize = 256;

/// The collections that `setvar` may write, and what each is before an `initcol`.
fn writable(what: &'static str, text: &str) -> Result<(Variable, String), ErrorKind> {
    let Some((collection, name)) = text.split_once(['.', ':']) else {
        return Err(bad(what, text, "collection.name"));
    };
    let collection = Variable::from_name(collection.trim())?;
    match collection {
        Variable::Tx
        | Variable::Global
        | Variable::Ip
        | Variable::Resource
        | Variable::Session
        | Variable::User => {}
        _ => {
            return Err(bad(
                what,
                text,
                "in TX, GLOBAL, IP, RESOURCE, SESSION or USER",
            ));
        }
    }
    let name = name.trim().to_ascii_lowercase();
    // What a client makes longer is kept by its hash; a rule would never find that again by its name.
    if name.len() > MAX_NAME {
        return Err(ErrorKind::TooLarge {
            what: "the name of a variable",
            limit: MAX_NAME,
            found: name.len(),
        });
    }
    Ok((collection, name))
}

fn set_var(text: &str) -> Result<SetVar, ErrorKind> {
    let (target, value) = match text.split_once('=') {
        Some((target, value)) => (target, Some(value)),
        None => (text, None),
    };
    let (removes, target) = match target.trim().strip_prefix('!') {
        Some(target) => (true, target),
        None => (false, target),
    };
    let (collection, name) = writable("setvar", target)?;
    let value = match value {
        _ if removes => SetVarValue::Remove,
        // A name alone is set to 1, as the reference has it.
        None => SetVarValue::Set(Template::parse("1")?),
        Some(value) => match value.split_at_checked(1) {
            Some(("+", amount)) => SetVarValue::Add(Template::parse(amount)?),
            Some(("-", amount)) => SetVarValue::Subtract(Template::parse(amount)?),
            _ => SetVarValue::Set(Template::parse(value)?),
        },
    };
    Ok(SetVar {
        collection,
        name: Template::parse(&name)?,
        value,
    })
}

fn expire_var(text: &str) -> Result<Action, ErrorKind> {
    let Some((target, seconds)) = text.split_once('=') else {
        return Err(bad("expirevar", text, "collection.name=seconds"));
    };
    let (collection, name) = writable("expirevar", target)?;
    Ok(Action::ExpireVar {
        collection,
        name: Template::parse(&name)?,
        seconds: number("expirevar", seconds)?,
    })
}

fn init_col(text: &str) -> Result<Action, ErrorKind> {
    let Some((collection, key)) = text.split_once('=') else {
        return Err(bad("initcol", text, "collection=key"));
    };
    let collection = Variable::from_name(collection.trim())?;
    match collection {
        Variable::Global
        | Variable::Ip
        | Variable::Resource
        | Variable::Session
        | Variable::User => Ok(Action::InitCol {
            collection,
            key: Template::parse(key)?,
        }),
        _ => Err(bad(
            "initcol",
            text,
            "of GLOBAL, IP, RESOURCE, SESSION or USER",
        )),
    }
}

fn on_off(what: &str, value: &str) -> Result<bool, ErrorKind> {
    match value.to_ascii_lowercase().as_str() {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(bad(what, value, "On or Off")),
    }
}

fn ctl(text: &str) -> Result<Ctl, ErrorKind> {
    let Some((option, value)) = text.split_once('=') else {
        return Err(bad("ctl", text, "option=value"));
    };
    let what = format!("ctl:{option}");
    let with_target = |value: &str| match value.split_once(';') {
        Some((rules, target)) => Ok((rules.to_owned(), Target::parse(target.trim())?)),
        None => Err(bad(&what, value, "rules;TARGET")),
    };
    Ok(match option.trim().to_ascii_lowercase().as_str() {
        "auditengine" => Ctl::AuditEngine(AuditMode::parse(&what, value)?),
        "auditlogparts" => {
            let (sign, parts) = match value.split_at_checked(1) {
                Some((sign @ ("+" | "-"), parts)) => (sign, parts),
                _ => ("", value),
            };
            Ctl::AuditLogParts(format!("{sign}{}", audit_parts(&what, parts)?))
        }
        "forcerequestbodyvariable" => Ctl::ForceRequestBodyVariable(on_off(&what, value)?),
        "requestbodyaccess" => Ctl::RequestBodyAccess(on_off(&what, value)?),
        "responsebodyaccess" => Ctl::ResponseBodyAccess(on_off(&what, value)?),
        "requestbodyprocessor" => {
            Ctl::RequestBodyProcessor(match value.trim().to_ascii_uppercase().as_str() {
                "URLENCODED" => Processor::UrlEncoded,
                "MULTIPART" => Processor::Multipart,
                "JSON" => Processor::Json,
                "XML" => Processor::Xml,
                "RAW" => Processor::Raw,
                _ => return Err(bad(&what, value, "URLENCODED, MULTIPART, JSON, XML or RAW")),
            })
        }
        "ruleengine" => Ctl::RuleEngine(EngineMode::parse(&what, value)?),
        "ruleremovebyid" => Ctl::RemoveById(IdRange::parse_list(&what, value)?),
        "ruleremovebytag" => Ctl::RemoveByTag(Matcher::new(value)),
        "ruleremovebymsg" => Ctl::RemoveByMsg(Matcher::new(value)),
        "ruleremovetargetbyid" => {
            let (rules, target) = with_target(value)?;
            Ctl::RemoveTargetById(IdRange::parse_list(&what, &rules)?, target)
        }
        "ruleremovetargetbytag" => {
            let (tag, target) = with_target(value)?;
            Ctl::RemoveTargetByTag(Matcher::new(&tag), target)
        }
        "ruleremovetargetbymsg" => {
            let (msg, target) = with_target(value)?;
            Ctl::RemoveTargetByMsg(Matcher::new(&msg), target)
        }
        lower => {
            let refused = REFUSED_CTL
                .iter()
                .find(|(known, _)| known.eq_ignore_ascii_case(lower));
            return Err(match refused {
                Some((_, why)) => ErrorKind::Refused { what, why },
                None => bad("ctl", option, "one of the options of the reference"),
            });
        }
    })
}

/// `a,b:c,d:'e,f'` to names and values: a value in single quotes may hold commas, and its quote after a `\`.
fn split(text: &str) -> Result<Vec<(String, Option<String>)>, ErrorKind> {
    let mut actions = Vec::new();
    let mut rest = text.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        let end = rest.find([',', ':']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let (value, after) = match after.strip_prefix(':') {
            None => (None, after),
            Some(value) => {
                let (value, after) = take_value(value)?;
                (Some(value), after)
            }
        };
        actions.push((name.trim().to_owned(), value));
        rest = after.trim_start_matches([' ', '\t', ',']);
    }
    Ok(actions)
}

fn take_value(text: &str) -> Result<(String, &str), ErrorKind> {
    let text = text.trim_start_matches([' ', '\t']);
    let mut value = String::new();
    // The quotes may open after the name of a variable: setvar:tx.a='b,c'.
    let mut quoted = false;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if matches!(chars.peek(), Some((_, '\''))) => {
                value.push('\'');
                chars.next();
            }
            '\'' if quoted => {
                let after = text.get(at + 1..).unwrap_or_default();
                return Ok((value, after));
            }
            '\'' if value.is_empty() || value.ends_with('=') => quoted = true,
            ',' if !quoted => {
                return Ok((
                    value.trim_end().to_owned(),
                    text.get(at..).unwrap_or_default(),
                ));
            }
            _ => value.push(c),
        }
    }
    if quoted {
        return Err(ErrorKind::Unclosed { quote: '\'' });
    }
    Ok((value.trim_end().to_owned(), ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_actions_of_a_rule() {
        let actions = Action::parse_list(
            "id:942100,phase:2,block,capture,t:none,t:urlDecodeUni,msg:'a, b: it\\'s',severity:'CRITICAL',\
             setvar:'tx.score=+%{tx.critical}',chain",
        )
        .unwrap();
        assert_eq!(
            actions,
            [
                Action::Id(942_100),
                Action::Phase(2),
                Action::Disruptive(Disruptive::Block),
                Action::Capture,
                Action::ClearTransformations,
                Action::Transformation("urlDecodeUni".into()),
                Action::Msg(Template::parse("a, b: it's").unwrap()),
                Action::Severity(2),
                Action::SetVar(SetVar {
                    collection: Variable::Tx,
                    name: Template::parse("score").unwrap(),
                    value: SetVarValue::Add(Template::parse("%{tx.critical}").unwrap()),
                }),
                Action::Chain,
            ]
        );
    }

    #[test]
    fn reads_every_form_of_setvar() {
        let value = |text: &str| set_var(text).unwrap().value;
        let template = |text: &str| Template::parse(text).unwrap();
        assert_eq!(value("tx.a=5"), SetVarValue::Set(template("5")));
        assert_eq!(value("tx.a=+5"), SetVarValue::Add(template("5")));
        assert_eq!(value("tx.a=-5"), SetVarValue::Subtract(template("5")));
        assert_eq!(value("!tx.a"), SetVarValue::Remove);
        assert_eq!(value("tx.a"), SetVarValue::Set(template("1")));
        assert_eq!(value("tx.a="), SetVarValue::Set(template("")));
        assert!(set_var("args.a=1").is_err());
    }

    #[test]
    fn reads_a_removal_of_targets() {
        let actions =
            Action::parse_list("ctl:ruleRemoveTargetById=942100-942199;ARGS:pw,nolog").unwrap();
        assert_eq!(
            actions,
            [
                Action::Ctl(Ctl::RemoveTargetById(
                    IdRange::parse_list("", "942100-942199").unwrap(),
                    Target::parse("ARGS:pw").unwrap()
                )),
                Action::Log(false)
            ]
        );
    }

    #[test]
    fn names_the_action_that_is_wrong() {
        for (text, expected) in [
            ("id:x", "id: must be a whole number that fits, got \"x\""),
            (
                "phase:6",
                "phase: must be 1 to 5, request, response or logging, got \"6\"",
            ),
            ("msg:'open", "the quote ' is never closed"),
            ("blok", "blok: no such action"),
            (
                "exec:/bin/sh",
                "exec: no program is run in the middle of a request",
            ),
            ("log:1", "log: must be without a value, got \"1\""),
        ] {
            assert_eq!(
                Action::parse_list(text).unwrap_err().to_string(),
                expected,
                "{text}"
            );
        }
    }
}
