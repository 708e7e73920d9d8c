//! fusebox's own rules, built in: nothing to download, nothing to configure.
//!
//! ```
//! use std::time::SystemTime;
//! use fusebox_waf::core::{Core, Paranoia};
//!
//! let rules = Core::new().paranoia(Paranoia::One).threshold(5).build()?;
//!
//! let mut tx = rules.transaction(SystemTime::now());
//! tx.request_line(b"GET", b"/search?q=1'+union+select+password+from+users--", b"HTTP/1.1");
//! tx.request_header(b"Host", b"shop.example");
//! assert!(tx.end_request_headers().is_none());
//! assert!(tx.end_request_body().is_some());
//! # Ok::<(), fusebox_waf::core::CoreError>(())
//! ```
//!
//! # How it decides
//! Each rule that matches adds to the score of the request what its severity weighs: critical 5, error 4, warning 3, notice 2.
//! The request is refused, with 403, as soon as the score has reached the [threshold](Core::threshold): once after the head, before
//! a byte of the body is read, and once after the body. With the usual threshold of 5 one critical rule is enough, and the lesser
//! ones have to come in pairs. A body that is not what its content type says is refused with 400 at once: an application that
//! reads it another way than the rules did would be open.
//!
//! The rules are SecLang, in `rules/` of this crate, one file for each kind of attack; the comment above each rule says what it
//! catches and shows a request that it blocks and one that it must let pass. The tests run these.
//!
//! | ids | about |
//! | --- | --- |
//! | 1700000 | settings and body processors |
//! | 1701000 | the protocol: smuggling, splitting, malformed requests |
//! | 1702000 | scanners and attack tools |
//! | 1703000 | path traversal, files of the system and of the application |
//! | 1704000 | remote inclusion and requests that the server would make (SSRF) |
//! | 1705000 | commands of shells, Unix and Windows |
//! | 1706000 | PHP |
//! | 1707000 | templates, expressions, Node.js, Ruby, Perl, prototype pollution |
//! | 1708000 | scripts in pages (XSS) |
//! | 1709000 | SQL, and databases without it |
//! | 1710000 | fixed sessions |
//! | 1711000 | Java: look-ups of Log4j, deserialisation, expression languages |
//! | 1790000 | the decision |
//!
//! # How much of it
//! With level one, of the 1,761 attacks on applications in the tests of the Core Rule Set, 98.4 in a hundred are refused, and none of
//! 833 requests that are told not to be; of 10,000 harmless ones made of documentation, JSON and names, four, two of which quote an
//! injection (`cargo xtask crs --core`; the documentation is that of the crates at hand). Of 393 attacks of other sources 387, and 4 of
//! 284 that only look like them: `tests/attacks` of this crate names the exceptions.
//! Those tables are written by who wrote the rules; of 75 attacks that were thought up when the rules had been finished, 70 were refused.
//!
//! # What it does not protect against
//! It finds attacks by their form. It knows neither who may do what nor what is normal in your service; an injection that looks like
//! ordinary text to it passes. Fields whose business is code (a review tool, a pastebin, a CMS that takes HTML) need an exclusion.

use std::fmt;

use fusebox_seclang::{Ruleset, RulesetBuilder, RulesetError};

/// How much suspicion is enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Paranoia {
    /// Only forms that people do not write by accident. For every service, with no tuning.
    #[default]
    One,
    /// Also forms that stand in honest text: URLs, tags, command lines, clauses of SQL. It refuses about three in a hundred posts of
    /// technical prose, so it is for services that take little free text, or are worth the exclusions.
    Two,
}

/// Settings of the built-in rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "settings do nothing until they are built"]
pub struct Core {
    paranoia: Paranoia,
    threshold: u32,
}

impl Default for Core {
    fn default() -> Self {
        Self::new()
    }
}

/// One critical rule is enough.
const THRESHOLD: u32 = 5;
/// Scores are sums of small numbers over at most some thousand values; more is a mistake, and would turn the rules off.
const HIGHEST_THRESHOLD: u32 = 1_000;

const SETUP: &str = include_str!("../rules/00-setup.conf");
const DECISION: &str = include_str!("../rules/90-decision.conf");

/// A file of rules, by its name and the level from which on it is loaded.
type File = (&'static str, Paranoia, &'static str);

macro_rules! files {
    ($($name:literal $level:ident),* $(,)?) => {
        &[$(($name, Paranoia::$level, include_str!(concat!("../rules/", $name)))),*]
    };
}

const FILES: &[File] = files![
    "01-protocol.conf" One,
    "02-scanners.conf" One,
    "03-files.conf" One,
    "04-inclusion.conf" One,
    "05-shell.conf" One,
    "06-php.conf" One,
    "07-code.conf" One,
    "08-xss.conf" One,
    "09-sql.conf" One,
    "10-session.conf" One,
    "11-java.conf" One,
    "20-level-two.conf" Two,
];

/// The tags of the built-in rules, one for each kind of attack: to leave a field alone that takes anything.
///
/// ```
/// use fusebox_waf::{Ruleset, core, tag};
///
/// let mut settings = Ruleset::builder("reviews").core();
/// for kind in core::TAGS {
///     // Code under review, in a form and in JSON.
///     for field in ["code", "json.code"] {
///         settings = settings.exclude(tag(kind).under_path("/review").argument(field));
///     }
/// }
/// let rules = settings.build()?;
/// # let _ = rules;
/// # Ok::<(), fusebox_waf::ConfigError>(())
/// ```
pub const TAGS: [&str; 12] = [
    "fusebox/protocol",
    "fusebox/scanners",
    "fusebox/files",
    "fusebox/inclusion",
    "fusebox/shell",
    "fusebox/php",
    "fusebox/code",
    "fusebox/xss",
    "fusebox/sql",
    "fusebox/session",
    "fusebox/java",
    "fusebox/level-two",
];

impl Core {
    /// Level one, a threshold of 5.
    pub const fn new() -> Self {
        Self {
            paranoia: Paranoia::One,
            threshold: THRESHOLD,
        }
    }

    /// How much suspicion is enough.
    pub const fn paranoia(mut self, paranoia: Paranoia) -> Self {
        self.paranoia = paranoia;
        self
    }

    /// The score at which a request is refused, 1 to 1,000. While a service is being fitted, a higher one lets single matches pass.
    pub const fn threshold(mut self, threshold: u32) -> Self {
        self.threshold = threshold;
        self
    }

    /// The rules alone.
    ///
    /// # Errors
    /// [`CoreError::Threshold`] if it is out of range.
    pub fn build(self) -> Result<Ruleset, CoreError> {
        Ok(self.add_to(Ruleset::builder())?.build()?)
    }

    /// Adds the rules to others. What a `ctl` shall switch off for single requests has to come before them, so add it to `builder`
    /// first; what updates or removes rules for good can come before or after.
    ///
    /// # Errors
    /// [`CoreError::Threshold`] if it is out of range.
    pub fn add_to(self, builder: RulesetBuilder) -> Result<RulesetBuilder, CoreError> {
        if self.threshold == 0 || self.threshold > HIGHEST_THRESHOLD {
            return Err(CoreError::Threshold {
                threshold: self.threshold,
                highest: HIGHEST_THRESHOLD,
            });
        }
        let threshold = format!(
            "SecAction \"id:1700000,phase:1,pass,nolog,setvar:tx.fusebox_threshold={}\"",
            self.threshold
        );
        let mut builder = builder
            .text("fusebox/threshold", &threshold)
            .text("fusebox/00-setup.conf", SETUP);
        for (name, level, text) in FILES {
            if *level <= self.paranoia {
                builder = builder.text(&format!("fusebox/{name}"), text);
            }
        }
        Ok(builder.text("fusebox/90-decision.conf", DECISION))
    }
}

/// The rules at level one with a threshold of 5.
///
/// # Errors
/// None: that the built-in rules compile is tested. The type is that of every other way to get rules.
pub fn ruleset() -> Result<Ruleset, CoreError> {
    Core::new().build()
}

/// Why the built-in rules could not be built.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CoreError {
    /// `threshold` would refuse everything, or nothing.
    Threshold {
        /// What was asked for.
        threshold: u32,
        /// The highest possible one.
        highest: u32,
    },
    /// A rule was refused: one of those that the caller had put before the built-in ones.
    Rules(RulesetError),
}

impl From<RulesetError> for CoreError {
    fn from(error: RulesetError) -> Self {
        Self::Rules(error)
    }
}

impl fmt::Display for CoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Threshold { threshold, highest } => write!(
                f,
                "threshold: {threshold} is out of range, it must be at least 1 and at most {highest}"
            ),
            Self::Rules(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Threshold { .. } => None,
            Self::Rules(error) => Some(error),
        }
    }
}
