//! The request of a stage, built in go-ftw's order and parsed as a server would parse it.

use std::borrow::Cow;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::format::Input;

/// A request as an engine gets it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Vec<u8>,
    /// The request target, as it came.
    pub uri: Vec<u8>,
    /// The protocol: `HTTP/1.1`.
    pub version: Vec<u8>,
    /// Names and values, in their order.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    pub(crate) fn build(input: &Input) -> Result<Self> {
        Ok(Self::parse(&Self::raw(input)?))
    }

    /// The bytes that go-ftw would send.
    pub(crate) fn raw(input: &Input) -> Result<Vec<u8>> {
        match &input.encoded_request {
            Some(encoded) if !encoded.is_empty() => decode(encoded),
            _ => raw(input),
        }
    }

    /// Splits what a client sent. Anything goes: the tests are about requests that are not in order.
    fn parse(raw: &[u8]) -> Self {
        let (line, mut rest) = next_line(raw);
        let (method, target) = split_once(line, |byte| byte == b' ').unwrap_or((line, b""));
        let (uri, version) = match target.iter().rposition(|byte| *byte == b' ') {
            Some(space) => {
                let (uri, version) = target.split_at(space);
                (uri, version.get(1..).unwrap_or_default())
            }
            None => (target, &b""[..]),
        };
        let mut request = Self {
            method: method.to_vec(),
            uri: uri.to_vec(),
            // A request line of two words is HTTP/0.9 (RFC 1945 section 5).
            version: if version.is_empty() {
                b"HTTP/0.9".to_vec()
            } else {
                version.to_vec()
            },
            ..Self::default()
        };
        while !rest.is_empty() {
            let (line, after) = next_line(rest);
            rest = after;
            if line.is_empty() {
                break;
            }
            let (name, value) = split_once(line, |byte| byte == b':').unwrap_or((line, b""));
            request
                .headers
                .push((name.to_vec(), value.trim_ascii().to_vec()));
        }
        request.body = rest.to_vec();
        request
    }

    /// The path of the request, without the query.
    pub(crate) fn path(&self) -> &[u8] {
        let end = self.uri.iter().position(|byte| *byte == b'?');
        self.uri
            .get(..end.unwrap_or(self.uri.len()))
            .unwrap_or_default()
    }
}

fn next_line(raw: &[u8]) -> (&[u8], &[u8]) {
    let (line, rest) = split_once(raw, |byte| byte == b'\n').unwrap_or((raw, b""));
    (line.strip_suffix(b"\r").unwrap_or(line), rest)
}

fn split_once(bytes: &[u8], at: impl Fn(u8) -> bool) -> Option<(&[u8], &[u8])> {
    let position = bytes.iter().position(|byte| at(*byte))?;
    let (before, rest) = bytes.split_at(position);
    Some((before, rest.get(1..).unwrap_or_default()))
}

fn decode(encoded: &str) -> Result<Vec<u8>> {
    let packed: Vec<u8> = encoded
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    BASE64_STANDARD
        .decode(packed)
        .context("a test has Base64 that is none")
}

/// What go-ftw puts on the wire (2.5.0, `BuildRequest`).
fn raw(input: &Input) -> Result<Vec<u8>> {
    let mut headers = Headers(
        input
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .chain(
                input
                    .ordered_headers
                    .iter()
                    .map(|header| (header.name.clone(), header.value.clone())),
            )
            .collect(),
    );
    let method = input.method.as_deref().unwrap_or("GET");
    let mut body = match (&input.encoded_data, &input.data) {
        (Some(encoded), _) if !encoded.is_empty() => decode(encoded)?,
        (_, Some(data)) => template(data).into_owned().into_bytes(),
        _ => Vec::new(),
    };
    const FORM: &str = "application/x-www-form-urlencoded";
    if input.autocompletes() && !body.is_empty() {
        headers.add_if_absent("Content-Type", FORM);
        if headers
            .get("Content-Type")
            .is_some_and(|value| value.eq_ignore_ascii_case(FORM))
            && needs_escaping(&body)
        {
            body = escape_form(&body);
        }
    }
    if headers
        .get("Content-Type")
        .is_some_and(|value| value.contains("multipart/form-data;"))
    {
        body = replace_newlines(&body);
    }
    if input.autocompletes() {
        headers.add_if_absent("Connection", "close");
        let has_body = ["POST", "PUT", "PATCH", "DELETE"];
        // Its expression is `^POST|PUT|PATCH|DELETE$`, which anchors the first and the last word only.
        let implies_body = method.starts_with(has_body[0])
            || has_body[1..3].iter().any(|word| method.contains(word))
            || method.ends_with(has_body[3]);
        if !body.is_empty() || implies_body {
            headers.add_if_absent("Content-Length", &body.len().to_string());
        }
    }
    // The map is sorted by name when it is written; what is added stands among the others.
    headers.0.sort();
    let mut raw = format!(
        "{method} {} {}\r\n",
        input.uri.as_deref().unwrap_or("/"),
        input.version.as_deref().unwrap_or("HTTP/1.1")
    )
    .into_bytes();
    for (name, value) in &headers.0 {
        raw.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    raw.extend_from_slice(b"\r\n");
    raw.extend_from_slice(&body);
    Ok(raw)
}

struct Headers(Vec<(String, String)>);

impl Headers {
    fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(found, _value)| found.eq_ignore_ascii_case(name))
            .map(|(_name, value)| value.as_str())
    }

    fn add_if_absent(&mut self, name: &str, value: &str) {
        if self.get(name).is_none() {
            self.0.push((name.to_owned(), value.to_owned()));
        }
    }
}

/// Bodies are Go templates. Two tests use that, both to repeat something; everything else stays as it is, as go-ftw leaves
/// what is no template.
fn template(data: &str) -> Cow<'_, str> {
    repeated(data).map_or(Cow::Borrowed(data), Cow::Owned)
}

/// `before{{ "x" | repeat 64200 }}after`.
fn repeated(data: &str) -> Option<String> {
    let (before, rest) = data.split_once("{{")?;
    let (inside, after) = rest.split_once("}}")?;
    let (text, pipe) = inside.trim().strip_prefix('"')?.split_once('"')?;
    let count = pipe
        .trim()
        .strip_prefix('|')?
        .trim()
        .strip_prefix("repeat")?;
    let count: usize = count.trim().parse().ok()?;
    Some(format!("{before}{}{after}", text.repeat(count)))
}

/// Whether Go's `url.QueryUnescape` would give the body back as it is; then go-ftw takes it for not escaped yet.
fn needs_escaping(body: &[u8]) -> bool {
    !body.iter().any(|byte| matches!(byte, b'%' | b'+'))
}

fn escape_form(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (position, pair) in body.split(|byte| *byte == b'&').enumerate() {
        if position > 0 {
            out.push(b'&');
        }
        match split_once(pair, |byte| byte == b'=') {
            Some((name, value)) => {
                escape(name, &mut out);
                out.push(b'=');
                escape(value, &mut out);
            }
            None => escape(pair, &mut out),
        }
    }
    out
}

/// Go's `url.QueryEscape`.
fn escape(text: &[u8], out: &mut Vec<u8>) {
    for byte in text {
        match byte {
            b' ' => out.push(b'+'),
            byte if byte.is_ascii_alphanumeric() || b"-_.~".contains(byte) => out.push(*byte),
            byte => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
}

fn replace_newlines(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    for byte in body {
        if *byte == b'\n' {
            out.push(b'\r');
        }
        out.push(*byte);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(yaml: &str) -> String {
        let input: Input = serde_saphyr::from_str(yaml).unwrap();
        String::from_utf8(raw(&input).unwrap()).unwrap()
    }

    #[test]
    fn headers_are_completed_and_sorted() {
        assert_eq!(
            sent("{method: POST, uri: /x, headers: {b: 2, A: 1}, data: 'q=a b&c'}"),
            "POST /x HTTP/1.1\r\nA: 1\r\nConnection: close\r\nContent-Length: 7\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nb: 2\r\n\r\nq=a+b&c"
        );
        assert_eq!(
            sent("{method: PUT}"),
            "PUT / HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        );
        assert_eq!(
            sent("{autocomplete_headers: false, data: x}"),
            "GET / HTTP/1.1\r\n\r\nx"
        );
    }

    #[test]
    fn a_form_that_is_escaped_already_is_left_alone() {
        for data in ["a=%zz b", "a=1+2", "a=%41"] {
            let sent = sent(&format!("{{data: '{data}'}}"));
            assert!(sent.ends_with(&format!("\r\n\r\n{data}")), "{sent}");
        }
        let json = sent("{headers: {content-type: application/json}, data: '{\"a\": 1}'}");
        assert!(json.ends_with("{\"a\": 1}"));
        let parameter = sent(
            "{headers: {Content-Type: application/x-www-form-urlencoded; charset=x}, data: 'a=b c'}",
        );
        assert!(parameter.ends_with("a=b c"));
    }

    #[test]
    fn multipart_bodies_get_their_line_ends() {
        let sent =
            sent("{headers: {Content-Type: multipart/form-data; boundary=x}, data: \"a\\nb\"}");
        assert!(sent.ends_with(
            "Content-Length: 4\r\nContent-Type: multipart/form-data; boundary=x\r\n\r\na\r\nb"
        ));
    }

    #[test]
    fn the_one_template_in_use_is_filled_in() {
        assert_eq!(template("a={{ \"1\" | repeat 3 }}&b"), "a=111&b");
        assert_eq!(template("{{7*7}} {{ x }}"), "{{7*7}} {{ x }}");
    }

    #[test]
    fn a_request_is_parsed_whatever_it_looks_like() {
        let parsed = Request::parse(b"GET /a b HTTP/1.1\r\nHost: x \r\nBare\r\n\r\nbody\r\n");
        assert_eq!(parsed.uri, b"/a b");
        assert_eq!(parsed.version, b"HTTP/1.1");
        assert_eq!(parsed.headers[0], (b"Host".to_vec(), b"x".to_vec()));
        assert_eq!(parsed.headers[1], (b"Bare".to_vec(), b"".to_vec()));
        assert_eq!(parsed.body, b"body\r\n");
        let short = Request::parse(b"\tGET /?a=b ");
        assert_eq!(
            (short.method, short.uri, short.version),
            (b"\tGET".to_vec(), b"/?a=b".to_vec(), b"HTTP/0.9".to_vec())
        );
        assert_eq!(
            Request {
                uri: b"/reflect?x=1".to_vec(),
                ..Request::default()
            }
            .path(),
            b"/reflect"
        );
    }
}
