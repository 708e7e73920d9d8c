//! Which rules have captures that somebody looks at.
//!
//! To find where a match begins and ends takes two passes of an automaton; to find its groups takes a simulation that is a hundred
//! times slower. Nearly all rules capture only to have `%{TX.0}` in their log.

use super::program::{
    Amount, CAPTURES, Change, Disruptive, Effect, Operator, Piece, Rule, Select, Target, Text,
};
use super::regex::Regex;
use crate::parse::Variable;

/// Leaves `capture_groups` on only where TX:1 to TX:9 may be looked at.
///
/// A chain that looks at them after a rule of its own that captures sees that rule's. If any other rule looks at them, whose they
/// are depends on the request, and every rule finds its groups.
pub(super) fn find(rules: &mut [Rule], regexes: &[Regex]) {
    let mut needed = vec![false; rules.len()];
    let mut start = 0;
    while start < rules.len() {
        let next_head = |rule: &Rule| rule.head.is_some();
        let after = rules.get(start + 1..).unwrap_or_default();
        let end = after
            .iter()
            .position(next_head)
            .map_or(rules.len(), |at| start + 1 + at);
        let chain = rules.get(start..end).unwrap_or_default();
        // Macros of the head are expanded when the whole chain has matched.
        let by_head = chain.first().is_some_and(|rule| {
            let head = rule.head.as_deref();
            head.is_some_and(|head| {
                let redirect = match &head.disruptive {
                    Disruptive::Redirect(to) => in_text(to),
                    _ => false,
                };
                redirect || in_text(&head.msg) || in_text(&head.logdata)
            })
        });
        let mut captured = false;
        for (at, rule) in chain.iter().enumerate() {
            let looks = rule.targets.iter().any(|target| in_target(target, regexes))
                || in_operator(&rule.operator);
            if looks && !captured {
                return;
            }
            captured |= rule.capture && !rule.negated;
            let looks_after = rule.effects.iter().any(in_effect);
            if looks_after && !captured {
                return;
            }
            if (looks || looks_after)
                && let Some(needed) = needed.get_mut(start..=start + at)
            {
                needed.fill(true);
            }
        }
        if by_head {
            if !captured {
                return;
            }
            if let Some(needed) = needed.get_mut(start..end) {
                needed.fill(true);
            }
        }
        start = end;
    }
    for (rule, needed) in rules.iter_mut().zip(needed) {
        rule.capture_groups &= needed;
    }
}

const fn is_group(slot: u16) -> bool {
    0 < slot && slot < CAPTURES
}

fn in_target(target: &Target, regexes: &[Regex]) -> bool {
    if target.variable != Variable::Tx {
        return false;
    }
    match &target.select {
        Select::Tx(slot) => is_group(*slot),
        Select::Regex(regex) => {
            let regex = regexes.get(*regex as usize);
            regex.is_none_or(|regex| (1..CAPTURES).any(|slot| regex.is_match(&slot.to_string())))
        }
        Select::All | Select::Name(_) => true,
    }
}

fn in_text(text: &Text) -> bool {
    match text {
        Text::Known(_) => false,
        Text::Parts(parts) => parts
            .iter()
            .any(|part| matches!(part, Piece::Tx(slot) if is_group(*slot))),
    }
}

fn in_amount(amount: &Amount) -> bool {
    match amount {
        Amount::Known(_) => false,
        Amount::Tx(slot) => is_group(*slot),
        Amount::Text(text) => in_text(text),
    }
}

fn in_operator(operator: &Operator) -> bool {
    match operator {
        Operator::Within(text)
        | Operator::Contains(text)
        | Operator::ContainsWord(text)
        | Operator::StrEq(text)
        | Operator::BeginsWith(text)
        | Operator::EndsWith(text) => in_text(text),
        Operator::Compare(_, amount) => in_amount(amount),
        _ => false,
    }
}

fn in_effect(effect: &Effect) -> bool {
    let in_change = |change: &Change| match change {
        Change::Remove | Change::SetNumber(_) => false,
        Change::Set(text) => in_text(text),
        Change::Add(amount) | Change::Subtract(amount) => in_amount(amount),
    };
    match effect {
        Effect::SetTx(slot, change) => is_group(*slot) || in_change(change),
        // A name put together at run time may be that of a group.
        Effect::SetTxByName(name, change) => in_text(name) || in_change(change),
        Effect::SetPart(_, name, change) => in_text(name) || in_change(change),
        Effect::Expire(_, text, _) | Effect::InitCol(_, text) => in_text(text),
        Effect::Ctl(_) => false,
    }
}
