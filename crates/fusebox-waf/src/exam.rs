//! One request, and perhaps its response, on their way through the rules.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use fusebox_core::{RejectionKind, Timestamp};
use fusebox_http::identity::PeerAddr;
use fusebox_http::{Protocol, http_status};
use fusebox_seclang::{Action, Cause, Interruption, Slice, Transaction};
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Version};
use http_body::Body;
use tokio::time::Instant;

use crate::config::{Compressed, Limits, OverLimit, OverTime};
use crate::decode::{Coding, Decoder};
use crate::incident::{Asked, Decision, Finding, Incident};
use crate::pace::Pace;
use crate::ruleset::{Made, Shared};

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longer than any id in use; what is longer is not repeated.
const LONGEST_ID: usize = 64;
/// Where the scores of the built-in rules and of the CRS are.
const SCORES: [&str; 2] = ["fusebox_score", "blocking_inbound_anomaly_score"];

/// Why a request or a response must not pass.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    pub(crate) status: StatusCode,
    pub(crate) location: Option<HeaderValue>,
    pub(crate) kind: RejectionKind,
    /// Whether the rules want to see no more of this connection (`drop`).
    pub(crate) closes: bool,
    pub(crate) rule_id: u32,
    phase: u8,
}

/// The scores under way in the CRS, one for each paranoia level, and which levels count; it adds them up behind its last rule.
const CRS_SCORES: [&str; 4] = [
    "inbound_anomaly_score_pl1",
    "inbound_anomaly_score_pl2",
    "inbound_anomaly_score_pl3",
    "inbound_anomaly_score_pl4",
];

/// The rules about bodies that are not what their content type says: the built-in ones, and those around the CRS.
const MALFORMED: [u32; 4] = [1_701_070, 1_701_071, 1_600_902, 1_600_903];

/// The phases that are about responses begin here.
const ANSWER: u8 = 3;

impl Stop {
    /// A limit of the layer.
    pub(crate) const fn at_limit(kind: RejectionKind, phase: u8) -> Self {
        Self {
            status: http_status(kind),
            location: None,
            kind,
            closes: false,
            rule_id: 0,
            phase,
        }
    }

    /// The inspection is out of its time, or its work.
    const fn undecided(phase: u8) -> Self {
        let kind = if phase >= ANSWER {
            RejectionKind::Withheld
        } else {
            RejectionKind::Undecided
        };
        Self::at_limit(kind, phase)
    }

    /// A body whose coding cannot be taken off.
    pub(crate) fn undecodable() -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            ..Self::at_limit(RejectionKind::Unsupported, 2)
        }
    }

    fn of(interruption: &Interruption) -> Self {
        let (rule_id, phase) = (interruption.rule_id(), interruption.phase());
        if interruption.cause() == Cause::WorkBudget {
            return Self::undecided(phase);
        }
        let (status, location) = match interruption.action() {
            Action::Deny { status } => (*status, None),
            // The value is refused if a client got a line end into it.
            Action::Redirect { status, location } => match HeaderValue::from_bytes(location) {
                Ok(location) => (*status, Some(location)),
                Err(_) => (403, None),
            },
            _ => (403, None),
        };
        let status = StatusCode::from_u16(status).ok();
        // An informational answer would leave the client waiting.
        let status = status.filter(|status| !status.is_informational());
        Self {
            status: status.unwrap_or(StatusCode::FORBIDDEN),
            location,
            kind: match rule_id {
                _ if phase >= ANSWER => RejectionKind::Withheld,
                // A limit that the rules set (`SecRequestBodyLimit`, `SecRequestBodyNoFilesLimit`).
                _ if interruption.cause() == Cause::BodyLimit => RejectionKind::TooLarge,
                // A bug of an honest client as well as somebody who hides something: no reason to count it against anybody.
                id if MALFORMED.contains(&id) => RejectionKind::Unsupported,
                _ => RejectionKind::Forbidden,
            },
            closes: matches!(interruption.action(), Action::Drop),
            rule_id,
            phase,
        }
    }
}

/// How far an inspection came.
#[derive(Debug)]
pub(crate) enum Step {
    /// There is more to do: let others run first.
    More,
    Pass,
    Stop(Stop),
}

/// What is to be done about a body.
pub(crate) enum Look {
    /// The rules cannot look at it.
    Past,
    /// After its content coding is taken off.
    Into(Option<Decoder>),
    Refuse(Stop),
}

pub(crate) struct Exam {
    tx: Transaction,
    made: Arc<Made>,
    shared: Arc<Shared>,
    brought_id: Option<HeaderValue>,
    /// Only where incidents may tell of it.
    asked: Option<Box<Asked>>,
    spent: Duration,
}

impl Exam {
    /// Shows the rules the head of a request, and runs phase 1.
    pub(crate) fn begin<B>(
        shared: &Arc<Shared>,
        request: &Request<B>,
        now: Timestamp,
    ) -> (Self, Option<Stop>) {
        let (mut tx, made) = shared.transaction(now);
        let client = show_head(&mut tx, shared, request);
        let stop = tx.end_request_headers().as_ref().map(Stop::of);
        let exam = Self {
            tx,
            shared: shared.clone(),
            asked: (made.limits.values && !shared.listeners.is_empty())
                .then(|| Box::new(Asked::by(request, client))),
            made,
            brought_id: request.headers().get(REQUEST_ID).cloned(),
            spent: Duration::ZERO,
        };
        (exam, stop)
    }

    /// Whether the body is to be read before the inner service sees the request.
    pub(crate) fn look<B: Body>(&self, request: &Request<B>, protocol: Protocol) -> Look {
        let (limits, headers) = (self.limits(), request.headers());
        // The streams of gRPC and of tunnels have no end to wait for.
        if request.body().is_end_stream()
            || protocol != Protocol::Http
            || request.method() == Method::CONNECT
            || !self.tx.reads_request_body()
        {
            return Look::Past;
        }
        let decoder = match (Coding::of(headers), limits.compressed) {
            (Coding::Identity, _) => None,
            (coding, Compressed::Decode { ratio }) if coding != Coding::Other => {
                Decoder::new(coding, ratio)
            }
            (_, Compressed::Pass) => return Look::Past,
            _ => return Look::Refuse(Stop::at_limit(RejectionKind::Unsupported, 2)),
        };
        let announced = request.body().size_hint().lower();
        if announced > limits.request as u64 && limits.over_request == OverLimit::Refuse {
            return Look::Refuse(Stop::at_limit(RejectionKind::TooLarge, 2));
        }
        Look::Into(decoder)
    }

    /// Shows the rules more of the request's body.
    pub(crate) fn body(&mut self, bytes: &[u8]) -> Option<Stop> {
        self.tx.request_body(bytes).as_ref().map(Stop::of)
    }

    /// What holds for this request.
    pub(crate) fn limits(&self) -> &Limits {
        &self.made.limits
    }

    /// Bytes that the rules have looked at so far.
    pub(crate) fn work(&self) -> u64 {
        self.tx.work()
    }

    /// Whether the rules only tell what they would refuse; then nothing of this layer's refuses either.
    pub(crate) fn only_detects(&self) -> bool {
        self.tx.only_detects()
    }

    /// Phase 2, so much of it.
    pub(crate) fn request_slice(&mut self, work: u64) -> Step {
        match Self::step(self.tx.end_request_body_slice(work)) {
            // The rules that are left were skipped, the last one among them. What was found until then counts.
            Step::Pass if self.tx.is_over_budget() && self.is_over_threshold() => {
                Step::Stop(Stop::at_limit(RejectionKind::Forbidden, 2))
            }
            step => step,
        }
    }

    fn step(slice: Slice) -> Step {
        match slice {
            Slice::More => Step::More,
            Slice::Done(None) => Step::Pass,
            Slice::Done(Some(stopped)) => Step::Stop(Stop::of(&stopped)),
        }
    }

    /// A slice that counts towards the time budget.
    pub(crate) fn timed(&mut self, slice: impl FnOnce(&mut Self) -> Step, phase: u8) -> Step {
        let (start, before) = (Instant::now(), self.tx.work());
        let step = slice(self);
        self.spent += start.elapsed();
        Pace::spend(self.tx.work() - before);
        match step {
            Step::More if self.spent > self.limits().budget => {
                let over_time = self.limits().over_time;
                match over_time {
                    OverTime::Refuse => Step::Stop(Stop::undecided(phase)),
                    // What was found until then counts.
                    OverTime::Pass if phase < ANSWER && self.is_over_threshold() => {
                        Step::Stop(Stop::at_limit(RejectionKind::Forbidden, phase))
                    }
                    OverTime::Pass => Step::Pass,
                }
            }
            step => step,
        }
    }

    /// Whether the scores have come so far that the last rule would refuse, of the built-in ones or of the CRS.
    fn is_over_threshold(&mut self) -> bool {
        let tx = &mut self.tx;
        let levels = usize::try_from(tx.score("blocking_paranoia_level")).unwrap_or(0);
        let crs = CRS_SCORES
            .iter()
            .take(levels)
            .map(|name| tx.score(name))
            .sum();
        [
            (tx.score("fusebox_score"), "fusebox_threshold"),
            (crs, "inbound_anomaly_score_threshold"),
        ]
        .into_iter()
        .any(|(score, threshold)| {
            let threshold = tx.score(threshold);
            threshold > 0 && score >= threshold
        })
    }

    /// Shows the rules the head of a response, and runs phase 3.
    pub(crate) fn answer_head<B>(&mut self, response: &http::Response<B>) -> Option<Stop> {
        let tx = &mut self.tx;
        tx.response_line(response.status().as_u16(), protocol(response.version()));
        for (name, value) in response.headers() {
            tx.response_header(name.as_str().as_bytes(), value.as_bytes());
        }
        tx.end_response_headers().as_ref().map(Stop::of)
    }

    /// Whether the body of the response is to be held until it is decided about.
    pub(crate) fn looks_into_answer<B: Body>(&self, response: &http::Response<B>) -> bool {
        let kind = response.headers().get(CONTENT_TYPE);
        let is_stream =
            kind.is_some_and(|kind| essence(kind).eq_ignore_ascii_case(b"text/event-stream"));
        !response.body().is_end_stream()
            && !is_stream
            && Coding::of(response.headers()) == Coding::Identity
            && self.tx.wants_response_body()
    }

    /// How much of a response's body is looked at, and what becomes of a longer one.
    pub(crate) fn answer_limit(&self) -> Option<(usize, OverLimit)> {
        self.limits().response
    }

    /// Shows the rules more of the response's body.
    pub(crate) fn answer_body(&mut self, bytes: &[u8]) -> Option<Stop> {
        self.tx.response_body(bytes).as_ref().map(Stop::of)
    }

    /// Phase 4, so much of it.
    pub(crate) fn answer_slice(&mut self, work: u64) -> Step {
        Self::step(self.tx.end_response_body_slice(work))
    }

    /// What the rules would have stopped, if `SecRuleEngine` only detects.
    pub(crate) fn detected(&self) -> Option<Stop> {
        self.tx.detected().as_ref().map(Stop::of)
    }

    /// The id that client and log are told: the request's own if it is one, else a new one.
    fn request_id(&self) -> String {
        let brought = self.brought_id.as_ref().and_then(|id| id.to_str().ok());
        let is_id = |id: &&str| {
            (1..=LONGEST_ID).contains(&id.len())
                && id
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        };
        match brought.filter(is_id) {
            Some(id) => id.to_owned(),
            None => self.shared.request_id(),
        }
    }

    /// Ends the inspection: phase 5, and whatever is to be told of it. The id of the request, if there was anything to tell.
    pub(crate) fn close(mut self, decided: Option<(&Stop, bool)>) -> Option<String> {
        self.tx.finish();
        let logged = |found: &fusebox_seclang::Match<'_>| found.is_logged() || found.is_audited();
        for found in self.tx.matches().filter(logged) {
            self.shared.hit(found.rule_id());
        }
        if decided.is_none() && !self.tx.matches().any(|found| logged(&found)) {
            return None;
        }
        let request_id = self.request_id();
        let traced = tracing::enabled!(target: "fusebox::waf", tracing::Level::DEBUG);
        if self.shared.listeners.is_empty() && !traced {
            return Some(request_id);
        }
        let values = self.limits().values;
        let findings: Vec<_> = self
            .tx
            .matches()
            .filter(logged)
            .map(|found| Finding::of(&found, values))
            .collect();
        let mut score = 0;
        for name in SCORES {
            score = score.max(self.tx.score(name));
        }
        let incident = Incident {
            policy: self.shared.name(),
            request_id: &request_id,
            decision: decided.map(|(stop, enforced)| Decision {
                rule_id: stop.rule_id,
                kind: stop.kind,
                phase: stop.phase,
                status: stop.status,
                enforced,
            }),
            score,
            findings: &findings,
            asked: self.asked.as_deref(),
        };
        trace(&incident);
        for listener in &self.shared.listeners {
            listener.on_incident(&incident);
        }
        Some(request_id)
    }
}

fn trace(incident: &Incident<'_>) {
    // A rule that decided is among the findings, and tells of itself.
    if let Some(decision) = incident.decision
        && decision.rule_id == 0
    {
        tracing::debug!(
            target: "fusebox::waf",
            policy = %incident.policy,
            request_id = incident.request_id,
            status = decision.status.as_u16(),
            phase = decision.phase,
            enforced = decision.enforced,
            score = incident.score,
            "{}", decision.kind.explanation()
        );
    }
    for finding in incident.findings {
        tracing::debug!(
            target: "fusebox::waf",
            policy = %incident.policy,
            request_id = incident.request_id,
            rule_id = finding.rule_id,
            severity = finding.severity,
            on = finding.target,
            value = finding.value,
            enforced = incident.decision.is_some_and(|decision| decision.enforced),
            score = incident.score,
            "{}", finding.message
        );
    }
}

/// Says who the client is, too.
fn show_head<B>(tx: &mut Transaction, shared: &Shared, request: &Request<B>) -> Option<IpAddr> {
    let (headers, extensions) = (request.headers(), request.extensions());
    let mut from = None;
    if let Ok(Some(client)) = shared.clients.resolve(headers, extensions)
        && let Some(address) = client.address()
    {
        let peer = extensions.get::<PeerAddr>().map(|peer| peer.0);
        let port = peer
            .filter(|peer| peer.ip() == address)
            .map_or(0, |peer| peer.port());
        // Which of its addresses the server was reached under, nobody tells a layer.
        let server = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        tx.connection(SocketAddr::new(address, port), server);
        from = Some(address);
    }
    let uri = request.uri();
    let method = request.method().as_str().as_bytes();
    let version = protocol(request.version());
    let is_old = request.version() <= Version::HTTP_11;
    match uri.path_and_query() {
        // In HTTP/2 every request has scheme and authority, each in a field of its own; in HTTP/1 they were in the line.
        Some(_) if is_old && uri.scheme().is_some() => {
            tx.request_line(method, uri.to_string().as_bytes(), version);
        }
        Some(path) => tx.request_line(method, path.as_str().as_bytes(), version),
        None => {
            let authority = uri.authority().map_or("", http::uri::Authority::as_str);
            tx.request_line(method, authority.as_bytes(), version);
        }
    }
    if let Some(authority) = uri.authority() {
        let authority = authority.as_str();
        let host = authority.rsplit('@').next().unwrap_or(authority).as_bytes();
        let given = headers.get(HOST).map(HeaderValue::as_bytes);
        // The port that the scheme has anyhow may be written or not (RFC 9110, section 4.2.3).
        let default: &[u8] = match uri.scheme_str() {
            Some("http" | "ws") => b":80",
            Some("https" | "wss") => b":443",
            _ => b"",
        };
        let bare = |host: &'_ [u8]| host.strip_suffix(default).map_or(host.len(), <[u8]>::len);
        // What HTTP/2 calls `:authority` (RFC 9113, section 8.3.1), and HTTP/1 writes into the target, takes the place of Host. If
        // there is one all the same and it names another, there are two.
        let is_same = |given: &[u8]| {
            let (given, host) = (given.get(..bare(given)), host.get(..bare(host)));
            given
                .zip(host)
                .is_some_and(|(given, host)| given.eq_ignore_ascii_case(host))
        };
        if !given.is_some_and(is_same) {
            tx.request_header(b"host", host);
        }
    }
    for (name, value) in headers {
        tx.request_header(name.as_str().as_bytes(), value.as_bytes());
    }
    from
}

fn protocol(version: Version) -> &'static [u8] {
    match version {
        Version::HTTP_09 => b"HTTP/0.9",
        Version::HTTP_10 => b"HTTP/1.0",
        Version::HTTP_2 => b"HTTP/2.0",
        Version::HTTP_3 => b"HTTP/3.0",
        _ => b"HTTP/1.1",
    }
}

/// The content type without its parameters.
fn essence(kind: &HeaderValue) -> &[u8] {
    let kind = kind
        .as_bytes()
        .split(|byte| matches!(byte, b';' | b','))
        .next();
    kind.unwrap_or_default().trim_ascii()
}

impl std::fmt::Debug for Exam {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exam").finish_non_exhaustive()
    }
}
