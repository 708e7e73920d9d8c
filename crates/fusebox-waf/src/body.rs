use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use fusebox_http::GuardedBody;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use crate::InspectedBody;
use crate::call::Call;

/// The body of a response that came through the firewall.
///
/// Frames, size hint and end-of-stream are the inner body's; its end ends the call.
///
/// # Cancel safety
/// Dropped at any point, the call counts as cancelled.
#[pin_project]
pub struct ResponseBody<B: Body> {
    #[pin]
    kind: Kind<B>,
}

#[pin_project(project = Of)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every body is the large one, and a box would cost each an allocation"
)]
enum Kind<B: Body> {
    /// The inner service's own.
    Admitted(#[pin] GuardedBody<InspectedBody<B>, Call>),
    /// A refusal.
    Refusal(Bytes),
}

impl<B: Body> ResponseBody<B> {
    #[inline]
    pub(crate) const fn admitted(body: GuardedBody<InspectedBody<B>, Call>) -> Self {
        Self {
            kind: Kind::Admitted(body),
        }
    }

    pub(crate) const fn refusal(bytes: Bytes) -> Self {
        Self {
            kind: Kind::Refusal(bytes),
        }
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Data: From<Bytes>>,
{
    type Data = B::Data;
    type Error = B::Error;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match self.project().kind.project() {
            Of::Admitted(body) => body.poll_frame(cx),
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
            Kind::Admitted(body) => body.is_end_stream(),
            Kind::Refusal(bytes) => bytes.is_empty(),
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Admitted(body) => body.size_hint(),
            Kind::Refusal(bytes) => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}

impl<B: Body> std::fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &self.kind {
            Kind::Admitted(_) => "ResponseBody(admitted)",
            Kind::Refusal(_) => "ResponseBody(refusal)",
        })
    }
}
