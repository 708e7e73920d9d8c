//! A request that is held until it is decided about.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use fusebox_core::RejectionKind;
use http::{Request, request};
use http_body::{Body, SizeHint};
use tokio::time::{Sleep, sleep_until};

use crate::InspectedBody;
use crate::call::{Call, Refused};
use crate::config::OverLimit;
use crate::decode::{DecodeError, Decoder};
use crate::exam::{Exam, Step, Stop};
use crate::feed::Feed;
use crate::inspected::Tail;
use crate::kept::Kept;
use crate::pace::Pace;
use crate::ruleset::Shared;

/// Reads the body as far as it is looked at, then runs phase 2 in slices.
///
/// A body that breaks off is inspected as far as it came, and handed on with its error: the inner service sees what it would have
/// seen.
pub(crate) struct Arrival<S, R: Body> {
    shared: Arc<Shared>,
    /// Apart from each other, so that each can be taken out when it is decided.
    rest: Option<Rest<S, R>>,
    exam: Option<Exam>,
    kept: Kept,
    feed: Feed,
    /// How much the rules were shown.
    shown: usize,
    pace: Pace,
    reads: bool,
    /// Made when the body lets wait for the first time.
    timer: Option<Pin<Box<Sleep>>>,
}

struct Rest<S, R: Body> {
    call: Call,
    inner: S,
    head: request::Parts,
    body: Tail<R>,
    hint: SizeHint,
}

/// What is to be read of a request before it is decided about.
#[derive(Debug)]
pub(crate) enum Reads {
    Nothing,
    /// All of it, and what takes its content coding off for the rules.
    Body(Option<Decoder>),
}

/// What was decided.
#[expect(
    clippy::large_enum_variant,
    reason = "it is taken apart where it is returned"
)]
pub(crate) enum Decided<S, R: Body> {
    Call(S, Request<InspectedBody<R>>, Call),
    Refused(Refused),
}

impl<S, R> Arrival<S, R>
where
    R: Body<Data: From<Bytes>>,
{
    pub(crate) fn new(
        request: Request<R>,
        inner: S,
        call: Call,
        exam: Exam,
        shared: &Arc<Shared>,
        reads: Reads,
    ) -> Self {
        let (head, body) = request.into_parts();
        let hint = body.size_hint();
        let is_read = matches!(reads, Reads::Body(_));
        Self {
            shared: shared.clone(),
            rest: Some(Rest {
                call,
                inner,
                head,
                body: Tail::Open(Box::pin(body)),
                hint,
            }),
            exam: Some(exam),
            kept: Kept::default(),
            shown: 0,
            pace: Pace::default(),
            feed: match reads {
                Reads::Nothing => Feed::default(),
                Reads::Body(decoder) => Feed::decoding(decoder),
            },
            reads: is_read,
            timer: None,
        }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Decided<S, R>> {
        let mut stop = None;
        if self.reads {
            stop = ready!(self.read(cx));
            self.reads = false;
            self.timer = None;
        }
        if stop.is_none()
            && let Some(exam) = &mut self.exam
        {
            let step = match self.pace.share() {
                Some(share) => exam.timed(|exam| exam.request_slice(share), 2),
                None => Step::More,
            };
            match step {
                Step::Pass => {}
                Step::Stop(stopped) => stop = Some(stopped),
                Step::More => {
                    self.pace.rest(cx);
                    return Poll::Pending;
                }
            }
        }
        let (Some(mut rest), Some(exam)) = (self.rest.take(), self.exam.take()) else {
            return Poll::Pending;
        };
        rest.call.waited();
        if let Some(refused) = rest.call.settle_request(exam, stop) {
            return Poll::Ready(Decided::Refused(refused));
        }
        let kept = std::mem::take(&mut self.kept);
        let body = InspectedBody::replayed(kept, rest.body, rest.hint);
        let request = Request::from_parts(rest.head, body);
        Poll::Ready(Decided::Call(rest.inner, request, rest.call))
    }

    /// Reads to the end, to the limit, or to what must not pass.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Stop>> {
        let (Some(rest), Some(exam)) = (&mut self.rest, &mut self.exam) else {
            return Poll::Ready(None);
        };
        let limits = *exam.limits();
        loop {
            if self.pace.share().is_none() {
                self.pace.rest(cx);
                return Poll::Pending;
            }
            let refuses = limits.over_request == OverLimit::Refuse;
            match self.feed.next() {
                Err(DecodeError::Malformed) => return Poll::Ready(Some(Stop::undecodable())),
                Err(DecodeError::Bomb) => return Poll::Ready(Some(TOO_LARGE)),
                Ok(Some(piece)) => {
                    Pace::spend_on_parsing(piece.len());
                    // The rules have the same limit, and are told that there is more (`INBOUND_DATA_ERROR`).
                    let stopped = exam.body(piece);
                    if stopped.is_some() {
                        return Poll::Ready(stopped);
                    }
                    self.shown = self.shown.saturating_add(piece.len());
                    if self.shown > limits.request {
                        return Poll::Ready(refuses.then_some(TOO_LARGE));
                    }
                    continue;
                }
                // Coded, it may be longer than what comes out of it.
                Ok(None) if self.kept.length() > limits.request => {
                    return Poll::Ready(refuses.then_some(TOO_LARGE));
                }
                Ok(None) => {}
            }
            let Tail::Open(body) = &mut rest.body else {
                break;
            };
            let Poll::Ready(frame) = body.as_mut().poll_frame(cx) else {
                let allowed =
                    allowed(limits.grace, limits.rate, self.kept.length()).min(limits.deadline);
                let due = self.shared.clock.instant(rest.call.started + allowed);
                let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
                // It was set when less had arrived.
                while timer.as_mut().poll(cx).is_ready() {
                    if timer.deadline() >= due {
                        let stop = Stop::at_limit(RejectionKind::TooSlow, 2);
                        return Poll::Ready(Some(stop));
                    }
                    timer.as_mut().reset(due);
                }
                return Poll::Pending;
            };
            let said = body.is_end_stream();
            match frame {
                None => rest.body = Tail::Ended { said: false },
                Some(Err(error)) => rest.body = Tail::Broken(Some(error)),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.feed.give(self.kept.keep(data)),
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            self.kept.trailers = Some(trailers);
                        }
                    }
                },
            }
            if said && let Tail::Open(_) = &rest.body {
                rest.body = Tail::Ended { said: true };
            }
        }
        let is_whole = matches!(rest.body, Tail::Ended { .. });
        Poll::Ready((is_whole && self.feed.finish().is_err()).then(Stop::undecodable))
    }
}

const TOO_LARGE: Stop = Stop::at_limit(RejectionKind::TooLarge, 2);

impl<S, R: Body> Drop for Arrival<S, R> {
    fn drop(&mut self) {
        // The client went away before it was decided about. What its request matched until then is told.
        if let Some(exam) = self.exam.take() {
            exam.close(None);
        }
    }
}

/// How long so many bytes may take.
fn allowed(grace: Duration, bytes_per_second: u64, bytes: usize) -> Duration {
    let millis = (bytes as u64).saturating_mul(1_000) / bytes_per_second.max(1);
    grace.saturating_add(Duration::from_millis(millis))
}
