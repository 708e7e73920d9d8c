//! What is known at load is decided at load.
//!
//! A third of CRS's rules only compare constants: paranoia gates, defaults of settings, thresholds. This pass runs the rules of
//! each phase over what is *known* about TX (an abstract interpretation: a variable is unset, a constant, or unknown) and
//!
//! * drops rules that cannot match, and rules that a `skipAfter` always jumps over;
//! * carries out `setvar`s that always happen, and drops the rule if it did nothing else: the value is there from the start;
//! * takes conditions that always hold out of chains, and puts constants in the place of `%{tx.name}`.
//!
//! A variable that depends on the request, or that a rule may or may not have set, is unknown and everything about it stays. So a
//! setup that chooses the paranoia level per request keeps its gates.
//!
//! Three things keep it exact. A rule that a `ctl:ruleRemove..` may have taken out is never certain to run. A gate whose rules are
//! dropped must be removed by no `ctl` that leaves one of those rules in. A value is moved to the start only from phase 1, which
//! always runs, and only if no rule that stays could have seen the variable before it was set, or could have stopped the transaction
//! before.

use std::collections::HashMap;

use super::draft::{Draft, Effect, Link, Skip, Step};
use super::known::{Facts, Known, constant_change, decide, effects_are_plain, looks_back};
use super::matcher;
use super::regex;
use crate::parse::{
    Ctl, Disruptive, EngineMode, Matcher, Operator, OperatorName, Part, Selector, SetVarValue,
    Template, Variable,
};

/// What TX holds before the first rule of a transaction.
pub(super) type Start = HashMap<Box<[u8]>, Vec<u8>>;

/// Decides what can be decided; the steps that are left, and what TX starts with.
pub(super) fn fold(steps: Vec<Step>) -> (Vec<Step>, Start) {
    let counts_rules = steps.iter().any(
        |step| matches!(step, Step::Rule(draft) if matches!(draft.skip, Some(Skip::Count(_)))),
    );
    // `skip:2` counts rules: with some of them dropped it would count others.
    if counts_rules {
        return (steps, Start::new());
    }
    let mut fold = Fold::new(steps);
    for phase in 1..=5 {
        fold.phase(phase);
    }
    let steps = fold.steps.into_iter().flatten().collect();
    (steps, fold.start)
}

struct Fold {
    /// `None`: dropped.
    steps: Vec<Option<Step>>,
    start: Start,
    facts: Facts,
    /// Facts of jumps, by the step at which they arrive.
    arrivals: Vec<(usize, Facts)>,
    /// Facts of rules that end their phase early.
    leaves: Vec<Facts>,
    /// Nothing that stays could have ended the transaction before this point.
    certain: bool,
    /// Removals that rules which stay may have asked for.
    removals: Vec<Ctl>,
    /// Variables that rules which stay have looked at.
    seen: Vec<Box<[u8]>>,
    seen_regexes: Vec<regex::Regex>,
    seen_all: bool,
    /// Variables that were not only set from the start.
    written: Vec<Box<[u8]>>,
}

impl Fold {
    fn new(steps: Vec<Step>) -> Self {
        Self {
            steps: steps.into_iter().map(Some).collect(),
            start: Start::new(),
            facts: Facts::default(),
            arrivals: Vec::new(),
            leaves: Vec::new(),
            certain: true,
            removals: Vec::new(),
            seen: Vec::new(),
            seen_regexes: Vec::new(),
            seen_all: false,
            written: Vec::new(),
        }
    }

    fn phase(&mut self, phase: u8) {
        for left in std::mem::take(&mut self.leaves) {
            self.facts.join(&left);
            // It may have left out later phases too.
            self.leaves.push(left);
        }
        if phase == 5 {
            // It runs wherever the others stopped.
            for name in std::mem::take(&mut self.written) {
                self.facts.set(&name, Known::Unknown);
            }
        }
        let mut resume = 0;
        for at in 0..self.steps.len() {
            self.arrive(at);
            let of_phase = matches!(
                self.steps.get(at),
                Some(Some(Step::Rule(draft))) if draft.phase == phase
            );
            if !of_phase {
                continue;
            }
            if at < resume {
                self.put(at, None);
                continue;
            }
            let Some(Some(Step::Rule(draft))) = self.steps.get_mut(at).map(Option::take) else {
                continue;
            };
            let (draft, jump) = self.rule(*draft, at);
            self.put(at, draft.map(|draft| Step::Rule(Box::new(draft))));
            resume = resume.max(jump.unwrap_or(0));
        }
        self.arrivals.clear();
    }

    fn is_written(&self, name: &[u8]) -> bool {
        let mut prefixes = self.facts.prefixes.iter();
        self.written.iter().any(|written| **written == *name)
            || prefixes.any(|prefix| name.starts_with(prefix))
    }

    fn put(&mut self, at: usize, step: Option<Step>) {
        if let Some(cell) = self.steps.get_mut(at) {
            *cell = step;
        }
    }

    fn arrive(&mut self, at: usize) {
        let (now, later) = std::mem::take(&mut self.arrivals)
            .into_iter()
            .partition::<Vec<_>, _>(|(target, _)| *target == at);
        self.arrivals = later;
        for (_, facts) in now {
            self.facts.join(&facts);
        }
    }

    /// What is left of a rule, and the step to which it always jumps.
    fn rule(&mut self, mut draft: Draft, at: usize) -> (Option<Draft>, Option<usize>) {
        let target = draft.skip.as_ref().and_then(|skip| self.target(skip, at));
        let decisions: Vec<Option<bool>> = draft
            .links
            .iter()
            .map(|link| decide(link, &self.facts))
            .collect();
        let quiet = |link: &Link| link.effects.is_empty() && !link.capture;
        let dead = decisions
            .iter()
            .zip(&draft.links)
            .try_for_each(|(decision, link)| {
                // A link before the one that fails may have done something by then.
                match decision {
                    Some(false) => Err(true),
                    _ if quiet(link) => Ok(()),
                    _ => Err(false),
                }
            });
        if dead == Err(true) {
            return (None, None);
        }
        let removable = self.removals.iter().any(|removal| removes(removal, &draft));
        let matches = decisions.iter().all(|decision| *decision == Some(true));
        // A link of a chain that may yet write what a later link compares is not looked into, and one that counts its
        // targets does so for each that matches.
        let single = draft.links.len() == 1 && draft.links.iter().all(|link| !counts(link));
        if matches && single {
            return self.always(draft, removable, at, target);
        }
        self.simplify(&mut draft, &decisions);
        self.stays(&draft, false, target);
        (Some(draft), None)
    }

    /// A rule that always matches, unless it was removed.
    fn always(
        &mut self,
        mut draft: Draft,
        removable: bool,
        at: usize,
        target: Option<usize>,
    ) -> (Option<Draft>, Option<usize>) {
        let mut changes = Vec::new();
        let mut facts = self.facts.clone();
        let constant = draft
            .links
            .iter()
            .flat_map(|link| &link.effects)
            .all(|effect| {
                let change = constant_change(effect, &facts);
                if let Some((name, known)) = &change {
                    facts.set(name, known.clone());
                }
                changes.extend(change.clone());
                change.is_some()
            });
        let silent = !draft.log
            && !draft.audit
            && draft.severity.is_none()
            && draft.disruptive == Disruptive::Pass
            && !draft.links.iter().any(|link| link.capture);
        if let Some(target) = target {
            // A jump that may have been removed takes along only what was removed with it.
            let skipped = self.steps.get(at + 1..target).unwrap_or_default();
            let together = skipped.iter().flatten().all(|step| match step {
                Step::Rule(other) if other.phase == draft.phase => self
                    .removals
                    .iter()
                    .all(|removal| !removes(removal, &draft) || removes(removal, other)),
                _ => true,
            });
            // A jump under way may land in between, behind this one.
            let nobody = self.arrivals.iter().all(|(other, _)| *other >= target);
            let idle = draft.links.iter().all(|link| link.effects.is_empty());
            if silent && idle && together && nobody {
                return (None, Some(target));
            }
        }
        // Nor may a rule before it that stays have written what it overwrites.
        let movable = changes
            .iter()
            .all(|(name, _)| !self.is_seen(name) && !self.is_written(name));
        // A jump under way may still pass this rule by.
        // A later phase may not come at all: a body over its limit, a client that leaves, a response that nobody shows.
        let reached = self.certain && self.arrivals.is_empty() && draft.phase == 1;
        if constant && silent && target.is_none() && reached && !removable && movable {
            for (name, known) in changes {
                match &known {
                    Known::Constant(value) => self.start.insert(name.clone(), value.clone()),
                    _ => self.start.remove(&name),
                };
                self.facts.set(&name, known);
            }
            return (None, None);
        }
        // The condition holds; a rule without one is cheaper. Only its match is not there to be named any more.
        let told = draft.log || draft.audit;
        for link in &mut draft.links {
            let of_tx = link
                .targets
                .iter()
                .all(|target| target.variable == Variable::Tx);
            if !told && of_tx && !link.capture && effects_are_plain(link) {
                link.targets.clear();
                link.excluded.clear();
                link.operator = None;
                link.transformations.clear();
            }
        }
        let decisions = vec![None; draft.links.len()];
        self.simplify(&mut draft, &decisions);
        self.stays(&draft, !removable && target.is_none(), target);
        (Some(draft), None)
    }

    /// Takes conditions that always hold out of the front of a chain, and puts constants in the place of macros.
    fn simplify(&self, draft: &mut Draft, decisions: &[Option<bool>]) {
        for decision in decisions {
            let [first, second, ..] = draft.links.as_slice() else {
                break;
            };
            // A `SecAction` matches nothing of its own: behind it, what the first has matched is still to be named.
            let plain = first.effects.is_empty()
                && !first.capture
                && second.operator.is_some()
                && !looks_back(second);
            if *decision != Some(true) || !plain {
                break;
            }
            draft.links.remove(0);
        }
        let own: Vec<Vec<u8>> = draft
            .links
            .iter()
            .flat_map(|link| &link.effects)
            .filter_map(|effect| match effect {
                Effect::SetVar(set) if set.collection == Variable::Tx => {
                    Some(set.name.constant().unwrap_or_default().to_vec())
                }
                _ => None,
            })
            .collect();
        if own.iter().any(Vec::is_empty) {
            return;
        }
        for link in &mut draft.links {
            if let Some(operator) = &mut link.operator {
                self.put_constants_into_operator(operator, &own);
            }
            for effect in &mut link.effects {
                if let Effect::SetVar(set) = effect {
                    match &mut set.value {
                        SetVarValue::Remove => {}
                        SetVarValue::Set(text)
                        | SetVarValue::Add(text)
                        | SetVarValue::Subtract(text) => self.put_constants(text, &own),
                    }
                }
            }
        }
    }

    fn put_constants_into_operator(&self, operator: &mut Operator, own: &[Vec<u8>]) {
        if matches!(
            operator.name,
            OperatorName::Rx | OperatorName::Pm | OperatorName::PmFromFile
        ) {
            return;
        }
        let Ok(mut template) = Template::parse(&operator.argument) else {
            return;
        };
        self.put_constants(&mut template, own);
        let Some(text) = template.constant() else {
            return;
        };
        // A constant that looks like a macro stays one.
        if let Ok(text) = std::str::from_utf8(text)
            && !text.contains("%{")
        {
            operator.argument = text.to_owned();
        }
    }

    fn put_constants(&self, template: &mut Template, own: &[Vec<u8>]) {
        let mut parts: Vec<Part> = Vec::new();
        for part in &template.parts {
            let known = match part {
                Part::Text(text) => Some(text.to_vec()),
                Part::Macro(found) => match &found.name {
                    Some(name)
                        if found.variable == Variable::Tx
                            && !own.iter().any(|own| **own == *name.as_bytes()) =>
                    {
                        match self.facts.get(name.as_bytes()) {
                            Known::Constant(text) => Some(text),
                            _ => None,
                        }
                    }
                    _ => None,
                },
            };
            match (known, parts.last_mut()) {
                (Some(text), Some(Part::Text(last))) => *last = [&**last, &*text].concat().into(),
                (Some(text), _) => parts.push(Part::Text(text.into())),
                (None, _) => parts.push(part.clone()),
            }
        }
        template.parts = parts;
    }

    /// Takes note of what a rule that stays may do and may have looked at.
    fn stays(&mut self, draft: &Draft, surely: bool, target: Option<usize>) {
        let before = self.facts.clone();
        for link in &draft.links {
            self.look(link);
            for effect in &link.effects {
                self.may_do(effect, surely);
            }
        }
        for text in [&draft.msg, &draft.logdata].into_iter().chain(&draft.tags) {
            self.look_at_text(text);
        }
        match &draft.disruptive {
            Disruptive::Pass => {}
            Disruptive::Allow(_) => {
                self.certain = false;
                self.leaves.push(before.clone());
                self.leaves.push(self.facts.clone());
            }
            Disruptive::Deny | Disruptive::Drop | Disruptive::Block | Disruptive::Redirect(_) => {
                self.certain = false;
            }
        }
        if let Some(target) = target {
            self.arrivals.push((target, self.facts.clone()));
        }
    }

    fn may_do(&mut self, effect: &Effect, surely: bool) {
        match effect {
            Effect::SetVar(set) if set.collection == Variable::Tx => {
                match set.name.constant() {
                    Some(name) => {
                        let after = constant_change(effect, &self.facts)
                            .map_or(Known::Unknown, |(_, known)| known);
                        let now = if surely || self.facts.get(name) == after {
                            after
                        } else {
                            Known::Unknown
                        };
                        self.facts.set(name, now);
                        self.written.push(name.into());
                    }
                    None => {
                        let prefix = match set.name.parts.first() {
                            Some(Part::Text(text)) => text.clone(),
                            _ => Box::default(),
                        };
                        self.facts.prefixes.push(prefix);
                    }
                }
                if let SetVarValue::Set(text)
                | SetVarValue::Add(text)
                | SetVarValue::Subtract(text) = &set.value
                {
                    self.look_at_text(text);
                }
                // `=+` looks at what was there.
                if !matches!(set.value, SetVarValue::Set(_) | SetVarValue::Remove)
                    && let Some(name) = set.name.constant()
                {
                    self.seen.push(name.into());
                }
            }
            Effect::SetVar(set) => {
                if let SetVarValue::Set(text)
                | SetVarValue::Add(text)
                | SetVarValue::Subtract(text) = &set.value
                {
                    self.look_at_text(text);
                }
                self.look_at_text(&set.name);
            }
            Effect::Ctl(ctl) => match ctl {
                Ctl::RemoveById(_) | Ctl::RemoveByTag(_) | Ctl::RemoveByMsg(_) => {
                    self.removals.push(ctl.clone());
                }
                Ctl::RemoveTargetById(_, target)
                | Ctl::RemoveTargetByTag(_, target)
                | Ctl::RemoveTargetByMsg(_, target)
                    if target.variable == Variable::Tx =>
                {
                    // Nothing about TX is certain for a rule that may not see it.
                    self.facts.prefixes.push(Box::default());
                }
                Ctl::RuleEngine(EngineMode::Off) => self.certain = false,
                _ => {}
            },
            Effect::InitCol { key, .. } => self.look_at_text(key),
            Effect::ExpireVar { name, .. } => self.look_at_text(name),
        }
    }

    fn look(&mut self, link: &Link) {
        for target in link.targets.iter().chain(&link.excluded) {
            if target.variable != Variable::Tx {
                continue;
            }
            match &target.selector {
                Selector::Name(name) => self.seen.push(name.as_bytes().into()),
                Selector::Regex(pattern) => match regex::compile(pattern, true) {
                    Ok(regex) => self.seen_regexes.push(regex),
                    Err(_) => self.seen_all = true,
                },
                Selector::All => self.seen_all = true,
            }
        }
        if let Some(operator) = &link.operator
            && let Ok(template) = Template::parse(&operator.argument)
        {
            self.look_at_text(&template);
        }
    }

    fn look_at_text(&mut self, template: &Template) {
        for part in &template.parts {
            if let Part::Macro(found) = part
                && found.variable == Variable::Tx
                && let Some(name) = &found.name
            {
                self.seen.push(name.as_bytes().into());
            }
        }
    }

    fn is_seen(&self, name: &[u8]) -> bool {
        self.seen_all
            || self.seen.iter().any(|seen| **seen == *name)
            || self.seen_regexes.iter().any(|regex| regex.is_match(name))
    }

    fn target(&self, skip: &Skip, at: usize) -> Option<usize> {
        let Skip::After(name) = skip else { return None };
        let after = self.steps.get(at + 1..)?;
        let found = after.iter().position(|step| match step {
            Some(Step::Marker(marker)) => marker == name,
            Some(Step::Rule(rule)) => name.parse() == Ok(rule.id),
            None => false,
        })?;
        Some(at + 1 + found)
    }
}

fn removes(removal: &Ctl, draft: &Draft) -> bool {
    let text_matches = |matcher: &Matcher, text: &Template| {
        // What cannot be told is taken for removed.
        match (matcher::compile(matcher), text.constant()) {
            (Ok(matcher), Some(text)) => matcher.matches(text),
            (Ok(_), None) => false,
            (Err(_), _) => true,
        }
    };
    match removal {
        Ctl::RemoveById(ids) => ids.iter().any(|range| range.contains(draft.id)),
        Ctl::RemoveByTag(tag) => draft.tags.iter().any(|text| text_matches(tag, text)),
        Ctl::RemoveByMsg(msg) => text_matches(msg, &draft.msg),
        _ => false,
    }
}

/// Whether what the link does depends on how many of its targets match.
fn counts(link: &Link) -> bool {
    let adds = |effect: &Effect| {
        matches!(effect, Effect::SetVar(set)
            if matches!(set.value, SetVarValue::Add(_) | SetVarValue::Subtract(_)))
    };
    link.targets.len() > 1 && link.effects.iter().any(adds)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::compile::draft;
    use crate::parse::Sources;

    /// The ids that are left, and what TX starts with.
    fn left(text: &str) -> (Vec<u32>, Vec<(String, String)>) {
        let mut sources = Sources::default();
        sources.text("t", Path::new("."), text).unwrap();
        let (steps, start) = fold(draft::build(&sources).unwrap().steps);
        let ids = steps
            .iter()
            .filter_map(|step| match step {
                Step::Rule(draft) => Some(draft.id),
                Step::Marker(_) => None,
            })
            .collect();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut start: Vec<_> = start
            .iter()
            .map(|(name, value)| (text(name), text(value)))
            .collect();
        start.sort();
        (ids, start)
    }

    const DEFAULT: &str =
        "SecRule &TX:level \"@eq 0\" \"id:1,phase:1,pass,nolog,setvar:tx.level=1\"\n";
    const GATED: &str = "SecRule TX:LEVEL \"@lt 2\" \"id:2,phase:2,pass,nolog,skipAfter:END\"\n\
                         SecRule ARGS \"@rx a\" \"id:3,phase:2,deny\"\n\
                         SecMarker END\n\
                         SecRule ARGS \"@rx b\" \"id:4,phase:2,deny\"\n";

    #[test]
    fn a_default_is_there_from_the_start_and_its_gate_is_gone() {
        let (ids, start) = left(&format!("{DEFAULT}{GATED}"));
        assert_eq!(ids, [4]);
        assert_eq!(start, [("level".to_owned(), "1".to_owned())]);
    }

    #[test]
    fn a_setting_before_the_default_wins() {
        let set = "SecAction \"id:9,phase:1,pass,nolog,setvar:tx.level=2\"\n";
        let (ids, start) = left(&format!("{set}{DEFAULT}{GATED}"));
        assert_eq!(ids, [3, 4]);
        assert_eq!(start, [("level".to_owned(), "2".to_owned())]);
    }

    #[test]
    fn a_level_that_depends_on_the_request_keeps_its_gates() {
        let set =
            "SecRule REQUEST_HEADERS:X \"@rx .\" \"id:9,phase:1,pass,nolog,setvar:tx.level=2\"\n";
        let (ids, start) = left(&format!("{set}{DEFAULT}{GATED}"));
        assert_eq!(ids, [9, 1, 2, 3, 4]);
        assert_eq!(start, []);
    }

    #[test]
    fn a_rule_that_may_be_removed_is_not_certain() {
        let remove = "SecRule REMOTE_ADDR \"@ipMatch 10.0.0.0/8\" \"id:9,phase:1,pass,nolog,ctl:ruleRemoveById=1\"\n";
        let (ids, _) = left(&format!("{remove}{DEFAULT}{GATED}"));
        assert_eq!(ids, [9, 1, 2, 3, 4]);
    }

    #[test]
    fn a_gate_that_may_be_removed_without_its_rules_stays() {
        let remove = "SecRule REMOTE_ADDR \"@ipMatch 10.0.0.0/8\" \"id:9,phase:1,pass,nolog,ctl:ruleRemoveById=ID\"\n";
        let gate_only = remove.replace("ID", "2");
        assert_eq!(
            left(&format!("{DEFAULT}{gate_only}{GATED}")).0,
            [9, 2, 3, 4]
        );
        let both = remove.replace("ID", "2-3");
        assert_eq!(left(&format!("{DEFAULT}{both}{GATED}")).0, [9, 4]);
    }

    #[test]
    fn a_value_that_a_rule_has_seen_unset_is_not_moved_before_it() {
        let look = "SecRule ARGS \"@streq %{tx.level}\" \"id:9,phase:1,pass\"\n";
        let (ids, start) = left(&format!("{look}{DEFAULT}{GATED}"));
        // The gate is decided all the same: it comes after.
        assert_eq!(ids, [9, 1, 4]);
        assert_eq!(start, []);
    }

    #[test]
    fn nothing_moves_before_what_may_end_the_transaction() {
        let deny = "SecRule REMOTE_ADDR \"@ipMatch 10.0.0.0/8\" \"id:9,phase:1,deny\"\n";
        let last = "SecRule &TX:level \"@eq 1\" \"id:5,phase:5,pass\"\n";
        let (ids, start) = left(&format!("{deny}{DEFAULT}{GATED}{last}"));
        assert_eq!(ids, [9, 1, 4, 5]);
        assert_eq!(start, []);
    }

    #[test]
    fn a_jump_that_may_happen_leaves_both_values_possible() {
        let text = "SecRule ARGS \"@rx a\" \"id:1,phase:1,pass,nolog,skipAfter:END\"\n\
                    SecAction \"id:2,phase:1,pass,nolog,setvar:tx.a=1\"\n\
                    SecMarker END\n\
                    SecRule TX:a \"@eq 1\" \"id:3,phase:1,pass,nolog\"\n\
                    SecRule &TX:b \"@eq 0\" \"id:4,phase:1,pass,log\"\n";
        let (ids, start) = left(text);
        assert_eq!(ids, [1, 2, 3, 4]);
        assert_eq!(start, []);
    }

    #[test]
    fn a_chain_with_a_condition_that_never_holds_is_gone() {
        let text = "SecRule ARGS \"@rx a\" \"id:1,phase:1,deny,chain\"\n SecRule TX:early \"@eq 1\"\n\
                    SecRule ARGS \"@rx a\" \"id:2,phase:1,deny,chain,setvar:tx.b=1\"\n SecRule TX:early \"@eq 1\"\n";
        assert_eq!(left(text).0, [2]);
    }
}
