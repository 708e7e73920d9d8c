//! The reference, through its C library.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use fusebox_conformance::{AFTER_SETUP, BEFORE_SETUP, Engine, Request, Response, Rules, Run};
use modsecurity::{ModSecurity, Rules as Compiled};

struct LibModSecurity {
    library: ModSecurity,
    rules: Compiled,
}

pub(crate) fn load(rules: &Rules) -> Result<Box<dyn Engine>> {
    let library = ModSecurity::builder().with_log_callbacks().build();
    let mut compiled = Compiled::new();
    compiled.add_plain(BEFORE_SETUP)?;
    if let Some(setup) = &rules.setup {
        compiled.add_file(setup)?;
    }
    compiled.add_plain(AFTER_SETUP)?;
    for file in &rules.files {
        compiled.add_file(file)?;
    }
    Ok(Box::new(LibModSecurity {
        library,
        rules: compiled,
    }))
}

impl Engine for LibModSecurity {
    fn run(&mut self, request: &Request, response: &Response) -> Result<Run> {
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let lines = Arc::clone(&log);
        let mut tx = self
            .library
            .transaction_builder()
            .with_rules(&self.rules)
            .with_logging(move |line| {
                if let Some(line) = line {
                    let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                    lines.push(line.to_owned());
                }
            })
            .build()?;
        // The crate takes text; what is none becomes replacement characters, which costs this engine a few stages.
        let text = String::from_utf8_lossy;
        tx.process_connection("127.0.0.1", 40_000, "127.0.0.1", 80)?;
        let version = text(&request.version);
        let number = version.strip_prefix("HTTP/").unwrap_or(&version);
        tx.process_uri(&text(&request.uri), &text(&request.method), number)?;
        for (name, value) in &request.headers {
            tx.add_request_header(&text(name), &text(value))?;
        }
        tx.process_request_headers()?;
        tx.append_request_body(&request.body)?;
        tx.process_request_body()?;
        for (name, value) in &response.headers {
            tx.add_response_header(&text(name), &text(value))?;
        }
        tx.process_response_headers(i32::from(response.status), "HTTP/1.1")?;
        tx.append_response_body(&response.body)?;
        tx.process_response_body()?;
        tx.process_logging()?;
        drop(tx);
        let log = std::mem::take(&mut *log.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Run {
            ids: log.iter().filter_map(|line| id_of(line)).collect(),
            log,
        })
    }
}

/// The id of a log line: `[id "942100"]`.
fn id_of(line: &str) -> Option<u32> {
    let (_before, rest) = line.split_once("[id \"")?;
    let (id, _after) = rest.split_once('"')?;
    id.parse().ok()
}
