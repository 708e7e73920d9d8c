use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};

use super::{MockError, unwind};

/// One step of a [`MockBody`].
#[derive(Clone, Debug)]
pub enum MockFrame {
    /// A frame of data.
    Data(Bytes),
    /// The trailers.
    Trailers(HeaderMap),
    /// Not yet: pending once, with the task woken at once.
    Pending,
    /// Never: pending from here on, and nothing will wake the task.
    Stall,
    /// The body breaks off.
    Error(MockError),
    /// The body panics, without a word on the standard error.
    Panic,
}

impl MockFrame {
    /// A frame of data.
    #[must_use]
    pub const fn data(data: &'static str) -> Self {
        Self::Data(Bytes::from_static(data.as_bytes()))
    }

    /// Trailers with one field.
    #[must_use]
    pub fn trailer(name: &'static str, value: &'static str) -> Self {
        Self::Trailers(HeaderMap::from_iter([(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )]))
    }
}

/// A body made of scripted steps.
///
/// Left alone it behaves as a stream of known end and unknown length: `is_end_stream` is true as soon
/// as its last step is done, and the size hint says nothing.
#[derive(Clone, Debug, Default)]
pub struct MockBody {
    steps: VecDeque<MockFrame>,
    announces_length: bool,
    hides_end: bool,
}

impl MockBody {
    /// A body that has ended before it began.
    #[must_use]
    pub fn empty() -> Self {
        Self::of([]).announcing_its_length()
    }

    /// A body of one frame and known length.
    #[must_use]
    pub fn full(data: &'static str) -> Self {
        Self::of([MockFrame::data(data)]).announcing_its_length()
    }

    /// A body that does these steps in this order.
    pub fn of(steps: impl IntoIterator<Item = MockFrame>) -> Self {
        Self {
            steps: steps.into_iter().collect(),
            announces_length: false,
            hides_end: false,
        }
    }

    /// The same body with an exact size hint.
    #[must_use]
    pub const fn announcing_its_length(mut self) -> Self {
        self.announces_length = true;
        self
    }

    /// The same body, whose `is_end_stream` never says so, as that of a body made of a stream.
    #[must_use]
    pub const fn hiding_its_end(mut self) -> Self {
        self.hides_end = true;
        self
    }
}

impl Body for MockBody {
    type Data = Bytes;
    type Error = MockError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, MockError>>> {
        match self.steps.pop_front() {
            None => Poll::Ready(None),
            Some(MockFrame::Data(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Some(MockFrame::Trailers(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Some(MockFrame::Pending) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(MockFrame::Stall) => {
                self.steps.push_front(MockFrame::Stall);
                Poll::Pending
            }
            Some(MockFrame::Error(error)) => {
                self.steps.clear();
                Poll::Ready(Some(Err(error)))
            }
            Some(MockFrame::Panic) => unwind(),
        }
    }

    fn is_end_stream(&self) -> bool {
        !self.hides_end && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if !self.announces_length {
            return SizeHint::default();
        }
        let length = self.steps.iter().map(|step| match step {
            MockFrame::Data(data) => data.len() as u64,
            _ => 0,
        });
        SizeHint::with_exact(length.sum())
    }
}
