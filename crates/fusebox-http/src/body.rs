use std::{
    mem::ManuallyDrop,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use crate::{Asked, Classify, Judge, Judgement, classify::Standard};

/// Something a call holds until it is over: a slot, a probe, a reservation.
///
/// It is told the end exactly once, when the body ends, breaks off or is dropped. Giving back what is
/// held belongs into its `Drop`, so that it also happens when nobody gets as far as a body.
pub trait Guard {
    /// The trailers pass, before the end is told; for who looks for more in them than the outcome.
    fn trailers(&mut self, trailers: &http::HeaderMap) {
        let _ = trailers;
    }

    /// The call is over.
    fn finish(self, judgement: Judgement);
}

/// A response body that holds a [`Guard`] until the call is over.
///
/// Frames, size hint and end-of-stream are the inner body's. The guard learns the end as soon as it is
/// certain: with the frame after which the inner body says it has ended, or which completes the
/// announced length, since a server need not ask again after that.
///
/// # Cancel safety
/// Dropping the body at any point finishes the guard as cancelled, unless the outcome was already
/// settled by the head. If it is dropped because the inner body panicked, that is a failure.
#[derive(Debug)]
#[pin_project]
pub struct GuardedBody<B, G: Guard> {
    #[pin]
    inner: B,
    held: Held<G>,
}

// Apart from the body so that it can have a plain `Drop`.
struct Held<G: Guard> {
    // Its drop takes it out, and so there is nothing left for another look at it.
    guard: ManuallyDrop<Option<G>>,
    judge: Judge,
    classify: Option<Arc<dyn Classify>>,
}

impl<B: Body, G: Guard> GuardedBody<B, G> {
    /// Judges the head of `response` and lets its body hold `guard` to the end.
    ///
    /// `classify` is `None` for the standard classification.
    #[inline]
    pub fn wrap(
        response: http::Response<B>,
        asked: Asked,
        classify: Option<Arc<dyn Classify>>,
        guard: G,
    ) -> http::Response<Self> {
        match classify {
            None => Self::wrap_into(response, asked, guard, |body| body),
            Some(own) => Self::wrap_by(response, asked, own, guard),
        }
    }

    /// [`wrap`](Self::wrap) with the standard classification, and the body made `into` whatever it is a part of.
    ///
    /// In one step, because a response is two hundred bytes and moving it is most of what a guard costs.
    #[inline(always)]
    pub fn wrap_into<T>(
        response: http::Response<B>,
        asked: Asked,
        guard: G,
        into: impl FnOnce(Self) -> T,
    ) -> http::Response<T> {
        let Some(judge) = Judge::of_usual(asked, &response) else {
            // There and back through places of its own. What lends its address to a function, be it only to be dropped when
            // that panics, has to be in memory; and a response that is not can be taken apart by the compiler and never be
            // moved at all.
            let (parts, body) = response.into_parts();
            let copy = http::Response::from_parts(parts, body);
            let (parts, body) = Self::wrap_unusual(copy, asked, guard).into_parts();
            return http::Response::from_parts(parts, into(body));
        };
        let held = Held {
            guard: ManuallyDrop::new(Some(guard)),
            judge,
            classify: None,
        };
        response.map(|inner| into(Self { inner, held }))
    }

    #[inline(never)]
    fn wrap_unusual(response: http::Response<B>, asked: Asked, guard: G) -> http::Response<Self> {
        let length = response.body().size_hint().exact();
        let judge = Judge::of(asked, &response, length, &Standard);
        let held = Held::by(judge, guard, response.body().is_end_stream(), None);
        response.map(|inner| Self { inner, held })
    }

    /// [`wrap`](Self::wrap) with a classification of the user's own.
    #[cold]
    #[inline(never)]
    fn wrap_by(
        response: http::Response<B>,
        asked: Asked,
        classify: Arc<dyn Classify>,
        guard: G,
    ) -> http::Response<Self> {
        let length = response.body().size_hint().exact();
        let judge = Judge::of(asked, &response, length, &*classify);
        let ended = response.body().is_end_stream();
        let held = Held::by(judge, guard, ended, Some(classify));
        response.map(|inner| Self { inner, held })
    }

    /// [`poll_frame`](Body::poll_frame) with another error, for bodies that this one is a part of.
    ///
    /// In one step, because a frame is a hundred bytes.
    #[inline(always)]
    pub fn poll_frame_into<E>(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: impl FnOnce(B::Error) -> E,
    ) -> Poll<Option<Result<Frame<B::Data>, E>>> {
        let mut this = self.project();
        let held = this.held;
        held.judge.asking();
        let polled = this.inner.as_mut().poll_frame(cx);
        held.judge.answered();
        // Looked at where it is, and taken apart only to give its error another type.
        let polled = match polled {
            Poll::Ready(Some(Ok(frame))) if !frame.is_data() => {
                Poll::Ready(Some(Ok(held.trailers(frame))))
            }
            polled => polled,
        };
        let judgement = match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let last = match frame.data_ref() {
                    Some(data) => held.judge.data(data.remaining()),
                    // Nothing may follow the trailers (RFC 9110, section 6.5).
                    None => frame.is_trailers(),
                };
                (last || this.inner.is_end_stream()).then(|| held.judge.ended())
            }
            Poll::Ready(None) => Some(held.judge.ended()),
            Poll::Ready(Some(Err(_))) => Some(held.judge.failed()),
            Poll::Pending => None,
        };
        // If telling the end panics, the frame is not dropped: a way on which it would be, would keep it in memory.
        let polled = ManuallyDrop::new(polled);
        if let Some(judgement) = judgement {
            held.finish(judgement);
        }
        match ManuallyDrop::into_inner(polled) {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(frame))),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(into(error)))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<G: Guard> Held<G> {
    /// Holds `guard`, unless the body `ended` before it began.
    #[inline(always)]
    fn by(judge: Judge, guard: G, ended: bool, classify: Option<Arc<dyn Classify>>) -> Self {
        let guard = if ended {
            finish_at_once(guard, judge);
            None
        } else {
            Some(guard)
        };
        Self {
            guard: ManuallyDrop::new(guard),
            judge,
            classify,
        }
    }

    #[inline(always)]
    fn finish(&mut self, judgement: Judgement) {
        if let Some(guard) = self.guard.take() {
            guard.finish(judgement);
        }
    }

    /// Looks into a frame that is no data.
    #[inline(always)]
    fn trailers<D>(&mut self, frame: Frame<D>) -> Frame<D> {
        let (guard, classify) = (self.guard.take(), self.classify.as_deref());
        let (frame, guard, judge) = trailers(frame, guard, self.judge, classify);
        (*self.guard, self.judge) = (guard, judge);
        frame
    }
}

impl<G: Guard> Drop for Held<G> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(guard) = self.guard.take() {
            give_up(guard, self.judge);
        }
    }
}

// What follows is rare, and apart from the usual way. All of it by value: whatever lends its address to a function
// has to be in memory, and a body that is not can be taken apart by the compiler and never be moved at all.

/// For a response without a body.
#[inline(never)]
fn finish_at_once<G: Guard>(guard: G, judge: Judge) {
    guard.finish(judge.ended());
}

#[cold]
#[inline(never)]
fn give_up<G: Guard>(guard: G, judge: Judge) {
    guard.finish(judge.dropped());
}

#[cold]
#[inline(never)]
fn trailers<D, G: Guard>(
    frame: Frame<D>,
    mut guard: Option<G>,
    mut judge: Judge,
    classify: Option<&dyn Classify>,
) -> (Frame<D>, Option<G>, Judge) {
    let Some(trailers) = frame.trailers_ref() else {
        return (frame, guard, judge);
    };
    judge.trailers(trailers, classify.unwrap_or(&Standard));
    if let Some(guard) = &mut guard {
        guard.trailers(trailers);
    }
    (frame, guard, judge)
}

impl<G: Guard> std::fmt::Debug for Held<G> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held")
            .field("finished", &self.guard.is_none())
            .field("judge", &self.judge)
            .finish_non_exhaustive()
    }
}

impl<B: Body, G: Guard> Body for GuardedBody<B, G> {
    type Data = B::Data;
    type Error = B::Error;

    #[inline(always)]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.poll_frame_into(cx, |error| error)
    }

    #[inline(always)]
    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    #[inline(always)]
    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use bytes::Bytes;
    use fusebox_core::Outcome;
    use http::{HeaderMap, Response};
    use http_body_util::{BodyExt, Empty, Full, StreamBody};

    use super::*;
    use crate::Protocol;

    #[derive(Clone, Default)]
    struct Log(Rc<RefCell<Vec<Outcome>>>);

    impl Log {
        fn said(&self) -> Vec<Outcome> {
            self.0.borrow().clone()
        }
    }

    impl Guard for Log {
        fn finish(self, judgement: Judgement) {
            self.0.borrow_mut().push(judgement.outcome);
        }
    }

    const HTTP: Asked = Asked {
        protocol: Protocol::Http,
        head_only: false,
        own: false,
    };
    const GRPC: Asked = Asked {
        protocol: Protocol::Grpc,
        head_only: false,
        own: false,
    };

    fn wrap<B: Body>(body: B, asked: Asked) -> (GuardedBody<B, Log>, Log) {
        let log = Log::default();
        let response = GuardedBody::wrap(Response::new(body), asked, None, log.clone());
        (response.into_body(), log)
    }

    type Item = Result<Frame<Bytes>, &'static str>;

    fn stream(frames: Vec<Item>) -> impl Body<Data = Bytes, Error = &'static str> + Unpin {
        let mut frames = frames.into_iter();
        StreamBody::new(futures(move || frames.next()))
    }

    fn futures(
        next: impl FnMut() -> Option<Item> + Unpin,
    ) -> impl futures_core::Stream<Item = Item> + Unpin {
        struct Iter<F>(F);
        impl<F: FnMut() -> Option<Item> + Unpin> futures_core::Stream for Iter<F> {
            type Item = Item;
            fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Item>> {
                Poll::Ready((self.0)())
            }
        }
        Iter(next)
    }

    fn data(bytes: &'static [u8]) -> Item {
        Ok(Frame::data(Bytes::from_static(bytes)))
    }

    #[test]
    fn an_empty_body_is_over_at_once() {
        let (_body, log) = wrap(Empty::<Bytes>::new(), HTTP);
        assert_eq!(log.said(), [Outcome::Success]);
    }

    #[tokio::test]
    async fn a_full_body_is_over_with_its_only_frame() {
        let (mut body, log) = wrap(Full::new(Bytes::from_static(b"hello")), HTTP);
        assert_eq!(log.said(), []);
        body.frame().await.unwrap().unwrap();
        assert_eq!(log.said(), [Outcome::Success]);
        drop(body);
        assert_eq!(log.said(), [Outcome::Success], "said once");
    }

    #[tokio::test]
    async fn a_stream_is_over_when_it_says_so() {
        let (mut body, log) = wrap(stream(vec![data(b"a"), data(b"b")]), HTTP);
        body.frame().await.unwrap().unwrap();
        body.frame().await.unwrap().unwrap();
        assert_eq!(log.said(), []);
        assert!(body.frame().await.is_none());
        assert_eq!(log.said(), [Outcome::Success]);
    }

    #[tokio::test]
    async fn the_announced_length_is_the_end_even_if_nobody_asks_again() {
        let log = Log::default();
        let response = Response::builder()
            .header("content-length", 2)
            .body(stream(vec![data(b"a"), data(b"b")]))
            .unwrap();
        let mut body = GuardedBody::wrap(response, HTTP, None, log.clone()).into_body();
        body.frame().await.unwrap().unwrap();
        body.frame().await.unwrap().unwrap();
        drop(body);
        assert_eq!(log.said(), [Outcome::Success]);
    }

    #[tokio::test]
    async fn a_broken_body_is_a_failure() {
        let (mut body, log) = wrap(stream(vec![data(b"a"), Err("reset")]), HTTP);
        body.frame().await.unwrap().unwrap();
        body.frame().await.unwrap().unwrap_err();
        assert_eq!(log.said(), [Outcome::Failure]);
    }

    #[test]
    fn a_body_that_panics_is_a_failure_and_a_reader_that_panics_is_not() {
        let panicking = |panics: bool| {
            let body = StreamBody::new(futures(move || {
                assert!(!panics, "a test wants it");
                Some(data(b"a"))
            }));
            let (mut body, log) = wrap(body, HTTP);
            let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
                let mut cx = Context::from_waker(std::task::Waker::noop());
                let _ = Pin::new(&mut body).poll_frame(&mut cx);
                std::panic::resume_unwind(Box::new("the reader"));
            }));
            assert!(read.is_err());
            log.said()
        };
        assert_eq!(panicking(true), [Outcome::Failure]);
        assert_eq!(panicking(false), [Outcome::Cancelled]);
    }

    #[tokio::test]
    async fn a_body_dropped_half_way_is_cancelled() {
        let (mut body, log) = wrap(stream(vec![data(b"a"), data(b"b")]), HTTP);
        body.frame().await.unwrap().unwrap();
        drop(body);
        assert_eq!(log.said(), [Outcome::Cancelled]);
    }

    #[tokio::test]
    async fn grpc_trailers_decide_at_the_end() {
        for (code, outcome) in [("0", Outcome::Success), ("14", Outcome::Failure)] {
            let trailers = HeaderMap::from_iter([(
                http::HeaderName::from_static("grpc-status"),
                http::HeaderValue::from_static(code),
            )]);
            let frames = vec![data(b"message"), Ok(Frame::trailers(trailers))];
            let (mut body, log) = wrap(stream(frames), GRPC);
            body.frame().await.unwrap().unwrap();
            assert_eq!(log.said(), []);
            body.frame().await.unwrap().unwrap();
            assert_eq!(log.said(), [outcome]);
        }
    }

    #[tokio::test]
    async fn a_grpc_stream_without_a_status_failed() {
        let log = Log::default();
        let response = Response::builder()
            .header("content-type", "application/grpc")
            .body(stream(vec![data(b"message")]))
            .unwrap();
        let mut body = GuardedBody::wrap(response, GRPC, None, log.clone()).into_body();
        while body.frame().await.is_some() {}
        assert_eq!(log.said(), [Outcome::Failure]);
    }

    #[test]
    fn size_and_end_are_the_inner_bodys() {
        let (body, _log) = wrap(Full::new(Bytes::from_static(b"hello")), HTTP);
        assert_eq!(body.size_hint().exact(), Some(5));
        assert!(!body.is_end_stream());
    }
}
