//! Everything that one transaction knows; recycled, so that a benign request allocates nothing.

use std::ops::Range;

use super::hits::Hits;
use super::lists::Lists;
use super::persist::Key;
use super::texts::{TextId, Texts};
use super::tx::Tx;
use crate::body::QueryScratch;
use crate::compile::{MAX_WORDS, Program};
use crate::parse::{Allow, AuditMode, EngineMode, Processor, Variable};

/// One value that an operator matched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matched {
    pub(crate) variable: Variable,
    pub(crate) count: bool,
    pub(crate) name: Option<TextId>,
    pub(crate) value: TextId,
}

/// A rule that matched with its whole chain, as it is reported.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) rule: u32,
    pub(crate) log: bool,
    pub(crate) audit: bool,
    pub(crate) matched: Option<Matched>,
    pub(crate) msg: Range<usize>,
    pub(crate) data: Range<usize>,
}

/// What a disruptive action asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Deny(u16),
    Drop,
    Redirect(u16, Range<usize>),
}

/// In the place of a rule: a body was longer than it may be.
pub(crate) const OVER_LIMIT: u32 = u32::MAX;

/// In the place of a rule: the work budget was used up.
pub(crate) const OVER_BUDGET: u32 = u32::MAX - 1;

/// A disruptive action that a rule took, or would have taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stopped {
    pub(crate) rule: u32,
    pub(crate) phase: u8,
    pub(crate) verdict: Verdict,
}

/// The state of a transaction.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) texts: Texts,
    pub(crate) lists: Lists,
    /// Variables with one value, by their number.
    pub(crate) singles: Vec<TextId>,
    pub(crate) tx: Tx,
    pub(crate) matched: Vec<Matched>,
    /// Of the rule before in the chain: what `MATCHED_VARS` shows.
    pub(crate) matched_before: Vec<Matched>,
    pub(crate) found: Vec<Found>,
    /// All heads whose chain matched, also those that are not reported.
    pub(crate) matched_rules: Vec<u32>,
    /// Messages of found rules.
    pub(crate) log: Vec<u8>,
    pub(crate) buffer: Vec<u8>,
    pub(crate) name_buffer: Vec<u8>,
    /// Where the query string is decoded.
    pub(crate) query: QueryScratch,
    /// Heads that `ctl` removed, by head index; empty until one is.
    pub(crate) removed: Vec<u64>,
    /// Exclusions that `ctl` asked for, by their index in the program.
    pub(crate) excluded: Vec<u32>,
    /// By screen: the probes that some value may pass.
    pub(crate) candidates: [Vec<u64>; 2],
    /// By screen: which entries may match which probe.
    pub(crate) hits: [Hits; 2],
    /// By place of a screen: how much of it was looked at.
    pub(crate) looked_at: [Vec<u32>; 2],
    /// What the chains of one value end at, with the probes that look at it; empty between two values.
    pub(crate) seen_by: Vec<(TextId, [u64; MAX_WORDS])>,
    pub(crate) mode: EngineMode,
    pub(crate) audit: AuditMode,
    pub(crate) audit_parts: Option<Box<str>>,
    pub(crate) processor: Option<Processor>,
    pub(crate) force_request_body: bool,
    pub(crate) request_body_access: bool,
    pub(crate) response_body_access: bool,
    pub(crate) request_body: Vec<u8>,
    pub(crate) response_body: Vec<u8>,
    pub(crate) allow: Option<Allow>,
    /// What was done.
    pub(crate) stopped: Option<Stopped>,
    /// What would have been done first, in detection mode.
    pub(crate) detected: Option<Stopped>,
    pub(crate) highest_severity: Option<u8>,
    pub(crate) current: u32,
    /// What operators have done, as the budget counts; the arena counts the rest.
    pub(crate) work: u64,
    /// The phase under way and the position of its next rule.
    pub(crate) running: Option<(u8, usize)>,
    /// The filter has looked at all there is for the phase under way.
    pub(crate) screened: bool,
    /// How much work may have been done when the slice under way ends.
    pub(crate) until: u64,
    /// The budget ended before the rules did.
    pub(crate) exhausted: bool,
    pub(crate) unix: u64,
    pub(crate) unique: u64,
    pub(crate) unique_id: Option<TextId>,
    /// Collections that `initcol` opened: which, and the key.
    pub(crate) opened: Vec<Key>,
    /// What the last `@geoLookup` told: names and values.
    pub(crate) geo: Vec<(TextId, TextId)>,
}

/// How many bytes of a buffer a state keeps while nobody uses it. Enough for everyday requests and bodies of a few kilobytes, so that
/// they allocate nothing; a burst of large bodies must not pin its memory for ever, and each thread has some of these.
pub(super) const KEEP: usize = 128 << 10;

/// Empties a buffer and gives back what it has beyond that.
pub(super) fn rest<T>(buffer: &mut Vec<T>) {
    buffer.clear();
    buffer.shrink_to(KEEP / size_of::<T>());
}

impl State {
    pub(crate) fn new() -> Self {
        Self {
            texts: Texts::default(),
            lists: Lists::default(),
            singles: Vec::new(),
            tx: Tx::default(),
            matched: Vec::new(),
            matched_before: Vec::new(),
            found: Vec::new(),
            matched_rules: Vec::new(),
            log: Vec::new(),
            buffer: Vec::new(),
            name_buffer: Vec::new(),
            query: QueryScratch::default(),
            removed: Vec::new(),
            excluded: Vec::new(),
            candidates: Default::default(),
            hits: Default::default(),
            looked_at: Default::default(),
            seen_by: Vec::new(),
            mode: EngineMode::Off,
            audit: AuditMode::Off,
            audit_parts: None,
            processor: None,
            force_request_body: false,
            request_body_access: false,
            response_body_access: false,
            request_body: Vec::new(),
            response_body: Vec::new(),
            allow: None,
            stopped: None,
            detected: None,
            highest_severity: None,
            current: 0,
            work: 0,
            running: None,
            screened: false,
            until: u64::MAX,
            exhausted: false,
            unix: 0,
            unique: 0,
            unique_id: None,
            opened: Vec::new(),
            geo: Vec::new(),
        }
    }

    /// Gives back what is more than the next transaction is likely to need.
    pub(crate) fn rest(&mut self) {
        self.texts.rest();
        self.lists.rest();
        self.hits.iter_mut().for_each(Hits::rest);
        self.query.rest(KEEP);
        self.tx.rest();
        rest(&mut self.matched);
        rest(&mut self.matched_before);
        rest(&mut self.found);
        rest(&mut self.excluded);
        rest(&mut self.seen_by);
        rest(&mut self.opened);
        for buffer in [
            &mut self.log,
            &mut self.buffer,
            &mut self.name_buffer,
            &mut self.request_body,
            &mut self.response_body,
        ] {
            rest(buffer);
        }
    }

    /// Makes ready for a transaction; allocations of the one before are used again.
    pub(crate) fn begin(&mut self, program: &Program, unix: u64, unique: u64) {
        self.texts.clear();
        self.lists.clear();
        self.singles.clear();
        self.singles.resize(Variable::COUNT, TextId::EMPTY);
        self.tx.begin(&program.tx.start);
        self.matched.clear();
        self.matched_before.clear();
        self.found.clear();
        self.matched_rules.clear();
        self.log.clear();
        self.removed.clear();
        self.excluded.clear();
        for (((screen, candidates), looked_at), hits) in program
            .screens
            .iter()
            .flatten()
            .zip(&mut self.candidates)
            .zip(&mut self.looked_at)
            .zip(&mut self.hits)
        {
            hits.clear();
            candidates.clear();
            candidates.resize(screen.words(), 0);
            looked_at.clear();
            looked_at.resize(screen.places.len(), 0);
        }
        self.mode = program.settings.engine;
        self.audit = program.settings.audit;
        self.audit_parts = None;
        self.processor = None;
        self.force_request_body = false;
        self.request_body_access = program.settings.request_body.access;
        self.response_body_access = program.settings.response_body.access;
        self.request_body.clear();
        self.response_body.clear();
        self.allow = None;
        self.stopped = None;
        self.detected = None;
        self.highest_severity = None;
        self.current = 0;
        self.work = 0;
        self.running = None;
        self.screened = false;
        self.until = u64::MAX;
        self.exhausted = false;
        self.unix = unix;
        self.unique = unique;
        self.unique_id = None;
        self.opened.clear();
        self.geo.clear();
        let zero = self.texts.push(b"0");
        for variable in ZERO_AT_FIRST {
            self.set(*variable, zero);
        }
    }

    /// The parts of the audit log that are asked for by now.
    pub(crate) fn audit_parts<'a>(&'a self, program: &'a Program) -> &'a str {
        let own = self.audit_parts.as_deref();
        own.unwrap_or(&program.settings.audit_parts)
    }

    pub(crate) fn write_unique_id(&self, out: &mut Vec<u8>) {
        use std::io::Write as _;
        let _infallible = write!(out, "{:x}-{:016x}", self.unix, self.unique);
    }

    pub(crate) fn set(&mut self, variable: Variable, text: TextId) {
        if let Some(cell) = self.singles.get_mut(variable as usize) {
            *cell = text;
        }
    }

    pub(crate) fn set_bytes(&mut self, variable: Variable, bytes: &[u8]) {
        let text = self.texts.push(bytes);
        self.set(variable, text);
    }

    /// Sets a variable to a number or an address as it is written.
    pub(crate) fn set_shown(&mut self, variable: Variable, shown: impl std::fmt::Display) {
        use std::io::Write as _;
        let text = self.texts.push_with(|out| {
            let _infallible = write!(out, "{shown}");
        });
        self.set(variable, text);
    }

    pub(crate) fn single(&self, variable: Variable) -> TextId {
        self.singles
            .get(variable as usize)
            .copied()
            .unwrap_or(TextId::EMPTY)
    }
}

/// Flags and sums that are 0 for a request without a body.
const ZERO_AT_FIRST: &[Variable] = &[
    Variable::ArgsCombinedSize,
    Variable::FilesCombinedSize,
    Variable::InboundDataError,
    Variable::MultipartBoundaryQuoted,
    Variable::MultipartBoundaryWhitespace,
    Variable::MultipartCrlfLfLines,
    Variable::MultipartDataAfter,
    Variable::MultipartDataBefore,
    Variable::MultipartFileLimitExceeded,
    Variable::MultipartHeaderFolding,
    Variable::MultipartInvalidHeaderFolding,
    Variable::MultipartInvalidPart,
    Variable::MultipartInvalidQuoting,
    Variable::MultipartLfLine,
    Variable::MultipartMissingSemicolon,
    Variable::MultipartStrictError,
    Variable::MultipartUnmatchedBoundary,
    Variable::OutboundDataError,
    Variable::ReqbodyError,
    Variable::ReqbodyProcessorError,
    Variable::RequestBodyLength,
    Variable::UrlencodedError,
];
