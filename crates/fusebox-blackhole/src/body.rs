//! What an answer carries: the inner body, a refusal, or a trickle.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use fusebox_http::GuardedBody;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use crate::{record::Record, tarpit::Trickle};

/// The body of a response that came through a [`Blackhole`](crate::Blackhole).
#[pin_project]
pub struct BlackholeBody<B: Body<Data = Bytes>> {
    #[pin]
    content: Content<B>,
}

#[pin_project(project = ContentProject)]
enum Content<B: Body<Data = Bytes>> {
    Inner(#[pin] GuardedBody<B, Record>),
    Refusal(Bytes),
    Trickle(Option<Trickle>),
}

impl<B: Body<Data = Bytes>> BlackholeBody<B> {
    pub(crate) const fn inner(body: GuardedBody<B, Record>) -> Self {
        Self {
            content: Content::Inner(body),
        }
    }

    pub(crate) const fn refusal(content: Bytes) -> Self {
        Self {
            content: Content::Refusal(content),
        }
    }

    pub(crate) const fn trickle(trickle: Trickle) -> Self {
        Self {
            content: Content::Trickle(Some(trickle)),
        }
    }
}

impl<B: Body<Data = Bytes>> Body for BlackholeBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().content.project() {
            ContentProject::Inner(body) => body.poll_frame(cx),
            ContentProject::Refusal(content) if content.is_empty() => Poll::Ready(None),
            ContentProject::Refusal(content) => {
                Poll::Ready(Some(Ok(Frame::data(std::mem::take(content)))))
            }
            ContentProject::Trickle(trickle) => {
                let polled = match trickle {
                    Some(trickle) => trickle.poll_frame(cx),
                    None => Poll::Ready(None),
                };
                if let Poll::Ready(None) = polled {
                    // Its place is free as soon as it is over.
                    *trickle = None;
                }
                polled
            }
        }
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Inner(body) => body.is_end_stream(),
            Content::Refusal(content) => content.is_empty(),
            Content::Trickle(trickle) => trickle.is_none(),
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Inner(body) => body.size_hint(),
            Content::Refusal(content) => SizeHint::with_exact(content.len() as u64),
            Content::Trickle(_) => SizeHint::default(),
        }
    }
}

impl<B: Body<Data = Bytes>> fmt::Debug for BlackholeBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.content {
            Content::Inner(_) => "BlackholeBody::Inner",
            Content::Refusal(_) => "BlackholeBody::Refusal",
            Content::Trickle(_) => "BlackholeBody::Trickle",
        })
    }
}
