//! What a user decides about requests: under which key they count, at what price, and what they
//! turned out to be worth.

use std::sync::Arc;

use fusebox_core::Outcome;
use fusebox_http::identity::{IdentityKey, IdentityResolver};
use http::{Extensions, HeaderMap, HeaderName, Method, Request, StatusCode, Uri};

use crate::store::Key;
use crate::{RateLimiter, Tier};

/// The head of a request.
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
    pub fn of<B>(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }
}

/// What a request counts under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// This key.
    Key(Key),
    /// Nothing: it passes uncounted.
    Exempt,
    /// Nobody can tell: it is refused, with 403.
    Unidentified,
}

/// Finds the key of a request.
///
/// Closures are ones: `|head: &Head<'_>| Found::Key(...)`. Runs for every request: no waiting, no
/// allocation, and nothing a client sends may make it panic.
pub trait KeyOf: Send + Sync {
    /// What the request counts under.
    fn key_of(&self, head: &Head<'_>) -> Found;
}

impl<F: Fn(&Head<'_>) -> Found + Send + Sync> KeyOf for F {
    fn key_of(&self, head: &Head<'_>) -> Found {
        self(head)
    }
}

/// What requests are counted under.
#[derive(Clone)]
#[non_exhaustive]
pub enum KeyBy {
    /// The client, as this resolver finds it.
    Client(IdentityResolver),
    /// The value of a header, such as an API key. Only behind whoever checks it: a client can send an invented
    /// one with every request. Without the header, or with two of it, nobody can tell.
    Header(HeaderName),
    /// The path, so that each has a quota for all clients together. Clients make up paths: behind a
    /// router that knows them.
    Path,
    /// One quota for all.
    Shared,
    /// What you say.
    Custom(Arc<dyn KeyOf>),
}

/// Texts of different kinds have different keys.
pub(crate) const HEADER: u8 = 1;
pub(crate) const PATH: u8 = 2;

impl KeyBy {
    /// The key of a request; `None` where it takes [`find`](Self::find) to tell, or to tell why there is none.
    #[inline(always)]
    pub(crate) fn at_a_glance(&self, headers: &HeaderMap, extensions: &Extensions) -> Option<Key> {
        match self {
            Self::Client(resolver) => resolver.key(headers, extensions).map(Key::from),
            _ => None,
        }
    }

    pub(crate) fn find<St: crate::store::QuotaStore>(
        &self,
        head: &Head<'_>,
        limiter: &RateLimiter<St>,
    ) -> Found {
        match self {
            // The key alone first: it is cheaper than an identity, and nearly always there.
            Self::Client(resolver)
                if let Some(key) = resolver.key(head.headers, head.extensions) =>
            {
                Found::Key(key.into())
            }
            Self::Client(resolver) => match resolver.resolve(head.headers, head.extensions) {
                Ok(Some(client)) => Found::Key(client.key().into()),
                Ok(None) => Found::Exempt,
                Err(_) => Found::Unidentified,
            },
            Self::Header(name) => {
                let mut values = head.headers.get_all(name).iter();
                match (values.next(), values.next()) {
                    // Blank is as good as none: all who send nothing are not one client.
                    (Some(value), None) if !value.as_bytes().trim_ascii().is_empty() => {
                        Found::Key(limiter.header_key(value.as_bytes()))
                    }
                    _ => Found::Unidentified,
                }
            }
            Self::Path => Found::Key(limiter.path_key(head.uri.path())),
            Self::Shared => Found::Key(Key::SHARED),
            Self::Custom(key_of) => key_of.key_of(head),
        }
    }
}

impl From<IdentityKey> for Key {
    /// What [`KeyBy::Client`] counts the requests of this client under.
    #[inline]
    fn from(key: IdentityKey) -> Self {
        Self::from_bits(key.to_bits())
    }
}

impl std::fmt::Debug for KeyBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Client(resolver) => f.debug_tuple("Client").field(resolver).finish(),
            Self::Header(name) => f.debug_tuple("Header").field(name).finish(),
            Self::Path => f.write_str("Path"),
            Self::Shared => f.write_str("Shared"),
            Self::Custom(_) => f.write_str("Custom"),
        }
    }
}

/// Says what requests cost before they are made.
pub(crate) type CostOf = Arc<dyn Fn(&Head<'_>) -> u64 + Send + Sync>;
/// Says whose policies apply; `None` for the usual ones.
pub(crate) type TierOf = Arc<dyn Fn(&Head<'_>) -> Option<Tier> + Send + Sync>;
/// Says which requests pass uncounted.
pub(crate) type Exempts = Arc<dyn Fn(&Head<'_>) -> bool + Send + Sync>;
/// Says what requests were worth, when they are over: the rest of what they cost is given back, what
/// they cost more is taken.
pub(crate) type WorthOf = Arc<dyn Fn(&Ended) -> u64 + Send + Sync>;

/// A request that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ended {
    /// What it has paid.
    pub cost: u64,
    /// The status of its answer; `None` if there was none.
    pub status: Option<StatusCode>,
    /// What became of it.
    pub outcome: Outcome,
    /// What the handler said it was worth, by putting a [`Worth`] into its answer's extensions.
    pub told: Option<u64>,
}

/// What a request was worth, in a response's extensions: for handlers that find it out.
///
/// Without it, and without [`settle_by`](crate::RateLimitLayer::settle_by), a request is worth what it cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worth(pub u64);
