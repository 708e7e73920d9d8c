//! What a match does: variables, collections, `ctl`.

use super::Engine;
use super::tx::{TxName, TxValue};
use crate::compile::{Change, Ctl, Effect, Rule};
use crate::parse::Variable;

impl<'a> Engine<'a> {
    pub(super) fn run_effects(&mut self, rule: &'a Rule) {
        for effect in &rule.effects {
            match effect {
                Effect::SetTx(slot, change) => self.change_tx(TxName::Slot(*slot), change),
                Effect::SetTxByName(name, change) => {
                    let mut buffer = std::mem::take(&mut self.state.name_buffer);
                    buffer.clear();
                    self.expand(name, &mut buffer);
                    buffer.make_ascii_lowercase();
                    let state = &mut *self.state;
                    let name = state.tx.by_name(self.program, &buffer, &mut state.texts);
                    state.name_buffer = buffer;
                    if let Some(name) = name {
                        self.change_tx(name, change);
                    }
                }
                Effect::SetPart(collection, name, change) => {
                    let name = self.with_expanded(name, <[u8]>::to_ascii_lowercase);
                    self.change_part(*collection, &name, change);
                }
                Effect::Expire(collection, name, seconds) => {
                    let name = self.with_expanded(name, <[u8]>::to_ascii_lowercase);
                    self.expire_part(*collection, &name, *seconds);
                }
                Effect::InitCol(collection, key) => {
                    let key = self.with_expanded(key, <[u8]>::to_vec);
                    self.open(*collection, &key);
                }
                Effect::Ctl(ctl) => self.ctl(ctl),
            }
        }
    }

    fn change_tx(&mut self, name: TxName, change: &Change) {
        let value = match change {
            Change::Remove => TxValue::Unset,
            Change::SetNumber(number) => TxValue::Number(*number),
            Change::Set(text) => {
                let mut buffer = std::mem::take(&mut self.state.buffer);
                buffer.clear();
                self.expand(text, &mut buffer);
                let text = self.state.texts.push(&buffer);
                self.state.buffer = buffer;
                TxValue::Text(text)
            }
            Change::Add(amount) => {
                let amount = self.amount(amount);
                TxValue::Number(self.tx_number(name).saturating_add(amount))
            }
            Change::Subtract(amount) => {
                let amount = self.amount(amount);
                TxValue::Number(self.tx_number(name).saturating_sub(amount))
            }
        };
        self.state.tx.set(name, value);
    }

    fn ctl(&mut self, ctl: &Ctl) {
        let state = &mut *self.state;
        match ctl {
            Ctl::AuditEngine(mode) => state.audit = *mode,
            Ctl::AuditLogParts(parts) => {
                let parts = changed_parts(state.audit_parts(self.program), parts);
                state.audit_parts = Some(parts);
            }
            Ctl::ForceRequestBodyVariable(on) => state.force_request_body = *on,
            Ctl::RequestBodyAccess(on) => state.request_body_access = *on,
            Ctl::ResponseBodyAccess(on) => state.response_body_access = *on,
            Ctl::RequestBodyProcessor(processor) => {
                state.processor = Some(*processor);
                state.set_bytes(Variable::ReqbodyProcessor, processor.name().as_bytes());
            }
            Ctl::RuleEngine(mode) => state.mode = *mode,
            Ctl::Remove(heads) => {
                let words = heads.words();
                if state.removed.len() < words.len() {
                    state.removed.resize(words.len(), 0);
                }
                for (removed, word) in state.removed.iter_mut().zip(words) {
                    *removed |= word;
                }
            }
            Ctl::Exclude(exclusion) => {
                if !state.excluded.contains(exclusion) {
                    state.excluded.push(*exclusion);
                }
            }
        }
    }
}

/// `+E` adds parts, `-E` takes them out, anything else stands for itself.
fn changed_parts(now: &str, change: &str) -> Box<str> {
    let parts = change.get(1..).unwrap_or_default();
    match change.as_bytes().first() {
        Some(b'+') => {
            let new = parts.chars().filter(|part| !now.contains(*part));
            now.chars().chain(new).collect::<String>().into()
        }
        Some(b'-') => {
            let kept = now.chars().filter(|part| !parts.contains(*part));
            kept.collect::<String>().into()
        }
        _ => change.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::changed_parts;

    #[test]
    fn audit_parts_are_added_taken_out_or_replaced() {
        assert_eq!(&*changed_parts("ABZ", "+EB"), "ABZE");
        assert_eq!(&*changed_parts("ABEZ", "-BE"), "AZ");
        assert_eq!(&*changed_parts("ABEZ", "AZ"), "AZ");
    }
}
