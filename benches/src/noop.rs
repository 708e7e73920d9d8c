//! The services under every layer: they do nothing, so that what is measured is the layer.

use std::convert::Infallible;
use std::future::{Pending, Ready, pending, ready};
use std::hint::black_box;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower_service::Service;

/// Answers `()` at once.
#[derive(Debug, Clone, Copy, Default)]
pub struct Noop;

impl Service<()> for Noop {
    type Response = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: ()) -> Self::Future {
        black_box(request);
        ready(Ok(()))
    }
}

/// Answers a small body at once. The body is there because a guard that lives to the end of a body must be carried
/// through at least one frame to show its cost.
#[derive(Debug, Clone, Copy, Default)]
pub struct HttpNoop;

impl Service<Request<()>> for HttpNoop {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        black_box(request);
        ready(Ok(Response::new(Full::new(Bytes::from_static(b"ok")))))
    }
}

/// Never answers: a call of it holds its place for as long as it is kept.
#[derive(Debug, Clone, Copy, Default)]
pub struct Never;

impl Service<()> for Never {
    type Response = ();
    type Error = Infallible;
    type Future = Pending<Result<(), Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        pending()
    }
}
