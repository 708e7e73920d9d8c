use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{
    MockBody, MockError, MockHandle, Received, Script,
    handle::Shared,
    script::{End, Readiness},
    unwind,
};
use crate::Frames;

/// A scripted HTTP service that remembers how it was used.
///
/// It never complains by itself: a call on an instance that was not ready, for example, is answered,
/// and [`MockHandle::calls`] says [`was_ready`](Received::was_ready)` == false`. Each clone is an
/// instance of its own, as clones of a service with a limit inside are; moving one keeps its identity.
///
/// ```
/// use fusebox_testkit::{MockBody, MockService, Script, poll_n_times};
/// use http::Request;
/// use tower_service::Service;
///
/// let mut mock = MockService::new(Script::ok(MockBody::full("hello")).pending(1));
/// let handle = mock.handle();
///
/// let mut call = std::pin::pin!(mock.call(Request::new(MockBody::empty())));
/// assert!(poll_n_times(call.as_mut(), 1).is_pending());
/// assert!(poll_n_times(call.as_mut(), 1).is_ready());
/// assert!(!handle.calls()[0].was_ready, "nobody asked whether it was");
/// ```
#[derive(Debug)]
pub struct MockService {
    shared: Arc<Shared>,
    instance: usize,
    polls: usize,
    ready: bool,
}

impl MockService {
    /// A service that follows `script`.
    #[must_use]
    pub fn new(script: Script) -> Self {
        MockHandle::new(script).service()
    }

    /// Tells what was done to this service and all its clones.
    #[must_use]
    pub fn handle(&self) -> MockHandle {
        MockHandle(self.shared.clone())
    }
}

impl MockHandle {
    /// One more instance of the service.
    #[must_use]
    pub fn service(&self) -> MockService {
        MockService {
            instance: self.0.new_instance(),
            shared: self.0.clone(),
            polls: 0,
            ready: false,
        }
    }
}

impl Clone for MockService {
    fn clone(&self) -> Self {
        self.handle().service()
    }
}

impl<B: Body> Service<Request<B>> for MockService {
    type Response = Response<MockBody>;
    type Error = MockError;
    type Future = MockFuture<B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), MockError>> {
        match self.shared.script().readiness {
            Readiness::After(polls) if self.ready || self.polls >= polls => {
                self.ready = true;
                Poll::Ready(Ok(()))
            }
            Readiness::After(_) => {
                self.polls += 1;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Readiness::Never => {
                self.shared.wait_for_another_script(cx.waker());
                Poll::Pending
            }
            Readiness::Fails(error) => Poll::Ready(Err(error)),
        }
    }

    fn call(&mut self, request: Request<B>) -> MockFuture<B> {
        let (parts, body) = request.into_parts();
        let number = self.shared.receive(Received {
            instance: self.instance,
            was_ready: std::mem::take(&mut self.ready),
            method: parts.method,
            uri: parts.uri,
            version: parts.version,
            headers: parts.headers,
            extensions: parts.extensions,
            size_hint: body.size_hint(),
            is_end_stream: body.is_end_stream(),
            body: Frames::default(),
        });
        self.polls = 0;
        let script = self.shared.script();
        if matches!(script.end, End::PanicInCall) {
            unwind();
        }
        self.shared.begin();
        MockFuture {
            shared: self.shared.clone(),
            number,
            request: Some(Box::pin(body)),
            pending: script.pending,
            end: script.end,
        }
    }
}

/// The response future of [`MockService`]: reads the request's body to its end, then does as the
/// script says.
#[derive(Debug)]
pub struct MockFuture<B> {
    shared: Arc<Shared>,
    number: usize,
    request: Option<Pin<Box<B>>>,
    pending: usize,
    end: End,
}

impl<B: Body> Future for MockFuture<B> {
    type Output = Result<Response<MockBody>, MockError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        while let Some(body) = &mut self.request {
            // A body that failed has nothing more to say either; the answer is the script's all the
            // same.
            let Some(Ok(frame)) = ready!(body.as_mut().poll_frame(cx)) else {
                self.request = None;
                break;
            };
            self.shared.read(self.number, |read| read.push(frame));
        }
        if let Some(left) = self.pending.checked_sub(1) {
            self.pending = left;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        match &self.end {
            End::Answer(response) => Poll::Ready(Ok(response.clone())),
            End::Fail(error) => Poll::Ready(Err(*error)),
            End::Never => Poll::Pending,
            End::PanicInCall | End::PanicInFuture => unwind(),
        }
    }
}

impl<B> Drop for MockFuture<B> {
    fn drop(&mut self) {
        self.shared.end();
    }
}
