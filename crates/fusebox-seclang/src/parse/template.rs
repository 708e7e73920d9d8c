//! Text with `%{..}` in it.

use super::variable::{Variable, known_part};
use crate::error::ErrorKind;

/// Text with macros, which are looked up when the text is needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Template {
    pub(crate) parts: Vec<Part>,
}

/// A piece of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// As it is.
    Text(Box<[u8]>),
    /// What the variable holds.
    Macro(Macro),
}

/// `%{VARIABLE}` or `%{COLLECTION.name}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Macro {
    pub(crate) variable: Variable,
    /// In lower case: names are compared without case.
    pub(crate) name: Option<Box<str>>,
}

impl Template {
    pub(crate) fn parse(text: &str) -> Result<Self, ErrorKind> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("%{") {
            // An unclosed `%{` is text, as it is for ModSecurity.
            let Some((inner, tail)) = after.split_once('}') else {
                break;
            };
            push_text(&mut parts, before);
            parts.push(Part::Macro(parse_macro(inner)?));
            rest = tail;
        }
        push_text(&mut parts, rest);
        Ok(Self { parts })
    }

    /// The text, when there is no macro in it.
    pub(crate) fn constant(&self) -> Option<&[u8]> {
        match self.parts.as_slice() {
            [] => Some(&[]),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    if text.is_empty() {
        return;
    }
    if let Some(Part::Text(last)) = parts.last_mut() {
        let mut joined = std::mem::take(last).into_vec();
        joined.extend_from_slice(text.as_bytes());
        *last = joined.into();
    } else {
        parts.push(Part::Text(text.as_bytes().into()));
    }
}

fn parse_macro(inner: &str) -> Result<Macro, ErrorKind> {
    // ModSecurity separates with a dot; libmodsecurity and Coraza take a colon too.
    let (name, key) = match inner.split_once(['.', ':']) {
        Some((name, key)) => (name, Some(key)),
        None => (inner, None),
    };
    let variable = Variable::from_name(name)?;
    match (variable.has_parts(), key) {
        (false, Some(_)) => Err(ErrorKind::Selector {
            variable: inner.to_owned(),
            why: "the variable has no parts to choose from",
        }),
        (_, key) => {
            let name: Option<Box<str>> = key.map(|key| key.to_ascii_lowercase().into());
            known_part(variable, name.as_deref())?;
            Ok(Macro { variable, name })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_macros_in_a_text() {
        let template = Template::parse("score %{tx.Anomaly_Score} of %{MATCHED_VAR}!").unwrap();
        assert_eq!(
            template.parts,
            [
                Part::Text((*b"score ").into()),
                Part::Macro(Macro {
                    variable: Variable::Tx,
                    name: Some("anomaly_score".into())
                }),
                Part::Text((*b" of ").into()),
                Part::Macro(Macro {
                    variable: Variable::MatchedVar,
                    name: None
                }),
                Part::Text((*b"!").into()),
            ]
        );
        assert!(template.constant().is_none());
    }

    #[test]
    fn text_without_macros_is_constant() {
        for text in ["", "50%", "open %{", "{}"] {
            let template = Template::parse(text).unwrap();
            assert_eq!(template.constant(), Some(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_macro_that_names_nothing_is_an_error() {
        assert!(matches!(
            Template::parse("%{tx_score}"),
            Err(ErrorKind::UnknownVariable { .. })
        ));
        assert!(matches!(
            Template::parse("%{REQUEST_URI.x}"),
            Err(ErrorKind::Selector { .. })
        ));
    }
}
