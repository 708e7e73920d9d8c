use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use fusebox_http::GuardedBody;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use crate::{
    call::Call,
    threads::{BodyError, RemoteBody},
};

/// The body of a response that came through a bulkhead.
///
/// Frames, size hint and end-of-stream are the inner body's. It holds the call's slot to its end, unless
/// the compartment is set to [`HoldUntil::Head`](crate::HoldUntil::Head).
///
/// # Cancel safety
/// Dropped at any point it gives the slot back, and the call counts as cancelled.
#[pin_project]
pub struct ResponseBody<B: Body> {
    #[pin]
    kind: Kind<B>,
}

#[pin_project(project = Of)]
enum Kind<B: Body> {
    /// The inner service's own.
    Inner(#[pin] GuardedBody<B, Call>),
    /// The inner service's own, on the threads of the compartment. Boxed, so that a body that is right here
    /// is not moved about in the room this one needs.
    Remote(Box<RemoteBody<B::Data, B::Error>>),
    /// A refusal.
    Refusal(Bytes),
}

impl<B: Body> ResponseBody<B> {
    #[inline]
    pub(crate) const fn inner(body: GuardedBody<B, Call>) -> Self {
        Self {
            kind: Kind::Inner(body),
        }
    }

    pub(crate) fn remote(body: RemoteBody<B::Data, B::Error>) -> Self {
        Self {
            kind: Kind::Remote(Box::new(body)),
        }
    }

    pub(crate) const fn refusal(body: Bytes) -> Self {
        Self {
            kind: Kind::Refusal(body),
        }
    }
}

impl<B: Body<Data: From<Bytes>>> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = BodyError<B::Error>;

    #[inline(always)]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, Self::Error>>> {
        match self.project().kind.project() {
            Of::Inner(body) => body.poll_frame_into(cx, BodyError::Inner),
            // Answered through a place of its own: what a function answers by its address has to be in memory, and a frame
            // of the usual kind need not be.
            Of::Remote(body) => match Pin::new(body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(frame))),
                Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            },
            Of::Refusal(bytes) if bytes.is_empty() => Poll::Ready(None),
            Of::Refusal(bytes) => {
                let all = std::mem::take(bytes);
                Poll::Ready(Some(Ok(Frame::data(all.into()))))
            }
        }
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner(body) => body.is_end_stream(),
            Kind::Remote(body) => body.is_end_stream(),
            Kind::Refusal(bytes) => bytes.is_empty(),
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner(body) => body.size_hint(),
            Kind::Remote(body) => body.size_hint(),
            Kind::Refusal(bytes) => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}

impl<B: Body + std::fmt::Debug> std::fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.kind {
            Kind::Inner(body) => f.debug_tuple("Inner").field(body).finish(),
            Kind::Remote(body) => f.debug_tuple("Remote").field(body).finish(),
            Kind::Refusal(bytes) => f.debug_tuple("Refusal").field(bytes).finish(),
        }
    }
}
