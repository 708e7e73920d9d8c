//! Incidents as lines of JSON.

use std::fmt::Write as _;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::{Incident, OnIncident};

/// Writes each incident as one line of JSON. Rotation is the system's business.
///
/// It writes on the request's own path, under a lock: give it a writer that does not block for long, such as a file, or one that
/// hands the line to a thread of its own. A line that could not be written is [counted](Self::lost), and refuses nothing.
///
/// ```
/// use std::sync::Arc;
/// use fusebox_waf::{AuditLog, Ruleset};
///
/// let log = Arc::new(AuditLog::new(std::io::stderr()));
/// let rules = Ruleset::builder("shop").core().on_incident(log.clone()).build()?;
/// assert_eq!(log.lost(), 0);
/// # let _ = rules;
/// # Ok::<(), fusebox_waf::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct AuditLog<W> {
    writer: Mutex<W>,
    lost: AtomicU64,
}

impl<W: Write + Send> AuditLog<W> {
    /// A log into this writer.
    pub const fn new(writer: W) -> Self {
        Self {
            writer: Mutex::new(writer),
            lost: AtomicU64::new(0),
        }
    }

    /// How many lines could not be written.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl<W: Write + Send> OnIncident for AuditLog<W> {
    fn on_incident(&self, incident: &Incident<'_>) {
        // Put together before the lock is taken, and written at once: lines of two requests never mix.
        let line = line(incident, SystemTime::now());
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let written = writer.write_all(line.as_bytes());
        if written.and_then(|()| writer.flush()).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn line(incident: &Incident<'_>, now: SystemTime) -> String {
    let mut line = String::with_capacity(256);
    let unix = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let _infallible = write!(
        line,
        r#"{{"time":{}.{:03},"policy":"#,
        unix.as_secs(),
        unix.subsec_millis()
    );
    quote(&mut line, incident.policy.as_str());
    line.push_str(r#","request_id":"#);
    quote(&mut line, incident.request_id);
    if let Some(asked) = incident.asked {
        if let Some(client) = asked.client {
            let _infallible = write!(line, r#","client":"{client}""#);
        }
        for (name, text) in [("method", &asked.method), ("path", &asked.path)] {
            let _infallible = write!(line, r#","{name}":"#);
            quote(&mut line, text);
        }
    }
    let _infallible = match incident.decision {
        None => write!(line, r#","decision":null"#),
        Some(decision) => write!(
            line,
            r#","decision":{{"rule_id":{},"phase":{},"status":{},"enforced":{}}}"#,
            decision.rule_id,
            decision.phase,
            decision.status.as_u16(),
            decision.enforced
        ),
    };
    let _infallible = write!(line, r#","score":{},"findings":["#, incident.score);
    for (at, finding) in incident.findings.iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        let _infallible = write!(line, r#"{comma}{{"rule_id":{}"#, finding.rule_id);
        if let Some(severity) = finding.severity {
            let _infallible = write!(line, r#","severity":{severity}"#);
        }
        let texts = [
            ("message", Some(&finding.message)),
            ("target", Some(&finding.target)),
            ("value", finding.value.as_ref()),
            ("data", finding.data.as_ref()),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                let _infallible = write!(line, r#","{name}":"#);
                quote(&mut line, text);
            }
        }
        line.push('}');
    }
    line.push_str("]}\n");
    line
}

/// A JSON string (RFC 8259, section 7).
fn quote(line: &mut String, text: &str) {
    line.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => line.extend(['\\', letter]),
            '\0'..='\x1f' => {
                let _infallible = write!(line, "\\u{:04x}", u32::from(letter));
            }
            _ => line.push(letter),
        }
    }
    line.push('"');
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::{Asked, Decision, Finding};

    #[test]
    fn an_incident_is_one_line_that_parses_whatever_is_in_it() {
        let nasty = "a\"b\\c\nd\u{1b}e\u{e9}";
        let findings = [None, Some(nasty.to_owned())].map(|value| Finding {
            rule_id: 7,
            logged: true,
            severity: value.is_some().then_some(2),
            message: nasty.to_owned(),
            target: "ARGS:q".to_owned(),
            data: value.clone(),
            value,
        });
        let incident = Incident {
            policy: &nasty.into(),
            request_id: "id",
            decision: Some(Decision {
                rule_id: 9,
                phase: 2,
                status: StatusCode::FORBIDDEN,
                enforced: true,
            }),
            score: 5,
            findings: &findings,
            asked: Some(&Asked::by(
                &http::Request::post("/a\"b?secret").body(()).unwrap(),
                Some([192, 0, 2, 1].into()),
            )),
        };
        let text = line(
            &incident,
            UNIX_EPOCH + std::time::Duration::from_millis(1_005),
        );
        assert_eq!(text.matches('\n').count(), 1);
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["time"], 1.005);
        assert_eq!(read["policy"], nasty);
        assert_eq!(read["client"], "192.0.2.1");
        assert_eq!(
            (&read["method"], &read["path"]),
            (&"POST".into(), &"/a\\\"b".into())
        );
        assert_eq!(read["decision"]["status"], 403);
        assert_eq!(read["findings"][0]["value"], serde_json::Value::Null);
        assert_eq!(read["findings"][1]["value"], nasty);
        assert_eq!(read["findings"][1]["data"], nasty);
        assert_eq!(read["findings"][1]["severity"], 2);
    }

    #[test]
    fn a_line_that_cannot_be_written_is_counted_and_nothing_else() {
        let mut place = [0_u8; 4];
        let log = AuditLog::new(&mut place[..]);
        let incident = Incident {
            policy: &"p".into(),
            request_id: "id",
            decision: None,
            score: 0,
            findings: &[],
            asked: None,
        };
        log.on_incident(&incident);
        assert_eq!(log.lost(), 1);
    }
}
