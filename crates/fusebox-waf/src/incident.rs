//! What is told of a request on which rules matched.

use std::net::IpAddr;

use fusebox_core::{Name, RejectionKind};
use http::{Request, StatusCode};

/// Hears of every request on which a rule matched that is to be logged, once, when it is decided about.
///
/// It is called on the request's own path: be quick, do not block. [`AuditLog`](crate::AuditLog) hands its lines to a thread of its own.
pub trait OnIncident: Send + Sync {
    /// One request.
    fn on_incident(&self, incident: &Incident<'_>);
}

impl<F: Fn(&Incident<'_>) + Send + Sync> OnIncident for F {
    fn on_incident(&self, incident: &Incident<'_>) {
        self(incident);
    }
}

/// A request on which rules matched.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Incident<'a> {
    /// The name of the rule set's handle.
    pub policy: &'a Name,
    /// The id that the client was told too.
    pub request_id: &'a str,
    /// What was decided; `None` if nothing that matched was enough.
    pub decision: Option<Decision>,
    /// The anomaly score, where the rules count one.
    pub score: i64,
    /// What matched, in the order in which it did.
    pub findings: &'a [Finding],
    /// What was asked for and by whom; `None` unless [values](crate::RulesetBuilder::reveal_values) are asked for.
    pub asked: Option<&'a Asked>,
}

/// What was asked for and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Asked {
    /// The client, as the [resolver](crate::RulesetBuilder::clients) knows it.
    pub client: Option<IpAddr>,
    /// The method.
    pub method: String,
    /// The path without the query, the first 256 bytes, escaped.
    pub path: String,
}

impl Asked {
    pub(crate) fn by<B>(request: &Request<B>, client: Option<IpAddr>) -> Self {
        Self {
            client,
            method: printable(request.method().as_str().as_bytes()),
            path: printable(request.uri().path().as_bytes()),
        }
    }
}

/// What was decided about a request or its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decision {
    /// The rule that decided it; 0 for a limit.
    pub rule_id: u32,
    /// What kind of refusal it is.
    pub kind: RejectionKind,
    /// The phase in which it was decided, 1 to 4.
    pub phase: u8,
    /// The status of the refusal.
    pub status: StatusCode,
    /// Whether it was acted on. In shadow mode it was not.
    pub enforced: bool,
}

/// A rule that matched.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// Its `id`.
    pub rule_id: u32,
    /// Whether it belongs into the error log, too: not if it says `nolog,auditlog`.
    pub logged: bool,
    /// Its `severity`, 0 (emergency) to 7 (debug).
    pub severity: Option<u8>,
    /// Its `msg`. Whoever writes a macro into it decides what is in here. Control characters are escaped.
    pub message: String,
    /// What it matched on: `ARGS:q`. Names come from clients too; control characters are escaped.
    pub target: String,
    /// The value that it matched on, the first 256 bytes, escaped; `None` unless asked for.
    pub value: Option<String>,
    /// Its `logdata`, which is mostly what of the value it matched, in the same form; `None` unless asked for, or if it has none.
    pub data: Option<String>,
}

/// Enough to see what it was.
const LONGEST_VALUE: usize = 256;

impl Finding {
    pub(crate) fn of(found: &fusebox_seclang::Match<'_>, values: bool) -> Self {
        Self {
            rule_id: found.rule_id(),
            logged: found.is_logged(),
            severity: found.severity(),
            message: printable(found.message()),
            target: printable(&found.variable()),
            value: values.then(|| printable(found.value())),
            data: (values && !found.data().is_empty()).then(|| printable(found.data())),
        }
    }
}

/// On one line and in ASCII, whatever a client put into it.
fn printable(bytes: &[u8]) -> String {
    let shown = bytes.get(..LONGEST_VALUE).unwrap_or(bytes);
    shown.escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_sent_stays_on_one_line_and_short() {
        assert_eq!(printable(b"a\nb\x1b[2J\xff"), r"a\nb\x1b[2J\xff");
        assert_eq!(printable(&[b'x'; 1_000]).len(), LONGEST_VALUE);
    }
}
