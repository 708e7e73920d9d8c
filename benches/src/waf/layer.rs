//! The layer with the built-in rules in front of axum's hello world, and of nothing: what it adds to a request that harms nobody.

use std::convert::Infallible;
use std::sync::LazyLock;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use fusebox_core::Registration;
use fusebox_waf::{Ruleset, WafLayer};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::Full;
use tower_layer::Layer;
use tower_service::Service;

use super::requests;
use crate::drive::by_hand_to_the_end;
use crate::harness::{Case, Limit};

/// The most that the layer may add to a benign GET.
const ADDED_NS: f64 = 25e3;

/// The cases, and what has a limit.
pub(super) fn suite() -> (Vec<Case>, Vec<Limit>) {
    let cases = vec![
        Case::new("hello", || by_hand_to_the_end(hello(), page)),
        Case::new("core_hello", || {
            by_hand_to_the_end(hello().layer(core()), page)
        })
        .over("hello"),
        Case::new("search", || by_hand_to_the_end(Answers, search)),
        Case::new("core_search", || {
            by_hand_to_the_end(core().layer(Answers), search)
        })
        .over("search"),
        Case::new("bare", || by_hand_to_the_end(hello(), bare)),
        Case::new("core_bare", || {
            by_hand_to_the_end(hello().layer(core()), bare)
        })
        .over("bare"),
    ];
    let limits = vec![
        Limit::time("core_hello", ADDED_NS),
        Limit::time("core_search", ADDED_NS),
        Limit::time("core_bare", ADDED_NS),
        // When it begins and when it is over.
        Limit::clock_reads("core_search", 2.0),
    ];
    (cases, limits)
}

fn core() -> WafLayer {
    let rules = Ruleset::builder("bench")
        .core()
        .registration(Registration::Unlisted)
        .build();
    #[expect(clippy::expect_used, reason = "the built-in rules compile")]
    rules.expect("the built-in rules").layer()
}

/// What axum's own documentation begins with.
fn hello() -> Router {
    Router::new().fallback(get(async || "Hello, World!"))
}

/// A service that costs nothing.
#[derive(Clone)]
struct Answers;

impl<B> Service<Request<B>> for Answers {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<B>) -> Self::Future {
        let body = Full::new(Bytes::from_static(b"found"));
        std::future::ready(Ok(Response::new(body)))
    }
}

/// The head of a request as a server has parsed it, to be copied.
struct Head(Uri, HeaderMap);

impl Head {
    #[expect(clippy::expect_used, reason = "the suite's own requests")]
    fn of(name: &str) -> Self {
        let parsed = requests::named(name).and_then(|request| {
            let headers = request.headers.iter().map(|(name, value)| {
                let name: HeaderName = name.parse().ok()?;
                Some((name, HeaderValue::from_str(value).ok()?))
            });
            Some(Self(
                request.uri.parse().ok()?,
                headers.collect::<Option<_>>()?,
            ))
        });
        parsed.expect("a request that http can hold")
    }

    fn request(&self) -> Request<Body> {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = self.0.clone();
        *request.headers_mut() = self.1.clone();
        request
    }
}

/// A browser's, with all that it sends along.
fn page() -> Request<Body> {
    static HEAD: LazyLock<Head> = LazyLock::new(|| Head::of("get_page"));
    HEAD.request()
}

/// The same with seven arguments.
fn search() -> Request<Body> {
    static HEAD: LazyLock<Head> = LazyLock::new(|| Head::of("get_search"));
    HEAD.request()
}

/// A load generator's.
fn bare() -> Request<Body> {
    static HEAD: LazyLock<Head> = LazyLock::new(|| {
        let headers = [(http::header::HOST, HeaderValue::from_static("localhost"))];
        Head(Uri::from_static("/"), headers.into_iter().collect())
    });
    HEAD.request()
}
