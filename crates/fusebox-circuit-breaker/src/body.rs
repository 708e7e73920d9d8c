use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use fusebox_http::{Guard, GuardedBody, Judgement, retry_after};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use crate::{End, Pass};

/// The body of a response: the inner service's, watched to its end, or that of a refusal.
#[derive(Debug)]
#[pin_project]
pub struct ResponseBody<B> {
    #[pin]
    kind: Kind<B>,
}

#[derive(Debug)]
#[pin_project(project = KindOf)]
enum Kind<B> {
    Guarded(#[pin] GuardedBody<B, Pass>),
    /// `None` once it was read, or if there is nothing to read.
    Refusal(Option<Bytes>),
}

impl<B> ResponseBody<B> {
    #[inline]
    pub(crate) const fn guarded(body: GuardedBody<B, Pass>) -> Self {
        Self {
            kind: Kind::Guarded(body),
        }
    }

    pub(crate) fn refusal(bytes: Bytes) -> Self {
        Self {
            kind: Kind::Refusal((!bytes.is_empty()).then_some(bytes)),
        }
    }
}

impl<B: Body<Data: From<Bytes>>> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    #[inline(always)]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match self.project().kind.project() {
            KindOf::Guarded(body) => body.poll_frame(cx),
            KindOf::Refusal(bytes) => {
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes.into()))))
            }
        }
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Guarded(body) => body.is_end_stream(),
            Kind::Refusal(bytes) => bytes.is_none(),
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Guarded(body) => body.size_hint(),
            Kind::Refusal(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
        }
    }
}

impl Guard for Pass {
    fn trailers(&mut self, trailers: &HeaderMap) {
        self.asked_for(retry_after(trailers));
    }

    #[inline(always)]
    fn finish(mut self, judgement: Judgement) {
        self.tell(End {
            outcome: judgement.outcome,
            local: judgement.local,
            retry_after: None,
        });
    }
}
