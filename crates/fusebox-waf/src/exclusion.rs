//! What the rules shall leave alone, in Rust instead of SecLang.

use crate::ConfigError;

/// Exclusions have ids of their own, below those of the built-in rules.
const FIRST_ID: u32 = 1_600_000;

/// Something that the rules shall leave alone: a rule, or rules with a tag, everywhere or on some paths, wholly or for one
/// argument, header or cookie.
///
/// ```
/// use fusebox_waf::{Ruleset, rule, tag};
///
/// let rules = Ruleset::builder("shop")
///     .core()
///     .exclude(rule(1_709_010).on_path("/search").argument("q"))
///     .exclude(tag("attack-xss").under_path("/cms").argument("html"))
///     .build()?;
/// # let _ = rules;
/// # Ok::<(), fusebox_waf::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "an exclusion does nothing until it is given to a builder"]
pub struct Exclusion {
    what: What,
    place: Place,
    target: Option<(&'static str, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Rule(u32),
    Tag(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Everywhere,
    Exactly(String),
    Under(String),
}

/// Leaves out the rule with this id.
pub const fn rule(id: u32) -> Exclusion {
    Exclusion {
        what: What::Rule(id),
        place: Place::Everywhere,
        target: None,
    }
}

/// Leaves out the rules with this tag.
pub fn tag(tag: impl Into<String>) -> Exclusion {
    Exclusion {
        what: What::Tag(tag.into()),
        place: Place::Everywhere,
        target: None,
    }
}

impl Exclusion {
    /// Only for requests with exactly this path, decoded once.
    pub fn on_path(mut self, path: impl Into<String>) -> Self {
        self.place = Place::Exactly(path.into());
        self
    }

    /// Only for requests with this path or one below it: `/cms` is about `/cms` and `/cms/page`, not about `/cmsx`, and not
    /// about paths with `..` in them, which may lead anywhere.
    pub fn under_path(mut self, path: impl Into<String>) -> Self {
        self.place = Place::Under(path.into());
        self
    }

    /// Only for the argument of this name, from the query or the body. Of a JSON body: `json.order.note`.
    pub fn argument(mut self, name: impl Into<String>) -> Self {
        self.target = Some(("ARGS", name.into()));
        self
    }

    /// Only for the header of this name.
    pub fn header(mut self, name: impl Into<String>) -> Self {
        self.target = Some(("REQUEST_HEADERS", name.into()));
        self
    }

    /// Only for the cookie of this name.
    pub fn cookie(mut self, name: impl Into<String>) -> Self {
        self.target = Some(("REQUEST_COOKIES", name.into()));
        self
    }

    /// The exclusion as SecLang, to stand before the rules that it is about. `at` makes its id.
    pub(crate) fn directive(&self, at: usize) -> Result<String, ConfigError> {
        let id = u32::try_from(at)
            .ok()
            .and_then(|at| FIRST_ID.checked_add(at))
            .unwrap_or(u32::MAX);
        let ctl = self.ctl()?;
        Ok(match &self.place {
            Place::Everywhere => format!("SecAction \"id:{id},phase:1,pass,nolog,{ctl}\"\n"),
            Place::Exactly(path) => {
                let path = checked("exclude.on_path", path)?;
                format!(
                    "SecRule REQUEST_FILENAME \"@streq {path}\" \"id:{id},phase:1,pass,nolog,t:none,{ctl}\"\n"
                )
            }
            Place::Under(path) => {
                let path = checked("exclude.under_path", path)?;
                let path = escaped(path.trim_end_matches('/'));
                format!(
                    "SecRule REQUEST_FILENAME \"!@contains ..\" \"id:{id},phase:1,pass,nolog,t:none,chain\"\n\
                     SecRule REQUEST_FILENAME \"@rx ^{path}(?:/|$)\" \"t:none,{ctl}\"\n"
                )
            }
        })
    }

    fn ctl(&self) -> Result<String, ConfigError> {
        let (by, name) = match &self.what {
            What::Rule(id) => ("Id", id.to_string()),
            What::Tag(tag) => ("Tag", checked("exclude.tag", tag)?.to_owned()),
        };
        Ok(match &self.target {
            None => format!("ctl:ruleRemoveBy{by}={name}"),
            Some((list, target)) => {
                let target = checked("exclude.target", target)?;
                format!("ctl:ruleRemoveTargetBy{by}={name};{list}:{target}")
            }
        })
    }
}

/// A text that means itself wherever it stands in a directive.
fn checked<'t>(field: &'static str, text: &'t str) -> Result<&'t str, ConfigError> {
    let plain = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'/' | b'.' | b'-' | b'_' | b'~' | b'[' | b']' | b'@' | b':' | b'+'
            )
    };
    // A selector between slashes would be an expression, and an operator starts with an @.
    let is_path = field.ends_with("path");
    if !text.is_empty() && text.bytes().all(plain) && text.starts_with('/') == is_path {
        return Ok(text);
    }
    Err(ConfigError::Text {
        field,
        given: text.to_owned(),
        expected: if is_path {
            "a path that starts with / and is made of letters, digits and /.-_~[]@:+"
        } else {
            "letters, digits and .-_~[]@:+"
        },
    })
}

/// The path as an expression for itself.
fn escaped(path: &str) -> String {
    let mut expression = String::with_capacity(path.len() + 8);
    for letter in path.chars() {
        match letter {
            // As numbers: engines differ over brackets within brackets.
            '[' => expression.push_str(r"\x5b"),
            ']' => expression.push_str(r"\x5d"),
            '.' | '+' => expression.extend(['[', letter, ']']),
            _ => expression.push(letter),
        }
    }
    expression
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_would_be_more_than_itself_is_refused() {
        for bad in [
            "", "q\"", "a,b", "a;b", "%{x}", "a b", "a'b", "/re/", "ä", "a\\b",
        ] {
            let error = rule(1).argument(bad).directive(0).unwrap_err();
            assert!(error.to_string().starts_with("exclude.target: "), "{bad}");
        }
        for bad in ["", "search", "/a b", "/a\"", "/a\n"] {
            assert!(rule(1).on_path(bad).directive(0).is_err(), "{bad}");
            assert!(rule(1).under_path(bad).directive(0).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_is_no_expression() {
        assert_eq!(escaped("/a.b+[c]"), r"/a[.]b[+]\x5bc\x5d");
    }
}
