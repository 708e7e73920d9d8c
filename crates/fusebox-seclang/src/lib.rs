//! A rule engine for the OWASP Core Rule Set, without http and tower.
//!
//! [`Ruleset::builder`] reads SecLang (the language of ModSecurity), compiles it, and says what it cannot honour; a
//! [`Transaction`] takes a request and its response, phase by phase, and says what the rules make of them.
//!
//! ```
//! use std::time::SystemTime;
//! use fusebox_seclang::{Action, Ruleset};
//!
//! let rules = Ruleset::builder()
//!     .text("mine.conf", r#"
//!         SecRuleEngine On
//!         SecRule REQUEST_HEADERS:User-Agent "@pm nikto sqlmap" "id:1,phase:1,deny,status:403,msg:'Scanner'"
//!     "#)
//!     // .crs("/etc/coreruleset") adds the Core Rule Set, as the project ships it.
//!     .build()?;
//!
//! let mut tx = rules.transaction(SystemTime::now());
//! tx.request_line(b"GET", b"/", b"HTTP/1.1");
//! tx.request_header(b"User-Agent", b"sqlmap/1.8");
//! let stopped = tx.end_request_headers().expect("the rule says no");
//! assert_eq!(*stopped.action(), Action::Deny { status: 403 });
//! let found = tx.matches().next().expect("and tells why");
//! assert_eq!((found.rule_id(), found.message()), (1, &b"Scanner"[..]));
//! # Ok::<(), fusebox_seclang::RulesetError>(())
//! ```
//!
//! # What it understands
//! All that CRS v4 uses, and besides it what the ModSecurity reference (v3) documents for daily use: chains, markers and
//! skips, default actions, updates and removals of rules and targets, `ctl`, macros, captures, `multiMatch`, collections in memory
//! (`initcol`), all transformations, bodies as forms, multipart, JSON and XML, `@rbl` and `@geoLookup` where the caller can answer
//! them ([`BlockLists`], [`GeoDatabase`]), and audit records of the parts that are asked for ([`AuditRecord`]). A directive,
//! operator, action or variable that it does not have is an error with file and line that says why; a rule is never loaded and left
//! dead. Settings that only mean something to a server (log files, temporary folders) are read and named by
//! [`Ruleset::without_effect`]. [`mod@reference`] goes through the reference name by name.
//!
//! Where implementations differ, the choice is written where it is made: expressions are bytes with `.` matching line ends and `$`
//! only the very end; `REQUEST_FILENAME` is decoded once; `REQUEST_BODY` is there for forms and where a rule forces it; an array in
//! JSON is an argument with its length; a rule is logged when its whole chain has matched. `MATCHED_VAR` and its kin are what the
//! link before has matched, and in the log of a chain what its last link has; they do not outlive their rule. `TX` and collections
//! without a selector have no order.
//!
//! # What it keeps between requests
//! `initcol` opens a collection in memory, of this [`Ruleset`] and its clones alone: at most 65,536 records with 64 variables each
//! and 64 MiB in all. Keys and names of more than 256 bytes go by their hash, values of more than 1,024 are cut. A record ends
//! `SecCollectionTimeout` after its last change. When there is no room, what is new is not kept: a flood of new clients cannot push
//! out those that are watched, but is not counted itself until something ends.
//!
//! # What it does not protect against
//! * What the rules do not describe. CRS finds generic attacks by their form; it knows neither your authorisation nor your logic.
//! * Bodies it is not shown: compressed or encrypted ones, other content types than the rules select, what is beyond the body
//!   limits. Names in the path are no arguments. A body that `ProcessPartial` has cut is a form cut short, but no JSON, XML or
//!   multipart any more: `REQBODY_ERROR` says so.
//! * XML in an encoding that is not ASCII and more, or UTF-16: it is not read, and `REQBODY_ERROR` says so, as for a document that
//!   declares entities. Rules must look at it (200002 of the recommended configuration does). A document type that is only named
//!   is neither fetched nor shown.
//! * Floods. A refusal costs tens of microseconds: put a rate limit in front.
//! * `@detectSQLi` and `@detectXSS` are as good as their detector, see [`libinjection`].
//!
//! # What must be true
//! * The caller passes on what the application will see: the same path, the same headers, each as often as it came, the body with
//!   its transfer coding taken off and its content coding not.
//! * [`Transaction::connection`] is given the client that the service has resolved, not the address of a proxy.
//! * Rules are from whom you trust: they choose what is logged, and bytes of requests are in it
//!   ([`Match::write_log_line`] escapes them).
//!
//! # How it works
//! The engines in use today spend milliseconds on a request whose expressions take microseconds: they keep books for each pair of
//! a rule and a value. This one is built so that a pair costs nothing unless it can match.
//!
//! | step | module | once per |
//! | --- | --- | --- |
//! | read files to directives | `parse` | load |
//! | join chains, apply updates | `compile::draft` | load |
//! | decide what is known: gates, defaults, thresholds | `compile::fold` | load |
//! | number names, compile expressions, build the filter | `compile::lower`, `compile::filter` | load |
//! | copy values into an arena, with the bytes that occur in each | `engine::texts` | value |
//! | transform, each step once, and not at all where no byte asks for it | `engine::texts` | value and chain |
//! | look: length, bytes, one automaton over all strings that rules need | `engine::scan` | text |
//! | run the rules that are left, in order, on the values that are left | `engine::phase`, `engine::eval` | pair that may match |
//! | put together what a match sets and logs | `engine::effects` | match |
//!
//! The filter can only say that a rule cannot match. [`RulesetBuilder::plain`] turns it off, together with everything decided at
//! load: the tests compare both engines on everything they have.
//!
//! # What it costs
//! The whole life of a benign request with browser headers takes 22 to 36 microseconds with CRS at paranoia level 1 and 36 to 61
//! at level 4; an attack takes little more. In one run beside libmodsecurity 3.0.9 that is between a 60th and a 140th of its
//! time, give or take what a shared machine does to either; JSON of 100 KiB takes between a 90th and a 200th. Without a body a request allocates nothing, and no request allocates per
//! rule. The worst body of 128 KiB that we could make takes 10 milliseconds. CRS loads in a quarter of a second and holds 27 MiB.
//!
//! * The exception is long text: 100 KiB of English take half a millisecond at level 1 and two at level 4, a 45th and a 30th of
//!   libmodsecurity's time, where a 60th was the aim. For texts of letters, digits, spaces and `.,_-` alone, expressions are cut
//!   down at load to what such a text can match (half of CRS's to nothing), with filters and automata of their own. What is left of
//!   it is two looks at the body and two at the argument, and one expression at level 1, nine at level 4. Text with quotes and
//!   brackets is cut down by nothing: it takes milliseconds, and 100 KiB of legal English thirteen, with what it matches.
//! * Nothing is compiled on the way. Everyday requests and attacks at load have the larger automata build what they build as they
//!   go, for as many threads as there are; the first request still takes 1.4 to 1.8 times the instructions of the thousandth, for
//!   what its text has that theirs had not.
//!
//! One automaton over all rules would be faster still on friendly text, and was measured at 0.04 MB/s on hostile text. So each rule
//! has its own, and a [`WorkBudget`] bounds what a request can cost; [`Transaction::end_request_body_slice`] lets an asynchronous
//! caller breathe.

pub mod body;
mod budget;
mod byteset;
mod compile;
mod engine;
mod error;
pub mod libinjection;
mod operator;
mod parse;
mod pool;
pub mod reference;
mod resolver;
mod ruleset;
mod transform;
mod warm;

pub use budget::{OverBudget, WorkBudget};
pub use byteset::ByteSet;
pub use engine::{Action, AuditRecord, Cause, Interruption, Match, Slice, Transaction};
pub use error::{ErrorKind, Location, RulesetError};
pub use resolver::{BlockLists, GeoDatabase, GeoField};
pub use ruleset::{Ruleset, RulesetBuilder};
pub use transform::Transformation;
