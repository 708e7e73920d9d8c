//! Incidents as lines of JSON.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::{Incident, OnIncident};

/// Writes each incident as one line of JSON. Rotation is the system's business.
///
/// A thread of its own writes: on the request's path a line is put together and left in a queue, and no request waits for a disk. When
/// the queue is full, or the writer fails, lines are lost: they are [counted](Self::lost), the log itself says how many in a line of
/// its own (`{"time":..,"lost":3}`) as soon as it can be written to, and nothing is refused for it. A line of which a writer took
/// only the beginning is ended there: what reads the log has to skip a line that does not parse. Lines are flushed when no other is
/// waiting.
///
/// Dropped, it writes what is in the queue first, and waits for that: keep the `Arc` that the settings got until the server has
/// stopped, and drop it last. A writer that blocks for ever would keep it.
///
/// ```
/// use std::sync::Arc;
/// use fusebox_waf::{AuditLog, Ruleset};
///
/// let log = Arc::new(AuditLog::new(std::io::stderr())?);
/// let rules = Ruleset::builder("shop").core().on_incident(log.clone()).build()?;
///
/// // At the end:
/// log.flush();
/// assert_eq!(log.lost(), 0);
/// # let _ = rules;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AuditLog {
    /// `None` once it is to end.
    queue: Option<SyncSender<Told>>,
    lost: Arc<AtomicU64>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What the writer is told.
#[derive(Debug)]
enum Told {
    Line(String),
    /// Everything before is to be written out, and the sender to be dropped then.
    Flush(SyncSender<()>),
}

/// Some megabyte at most: a second of a flood that is refused, and not the memory of the process.
const ROOM: usize = 1 << 10;

impl AuditLog {
    /// A log into this writer, with room for 1,024 lines that wait.
    ///
    /// # Errors
    /// If the system gives it no thread.
    pub fn new(writer: impl Write + Send + 'static) -> io::Result<Self> {
        Self::with_room(writer, ROOM)
    }

    /// The same with room for so many lines, at least one.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_room(writer: impl Write + Send + 'static, lines: usize) -> io::Result<Self> {
        let (queue, told) = sync_channel(lines.max(1));
        let lost = Arc::new(AtomicU64::new(0));
        let counter = lost.clone();
        let writer = std::thread::Builder::new()
            .name("fusebox-audit".to_owned())
            .spawn(move || write_all_told(writer, &told, &counter))?;
        Ok(Self {
            queue: Some(queue),
            lost,
            writer: Mutex::new(Some(writer)),
        })
    }

    /// How many lines could not be written.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Waits until everything that was told before is written and flushed. It blocks the thread: for the end of a program, and tests.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(0);
        if let Some(queue) = &self.queue
            && queue.send(Told::Flush(done)).is_ok()
        {
            // It is never sent to: the writer drops it.
            let _closed = wait.recv();
        }
    }
}

impl OnIncident for AuditLog {
    fn on_incident(&self, incident: &Incident<'_>) {
        let Some(queue) = &self.queue else {
            return;
        };
        let line = Told::Line(line(incident, SystemTime::now()));
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = queue.try_send(line) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        // The writer ends when it has written what is there.
        self.queue = None;
        let writer = self
            .writer
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(writer) = writer.take()
            && writer.join().is_err()
        {
            tracing::error!(target: "fusebox::waf", "the writer of the audit log panicked");
        }
    }
}

/// Whole lines: one of which only the beginning could be written is ended before the next.
struct Lines<W> {
    writer: W,
    /// The beginning of a line stands there.
    cut: bool,
}

impl<W: Write> Lines<W> {
    fn write(&mut self, line: &str) -> io::Result<()> {
        if self.cut {
            self.writer.write_all(b"\n")?;
            self.cut = false;
        }
        // Not by `write_all`, which does not say how much was taken.
        let mut rest = line.as_bytes();
        while !rest.is_empty() {
            match self.writer.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => {
                    rest = rest.get(taken..).unwrap_or_default();
                    self.cut = !rest.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Until nobody can tell any more.
fn write_all_told(writer: impl Write, told: &Receiver<Told>, lost: &AtomicU64) {
    let mut writer = Lines { writer, cut: false };
    let mut reported = 0;
    let mut unflushed = 0_u64;
    loop {
        let next = match told.try_recv() {
            Ok(next) => next,
            Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) => {
                flush(&mut writer, &mut unflushed, lost);
                match told.recv() {
                    Ok(next) => next,
                    Err(_) => break,
                }
            }
        };
        match next {
            Told::Line(line) => {
                report(&mut writer, &mut reported, lost);
                if writer.write(&line).is_ok() {
                    unflushed += 1;
                } else {
                    lost.fetch_add(1, Ordering::Relaxed);
                }
            }
            Told::Flush(_done) => flush(&mut writer, &mut unflushed, lost),
        }
    }
    report(&mut writer, &mut reported, lost);
    flush(&mut writer, &mut unflushed, lost);
}

/// Says in the log itself what is missing there.
fn report(writer: &mut Lines<impl Write>, reported: &mut u64, lost: &AtomicU64) {
    let all = lost.load(Ordering::Relaxed);
    if all == *reported {
        return;
    }
    let mut line = String::new();
    time(&mut line, SystemTime::now());
    let _infallible = writeln!(line, r#","lost":{}}}"#, all - *reported);
    if writer.write(&line).is_ok() {
        *reported = all;
    }
}

/// What a writer has kept back and cannot write is lost as well.
fn flush(writer: &mut Lines<impl Write>, unflushed: &mut u64, lost: &AtomicU64) {
    if writer.writer.flush().is_err() {
        lost.fetch_add(*unflushed, Ordering::Relaxed);
    }
    *unflushed = 0;
}

/// The beginning of a line.
fn time(line: &mut String, now: SystemTime) {
    let unix = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let _infallible = write!(
        line,
        r#"{{"time":{}.{:03}"#,
        unix.as_secs(),
        unix.subsec_millis()
    );
}

fn line(incident: &Incident<'_>, now: SystemTime) -> String {
    let mut line = String::with_capacity(256);
    time(&mut line, now);
    line.push_str(r#","policy":"#);
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
                kind: fusebox_core::RejectionKind::Forbidden,
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

    /// A writer that the test can look at, stop and break.
    #[derive(Clone, Default)]
    struct Place {
        written: Arc<Mutex<Vec<u8>>>,
        broken: Arc<std::sync::atomic::AtomicBool>,
    }

    impl Write for Place {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.broken.load(Ordering::SeqCst) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Place {
        fn lines(&self) -> Vec<serde_json::Value> {
            let written = self.written.lock().unwrap();
            let lines = written.split_inclusive(|byte| *byte == b'\n');
            lines
                .map(|line| serde_json::from_slice(line).unwrap())
                .collect()
        }
    }

    impl Place {
        /// Without what does not parse.
        fn whole_lines(&self) -> Vec<serde_json::Value> {
            let written = self.written.lock().unwrap();
            let lines = written.split(|byte| *byte == b'\n');
            lines
                .filter_map(|line| serde_json::from_slice(line).ok())
                .collect()
        }
    }

    fn tell(log: &AuditLog, id: &str) {
        log.on_incident(&Incident {
            policy: &"p".into(),
            request_id: id,
            decision: None,
            score: 0,
            findings: &[],
            asked: None,
        });
    }

    #[test]
    fn nothing_that_was_told_is_lost_when_it_is_dropped() {
        let place = Place::default();
        let log = Arc::new(AuditLog::with_room(place.clone(), 10_000).unwrap());
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let log = log.clone();
                std::thread::spawn(move || {
                    for at in 0..500 {
                        tell(&log, &format!("{thread}-{at}"));
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(log.lost(), 0);
        drop(log);
        let lines = place.lines();
        let ids: std::collections::BTreeSet<_> = lines
            .iter()
            .map(|line| line["request_id"].as_str().unwrap())
            .collect();
        assert_eq!((lines.len(), ids.len()), (2_000, 2_000));
    }

    #[test]
    fn a_writer_that_stands_still_holds_nobody_up_and_what_is_lost_is_told() {
        let place = Place::default();
        let log = AuditLog::with_room(place.clone(), 2).unwrap();
        let standing = place.written.lock().unwrap();
        // One is with the writer, two wait; or two, if it has not come for the first yet.
        for at in 0..10 {
            tell(&log, &at.to_string());
        }
        let lost = log.lost();
        assert!((7..=8).contains(&lost), "{lost}");
        drop(standing);
        log.flush();
        tell(&log, "after");
        log.flush();
        let lines = place.lines();
        let told: u64 = lines.iter().filter_map(|line| line["lost"].as_u64()).sum();
        assert_eq!(told, lost);
        let written = lines.iter().filter(|line| line["lost"].is_null()).count();
        assert_eq!(written as u64, 11 - lost, "all others");
        assert_eq!(lines.last().unwrap()["request_id"], "after");
    }

    #[test]
    fn a_line_that_cannot_be_written_is_counted_and_told_when_it_can() {
        let place = Place::default();
        let log = AuditLog::new(place.clone()).unwrap();
        place.broken.store(true, Ordering::SeqCst);
        tell(&log, "a");
        tell(&log, "b");
        log.flush();
        assert_eq!((log.lost(), place.lines().len()), (2, 0));
        place.broken.store(false, Ordering::SeqCst);
        drop(log);
        assert_eq!(place.lines()[0]["lost"], 2);
    }

    /// A disk with room for so many bytes, until somebody makes more.
    #[derive(Clone)]
    struct Disk {
        place: Place,
        room: Arc<AtomicU64>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let room = self.room.load(Ordering::SeqCst);
            let fits = usize::try_from(room).unwrap().min(bytes.len());
            if fits == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room.fetch_sub(fits as u64, Ordering::SeqCst);
            self.place.write(&bytes[..fits])
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_was_cut_spoils_no_other() {
        for room in 0..40 {
            let disk = Disk {
                place: Place::default(),
                room: Arc::new(AtomicU64::new(room)),
            };
            let log = AuditLog::new(disk.clone()).unwrap();
            tell(&log, "cut");
            log.flush();
            assert_eq!(log.lost(), 1, "{room}");
            disk.room.store(1 << 20, Ordering::SeqCst);
            tell(&log, "whole");
            drop(log);
            let lines = disk.place.whole_lines();
            assert_eq!(lines.len(), 2, "{room}: {lines:?}");
            assert_eq!(lines[0]["lost"], 1, "{room}");
            assert_eq!(lines[1]["request_id"], "whole", "{room}");
        }
    }
}
