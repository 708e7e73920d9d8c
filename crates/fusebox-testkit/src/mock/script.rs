use http::Response;

use super::{MockBody, MockError};

/// What a [`MockService`](super::MockService) does: when it is ready, and how each call goes.
///
/// ```
/// use fusebox_testkit::{MockBody, MockError, Script};
/// use http::Response;
///
/// // Ready at the third poll; each call is pending twice, then answered.
/// let slow = Script::answer(Response::new(MockBody::full("hello")))
///     .ready_after(2)
///     .pending(2);
/// let broken = Script::fail(MockError("connection reset"));
/// ```
#[derive(Clone, Debug)]
pub struct Script {
    pub(super) readiness: Readiness,
    pub(super) pending: usize,
    pub(super) end: End,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Readiness {
    /// Each instance is ready after that many pending polls, anew for each call.
    After(usize),
    Never,
    Fails(MockError),
}

#[derive(Clone, Debug)]
pub(super) enum End {
    Answer(Response<MockBody>),
    Fail(MockError),
    Never,
    PanicInCall,
    PanicInFuture,
}

impl Script {
    const fn ending(end: End) -> Self {
        Self {
            readiness: Readiness::After(0),
            pending: 0,
            end,
        }
    }

    /// Answers each call with a copy of `response`.
    #[must_use]
    pub const fn answer(response: Response<MockBody>) -> Self {
        Self::ending(End::Answer(response))
    }

    /// Answers each call with `200 OK` and this body.
    #[must_use]
    pub fn ok(body: MockBody) -> Self {
        Self::answer(Response::new(body))
    }

    /// Fails each call.
    #[must_use]
    pub const fn fail(error: MockError) -> Self {
        Self::ending(End::Fail(error))
    }

    /// Keeps each call in progress until its future is dropped.
    #[must_use]
    pub const fn never() -> Self {
        Self::ending(End::Never)
    }

    /// Panics inside `call`.
    #[must_use]
    pub const fn panic_in_call() -> Self {
        Self::ending(End::PanicInCall)
    }

    /// Panics when the response future is polled, after its pending polls.
    #[must_use]
    pub const fn panic_in_future() -> Self {
        Self::ending(End::PanicInFuture)
    }

    /// Each response future is pending `times` polls long (waking its task each time) before its end.
    #[must_use]
    pub const fn pending(mut self, times: usize) -> Self {
        self.pending = times;
        self
    }

    /// Each instance is pending `times` polls long (waking its task each time) before it is ready,
    /// and again after each call.
    #[must_use]
    pub const fn ready_after(mut self, times: usize) -> Self {
        self.readiness = Readiness::After(times);
        self
    }

    /// No instance is ready until the handle is told to follow another script, which wakes whoever
    /// waits.
    #[must_use]
    pub const fn never_ready(mut self) -> Self {
        self.readiness = Readiness::Never;
        self
    }

    /// `poll_ready` fails.
    #[must_use]
    pub const fn fails_ready(mut self, error: MockError) -> Self {
        self.readiness = Readiness::Fails(error);
        self
    }
}
