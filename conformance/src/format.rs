//! The tests as they are written: go-ftw's schema, version 2.

use std::collections::BTreeMap;

use serde::Deserialize;

/// One file.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct File {
    #[serde(default)]
    pub(crate) rule_id: Option<u32>,
    #[serde(default)]
    pub(crate) tests: Vec<Test>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Test {
    #[serde(default)]
    pub(crate) test_id: Option<u32>,
    #[serde(default)]
    pub(crate) stages: Vec<Stage>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Stage {
    pub(crate) input: Input,
    pub(crate) output: Output,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Input {
    #[serde(default)]
    pub(crate) method: Option<String>,
    #[serde(default)]
    pub(crate) uri: Option<String>,
    #[serde(default)]
    pub(crate) version: Option<String>,
    /// go-ftw keeps them in a map and sends them sorted; so does this one.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) ordered_headers: Vec<Header>,
    #[serde(default)]
    pub(crate) data: Option<String>,
    #[serde(default)]
    pub(crate) encoded_data: Option<String>,
    #[serde(default)]
    pub(crate) encoded_request: Option<String>,
    #[serde(default)]
    pub(crate) autocomplete_headers: Option<bool>,
    /// The older word for the opposite.
    #[serde(default)]
    pub(crate) stop_magic: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Header {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl Input {
    pub(crate) fn autocompletes(&self) -> bool {
        self.autocomplete_headers
            .or_else(|| self.stop_magic.map(|stop| !stop))
            .unwrap_or(true)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Output {
    #[serde(default)]
    pub(crate) response_contains: Option<String>,
    #[serde(default)]
    pub(crate) status: Option<u16>,
    /// No answer at all is what is wanted.
    #[serde(default)]
    pub(crate) expect_error: bool,
    #[serde(default)]
    pub(crate) isolated: bool,
    #[serde(default)]
    pub(crate) log: Option<Log>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Log {
    #[serde(default)]
    pub(crate) expect_ids: Vec<u32>,
    #[serde(default)]
    pub(crate) no_expect_ids: Vec<u32>,
    #[serde(default)]
    pub(crate) match_regex: Option<String>,
    #[serde(default)]
    pub(crate) no_match_regex: Option<String>,
}

impl Log {
    pub(crate) const fn is_empty(&self) -> bool {
        self.expect_ids.is_empty()
            && self.no_expect_ids.is_empty()
            && self.match_regex.is_none()
            && self.no_match_regex.is_none()
    }
}

impl Log {
    /// Whether a log with nothing in it is right.
    pub(crate) const fn wants_nothing(&self) -> bool {
        self.expect_ids.is_empty() && self.match_regex.is_none()
    }
}

/// A file of comments alone is no test.
pub(crate) fn read(text: &str) -> anyhow::Result<File> {
    Ok(serde_saphyr::from_str::<Option<File>>(text)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_in_a_header_is_text_as_it_stands_there() {
        let file = read(
            "rule_id: 7\ntests:\n  - stages:\n      - input:\n          headers: {Keep-Alive: 0300, Range: on}\n        output: {status: 400}\n",
        )
        .unwrap();
        let input = &file.tests[0].stages[0].input;
        assert_eq!(input.headers["Keep-Alive"], "0300");
        assert_eq!(input.headers["Range"], "on");
        assert!(input.autocompletes());
        assert_eq!(file.tests[0].test_id, None);
    }

    #[test]
    fn a_file_of_comments_has_no_tests() {
        assert!(read("---\n# nothing\n").unwrap().tests.is_empty());
        assert!(read("# nothing\n").unwrap().tests.is_empty());
    }
}
