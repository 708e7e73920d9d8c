//! fusebox's own rules against the same tests: an attack is blocked or it is not, whichever rule sees it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use fusebox_seclang::{Match, Ruleset};
use fusebox_waf::core::{self, Core, Paranoia};
use fusebox_waf::tag;
use regex::Regex;

use crate::benign;
use crate::format::Log;
use crate::request::Request;
use crate::suite::{NamedStage, Rules, Suite};

/// What of it is printed, and which rules are used.
#[derive(Debug, Default)]
pub(crate) struct Options<'a> {
    pub(crate) fails: bool,
    pub(crate) only: Option<&'a str>,
    /// Files in place of those that are built in.
    pub(crate) from: Option<PathBuf>,
    /// Level two.
    pub(crate) strict: bool,
    /// Not the harmless requests, which take their time where nothing is optimised.
    pub(crate) without_harmless: bool,
}

/// Whether both targets are met.
pub(crate) fn run(suite: &Suite, options: &Options<'_>) -> Result<bool> {
    let rules = load(options)?;
    let levels = levels(&suite.rules)?;
    let mut blocked = Tally::default();
    let mut spurious = Tally::default();
    let (mut excepted, mut stale) = (0_usize, 0_usize);
    for stage in suite.stages()? {
        if options
            .only
            .is_some_and(|only| !stage.name.starts_with(only))
        {
            continue;
        }
        let Some(kind) = kind(&stage, &levels) else {
            continue;
        };
        let request = Request::build(&stage.stage.input).with_context(|| stage.name.clone())?;
        let verdict = judge(&rules, &request);
        if kind == Kind::Benign && is_attack_like(&stage.name) {
            excepted += 1;
            if !verdict.is_blocked {
                stale += 1;
                println!(
                    "PASSES {}: it is excepted, and need not be any more",
                    stage.name
                );
            }
            continue;
        }
        let family = stage.name.get(..3).unwrap_or_default().to_owned();
        match kind {
            Kind::Attack => {
                blocked.count(family, verdict.is_blocked);
                if options.fails && !verdict.is_blocked {
                    println!("PASSED {}: {:?}", stage.name, verdict.ids);
                }
            }
            Kind::Benign => {
                spurious.count(family, verdict.is_blocked);
                if options.fails && verdict.is_blocked {
                    println!("BLOCKED {}: {:?}", stage.name, verdict.ids);
                }
            }
        }
    }
    if blocked.total() == 0 && spurious.total() == 0 {
        bail!("no stage to judge in {}", suite.tests.display());
    }
    if options.fails {
        blocked.print("blocked");
        spurious.print("false positives");
    }
    println!(
        "core blocked {} of {} ({:.1}%)",
        blocked.hits(),
        blocked.total(),
        percent(blocked.hits(), blocked.total())
    );
    println!(
        "core false positives {} of {}, {excepted} more are attacks themselves",
        spurious.hits(),
        spurious.total()
    );
    let is_quiet =
        options.only.is_some() || options.without_harmless || check_benign(&rules, options)?;
    // An exception that is none any more would hide the next rule that gets in the way there. At level two, and with files of one's own,
    // there may be others.
    let is_true = stale == 0 || options.strict || options.from.is_some();
    Ok(blocked.hits() * 10 >= blocked.total() * 9 && spurious.hits() == 0 && is_quiet && is_true)
}

/// The requests of [`benign`]; whether few enough are refused.
fn check_benign(rules: &Ruleset, options: &Options<'_>) -> Result<bool> {
    let mut refused = 0_usize;
    for (name, request) in benign::requests()? {
        let verdict = judge(rules, &request);
        if verdict.is_blocked {
            refused += 1;
            if options.fails {
                let body = String::from_utf8_lossy(&request.body);
                println!(
                    "REFUSED {name}: {:?} {} {body}",
                    verdict.ids,
                    String::from_utf8_lossy(&request.uri)
                );
            }
        }
    }
    println!(
        "core refused {refused} of {} harmless requests",
        benign::REQUESTS
    );
    Ok(refused * benign::ONE_IN <= benign::REQUESTS)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Attack,
    Benign,
}

/// The families that are about attacks on applications; those before are about the protocol, those behind about answers.
const ATTACKS: std::ops::Range<u32> = 930_000..945_000;

/// `None`: the stage is neither. An attack expects a rule of level one of an attack family, so that a level one rule set has to stop
/// it; a benign stage only says what must not be found.
fn kind(stage: &NamedStage, levels: &HashMap<u32, u8>) -> Option<Kind> {
    let Log {
        expect_ids,
        no_expect_ids,
        match_regex,
        ..
    } = stage.stage.output.log.as_ref()?;
    let is_attack = |id: &u32| ATTACKS.contains(id) && levels.get(id) == Some(&1);
    if expect_ids.iter().any(is_attack) {
        return Some(Kind::Attack);
    }
    (expect_ids.is_empty() && match_regex.is_none() && !no_expect_ids.is_empty())
        .then_some(Kind::Benign)
}

/// The paranoia level of each rule, from its tag.
fn levels(rules: &Rules) -> Result<HashMap<u32, u8>> {
    let word = Regex::new(r"\bid:(\d+)|paranoia-level/(\d)")?;
    let mut levels = HashMap::new();
    for path in &rules.files {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut last = None;
        for found in word.captures_iter(&text) {
            if let Some(id) = found.get(1) {
                last = id.as_str().parse().ok();
            } else if let (Some(id), Some(level)) = (last, found.get(2)) {
                levels.entry(id).or_insert(level.as_str().parse()?);
            }
        }
    }
    Ok(levels)
}

fn load(options: &Options<'_>) -> Result<Ruleset> {
    let level = if options.strict {
        Paranoia::Two
    } else {
        Paranoia::One
    };
    let mut settings = fusebox_waf::Ruleset::builder("core");
    // The one exclusion: the field of the review tool that takes code.
    for kind in core::TAGS {
        for field in [benign::CODE.to_owned(), format!("json.{}", benign::CODE)] {
            settings = settings.exclude(tag(kind).under_path(benign::REVIEW).argument(field));
        }
    }
    let Some(folder) = &options.from else {
        return Ok(settings
            .core_with(Core::new().paranoia(level))
            .compile()?
            .rules()
            .clone());
    };
    let mut files: Vec<_> = fs::read_dir(folder)
        .with_context(|| format!("cannot read {}", folder.display()))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|path| {
        path.extension().is_some_and(|ending| ending == "conf")
            && (options.strict || !path.to_string_lossy().contains("level-two"))
    });
    files.sort();
    settings = settings.text(
        "threshold",
        "SecAction \"id:1700000,phase:1,pass,nolog,setvar:tx.fusebox_threshold=5\"",
    );
    for file in files {
        settings = settings.file(file);
    }
    Ok(settings.compile()?.rules().clone())
}

#[derive(Debug)]
struct Verdict {
    is_blocked: bool,
    ids: BTreeSet<u32>,
}

fn judge(rules: &Ruleset, request: &Request) -> Verdict {
    let mut tx = rules.transaction(SystemTime::now());
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    tx.connection(SocketAddr::new(here, 40_000), SocketAddr::new(here, 80));
    tx.request_line(&request.method, &request.uri, &request.version);
    for (name, value) in &request.headers {
        tx.request_header(name, value);
    }
    let mut stopped = tx.end_request_headers();
    if stopped.is_none() {
        stopped = tx.request_body(&request.body);
    }
    if stopped.is_none() {
        stopped = tx.end_request_body();
    }
    let is_blocked = stopped.is_some();
    Verdict {
        is_blocked,
        ids: tx
            .matches()
            .map(|found: Match<'_>| found.rule_id())
            .collect(),
    }
}

/// Hits and totals by family.
#[derive(Debug, Default)]
struct Tally(BTreeMap<String, (usize, usize)>);

impl Tally {
    fn count(&mut self, family: String, hit: bool) {
        let (hits, total) = self.0.entry(family).or_default();
        *hits += usize::from(hit);
        *total += 1;
    }

    fn hits(&self) -> usize {
        self.0.values().map(|(hits, _total)| hits).sum()
    }

    fn total(&self) -> usize {
        self.0.values().map(|(_hits, total)| total).sum()
    }

    fn print(&self, what: &str) {
        for (family, (hits, total)) in &self.0 {
            println!("  {family} {what} {hits} of {total}");
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "some thousand stages")]
fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    part as f64 * 100.0 / whole as f64
}

/// Stages that say only which rule of the Core Rule Set does not find them: each is an attack, or is one in another field, so
/// whoever blocks it is right. Each with its reason.
const ATTACK_LIKE: &[(&str, &str)] = &[
    (
        "920100-4",
        "a tunnel is asked for; a service that is a proxy excludes the rule",
    ),
    (
        "920100-6",
        "a tunnel is asked for; a service that is a proxy excludes the rule",
    ),
    (
        "920120-39",
        "the multipart body is malformed: a part with an empty name, without a header, or with a line end too few",
    ),
    (
        "920400-2",
        "the multipart body is malformed: a part with an empty name, without a header, or with a line end too few",
    ),
    (
        "932180-3",
        "the multipart body is malformed: a part with an empty name, without a header, or with a line end too few",
    ),
    (
        "920181-1",
        "a length beside a transfer coding: the httpd in front of the original takes one of them out",
    ),
    ("920240-4", "the body is not what its content type says"),
    ("920420-9", "the body is not what its content type says"),
    ("920420-10", "the body is not what its content type says"),
    (
        "920620-1",
        "two content types; the httpd in front of the original makes one of them",
    ),
    ("920640-2", "carries select(sleep(10))"),
    ("920640-4", "carries select(sleep(10))"),
    ("920640-5", "carries select(sleep(10))"),
    ("921120-3", "a line end and a header's name in the query"),
    (
        "932230-1",
        "downloads and runs programs; the test is about a narrower list of commands",
    ),
    (
        "932230-2",
        "downloads and runs programs; the test is about a narrower list of commands",
    ),
    (
        "932230-9",
        "downloads and runs programs; the test is about a narrower list of commands",
    ),
    (
        "932230-10",
        "downloads and runs programs; the test is about a narrower list of commands",
    ),
    (
        "932230-11",
        "downloads and runs programs; the test is about a narrower list of commands",
    ),
    (
        "932230-12",
        "downloads and runs programs; the test is about a narrower list of commands",
    ),
    ("932230-15", "cat /etc/passwd behind a line end"),
    ("932230-20", "cat /etc/passwd behind a line end"),
    ("932230-16", "Shellshock"),
    ("932230-23", "Shellshock"),
    (
        "932230-42",
        "a command behind a semicolon; the test is about another list of commands",
    ),
    (
        "932230-43",
        "a command behind a semicolon; the test is about another list of commands",
    ),
    (
        "932230-44",
        "a command behind a semicolon; the test is about another list of commands",
    ),
    (
        "932230-46",
        "a command behind a semicolon; the test is about another list of commands",
    ),
    (
        "932236-9",
        "a command behind a semicolon; the test is about another list of commands",
    ),
    (
        "932250-2",
        "a command behind a semicolon; the test is about another list of commands",
    ),
    (
        "932260-3",
        "a command behind a semicolon; the test is about another list of commands",
    ),
    (
        "932260-1",
        "bash -c, curl or /dev/tcp; another rule of theirs has it",
    ),
    (
        "932260-2",
        "bash -c, curl or /dev/tcp; another rule of theirs has it",
    ),
    (
        "932260-14",
        "bash -c, curl or /dev/tcp; another rule of theirs has it",
    ),
    (
        "932260-15",
        "bash -c, curl or /dev/tcp; another rule of theirs has it",
    ),
    ("932271-5", "~+ and ~-, which 932270 blocks"),
    ("932271-6", "~+ and ~-, which 932270 blocks"),
    (
        "933100-24",
        "a PHP tag; the test is about the places that 933100 leaves out",
    ),
    (
        "933100-25",
        "a PHP tag; the test is about the places that 933100 leaves out",
    ),
    (
        "953120-6",
        "a PHP tag; the test is about the places that 933100 leaves out",
    ),
    (
        "933131-1",
        "variables that PHP fills; another rule of theirs has it",
    ),
    (
        "933131-2",
        "variables that PHP fills; another rule of theirs has it",
    ),
    (
        "933150-34",
        "a call of printf as the whole value, which 933160-44 wants blocked",
    ),
    (
        "934110-6",
        "the metadata service of a cloud, in spellings that 934110 leaves to other rules",
    ),
    (
        "934110-7",
        "the metadata service of a cloud, in spellings that 934110 leaves to other rules",
    ),
    (
        "934110-8",
        "the metadata service of a cloud, in spellings that 934110 leaves to other rules",
    ),
    (
        "934120-16",
        "the metadata service of a cloud, in spellings that 934110 leaves to other rules",
    ),
    (
        "934120-17",
        "the metadata service of a cloud, in spellings that 934110 leaves to other rules",
    ),
    (
        "941100-5",
        "a script in the Referer, url(javascript:..), or a call of alert in what is left of a tag",
    ),
    (
        "941140-14",
        "a script in the Referer, url(javascript:..), or a call of alert in what is left of a tag",
    ),
    (
        "941310-8",
        "a script in the Referer, url(javascript:..), or a call of alert in what is left of a tag",
    ),
    (
        "941310-9",
        "a script in the Referer, url(javascript:..), or a call of alert in what is left of a tag",
    ),
    (
        "942101-11",
        "an injection of SQL in the path or in a form that the tested rule leaves to another one",
    ),
    (
        "942160-12",
        "an injection of SQL in the path or in a form that the tested rule leaves to another one",
    ),
    (
        "942350-9",
        "an injection of SQL in the path or in a form that the tested rule leaves to another one",
    ),
    (
        "942360-29",
        "an injection of SQL in the path or in a form that the tested rule leaves to another one",
    ),
    (
        "942360-30",
        "an injection of SQL in the path or in a form that the tested rule leaves to another one",
    ),
    (
        "942360-31",
        "an injection of SQL in the path or in a form that the tested rule leaves to another one",
    ),
    (
        "942521-15",
        "an injection that the tested rule does not find: 'lol' or '1 with backslashes",
    ),
    (
        "942521-16",
        "an article about injections that quotes several whole: who takes such text excludes the field",
    ),
];

fn is_attack_like(name: &str) -> bool {
    ATTACK_LIKE.iter().any(|(stage, _reason)| *stage == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::Where;

    #[test]
    fn the_built_in_rules_meet_their_targets() {
        let Some(suite) = Suite::find(&Where::default()).unwrap() else {
            eprintln!("no Core Rule Set: nothing was checked");
            return;
        };
        let options = Options {
            fails: true,
            without_harmless: true,
            ..Options::default()
        };
        assert!(run(&suite, &options).unwrap());
    }

    #[test]
    fn an_attack_is_what_a_rule_of_level_one_finds() {
        let levels = HashMap::from([(942_100, 1), (942_200, 2), (920_100, 1)]);
        let kind_of = |log: &str| {
            let stage = serde_saphyr::from_str(&format!("{{input: {{}}, output: {{log: {log}}}}}"));
            kind(
                &NamedStage {
                    name: "942100-1".to_owned(),
                    stage: stage.unwrap(),
                },
                &levels,
            )
        };
        assert_eq!(kind_of("{expect_ids: [942100]}"), Some(Kind::Attack));
        assert_eq!(
            kind_of("{expect_ids: [942200, 942100]}"),
            Some(Kind::Attack)
        );
        assert_eq!(kind_of("{expect_ids: [942200]}"), None);
        assert_eq!(kind_of("{expect_ids: [920100]}"), None);
        assert_eq!(kind_of("{no_expect_ids: [942100]}"), Some(Kind::Benign));
        assert_eq!(kind_of("{match_regex: x}"), None);
    }

    #[test]
    fn no_stage_is_excepted_twice() {
        let names: BTreeSet<_> = ATTACK_LIKE.iter().map(|(name, _reason)| name).collect();
        assert_eq!(names.len(), ATTACK_LIKE.len());
    }
}
