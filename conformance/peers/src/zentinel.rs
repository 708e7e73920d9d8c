//! The other engine in pure Rust.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result, anyhow};
use fusebox_conformance::{AFTER_SETUP, BEFORE_SETUP, Engine, Request, Response, Rules, Run};
use zentinel_modsec::ModSecurity;

struct Zentinel {
    rules: ModSecurity,
}

pub(crate) fn load(rules: &Rules) -> Result<Box<dyn Engine>> {
    let mut text = String::from(BEFORE_SETUP);
    let include = |text: &mut String, path: &std::path::Path| -> Result<()> {
        let path =
            fs::canonicalize(path).with_context(|| format!("cannot find {}", path.display()))?;
        writeln!(text, "Include {}", path.display())?;
        Ok(())
    };
    if let Some(setup) = &rules.setup {
        include(&mut text, setup)?;
    }
    text.push_str(AFTER_SETUP);
    for file in &rules.files {
        include(&mut text, file)?;
    }
    let rules = ModSecurity::from_string(&text).map_err(|error| anyhow!("{error}"))?;
    Ok(Box::new(Zentinel { rules }))
}

impl Engine for Zentinel {
    fn run(&mut self, request: &Request, response: &Response) -> Result<Run> {
        let text = String::from_utf8_lossy;
        let mut tx = self.rules.new_transaction();
        let mut phases = || -> Result<(), zentinel_modsec::Error> {
            tx.set_client_addr("127.0.0.1", 40_000);
            tx.set_server_addr("127.0.0.1", 80);
            tx.process_uri(
                &text(&request.uri),
                &text(&request.method),
                &text(&request.version),
            )?;
            for (name, value) in &request.headers {
                tx.add_request_header(&text(name), &text(value))?;
            }
            tx.process_request_headers()?;
            tx.append_request_body(&request.body)?;
            tx.process_request_body()?;
            for (name, value) in &response.headers {
                tx.add_response_header(&text(name), &text(value))?;
            }
            tx.process_response_headers()?;
            tx.append_response_body(&response.body)?;
            tx.process_response_body()
        };
        phases().map_err(|error| anyhow!("{error}"))?;
        // It tells which rules matched, not which were logged, and has no log lines.
        let ids: Vec<u32> = tx
            .matched_rules()
            .iter()
            .filter_map(|id| id.parse().ok())
            .collect();
        let log = ids.iter().map(|id| format!("[id \"{id}\"]")).collect();
        Ok(Run { ids, log })
    }
}
