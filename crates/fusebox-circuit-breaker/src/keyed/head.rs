use http::{Extensions, HeaderMap, Method, Request, Uri, header::HOST, uri::Authority};

/// The head of a request, for who has to find its key.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its target.
    pub uri: &'a Uri,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// What others have found out about it.
    pub extensions: &'a Extensions,
}

impl<'a> Head<'a> {
    /// The head of this request.
    #[must_use]
    pub fn of<B>(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }
}

/// A key for clients of many servers: the authority (host and port) that the request goes to.
#[must_use]
pub fn by_authority(head: &Head<'_>) -> Option<Authority> {
    if let Some(authority) = head.uri.authority() {
        return Some(authority.clone());
    }
    // HTTP/1.1 in origin form (RFC 9112, section 3.2).
    Authority::try_from(head.headers.get(HOST)?.as_bytes()).ok()
}

/// A key for clients whose endpoints fail one by one: method and path. For gRPC that is the method.
///
/// For requests this side makes, whose paths are a handful. With identifiers in the path every call would
/// have a circuit of its own, which never opens.
#[must_use]
pub fn by_method_and_path(head: &Head<'_>) -> Option<(Method, String)> {
    Some((head.method.clone(), head.uri.path().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_is_the_targets_or_the_hosts() {
        let of = |uri: &str, host: Option<&str>| {
            let mut request = Request::builder().uri(uri);
            if let Some(host) = host {
                request = request.header(HOST, host);
            }
            by_authority(&Head::of(&request.body(()).unwrap())).map(|key| key.to_string())
        };
        let key = |key: &str| Some(key.to_owned());
        assert_eq!(of("http://a.test:81/x", Some("b.test")), key("a.test:81"));
        assert_eq!(of("/x", Some("b.test")), key("b.test"));
        assert_eq!(of("/x", Some("not a host")), None);
        assert_eq!(of("/x", None), None);
    }
}
