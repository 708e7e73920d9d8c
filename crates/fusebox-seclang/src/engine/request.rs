//! What the request line and the headers of a request are read into.

use super::lists::List;
use super::state::State;
use crate::body;
use crate::compile::Program;
use crate::parse::{Processor, Variable};

impl State {
    pub(super) fn request_line(
        &mut self,
        program: &Program,
        method: &[u8],
        uri: &[u8],
        protocol: &[u8],
    ) {
        let state = self;
        let line = state.texts.push_with(|out| {
            out.extend_from_slice(method);
            out.push(b' ');
            out.extend_from_slice(uri);
            // HTTP/0.9 has no third word.
            if !protocol.is_empty() {
                out.push(b' ');
                out.extend_from_slice(protocol);
            }
        });
        state.set(Variable::RequestLine, line);
        let method_text = state.texts.part(line, 0, method.len());
        state.set(Variable::RequestMethod, method_text);
        let at = method.len() + 1;
        let raw = state.texts.part(line, at, at + uri.len());
        state.set(Variable::RequestUriRaw, raw);
        let start = authority_end(uri);
        let local = state.texts.part(raw, start, uri.len());
        state.set(Variable::RequestUri, local);
        state.set_bytes(Variable::RequestProtocol, protocol);
        let local = uri.get(start..).unwrap_or_default();
        let question = memchr::memchr(b'?', local);
        let path = question.map_or(local, |at| local.get(..at).unwrap_or_default());
        // Decoded once, as libmodsecurity and Coraza have it: CRS looks for function names in it without decoding.
        let filename = if memchr::memchr(b'%', path).is_some() {
            state.texts.push_with(|out| percent_decode(path, out))
        } else {
            state.texts.part(raw, start, start + path.len())
        };
        state.set(Variable::RequestFilename, filename);
        let decoded = state.texts.get(filename);
        let base = memchr::memrchr2(b'/', b'\\', decoded).map_or(0, |at| at + 1);
        let end = decoded.len();
        let basename = state.texts.part(filename, base, end);
        state.set(Variable::RequestBasename, basename);
        let query = question.map_or(&[][..], |at| local.get(at + 1..).unwrap_or_default());
        state.set_bytes(Variable::QueryString, query);
        super::body::read_query(program, state, query);
    }

    pub(super) fn request_header(&mut self, name: &[u8], value: &[u8]) {
        let state = self;
        let (name_text, value_text) = (state.texts.push(name), state.texts.push(value));
        state
            .lists
            .push(List::RequestHeaders, name_text, value_text);
        if name.eq_ignore_ascii_case(b"cookie") {
            let (texts, lists) = (&mut state.texts, &mut state.lists);
            body::cookies(value, |name, value| {
                let (name, value) = (texts.push(name), texts.push(value));
                lists.push(List::RequestCookies, name, value);
            });
        } else if name.eq_ignore_ascii_case(b"content-type") {
            let processor = body::BodyKind::from_content_type(value).map(|kind| match kind {
                body::BodyKind::Multipart => Processor::Multipart,
                _ => Processor::UrlEncoded,
            });
            if let Some(processor) = processor {
                state.processor = Some(processor);
                state.set_bytes(Variable::ReqbodyProcessor, processor.name().as_bytes());
            }
        } else if name.eq_ignore_ascii_case(b"host") {
            let host = value.split(|byte| *byte == b':').next().unwrap_or_default();
            state.set_bytes(Variable::ServerName, host);
        }
    }
}

/// `%hh` to bytes; what is no escape stays, and so does `+`, which is a plus in a path.
fn percent_decode(path: &[u8], out: &mut Vec<u8>) {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let mut rest = path;
    loop {
        match rest {
            [b'%', high, low, after @ ..] => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    out.push(high << 4 | low);
                    rest = after;
                }
                _ => {
                    out.push(b'%');
                    rest = rest.get(1..).unwrap_or_default();
                }
            },
            [byte, after @ ..] => {
                out.push(*byte);
                rest = after;
            }
            [] => return,
        }
    }
}

/// Where the path starts in an absolute URI; 0 for everything else.
fn authority_end(uri: &[u8]) -> usize {
    let Some(colon) = memchr::memmem::find(uri, b"://") else {
        return 0;
    };
    let scheme = uri.get(..colon).unwrap_or_default();
    let is_scheme = !scheme.is_empty()
        && scheme
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    if !is_scheme {
        return 0;
    }
    let authority = colon + 3;
    let rest = uri.get(authority..).unwrap_or_default();
    rest.iter()
        .position(|byte| matches!(byte, b'/' | b'?' | b'#'))
        .map_or(uri.len(), |at| authority + at)
}

#[cfg(test)]
mod tests {
    use super::{authority_end, percent_decode};

    #[test]
    fn a_path_is_decoded_once_and_keeps_its_plus() {
        for (path, expected) in [
            ("/a%20b+c", "/a b+c"),
            ("/%252e", "/%2e"),
            ("/100%", "/100%"),
            ("/%zz%4", "/%zz%4"),
        ] {
            let mut out = Vec::new();
            percent_decode(path.as_bytes(), &mut out);
            assert_eq!(out, expected.as_bytes(), "{path}");
        }
    }

    #[test]
    fn an_absolute_uri_loses_its_host() {
        for (uri, path) in [
            ("/a?b=http://c/d", "/a?b=http://c/d"),
            ("http://host:80/a?b", "/a?b"),
            ("http://host", ""),
            ("http://host?x", "?x"),
            ("*", "*"),
            ("://x", "://x"),
        ] {
            assert_eq!(&uri[authority_end(uri.as_bytes())..], path, "{uri}");
        }
    }
}
