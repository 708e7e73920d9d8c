//! Drafts to a [`Program`].

use std::collections::HashMap;

use aho_corasick::AhoCorasick;
use regex_syntax::hir::Hir;

use super::Resolvers;
use super::bits::Bits;
use super::draft::{self, Draft, Drafts, Link, Skip, Step};
use super::filter;
use super::fold::Start;
use super::groups;
use super::matcher;
use super::needs::{Needs, NeedsBy};
use super::operator;
use super::program::{
    Amount, CAPTURES, Change, Ctl, Disruptive, Effect, Exclusion, Head, Initial, Node, Operator,
    Piece, Program, Rule, Select, Target, Text, TxTable,
};
use super::regex::{self, Regex};
use super::restrict::{ALPHABETS, PLAIN, Plain, restrict};
use crate::budget::WorkBudget;
use crate::error::{ErrorKind, RulesetError};
use crate::parse::{self, Part, Selector, SetVarValue, TargetMode, Template, Variable};
use crate::{ByteSet, Transformation};

/// Names of TX are numbered with 16 bits; CRS has about 150.
const MAX_NAMES: usize = 60_000;

/// Reads every rule as [`lower`] does, without building what takes time, so that a rule which is never run must be right all the
/// same. Gives back the syntax trees of all expressions.
pub(super) fn check(steps: &[Step], resolvers: &Resolvers) -> Result<Trees, RulesetError> {
    let mut lower = Lower::new(&[], resolvers);
    lower.dry = true;
    for (position, step) in steps.iter().enumerate() {
        let Step::Rule(draft) = step else { continue };
        skip_to(steps, position, draft)?;
        lower.draft(draft, None)?;
    }
    Ok(lower.trees)
}

/// Syntax trees by expression, and whether they ignore case.
pub(super) type Trees = HashMap<(String, bool), Hir>;

pub(super) fn lower(
    drafts: Drafts,
    start: &Start,
    trees: Trees,
    resolvers: &Resolvers,
    fast: bool,
) -> Result<Program, RulesetError> {
    let heads: Vec<&Draft> = drafts
        .steps
        .iter()
        .filter_map(|step| match step {
            Step::Rule(draft) => Some(&**draft),
            Step::Marker(_) => None,
        })
        .collect();
    let mut lower = Lower::new(&heads, resolvers);
    lower.trees = trees;
    lower.fast = fast;
    for (position, step) in drafts.steps.iter().enumerate() {
        let Step::Rule(draft) = step else { continue };
        let skip_to = skip_to(&drafts.steps, position, draft)?;
        lower.draft(draft, skip_to)?;
    }
    if lower.tx.names.len() > MAX_NAMES {
        return Err(ErrorKind::TooLarge {
            what: "names in TX",
            limit: MAX_NAMES,
            found: lower.tx.names.len(),
        }
        .into());
    }
    for (name, value) in start {
        let slot = usize::from(lower.slot(name));
        if let Some(initial) = lower.tx.initial.get_mut(slot) {
            *initial = match exact_number(value) {
                Some(number) => Initial::Number(number),
                None => Initial::Text(value.as_slice().into()),
            };
        }
    }
    lower.tx.finish();
    if fast {
        groups::find(&mut lower.rules, &lower.regexes);
    }
    let screens = if fast {
        let (needs_of_regex, needs_of_phrases) = (&lower.needs_of_regex, &lower.needs_of_phrases);
        let needs_of = |operator: &Operator| match operator {
            Operator::Rx(regex) => needs_of_regex.get(*regex as usize).cloned(),
            Operator::Phrases(phrases) => needs_of_phrases.get(*phrases as usize).cloned(),
            _ => None,
        };
        Some(filter::build(&mut lower.rules, &lower.nodes, needs_of)?)
    } else {
        None
    };
    Ok(Program {
        settings: drafts.settings,
        budget: WorkBudget::default(),
        resolvers: resolvers.clone(),
        rules: lower.rules,
        phases: lower.phases,
        nodes: lower.nodes,
        regexes: lower.regexes,
        plain: lower.plain,
        phrases: lower.phrases,
        screens,
        tx: lower.tx,
        exclusions: lower.exclusions,
    })
}

/// The position in the list of its phase at which to go on after a match of the rule at `position`.
fn skip_to(steps: &[Step], position: usize, draft: &Draft) -> Result<Option<u32>, RulesetError> {
    let same_phase = |step: &Step| matches!(step, Step::Rule(other) if other.phase == draft.phase);
    let count = |steps: &[Step]| steps.iter().filter(|step| same_phase(step)).count();
    let before = count(steps.get(..=position).unwrap_or_default());
    let after = steps.get(position + 1..).unwrap_or_default();
    let target = match &draft.skip {
        None => return Ok(None),
        Some(Skip::Count(skipped)) => before + usize::try_from(*skipped).unwrap_or(usize::MAX),
        Some(Skip::After(name)) => {
            let found = after.iter().position(|step| match step {
                Step::Marker(marker) => marker == name,
                // `skipAfter` may name the id of a rule.
                Step::Rule(rule) => name.parse() == Ok(rule.id),
            });
            let Some(found) = found else {
                let location = draft.links.first().map(|head| head.location.clone());
                let kind = ErrorKind::NoMarker { name: name.clone() };
                return Err(match location {
                    Some(location) => RulesetError::new(location, kind),
                    None => kind.into(),
                });
            };
            before + count(after.get(..=found).unwrap_or_default())
        }
    };
    Ok(Some(u32::try_from(target).unwrap_or(u32::MAX)))
}

/// What is known about a head for removals.
struct Known {
    id: u32,
    tags: Vec<Box<[u8]>>,
    msg: Option<Box<[u8]>>,
}

/// The program so far.
pub(super) struct Lower {
    /// Only looks for errors.
    pub(super) dry: bool,
    pub(super) resolvers: Resolvers,
    /// Something looks at GEO.
    asks_geo: bool,
    /// Prepares what the filter needs.
    fast: bool,
    trees: Trees,
    known: Vec<Known>,
    rules: Vec<Rule>,
    phases: [Vec<u32>; 5],
    nodes: Vec<Node>,
    node_of: HashMap<(u32, Transformation), u32>,
    regexes: Vec<Regex>,
    plain: Vec<[Plain; PLAIN]>,
    regex_of: HashMap<(String, bool), u32>,
    needs_of_regex: Vec<NeedsBy>,
    phrases: Vec<AhoCorasick>,
    needs_of_phrases: Vec<NeedsBy>,
    tx: TxTable,
    exclusions: Vec<Exclusion>,
    heads: u32,
}

impl Lower {
    fn new(heads: &[&Draft], resolvers: &Resolvers) -> Self {
        let known = heads
            .iter()
            .map(|draft| Known {
                id: draft.id,
                tags: draft
                    .tags
                    .iter()
                    .filter_map(|tag| tag.constant().map(Into::into))
                    .collect(),
                msg: draft.msg.constant().map(Into::into),
            })
            .collect();
        let mut lower = Self {
            dry: false,
            resolvers: resolvers.clone(),
            asks_geo: false,
            fast: false,
            trees: Trees::new(),
            known,
            rules: Vec::new(),
            phases: Default::default(),
            nodes: vec![Node {
                parent: 0,
                step: None,
                triggers: ByteSet::EMPTY,
                always_changes: false,
            }],
            node_of: HashMap::new(),
            regexes: Vec::new(),
            plain: Vec::new(),
            regex_of: HashMap::new(),
            needs_of_regex: Vec::new(),
            phrases: Vec::new(),
            needs_of_phrases: Vec::new(),
            tx: TxTable::default(),
            exclusions: Vec::new(),
            heads: 0,
        };
        for capture in 0..CAPTURES {
            lower.slot(capture.to_string().as_bytes());
        }
        lower
    }

    fn draft(&mut self, draft: &Draft, skip_to: Option<u32>) -> Result<(), RulesetError> {
        let first = index(self.rules.len());
        let head_index = self.heads;
        self.heads += 1;
        let head = Head {
            id: draft.id,
            phase: draft.phase,
            msg: self.text(&draft.msg),
            logdata: self.text(&draft.logdata),
            tags: draft.tags.iter().map(|tag| self.text(tag)).collect(),
            ver: draft.ver.as_str().into(),
            rev: draft.rev.as_str().into(),
            severity: draft.severity,
            log: draft.log,
            audit: draft.audit,
            disruptive: match &draft.disruptive {
                parse::Disruptive::Deny => Disruptive::Deny,
                parse::Disruptive::Drop => Disruptive::Drop,
                parse::Disruptive::Redirect(to) => Disruptive::Redirect(self.text(to)),
                parse::Disruptive::Allow(scope) => Disruptive::Allow(*scope),
                // `block` has been replaced by the default action of the phase.
                parse::Disruptive::Pass | parse::Disruptive::Block => Disruptive::Pass,
            },
            status: draft.status,
            skip_to,
        };
        let mut head = Some(Box::new(head));
        let last = draft.links.len().saturating_sub(1);
        for (at, link) in draft.links.iter().enumerate() {
            let next = (at < last).then(|| first + index(at) + 1);
            let rule = self
                .link(link, head.take(), next, head_index)
                .map_err(|kind| RulesetError::new(link.location.clone(), kind))?;
            if self.asks_geo && self.resolvers.geo.is_none() {
                let kind = ErrorKind::Refused {
                    what: "GEO".to_owned(),
                    why: operator::NO_GEO,
                };
                return Err(RulesetError::new(link.location.clone(), kind));
            }
            self.rules.push(rule);
        }
        if let Some(phase) = self.phases.get_mut(usize::from(draft.phase) - 1) {
            phase.push(first);
        }
        Ok(())
    }

    fn link(
        &mut self,
        link: &Link,
        head: Option<Box<Head>>,
        next: Option<u32>,
        head_index: u32,
    ) -> Result<Rule, ErrorKind> {
        let (operator, negated) = match &link.operator {
            Some(operator) => (self.operator(operator, &link.folder)?, operator.negated),
            None => (Operator::Always, false),
        };
        let mut path = vec![0];
        for name in &link.transformations {
            let Some(step) = Transformation::from_name(name) else {
                return Err(ErrorKind::UnknownTransformation { name: name.clone() });
            };
            path.push(self.node(*path.last().unwrap_or(&0), step));
        }
        let targets = self.targets(link)?;
        let effects = link
            .effects
            .iter()
            .map(|effect| self.effect(effect))
            .collect::<Result<_, _>>()?;
        Ok(Rule {
            targets,
            operator,
            negated,
            node: *path.last().unwrap_or(&0),
            multi_match: if link.multi_match {
                path.into()
            } else {
                Box::default()
            },
            capture: link.capture,
            capture_groups: link.capture,
            effects,
            next,
            head_index,
            probe: None,
            is_action: link.operator.is_none(),
            head,
            location: link.location.clone(),
        })
    }

    fn targets(&mut self, link: &Link) -> Result<Box<[Target]>, ErrorKind> {
        let mut targets = Vec::new();
        for target in &link.targets {
            let mut except = Vec::new();
            for excluded in &link.excluded {
                if excluded.variable == target.variable {
                    except.push(self.select(excluded.variable, &excluded.selector)?);
                }
            }
            if except.iter().any(|select| matches!(select, Select::All)) {
                continue;
            }
            targets.push(Target {
                count: target.mode == TargetMode::Count,
                variable: target.variable,
                select: self.select(target.variable, &target.selector)?,
                except: except.into(),
            });
        }
        Ok(targets.into())
    }

    fn select(&mut self, variable: Variable, selector: &Selector) -> Result<Select, ErrorKind> {
        self.asks_geo |= variable == Variable::Geo;
        Ok(match selector {
            Selector::All => Select::All,
            Selector::Name(name) if variable == Variable::Tx => {
                Select::Tx(self.slot(name.as_bytes()))
            }
            Selector::Name(name) => Select::Name(name.as_bytes().into()),
            Selector::Regex(pattern) => Select::Regex(self.regex(pattern, true)?),
        })
    }

    fn node(&mut self, parent: u32, step: Transformation) -> u32 {
        if let Some(node) = self.node_of.get(&(parent, step)) {
            return *node;
        }
        let above = self.nodes.get(parent as usize);
        let triggers = above.map_or(ByteSet::EMPTY, |node| node.triggers);
        let always = above.is_some_and(|node| node.always_changes);
        let node = index(self.nodes.len());
        self.nodes.push(Node {
            parent,
            step: Some(step),
            triggers: triggers.union(step.triggers()),
            always_changes: always || step.may_change(ByteSet::EMPTY),
        });
        self.node_of.insert((parent, step), node);
        node
    }

    pub(super) fn regex(&mut self, pattern: &str, ignore_case: bool) -> Result<u32, ErrorKind> {
        let key = (pattern.to_owned(), ignore_case);
        if let Some(regex) = self.regex_of.get(&key) {
            return Ok(*regex);
        }
        let tree = match self.trees.remove(&key) {
            Some(tree) => tree,
            None => regex::tree(pattern, ignore_case)?,
        };
        if self.dry {
            self.trees.insert(key, tree);
            return Ok(0);
        }
        let compiled = regex::build(pattern, &tree)?;
        let at = index(self.regexes.len());
        self.regexes.push(compiled);
        let mut needs = NeedsBy {
            any: Some(Needs::of(&tree)),
            plain: Default::default(),
        };
        let mut plain = [Plain::Same; PLAIN];
        if self.fast {
            for ((alphabet, plain), needs) in ALPHABETS.iter().zip(&mut plain).zip(&mut needs.plain)
            {
                *plain = match restrict(&tree, *alphabet) {
                    None => Plain::Never,
                    Some(left) => {
                        *needs = Some(Needs::of(&left));
                        if left == tree {
                            Plain::Same
                        } else {
                            self.regexes.push(regex::build(pattern, &left)?);
                            Plain::Other(index(self.regexes.len() - 1))
                        }
                    }
                };
            }
        }
        // Those of plain texts stand behind the one that they are of.
        self.plain.resize(self.regexes.len(), [Plain::Same; PLAIN]);
        self.needs_of_regex
            .resize(self.regexes.len(), NeedsBy::default());
        if let (Some(cell), Some(cell_of_needs)) = (
            self.plain.get_mut(at as usize),
            self.needs_of_regex.get_mut(at as usize),
        ) {
            *cell = plain;
            *cell_of_needs = needs;
        }
        self.regex_of.insert(key, at);
        Ok(at)
    }

    pub(super) fn add_phrases(&mut self, phrases: &[Vec<u8>], automaton: AhoCorasick) -> u32 {
        let at = index(self.phrases.len());
        let of = |alphabet: ByteSet| {
            let left: Vec<Vec<u8>> = phrases
                .iter()
                .filter(|phrase| ByteSet::of(phrase).is_subset(alphabet))
                .cloned()
                .collect();
            (!left.is_empty()).then(|| Needs::of_phrases(&left))
        };
        self.needs_of_phrases.push(NeedsBy {
            any: of(ByteSet::FULL),
            plain: ALPHABETS.map(of),
        });
        self.phrases.push(automaton);
        at
    }

    fn slot(&mut self, name: &[u8]) -> u16 {
        if let Some(slot) = self.tx.slots.get(name) {
            return *slot;
        }
        // More names than slots are refused at the end; until then the last slot is as good as any.
        let slot = u16::try_from(self.tx.names.len()).unwrap_or(u16::MAX);
        self.tx.names.push(name.into());
        self.tx.initial.push(Initial::Unset);
        self.tx.slots.insert(name.into(), slot);
        slot
    }

    pub(super) fn text(&mut self, template: &Template) -> Text {
        if let Some(text) = template.constant() {
            return Text::Known(text.into());
        }
        Text::Parts(
            template
                .parts
                .iter()
                .map(|part| match part {
                    Part::Text(text) => Piece::Text(text.clone()),
                    Part::Macro(found) => match (found.variable, &found.name) {
                        (Variable::Tx, Some(name)) => Piece::Tx(self.slot(name.as_bytes())),
                        (variable, name) => {
                            self.asks_geo |= variable == Variable::Geo;
                            Piece::Value(variable, name.as_ref().map(|name| name.as_bytes().into()))
                        }
                    },
                })
                .collect(),
        )
    }

    pub(super) fn amount(&mut self, template: &Template) -> Amount {
        match self.text(template) {
            Text::Known(text) => Amount::Known(crate::operator::number(&text)),
            Text::Parts(parts) => match *parts {
                [Piece::Tx(slot)] => Amount::Tx(slot),
                _ => Amount::Text(Text::Parts(parts)),
            },
        }
    }

    fn effect(&mut self, effect: &draft::Effect) -> Result<Effect, ErrorKind> {
        Ok(match effect {
            draft::Effect::SetVar(set) => {
                let change = self.change(&set.value);
                match (set.collection, set.name.constant()) {
                    (Variable::Tx, Some(name)) => Effect::SetTx(self.slot(name), change),
                    (Variable::Tx, None) => Effect::SetTxByName(self.text(&set.name), change),
                    (collection, _) => Effect::SetPart(collection, self.text(&set.name), change),
                }
            }
            draft::Effect::ExpireVar {
                collection: Variable::Tx,
                ..
            } => {
                return Err(ErrorKind::Refused {
                    what: "expirevar:tx".to_owned(),
                    why: "TX ends with its transaction",
                });
            }
            draft::Effect::ExpireVar {
                collection,
                name,
                seconds,
            } => Effect::Expire(*collection, self.text(name), *seconds),
            draft::Effect::InitCol { collection, key } => {
                Effect::InitCol(*collection, self.text(key))
            }
            draft::Effect::Ctl(ctl) => Effect::Ctl(self.ctl(ctl)?),
        })
    }

    fn change(&mut self, value: &SetVarValue) -> Change {
        match value {
            SetVarValue::Remove => Change::Remove,
            SetVarValue::Set(template) => match self.text(template) {
                Text::Known(text) => match exact_number(&text) {
                    Some(number) => Change::SetNumber(number),
                    None => Change::Set(Text::Known(text)),
                },
                text @ Text::Parts(_) => Change::Set(text),
            },
            SetVarValue::Add(template) => Change::Add(self.amount(template)),
            SetVarValue::Subtract(template) => Change::Subtract(self.amount(template)),
        }
    }

    fn ctl(&mut self, ctl: &parse::Ctl) -> Result<Ctl, ErrorKind> {
        Ok(match ctl {
            parse::Ctl::AuditEngine(mode) => Ctl::AuditEngine(*mode),
            parse::Ctl::AuditLogParts(parts) => Ctl::AuditLogParts(parts.as_str().into()),
            parse::Ctl::ForceRequestBodyVariable(on) => Ctl::ForceRequestBodyVariable(*on),
            parse::Ctl::RequestBodyAccess(on) => Ctl::RequestBodyAccess(*on),
            parse::Ctl::RequestBodyProcessor(processor) => Ctl::RequestBodyProcessor(*processor),
            parse::Ctl::ResponseBodyAccess(on) => Ctl::ResponseBodyAccess(*on),
            parse::Ctl::RuleEngine(mode) => Ctl::RuleEngine(*mode),
            parse::Ctl::RemoveById(ids) => Ctl::Remove(
                self.heads_where(|head| ids.iter().any(|range| range.contains(head.id))),
            ),
            parse::Ctl::RemoveByTag(tag) => Ctl::Remove(self.heads_by_tag(tag)?),
            parse::Ctl::RemoveByMsg(msg) => Ctl::Remove(self.heads_by_msg(msg)?),
            parse::Ctl::RemoveTargetById(ids, target) => {
                let heads =
                    self.heads_where(|head| ids.iter().any(|range| range.contains(head.id)));
                self.exclusion(heads, target)?
            }
            parse::Ctl::RemoveTargetByTag(tag, target) => {
                let heads = self.heads_by_tag(tag)?;
                self.exclusion(heads, target)?
            }
            parse::Ctl::RemoveTargetByMsg(msg, target) => {
                let heads = self.heads_by_msg(msg)?;
                self.exclusion(heads, target)?
            }
        })
    }

    fn exclusion(&mut self, heads: Bits, target: &parse::Target) -> Result<Ctl, ErrorKind> {
        let select = self.select(target.variable, &target.selector)?;
        let at = index(self.exclusions.len());
        self.exclusions.push(Exclusion {
            heads,
            variable: target.variable,
            select,
        });
        Ok(Ctl::Exclude(at))
    }

    fn heads_where(&self, chosen: impl Fn(&Known) -> bool) -> Bits {
        let mut heads = Bits::new(self.known.len());
        for (at, known) in self.known.iter().enumerate() {
            if chosen(known) {
                heads.insert(at);
            }
        }
        heads
    }

    fn heads_by_tag(&self, tag: &parse::Matcher) -> Result<Bits, ErrorKind> {
        let tag = matcher::compile(tag)?;
        Ok(self.heads_where(|head| head.tags.iter().any(|text| tag.matches(text))))
    }

    fn heads_by_msg(&self, msg: &parse::Matcher) -> Result<Bits, ErrorKind> {
        let msg = matcher::compile(msg)?;
        Ok(self.heads_where(|head| head.msg.as_ref().is_some_and(|text| msg.matches(text))))
    }
}

/// The number that is written in exactly this way.
pub(super) fn exact_number(text: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == text).then_some(number)
}

/// Counts of rules, nodes and lists come from text in memory: they fit 32 bits.
fn index(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
