//! The body that the inner service, or the client, gets to see.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use crate::kept::Kept;

/// A body that may have been read before: the same bytes, trailers, error and announced length as the body it was made of. Frames
/// of a body that was read may be put together anew.
#[pin_project]
pub struct InspectedBody<B: Body> {
    #[pin]
    kind: Kind<B>,
}

#[pin_project(project = Of)]
enum Kind<B: Body> {
    Direct(#[pin] B),
    Replayed(Replayed<B>),
}

struct Replayed<B: Body> {
    frames: std::vec::IntoIter<Bytes>,
    trailers: Option<HeaderMap>,
    tail: Tail<B>,
    /// What is still to come of what the body said of its length when it was untouched.
    hint: SizeHint,
}

/// What comes after what was read.
pub(crate) enum Tail<B: Body> {
    /// Nothing; and whether the body had said so, or only had nothing more to give.
    Ended { said: bool },
    /// The error with which it broke off.
    Broken(Option<B::Error>),
    /// The rest as it comes.
    Open(Pin<Box<B>>),
}

impl<B: Body> InspectedBody<B> {
    #[inline]
    pub(crate) const fn direct(body: B) -> Self {
        Self {
            kind: Kind::Direct(body),
        }
    }

    /// `hint` is what the body said of its length before it was read.
    pub(crate) fn replayed(kept: Kept, tail: Tail<B>, hint: SizeHint) -> Self {
        let (frames, trailers) = kept.into_frames();
        Self {
            kind: Kind::Replayed(Replayed {
                frames,
                trailers,
                tail,
                hint,
            }),
        }
    }
}

impl<B: Body> Replayed<B> {
    fn given(&mut self, bytes: usize) {
        let given = bytes as u64;
        let mut left = SizeHint::new();
        if let Some(upper) = self.hint.upper() {
            left.set_upper(upper.saturating_sub(given));
        }
        left.set_lower(self.hint.lower().saturating_sub(given));
        self.hint = left;
    }
}

impl<B> Body for InspectedBody<B>
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
        let replayed = match self.project().kind.project() {
            Of::Direct(body) => return body.poll_frame(cx),
            Of::Replayed(replayed) => replayed,
        };
        if let Some(bytes) = replayed.frames.next() {
            replayed.given(bytes.len());
            return Poll::Ready(Some(Ok(Frame::data(bytes.into()))));
        }
        if let Some(trailers) = replayed.trailers.take() {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        match &mut replayed.tail {
            Tail::Open(body) => body.as_mut().poll_frame(cx),
            Tail::Broken(error) => Poll::Ready(error.take().map(Err)),
            Tail::Ended { said } => {
                *said = true;
                Poll::Ready(None)
            }
        }
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Direct(body) => body.is_end_stream(),
            Kind::Replayed(replayed) => {
                replayed.frames.as_slice().is_empty()
                    && replayed.trailers.is_none()
                    && match &replayed.tail {
                        Tail::Open(body) => body.is_end_stream(),
                        Tail::Broken(error) => error.is_none(),
                        Tail::Ended { said } => *said,
                    }
            }
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Direct(body) => body.size_hint(),
            Kind::Replayed(replayed) => match &replayed.tail {
                Tail::Open(body) if replayed.frames.as_slice().is_empty() => body.size_hint(),
                _ => replayed.hint,
            },
        }
    }
}

impl<B: Body> std::fmt::Debug for InspectedBody<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &self.kind {
            Kind::Direct(_) => "InspectedBody(direct)",
            Kind::Replayed(_) => "InspectedBody(replayed)",
        })
    }
}
