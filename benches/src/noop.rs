//! The services under every layer: they do nothing, so that what is measured is the layer.

use std::convert::Infallible;
use std::future::{Pending, Ready, pending, ready};
use std::hint::black_box;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::runtime::Runtime;
use tokio::task::{JoinError, JoinHandle};
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

/// As [`Noop`], for a case that calls it in a way of its own: what the compiler makes of a layer around `Noop` must not
/// hang on how many cases there are (it inlines what is called from one place only).
#[derive(Debug, Clone, Copy, Default)]
pub struct NoopThere;

impl Service<()> for NoopThere {
    type Response = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Noop.poll_ready(cx)
    }

    fn call(&mut self, request: ()) -> Self::Future {
        Noop.call(request)
    }
}

/// Answers from the only worker of a runtime of its own: as much as it takes to get there and back.
#[derive(Debug)]
pub struct Spawning(Runtime);

impl Spawning {
    /// Starts the worker.
    ///
    /// # Panics
    ///
    /// If the machine gives no thread: there is nothing to measure then.
    #[must_use]
    pub fn new() -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let built = builder.worker_threads(1).enable_all().build();
        #[expect(
            clippy::expect_used,
            reason = "without a thread the case has no purpose"
        )]
        Self(built.expect("one thread more"))
    }
}

impl Default for Spawning {
    fn default() -> Self {
        Self::new()
    }
}

impl Service<()> for Spawning {
    type Response = ();
    type Error = JoinError;
    type Future = JoinHandle<()>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), JoinError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: ()) -> Self::Future {
        self.0.spawn(async move {
            black_box(request);
        })
    }
}
