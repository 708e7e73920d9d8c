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
/// Frames, size hint and end-of-stream are the inner body's; its end settles the call.
///
/// # Cancel safety
/// Dropped at any point, the call counts as cancelled.
#[pin_project]
pub struct ResponseBody<B, St: QuotaStore = MemoryStore> {
    #[pin]
    kind: Kind<B, St>,
}

#[pin_project(project = Of)]
enum Kind<B, St: QuotaStore> {
    /// The inner service's own, of a call that is counted.
    Counted(#[pin] GuardedBody<B, Call<St>>),
    /// The inner service's own, of a call that is exempt.
    Exempt(#[pin] B),
    /// A refusal.
    Refusal(Bytes),
}

impl<B, St: QuotaStore> ResponseBody<B, St> {
    #[inline]
    pub(crate) const fn counted(body: GuardedBody<B, Call<St>>) -> Self {
        Self {
            kind: Kind::Counted(body),
        }
    }

    pub(crate) const fn exempt(body: B) -> Self {
        Self {
            kind: Kind::Exempt(body),
        }
    }

    pub(crate) const fn refusal(bytes: Bytes) -> Self {
        Self {
            kind: Kind::Refusal(bytes),
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
            Of::Counted(body) => body.poll_frame(cx),
            Of::Exempt(body) => body.poll_frame(cx),
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
            Kind::Counted(body) => body.is_end_stream(),
            Kind::Exempt(body) => body.is_end_stream(),
            Kind::Refusal(bytes) => bytes.is_empty(),
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Counted(body) => body.size_hint(),
            Kind::Exempt(body) => body.size_hint(),
            Kind::Refusal(bytes) => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}

impl<B: std::fmt::Debug, St: QuotaStore> std::fmt::Debug for ResponseBody<B, St> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.kind {
            Kind::Counted(body) => f.debug_tuple("Counted").field(body).finish(),
            Kind::Exempt(body) => f.debug_tuple("Exempt").field(body).finish(),
            Kind::Refusal(bytes) => f.debug_tuple("Refusal").field(bytes).finish(),
        }
    }
}
