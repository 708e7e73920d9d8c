//! One rule: its targets, what transformations make of them, its operator.

use regex_automata::util::primitives::NonMaxUsize;
use regex_automata::{Anchored, Input};

use super::Engine;
use super::lists::{Field, List, lists_of};
use super::state::Matched;
use super::texts::{Asked, TextId};
use super::tx::{TxName, TxValue};
use crate::compile::{CAPTURES, Operator, Rule, Select, Target};
use crate::libinjection;
use crate::operator;
use crate::parse::Variable;

/// How many times the work of a plain match it is to find the groups of one: a simulation of all states at once instead of an
/// automaton, measured at 1,200 instructions a byte for CRS's largest expressions.
const GROUPS_COST: u64 = 256;

/// What any operator costs besides what it does for each byte, as so many bytes.
const PER_TEST: u64 = 32;

impl<'a> Engine<'a> {
    /// Whether the rule and all that are chained to it match.
    ///
    /// What a rule of the chain does on a match (`setvar`, `ctl`) it does at once, for each value that matches, as ModSecurity
    /// does; what the head says for the chain is left to the caller.
    pub(super) fn chain_matches(&mut self, head: u32) -> bool {
        self.state.matched.clear();
        self.state.matched_before.clear();
        let program = self.program;
        let mut next = Some(head);
        while let Some(at) = next {
            let Some(rule) = program.rules.get(at as usize) else {
                return false;
            };
            std::mem::swap(&mut self.state.matched, &mut self.state.matched_before);
            self.state.matched.clear();
            if !self.matches(rule) {
                return false;
            }
            if self.state.matched.is_empty() {
                // A SecAction in a chain looks at nothing: what the rule before it matched stays.
                std::mem::swap(&mut self.state.matched, &mut self.state.matched_before);
            }
            next = rule.next;
        }
        true
    }

    fn matches(&mut self, rule: &'a Rule) -> bool {
        if rule.is_action {
            self.run_effects(rule);
            return true;
        }
        let mut any = false;
        for target in &rule.targets {
            any |= if target.count {
                self.count_matches(rule, target)
            } else {
                self.target_matches(rule, target)
            };
        }
        any
    }

    fn count_matches(&mut self, rule: &'a Rule, target: &Target) -> bool {
        let mut count = 0_usize;
        self.each_value(rule, target, |_, _, _| {
            count += 1;
            false
        });
        // A count is almost always compared, and then needs no text.
        if let Operator::Compare(order, amount) = &rule.operator {
            let amount = self.amount(amount);
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            if order.holds(count, amount) == rule.negated {
                return false;
            }
        }
        let text = self.number_text(count);
        let matches = matches!(rule.operator, Operator::Compare(..)) || self.test(rule, text);
        if matches {
            let name = match &target.select {
                Select::Name(name) => Some(self.state.texts.push(name)),
                Select::Tx(slot) => {
                    let name = self.program.tx.names.get(usize::from(*slot));
                    name.map(|name| self.state.texts.push(name))
                }
                Select::All | Select::Regex(_) => None,
            };
            self.hit(rule, target.variable, true, name, text);
        }
        matches
    }

    fn number_text(&mut self, number: usize) -> TextId {
        use std::io::Write as _;
        self.state.texts.push_with(|out| {
            let _infallible = write!(out, "{number}");
        })
    }

    fn target_matches(&mut self, rule: &'a Rule, target: &Target) -> bool {
        self.each_value(rule, target, |engine, name, text| {
            engine.value_matches(rule, target.variable, name, text)
        })
    }

    /// Calls `look` with each value that the target selects; whether it said yes to one.
    fn each_value(
        &mut self,
        rule: &'a Rule,
        target: &Target,
        mut look: impl FnMut(&mut Self, Option<TextId>, TextId) -> bool,
    ) -> bool {
        let variable = target.variable;
        let mut any = false;
        if !variable.has_parts() {
            if self.is_excluded(rule, variable, TextId::EMPTY) {
                return false;
            }
            return match self.single(variable) {
                Some(text) => look(self, None, text),
                None => false,
            };
        }
        match variable {
            Variable::Tx => return self.each_tx(rule, target, look),
            Variable::MatchedVars | Variable::MatchedVarsNames => {
                for at in 0..self.state.matched_before.len() {
                    let Some(matched) = self.state.matched_before.get(at).copied() else {
                        break;
                    };
                    let name = self.full_name(&matched);
                    if !self.is_selected(target, name) || self.is_excluded(rule, variable, name) {
                        continue;
                    }
                    let text = if variable == Variable::MatchedVars {
                        matched.value
                    } else {
                        name
                    };
                    any |= look(self, Some(name), text);
                }
                return any;
            }
            Variable::Rule => {
                let Select::Name(name) = &target.select else {
                    return false;
                };
                let text = self.rule_field(name);
                let name = self.state.texts.push(name);
                return look(self, Some(name), text);
            }
            Variable::Geo => {
                for at in 0..self.state.geo.len() {
                    let Some((name, text)) = self.state.geo.get(at).copied() else {
                        break;
                    };
                    if self.is_selected(target, name) && !self.is_excluded(rule, variable, name) {
                        any |= look(self, Some(name), text);
                    }
                }
                return any;
            }
            Variable::Global
            | Variable::Ip
            | Variable::Resource
            | Variable::Session
            | Variable::User => {
                for (name, text) in self.parts_of(variable) {
                    if self.is_selected(target, name) && !self.is_excluded(rule, variable, name) {
                        any |= look(self, Some(name), text);
                    }
                }
                return any;
            }
            _ => {}
        }
        for (list, field) in lists_of(variable) {
            if variable == Variable::Xml && !xml_list_is(*list, &target.select) {
                continue;
            }
            if let Some(probe) = rule.probe.filter(|_| !target.count) {
                // Only where the filter left something, which is in the same order.
                let mut hit = self.first_hit(probe, *list, *field);
                while let Some((entry_at, next)) = self.hit_at(probe, hit) {
                    hit = next;
                    let Some(entry) = self.state.lists.get(*list).get(entry_at).copied() else {
                        break;
                    };
                    let selected =
                        variable == Variable::Xml || self.is_selected(target, entry.name);
                    if !selected || self.is_excluded(rule, variable, entry.name) {
                        continue;
                    }
                    let text = match field {
                        Field::Name => entry.name,
                        Field::Value => entry.value,
                    };
                    any |= look(self, Some(entry.name), text);
                }
                continue;
            }
            for at in 0..self.state.lists.get(*list).len() {
                let Some(entry) = self.state.lists.get(*list).get(at).copied() else {
                    break;
                };
                let selected = variable == Variable::Xml || self.is_selected(target, entry.name);
                if !selected || self.is_excluded(rule, variable, entry.name) {
                    continue;
                }
                let text = match field {
                    Field::Name => entry.name,
                    Field::Value => entry.value,
                };
                any |= look(self, Some(entry.name), text);
            }
        }
        any
    }

    fn each_tx(
        &mut self,
        rule: &'a Rule,
        target: &Target,
        mut look: impl FnMut(&mut Self, Option<TextId>, TextId) -> bool,
    ) -> bool {
        if let Select::Tx(slot) = target.select {
            let name = TxName::Slot(slot);
            let Some(text) = self.tx_text(name) else {
                return false;
            };
            let name = self.slot_name(slot);
            return !self.is_excluded(rule, Variable::Tx, name) && look(self, Some(name), text);
        }
        let mut any = false;
        // The lengths now: what a match adds is not looked at by the rule that added it.
        let slots = self.state.tx.slots_len();
        let dynamic = self.state.tx.dynamic_len();
        let names = (0..slots)
            .filter_map(|slot| u16::try_from(slot).ok().map(TxName::Slot))
            .chain((0..dynamic).map(TxName::Dynamic));
        for name in names {
            if self.state.tx.get(name) == TxValue::Unset {
                continue;
            }
            let shown = match name {
                TxName::Slot(slot) => self.slot_name(slot),
                TxName::Dynamic(at) => self.state.tx.dynamic_name(at),
            };
            if !self.is_selected(target, shown) || self.is_excluded(rule, Variable::Tx, shown) {
                continue;
            }
            if let Some(text) = self.tx_text(name) {
                any |= look(self, Some(shown), text);
            }
        }
        any
    }

    fn slot_name(&mut self, slot: u16) -> TextId {
        match self.program.tx.names.get(usize::from(slot)) {
            Some(name) => self.state.texts.push(name),
            None => TextId::EMPTY,
        }
    }

    fn full_name(&mut self, matched: &Matched) -> TextId {
        let mut buffer = std::mem::take(&mut self.state.name_buffer);
        buffer.clear();
        self.write_name(matched, &mut buffer);
        let name = self.state.texts.push(&buffer);
        self.state.name_buffer = buffer;
        name
    }

    fn rule_field(&mut self, field: &[u8]) -> TextId {
        let mut buffer = std::mem::take(&mut self.state.name_buffer);
        buffer.clear();
        let text = crate::compile::Text::Parts(Box::new([crate::compile::Piece::Value(
            Variable::Rule,
            Some(field.into()),
        )]));
        self.expand(&text, &mut buffer);
        let id = self.state.texts.push(&buffer);
        self.state.name_buffer = buffer;
        id
    }

    /// The value of a variable without parts; `None` where there is none to look at.
    fn single(&mut self, variable: Variable) -> Option<TextId> {
        match variable {
            Variable::MatchedVar => self
                .state
                .matched_before
                .last()
                .map(|matched| matched.value),
            Variable::MatchedVarName => {
                let matched = self.state.matched_before.last().copied()?;
                Some(self.full_name(&matched))
            }
            // A body that was not kept is not an empty one.
            Variable::RequestBody | Variable::ResponseBody => {
                let text = self.state.single(variable);
                (text != TextId::EMPTY).then_some(text)
            }
            Variable::HighestSeverity => {
                let severity = self.state.highest_severity.map_or(255, usize::from);
                Some(self.number_text(severity))
            }
            Variable::UniqueId => Some(self.unique_id()),
            Variable::WebAppId => {
                let name = &self.program.settings.web_app;
                Some(self.state.texts.push(name.as_bytes()))
            }
            _ if self.is_time(variable) => {
                let mut buffer = std::mem::take(&mut self.state.name_buffer);
                buffer.clear();
                self.write_time(variable, &mut buffer);
                let text = self.state.texts.push(&buffer);
                self.state.name_buffer = buffer;
                Some(text)
            }
            _ => Some(self.state.single(variable)),
        }
    }

    fn unique_id(&mut self) -> TextId {
        if let Some(id) = self.state.unique_id {
            return id;
        }
        let mut buffer = std::mem::take(&mut self.state.name_buffer);
        buffer.clear();
        self.write_unique_id(&mut buffer);
        let text = self.state.texts.push(&buffer);
        self.state.name_buffer = buffer;
        self.state.unique_id = Some(text);
        text
    }

    fn is_selected(&self, target: &Target, name: TextId) -> bool {
        self.selects(&target.select, name)
            && !target
                .except
                .iter()
                .any(|select| self.selects(select, name))
    }

    pub(super) fn selects(&self, select: &Select, name: TextId) -> bool {
        match select {
            Select::All => true,
            Select::Name(wanted) => self.state.texts.get(name).eq_ignore_ascii_case(wanted),
            Select::Regex(regex) => {
                let name = self.state.texts.get(name);
                self.is_match(*regex, name)
            }
            Select::Tx(slot) => {
                let wanted = self.program.tx.names.get(usize::from(*slot));
                wanted.is_some_and(|wanted| self.state.texts.get(name).eq_ignore_ascii_case(wanted))
            }
        }
    }

    fn is_match(&self, regex: u32, text: &[u8]) -> bool {
        let found = self.scratch.run(self.program, regex, |regex, cache| {
            regex.is_match_with(cache, &Input::new(text))
        });
        found == Some(true)
    }

    /// Whether a `ctl:ruleRemoveTarget..` of this transaction leaves the value out.
    fn is_excluded(&self, rule: &Rule, variable: Variable, name: TextId) -> bool {
        if self.state.excluded.is_empty() {
            return false;
        }
        self.state.excluded.iter().any(|at| {
            let exclusion = self.program.exclusions.get(*at as usize);
            exclusion.is_some_and(|exclusion| {
                exclusion.variable == variable
                    && exclusion.heads.contains(rule.head_index as usize)
                    && self.selects(&exclusion.select, name)
            })
        })
    }

    fn value_matches(
        &mut self,
        rule: &'a Rule,
        variable: Variable,
        name: Option<TextId>,
        text: TextId,
    ) -> bool {
        let program = self.program;
        if self.is_exhausted() {
            return false;
        }
        if rule.multi_match.is_empty() {
            let seen = self.state.texts.transformed(program, text, rule.node);
            return self.test_and_hit(rule, variable, name, seen);
        }
        let mut any = false;
        let mut last = None;
        for node in &rule.multi_match {
            let seen = self.state.texts.transformed(program, text, *node);
            if last == Some(seen) {
                continue;
            }
            last = Some(seen);
            any |= self.test_and_hit(rule, variable, name, seen);
        }
        any
    }

    fn test_and_hit(
        &mut self,
        rule: &'a Rule,
        variable: Variable,
        name: Option<TextId>,
        text: TextId,
    ) -> bool {
        if let Some(probe) = rule.probe
            && self.state.texts.is_ruled_out(text, probe.bit)
        {
            return false;
        }
        let matches = self.test(rule, text);
        if matches {
            self.hit(rule, variable, false, name, text);
        }
        matches
    }

    /// Whether the operator, negation included, says yes to the text. Nothing matches once the budget is used up.
    fn test(&mut self, rule: &'a Rule, text: TextId) -> bool {
        let program = self.program;
        self.state.work += PER_TEST + self.state.texts.length(text) as u64;
        if self.is_exhausted() {
            return false;
        }
        let positive = match &rule.operator {
            Operator::Always => true,
            Operator::Never => false,
            Operator::Rx(regex) => {
                let regex = program.regex_for(*regex, self.state.texts.present(text));
                let text = self.state.texts.get(text);
                regex.is_some_and(|regex| self.is_match(regex, text))
            }
            Operator::Phrases(phrases) => {
                let phrases = program.phrases.get(*phrases as usize);
                phrases.is_some_and(|phrases| phrases.is_match(self.state.texts.get(text)))
            }
            Operator::Compare(order, amount) => {
                let amount = self.amount(amount);
                order.holds(operator::number(self.state.texts.get(text)), amount)
            }
            Operator::Within(argument) => self.compare(argument, text, |argument, text| {
                memchr::memmem::find(argument, text).is_some()
            }),
            Operator::Contains(argument) => self.compare(argument, text, |argument, text| {
                memchr::memmem::find(text, argument).is_some()
            }),
            Operator::ContainsWord(argument) => self.compare(argument, text, |argument, text| {
                operator::contains_word(text, argument)
            }),
            Operator::StrEq(argument) => {
                self.compare(argument, text, |argument, text| text == argument)
            }
            Operator::BeginsWith(argument) => {
                self.compare(argument, text, |argument, text| text.starts_with(argument))
            }
            Operator::EndsWith(argument) => {
                self.compare(argument, text, |argument, text| text.ends_with(argument))
            }
            Operator::IpMatch(networks) => {
                let address = std::str::from_utf8(self.state.texts.get(text))
                    .ok()
                    .and_then(|text| text.parse::<std::net::IpAddr>().ok());
                address.is_some_and(|address| {
                    let address = address.to_canonical();
                    networks.iter().any(|network| network.contains(&address))
                })
            }
            Operator::Rbl(list) => self.is_listed(list, text),
            Operator::GeoLookup => self.locate(text),
            Operator::ByteRange(allowed) => !self.state.texts.present(text).is_subset(*allowed),
            Operator::UrlEncoding => operator::bad_url_encoding(self.state.texts.get(text)),
            Operator::Utf8Encoding => operator::bad_utf8(self.state.texts.get(text)),
            Operator::DetectSqli => {
                let ask = |text: &[u8], present| libinjection::sqli_of(text, present).is_some();
                self.state.texts.remembered(text, Asked::Sqli, ask)
            }
            Operator::DetectXss => {
                let texts = &mut self.state.texts;
                texts.remembered(text, Asked::Xss, libinjection::xss_of)
            }
        };
        positive != rule.negated
    }

    fn compare(
        &mut self,
        argument: &crate::compile::Text,
        text: TextId,
        test: impl FnOnce(&[u8], &[u8]) -> bool,
    ) -> bool {
        if let crate::compile::Text::Known(argument) = argument {
            return test(argument, self.state.texts.get(text));
        }
        let mut buffer = std::mem::take(&mut self.state.buffer);
        buffer.clear();
        self.expand(argument, &mut buffer);
        let result = test(&buffer, self.state.texts.get(text));
        self.state.buffer = buffer;
        result
    }

    /// Takes note of a match and does what the rule does on each.
    fn hit(
        &mut self,
        rule: &'a Rule,
        variable: Variable,
        count: bool,
        name: Option<TextId>,
        text: TextId,
    ) {
        self.state.matched.push(Matched {
            variable,
            count,
            name,
            value: text,
        });
        if rule.capture && !rule.negated {
            self.capture(rule, text);
        }
        self.run_effects(rule);
    }

    /// Fills TX:0 to TX:9, and empties those that this match has nothing for.
    fn capture(&mut self, rule: &'a Rule, text: TextId) {
        let program = self.program;
        let mut spans: [Option<(usize, usize)>; CAPTURES as usize] = Default::default();
        let bytes = self.state.texts.get(text);
        match &rule.operator {
            Operator::Rx(regex) => {
                let mut slots: [Option<NonMaxUsize>; 2 * CAPTURES as usize] = Default::default();
                // Where the match is, an expression for plain texts knows too; it has no groups.
                let whole = program.regex_for(*regex, self.state.texts.present(text));
                self.state.work += bytes.len() as u64;
                let found = whole.and_then(|regex| {
                    self.scratch.run(program, regex, |regex, cache| {
                        regex.search_with(cache, &Input::new(bytes))
                    })
                });
                if let Some(found) = found.flatten() {
                    let [start, end, ..] = &mut slots;
                    (*start, *end) = (
                        NonMaxUsize::new(found.start()),
                        NonMaxUsize::new(found.end()),
                    );
                    if rule.capture_groups {
                        self.state.work += GROUPS_COST * found.len() as u64;
                        // A match so long that its groups cost more than everything may is not searched for them.
                        if self.work_done() <= program.budget.bytes {
                            let match_alone =
                                Input::new(bytes).span(found.span()).anchored(Anchored::Yes);
                            self.scratch.run(program, *regex, |regex, cache| {
                                regex.search_slots_with(cache, &match_alone, &mut slots);
                            });
                        }
                    }
                }
                for (span, pair) in spans.iter_mut().zip(slots.chunks_exact(2)) {
                    if let [Some(start), Some(end)] = pair {
                        *span = Some((start.get(), end.get()));
                    }
                }
            }
            Operator::Phrases(phrases) => {
                let phrases = program.phrases.get(*phrases as usize);
                let found = phrases.and_then(|phrases| phrases.find(bytes));
                let [whole, ..] = &mut spans;
                {
                    *whole = found.map(|found| (found.start(), found.end()));
                }
            }
            Operator::DetectSqli => {
                let fingerprint = match libinjection::sqli(bytes) {
                    Some(fingerprint) => self.state.texts.push(fingerprint.as_bytes()),
                    None => TextId::EMPTY,
                };
                self.state
                    .tx
                    .set(TxName::Slot(0), TxValue::Text(fingerprint));
                for slot in 1..CAPTURES {
                    self.state.tx.set(TxName::Slot(slot), TxValue::Unset);
                }
                return;
            }
            _ => {
                let [whole, ..] = &mut spans;
                {
                    *whole = Some((0, bytes.len()));
                }
            }
        }
        for (slot, span) in (0..CAPTURES).zip(spans) {
            let value = match span {
                Some((start, end)) => TxValue::Text(self.state.texts.part(text, start, end)),
                None => TxValue::Unset,
            };
            self.state.tx.set(TxName::Slot(slot), value);
        }
    }
}

/// Whether the list is the one that an XML expression means.
fn xml_list_is(list: List, select: &Select) -> bool {
    match select {
        Select::Name(expression) => (**expression == *b"/*") == (list == List::XmlText),
        _ => true,
    }
}
