//! A response that is held until it is decided about.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use fusebox_core::RejectionKind;
use fusebox_http::{Judge, Judgement};
use http::{Response, response};
use http_body::{Body, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::InspectedBody;
use crate::call::{Call, Refused};
use crate::config::OverLimit;
use crate::exam::{Step, Stop};
use crate::feed::Feed;
use crate::inspected::Tail;
use crate::kept::Kept;
use crate::pace::Pace;

/// Reads the body as far as it is looked at, then runs phase 4 in slices.
pub(crate) struct Answer<B: Body> {
    rest: Option<Rest<B>>,
    kept: Kept,
    feed: Feed,
    shown: usize,
    pace: Pace,
    limit: (usize, OverLimit),
    due: Instant,
    /// Made when the body lets wait for the first time.
    timer: Option<Pin<Box<Sleep>>>,
    judge: Judge,
    reads: bool,
}

struct Rest<B: Body> {
    call: Call,
    head: response::Parts,
    body: Tail<B>,
    hint: SizeHint,
}

/// What was decided.
pub(crate) type Decided<B> = Result<(Response<InspectedBody<B>>, Call), Refused>;

impl<B> Answer<B>
where
    B: Body<Data: From<Bytes>>,
{
    pub(crate) fn new(
        response: Response<B>,
        call: Call,
        limit: (usize, OverLimit),
        deadline: Duration,
        judge: Judge,
    ) -> Self {
        let (head, body) = response.into_parts();
        let hint = body.size_hint();
        Self {
            rest: Some(Rest {
                call,
                head,
                body: Tail::Open(Box::pin(body)),
                hint,
            }),
            kept: Kept::default(),
            feed: Feed::default(),
            shown: 0,
            pace: Pace::default(),
            limit,
            due: Instant::now() + deadline,
            timer: None,
            judge,
            reads: true,
        }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Decided<B>> {
        let mut stop = None;
        if self.reads {
            stop = ready!(self.read(cx));
            self.reads = false;
            self.timer = None;
        }
        if stop.is_none()
            && let Some(exam) = self.rest.as_mut().and_then(|rest| rest.call.exam.as_mut())
        {
            let step = match self.pace.share() {
                Some(share) => exam.timed(|exam| exam.answer_slice(share), 4),
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
        let Some(mut rest) = self.rest.take() else {
            return Poll::Pending;
        };
        let judgement = self.judgement(&rest.body);
        if let Some(refused) = rest.call.settle_answer(stop, judgement) {
            return Poll::Ready(Err(refused));
        }
        let kept = std::mem::take(&mut self.kept);
        let body = InspectedBody::replayed(kept, rest.body, rest.hint);
        Poll::Ready(Ok((Response::from_parts(rest.head, body), rest.call)))
    }

    /// What became of the call, should its answer be withheld: what is left of it is never read.
    fn judgement(&self, body: &Tail<B>) -> Judgement {
        let mut judge = self.judge;
        match body {
            Tail::Broken(_) => judge.failed(),
            Tail::Open(_) if !judge.data(self.kept.length()) => judge.dropped(),
            Tail::Open(_) | Tail::Ended { .. } => judge.ended(),
        }
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Stop>> {
        let (limit, over) = self.limit;
        let cut = || {
            let refuses = over == OverLimit::Refuse;
            refuses.then(|| Stop::at_limit(RejectionKind::Withheld, 4))
        };
        let Some(rest) = &mut self.rest else {
            return Poll::Ready(None);
        };
        let Some(exam) = &mut rest.call.exam else {
            return Poll::Ready(None);
        };
        loop {
            if self.pace.share().is_none() {
                self.pace.rest(cx);
                return Poll::Pending;
            }
            // Nothing is decoded here, so nothing can be wrong with it.
            if let Ok(Some(piece)) = self.feed.next() {
                Pace::spend_on_parsing(piece.len());
                // The rules have the same limit, and are told that there is more (`OUTBOUND_DATA_ERROR`).
                let stopped = exam.answer_body(piece);
                if stopped.is_some() {
                    return Poll::Ready(stopped);
                }
                self.shown = self.shown.saturating_add(piece.len());
                if self.shown > limit {
                    return Poll::Ready(cut());
                }
                continue;
            }
            let Tail::Open(body) = &mut rest.body else {
                return Poll::Ready(None);
            };
            let Poll::Ready(frame) = Pin::as_mut(body).poll_frame(cx) else {
                let due = self.due;
                let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
                ready!(timer.as_mut().poll(cx));
                return Poll::Ready(cut());
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
    }
}
