//! Keeps an attacker waiting, at next to no cost and within a budget.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use fusebox_core::sync::lock;
use http_body::Frame;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::AbortHandle,
    time::{Instant, Sleep},
};

use crate::Connection;

/// How much a tarpit may cost.
///
/// A connection in it holds a socket, a timer and a few kilobytes of the server's. Over budget, clients are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TarpitBudget {
    pub(crate) slots: usize,
    pub(crate) longest: Duration,
    pub(crate) bytes_per_second: u32,
}

/// Quicker than this and it is a download.
const MOST_BYTES_PER_SECOND: u32 = 100;

impl Default for TarpitBudget {
    /// 64 clients at once, a minute each, a byte per second.
    fn default() -> Self {
        Self {
            slots: 64,
            longest: Duration::from_secs(60),
            bytes_per_second: 1,
        }
    }
}

impl TarpitBudget {
    /// Clients that are kept waiting at once.
    #[must_use]
    pub const fn slots(mut self, slots: usize) -> Self {
        self.slots = slots;
        self
    }

    /// How long one is kept.
    #[must_use]
    pub const fn longest(mut self, time: Duration) -> Self {
        self.longest = time;
        self
    }

    /// What keeps it from giving up. 1 to 100.
    #[must_use]
    pub const fn bytes_per_second(mut self, bytes: u32) -> Self {
        self.bytes_per_second = bytes;
        self
    }

    pub(crate) fn check(&self) -> Result<(), TarpitError> {
        if self.slots == 0 || self.slots > Semaphore::MAX_PERMITS {
            Err(TarpitError::Slots { given: self.slots })
        } else if self.longest < Duration::from_secs(1) {
            Err(TarpitError::Longest {
                given: self.longest,
            })
        } else if self.bytes_per_second == 0 || self.bytes_per_second > MOST_BYTES_PER_SECOND {
            Err(TarpitError::BytesPerSecond {
                given: self.bytes_per_second,
            })
        } else {
            Ok(())
        }
    }
}

/// A budget that cannot be meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TarpitError {
    /// Room for nobody, or for more than can be counted.
    Slots {
        /// What was given.
        given: usize,
    },
    /// Too short to keep anybody.
    Longest {
        /// What was given.
        given: Duration,
    },
    /// No bytes, or no trickle.
    BytesPerSecond {
        /// What was given.
        given: u32,
    },
}

impl fmt::Display for TarpitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slots { given } => {
                write!(
                    f,
                    "slots: must be between 1 and {}, got {given}",
                    Semaphore::MAX_PERMITS
                )
            }
            Self::Longest { given } => write!(f, "longest: must be at least 1s, got {given:?}"),
            Self::BytesPerSecond { given } => {
                write!(
                    f,
                    "bytes_per_second: must be between 1 and {MOST_BYTES_PER_SECOND}, got {given}"
                )
            }
        }
    }
}

impl std::error::Error for TarpitError {}

/// The tarpit of a layer.
#[derive(Clone, Debug)]
pub(crate) struct Tarpit {
    budget: TarpitBudget,
    slots: Arc<Semaphore>,
}

impl Tarpit {
    pub(crate) fn new(budget: TarpitBudget) -> Self {
        Self {
            budget,
            slots: Arc::new(Semaphore::new(budget.slots)),
        }
    }

    /// A place in it; none over budget.
    pub(crate) fn enter(&self, connection: Option<Connection>) -> Option<Trickle> {
        let slot = self.slots.clone().try_acquire_owned().ok()?;
        let every = Duration::from_secs(1) / self.budget.bytes_per_second;
        let until = Instant::now() + self.budget.longest;
        let place = Arc::new(Place {
            slot: Mutex::new(Some(slot)),
            connection,
        });
        let keeper = tokio::spawn({
            let place = place.clone();
            async move {
                tokio::time::sleep_until(until).await;
                place.end();
            }
        });
        Some(Trickle {
            place,
            keeper: keeper.abort_handle(),
            every,
            until,
            next: Box::pin(tokio::time::sleep(every)),
        })
    }

    pub(crate) fn used(&self) -> usize {
        self.budget.slots - self.slots.available_permits()
    }
}

/// A place in the tarpit, given back once: when its time is up, or when its body is dropped.
struct Place {
    slot: Mutex<Option<OwnedSemaphorePermit>>,
    connection: Option<Connection>,
}

impl Place {
    /// Time is up. Not an orderly end where there is another: whoever waits for one may go on waiting.
    fn end(&self) {
        if let Some(connection) = &self.connection {
            connection.close();
        }
        self.leave();
    }

    fn leave(&self) {
        lock(&self.slot).take();
    }
}

/// A body of one byte now and then, until its time is up. Then the connection is closed, if it can be.
///
/// Whoever does not read has the server's buffers fill at the same rate: a few hundred bytes in all. Over HTTP/2 a body is
/// not even polled while the client grants no window. So the end is not the body's to notice: a task of its own keeps the
/// time.
pub(crate) struct Trickle {
    place: Arc<Place>,
    keeper: AbortHandle,
    every: Duration,
    until: Instant,
    /// In a box: a timer cannot be moved, and a body may be.
    next: Pin<Box<Sleep>>,
}

impl Trickle {
    pub(crate) fn poll_frame<E>(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        ready!(self.next.as_mut().poll(cx));
        let now = Instant::now();
        if now >= self.until {
            // The keeper does it as well; which of them is first is the runtime's to say.
            self.place.end();
            return Poll::Ready(None);
        }
        self.next.as_mut().reset((now + self.every).min(self.until));
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b" ")))))
    }
}

impl Drop for Trickle {
    fn drop(&mut self) {
        self.keeper.abort();
        self.place.leave();
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future::poll_fn};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn trickles_at_its_rate_until_its_time_is_up() {
        let budget = TarpitBudget::default()
            .slots(1)
            .longest(Duration::from_secs(10))
            .bytes_per_second(2);
        let tarpit = Tarpit::new(budget);
        let connection = Connection::new(([192, 0, 2, 1], 1).into());
        let mut trickle = tarpit.enter(Some(connection.clone())).unwrap();
        assert!(tarpit.enter(None).is_none(), "over budget");
        let start = Instant::now();
        let mut bytes = 0;
        while let Some(frame) = poll_fn(|cx| trickle.poll_frame::<Infallible>(cx)).await {
            bytes += frame.unwrap().into_data().unwrap().len();
        }
        assert_eq!(bytes, 19);
        assert_eq!(start.elapsed(), Duration::from_secs(10));
        assert!(connection.is_closed());
        assert_eq!(tarpit.used(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_never_asks_for_a_byte_has_its_place_no_longer_than_others() {
        let budget = TarpitBudget::default()
            .slots(1)
            .longest(Duration::from_secs(10));
        let tarpit = Tarpit::new(budget);
        let connection = Connection::new(([192, 0, 2, 1], 1).into());
        let never_polled = tarpit.enter(Some(connection.clone())).unwrap();
        tokio::time::sleep(Duration::from_millis(9_990)).await;
        assert!(!connection.is_closed());
        assert_eq!(tarpit.used(), 1);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(connection.is_closed());
        assert_eq!(tarpit.used(), 0);
        let next = tarpit.enter(None).unwrap();
        drop(never_polled);
        assert_eq!(tarpit.used(), 1, "its place is the next one's by now");
        drop(next);
        assert_eq!(tarpit.used(), 0, "at once when the client goes away");
    }

    #[test]
    fn budgets_that_cannot_be_meant_are_named() {
        for (budget, message) in [
            (
                TarpitBudget::default().longest(Duration::ZERO),
                "longest: must be at least 1s, got 0ns",
            ),
            (
                TarpitBudget::default().bytes_per_second(101),
                "bytes_per_second: must be between 1 and 100, got 101",
            ),
        ] {
            assert_eq!(budget.check().unwrap_err().to_string(), message);
        }
        assert!(TarpitBudget::default().slots(0).check().is_err());
        assert_eq!(TarpitBudget::default().check(), Ok(()));
    }
}
