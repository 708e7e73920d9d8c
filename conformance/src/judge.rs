//! What became of one stage.

use anyhow::{Context, Result};
use regex::Regex;

use crate::backend;
use crate::engine::{Engine, Run};
use crate::format::Log;
use crate::request::Request;
use crate::suite::NamedStage;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    /// Why not.
    Failed(String),
    /// It says what a server does, not what an engine does.
    ServerOnly,
}

/// Stages that expect of the log what a server has changed before an engine sees the request:
/// httpd drops `Content-Length` beside `Transfer-Encoding`; httpd joins two `Content-Type`s; a body without a length is
/// never read; a carriage return within a header is answered with 400.
const SERVER_ONLY: [&str; 4] = ["920181-1", "920620-1", "920640-5", "921140-1"];

pub(crate) fn judge(stage: &NamedStage, engine: &mut dyn Engine) -> Result<Verdict> {
    let NamedStage { name, stage } = stage;
    let Some(log) = stage.output.log.as_ref().filter(|log| !log.is_empty()) else {
        // A status, or a transport error: nothing was said about rules.
        return Ok(Verdict::ServerOnly);
    };
    if SERVER_ONLY.contains(&name.as_str()) {
        return Ok(Verdict::ServerOnly);
    }
    let request = Request::build(&stage.input).with_context(|| name.clone())?;
    let response = backend::answer(&request);
    if let Some(text) = &stage.output.response_contains
        && !contains(&response.body, text.as_bytes())
    {
        return Ok(Verdict::Failed(format!("the response lacks {text:?}")));
    }
    let run = engine.run(&request, &response)?;
    let found = compare(log, stage.output.isolated, &run).with_context(|| name.clone())?;
    Ok(found.map_or(Verdict::Passed, Verdict::Failed))
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text)
}

/// What is wrong, in go-ftw's order.
pub(crate) fn compare(log: &Log, isolated: bool, run: &Run) -> Result<Option<String>> {
    let matches = |expression: &str| -> Result<bool> {
        let expression = Regex::new(expression).context("a test has a bad expression")?;
        Ok(run.log.iter().any(|line| expression.is_match(line)))
    };
    if let Some(expression) = &log.match_regex
        && !matches(expression)?
    {
        return Ok(Some(format!(
            "no line matches {expression:?}; logged {:?}",
            run.ids
        )));
    }
    let missing = among(&log.expect_ids, |id| !run.ids.contains(&id));
    if !missing.is_empty() {
        return Ok(Some(format!(
            "missing {}; logged {:?}",
            missing.join(" "),
            run.ids
        )));
    }
    if isolated && run.ids.len() != 1 {
        return Ok(Some(format!("not alone; logged {:?}", run.ids)));
    }
    if let Some(expression) = &log.no_match_regex
        && matches(expression)?
    {
        return Ok(Some(format!(
            "a line matches {expression:?}; logged {:?}",
            run.ids
        )));
    }
    let spurious = among(&log.no_expect_ids, |id| run.ids.contains(&id));
    if !spurious.is_empty() {
        return Ok(Some(format!(
            "spurious {}; logged {:?}",
            spurious.join(" "),
            run.ids
        )));
    }
    Ok(None)
}

fn among(ids: &[u32], wrong: impl Fn(u32) -> bool) -> Vec<String> {
    ids.iter()
        .filter(|id| wrong(**id))
        .map(u32::to_string)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(log: &str, ids: &[u32]) -> Option<String> {
        let log: Log = serde_saphyr::from_str(log).unwrap();
        let run = Run {
            ids: ids.to_vec(),
            log: ids.iter().map(|id| format!("[id \"{id}\"]")).collect(),
        };
        compare(&log, false, &run).unwrap()
    }

    #[test]
    fn every_expected_rule_has_to_be_there_and_no_unwanted_one() {
        assert_eq!(problem("expect_ids: [1, 2]", &[2, 3, 1]), None);
        assert!(
            problem("expect_ids: [1, 2]", &[1])
                .unwrap()
                .starts_with("missing 2;")
        );
        assert_eq!(problem("no_expect_ids: [1]", &[2]), None);
        assert!(
            problem("no_expect_ids: [1, 2]", &[2, 1])
                .unwrap()
                .starts_with("spurious 1 2;")
        );
    }

    #[test]
    fn expressions_are_about_single_lines() {
        assert_eq!(problem("match_regex: id \"7", &[1, 77]), None);
        assert!(problem("match_regex: id \"8", &[1, 77]).is_some());
        assert_eq!(problem("no_match_regex: 'id \"\\d'", &[]), None);
        assert!(problem("no_match_regex: 'id \"\\d'", &[1]).is_some());
    }
}
