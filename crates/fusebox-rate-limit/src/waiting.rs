//! Calls that wait: for their turn, or until a server wants to hear from anybody again.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use fusebox_core::{Mode, Timestamp};
use pin_project::pin_project;
use tokio::time::{Sleep, sleep_until};

use crate::call::Call;
use crate::charge::Charge;
use crate::future::Refused;
use crate::layer::Rules;
use crate::limiter::RateLimiter;
use crate::store::QuotaStore;

/// A call that waits until a moment.
#[pin_project]
pub(crate) struct Parked<S, R, St: QuotaStore> {
    #[pin]
    timer: Sleep,
    until: Timestamp,
    /// `None` once it goes on.
    next: Option<(Call<St>, S, R)>,
}

impl<S, R, St: QuotaStore> Parked<S, R, St> {
    pub(crate) fn until(
        limiter: &RateLimiter<St>,
        until: Timestamp,
        mut next: (Call<St>, S, R),
    ) -> Self {
        next.0.parks();
        Self {
            timer: sleep_until(limiter.shared.clock.instant(until)),
            until,
            next: Some(next),
        }
    }
}

impl<S, R, St: QuotaStore> Future for Parked<S, R, St> {
    type Output = (Call<St>, S, R);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        ready!(this.timer.poll(cx));
        this.next
            .take()
            .map_or(Poll::Pending, |(mut call, inner, request)| {
                call.waited(*this.until);
                Poll::Ready((call, inner, request))
            })
    }
}

/// A request that waits, and looks when it wakes whether the server wants to be left alone.
///
/// Nothing is spent for what a server makes wait: its quota is asked when it may go on. So what was held back for a
/// minute comes back as fast as the quota has it, and not a minute's worth at once.
#[pin_project]
pub(crate) struct Waiting<S, R, St: QuotaStore> {
    #[pin]
    timer: Sleep,
    charge: Charge,
    /// Whether its turn is paid for.
    paid: bool,
    came: Timestamp,
    /// `None` once it goes on.
    next: Option<(Call<St>, S, R)>,
}

/// What becomes of a request that wakes.
pub(crate) enum Woken<S, R, St: QuotaStore> {
    /// It is held back once more.
    TooEarly,
    /// It is its turn.
    Begins(Call<St>, S, R),
    /// Its quota is to be asked first.
    Asks(Charge, Call<St>, S, R),
    /// The server wants to be left alone for longer than it waits.
    Refused(Refused),
    /// It has gone on already.
    Over,
}

impl<S, R, St: QuotaStore> Waiting<S, R, St> {
    /// It waits for its turn, and has paid for it unless it passes because the store did not answer.
    pub(crate) fn in_line(
        limiter: &RateLimiter<St>,
        charge: Charge,
        until: Timestamp,
        mut next: (Call<St>, S, R),
    ) -> Self {
        next.0.parks();
        Self {
            timer: sleep_until(limiter.shared.clock.instant(until)),
            charge,
            paid: next.0.has_paid(),
            came: next.0.started(),
            next: Some(next),
        }
    }

    /// It leaves the server alone, and has not paid.
    pub(crate) fn held(
        limiter: &RateLimiter<St>,
        charge: Charge,
        rest: Duration,
        (inner, request): (S, R),
    ) -> Self {
        let call = Call::admitted(limiter.shared.clone(), charge.at);
        let next = (call, inner, request);
        Self {
            paid: false,
            ..Self::in_line(limiter, charge, charge.at + rest, next)
        }
    }

    /// Goes on, if it may.
    pub(crate) fn wake(
        self: Pin<&mut Self>,
        limiter: &RateLimiter<St>,
        rules: &Rules,
    ) -> Woken<S, R, St> {
        let this = self.project();
        let shared = &limiter.shared;
        let Some((mut call, inner, request)) = this.next.take() else {
            return Woken::Over;
        };
        let now = shared.clock.now();
        let heed = rules.heed().filter(|_| shared.mode.get() != Mode::Shadow);
        let rest = heed.map_or(Duration::ZERO, |heed| heed.rest(now));
        if rest.is_zero() {
            if *this.paid {
                call.waited(now);
                return Woken::Begins(call, inner, request);
            }
            let charge = Charge {
                at: now,
                ..*this.charge
            };
            return Woken::Asks(charge, call, inner, request);
        }
        // It told nobody yet, and gives back what it paid in whole: it neither runs nor keeps its turn.
        call.forget();
        if std::mem::take(this.paid) {
            let Charge { at, tier, to, cost } = &*this.charge;
            shared.adjust(*tier, to.keys(), *cost, 0, *at);
        }
        let max_wait = heed.map_or(Duration::ZERO, |heed| heed.max_wait);
        if now.since(*this.came) + rest > max_wait {
            return Woken::Refused(limiter.left_alone(this.charge, now, rest));
        }
        let mut call = Call::admitted(shared.clone(), *this.came);
        call.parks();
        *this.next = Some((call, inner, request));
        this.timer.reset(shared.clock.instant(now + rest));
        Woken::TooEarly
    }
}

impl<S, R, St: QuotaStore> Future for Waiting<S, R, St> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().timer.poll(cx)
    }
}
