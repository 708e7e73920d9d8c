use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

/// Polls `future` until it is ready, at most `times` times, whether or not it asks to be polled again.
///
/// What a test needs to stop a future at a chosen await point and to drop it there:
///
/// ```
/// use std::task::Poll;
/// use fusebox_testkit::{MockBody, MockService, Script, poll_n_times};
/// use http::Request;
/// use tower_service::Service;
///
/// let mut mock = MockService::new(Script::ok(MockBody::full("hello")).pending(3));
/// for times in 0.. {
///     let mut call = Box::pin(mock.call(Request::new(MockBody::empty())));
///     if poll_n_times(call.as_mut(), times).is_ready() {
///         assert_eq!(times, 4);
///         break;
///     }
///     drop(call);
///     assert_eq!(mock.handle().in_progress(), 0);
/// }
/// ```
///
/// # Panics
/// When the future does.
pub fn poll_n_times<F: Future + ?Sized>(mut future: Pin<&mut F>, times: usize) -> Poll<F::Output> {
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..times {
        let polled = future.as_mut().poll(&mut cx);
        if polled.is_ready() {
            return polled;
        }
    }
    Poll::Pending
}

/// No script is pending that often: what is not ready by then never will be.
pub(crate) const MANY: usize = 1_000;

/// Polls what is under test, and polls it again only when it asked for that, as a runtime does.
pub(crate) struct Driver {
    flag: Arc<Flag>,
    /// How long other threads may take; `None` when there are none.
    elsewhere: Option<Duration>,
}

#[derive(Default)]
struct Flag(Notify);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.notify_one();
    }
}

/// How far a [`Driver`] got.
pub(crate) enum Polled<T> {
    Ready(T),
    /// Polled as often as it should be, and not ready.
    Pending,
    /// Pending, and nobody will wake it.
    Stuck,
}

impl Driver {
    /// `elsewhere`: progress comes from other threads, which may take that long.
    pub(crate) fn new(elsewhere: Option<Duration>) -> Self {
        Self {
            flag: Arc::default(),
            elsewhere,
        }
    }

    /// How long to wait for a wake-up before calling it lost.
    ///
    /// On the paused clock an hour is over as soon as no task and no earlier timer is left to run, so
    /// it costs nothing and outlasts any timer of a layer.
    fn patience(&self) -> Duration {
        self.elsewhere.unwrap_or(Duration::from_secs(3_600))
    }

    /// Waits until a future polled here asks to be polled again. `false` when it never will.
    pub(crate) async fn woken(&self) -> bool {
        tokio::time::timeout(self.patience(), self.flag.0.notified())
            .await
            .is_ok()
    }

    /// Forgets earlier wake-ups.
    pub(crate) fn forget_wake_ups(&self) {
        let mut notified = std::pin::pin!(self.flag.0.notified());
        // Takes the permit if there is one.
        let _ = notified
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
    }

    /// Polls until ready, at most `times` times.
    pub(crate) async fn poll<T>(
        &self,
        times: usize,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Polled<T> {
        let waker = Waker::from(self.flag.clone());
        // The first poll asks nobody, so a wake-up from before would only excuse the second.
        self.forget_wake_ups();
        for time in 0..times {
            if time > 0 && !self.woken().await {
                return Polled::Stuck;
            }
            if let Poll::Ready(ready) = poll(&mut Context::from_waker(&waker)) {
                return Polled::Ready(ready);
            }
        }
        Polled::Pending
    }

    /// Polls to the end.
    pub(crate) async fn finish<T>(
        &self,
        what: &str,
        poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Result<T, String> {
        match self.poll(MANY, poll).await {
            Polled::Ready(ready) => Ok(ready),
            Polled::Pending => Err(format!("{what} is still pending after {MANY} polls")),
            Polled::Stuck => Err(format!("{what} is pending and its task is never woken")),
        }
    }

    /// Whether `condition` holds: now, or soon if other threads have a part in it.
    pub(crate) async fn holds(&self, mut condition: impl FnMut() -> bool) -> bool {
        self.succeeds(async || if condition() { Ok(()) } else { Err(()) })
            .await
            .is_ok()
    }

    /// Tries once; if other threads have a part in it, until it succeeds or patience ends.
    pub(crate) async fn succeeds<T, E>(
        &self,
        mut attempt: impl AsyncFnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        let deadline = Instant::now() + self.patience();
        loop {
            let result = attempt().await;
            if result.is_ok() || self.elsewhere.is_none() || Instant::now() >= deadline {
                return result;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
