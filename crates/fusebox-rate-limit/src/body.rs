use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use fusebox_http::GuardedBody;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use crate::call::Call;
use crate::store::{MemoryStore, QuotaStore};

/// The body of a response that came through a rate limit.
///
/// Frames, size hint and end-of-stream are the inner body's. Where calls are followed, its end is the end of the call.
///
/// # Cancel safety
/// Dropped at any point, a call that is followed counts as cancelled.
#[pin_project]
pub struct ResponseBody<B, St: QuotaStore = MemoryStore> {
    #[pin]
    kind: Kind<B, St>,
}

#[pin_project(project = Of)]
enum Kind<B, St: QuotaStore> {
    /// The inner service's own, of a call whose end is of no interest: it is exempt, or nobody listens.
    Inner(#[pin] B),
    // Boxed, so that the answers of nearly all calls do not grow by a guard that they do not have: what is larger
    // than two cache lines is moved about by calls of `memcpy`.
    Other(Pin<Box<Other<B, St>>>),
}

#[pin_project(project = OfOther)]
enum Other<B, St: QuotaStore> {
    /// The inner service's own, of a call that is followed to its end.
    Followed(#[pin] GuardedBody<B, Call<St>>),
    /// A refusal.
    Refusal(Bytes),
}

impl<B, St: QuotaStore> ResponseBody<B, St> {
    #[inline]
    pub(crate) const fn inner(body: B) -> Self {
        Self {
            kind: Kind::Inner(body),
        }
    }

    pub(crate) fn followed(body: GuardedBody<B, Call<St>>) -> Self {
        Self::other(Other::Followed(body))
    }

    pub(crate) fn refusal(bytes: Bytes) -> Self {
        Self::other(Other::Refusal(bytes))
    }

    fn other(other: Other<B, St>) -> Self {
        Self {
            kind: Kind::Other(Box::pin(other)),
        }
    }
}

impl<B, St> Body for ResponseBody<B, St>
where
    B: Body<Data: From<Bytes>>,
    St: QuotaStore,
{
    type Data = B::Data;
    type Error = B::Error;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match self.project().kind.project() {
            Of::Inner(body) => body.poll_frame(cx),
            Of::Other(other) => match other.as_mut().project() {
                OfOther::Followed(body) => body.poll_frame(cx),
                OfOther::Refusal(bytes) if bytes.is_empty() => Poll::Ready(None),
                OfOther::Refusal(bytes) => {
                    let all = std::mem::take(bytes);
                    Poll::Ready(Some(Ok(Frame::data(all.into()))))
                }
            },
        }
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner(body) => body.is_end_stream(),
            Kind::Other(other) => match &**other {
                Other::Followed(body) => body.is_end_stream(),
                Other::Refusal(bytes) => bytes.is_empty(),
            },
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner(body) => body.size_hint(),
            Kind::Other(other) => match &**other {
                Other::Followed(body) => body.size_hint(),
                Other::Refusal(bytes) => SizeHint::with_exact(bytes.len() as u64),
            },
        }
    }
}

impl<B: std::fmt::Debug, St: QuotaStore> std::fmt::Debug for ResponseBody<B, St> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.kind {
            Kind::Inner(body) => f.debug_tuple("Inner").field(body).finish(),
            Kind::Other(other) => match &**other {
                Other::Followed(body) => f.debug_tuple("Followed").field(body).finish(),
                Other::Refusal(bytes) => f.debug_tuple("Refusal").field(bytes).finish(),
            },
        }
    }
}
