//! Rules by tag or message.

use super::regex::{self, Regex};
use crate::error::ErrorKind;
use crate::parse::Matcher;

/// A [`Matcher`] that is ready to run.
#[derive(Clone, Debug)]
pub(super) enum Compiled {
    /// The text as a whole.
    Whole(Box<[u8]>),
    Regex(Box<Regex>),
}

pub(super) fn compile(matcher: &Matcher) -> Result<Compiled, ErrorKind> {
    // The reference takes an expression. A tag such as `OWASP_CRS` must not take `OWASP_CRS/ATTACK-XSS` with it, so a text
    // without any of the signs of an expression is compared as a whole.
    let signs = ['^', '$', '*', '+', '?', '[', '(', '|', '\\', '{'];
    if matcher.pattern.contains(signs) {
        let regex = regex::compile(&matcher.pattern, false)?;
        return Ok(Compiled::Regex(Box::new(regex)));
    }
    Ok(Compiled::Whole(matcher.pattern.as_bytes().into()))
}

impl Compiled {
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        match self {
            Self::Whole(whole) => **whole == *text,
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}
