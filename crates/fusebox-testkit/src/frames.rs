use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame};

/// What came out of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frames {
    /// The frames of data, in order and as they were cut.
    pub data: Vec<Bytes>,
    /// The trailers, if there were any.
    pub trailers: Option<HeaderMap>,
}

impl Frames {
    /// All data in one piece.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.data.concat()
    }

    pub(crate) fn push<D: Buf>(&mut self, frame: Frame<D>) {
        match frame.into_data() {
            Ok(mut data) => self.data.push(data.copy_to_bytes(data.remaining())),
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    self.trailers.get_or_insert_default().extend(trailers);
                }
            }
        }
    }
}

/// Reads a body to its end.
///
/// # Errors
/// The body's own error; what came before it is lost.
///
/// ```
/// # use fusebox_testkit::{MockBody, MockFrame, body_to_frames, poll_n_times};
/// # use std::{pin::pin, task::Poll};
/// let body = MockBody::of([MockFrame::data("a"), MockFrame::trailer("grpc-status", "0")]);
/// let Poll::Ready(Ok(frames)) = poll_n_times(pin!(body_to_frames(body)), 1) else { panic!() };
/// assert_eq!(frames.data, ["a"]);
/// assert_eq!(frames.trailers.unwrap()["grpc-status"], "0");
/// ```
pub async fn body_to_frames<B: Body>(body: B) -> Result<Frames, B::Error> {
    let mut body = std::pin::pin!(body);
    let mut frames = Frames::default();
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        frames.push(frame?);
    }
    Ok(frames)
}
