//! Our own engine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::SystemTime;

use anyhow::Result;
use fusebox_seclang::{Match, Ruleset};

use crate::backend::Response;
use crate::engine::{AFTER_SETUP, BEFORE_SETUP, Engine, Run};
use crate::request::Request;
use crate::suite::Rules;

/// The name of this engine on the command line.
pub(crate) const NAME: &str = "seclang";

#[derive(Debug)]
struct Seclang {
    rules: Ruleset,
}

pub(crate) fn load(rules: &Rules) -> Result<Box<dyn Engine>> {
    let mut builder = Ruleset::builder().text("before-setup", BEFORE_SETUP);
    if let Some(setup) = &rules.setup {
        builder = builder.file(setup);
    }
    builder = builder.text("after-setup", AFTER_SETUP);
    for file in &rules.files {
        builder = builder.file(file);
    }
    Ok(Box::new(Seclang {
        rules: builder.build()?,
    }))
}

impl Engine for Seclang {
    fn run(&mut self, request: &Request, response: &Response) -> Result<Run> {
        let mut tx = self.rules.transaction(SystemTime::now());
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        tx.connection(SocketAddr::new(here, 40_000), SocketAddr::new(here, 80));
        tx.request_line(&request.method, &request.uri, &request.version);
        for (name, value) in &request.headers {
            tx.request_header(name, value);
        }
        // Nothing is blocked in detection mode, so there is no verdict to heed on the way.
        tx.end_request_headers();
        tx.request_body(&request.body);
        tx.end_request_body();
        tx.response_line(response.status, b"HTTP/1.1");
        for (name, value) in &response.headers {
            tx.response_header(name, value);
        }
        tx.end_response_headers();
        tx.response_body(&response.body);
        tx.end_response_body();
        tx.finish();
        let mut run = Run::default();
        for found in tx.matches().filter(Match::is_logged) {
            run.ids.push(found.rule_id());
            let mut line = String::new();
            found.write_log_line(&mut line);
            run.log.push(line);
        }
        Ok(run)
    }
}
