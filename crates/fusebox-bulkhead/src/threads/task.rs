use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use fusebox_core::RejectionKind;
use tokio::task::JoinHandle;

/// Work on a compartment's threads, as seen from outside: a future of its result.
///
/// # Cancel safety
/// Dropping it cancels the work: a future is dropped over there at its next await, a function that has
/// not begun never does. A function that has begun runs to its end, since a thread cannot be stopped.
#[must_use = "the work is cancelled when this is dropped"]
pub struct Task<T>(State<T>);

enum State<T> {
    Running(Running<T>),
    Waiting(Turn<T>),
}

/// The wait for a blocking thread; `None` when there will be none any more.
pub(super) type Turn<T> = Pin<Box<dyn Future<Output = Option<Running<T>>> + Send>>;

/// Why a [`Task`] has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lost {
    /// It panicked. The panic ended there; the thread lives on.
    Panicked,
    /// The compartment's threads were shut down before it was done.
    ShutDown,
}

impl Lost {
    /// The refusal this is to whoever made the call.
    #[must_use]
    pub const fn kind(self) -> RejectionKind {
        match self {
            Self::Panicked => RejectionKind::Panicked,
            Self::ShutDown => RejectionKind::ShuttingDown,
        }
    }
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Panicked => "panicked on the threads of its compartment",
            Self::ShutDown => "cut off when the threads of its compartment were shut down",
        })
    }
}

impl std::error::Error for Lost {}

impl<T> Task<T> {
    pub(super) const fn running(work: Running<T>) -> Self {
        Self(State::Running(work))
    }

    pub(super) const fn waiting(turn: Turn<T>) -> Self {
        Self(State::Waiting(turn))
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, Lost>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut self.0 {
                State::Running(work) => return Pin::new(work).poll(cx),
                State::Waiting(turn) => match ready!(turn.as_mut().poll(cx)) {
                    Some(work) => self.0 = State::Running(work),
                    None => return Poll::Ready(Err(Lost::ShutDown)),
                },
            }
        }
    }
}

impl<T> std::fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task")
            .field("begun", &matches!(self.0, State::Running(_)))
            .finish_non_exhaustive()
    }
}

/// A task of the runtime that ends with its handle. tokio's own goes on without one.
pub(super) struct Running<T>(JoinHandle<T>);

impl<T> From<JoinHandle<T>> for Running<T> {
    fn from(handle: JoinHandle<T>) -> Self {
        Self(handle)
    }
}

impl<T> Future for Running<T> {
    type Output = Result<T, Lost>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map_err(|error| {
            if error.is_panic() {
                Lost::Panicked
            } else {
                // Nobody else can abort it while this handle is alive.
                Lost::ShutDown
            }
        })
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
