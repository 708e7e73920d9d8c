//! Macros: what a name stands for at this moment of a transaction.

use std::io::Write as _;

use super::Engine;
use super::lists::{Field, lists_of};
use super::state::Matched;
use super::texts::TextId;
use super::tx::{TxName, TxValue};
use crate::compile::{Amount, Initial, Piece, Text};
use crate::operator::number;
use crate::parse::Variable;

impl Engine<'_> {
    /// Appends what the text stands for.
    pub(super) fn expand(&self, text: &Text, out: &mut Vec<u8>) {
        match text {
            Text::Known(known) => out.extend_from_slice(known),
            Text::Parts(parts) => {
                for part in parts {
                    match part {
                        Piece::Text(known) => out.extend_from_slice(known),
                        Piece::Tx(slot) => self.expand_tx(TxName::Slot(*slot), out),
                        Piece::Value(variable, name) => {
                            self.expand_value(*variable, name.as_deref(), out);
                        }
                    }
                }
            }
        }
    }

    pub(super) fn amount(&mut self, amount: &Amount) -> i64 {
        match amount {
            Amount::Known(known) => *known,
            Amount::Tx(slot) => self.tx_number(TxName::Slot(*slot)),
            Amount::Text(text) => self.with_expanded(text, number),
        }
    }

    /// Calls `use_it` with the expanded text.
    pub(super) fn with_expanded<R>(&mut self, text: &Text, use_it: impl FnOnce(&[u8]) -> R) -> R {
        if let Text::Known(known) = text {
            return use_it(known);
        }
        let mut buffer = std::mem::take(&mut self.state.buffer);
        buffer.clear();
        self.expand(text, &mut buffer);
        let result = use_it(&buffer);
        self.state.buffer = buffer;
        result
    }

    pub(super) fn tx_number(&self, name: TxName) -> i64 {
        match self.state.tx.get(name) {
            TxValue::Unset => 0,
            TxValue::Number(number) => number,
            TxValue::Text(text) => number(self.state.texts.get(text)),
            TxValue::Initial => number(self.initial(name)),
        }
    }

    fn initial(&self, name: TxName) -> &[u8] {
        let TxName::Slot(slot) = name else {
            return &[];
        };
        match self.program.tx.initial.get(usize::from(slot)) {
            Some(Initial::Text(text)) => text,
            _ => &[],
        }
    }

    fn expand_tx(&self, name: TxName, out: &mut Vec<u8>) {
        match self.state.tx.get(name) {
            TxValue::Unset => {}
            TxValue::Initial => out.extend_from_slice(self.initial(name)),
            TxValue::Number(number) => {
                let _infallible = write!(out, "{number}");
            }
            TxValue::Text(text) => out.extend_from_slice(self.state.texts.get(text)),
        }
    }

    /// The value of a variable of TX as a text; `None` if it has none.
    pub(super) fn tx_text(&mut self, name: TxName) -> Option<TextId> {
        match self.state.tx.get(name) {
            TxValue::Unset => None,
            TxValue::Text(text) => Some(text),
            TxValue::Number(_) | TxValue::Initial => {
                let mut buffer = std::mem::take(&mut self.state.buffer);
                buffer.clear();
                self.expand_tx(name, &mut buffer);
                let text = self.state.texts.push(&buffer);
                self.state.buffer = buffer;
                Some(text)
            }
        }
    }

    fn expand_value(&self, variable: Variable, name: Option<&[u8]>, out: &mut Vec<u8>) {
        let state = &*self.state;
        match variable {
            Variable::MatchedVar => {
                if let Some(matched) = self.last_matched() {
                    out.extend_from_slice(state.texts.get(matched.value));
                }
            }
            Variable::MatchedVarName => {
                if let Some(matched) = self.last_matched() {
                    self.write_name(matched, out);
                }
            }
            Variable::WebAppId => {
                out.extend_from_slice(self.program.settings.web_app.as_bytes());
            }
            Variable::Rule => self.expand_rule(name.unwrap_or_default(), out),
            Variable::HighestSeverity => {
                if let Some(severity) = state.highest_severity {
                    let _infallible = write!(out, "{severity}");
                }
            }
            Variable::Geo => {
                let wanted = name.unwrap_or_default();
                let mut parts = state.geo.iter();
                if let Some((_, text)) = parts.find(|(name, _)| state.texts.get(*name) == wanted) {
                    out.extend_from_slice(state.texts.get(*text));
                }
            }
            Variable::Global
            | Variable::Ip
            | Variable::Resource
            | Variable::Session
            | Variable::User => self.expand_part(variable, name.unwrap_or_default(), out),
            _ if variable.has_parts() => {
                let found = lists_of(variable).iter().find_map(|(list, field)| {
                    let mut entries = state.lists.get(*list).iter();
                    let entry = entries.find(|entry| {
                        name.is_none_or(|name| {
                            state.texts.get(entry.name).eq_ignore_ascii_case(name)
                        })
                    })?;
                    Some(match field {
                        Field::Name => entry.name,
                        Field::Value => entry.value,
                    })
                });
                if let Some(text) = found {
                    out.extend_from_slice(state.texts.get(text));
                }
            }
            Variable::UniqueId if state.unique_id.is_none() => self.write_unique_id(out),
            _ if self.is_time(variable) => self.write_time(variable, out),
            _ => out.extend_from_slice(state.texts.get(state.single(variable))),
        }
    }

    fn expand_rule(&self, field: &[u8], out: &mut Vec<u8>) {
        let Some(head) = self.head(self.state.current) else {
            return;
        };
        match field {
            b"id" => {
                let _infallible = write!(out, "{}", head.id);
            }
            b"rev" => out.extend_from_slice(head.rev.as_bytes()),
            b"ver" => out.extend_from_slice(head.ver.as_bytes()),
            b"severity" => {
                if let Some(severity) = head.severity {
                    let _infallible = write!(out, "{severity}");
                }
            }
            // A message that asks for itself would never end.
            b"msg" => {
                if let Text::Known(msg) = &head.msg {
                    out.extend_from_slice(msg);
                }
            }
            b"logdata" => {
                if let Text::Known(logdata) = &head.logdata {
                    out.extend_from_slice(logdata);
                }
            }
            _ => {}
        }
    }

    /// The value matched last, in this rule or in the one before it in the chain.
    pub(super) fn last_matched(&self) -> Option<&Matched> {
        let state = &*self.state;
        state.matched.last().or_else(|| state.matched_before.last())
    }

    /// `ARGS:name`, `REQUEST_URI`, `&ARGS`.
    pub(super) fn write_name(&self, matched: &Matched, out: &mut Vec<u8>) {
        write_name(matched, &self.state.texts, out);
    }

    pub(super) fn write_unique_id(&self, out: &mut Vec<u8>) {
        self.state.write_unique_id(out);
    }

    pub(super) const fn is_time(&self, variable: Variable) -> bool {
        matches!(
            variable,
            Variable::Time
                | Variable::TimeDay
                | Variable::TimeEpoch
                | Variable::TimeHour
                | Variable::TimeMin
                | Variable::TimeMon
                | Variable::TimeSec
                | Variable::TimeWday
                | Variable::TimeYear
        )
    }

    /// The time in UTC, as the TIME variables show it.
    pub(super) fn write_time(&self, variable: Variable, out: &mut Vec<u8>) {
        let unix = self.state.unix;
        let (days, second) = (unix / 86_400, unix % 86_400);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        let (year, month, day) = civil(days);
        let _infallible = match variable {
            Variable::Time => write!(out, "{hour:02}:{minute:02}:{second:02}"),
            Variable::TimeDay => write!(out, "{day}"),
            Variable::TimeHour => write!(out, "{hour}"),
            Variable::TimeMin => write!(out, "{minute}"),
            // C's tm_mon counts from 0, and the reference shows it so.
            Variable::TimeMon => write!(out, "{}", month - 1),
            Variable::TimeSec => write!(out, "{second}"),
            // The first of January 1970 was a Thursday, 4 counted from Sunday.
            Variable::TimeWday => write!(out, "{}", (days + 4) % 7),
            Variable::TimeYear => write!(out, "{year}"),
            _ => write!(out, "{unix}"),
        };
    }
}

/// `ARGS:name`, `REQUEST_URI`, `&ARGS`.
pub(crate) fn write_name(matched: &Matched, texts: &super::texts::Texts, out: &mut Vec<u8>) {
    if matched.count {
        out.push(b'&');
    }
    // What MATCHED_VARS shows goes by the name it had.
    if !matches!(matched.variable, Variable::MatchedVars) {
        out.extend_from_slice(matched.variable.name().as_bytes());
        if matched.name.is_some() {
            out.push(b':');
        }
    }
    if let Some(name) = matched.name {
        out.extend_from_slice(texts.get(name));
    }
}

/// Year, month and day of a number of days since 1970 in the Gregorian calendar; after Howard Hinnant, "chrono-Compatible
/// Low-Level Date Algorithms" (2013), for days that are not negative.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::civil;

    #[test]
    fn knows_the_calendar() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_512), (2026, 2, 28));
        assert_eq!(civil(20_513), (2026, 3, 1));
    }
}
