//! `!@name argument`.

use crate::error::ErrorKind;

/// The operators, by the names of the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OperatorName {
    BeginsWith,
    Contains,
    ContainsWord,
    DetectSqli,
    DetectXss,
    EndsWith,
    Eq,
    Ge,
    GeoLookup,
    Gt,
    IpMatch,
    IpMatchFromFile,
    Le,
    Lt,
    NoMatch,
    Pm,
    PmFromFile,
    Rbl,
    Rx,
    StrEq,
    StrMatch,
    UnconditionalMatch,
    ValidateByteRange,
    ValidateUrlEncoding,
    ValidateUtf8Encoding,
    Within,
}

pub(super) const NAMES: &[(&str, OperatorName)] = &[
    ("beginsWith", OperatorName::BeginsWith),
    ("contains", OperatorName::Contains),
    ("containsWord", OperatorName::ContainsWord),
    ("detectSQLi", OperatorName::DetectSqli),
    ("detectXSS", OperatorName::DetectXss),
    ("endsWith", OperatorName::EndsWith),
    ("eq", OperatorName::Eq),
    ("ge", OperatorName::Ge),
    ("geoLookup", OperatorName::GeoLookup),
    ("gt", OperatorName::Gt),
    ("ipMatch", OperatorName::IpMatch),
    ("ipMatchF", OperatorName::IpMatchFromFile),
    ("ipMatchFromFile", OperatorName::IpMatchFromFile),
    ("le", OperatorName::Le),
    ("lt", OperatorName::Lt),
    ("noMatch", OperatorName::NoMatch),
    ("pm", OperatorName::Pm),
    ("pmf", OperatorName::PmFromFile),
    ("pmFromFile", OperatorName::PmFromFile),
    ("rbl", OperatorName::Rbl),
    ("rx", OperatorName::Rx),
    ("streq", OperatorName::StrEq),
    ("strmatch", OperatorName::StrMatch),
    ("unconditionalMatch", OperatorName::UnconditionalMatch),
    ("validateByteRange", OperatorName::ValidateByteRange),
    ("validateUrlEncoding", OperatorName::ValidateUrlEncoding),
    ("validateUtf8Encoding", OperatorName::ValidateUtf8Encoding),
    ("within", OperatorName::Within),
];

pub(super) const REFUSED: &[(&str, &str)] = &[
    ("fuzzyHash", "ssdeep hashes are not built in"),
    ("gsbLookup", "the service behind it is closed"),
    (
        "inspectFile",
        "runs a program on a file on disk; uploads are not written to disk",
    ),
    ("rsub", "bodies are not rewritten"),
    ("rxGlobal", "use @rx with capture"),
    ("validateDTD", "document types are never loaded"),
    ("validateHash", "hash injection is not built in"),
    ("validateSchema", "XML schemas are not built in"),
    ("verifyCC", "is not built in; use @rx"),
    ("verifyCPF", "is not built in; use @rx"),
    ("verifySSN", "is not built in; use @rx"),
    ("verifySVNR", "is not built in; use @rx"),
];

/// An operator as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Operator {
    pub(crate) negated: bool,
    pub(crate) name: OperatorName,
    pub(crate) argument: String,
}

impl Operator {
    pub(crate) fn parse(text: &str) -> Result<Self, ErrorKind> {
        let (negated, rest) = match text.trim_start().strip_prefix('!') {
            Some(rest) if rest.trim_start().starts_with('@') => (true, rest.trim_start()),
            // `!expression` without a name is a negated @rx.
            Some(rest) if !text.starts_with("!@") => (true, rest),
            _ => (false, text),
        };
        let Some(named) = rest.trim_start().strip_prefix('@') else {
            return Ok(Self {
                negated,
                name: OperatorName::Rx,
                argument: rest.to_owned(),
            });
        };
        let (name, argument) = named
            .split_once(|c: char| c.is_ascii_whitespace())
            .unwrap_or((named, ""));
        if let Some((_, why)) = find(REFUSED, name) {
            return Err(ErrorKind::Refused {
                what: format!("@{name}"),
                why,
            });
        }
        let Some((_, name)) = find(NAMES, name) else {
            return Err(ErrorKind::UnknownOperator {
                name: name.to_owned(),
            });
        };
        Ok(Self {
            negated,
            name: *name,
            argument: argument.trim_start_matches([' ', '\t']).to_owned(),
        })
    }
}

fn find<'a, T>(table: &'a [(&'static str, T)], name: &str) -> Option<&'a (&'static str, T)> {
    table
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_an_operator_its_negation_and_the_one_without_a_name() {
        for (text, negated, name, argument) in [
            ("@rx ^a b$", false, OperatorName::Rx, "^a b$"),
            ("!@within GET HEAD", true, OperatorName::Within, "GET HEAD"),
            ("^plain", false, OperatorName::Rx, "^plain"),
            ("!^plain", true, OperatorName::Rx, "^plain"),
            ("@detectSQLi", false, OperatorName::DetectSqli, ""),
            (
                "@PMF words.data",
                false,
                OperatorName::PmFromFile,
                "words.data",
            ),
        ] {
            assert_eq!(
                Operator::parse(text).unwrap(),
                Operator {
                    negated,
                    name,
                    argument: argument.to_owned()
                },
                "{text}"
            );
        }
    }

    #[test]
    fn says_why_an_operator_is_refused() {
        let error = Operator::parse("@inspectFile x").unwrap_err();
        assert!(error.to_string().contains("runs a program"), "{error}");
        let error = Operator::parse("@regex a").unwrap_err();
        assert_eq!(error.to_string(), "@regex: no such operator");
    }
}
