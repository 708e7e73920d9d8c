//! An audit record as one line of JSON.

use std::fmt::Write as _;

use super::audit::AuditRecord;
use super::found::Match;
use super::transaction::Action;
use crate::Transformation;

impl AuditRecord<'_> {
    /// Appends the record as an object of JSON, on one line. Parts that were not asked for are not in it.
    ///
    /// Text that is UTF-8 is a string; other bytes are `{"base64":".."}`, so that nothing is lost and nothing is ambiguous. Headers
    /// and arguments are pairs in an array, since names may come more than once. Names of members are those of libmodsecurity's
    /// JSON where it has the same thing.
    pub fn write_json(&self, out: &mut String) {
        let mut json = Object::new(out);
        json.number("time_stamp", self.unix_time());
        json.bytes("unique_id", self.unique_id());
        for ((ip, port), (address, number)) in [
            (("client_ip", "client_port"), self.client()),
            (("host_ip", "host_port"), self.server()),
        ] {
            if !address.is_empty() {
                json.bytes(ip, address);
                json.bytes(port, number);
            }
        }
        if self.has('B') || self.has('C') || self.has('I') || self.has('J') {
            json.object("request", |json| self.request(json));
        }
        if self.has('E') || self.has('F') {
            json.object("response", |json| self.response(json));
        }
        if self.has('H') {
            json.array("messages", self.matches(), message);
            if let Some(stopped) = self.interruption() {
                json.object("interruption", |json| {
                    json.number("ruleId", stopped.rule_id().into());
                    json.number("phase", stopped.phase().into());
                    let (action, status) = match stopped.action() {
                        Action::Deny { status } => ("deny", Some(*status)),
                        Action::Redirect { status, .. } => ("redirect", Some(*status)),
                        Action::Drop => ("drop", None),
                    };
                    json.bytes("action", action.as_bytes());
                    if let Some(status) = status {
                        json.number("status", status.into());
                    }
                });
            }
        }
        if self.has('K') {
            json.array("matched", self.matched_ids(), |id, out| {
                let _infallible = write!(out, "{id}");
            });
        }
        json.end();
    }

    fn request(&self, json: &mut Object<'_>) {
        if let Some(line) = self.request_line() {
            json.bytes("line", line);
            json.array("headers", self.request_headers(), pair);
        }
        if let Some(body) = self.request_body() {
            json.bytes("body", body);
        }
        if self.has('I') {
            json.array("arguments", self.request_arguments(), pair);
        }
        if self.has('J') {
            json.array("files", self.files(), |(field, name, size), out| {
                let mut json = Object::new(out);
                json.bytes("field", field);
                json.bytes("name", name);
                json.bytes("size", size);
                json.end();
            });
        }
    }

    fn response(&self, json: &mut Object<'_>) {
        if let Some(status) = self.response_status() {
            json.bytes("http_code", status);
            json.array("headers", self.response_headers(), pair);
        }
        if let Some(body) = self.response_body() {
            json.bytes("body", body);
        }
    }
}

fn message(found: Match<'_>, out: &mut String) {
    let mut json = Object::new(out);
    json.number("ruleId", found.rule_id().into());
    json.number("phase", found.phase().into());
    json.bytes("msg", found.message());
    json.bytes("data", found.data());
    json.bytes("match", &found.variable());
    if let Some(severity) = found.severity() {
        json.number("severity", severity.into());
    }
    json.bytes("ver", found.version().as_bytes());
    json.array("tags", found.tags(), bytes);
    if let Some(location) = found.location() {
        json.bytes("file", location.file().as_bytes());
        json.number("lineNumber", location.line().into());
    }
    json.end();
}

fn pair((name, value): (&[u8], &[u8]), out: &mut String) {
    out.push('[');
    bytes(name, out);
    out.push(',');
    bytes(value, out);
    out.push(']');
}

/// An object under way.
struct Object<'a> {
    out: &'a mut String,
    empty: bool,
}

impl<'a> Object<'a> {
    fn new(out: &'a mut String) -> Self {
        out.push('{');
        Self { out, empty: true }
    }

    fn end(self) {
        self.out.push('}');
    }

    /// `name` is one of ours: there is nothing in it to escape.
    fn name(&mut self, name: &str) {
        if !self.empty {
            self.out.push(',');
        }
        self.empty = false;
        let _infallible = write!(self.out, "\"{name}\":");
    }

    fn number(&mut self, name: &str, number: u64) {
        self.name(name);
        let _infallible = write!(self.out, "{number}");
    }

    fn bytes(&mut self, name: &str, value: &[u8]) {
        self.name(name);
        bytes(value, self.out);
    }

    fn object(&mut self, name: &str, fill: impl FnOnce(&mut Object<'_>)) {
        self.name(name);
        let mut object = Object::new(self.out);
        fill(&mut object);
        object.end();
    }

    fn array<T>(
        &mut self,
        name: &str,
        items: impl Iterator<Item = T>,
        write: impl Fn(T, &mut String),
    ) {
        self.name(name);
        self.out.push('[');
        for (at, item) in items.enumerate() {
            if at > 0 {
                self.out.push(',');
            }
            write(item, self.out);
        }
        self.out.push(']');
    }
}

fn bytes(value: &[u8], out: &mut String) {
    let Ok(text) = std::str::from_utf8(value) else {
        let mut encoded = Vec::new();
        Transformation::Base64Encode.apply(value, &mut encoded);
        out.push_str("{\"base64\":\"");
        out.extend(encoded.iter().copied().map(char::from));
        out.push_str("\"}");
        return;
    };
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            // U+2028 and U+2029 end a line for some readers, U+007F to U+009F steer terminals.
            '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' => {
                let _infallible = write!(out, "\\u{:04x}", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}
