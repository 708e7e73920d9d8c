//! Directives to rules that stand for themselves: chains joined, default actions merged, updates and removals applied.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::matcher;
use super::settings::Settings;
use crate::Transformation;
use crate::error::{ErrorKind, Location, RulesetError};
use crate::parse::{
    Action, Ctl, Directive, Disruptive, IdRange, Item, Operator, SetVar, Sources, Target, Template,
    Variable,
};

/// What stands in a phase: a rule, or a place to skip to.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Rule(Box<Draft>),
    Marker(String),
}

/// A rule with its chain.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) id: u32,
    pub(super) phase: u8,
    pub(super) msg: Template,
    pub(super) logdata: Template,
    pub(super) tags: Vec<Template>,
    pub(super) ver: String,
    pub(super) rev: String,
    pub(super) severity: Option<u8>,
    pub(super) log: bool,
    pub(super) audit: bool,
    pub(super) disruptive: Disruptive,
    pub(super) status: u16,
    pub(super) skip: Option<Skip>,
    pub(super) links: Vec<Link>,
}

/// Where to go on after a match.
#[derive(Clone, Debug)]
pub(super) enum Skip {
    After(String),
    Count(u32),
}

/// One rule of a chain; the first is the head.
#[derive(Clone, Debug)]
pub(super) struct Link {
    /// Without the excluded ones.
    pub(super) targets: Vec<Target>,
    pub(super) excluded: Vec<Target>,
    /// `None`: a `SecAction`, which always matches.
    pub(super) operator: Option<Operator>,
    pub(super) transformations: Vec<String>,
    pub(super) multi_match: bool,
    pub(super) capture: bool,
    pub(super) effects: Vec<Effect>,
    pub(super) location: Location,
    pub(super) folder: Arc<Path>,
}

/// What a match does besides the verdict.
#[derive(Clone, Debug)]
pub(super) enum Effect {
    SetVar(SetVar),
    ExpireVar {
        collection: Variable,
        name: Template,
        seconds: u32,
    },
    InitCol {
        collection: Variable,
        key: Template,
    },
    Ctl(Ctl),
}

/// A rule as written.
#[derive(Clone, Debug)]
struct Raw {
    head: RawLink,
    links: Vec<RawLink>,
    defaults: Defaults,
}

#[derive(Clone, Debug)]
struct RawLink {
    targets: Vec<Target>,
    operator: Option<Operator>,
    actions: Vec<Action>,
    location: Location,
    folder: Arc<Path>,
}

#[derive(Clone, Debug)]
enum RawStep {
    Rule(Box<Raw>),
    Marker(String),
}

/// The default actions in force, by phase.
type Defaults = Arc<HashMap<u8, Vec<Action>>>;

/// Everything that the directives say.
#[derive(Debug)]
pub(super) struct Drafts {
    pub(super) steps: Vec<Step>,
    pub(super) settings: Settings,
}

pub(super) fn build(sources: &Sources) -> Result<Drafts, RulesetError> {
    let mut reader = Reader::default();
    for item in sources.items() {
        reader
            .item(item)
            .map_err(|kind| RulesetError::new(item.location.clone(), kind))?;
    }
    reader.finish()
}

#[derive(Debug, Default)]
struct Reader {
    steps: Vec<RawStep>,
    settings: Settings,
    defaults: Defaults,
    /// The last rule said `chain`.
    open: bool,
    updates: Vec<(Location, Directive)>,
}

impl Reader {
    fn item(&mut self, item: &Item) -> Result<(), ErrorKind> {
        match &item.directive {
            Directive::Rule(rule) => self.rule(
                item,
                rule.targets.clone(),
                Some(rule.operator.clone()),
                &rule.actions,
            ),
            Directive::Action(actions) => self.rule(item, Vec::new(), None, actions),
            _ if self.open => Err(ErrorKind::DanglingChain),
            Directive::Marker(name) => {
                self.steps.push(RawStep::Marker(name.clone()));
                Ok(())
            }
            Directive::DefaultAction(actions) => self.default_action(actions),
            Directive::Setting(setting) => self.settings.apply(setting),
            update => {
                self.updates.push((item.location.clone(), update.clone()));
                Ok(())
            }
        }
    }

    fn rule(
        &mut self,
        item: &Item,
        targets: Vec<Target>,
        operator: Option<Operator>,
        actions: &[Action],
    ) -> Result<(), ErrorKind> {
        let link = RawLink {
            targets,
            operator,
            actions: actions.to_vec(),
            location: item.location.clone(),
            folder: Arc::clone(&item.folder),
        };
        let chained = self.open;
        self.open = actions.contains(&Action::Chain);
        match self.steps.last_mut() {
            Some(RawStep::Rule(raw)) if chained => {
                if let Some(action) = link.actions.iter().find_map(only_in_head) {
                    return Err(ErrorKind::ActionInLink { action });
                }
                raw.links.push(link);
            }
            _ => self.steps.push(RawStep::Rule(Box::new(Raw {
                head: link,
                links: Vec::new(),
                defaults: Arc::clone(&self.defaults),
            }))),
        }
        Ok(())
    }

    fn default_action(&mut self, actions: &[Action]) -> Result<(), ErrorKind> {
        let phase = actions.iter().find_map(|action| match action {
            Action::Phase(phase) => Some(*phase),
            _ => None,
        });
        for action in actions {
            match action {
                Action::Disruptive(Disruptive::Block) | Action::Chain | Action::Id(_) => {
                    return Err(ErrorKind::Refused {
                        what: "SecDefaultAction".to_owned(),
                        why: "cannot hold block, chain or id",
                    });
                }
                Action::Capture
                | Action::Ctl(_)
                | Action::ExpireVar { .. }
                | Action::InitCol { .. }
                | Action::MultiMatch
                | Action::SetVar(_) => {
                    return Err(ErrorKind::Refused {
                        what: "SecDefaultAction".to_owned(),
                        why: "what a rule does on a match is said in the rule",
                    });
                }
                // No rule may come that would use it.
                Action::Transformation(name) if Transformation::from_name(name).is_none() => {
                    return Err(ErrorKind::UnknownTransformation { name: name.clone() });
                }
                _ => {}
            }
        }
        let mut defaults = HashMap::clone(&self.defaults);
        defaults.insert(phase.unwrap_or(2), actions.to_vec());
        self.defaults = Arc::new(defaults);
        Ok(())
    }

    fn finish(mut self) -> Result<Drafts, RulesetError> {
        if self.open
            && let Some(RawStep::Rule(raw)) = self.steps.last()
        {
            let last = raw.links.last().unwrap_or(&raw.head);
            return Err(RulesetError::new(
                last.location.clone(),
                ErrorKind::DanglingChain,
            ));
        }
        let updates = std::mem::take(&mut self.updates);
        let mut removed = Vec::new();
        for (location, update) in &updates {
            self.update(update, &mut removed)
                .map_err(|kind| RulesetError::new(location.clone(), kind))?;
        }
        let mut ids: HashMap<u32, Location> = HashMap::new();
        let mut steps = Vec::new();
        for step in self.steps {
            match step {
                RawStep::Marker(name) => steps.push(Step::Marker(name)),
                RawStep::Rule(raw) => {
                    let location = raw.head.location.clone();
                    let draft = draft(*raw).map_err(|(at, kind)| RulesetError::new(at, kind))?;
                    if let Some(first) = ids.insert(draft.id, location.clone()) {
                        return Err(RulesetError::new(
                            location,
                            ErrorKind::DuplicateId {
                                id: draft.id,
                                first,
                            },
                        ));
                    }
                    if !removed.contains(&draft.id) {
                        steps.push(Step::Rule(Box::new(draft)));
                    }
                }
            }
        }
        Ok(Drafts {
            steps,
            settings: self.settings,
        })
    }

    /// Applied at the end, so an exclusion may stand before or after the rule it is for.
    fn update(&mut self, update: &Directive, removed: &mut Vec<u32>) -> Result<(), ErrorKind> {
        let chosen = match update {
            Directive::RemoveById(ids) | Directive::UpdateTargetById(ids, _) => {
                Chosen::Ids(ids.clone())
            }
            Directive::UpdateActionById(id, _) => Chosen::Ids(vec![IdRange {
                first: *id,
                last: *id,
            }]),
            Directive::RemoveByTag(tag) | Directive::UpdateTargetByTag(tag, _) => {
                Chosen::Tag(matcher::compile(tag)?)
            }
            Directive::RemoveByMsg(msg) | Directive::UpdateTargetByMsg(msg, _) => {
                Chosen::Msg(matcher::compile(msg)?)
            }
            _ => return Ok(()),
        };
        for step in &mut self.steps {
            let RawStep::Rule(raw) = step else { continue };
            if !chosen.takes(&raw.head.actions) {
                continue;
            }
            if let Directive::UpdateActionById(_, actions) = update {
                for action in actions {
                    if let Action::Id(_) | Action::Phase(_) | Action::Chain = action {
                        return Err(ErrorKind::Refused {
                            what: "SecRuleUpdateActionById".to_owned(),
                            why: "cannot change the id, the phase or the chain of a rule",
                        });
                    }
                }
            }
            match update {
                Directive::UpdateTargetById(_, targets)
                | Directive::UpdateTargetByTag(_, targets)
                | Directive::UpdateTargetByMsg(_, targets) => {
                    raw.head.targets.extend(targets.iter().cloned());
                }
                Directive::UpdateActionById(_, actions) => {
                    raw.head.actions.extend(actions.iter().cloned());
                }
                _ => removed.extend(id_of(&raw.head.actions)),
            }
        }
        Ok(())
    }
}

enum Chosen {
    Ids(Vec<IdRange>),
    Tag(matcher::Compiled),
    Msg(matcher::Compiled),
}

impl Chosen {
    fn takes(&self, actions: &[Action]) -> bool {
        match self {
            Self::Ids(ids) => {
                id_of(actions).is_some_and(|id| ids.iter().any(|range| range.contains(id)))
            }
            Self::Tag(tag) => actions.iter().any(|action| match action {
                Action::Tag(text) => text.constant().is_some_and(|text| tag.matches(text)),
                _ => false,
            }),
            Self::Msg(msg) => actions.iter().any(|action| match action {
                Action::Msg(text) => text.constant().is_some_and(|text| msg.matches(text)),
                _ => false,
            }),
        }
    }
}

fn id_of(actions: &[Action]) -> Option<u32> {
    actions.iter().find_map(|action| match action {
        Action::Id(id) => Some(*id),
        _ => None,
    })
}

const fn only_in_head(action: &Action) -> Option<&'static str> {
    Some(match action {
        Action::Id(_) => "id",
        Action::Phase(_) => "phase",
        Action::Disruptive(_) => "a disruptive action",
        Action::Status(_) => "status",
        Action::SkipAfter(_) => "skipAfter",
        Action::Skip(_) => "skip",
        // The reference calls these metadata of the chain, which is logged as one.
        Action::Msg(_) => "msg",
        Action::LogData(_) => "logdata",
        Action::Tag(_) => "tag",
        Action::Severity(_) => "severity",
        Action::Rev(_) => "rev",
        Action::Ver(_) => "ver",
        Action::Maturity(_) => "maturity",
        Action::Accuracy(_) => "accuracy",
        _ => return None,
    })
}

/// Joins the defaults, the head and its links.
fn draft(raw: Raw) -> Result<Draft, (Location, ErrorKind)> {
    let head = raw.head;
    let Some(id) = id_of(&head.actions) else {
        return Err((head.location, ErrorKind::MissingId));
    };
    let phase = head
        .actions
        .iter()
        .rev()
        .find_map(|action| match action {
            Action::Phase(phase) => Some(*phase),
            _ => None,
        })
        .unwrap_or(2);
    let mut draft = Draft {
        id,
        phase,
        msg: Template::default(),
        logdata: Template::default(),
        tags: Vec::new(),
        ver: String::new(),
        rev: String::new(),
        severity: None,
        log: true,
        audit: true,
        disruptive: Disruptive::Pass,
        status: 403,
        skip: None,
        links: Vec::new(),
    };
    let defaults = raw.defaults.get(&phase).map_or(&[][..], Vec::as_slice);
    for action in defaults {
        draft.apply(action);
    }
    let default_disruptive = draft.disruptive.clone();
    let default_transformations = transformations(&[], defaults);
    for action in &head.actions {
        draft.apply(action);
    }
    if draft.disruptive == Disruptive::Block {
        draft.disruptive = default_disruptive;
    }
    // A chain is logged when all of it has matched, so what its links say of the log holds for the whole; the last one wins.
    for action in raw.links.iter().flat_map(|link| &link.actions) {
        if matches!(action, Action::Log(_) | Action::AuditLog(_)) {
            draft.apply(action);
        }
    }
    if let Some(what) = looks_at_nothing(&head) {
        return Err((
            head.location,
            ErrorKind::Selector {
                variable: what.to_owned(),
                why: "is what the rule before in a chain matched, and this is the first",
            },
        ));
    }
    for link in std::iter::once(head).chain(raw.links) {
        draft.links.push(link_of(link, &default_transformations));
    }
    Ok(draft)
}

/// A target of a first rule that could only have a value in a later one.
fn looks_at_nothing(head: &RawLink) -> Option<&'static str> {
    let of_a_match = |target: &&Target| {
        matches!(
            target.variable,
            Variable::MatchedVar
                | Variable::MatchedVarName
                | Variable::MatchedVars
                | Variable::MatchedVarsNames
        )
    };
    head.targets
        .iter()
        .find(of_a_match)
        .map(|target| target.variable.name())
}

impl Draft {
    fn apply(&mut self, action: &Action) {
        match action {
            Action::Msg(text) => self.msg = text.clone(),
            Action::LogData(text) => self.logdata = text.clone(),
            Action::Tag(text) => self.tags.push(text.clone()),
            Action::Ver(text) => self.ver.clone_from(text),
            Action::Rev(text) => self.rev.clone_from(text),
            Action::Severity(severity) => self.severity = Some(*severity),
            // `nolog` silences both logs, and `log` asks for both, until the other action says otherwise.
            Action::Log(log) => (self.log, self.audit) = (*log, *log),
            Action::AuditLog(audit) => self.audit = *audit,
            Action::Disruptive(disruptive) => self.disruptive = disruptive.clone(),
            Action::Status(status) => self.status = *status,
            Action::SkipAfter(name) => self.skip = Some(Skip::After(name.clone())),
            Action::Skip(count) => self.skip = Some(Skip::Count(*count)),
            _ => {}
        }
    }
}

fn transformations(start: &[String], actions: &[Action]) -> Vec<String> {
    let mut list = start.to_vec();
    for action in actions {
        match action {
            Action::ClearTransformations => list.clear(),
            Action::Transformation(name) => list.push(name.clone()),
            _ => {}
        }
    }
    list
}

fn link_of(link: RawLink, defaults: &[String]) -> Link {
    let (excluded, targets) = link
        .targets
        .into_iter()
        .partition(|target| target.mode == crate::parse::TargetMode::Exclude);
    let transformations = transformations(defaults, &link.actions);
    let multi_match = link.actions.contains(&Action::MultiMatch);
    let capture = link.actions.contains(&Action::Capture);
    let effects = link.actions.into_iter().filter_map(effect).collect();
    Link {
        targets,
        excluded,
        operator: link.operator,
        transformations,
        multi_match,
        capture,
        effects,
        location: link.location,
        folder: link.folder,
    }
}

fn effect(action: Action) -> Option<Effect> {
    Some(match action {
        Action::SetVar(set) => Effect::SetVar(set),
        Action::ExpireVar {
            collection,
            name,
            seconds,
        } => Effect::ExpireVar {
            collection,
            name,
            seconds,
        },
        Action::InitCol { collection, key } => Effect::InitCol { collection, key },
        Action::Ctl(ctl) => Effect::Ctl(ctl),
        _ => return None,
    })
}
