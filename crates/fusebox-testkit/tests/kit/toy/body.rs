use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use fusebox_http::GuardedBody;
use fusebox_testkit::{MockBody, MockError};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::{Flaw, Gate, Record};

type Item = Option<Result<Frame<Bytes>, MockError>>;

/// The toy's answers, and its refusals.
#[pin_project(project = Kind)]
pub(crate) enum ToyBody {
    Answer(#[pin] Answer),
    Refusal(#[pin] MockBody),
}

#[pin_project]
pub(crate) struct Answer {
    #[pin]
    inner: GuardedBody<MockBody, Record>,
    watch: Watch,
    /// For the toy that holds a frame back: the last one it saw, and whether the end has come.
    kept: Option<Item>,
}

/// Sees how the body ends; apart from it so that it can have a plain `Drop`.
struct Watch {
    gate: Gate,
    polling: bool,
    broken: bool,
    over: bool,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let leaks = match self.gate.flaw() {
            Flaw::LeaksWhenItsBodyIsDropped => !self.over && !self.polling,
            Flaw::LeaksOnBrokenBodies => self.broken,
            // Still polling when it is dropped: that poll did not return.
            Flaw::LeaksOnPanicsInBodies => self.polling,
            _ => false,
        };
        if leaks {
            self.gate.leak();
        }
    }
}

impl ToyBody {
    pub(super) fn answer(inner: GuardedBody<MockBody, Record>, gate: Gate) -> Self {
        Self::Answer(Answer {
            watch: Watch {
                over: inner.is_end_stream(),
                gate,
                polling: false,
                broken: false,
            },
            inner,
            kept: None,
        })
    }
}

impl Answer {
    fn frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Item> {
        let this = self.project();
        let mut inner = this.inner;
        this.watch.polling = true;
        let polled = inner.as_mut().poll_frame(cx);
        this.watch.polling = false;
        let mut item = ready!(polled);
        this.watch.broken = matches!(item, Some(Err(_)));
        this.watch.over = !matches!(item, Some(Ok(_))) || inner.is_end_stream();
        match (this.watch.gate.flaw(), &item) {
            (Flaw::EndsBrokenBodies, Some(Err(_))) => item = None,
            (Flaw::ForgetsTrailers, Some(Ok(frame))) if frame.is_trailers() => item = None,
            _ => {}
        }
        Poll::Ready(item)
    }
}

impl Body for ToyBody {
    type Data = Bytes;
    type Error = MockError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Item> {
        let mut answer = match self.project() {
            Kind::Answer(answer) => answer,
            Kind::Refusal(body) => return body.poll_frame(cx),
        };
        if answer.watch.gate.flaw() != Flaw::HoldsAFrameBack {
            return answer.frame(cx);
        }
        loop {
            if let Some(None) = answer.kept {
                return Poll::Ready(None);
            }
            let next = ready!(answer.as_mut().frame(cx));
            if let Some(kept) = answer.as_mut().project().kept.replace(next) {
                return Poll::Ready(kept);
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Answer(answer) => {
                answer.inner.is_end_stream()
                    && !matches!(answer.kept, Some(Some(_)))
                    && answer.watch.gate.flaw() != Flaw::ForgetsTheEndOfStream
            }
            Self::Refusal(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Answer(answer) if answer.watch.gate.flaw() != Flaw::ForgetsTheSizeHint => {
                answer.inner.size_hint()
            }
            Self::Answer(_) => SizeHint::default(),
            Self::Refusal(body) => body.size_hint(),
        }
    }
}
