//! The back end of the tests, albedo: `POST /reflect` answers what its body says, everything else gets an empty 200.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use std::collections::BTreeMap;

use crate::request::Request;

/// A response as an engine gets it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Names and values, in their order.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Wanted {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
    encoded_body: String,
}

pub(crate) fn answer(request: &Request) -> Response {
    let path = request.path();
    let reflects =
        request.method == b"POST" && (path == b"/reflect" || path.starts_with(b"/reflect/"));
    if !reflects {
        return Response::with_body(200, Vec::new(), Vec::new());
    }
    let Ok(wanted) = serde_json::from_slice::<Wanted>(&request.body) else {
        return Response::with_body(400, Vec::new(), Vec::new());
    };
    let body = if wanted.encoded_body.is_empty() {
        wanted.body.into_bytes()
    } else {
        let Ok(body) = BASE64_STANDARD.decode(&wanted.encoded_body) else {
            return Response::with_body(400, Vec::new(), Vec::new());
        };
        body
    };
    let headers = wanted
        .headers
        .into_iter()
        .map(|(name, value)| (name.into_bytes(), value.into_bytes()))
        .collect();
    let status = if wanted.status == 0 {
        200
    } else {
        wanted.status
    };
    Response::with_body(status, headers, body)
}

impl Response {
    fn with_body(status: u16, mut headers: Vec<(Vec<u8>, Vec<u8>)>, body: Vec<u8>) -> Self {
        let has_type = headers
            .iter()
            .any(|(name, _value)| name.eq_ignore_ascii_case(b"content-type"));
        if !has_type && !body.is_empty() {
            headers.push((b"Content-Type".to_vec(), sniffed(&body).as_bytes().to_vec()));
        }
        headers.push((
            b"Content-Length".to_vec(),
            body.len().to_string().into_bytes(),
        ));
        Self {
            status,
            headers,
            body,
        }
    }
}

/// The type that Go gives a body without one: as much of the WHATWG's MIME sniffing as text needs.
fn sniffed(body: &[u8]) -> &'static str {
    const HTML: &[&[u8]] = &[
        b"<!DOCTYPE HTML",
        b"<HTML",
        b"<HEAD",
        b"<SCRIPT",
        b"<IFRAME",
        b"<H1",
        b"<DIV",
        b"<FONT",
        b"<TABLE",
        b"<A",
        b"<STYLE",
        b"<TITLE",
        b"<B",
        b"<BODY",
        b"<BR",
        b"<P",
        b"<!--",
    ];
    const SNIFFED: usize = 512;
    let body = body.get(..SNIFFED).unwrap_or(body);
    let text = body.trim_ascii_start();
    let starts_with = |tag: &&[u8]| {
        text.get(..tag.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(tag))
            && matches!(text.get(tag.len()), Some(b' ' | b'>'))
    };
    let is_binary = |byte: &u8| matches!(byte, 0..=8 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f);
    if HTML.iter().any(starts_with) {
        "text/html; charset=utf-8"
    } else if text.starts_with(b"<?xml") {
        "text/xml; charset=utf-8"
    } else if body.starts_with(b"\x1f\x8b\x08") {
        "application/x-gzip"
    } else if body.starts_with(b"%PDF-") {
        "application/pdf"
    } else if body.iter().any(is_binary) {
        "application/octet-stream"
    } else {
        "text/plain; charset=utf-8"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(path: &str, body: &str) -> Response {
        answer(&Request {
            method: b"POST".to_vec(),
            uri: path.as_bytes().to_vec(),
            body: body.as_bytes().to_vec(),
            ..Request::default()
        })
    }

    #[test]
    fn reflects_what_it_is_told() {
        let response = post(
            "/reflect/x?y",
            r#"{"status": 404, "headers": {"Content-Type": "a/b"}, "encodedBody": "aGk="}"#,
        );
        assert_eq!((response.status, response.body), (404, b"hi".to_vec()));
        assert_eq!(response.headers[0].1, b"a/b");
        let response = post("/reflect", r#"{"body": "<html> x"}"#);
        assert_eq!(response.status, 200);
        assert_eq!(response.headers[0].1, b"text/html; charset=utf-8");
        assert_eq!(post("/reflect", "no").status, 400);
    }

    #[test]
    fn answers_everything_else_with_nothing() {
        let response = post("/reflection", r#"{"status": 500}"#);
        assert_eq!((response.status, response.body.len()), (200, 0));
        assert_eq!(response.headers.len(), 1);
    }
}
