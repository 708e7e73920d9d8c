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

    /// A function on a blocking thread of the caller's own runtime. It may still be in the runtime's
    /// queue when it is cancelled; what it holds is given back when a thread comes by.
    #[cfg(feature = "tower")]
    pub(crate) fn blocking<F>(function: F) -> Self
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        Self::running(tokio::task::spawn_blocking(function).into())
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

#[cfg(all(test, feature = "tower"))]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::threads::testing::*;

    #[test]
    fn a_function_in_the_queue_of_the_runtime_is_not_called_when_its_task_is_dropped() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        runtime.block_on(async {
            let (go_on, block) = mpsc::channel::<()>();
            let taken = Task::blocking(move || block.recv());
            let (held, dropped) = held();
            let cancelled = Task::blocking(move || {
                drop(held);
                panic!("it was cancelled before it began");
            });
            drop(cancelled);
            go_on.send(()).unwrap();
            within(taken).await.unwrap().unwrap();
            within(dropped).await;
        });
    }
}
