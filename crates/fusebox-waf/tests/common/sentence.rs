//! A request in one line, as the comments above the rules have it:
//! `METHOD target <version> [Name: value].. form|json|xml|text|multipart|raw body`, where what follows the target may be missing. Line ends
//! of a multipart body are written as `|`, and its boundary is x.
#![allow(dead_code, reason = "not every test needs all of it")]

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri, Version};
use http_body_util::Full;

#[derive(Clone, Debug)]
pub(crate) struct Sentence {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) version: String,
    /// Those that the sentence names, and what belongs to the body.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

impl Sentence {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            version: "HTTP/1.1".to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub(crate) fn with_header(mut self, name: &str, value: &[u8]) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Its type too, unless a header has said that already.
    pub(crate) fn with_body(mut self, content_type: &str, body: Vec<u8>) -> Self {
        self = self
            .with_header("Content-Type", content_type.as_bytes())
            .with_header("Content-Length", body.len().to_string().as_bytes());
        self.body = body;
        self
    }

    pub(crate) fn parse(text: &str) -> Self {
        let (method, rest) = text.split_once(' ').expect("a method and a target");
        let (target, mut rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let mut sentence = Self::new(method, target);
        if let Some((version, after)) = rest
            .strip_prefix('<')
            .and_then(|inner| inner.split_once('>'))
        {
            sentence.version = version.to_owned();
            rest = after.trim_start();
        }
        while let Some(inner) = rest.strip_prefix('[') {
            let (header, after) = inner.split_once(']').expect("a header ends with a bracket");
            let (name, value) = header.split_once(": ").expect("a header has a name");
            sentence = sentence.with_header(name, value.as_bytes());
            rest = after.trim_start();
        }
        let (kind, body) = rest.split_once(' ').unwrap_or((rest, ""));
        let content_type = match kind {
            "" => return sentence,
            // A header has said it.
            "raw" => {
                sentence.body = body.as_bytes().to_owned();
                return sentence;
            }
            "form" => "application/x-www-form-urlencoded",
            "json" => "application/json",
            "xml" => "application/xml",
            "text" => "text/plain",
            "multipart" => "multipart/form-data; boundary=x",
            other => panic!("{text}: no body is a {other:?}"),
        };
        let body = match kind {
            "multipart" => body.replace('|', "\r\n"),
            _ => body.to_owned(),
        };
        sentence.with_body(content_type, body.into_bytes())
    }

    /// As a server hands it to a layer, with what every client sends besides; `None` if no request of the `http` crate is like this.
    pub(crate) fn to_request(&self) -> Option<Request<Full<Bytes>>> {
        let mut request = Request::new(Full::from(self.body.clone()));
        *request.method_mut() = Method::from_bytes(self.method.as_bytes()).ok()?;
        // Which no URI has (RFC 3986, section 2): clients escape them, and servers refuse them as they are.
        let target = self.target.replace('"', "%22");
        let target = target.replace('<', "%3C").replace('>', "%3E");
        *request.uri_mut() = target.parse::<Uri>().ok()?;
        *request.version_mut() = match self.version.as_str() {
            "HTTP/1.0" => Version::HTTP_10,
            "HTTP/1.1" => Version::HTTP_11,
            "HTTP/2.0" => Version::HTTP_2,
            _ => return None,
        };
        for (name, value) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            request
                .headers_mut()
                .append(name, HeaderValue::from_bytes(value).ok()?);
        }
        for (name, value) in [
            ("host", "shop.example"),
            (
                "user-agent",
                "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            ),
            ("accept", "*/*"),
        ] {
            let fields = request.headers_mut();
            if !fields.contains_key(name) {
                fields.append(name, HeaderValue::from_static(value));
            }
        }
        Some(request)
    }
}
