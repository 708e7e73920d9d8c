//! Settings of a [`Ruleset`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fusebox_core::{Mode, Name, Observer, Registration};
use fusebox_http::identity::IdentityResolver;
use fusebox_seclang::{OverBudget, RulesetError, WorkBudget};

use crate::core::{Core, CoreError};
use crate::exclusion::Exclusion;
use crate::incident::OnIncident;
use crate::ruleset::{CompiledRules, Ruleset};

/// As much as the built-in rules look at, and more than forms and JSON of honest clients have.
const USUAL_LIMIT: usize = 1 << 20;
/// What is held for each request under inspection; more is a mistake of units.
const MOST_BYTES: usize = 1 << 30;
/// As long as most servers give a client for a whole request.
const USUAL_DEADLINE: Duration = Duration::from_secs(30);
/// A modem is faster; what drips slower than this holds a place for nothing.
const USUAL_RATE: u64 = 512;
/// Round trips, lost packets and the first byte cost time at any rate.
const USUAL_GRACE: Duration = Duration::from_secs(5);
/// Some hundred times what an ordinary request takes.
const USUAL_BUDGET: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(3_600);
/// Half of what proxies wait for the next bytes of an answer: the client gets ours, and not theirs.
const USUAL_ANSWER_DEADLINE: Duration = Duration::from_secs(30);
/// What the work budget allows for each byte of bodies of the limit.
const WORK_FOR_A_BYTE: u64 = 64;
/// Less does not reach through the rules for a request without a body.
const LEAST_WORK: u64 = 64 << 10;
/// An hour of computing; more is a mistake of units.
const MOST_WORK: u64 = 1 << 40;

/// What becomes of a body that is longer than the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OverLimit {
    /// It is refused, with 413 for requests and 500 for responses; where its length is announced, before it is read.
    #[default]
    Refuse,
    /// Its first part is inspected, then all of it is handed on, the rest as it comes. What is beyond the limit is not looked at.
    ///
    /// JSON, XML and multipart that are cut are malformed to rules that ask for it, as the built-in ones and the CRS's companions
    /// do (400). Forms and text pass.
    InspectFirstPart,
}

/// What becomes of a request body with a content coding (gzip, br, zstd), which the rules cannot read as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compressed {
    /// It is refused, with 415.
    #[default]
    Refuse,
    /// gzip and deflate are taken off for the rules; the inner service gets the body as it was sent. Other codings, and several
    /// at once, are refused with 415; what is cut short, corrupt or followed by something else with 400.
    ///
    /// No more than [the limit](RulesetBuilder::request_body) is decoded, and no more than `ratio` times what was sent, beyond the
    /// first 64 KiB: more is refused with 413.
    Decode {
        /// 1 to 1,032, which is the most that deflate can do. JSON and text come to 5 to 50.
        ratio: u32,
    },
    /// It is handed on without a look. Sound only where nothing further in takes the coding off.
    Pass,
}

/// What becomes of a request whose inspection takes longer than its [time budget](RulesetBuilder::time_budget), or more work than its
/// [work budget](RulesetBuilder::work_budget).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OverTime {
    /// It is refused, with 503 (`Undecided`); a response, with 500 (`Withheld`).
    #[default]
    Refuse,
    /// The rules that are left are skipped. What the others have found counts: a request whose score has reached the threshold of the
    /// built-in rules or of the CRS is refused.
    Pass,
}

#[derive(Clone, Debug)]
enum Source {
    Core(Core),
    Crs(PathBuf),
    Text(String, String),
    File(PathBuf),
}

/// Settings of a [`Ruleset`]; made by [`Ruleset::builder`].
#[derive(Clone)]
#[must_use = "settings do nothing until they are built"]
pub struct RulesetBuilder {
    pub(crate) name: Name,
    sources: Vec<Source>,
    exclusions: Vec<Exclusion>,
    pub(crate) limits: Limits,
    pub(crate) clients: IdentityResolver,
    pub(crate) listeners: Vec<Arc<dyn OnIncident>>,
    pub(crate) mode: Mode,
    pub(crate) observers: Vec<Arc<dyn Observer>>,
    pub(crate) registration: Registration,
}

/// How far requests and responses are looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) request: usize,
    pub(crate) over_request: OverLimit,
    pub(crate) compressed: Compressed,
    pub(crate) deadline: Duration,
    pub(crate) rate: u64,
    pub(crate) grace: Duration,
    pub(crate) budget: Duration,
    pub(crate) over_time: OverTime,
    /// `None`: by the limit of bodies.
    pub(crate) work: Option<u64>,
    /// `None`: responses are not looked at.
    pub(crate) response: Option<(usize, OverLimit)>,
    pub(crate) response_deadline: Duration,
    pub(crate) values: bool,
}

/// What the CRS asks of whoever loads it: how bodies are read, and that they must be what they say they are.
const CRS_SETUP: &str = r#"
SecRuleEngine On
SecRequestBodyAccess On
SecRequestBodyNoFilesLimit 131072
SecRequestBodyJsonDepthLimit 64
SecResponseBodyMimeTypesClear
SecResponseBodyMimeType text/plain text/html text/xml application/json
SecRule REQUEST_HEADERS:Content-Type "@rx ^\s*[^\s;,/]+/(?:[^\s;,]*\+)?xml\b" \
    "id:1600900,phase:1,pass,nolog,t:none,t:lowercase,chain"
    SecRule REQBODY_PROCESSOR "!@rx ^(?:URLENCODED|MULTIPART)$" "t:none,ctl:requestBodyProcessor=XML"
SecRule REQUEST_HEADERS:Content-Type "@rx ^\s*[^\s;,/]+/(?:[^\s;,]*\+)?json\b" \
    "id:1600901,phase:1,pass,nolog,t:none,t:lowercase,chain"
    SecRule REQBODY_PROCESSOR "!@rx ^(?:URLENCODED|MULTIPART)$" "t:none,ctl:requestBodyProcessor=JSON"
SecRule REQBODY_ERROR "!@eq 0" \
    "id:1600902,phase:2,deny,status:400,log,severity:2,msg:'The body is not what its content type says'"
SecRule MULTIPART_STRICT_ERROR "!@eq 0" \
    "id:1600903,phase:2,deny,status:400,log,severity:2,msg:'The multipart body breaks the rules of its form'"
"#;

impl Compressed {
    /// [`Decode`](Self::Decode) up to a hundred times: twice what repetitive JSON comes to.
    pub const DECODE: Self = Self::Decode { ratio: 100 };
}

/// One byte of deflate stands for no more than four matches of 258 bytes.
const HIGHEST_RATIO: u32 = 1_032;

impl RulesetBuilder {
    pub(crate) fn new(name: Name) -> Self {
        Self {
            name,
            sources: Vec::new(),
            exclusions: Vec::new(),
            limits: Limits {
                request: USUAL_LIMIT,
                over_request: OverLimit::default(),
                compressed: Compressed::default(),
                deadline: USUAL_DEADLINE,
                rate: USUAL_RATE,
                grace: USUAL_GRACE,
                budget: USUAL_BUDGET,
                over_time: OverTime::default(),
                work: None,
                response: None,
                response_deadline: USUAL_ANSWER_DEADLINE,
                values: false,
            },
            clients: IdentityResolver::peer_only(),
            listeners: Vec::new(),
            mode: Mode::default(),
            observers: Vec::new(),
            registration: Registration::default(),
        }
    }

    /// Adds fusebox's own rules; see [`core`](crate::core).
    pub fn core(self) -> Self {
        self.core_with(Core::new())
    }

    /// Adds fusebox's own rules with these settings.
    pub fn core_with(mut self, core: Core) -> Self {
        self.sources.push(Source::Core(core));
        self
    }

    /// Adds the OWASP Core Rule Set in this folder, as the project ships it, with what it needs around it.
    pub fn crs(mut self, folder: impl AsRef<Path>) -> Self {
        self.sources.push(Source::Crs(folder.as_ref().to_owned()));
        self
    }

    /// Adds SecLang; `name` stands for the file in errors. Rules of one's own need `SecRuleEngine On` to act, and
    /// `SecRequestBodyAccess On` to see bodies.
    pub fn text(mut self, name: &str, text: &str) -> Self {
        self.sources
            .push(Source::Text(name.to_owned(), text.to_owned()));
        self
    }

    /// Adds a file of SecLang.
    pub fn file(mut self, path: impl AsRef<Path>) -> Self {
        self.sources.push(Source::File(path.as_ref().to_owned()));
        self
    }

    /// Leaves something alone; see [`rule`](crate::rule) and [`tag`](crate::tag).
    pub fn exclude(mut self, exclusion: Exclusion) -> Self {
        self.exclusions.push(exclusion);
        self
    }

    /// How many bytes of a request body are held and inspected, 1 to 1 GiB, and what becomes of a longer one; 1 MiB and
    /// [`OverLimit::Refuse`] unless set.
    ///
    /// Takes the place of `SecRequestBodyLimit` and its action. With the built-in rules and the CRS it is the limit of what is no file,
    /// too (`SecRequestBodyNoFilesLimit`), unless a text or file that is added after them sets a lower one.
    pub const fn request_body(mut self, limit: usize, over: OverLimit) -> Self {
        self.limits.request = limit;
        self.limits.over_request = over;
        self
    }

    /// What becomes of compressed request bodies; [`Compressed::Refuse`] unless set.
    pub const fn compressed(mut self, compressed: Compressed) -> Self {
        self.limits.compressed = compressed;
        self
    }

    /// How long a body under inspection may take to arrive; 30 seconds unless set. Then the request is refused, with 408.
    pub const fn body_deadline(mut self, deadline: Duration) -> Self {
        self.limits.deadline = deadline;
        self
    }

    /// The least rate at which a body under inspection has to arrive on the whole, in bytes a second, after so much time free of
    /// it; 512 and 5 seconds unless set. A slower one is refused, with 408.
    pub const fn body_rate(mut self, bytes_per_second: u64, grace: Duration) -> Self {
        self.limits.rate = bytes_per_second;
        self.limits.grace = grace;
        self
    }

    /// How long the inspection of one request may compute, waiting not counted, and what becomes of it then; 250 milliseconds
    /// and [`OverTime::Refuse`] unless set.
    ///
    /// Looked at between slices of about a millisecond. Reading the body and phases 1 and 3 do not count. What becomes of an inspection
    /// that is out of its [work budget](Self::work_budget) is said here too.
    pub const fn time_budget(mut self, budget: Duration, over: OverTime) -> Self {
        self.limits.budget = budget;
        self.limits.over_time = over;
        self
    }

    /// How many bytes may be looked at for one request and its response together, counting each look of a rule at a value; 64 KiB to
    /// 1 TiB. Unless set, 64 times the limits of [request bodies](Self::request_body) and of [responses](Self::responses) together, and 16
    /// MiB in any case. With the usual limit of 1 MiB that is 64 MiB: sixteen times what 100 KiB of JSON take with the CRS.
    ///
    /// Time depends on the machine and on who else computes there; this does not, and is looked at before each value, in phases 1 and 3
    /// as well. What becomes of a request that needs more is said with [`time_budget`](Self::time_budget).
    pub const fn work_budget(mut self, bytes: u64) -> Self {
        self.limits.work = Some(bytes);
        self
    }

    /// Also inspects responses (phases 3 and 4): their heads, and up to so many bytes of their bodies where the rules name the
    /// content type (`SecResponseBodyMimeType`). Off unless set.
    ///
    /// A body under inspection is held until it is decided about. Event streams, gRPC, upgrades and compressed bodies are not. `over` is
    /// what becomes of a longer body, and of one that is not complete by [the deadline](Self::response_deadline).
    pub const fn responses(mut self, limit: usize, over: OverLimit) -> Self {
        self.limits.response = Some((limit, over));
        self
    }

    /// How long the body of a response may be held while it arrives, from its head on; 30 seconds unless set, which is half of what
    /// proxies wait for an answer that has fallen silent.
    ///
    /// Then it is treated as one that is longer than [the limit](Self::responses): withheld, with 500; or, with
    /// [`OverLimit::InspectFirstPart`], judged by what has come, and streamed from there on. A service that writes JSON or text bit by bit
    /// for as long as a connection lasts wants a short one, and the latter.
    pub const fn response_deadline(mut self, deadline: Duration) -> Self {
        self.limits.response_deadline = deadline;
        self
    }

    /// Who the client is, for `REMOTE_ADDR`; the peer unless set. Behind a proxy give the resolver that knows it.
    pub fn clients(mut self, clients: IdentityResolver) -> Self {
        self.clients = clients;
        self
    }

    /// Adds somebody who hears which rules matched.
    pub fn on_incident(mut self, listener: Arc<dyn OnIncident>) -> Self {
        self.listeners.push(listener);
        self
    }

    /// Whether incidents carry the values that matched (what clients sent, passwords included), and who asked for what. Off unless
    /// set.
    pub const fn reveal_values(mut self, reveal: bool) -> Self {
        self.limits.values = reveal;
        self
    }

    /// Whether it acts on its decisions; [`Mode::Enforce`] unless set.
    pub const fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Adds somebody who hears every event of this handle.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.push(observer);
        self
    }

    /// Where the handle is listed; in the process's own registry unless set.
    pub fn registration(mut self, registration: Registration) -> Self {
        self.registration = registration;
        self
    }

    /// The rules with the limits that belong to them, for [`Ruleset::swap`].
    ///
    /// # Errors
    /// [`ConfigError`] if there are none, one does not compile, or a setting is out of range.
    pub fn compile(&self) -> Result<CompiledRules, ConfigError> {
        self.check()?;
        // As much for each byte of a long body as for one of a usual one; the time budget is what bounds it.
        let response = self.limits.response.map_or(0, |(limit, _)| limit);
        let bodies = (self.limits.request as u64).saturating_add(response as u64);
        let usual = bodies.saturating_mul(WORK_FOR_A_BYTE);
        let usual = usual.max(WorkBudget::default().bytes);
        let mut builder = fusebox_seclang::Ruleset::builder().budget(WorkBudget {
            bytes: self.limits.work.unwrap_or(usual),
            outcome: match self.limits.over_time {
                // The layer answers by the cause, and by a status of its own.
                OverTime::Refuse => OverBudget::Refuse { status: 503 },
                OverTime::Pass => OverBudget::Pass,
            },
        });
        // What a `ctl` shall switch off has to come before it.
        for (at, exclusion) in self.exclusions.iter().enumerate() {
            builder = builder.text(&format!("exclusion {at}"), &exclusion.directive(at)?);
        }
        // Two limits, of which the documentation names one, would cut bodies where nobody looks for the reason.
        let no_files = format!("SecRequestBodyNoFilesLimit {}", self.limits.request);
        for source in &self.sources {
            builder = match source {
                Source::Core(core) => core.add_to(builder)?.text("fusebox/no-files", &no_files),
                Source::Crs(folder) => builder
                    .text("fusebox/crs-setup", CRS_SETUP)
                    .text("fusebox/no-files", &no_files)
                    .crs(folder),
                Source::Text(name, text) => builder.text(name, text),
                Source::File(path) => builder.file(path),
            };
        }
        let rules = builder.text("fusebox/limits", &self.settings()).build()?;
        Ok(CompiledRules::new(rules, self.limits))
    }

    /// Makes the handle.
    ///
    /// # Errors
    /// As [`compile`](Self::compile).
    ///
    /// ```
    /// use fusebox_waf::{ConfigError, OverLimit, Ruleset};
    ///
    /// let wrong = Ruleset::builder("shop").core().request_body(0, OverLimit::Refuse).build();
    /// assert_eq!(
    ///     wrong.unwrap_err().to_string(),
    ///     "request_body.limit: must be between 1 and 1073741824, got 0"
    /// );
    /// # Ok::<(), ConfigError>(())
    /// ```
    pub fn build(self) -> Result<Ruleset, ConfigError> {
        let rules = self.compile()?;
        Ok(Ruleset::new(self, rules))
    }

    fn settings(&self) -> String {
        let action = |over| match over {
            OverLimit::Refuse => "Reject",
            OverLimit::InspectFirstPart => "ProcessPartial",
        };
        let limits = &self.limits;
        let mut settings = format!(
            "SecRequestBodyLimit {}\nSecRequestBodyLimitAction {}\n",
            limits.request,
            action(limits.over_request)
        );
        settings += &match limits.response {
            None => "SecResponseBodyAccess Off\n".to_owned(),
            Some((limit, over)) => format!(
                "SecResponseBodyAccess On\nSecResponseBodyLimit {limit}\nSecResponseBodyLimitAction {}\n",
                action(over)
            ),
        };
        settings
    }

    fn check(&self) -> Result<(), ConfigError> {
        if self.sources.is_empty() {
            return Err(ConfigError::Missing { field: "rules" });
        }
        let limits = &self.limits;
        within("request_body.limit", limits.request)?;
        if let Some((limit, _)) = limits.response {
            within("responses.limit", limit)?;
        }
        if let Compressed::Decode { ratio } = limits.compressed
            && !(1..=HIGHEST_RATIO).contains(&ratio)
        {
            return Err(ConfigError::OutOfRange {
                field: "compressed.ratio",
                given: ratio.into(),
                least: 1,
                most: HIGHEST_RATIO.into(),
            });
        }
        if let Some(work) = limits.work
            && !(LEAST_WORK..=MOST_WORK).contains(&work)
        {
            return Err(ConfigError::OutOfRange {
                field: "work_budget.bytes",
                given: work,
                least: LEAST_WORK,
                most: MOST_WORK,
            });
        }
        if limits.rate == 0 {
            return Err(ConfigError::OutOfRange {
                field: "body_rate.bytes_per_second",
                given: 0,
                least: 1,
                most: u64::MAX,
            });
        }
        for (field, given) in [
            ("body_deadline", limits.deadline),
            ("body_rate.grace", limits.grace),
            ("time_budget.budget", limits.budget),
            ("response_deadline", limits.response_deadline),
        ] {
            if given.is_zero() || given > LONGEST {
                return Err(ConfigError::Unbounded {
                    field,
                    given,
                    most: LONGEST,
                });
            }
        }
        Ok(())
    }
}

fn within(field: &'static str, given: usize) -> Result<(), ConfigError> {
    if (1..=MOST_BYTES).contains(&given) {
        return Ok(());
    }
    Err(ConfigError::OutOfRange {
        field,
        given: given as u64,
        least: 1,
        most: MOST_BYTES as u64,
    })
}

impl std::fmt::Debug for RulesetBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RulesetBuilder")
            .field("name", &self.name)
            .field("sources", &self.sources.len())
            .field("exclusions", &self.exclusions)
            .field("limits", &self.limits)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

/// What is wrong with the settings of a [`Ruleset`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// A setting that has no default was not given.
    Missing {
        /// The setting.
        field: &'static str,
    },
    /// A number is too small or too large.
    OutOfRange {
        /// The setting.
        field: &'static str,
        /// Its value.
        given: u64,
        /// The smallest value it may have.
        least: u64,
        /// The largest value it may have.
        most: u64,
    },
    /// A time has no bound, or one so long that it is none.
    Unbounded {
        /// The setting.
        field: &'static str,
        /// Its value.
        given: Duration,
        /// The largest value it may have; the smallest is anything above zero.
        most: Duration,
    },
    /// A text has letters in it that mean something in SecLang.
    Text {
        /// The setting.
        field: &'static str,
        /// Its value.
        given: String,
        /// What it may be made of.
        expected: &'static str,
    },
    /// The settings of the built-in rules are wrong.
    Core(CoreError),
    /// A rule is wrong.
    Rules(RulesetError),
}

impl From<CoreError> for ConfigError {
    fn from(error: CoreError) -> Self {
        Self::Core(error)
    }
}

impl From<RulesetError> for ConfigError {
    fn from(error: RulesetError) -> Self {
        Self::Rules(error)
    }
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing { field } => write!(f, "{field}: must be set"),
            Self::OutOfRange {
                field,
                given,
                least,
                most,
            } => write!(
                f,
                "{field}: must be between {least} and {most}, got {given}"
            ),
            Self::Unbounded { field, given, most } => write!(
                f,
                "{field}: must be longer than zero and at most {most:?}, got {given:?}"
            ),
            Self::Text {
                field,
                given,
                expected,
            } => write!(f, "{field}: must be {expected}, got {given:?}"),
            Self::Core(error) => error.fmt(f),
            Self::Rules(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Core(error) => Some(error),
            Self::Rules(error) => Some(error),
            _ => None,
        }
    }
}
