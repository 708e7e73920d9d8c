use http::{HeaderMap, header::CONTENT_TYPE};

/// What a request speaks, which decides how a refusal must look and how its outcome is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// Plain HTTP.
    #[default]
    Http,
    /// gRPC over HTTP/2: `application/grpc`, with or without a `+codec`.
    Grpc,
    /// gRPC-Web: `application/grpc-web` and `application/grpc-web-text`. Its trailers travel inside
    /// the body.
    GrpcWeb,
}

impl Protocol {
    /// Reads it from a request's `content-type`.
    ///
    /// Media types are case-insensitive (RFC 9110, section 8.3.1). `application/grpcfoo` is not gRPC.
    #[must_use]
    #[inline]
    pub fn of(headers: &HeaderMap) -> Self {
        match headers.get(CONTENT_TYPE) {
            Some(value) => Self::of_content_type(value.as_bytes()),
            None => Self::Http,
        }
    }

    fn of_content_type(value: &[u8]) -> Self {
        const GRPC: &[u8] = b"application/grpc";
        let Some((head, tail)) = value.split_at_checked(GRPC.len()) else {
            return Self::Http;
        };
        if !head.eq_ignore_ascii_case(GRPC) {
            return Self::Http;
        }
        match tail.first() {
            None | Some(b'+' | b';' | b' ' | b'\t') => Self::Grpc,
            Some(_) => Self::of_web(tail),
        }
    }
}

impl Protocol {
    /// `-web` or `-web-text`, with or without a `+codec`.
    fn of_web(tail: &[u8]) -> Self {
        let mut tail = tail;
        for (word, needed) in [(&b"-web"[..], true), (b"-text", false)] {
            match tail.split_at_checked(word.len()) {
                Some((head, rest)) if head.eq_ignore_ascii_case(word) => tail = rest,
                _ if needed => return Self::Http,
                _ => {}
            }
        }
        match tail.first() {
            None | Some(b'+' | b';' | b' ' | b'\t') => Self::GrpcWeb,
            Some(_) => Self::Http,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(content_type: &'static str) -> Protocol {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
        Protocol::of(&headers)
    }

    #[test]
    fn is_read_from_the_content_type() {
        for grpc in [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc; charset=utf-8",
            "Application/GRPC+json",
        ] {
            assert_eq!(of(grpc), Protocol::Grpc, "{grpc}");
        }
        for web in [
            "application/grpc-web",
            "application/grpc-web+proto",
            "application/grpc-web-text",
            "application/GRPC-WEB",
            "application/grpc-web-text+proto",
            "application/grpc-web;charset=utf-8",
        ] {
            assert_eq!(of(web), Protocol::GrpcWeb, "{web}");
        }
        for http in [
            "application/json",
            "application/grpcfoo",
            "application/grp",
            "application/grpc-we",
            "application/grpc-webfoo",
            "application/grpc-web-texture",
            "application/grpc-text",
            "text/plain; x=application/grpc",
            "",
        ] {
            assert_eq!(of(http), Protocol::Http, "{http}");
        }
        assert_eq!(Protocol::of(&HeaderMap::new()), Protocol::Http);
    }
}
