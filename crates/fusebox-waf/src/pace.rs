//! How inspections share a thread with everybody else.
//!
//! A runtime looks at its timers and sockets between tasks, and not between every two: a task that wakes itself is run again, sixty
//! times and more, before it does. So an inspection that has done its share does not wake itself. It goes to the back the way
//! [`yield_now`](tokio::task::yield_now) does, behind a look at the timers.
//!
//! And one share is for all inspections of a thread together. With one for each, twenty of them would keep a timer waiting twenty
//! times as long.

use std::cell::Cell;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Context;

/// The share: bytes looked at between two looks at the timers. Half a millisecond, as fast as the engine is.
pub(crate) const SHARE: u64 = 128 << 10;
/// Less is not worth to begin.
const LEAST: u64 = 16 << 10;
/// Who found nothing left so often may take a second share, one in each turn. The order in which a runtime wakes tasks is nobody's
/// promise, and some would always come last.
const PATIENCE: u8 = 8;
/// A byte that is parsed and kept costs about two that are looked at, and each piece something of its own.
const PARSED: u64 = 2;
const EACH: u64 = 256;

/// A head that takes no more is left to the runtime, which looks at its timers after some sixty tasks in any case: so many of these
/// are a millisecond. Twice what a browser's takes with the built-in rules; nearly all are decided about where they come, without
/// a place in a turn.
const HEAD: u64 = 12 << 10;

/// Numbers of turns are never used twice, on whatever thread: a task may go on elsewhere.
static THREADS: AtomicU64 = AtomicU64::new(1);

struct Turn {
    number: Cell<u64>,
    spent: Cell<u64>,
    /// Whether the second share is taken.
    extra: Cell<bool>,
}

thread_local! {
    static TURN: Turn = Turn {
        number: Cell::new(THREADS.fetch_add(1, Ordering::Relaxed) << 40),
        spent: Cell::new(0),
        extra: Cell::new(false),
    };
}

/// One inspection's place among those of its thread.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// The turn in which it rested. If that is still going on, the timers were looked at since, and the next begins.
    rested_in: Option<u64>,
    denied: u8,
}

impl Pace {
    /// How much may be done now; `None`: others first.
    pub(crate) fn share(&mut self) -> Option<u64> {
        TURN.with(|turn| {
            if self.rested_in.take() == Some(turn.number.get()) {
                turn.number.set(turn.number.get() + 1);
                turn.spent.set(0);
                turn.extra.set(false);
            }
            let left = SHARE.saturating_sub(turn.spent.get());
            if left >= LEAST {
                self.denied = 0;
                return Some(left);
            }
            if self.denied >= PATIENCE && !turn.extra.replace(true) {
                self.denied = 0;
                return Some(SHARE);
            }
            self.denied = self.denied.saturating_add(1);
            None
        })
    }

    /// So much was looked at.
    pub(crate) fn spend(work: u64) {
        TURN.with(|turn| turn.spent.set(turn.spent.get().saturating_add(work)));
    }

    /// So much was looked at of a request without a body.
    pub(crate) fn spend_on_head(work: u64) {
        Self::spend(work.saturating_sub(HEAD));
    }

    /// So much was parsed at once.
    pub(crate) fn spend_on_parsing(bytes: usize) {
        Self::spend((bytes as u64).saturating_mul(PARSED) + EACH);
    }

    /// Lets others run. The task is polled again.
    pub(crate) fn rest(&mut self, cx: &mut Context<'_>) {
        self.rested_in = Some(TURN.with(|turn| turn.number.get()));
        // It is pending the first time, and has given the waker to whom it belongs.
        let _ = pin!(tokio::task::yield_now()).poll(cx);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// On a thread of its own, so that nothing else has spent there.
    fn alone(test: impl FnOnce() + Send + 'static) {
        std::thread::spawn(test).join().unwrap();
    }

    fn rest(pace: &mut Pace) {
        pace.rest(&mut Context::from_waker(Waker::noop()));
    }

    #[test]
    fn one_share_is_for_all_and_a_rest_renews_it_once() {
        alone(|| {
            let mut paces: [Pace; 3] = Default::default();
            assert_eq!(paces[0].share(), Some(SHARE));
            Pace::spend(SHARE - LEAST);
            assert_eq!(paces[1].share(), Some(LEAST));
            Pace::spend(LEAST);
            assert_eq!(paces[2].share(), None);
            paces.iter_mut().for_each(rest);
            assert_eq!(paces[2].share(), Some(SHARE));
            Pace::spend(SHARE);
            assert_eq!(paces[0].share(), None, "renewed for all by the first");
            rest(&mut paces[0]);
            assert_eq!(paces[1].share(), None);
            assert_eq!(paces[0].share(), Some(SHARE));
        });
    }

    #[test]
    fn who_is_always_last_gets_a_share_in_the_end() {
        alone(|| {
            let mut last = Pace::default();
            Pace::spend(SHARE);
            let denied = (0..20).take_while(|_| last.share().is_none()).count();
            assert_eq!(denied, usize::from(PATIENCE));
            let denied = (0..20).take_while(|_| last.share().is_none()).count();
            assert_eq!(denied, 20, "one in a turn");
        });
    }

    #[test]
    fn a_rest_on_one_thread_renews_nothing_on_another() {
        alone(|| {
            let mut pace = Pace::default();
            rest(&mut pace);
            alone(move || {
                Pace::spend(SHARE);
                assert_eq!(pace.share(), None);
            });
        });
    }
}
