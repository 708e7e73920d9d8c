//! The door of the engine: one request and its response, phase by phase.

use std::net::SocketAddr;
use std::sync::Arc;

use super::Engine;
use super::audit::AuditRecord;
use super::body::BodyReader;
use super::found::Match;
use super::lists::List;
use super::state::{OVER_BUDGET, OVER_LIMIT, State, Stopped, Verdict};
use crate::parse::{AuditMode, BodyLimitAction, EngineMode, Variable};
use crate::ruleset::Shared;

/// One request and its response on their way through the rules.
///
/// Call in this order, leaving out what there is none of: [`connection`](Self::connection), [`request_line`](Self::request_line),
/// [`request_header`](Self::request_header), [`end_request_headers`](Self::end_request_headers) (phase 1),
/// [`request_body`](Self::request_body), [`end_request_body`](Self::end_request_body) (phase 2),
/// [`response_line`](Self::response_line), [`response_header`](Self::response_header),
/// [`end_response_headers`](Self::end_response_headers) (phase 3), [`response_body`](Self::response_body),
/// [`end_response_body`](Self::end_response_body) (phase 4), [`finish`](Self::finish) (phase 5).
///
/// Bytes are copied as they come; nothing is kept after the transaction is dropped.
#[derive(Debug)]
pub struct Transaction {
    shared: Arc<Shared>,
    /// `None` only while it is being dropped.
    state: Option<Box<State>>,
    reader: Option<BodyReader>,
    headers_ended: bool,
    body_ended: bool,
    received: usize,
    response_type_matches: bool,
    response_ended: bool,
}

/// How far a slice of a phase came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slice {
    /// The phase has not ended: call again.
    More,
    /// It has, with this decision.
    Done(Option<Interruption>),
}

/// What a rule decided about the request or the response.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Answer with this status.
    Deny {
        /// The status, 100 to 599.
        status: u16,
    },
    /// Close the connection without an answer.
    Drop,
    /// Send the client elsewhere.
    Redirect {
        /// The status, 300 to 399.
        status: u16,
        /// Where to, as the rule puts it together: bytes of the request may be in it.
        location: Vec<u8>,
    },
}

/// A disruptive action that a rule took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interruption {
    action: Action,
    rule_id: u32,
    phase: u8,
    cause: Cause,
}

/// What decided an [`Interruption`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// A rule matched.
    Rule,
    /// A body is longer than the limit, whose action is `Reject`.
    BodyLimit,
    /// The [`WorkBudget`](crate::WorkBudget) was used up before the rules were done: nothing is known about the rest of the request.
    WorkBudget,
}

impl Interruption {
    /// What decided it.
    #[must_use]
    pub const fn cause(&self) -> Cause {
        self.cause
    }

    /// What to do.
    #[must_use]
    pub const fn action(&self) -> &Action {
        &self.action
    }

    /// The rule that decided it; 0 for a limit of the engine.
    #[must_use]
    pub const fn rule_id(&self) -> u32 {
        self.rule_id
    }

    /// The phase in which it was decided, 1 to 4.
    #[must_use]
    pub const fn phase(&self) -> u8 {
        self.phase
    }
}

impl Transaction {
    pub(crate) const fn new(shared: Arc<Shared>, state: Box<State>) -> Self {
        Self {
            shared,
            state: Some(state),
            reader: None,
            headers_ended: false,
            body_ended: false,
            received: 0,
            response_type_matches: false,
            response_ended: false,
        }
    }

    fn with<R>(&mut self, work: impl FnOnce(&mut Engine<'_>) -> R) -> Option<R> {
        let state = self.state.as_deref_mut()?;
        let scratch = self.shared.scratch();
        let result = work(&mut Engine {
            program: &self.shared.program,
            store: &self.shared.store,
            state,
            scratch: &scratch,
        });
        self.shared.scratches.give_back(scratch);
        Some(result)
    }

    /// Who talks to whom.
    pub fn connection(&mut self, client: SocketAddr, server: SocketAddr) {
        let Some(state) = self.state.as_deref_mut() else {
            return;
        };
        for (address, of_ip, of_port) in [
            (client, Variable::RemoteAddr, Variable::RemotePort),
            (server, Variable::ServerAddr, Variable::ServerPort),
        ] {
            state.set_shown(of_ip, address.ip().to_canonical());
            state.set_shown(of_port, address.port());
        }
    }

    /// The three words of the request line, as they came.
    pub fn request_line(&mut self, method: &[u8], uri: &[u8], protocol: &[u8]) {
        if let Some(state) = self.state.as_deref_mut() {
            state.request_line(&self.shared.program, method, uri, protocol);
        }
    }

    /// One header of the request; several of one name are several calls.
    pub fn request_header(&mut self, name: &[u8], value: &[u8]) {
        if let Some(state) = self.state.as_deref_mut() {
            state.request_header(name, value);
        }
    }

    /// Phase 1.
    pub fn end_request_headers(&mut self) -> Option<Interruption> {
        if !self.headers_ended {
            self.headers_ended = true;
            self.with(|engine| engine.run_phase(1));
        }
        self.interruption()
    }

    /// Whether the rules want the body of this request, as far as phase 1 has decided.
    #[must_use]
    pub fn wants_request_body(&self) -> bool {
        self.state.as_ref().is_some_and(|state| {
            state.request_body_access && state.mode != EngineMode::Off && state.stopped.is_none()
        })
    }

    /// Whether anything of the body of this request is shown to the rules, as far as phase 1 has decided: a processor takes it
    /// apart, or it is kept as `REQUEST_BODY` (`ctl:forceRequestBodyVariable`). Of any other body they see the length alone.
    #[must_use]
    pub fn reads_request_body(&self) -> bool {
        self.wants_request_body()
            && self
                .state
                .as_ref()
                .is_some_and(|state| state.processor.is_some() || state.force_request_body)
    }

    /// More of the body of the request. Runs phase 1 if that has not been done.
    ///
    /// An interruption here is the body limit with the action `Reject`.
    pub fn request_body(&mut self, chunk: &[u8]) -> Option<Interruption> {
        if let Some(stopped) = self.end_request_headers() {
            return Some(stopped);
        }
        if !self.wants_request_body() || self.body_ended {
            return None;
        }
        let settings = self.shared.program.settings.request_body;
        let room = settings.limit.saturating_sub(self.received);
        let taken = chunk.get(..room).unwrap_or(chunk);
        self.received = self.received.saturating_add(chunk.len());
        self.read(taken);
        let without_files = self.reader.as_ref().map_or(0, BodyReader::without_files);
        let too_long = taken.len() < chunk.len()
            || without_files > self.shared.program.settings.no_files_limit as u64;
        if too_long {
            if let Some(state) = self.state.as_deref_mut() {
                state.set_bytes(Variable::InboundDataError, b"1");
            }
            return self.over_limit(settings.limit_action, 2, 413);
        }
        None
    }

    fn read(&mut self, chunk: &[u8]) {
        let shared = Arc::clone(&self.shared);
        let Some(state) = self.state.as_deref_mut() else {
            return;
        };
        let reader = self
            .reader
            .get_or_insert_with(|| BodyReader::new(&shared.program, state));
        reader.feed(chunk, state);
    }

    /// What is over a limit is refused or left alone, as the settings say.
    fn over_limit(
        &mut self,
        action: BodyLimitAction,
        phase: u8,
        status: u16,
    ) -> Option<Interruption> {
        // What came after the limit is not looked at.
        if phase == 2 {
            self.body_ended = true;
            self.finish_reader();
        }
        if action == BodyLimitAction::Reject {
            let state = self.state.as_deref_mut()?;
            let stopped = Stopped {
                rule: OVER_LIMIT,
                phase,
                verdict: Verdict::Deny(status),
            };
            if state.mode == EngineMode::On {
                state.stopped.get_or_insert(stopped);
            } else {
                state.detected.get_or_insert(stopped);
            }
        }
        self.interruption()
    }

    fn finish_reader(&mut self) {
        let shared = Arc::clone(&self.shared);
        let Some(state) = self.state.as_deref_mut() else {
            return;
        };
        if let Some(mut reader) = self.reader.take() {
            reader.finish(&shared.program, state);
        }
        let length = self.received;
        state.set_shown(Variable::RequestBodyLength, length);
    }

    /// Phase 2. To be called for requests without a body too.
    pub fn end_request_body(&mut self) -> Option<Interruption> {
        if let Some(stopped) = self.end_request_headers() {
            return Some(stopped);
        }
        if !self.body_ended {
            self.body_ended = true;
            self.finish_reader();
        }
        self.with(|engine| engine.run_phase(2));
        self.interruption()
    }

    /// Phase 2 in slices of about `work` bytes looked at: call again while it says [`Slice::More`]. Between two calls an
    /// asynchronous caller can let others run. Ten slices decide what one would.
    ///
    /// 256 KiB of work take about a millisecond. A slice may be longer by its last step: what one chain of transformations makes
    /// of a value, one look at a text, or one chain of rules with the values that the filter left for it. What ends the parsing of
    /// the body is in the first slice; most of the parsing is done as the body comes.
    pub fn end_request_body_slice(&mut self, work: u64) -> Slice {
        if let Some(stopped) = self.end_request_headers() {
            return Slice::Done(Some(stopped));
        }
        if !self.body_ended {
            self.body_ended = true;
            self.finish_reader();
        }
        self.slice(2, work)
    }

    fn slice(&mut self, phase: u8, work: u64) -> Slice {
        if self.with(|engine| engine.run_slice(phase, work)) == Some(false) {
            Slice::More
        } else {
            Slice::Done(self.interruption())
        }
    }

    /// Bytes that transformations, filters and operators have looked at so far, as a [`WorkBudget`](crate::WorkBudget) counts
    /// them.
    #[must_use]
    pub fn work(&self) -> u64 {
        self.state
            .as_ref()
            .map_or(0, |state| state.work.saturating_add(state.texts.work))
    }

    /// Whether the budget was used up before the rules were done.
    #[must_use]
    pub fn is_over_budget(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.exhausted)
    }

    /// The status line of the response.
    pub fn response_line(&mut self, status: u16, protocol: &[u8]) {
        if let Some(state) = self.state.as_deref_mut() {
            state.set_shown(Variable::ResponseStatus, status);
            state.set_bytes(Variable::ResponseProtocol, protocol);
        }
    }

    /// One header of the response.
    pub fn response_header(&mut self, name: &[u8], value: &[u8]) {
        let program = Arc::clone(&self.shared);
        let Some(state) = self.state.as_deref_mut() else {
            return;
        };
        let (name_text, value_text) = (state.texts.push(name), state.texts.push(value));
        state
            .lists
            .push(List::ResponseHeaders, name_text, value_text);
        if name.eq_ignore_ascii_case(b"content-type") {
            let kind = value.split(|byte| *byte == b';').next().unwrap_or_default();
            let kind = kind.trim_ascii();
            state.set_bytes(Variable::ResponseContentType, kind);
            let types = &program.program.settings.response_types;
            self.response_type_matches = types
                .iter()
                .any(|wanted| wanted.as_bytes().eq_ignore_ascii_case(kind));
        }
    }

    /// Phase 3.
    pub fn end_response_headers(&mut self) -> Option<Interruption> {
        self.with(|engine| engine.run_phase(3));
        self.interruption()
    }

    /// Whether the rules want the body of this response, by its type and as far as the rules have decided.
    #[must_use]
    pub fn wants_response_body(&self) -> bool {
        self.state.as_ref().is_some_and(|state| {
            state.response_body_access
                && self.response_type_matches
                && state.mode != EngineMode::Off
                && state.stopped.is_none()
        })
    }

    /// More of the body of the response.
    ///
    /// An interruption here is the body limit with the action `Reject`.
    pub fn response_body(&mut self, chunk: &[u8]) -> Option<Interruption> {
        if !self.wants_response_body() {
            return self.interruption();
        }
        let settings = self.shared.program.settings.response_body;
        let state = self.state.as_deref_mut()?;
        let room = settings.limit.saturating_sub(state.response_body.len());
        let taken = chunk.get(..room).unwrap_or(chunk);
        state.response_body.extend_from_slice(taken);
        if taken.len() == chunk.len() {
            return None;
        }
        state.set_bytes(Variable::OutboundDataError, b"1");
        self.over_limit(settings.limit_action, 4, 500)
    }

    /// Phase 4. To be called for responses whose body is not wanted too.
    pub fn end_response_body(&mut self) -> Option<Interruption> {
        match self.end_response_body_slice(u64::MAX) {
            Slice::More => None,
            Slice::Done(stopped) => stopped,
        }
    }

    /// Phase 4 in slices, as [`end_request_body_slice`](Self::end_request_body_slice).
    pub fn end_response_body_slice(&mut self, work: u64) -> Slice {
        if !self.response_ended {
            self.response_ended = true;
            if let Some(state) = self.state.as_deref_mut() {
                let body = std::mem::take(&mut state.response_body);
                state.set_bytes(Variable::ResponseBody, &body);
                state.set_shown(Variable::ResponseContentLength, body.len());
                state.response_body = body;
            }
        }
        self.slice(4, work)
    }

    /// Phase 5, which runs whatever became of the others: reporting.
    pub fn finish(&mut self) {
        self.with(|engine| engine.run_phase(5));
    }

    /// The disruptive action taken, if one was.
    #[must_use]
    pub fn interruption(&self) -> Option<Interruption> {
        let stopped = self.state.as_ref()?.stopped.as_ref()?;
        self.told(stopped)
    }

    /// Whether disruptive actions are only told from here on: `SecRuleEngine DetectionOnly`, or a `ctl:ruleEngine` that ran.
    #[must_use]
    pub fn only_detects(&self) -> bool {
        self.state
            .as_ref()
            .is_some_and(|state| state.mode == EngineMode::DetectionOnly)
    }

    /// The first disruptive action that would have been taken, in detection mode.
    #[must_use]
    pub fn detected(&self) -> Option<Interruption> {
        let stopped = self.state.as_ref()?.detected.as_ref()?;
        self.told(stopped)
    }

    fn told(&self, stopped: &Stopped) -> Option<Interruption> {
        let state = self.state.as_ref()?;
        let rule = self.shared.program.rules.get(stopped.rule as usize);
        let head = rule.and_then(|rule| rule.head.as_deref());
        let action = match &stopped.verdict {
            Verdict::Deny(status) => Action::Deny { status: *status },
            Verdict::Drop => Action::Drop,
            Verdict::Redirect(status, place) => Action::Redirect {
                status: *status,
                location: state.log.get(place.clone()).unwrap_or_default().to_vec(),
            },
        };
        Some(Interruption {
            action,
            rule_id: head.map_or(0, |head| head.id),
            phase: stopped.phase,
            cause: match stopped.rule {
                OVER_LIMIT => Cause::BodyLimit,
                OVER_BUDGET => Cause::WorkBudget,
                _ => Cause::Rule,
            },
        })
    }

    /// The rules that matched and are to be logged, in the order in which they matched.
    pub fn matches(&self) -> impl Iterator<Item = Match<'_>> {
        let program = &self.shared.program;
        self.state.iter().flat_map(move |state| {
            state.found.iter().map(move |found| Match {
                program,
                state,
                found,
            })
        })
    }

    /// Whether this transaction belongs into the audit log: `SecAuditEngine` and `ctl:auditEngine` say so, and for
    /// `RelevantOnly` a rule matched that is to be audited, or the status of the response (that of a refusal, if one was decided)
    /// is one of `SecAuditLogRelevantStatus`.
    #[must_use]
    pub fn is_audited(&self) -> bool {
        self.state.as_ref().is_some_and(|state| match state.audit {
            AuditMode::On => true,
            AuditMode::Off => false,
            AuditMode::RelevantOnly => {
                state.found.iter().any(|found| found.audit) || self.has_relevant_status(state)
            }
        })
    }

    fn has_relevant_status(&self, state: &State) -> bool {
        let Some(relevant) = &self.shared.program.settings.relevant_status else {
            return false;
        };
        match state.stopped.as_ref().map(|stopped| &stopped.verdict) {
            Some(Verdict::Deny(status) | Verdict::Redirect(status, _)) => {
                relevant.is_match(status.to_string().as_bytes())
            }
            // No answer has no status.
            Some(Verdict::Drop) => false,
            None => relevant.is_match(state.texts.get(state.single(Variable::ResponseStatus))),
        }
    }

    /// The parts of an audit record that `SecAuditLogParts` and `ctl:auditLogParts` ask for, as letters of the reference.
    #[must_use]
    pub fn audit_log_parts(&self) -> &str {
        match &self.state {
            Some(state) => state.audit_parts(&self.shared.program),
            None => "",
        }
    }

    /// What the audit log is to be told, if this transaction [belongs into it](Self::is_audited). Call it after
    /// [`finish`](Self::finish), or what phase 5 says is missing.
    #[must_use]
    pub fn audit_record(&self) -> Option<AuditRecord<'_>> {
        if !self.is_audited() {
            return None;
        }
        let state = self.state.as_deref()?;
        let mut unique_id = Vec::new();
        state.write_unique_id(&mut unique_id);
        Some(AuditRecord {
            program: &self.shared.program,
            state,
            parts: state.audit_parts(&self.shared.program),
            interruption: self.interruption(),
            unique_id,
        })
    }

    /// The number that a variable of TX holds: `blocking_inbound_anomaly_score`. 0 if it has none.
    #[must_use]
    pub fn score(&mut self, name: &str) -> i64 {
        let name = name.to_ascii_lowercase();
        self.with(|engine| {
            let slot = engine.program.tx.slots.get(name.as_bytes());
            slot.map_or(0, |slot| engine.tx_number(super::tx::TxName::Slot(*slot)))
        })
        .unwrap_or(0)
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Some(mut state) = self.state.take() {
            state.rest();
            self.shared.states.give_back(state);
        }
    }
}
