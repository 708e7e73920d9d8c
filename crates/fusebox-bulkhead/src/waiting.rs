use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use fusebox_core::{Call as Told, Outcome, Rejection, RejectionKind, Timestamp, Verdict};
use pin_project::{pin_project, pinned_drop};
use tokio::time::{Sleep, sleep_until};

use crate::{
    call::Call,
    engine::{Entry, Place, Waited},
    key::{KeyLine, Share},
    shared::Shared,
};

/// A call in line: ready when it has a slot, or when it is refused one.
///
/// # Cancel safety
/// Dropped while it waits, it leaves the line; a slot it had come to meanwhile goes to the next. A call
/// that is given up in line is told as cancelled.
#[pin_project(PinnedDrop)]
pub(crate) struct Waiting {
    shared: Arc<Shared>,
    /// In the line of its key, as long as it has no share. Boxed: few calls wait, and fewer for that.
    key_line: Option<Box<KeyLine>>,
    /// In the line of the compartment.
    place: Option<Place>,
    arrived: Timestamp,
    /// `None` for whoever waits without a bound.
    #[pin]
    timer: Option<Sleep>,
    /// What it holds of its key's: a place in line is a part of the compartment as well.
    share: Option<Share>,
    /// Whether there is a request yet whose end is to be told.
    told: bool,
}

impl Waiting {
    /// Waits as long as the compartment's queue allows.
    pub(crate) fn bounded(shared: Arc<Shared>, place: Place, arrived: Timestamp) -> Self {
        let timer = sleep_until(shared.clock.instant(place.deadline()));
        Self {
            shared,
            key_line: None,
            place: Some(place),
            arrived,
            timer: Some(timer),
            share: None,
            told: true,
        }
    }

    /// Waits for a share first, as long as the queue of its key allows.
    pub(crate) fn for_share(shared: Arc<Shared>, key_line: KeyLine, arrived: Timestamp) -> Self {
        let timer = sleep_until(shared.clock.instant(key_line.deadline()));
        Self {
            shared,
            key_line: Some(Box::new(key_line)),
            place: None,
            arrived,
            timer: Some(timer),
            share: None,
            told: true,
        }
    }

    pub(crate) fn holding(mut self, share: Share) -> Self {
        self.share = Some(share);
        self
    }

    /// Waits as long as it takes, on behalf of a request that is not there yet.
    pub(crate) fn patient(shared: Arc<Shared>, place: Place, arrived: Timestamp) -> Self {
        Self {
            shared,
            key_line: None,
            place: Some(place),
            arrived,
            timer: None,
            share: None,
            told: false,
        }
    }
}

impl Future for Waiting {
    type Output = Result<Call, Rejection>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let shared = &**this.shared;
        let now = shared.clock.now();
        let kind = loop {
            let mut look = |now, waker| match this.key_line {
                Some(line) => line.poll_turn(now, waker),
                None => shared.slots.poll_turn(this.place, now, waker),
            };
            let mut waited = look(now, cx.waker());
            if let (Waited::Pending, Some(timer)) = (waited, this.timer.as_mut().as_pin_mut())
                && timer.poll(cx).is_ready()
            {
                // The timer's word is final: it and the clock round differently.
                waited = look(Timestamp::MAX, cx.waker());
            }
            match waited {
                Waited::Pending => return Poll::Pending,
                Waited::Expired => break RejectionKind::QueueTimeout,
                Waited::Closed => break RejectionKind::ShuttingDown,
                Waited::Admitted => {}
            }
            if let Some(line) = this.key_line.take() {
                // Now it is one of those who want a slot.
                *this.share = Some(line.into_share());
                match shared.slots.enter(|| now) {
                    Entry::Admitted => {}
                    Entry::Full => break RejectionKind::Full,
                    Entry::Closed => break RejectionKind::ShuttingDown,
                    Entry::Queued(place) => {
                        if let Some(timer) = this.timer.as_mut().as_pin_mut() {
                            timer.reset(shared.clock.instant(place.deadline()));
                        }
                        *this.place = Some(place);
                        continue;
                    }
                }
            }
            let call = Call::waited(this.shared.clone(), now, now.since(*this.arrived));
            return Poll::Ready(Ok(match this.share.take() {
                Some(share) => call.holding(share),
                None => call,
            }));
        };
        (*this.key_line, *this.share) = (None, None);
        Poll::Ready(Err(if *this.told {
            shared.refuse(kind, now, now.since(*this.arrived))
        } else {
            shared.rejection(kind)
        }))
    }
}

#[pinned_drop]
impl PinnedDrop for Waiting {
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        let (key_line, place) = (this.key_line.take(), this.place.take());
        if key_line.is_none() && place.is_none() {
            return;
        }
        let shared = &**this.shared;
        let now = shared.clock.now();
        drop(key_line);
        if place.is_some_and(|place| shared.slots.abandon(place, now)) {
            shared.drained.notify_waiters();
        }
        if *this.told {
            let told = Told {
                verdict: Verdict::Admitted,
                outcome: Some(Outcome::Cancelled),
                waited: now.since(*this.arrived),
                ran: Duration::ZERO,
            };
            shared.tell(now, told);
        }
    }
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting")
            .field("compartment", self.shared.reporter.policy())
            .finish_non_exhaustive()
    }
}

/// A call in line, and what is to be called when its turn comes.
#[pin_project]
pub(crate) struct Queued<S, R> {
    #[pin]
    waiting: Waiting,
    next: Option<(S, R)>,
}

impl<S, R> Queued<S, R> {
    pub(crate) const fn new(waiting: Waiting, inner: S, request: R) -> Self {
        Self {
            waiting,
            next: Some((inner, request)),
        }
    }
}

impl<S, R> Future for Queued<S, R> {
    type Output = Result<(Call, S, R), Rejection>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let call = ready!(this.waiting.poll(cx))?;
        this.next.take().map_or(Poll::Pending, |(inner, request)| {
            Poll::Ready(Ok((call, inner, request)))
        })
    }
}
