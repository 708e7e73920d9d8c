//! What a caller is told of a rule that matched.

use super::expand::write_name;
use super::state::{Found, State};
use crate::compile::{Head, Program, Text};
use crate::error::Location;

/// A rule that matched with its whole chain and is to be logged.
#[derive(Clone, Copy, Debug)]
pub struct Match<'a> {
    pub(super) program: &'a Program,
    pub(super) state: &'a State,
    pub(super) found: &'a Found,
}

impl<'a> Match<'a> {
    fn head(&self) -> Option<&'a Head> {
        let rule = self.program.rules.get(self.found.rule as usize)?;
        rule.head.as_deref()
    }

    /// Its `id`.
    #[must_use]
    pub fn rule_id(&self) -> u32 {
        self.head().map_or(0, |head| head.id)
    }

    /// Its phase, 1 to 5.
    #[must_use]
    pub fn phase(&self) -> u8 {
        self.head().map_or(0, |head| head.phase)
    }

    /// Its `msg`, macros replaced at the time of the match.
    #[must_use]
    pub fn message(&self) -> &'a [u8] {
        self.state
            .log
            .get(self.found.msg.clone())
            .unwrap_or_default()
    }

    /// Its `logdata`, macros replaced at the time of the match. Bytes of the request are in it.
    #[must_use]
    pub fn data(&self) -> &'a [u8] {
        self.state
            .log
            .get(self.found.data.clone())
            .unwrap_or_default()
    }

    /// Its `tag`s; those with macros are left out.
    pub fn tags(&self) -> impl Iterator<Item = &'a [u8]> {
        let tags = self.head().map_or(&[][..], |head| &head.tags);
        tags.iter().filter_map(|tag| match tag {
            Text::Known(tag) => Some(&**tag),
            Text::Parts(_) => None,
        })
    }

    /// Its `severity`, 0 (emergency) to 7 (debug).
    #[must_use]
    pub fn severity(&self) -> Option<u8> {
        self.head().and_then(|head| head.severity)
    }

    /// Its `ver`.
    #[must_use]
    pub fn version(&self) -> &'a str {
        self.head().map_or("", |head| &head.ver)
    }

    /// Where it is written.
    #[must_use]
    pub fn location(&self) -> Option<&'a Location> {
        let rule = self.program.rules.get(self.found.rule as usize)?;
        Some(&rule.location)
    }

    /// What matched last: `ARGS:name`.
    #[must_use]
    pub fn variable(&self) -> Vec<u8> {
        let mut name = Vec::new();
        if let Some(matched) = &self.found.matched {
            write_name(matched, &self.state.texts, &mut name);
        }
        name
    }

    /// The value of what matched last, transformed.
    #[must_use]
    pub fn value(&self) -> &'a [u8] {
        let matched = self.found.matched;
        matched.map_or(&[], |matched| self.state.texts.get(matched.value))
    }

    /// Appends what an error log says, on one line and in ASCII: `[id "1"] [msg ".."] [data ".."]` and so on. Whatever a client
    /// put into it is escaped (`\x0a`), so that it can neither end the line nor a quote.
    pub fn write_log_line(&self, out: &mut String) {
        use std::fmt::Write as _;
        let Some(head) = self.head() else { return };
        let _infallible = write!(out, "[id \"{}\"]", head.id);
        for (name, text) in [("msg", self.message()), ("data", self.data())] {
            if !text.is_empty() {
                let _infallible = write!(out, " [{name} \"");
                escape(text, out);
                out.push_str("\"]");
            }
        }
        if let Some(severity) = head.severity {
            let _infallible = write!(out, " [severity \"{severity}\"]");
        }
        if !head.ver.is_empty() {
            let _infallible = write!(out, " [ver \"{}\"]", head.ver.escape_debug());
        }
        for tag in self.tags() {
            out.push_str(" [tag \"");
            escape(tag, out);
            out.push_str("\"]");
        }
    }

    /// Whether it belongs into the error log: neither `nolog` nor its default said otherwise.
    #[must_use]
    pub const fn is_logged(&self) -> bool {
        self.found.log
    }

    /// Whether it belongs into the audit log.
    #[must_use]
    pub const fn is_audited(&self) -> bool {
        self.found.audit
    }
}

fn escape(text: &[u8], out: &mut String) {
    use std::fmt::Write as _;
    for byte in text {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(*byte)]),
            b' '..=b'~' => out.push(char::from(*byte)),
            _ => {
                let _infallible = write!(out, "\\x{byte:02x}");
            }
        }
    }
}
