//! The door of the engine: one request and its response, phase by phase.

use std::net::SocketAddr;
use std::sync::Arc;

use super::Engine;
use super::body::BodyReader;
use super::expand::write_name;
use super::lists::List;
use super::state::{Found, State, Stopped, Verdict};
use crate::body;
use crate::compile::{Head, Program, Text};
use crate::error::Location;
use crate::parse::{AuditMode, BodyLimitAction, EngineMode, Processor, Variable};
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
}

impl Interruption {
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

/// A rule that matched with its whole chain and is to be logged.
#[derive(Clone, Copy, Debug)]
pub struct Match<'a> {
    program: &'a Program,
    state: &'a State,
    found: &'a Found,
}

impl<'a> Match<'a> {
    fn head(&self) -> Option<&'a Head> {
        let rule = self.program.rules.get(self.found.rule as usize)?;
        rule.head.as_deref()
    }

    /// Its `id`.
    #[must_use]
    pub fn rule_id(&self) -> u32 {
        self.head().map_or(0, |head| head.id)
    }

    /// Its phase, 1 to 5.
    #[must_use]
    pub fn phase(&self) -> u8 {
        self.head().map_or(0, |head| head.phase)
    }

    /// Its `msg`, macros replaced at the time of the match.
    #[must_use]
    pub fn message(&self) -> &'a [u8] {
        self.state
            .log
            .get(self.found.msg.clone())
            .unwrap_or_default()
    }

    /// Its `logdata`, macros replaced at the time of the match. Bytes of the request are in it.
    #[must_use]
    pub fn data(&self) -> &'a [u8] {
        self.state
            .log
            .get(self.found.data.clone())
            .unwrap_or_default()
    }

    /// Its `tag`s; those with macros are left out.
    pub fn tags(&self) -> impl Iterator<Item = &'a [u8]> {
        let tags = self.head().map_or(&[][..], |head| &head.tags);
        tags.iter().filter_map(|tag| match tag {
            Text::Known(tag) => Some(&**tag),
            Text::Parts(_) => None,
        })
    }

    /// Its `severity`, 0 (emergency) to 7 (debug).
    #[must_use]
    pub fn severity(&self) -> Option<u8> {
        self.head().and_then(|head| head.severity)
    }

    /// Its `ver`.
    #[must_use]
    pub fn version(&self) -> &'a str {
        self.head().map_or("", |head| &head.ver)
    }

    /// Where it is written.
    #[must_use]
    pub fn location(&self) -> Option<&'a Location> {
        let rule = self.program.rules.get(self.found.rule as usize)?;
        Some(&rule.location)
    }

    /// What matched last: `ARGS:name`.
    #[must_use]
    pub fn variable(&self) -> Vec<u8> {
        let mut name = Vec::new();
        if let Some(matched) = &self.found.matched {
            write_name(matched, &self.state.texts, &mut name);
        }
        name
    }

    /// The value of what matched last, transformed.
    #[must_use]
    pub fn value(&self) -> &'a [u8] {
        let matched = self.found.matched;
        matched.map_or(&[], |matched| self.state.texts.get(matched.value))
    }

    /// Appends what an error log says, on one line and in ASCII: `[id "1"] [msg ".."] [data ".."]` and so on. Whatever a client
    /// put into it is escaped (`\x0a`), so that it can neither end the line nor a quote.
    pub fn write_log_line(&self, out: &mut String) {
        use std::fmt::Write as _;
        let Some(head) = self.head() else { return };
        let _infallible = write!(out, "[id \"{}\"]", head.id);
        for (name, text) in [("msg", self.message()), ("data", self.data())] {
            if !text.is_empty() {
                let _infallible = write!(out, " [{name} \"");
                escape(text, out);
                out.push_str("\"]");
            }
        }
        if let Some(severity) = head.severity {
            let _infallible = write!(out, " [severity \"{severity}\"]");
        }
        if !head.ver.is_empty() {
            let _infallible = write!(out, " [ver \"{}\"]", head.ver.escape_debug());
        }
        for tag in self.tags() {
            out.push_str(" [tag \"");
            escape(tag, out);
            out.push_str("\"]");
        }
    }

    /// Whether it belongs into the error log: neither `nolog` nor its default said otherwise.
    #[must_use]
    pub const fn is_logged(&self) -> bool {
        self.found.log
    }

    /// Whether it belongs into the audit log.
    #[must_use]
    pub const fn is_audited(&self) -> bool {
        self.found.audit
    }
}

fn escape(text: &[u8], out: &mut String) {
    use std::fmt::Write as _;
    for byte in text {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(*byte)]),
            b' '..=b'~' => out.push(char::from(*byte)),
            _ => {
                let _infallible = write!(out, "\\x{byte:02x}");
            }
        }
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
        Some(work(&mut Engine {
            program: &self.shared.program,
            store: &self.shared.store,
            state,
        }))
    }

    /// Who talks to whom.
    pub fn connection(&mut self, client: SocketAddr, server: SocketAddr) {
        self.with(|engine| {
            let state = &mut *engine.state;
            for (variable, text) in [
                (Variable::RemoteAddr, client.ip().to_canonical().to_string()),
                (Variable::RemotePort, client.port().to_string()),
                (Variable::ServerAddr, server.ip().to_canonical().to_string()),
                (Variable::ServerPort, server.port().to_string()),
            ] {
                state.set_bytes(variable, text.as_bytes());
            }
        });
    }

    /// The three words of the request line, as they came.
    pub fn request_line(&mut self, method: &[u8], uri: &[u8], protocol: &[u8]) {
        self.with(|engine| engine.request_line(method, uri, protocol));
    }

    /// One header of the request; several of one name are several calls.
    pub fn request_header(&mut self, name: &[u8], value: &[u8]) {
        self.with(|engine| engine.request_header(name, value));
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
            self.with(|engine| {
                engine.state.set_bytes(Variable::InboundDataError, b"1");
            });
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
                rule: u32::MAX,
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
        state.set_number(Variable::RequestBodyLength, length);
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
    /// 256 KiB of work take about a millisecond.
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
        self.state.as_ref().map_or(0, |state| {
            state.work.saturating_add(state.texts.transformed)
        })
    }

    /// Whether the budget was used up before the rules were done.
    #[must_use]
    pub fn is_over_budget(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.exhausted)
    }

    /// The status line of the response.
    pub fn response_line(&mut self, status: u16, protocol: &[u8]) {
        self.with(|engine| {
            let state = &mut *engine.state;
            state.set_number(Variable::ResponseStatus, usize::from(status));
            state.set_bytes(Variable::ResponseProtocol, protocol);
        });
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
            self.with(|engine| {
                let state = &mut *engine.state;
                let body = std::mem::take(&mut state.response_body);
                state.set_bytes(Variable::ResponseBody, &body);
                state.set_number(Variable::ResponseContentLength, body.len());
                state.response_body = body;
            });
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
    /// `RelevantOnly` a rule matched that is to be audited.
    #[must_use]
    pub fn is_audited(&self) -> bool {
        self.state.as_ref().is_some_and(|state| match state.audit {
            AuditMode::On => true,
            AuditMode::Off => false,
            AuditMode::RelevantOnly => state.found.iter().any(|found| found.audit),
        })
    }

    /// The parts of an audit record that `SecAuditLogParts` and `ctl:auditLogParts` ask for, as letters of the reference. What is
    /// written from them is up to the caller: the engine has no log of its own.
    #[must_use]
    pub fn audit_log_parts(&self) -> &str {
        let settings = &self.shared.program.settings;
        let own = self
            .state
            .as_ref()
            .and_then(|state| state.audit_parts.as_deref());
        own.unwrap_or(&settings.audit_parts)
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
        if let Some(state) = self.state.take() {
            self.shared.give_back(state);
        }
    }
}

impl Engine<'_> {
    fn request_line(&mut self, method: &[u8], uri: &[u8], protocol: &[u8]) {
        let program = self.program;
        let state = &mut *self.state;
        let line = state.texts.push_with(|out| {
            out.extend_from_slice(method);
            out.push(b' ');
            out.extend_from_slice(uri);
            // HTTP/0.9 has no third word.
            if !protocol.is_empty() {
                out.push(b' ');
                out.extend_from_slice(protocol);
            }
        });
        state.set(Variable::RequestLine, line);
        let method_text = state.texts.part(line, 0, method.len());
        state.set(Variable::RequestMethod, method_text);
        let at = method.len() + 1;
        let raw = state.texts.part(line, at, at + uri.len());
        state.set(Variable::RequestUriRaw, raw);
        let start = authority_end(uri);
        let local = state.texts.part(raw, start, uri.len());
        state.set(Variable::RequestUri, local);
        state.set_bytes(Variable::RequestProtocol, protocol);
        let local = uri.get(start..).unwrap_or_default();
        let question = memchr::memchr(b'?', local);
        let path = question.map_or(local, |at| local.get(..at).unwrap_or_default());
        // Decoded once, as libmodsecurity and Coraza have it: CRS looks for function names in it without decoding.
        let filename = if memchr::memchr(b'%', path).is_some() {
            state.texts.push_with(|out| percent_decode(path, out))
        } else {
            state.texts.part(raw, start, start + path.len())
        };
        state.set(Variable::RequestFilename, filename);
        let decoded = state.texts.get(filename);
        let base = memchr::memrchr2(b'/', b'\\', decoded).map_or(0, |at| at + 1);
        let end = decoded.len();
        let basename = state.texts.part(filename, base, end);
        state.set(Variable::RequestBasename, basename);
        let query = question.map_or(&[][..], |at| local.get(at + 1..).unwrap_or_default());
        state.set_bytes(Variable::QueryString, query);
        super::body::read_query(program, state, query);
    }

    fn request_header(&mut self, name: &[u8], value: &[u8]) {
        let state = &mut *self.state;
        let (name_text, value_text) = (state.texts.push(name), state.texts.push(value));
        state
            .lists
            .push(List::RequestHeaders, name_text, value_text);
        if name.eq_ignore_ascii_case(b"cookie") {
            let (texts, lists) = (&mut state.texts, &mut state.lists);
            body::cookies(value, |name, value| {
                let (name, value) = (texts.push(name), texts.push(value));
                lists.push(List::RequestCookies, name, value);
            });
        } else if name.eq_ignore_ascii_case(b"content-type") {
            let processor = body::BodyKind::from_content_type(value).map(|kind| match kind {
                body::BodyKind::Multipart => Processor::Multipart,
                _ => Processor::UrlEncoded,
            });
            if let Some(processor) = processor {
                state.processor = Some(processor);
                state.set_bytes(Variable::ReqbodyProcessor, processor.name().as_bytes());
            }
        } else if name.eq_ignore_ascii_case(b"host") {
            let host = value.split(|byte| *byte == b':').next().unwrap_or_default();
            state.set_bytes(Variable::ServerName, host);
        }
    }
}

/// `%hh` to bytes; what is no escape stays, and so does `+`, which is a plus in a path.
fn percent_decode(path: &[u8], out: &mut Vec<u8>) {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let mut rest = path;
    loop {
        match rest {
            [b'%', high, low, after @ ..] => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    out.push(high << 4 | low);
                    rest = after;
                }
                _ => {
                    out.push(b'%');
                    rest = rest.get(1..).unwrap_or_default();
                }
            },
            [byte, after @ ..] => {
                out.push(*byte);
                rest = after;
            }
            [] => return,
        }
    }
}

/// Where the path starts in an absolute URI; 0 for everything else.
fn authority_end(uri: &[u8]) -> usize {
    let Some(colon) = memchr::memmem::find(uri, b"://") else {
        return 0;
    };
    let scheme = uri.get(..colon).unwrap_or_default();
    let is_scheme = !scheme.is_empty()
        && scheme
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    if !is_scheme {
        return 0;
    }
    let authority = colon + 3;
    let rest = uri.get(authority..).unwrap_or_default();
    rest.iter()
        .position(|byte| matches!(byte, b'/' | b'?' | b'#'))
        .map_or(uri.len(), |at| authority + at)
}

#[cfg(test)]
mod tests {
    use super::{authority_end, percent_decode};

    #[test]
    fn a_path_is_decoded_once_and_keeps_its_plus() {
        for (path, expected) in [
            ("/a%20b+c", "/a b+c"),
            ("/%252e", "/%2e"),
            ("/100%", "/100%"),
            ("/%zz%4", "/%zz%4"),
        ] {
            let mut out = Vec::new();
            percent_decode(path.as_bytes(), &mut out);
            assert_eq!(out, expected.as_bytes(), "{path}");
        }
    }

    #[test]
    fn an_absolute_uri_loses_its_host() {
        for (uri, path) in [
            ("/a?b=http://c/d", "/a?b=http://c/d"),
            ("http://host:80/a?b", "/a?b"),
            ("http://host", ""),
            ("http://host?x", "?x"),
            ("*", "*"),
            ("://x", "://x"),
        ] {
            assert_eq!(&uri[authority_end(uri.as_bytes())..], path, "{uri}");
        }
    }
}
