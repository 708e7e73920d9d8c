use std::{
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use super::{
    Lost, Threads,
    handover::{self, Reader, Writer},
    task::Running,
};
use http_body::{Body, Frame, SizeHint};

/// How many frames the producer may be ahead of what the reader has taken.
///
/// The reader takes all there are at once, so this is also how many are handed over for one wake-up when
/// both sides are fast. More would only be memory: frames are the size their handler cuts them.
const AHEAD: usize = 8;

/// A body whose frames are produced on the threads of a compartment.
///
/// Frames, trailers, errors, size hint and end-of-stream are those of the body over there. At most
/// sixteen frames are waiting here, eight of them taken; then the producer waits for the reader.
///
/// # Cancel safety
/// Dropping it drops the body over there at its next await.
#[must_use = "the body over there ends when this is dropped"]
pub struct RemoteBody<D, E> {
    /// What the body says of itself, as of the last frame handed out.
    end: bool,
    hint: SizeHint,
    /// A frame that came with the head.
    first: Option<Sent<D, E>>,
    /// `None` once it is over.
    rest: Option<Rest<D, E>>,
}

struct Rest<D, E> {
    frames: Reader<Sent<D, E>>,
    producer: Running<()>,
}

/// A frame, or the error, and what the body says of itself after it.
struct Sent<D, E> {
    frame: Result<Frame<D>, E>,
    end: bool,
    hint: SizeHint,
}

impl<D, E> Sent<D, E> {
    fn after<B: Body<Data = D, Error = E>>(body: &B, frame: Result<Frame<D>, E>) -> Self {
        Self {
            frame,
            end: body.is_end_stream(),
            hint: body.size_hint(),
        }
    }

    /// Whether nothing follows it.
    const fn is_last(&self) -> bool {
        self.end || self.frame.is_err()
    }
}

impl<D, E> RemoteBody<D, E> {
    pub(super) fn start<B, H>(threads: &Threads, body: B, hold: H) -> Self
    where
        B: Body<Data = D, Error = E> + Send + 'static,
        D: Send + 'static,
        E: Send + 'static,
        H: Send + 'static,
    {
        let mut this = Self {
            end: body.is_end_stream(),
            hint: body.size_hint(),
            first: None,
            rest: None,
        };
        if this.end {
            drop((body, hold));
            return this;
        }
        let mut body = Box::pin(body);
        // A body that knows its length usually has it all in memory: most answers are one frame, which
        // can go along with the head and spare them a second task. A stream is left to its producer,
        // since its head must not wait for it.
        if this.hint.exact().is_some() && threads.are_here() {
            let mut cx = Context::from_waker(Waker::noop());
            if let Poll::Ready(frame) = body.as_mut().poll_frame(&mut cx) {
                this.first = frame.map(|frame| Sent::after(&*body, frame));
                if this.first.as_ref().is_none_or(Sent::is_last) {
                    drop((body, hold));
                    return this;
                }
            }
        }
        let (writer, frames) = handover::queue(AHEAD);
        this.rest = Some(Rest {
            frames,
            producer: threads.run(produce(body, hold, writer)),
        });
        this
    }

    fn hand_out(&mut self, sent: Sent<D, E>) -> Result<Frame<D>, BodyError<E>> {
        if sent.frame.is_err() {
            self.rest = None;
        }
        self.end = sent.end;
        self.hint = sent.hint;
        sent.frame.map_err(BodyError::Inner)
    }
}

/// Ends with the body, with its error, or when nobody reads it any more.
async fn produce<B: Body, H>(
    mut body: Pin<Box<B>>,
    hold: H,
    frames: Writer<Sent<B::Data, B::Error>>,
) {
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let sent = Sent::after(&*body, frame);
        if sent.is_last() {
            // Before the reader hears of the end: its next call must find the slot free.
            drop((body, hold));
            let _ = frames.write(sent).await;
            return;
        }
        if frames.write(sent).await.is_err() {
            break;
        }
    }
    // As above; the end of a body that did not announce it is the end of the queue.
    drop((body, hold));
    drop(frames);
}

impl<D, E> Body for RemoteBody<D, E>
where
    D: bytes::Buf,
{
    type Data = D;
    type Error = BodyError<E>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<D>, BodyError<E>>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(self.hand_out(first)));
        }
        let Some(rest) = &mut self.rest else {
            return Poll::Ready(None);
        };
        if let Some(sent) = ready!(rest.frames.poll_read(cx)) {
            return Poll::Ready(Some(self.hand_out(sent)));
        }
        // No more frames: the producer knows whether that is the end.
        let ended = ready!(Pin::new(&mut rest.producer).poll(cx));
        self.rest = None;
        Poll::Ready(match ended {
            Ok(()) => None,
            Err(lost) => Some(Err(BodyError::Lost(lost))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.end
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

// Nothing in it is pinned: the body itself is over there.
impl<D, E> Unpin for RemoteBody<D, E> {}

impl<D, E> std::fmt::Debug for RemoteBody<D, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteBody")
            .field("end", &self.end)
            .field("hint", &self.hint)
            .finish_non_exhaustive()
    }
}

/// Why a body from a compartment's threads broke off.
///
/// It turns into a boxed error, which is all that axum, hyper and tonic ask of it: the body's own error
/// as itself, without this around it. That excludes implementing `Error`; a body whose errors are boxed
/// already would have no place in a compartment otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError<E> {
    /// The body's own error.
    Inner(E),
    /// The body panicked, or its threads were shut down.
    Lost(Lost),
}

impl<E: std::fmt::Display> std::fmt::Display for BodyError<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inner(error) => error.fmt(f),
            Self::Lost(lost) => lost.fmt(f),
        }
    }
}

impl<E> From<BodyError<E>> for Box<dyn std::error::Error + Send + Sync>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn from(error: BodyError<E>) -> Self {
        match error {
            BodyError::Inner(error) => error.into(),
            BodyError::Lost(lost) => lost.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        sync::LazyLock,
    };

    use bytes::Bytes;
    use fusebox_testkit::{Frames, MockBody, MockError, MockFrame, assert_body, body_to_frames};
    use http_body_util::{BodyExt, Full};
    use proptest::prelude::*;

    use super::*;
    use crate::threads::testing::*;

    type MockRemote = RemoteBody<Bytes, MockError>;

    const ERROR: MockError = MockError("connection reset");

    fn data(data: &'static str) -> MockFrame {
        MockFrame::data(data)
    }

    /// As a layer does it: on the threads, from the future that made the body.
    async fn remote<B, H>(threads: &Threads, body: B, hold: H) -> RemoteBody<B::Data, B::Error>
    where
        B: Body<Data: Send, Error: Send> + Send + 'static,
        H: Send + 'static,
    {
        let copy = threads.clone();
        let task = threads.spawn(async move { copy.body(body, hold) });
        within(task).await.unwrap()
    }

    async fn frame(body: &mut MockRemote) -> Option<Result<Bytes, BodyError<MockError>>> {
        let frame = within(body.frame()).await?;
        Some(frame.map(|frame| frame.into_data().unwrap()))
    }

    #[test]
    fn fits_where_axum_hyper_and_tonic_want_a_body() {
        type Boxed = Box<dyn std::error::Error + Send + Sync>;
        assert_body::<RemoteBody<Bytes, MockError>>();
        assert_body::<RemoteBody<Bytes, Boxed>>();
        // Compartments inside of each other.
        assert_body::<RemoteBody<Bytes, BodyError<Boxed>>>();
    }

    #[tokio::test]
    async fn every_body_arrives_as_it_was() {
        let threads = threads(2);
        let mixed = [
            data("a"),
            MockFrame::Pending,
            data("b"),
            MockFrame::Pending,
            MockFrame::Pending,
            data(""),
            data("c"),
            data("d"),
            data("e"),
            data("f"),
            MockFrame::trailer("grpc-status", "0"),
        ];
        for body in [
            MockBody::empty(),
            MockBody::full("hello"),
            MockBody::of([]),
            MockBody::of([]).hiding_its_end(),
            MockBody::of([data("a"), data("b")]).announcing_its_length(),
            MockBody::of([MockFrame::Pending, data("a")]).announcing_its_length(),
            MockBody::full("hello").hiding_its_end(),
            MockBody::of([MockFrame::trailer("x-check", "1")]),
            MockBody::of(mixed.clone()),
            MockBody::of(mixed.clone()).hiding_its_end(),
            MockBody::of(mixed).announcing_its_length(),
        ] {
            let expected: Frames = within(body_to_frames(body.clone())).await.unwrap();
            let (held, dropped) = held();
            let remote = remote(&threads, body, held).await;
            assert_eq!(within(body_to_frames(remote)).await, Ok(expected));
            within(dropped).await;
        }
        within(threads.shutdown(PATIENCE)).await;
    }

    #[tokio::test]
    async fn size_and_end_go_with_the_frames() {
        let threads = threads(1);
        let body = MockBody::of([data("ab"), data("c")]).announcing_its_length();
        let mut remote = remote(&threads, body, ()).await;
        for (left, end) in [(3, false), (1, false), (0, true)] {
            assert_eq!(remote.size_hint().exact(), Some(left));
            assert_eq!(remote.is_end_stream(), end, "{left}");
            if !end {
                frame(&mut remote).await.unwrap().unwrap();
            }
        }
        assert!(frame(&mut remote).await.is_none());
        assert!(frame(&mut remote).await.is_none(), "and again");
    }

    #[tokio::test]
    async fn an_answer_in_one_piece_is_over_with_its_head() {
        let threads = threads(1);
        let (held, mut dropped) = {
            let (held, dropped) = held();
            (held, Box::pin(dropped))
        };
        let body = remote(&threads, Full::new(Bytes::from_static(b"hello")), held).await;
        assert!(poll_once(&mut dropped).is_ready());
        assert_eq!(body.size_hint().exact(), Some(5), "nobody has read it yet");
        assert!(!body.is_end_stream());
        assert_eq!(within(body.collect()).await.unwrap().to_bytes(), "hello");
    }

    #[tokio::test]
    async fn the_head_of_a_stream_does_not_wait_for_its_frames() {
        let threads = threads(1);
        let body = MockBody::of([data("a"), MockFrame::Stall]).hiding_its_end();
        let mut remote = remote(&threads, body, ()).await;
        assert_eq!(frame(&mut remote).await, Some(Ok("a".into())));
    }

    #[tokio::test]
    async fn what_is_held_is_given_back_before_the_reader_hears_of_the_end() {
        let threads = threads(1);
        for body in [
            MockBody::of([data("a"), data("b")]),
            MockBody::of([data("a"), data("b")]).hiding_its_end(),
            MockBody::of([data("a"), MockFrame::Error(ERROR)]),
            MockBody::of([data("a"), MockFrame::trailer("x-check", "1")]),
        ] {
            let (held, dropped) = held();
            let mut dropped = Box::pin(dropped);
            let mut remote = remote(&threads, body, held).await;
            loop {
                let frame = within(remote.frame()).await;
                if matches!(frame, None | Some(Err(_))) || remote.is_end_stream() {
                    break;
                }
            }
            assert!(poll_once(&mut dropped).is_ready());
        }
    }

    #[tokio::test]
    async fn an_error_is_the_bodys_own_and_the_last_word() {
        let threads = threads(1);
        let body = MockBody::of([data("a"), MockFrame::Error(ERROR)]);
        let mut remote = remote(&threads, body, ()).await;
        assert_eq!(frame(&mut remote).await, Some(Ok("a".into())));
        assert_eq!(frame(&mut remote).await, Some(Err(BodyError::Inner(ERROR))));
        assert_eq!(frame(&mut remote).await, None);
    }

    #[tokio::test]
    async fn a_panic_in_the_body_is_an_error_that_tells_so() {
        let threads = threads(1);
        let body = MockBody::of([data("a"), MockFrame::Panic]);
        let (held, dropped) = held();
        let mut remote = remote(&threads, body, held).await;
        assert_eq!(frame(&mut remote).await, Some(Ok("a".into())));
        let error = frame(&mut remote).await.unwrap().unwrap_err();
        assert_eq!(error, BodyError::Lost(Lost::Panicked));
        assert_eq!(
            Box::<dyn std::error::Error + Send + Sync>::from(error).to_string(),
            "panicked on the threads of its compartment"
        );
        assert_eq!(frame(&mut remote).await, None);
        within(dropped).await;
        assert_eq!(within(threads.spawn(async { 1 })).await, Ok(1));
    }

    #[tokio::test]
    async fn a_body_dropped_half_way_stops_being_produced() {
        let threads = threads(1);
        for (body, frames) in [
            // Waiting for itself, and waiting for the reader.
            (MockBody::of([data("a"), MockFrame::Stall]), 1),
            (MockBody::of((0..100).map(|_| data("a"))), 1),
            (MockBody::of([data("a"), MockFrame::Stall]), 0),
            (MockBody::of((0..100).map(|_| data("a"))), 0),
        ] {
            let (held, dropped) = held();
            let mut remote = remote(&threads, body, held).await;
            for _ in 0..frames {
                frame(&mut remote).await.unwrap().unwrap();
            }
            drop(remote);
            within(dropped).await;
        }
    }

    #[tokio::test]
    async fn the_producer_is_never_more_than_a_few_frames_ahead() {
        let threads = threads(1);
        let (produced, count) = std::sync::mpsc::channel();
        struct Counting(std::sync::mpsc::Sender<()>);
        impl Body for Counting {
            type Data = Bytes;
            type Error = MockError;
            fn poll_frame(
                self: Pin<&mut Self>,
                _: &mut Context<'_>,
            ) -> Poll<Option<Result<Frame<Bytes>, MockError>>> {
                self.0.send(()).unwrap();
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"a")))))
            }
        }
        let mut remote = remote(&threads, Counting(produced), ()).await;
        // One is in the producer's hand when the queue is full.
        let patience = std::time::Duration::from_secs(30);
        for _ in 0..=AHEAD {
            count.recv_timeout(patience).unwrap();
        }
        // The only worker gets to something else, so the producer waits; it has made no more.
        within(threads.spawn(async {})).await.unwrap();
        assert!(count.try_recv().is_err());
        for _ in 0..3 {
            // The first takes as many as there are places; the others are at hand.
            for read in 0..AHEAD {
                frame(&mut remote).await.unwrap().unwrap();
                if read == 0 {
                    for _ in 0..AHEAD {
                        count.recv_timeout(patience).unwrap();
                    }
                }
                within(threads.spawn(async {})).await.unwrap();
                assert!(count.try_recv().is_err());
            }
        }
    }

    #[tokio::test]
    async fn a_body_cut_off_by_a_shutdown_says_so() {
        let threads = threads(1);
        let body = MockBody::of([data("a"), MockFrame::Stall]);
        let mut remote = remote(&threads, body, ()).await;
        assert_eq!(frame(&mut remote).await, Some(Ok("a".into())));
        assert_eq!(within(threads.shutdown(std::time::Duration::ZERO)).await, 1);
        let error = frame(&mut remote).await;
        assert_eq!(error, Some(Err(BodyError::Lost(Lost::ShutDown))));
    }

    #[tokio::test]
    async fn a_body_handed_over_from_elsewhere_is_produced_over_there_all_the_same() {
        struct WhichThread(bool);
        impl Body for WhichThread {
            type Data = Bytes;
            type Error = MockError;
            fn poll_frame(
                mut self: Pin<&mut Self>,
                _: &mut Context<'_>,
            ) -> Poll<Option<Result<Frame<Bytes>, MockError>>> {
                if std::mem::replace(&mut self.0, true) {
                    return Poll::Ready(None);
                }
                let name = std::thread::current().name().unwrap_or_default().to_owned();
                Poll::Ready(Some(Ok(Frame::data(name.into()))))
            }
            fn size_hint(&self) -> SizeHint {
                SizeHint::with_exact(11)
            }
        }
        let threads = threads(1);
        let mut remote = threads.body(WhichThread(false), ());
        assert_eq!(frame(&mut remote).await, Some(Ok("compartment".into())));
    }

    /// How reading a body ends.
    #[derive(Debug, PartialEq)]
    enum End {
        Ended,
        Failed,
        Panicked,
        GivenUp,
    }

    /// Reads at most `most` frames. Polls here: a mock body wakes whoever it kept waiting.
    async fn read<B>(body: B, most: usize) -> (Frames, End)
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut body = Box::pin(body);
        let mut frames = Frames::default();
        for _ in 0..most {
            let polled = std::future::poll_fn(|cx| {
                match catch_unwind(AssertUnwindSafe(|| body.as_mut().poll_frame(cx))) {
                    Ok(polled) => polled.map(Ok),
                    Err(_) => Poll::Ready(Err(())),
                }
            });
            let frame = match within(polled).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(None) => return (frames, End::Ended),
                Err(()) => return (frames, End::Panicked),
                Ok(Some(Err(error))) => {
                    let panicked = error.into().is::<Lost>();
                    let end = if panicked { End::Panicked } else { End::Failed };
                    return (frames, end);
                }
            };
            match frame.into_data() {
                Ok(data) => frames.data.push(data),
                Err(frame) => frames
                    .trailers
                    .get_or_insert_default()
                    .extend(frame.into_trailers().unwrap()),
            }
        }
        (frames, End::GivenUp)
    }

    fn bodies() -> impl Strategy<Value = MockBody> {
        let step = prop_oneof![
            6 => "[a-c]{0,3}".prop_map(|data| MockFrame::Data(data.into())),
            3 => Just(MockFrame::Pending),
            1 => Just(MockFrame::trailer("x-check", "1")),
            1 => Just(MockFrame::Error(ERROR)),
            1 => Just(MockFrame::Panic),
        ];
        let steps = proptest::collection::vec(step, 0..24);
        (steps, any::<bool>(), any::<bool>()).prop_map(|(steps, announces, hides)| {
            let mut body = MockBody::of(steps);
            if announces {
                body = body.announcing_its_length();
            }
            if hides {
                body = body.hiding_its_end();
            }
            body
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn a_body_over_there_reads_as_it_would_here(body in bodies(), most in 0_usize..24) {
            static THREADS: LazyLock<Threads> = LazyLock::new(|| threads(2));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let (held, dropped) = held();
                let inner = body.clone();
                let started = THREADS.spawn(async move { THREADS.body(inner, held) });
                let here = read(body.clone(), most).await;
                let there = match within(started).await {
                    Ok(remote) => read(remote, most).await,
                    // In its first frame, which goes along with the head.
                    Err(Lost::Panicked) if body.size_hint().exact().is_some() => {
                        (Frames::default(), End::Panicked)
                    }
                    Err(lost) => panic!("{lost}"),
                };
                // What panicked with the head was not waited for here.
                if most > 0 || there.1 != End::Panicked {
                    prop_assert_eq!(here, there);
                }
                within(dropped).await;
                Ok(())
            })?;
        }
    }
}
