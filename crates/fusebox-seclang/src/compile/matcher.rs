//! Rules by tag or message.

use super::regex::{self, Regex};
use crate::error::ErrorKind;
use crate::parse::Matcher;

/// A [`Matcher`] that is ready to run.
#[derive(Debug)]
pub(super) struct Compiled(Regex);

pub(super) fn compile(matcher: &Matcher) -> Result<Compiled, ErrorKind> {
    // The reference takes an expression. A tag such as `OWASP_CRS` must not take `OWASP_CRS/ATTACK-XSS` with it, so a text
    // without any of the signs of an expression is compared as a whole.
    let plain = !matcher
        .pattern
        .contains(['^', '$', '*', '+', '?', '[', '(', '|', '\\', '{']);
    let pattern = if plain {
        let escaped: String = matcher
            .pattern
            .chars()
            .flat_map(|c| (c == '.').then_some('\\').into_iter().chain([c]))
            .collect();
        format!("^{escaped}$")
    } else {
        matcher.pattern.clone()
    };
    Ok(Compiled(regex::compile(&pattern, false)?))
}

impl Compiled {
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        self.0.is_match(text)
    }
}
