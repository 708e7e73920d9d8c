use std::hash::{Hash, Hasher};

use http::{Extensions, HeaderMap, Method, Request, Uri, header::HOST, uri::Authority};

use super::KeyLike;
#[cfg(doc)]
use super::KeyedBreaker;

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

/// What finds the key of a request: any `Fn(&Head<'_>) -> Option<_>`, of a key or of something
/// [like](KeyLike) it.
pub trait FindKey<'a, K>: Fn(&Head<'a>) -> Option<Self::Found> {
    /// What it finds.
    type Found: KeyLike<K>;
}

impl<'a, K, Q, F> FindKey<'a, K> for F
where
    F: Fn(&Head<'a>) -> Option<Q>,
    Q: KeyLike<K>,
{
    type Found = Q;
}

/// A key for clients of many servers: the authority (host and port) that the request goes to. For
/// [`KeyedBreaker::layer_by_like`].
///
/// Without one in its target (as servers see requests) it is the `Host`, which has to be read for each call: that
/// allocates.
#[must_use]
pub fn by_authority<'a>(head: &Head<'a>) -> Option<AuthorityLike<'a>> {
    if let Some(authority) = head.uri.authority() {
        return Some(AuthorityLike::Target(authority));
    }
    // HTTP/1.1 in origin form (RFC 9112, section 3.2).
    let host = Authority::try_from(head.headers.get(HOST)?.as_bytes()).ok()?;
    Some(AuthorityLike::Host(host))
}

/// The authority of a request; see [`by_authority`].
#[derive(Clone, Debug)]
pub enum AuthorityLike<'a> {
    /// That of its target.
    Target(&'a Authority),
    /// That of its `Host`.
    Host(Authority),
}

impl AuthorityLike<'_> {
    const fn get(&self) -> &Authority {
        match self {
            Self::Target(authority) => authority,
            Self::Host(authority) => authority,
        }
    }
}

impl Hash for AuthorityLike<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.get().hash(state);
    }
}

impl KeyLike<Authority> for AuthorityLike<'_> {
    #[inline]
    fn is(&self, key: &Authority) -> bool {
        self.get() == key
    }

    fn into_key(self) -> Authority {
        // Not a clone: that would keep what the request was read into, for as long as there is the circuit.
        let copy = Authority::try_from(self.get().as_str().as_bytes());
        copy.unwrap_or_else(|_| self.get().clone())
    }
}

/// A key for clients whose endpoints fail one by one: method and path. For gRPC that is the method. For
/// [`KeyedBreaker::layer_by_like`].
///
/// For requests this side makes, whose paths are a handful. With identifiers in the path every call would
/// have a circuit of its own, which never opens.
#[must_use]
pub fn by_method_and_path<'a>(head: &Head<'a>) -> Option<EndpointLike<'a>> {
    Some(EndpointLike {
        method: head.method,
        path: head.uri.path(),
    })
}

/// Method and path of a request; see [`by_method_and_path`].
#[derive(Clone, Copy, Debug, Hash)]
pub struct EndpointLike<'a> {
    // In the order of the key, for it is to hash as that.
    method: &'a Method,
    path: &'a str,
}

impl KeyLike<(Method, String)> for EndpointLike<'_> {
    #[inline]
    fn is(&self, (method, path): &(Method, String)) -> bool {
        self.path == path && self.method == method
    }

    fn into_key(self) -> (Method, String) {
        (self.method.clone(), self.path.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    fn head_of(uri: &str, host: Option<&str>) -> Request<()> {
        let mut request = Request::builder().uri(uri);
        if let Some(host) = host {
            request = request.header(HOST, host);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn the_authority_is_the_targets_or_the_hosts() {
        let of = |uri: &str, host: Option<&str>| {
            by_authority(&Head::of(&head_of(uri, host))).map(|key| key.into_key().to_string())
        };
        let key = |key: &str| Some(key.to_owned());
        assert_eq!(of("http://a.test:81/x", Some("b.test")), key("a.test:81"));
        assert_eq!(of("/x", Some("b.test")), key("b.test"));
        assert_eq!(of("/x", Some("not a host")), None);
        assert_eq!(of("/x", None), None);
    }

    #[test]
    fn what_is_found_hashes_as_the_key_that_it_is_like() {
        let hasher = RandomState::new();
        for request in [
            head_of("http://A.test:81/x?y", None),
            head_of("/x", Some("a.TEST:81")),
        ] {
            let found = by_authority(&Head::of(&request)).unwrap();
            let key: Authority = "a.test:81".parse().unwrap();
            assert!(found.is(&key));
            assert_eq!(hasher.hash_one(&found), hasher.hash_one(&key));
            let found = by_method_and_path(&Head::of(&request)).unwrap();
            let key = (Method::GET, "/x".to_owned());
            assert!(found.is(&key) && !found.is(&(Method::PUT, "/x".to_owned())));
            assert_eq!(hasher.hash_one(found), hasher.hash_one(&key));
        }
    }
}
