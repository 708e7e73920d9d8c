mod changes;
mod check;
mod error;

use std::{sync::Arc, time::Duration};

use fusebox_core::{Mode, Name, Observer, Registration};

pub(crate) use changes::changes;
pub use error::ConfigError;

use crate::engine::CountsAs;

/// Settings of a circuit, before it is built. Made by [`Breaker::builder`](crate::Breaker::builder).
///
/// Left alone it opens at 50 % failures over 10 seconds with at least 20 calls, or at 5 failures in a
/// row; stays open for 30 seconds; and closes when one probe has succeeded.
#[derive(Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct BreakerBuilder {
    pub(crate) name: Name,
    pub(crate) mode: Mode,
    pub(crate) observers: Vec<Arc<dyn Observer>>,
    pub(crate) registration: Registration,
    window: Window,
    minimum_calls: Option<u32>,
    failure_ratio: Option<f64>,
    consecutive_failures: Option<u32>,
    slow_calls: Option<(Duration, f64)>,
    hanging_calls: Option<(u32, Duration)>,
    throttled: CountsAs,
    cancelled: Cancelled,
    cool_down: Cooling,
    longest_retry_after: Duration,
    probes: u32,
    probe_deadline: Duration,
    closing: Close,
    ramp: Option<(f64, Duration)>,
}

/// Which calls the ratios are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// Those that ended in the last so long. It moves by a sixteenth of its length at a time.
    Time(Duration),
    /// The last so many. It slides: each call that ends pushes the oldest one out.
    Calls(u32),
}

/// What a call counts for that nobody waited for: the caller went away, or a timeout further out
/// dropped it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Cancelled {
    /// Nothing. Impatient clients cannot open the circuit.
    #[default]
    Ignored,
    /// A failure. For a breaker *inside* the timeout, which sees timeouts only as dropped calls.
    Failure,
    /// Nothing each, but the circuit opens when they are at least this share (more than 0, at most 1) of all calls.
    TripsAt(f64),
}

#[derive(Clone, Copy)]
enum Cooling {
    Fixed(Duration),
    Exponential {
        first: Duration,
        most: Duration,
        factor: u32,
        jitter: f64,
    },
}

#[derive(Clone, Copy)]
enum Close {
    Successes(u32),
    Ratio(f64, u32),
}

impl BreakerBuilder {
    pub(crate) fn new(name: Name) -> Self {
        Self {
            name,
            mode: Mode::Enforce,
            observers: Vec::new(),
            registration: Registration::Global,
            window: Window::Time(Duration::from_secs(10)),
            minimum_calls: None,
            failure_ratio: Some(0.5),
            consecutive_failures: Some(5),
            slow_calls: None,
            hanging_calls: None,
            throttled: CountsAs::Nothing,
            cancelled: Cancelled::Ignored,
            cool_down: Cooling::Fixed(Duration::from_secs(30)),
            // Long enough for a deployment, short enough that one wrong header is not an outage.
            longest_retry_after: Duration::from_secs(300),
            probes: 1,
            // As the cool-down: a dependency that hangs gets no more probes than one that fails.
            probe_deadline: Duration::from_secs(30),
            closing: Close::Successes(1),
            ramp: None,
        }
    }

    /// Which calls the ratios are about. Default: those of the last 10 seconds.
    pub fn window(mut self, window: Window) -> Self {
        self.window = window;
        self
    }

    /// With fewer calls in the window no ratio is looked at. Default 20, or the whole of a smaller count
    /// window.
    pub fn minimum_calls(mut self, calls: u32) -> Self {
        self.minimum_calls = Some(calls);
        self
    }

    /// Opens when at least this share (more than 0, at most 1) of the calls in the window failed. Default 0.5.
    pub fn failure_ratio(mut self, ratio: f64) -> Self {
        self.failure_ratio = Some(ratio);
        self
    }

    /// No share of failures opens it.
    pub fn without_failure_ratio(mut self) -> Self {
        self.failure_ratio = None;
        self
    }

    /// Opens when so many calls failed one after the other, however few calls there were. Default 5.
    pub fn consecutive_failures(mut self, failures: u32) -> Self {
        self.consecutive_failures = Some(failures);
        self
    }

    /// No number of failures in a row opens it.
    pub fn without_consecutive_failures(mut self) -> Self {
        self.consecutive_failures = None;
        self
    }

    /// Opens when at least `ratio` (more than 0, at most 1) of the calls in the window took `at_least` so long, whether they
    /// failed or not. Default off.
    ///
    /// A call is over at the end of its response body: streams that live long by design belong behind a
    /// breaker of their own.
    /// And a caller that reads slowly makes its own calls slow: where callers are not to be trusted, measure in a
    /// layer further in that reads the body first.
    pub fn slow_calls(mut self, at_least: Duration, ratio: f64) -> Self {
        self.slow_calls = Some((at_least, ratio));
        self
    }

    /// Opens when so many calls have been in flight for longer than that without an answer. Default off.
    ///
    /// This is what opens it before the first timeout comes back. An answer is the response's head: a
    /// stream that has begun does not hang. Looked at when a call arrives, and up to a quarter later than
    /// `longer_than` says.
    pub fn hanging_calls(mut self, calls: u32, longer_than: Duration) -> Self {
        self.hanging_calls = Some((calls, longer_than));
        self
    }

    /// What a call counts for that the dependency turned away (HTTP 429, gRPC `RESOURCE_EXHAUSTED`). Default
    /// nothing: it is alive, and says so.
    pub fn throttled(mut self, counts: CountsAs) -> Self {
        self.throttled = counts;
        self
    }

    /// What a call counts for that nobody waited for. Default nothing.
    pub fn cancelled(mut self, cancelled: Cancelled) -> Self {
        self.cancelled = cancelled;
        self
    }

    /// Stays open for so long. Default 30 seconds.
    pub fn cool_down(mut self, length: Duration) -> Self {
        self.cool_down = Cooling::Fixed(length);
        self
    }

    /// Stays open for `first`, and each time in a row that it does not close for good twice as long, up to
    /// `most`; a random part of up to half is taken off each time, so that the clients of one dependency do
    /// not come back together.
    pub fn exponential_cool_down(self, first: Duration, most: Duration) -> Self {
        self.exponential_cool_down_with(first, most, 2, 0.5)
    }

    /// As [`exponential_cool_down`](Self::exponential_cool_down), `factor` times as long each time, with up
    /// to `jitter` (0..=1) of it taken off.
    pub fn exponential_cool_down_with(
        mut self,
        first: Duration,
        most: Duration,
        factor: u32,
        jitter: f64,
    ) -> Self {
        self.cool_down = Cooling::Exponential {
            first,
            most,
            factor,
            jitter,
        };
        self
    }

    /// The dependency's own `Retry-After` or `grpc-retry-pushback-ms` may lengthen the cool-down, but not
    /// beyond this. Default 5 minutes; zero to take no notice.
    pub fn longest_retry_after(mut self, most: Duration) -> Self {
        self.longest_retry_after = most;
        self
    }

    /// How many probes may be under way at once in a half-open circuit. Default 1.
    pub fn probes(mut self, probes: u32) -> Self {
        self.probes = probes;
        self
    }

    /// A probe that is not over by then loses its place to the next one, and its result moves nothing.
    /// Default 30 seconds.
    ///
    /// If it has been answered by then, and that was no failure (a stream that has begun and goes on), it counts
    /// as a success when the next one takes its place: else a dependency whose answers are all streams that live
    /// longer than this could never close a circuit.
    ///
    /// The breaker does not end the call: that is what a timeout inside it is for. Make this longer than
    /// that timeout, or a hung call and its successor are both under way.
    pub fn probe_deadline(mut self, deadline: Duration) -> Self {
        self.probe_deadline = deadline;
        self
    }

    /// Closes after so many successful probes; the first failure opens it again. Default 1.
    pub fn close_after(mut self, successes: u32) -> Self {
        self.closing = Close::Successes(successes);
        self
    }

    /// After `of` probes closes if at least this share (more than 0, at most 1) of them succeeded, and else opens again.
    pub fn close_at_ratio(mut self, ratio: f64, of: u32) -> Self {
        self.closing = Close::Ratio(ratio, of);
        self
    }

    /// After closing, at first only this share (0..=1) of the calls passes, growing evenly to all of them
    /// over that time. Default: all at once.
    pub fn ramp(mut self, from: f64, over: Duration) -> Self {
        self.ramp = Some((from, over));
        self
    }

    /// Whether it acts on its decisions. Default [`Mode::Enforce`].
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Someone who hears every event; may be called more than once.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.push(observer);
        self
    }

    /// Where the handle is listed. Default: in [`Registry::global`](fusebox_core::Registry::global).
    pub fn registration(mut self, registration: Registration) -> Self {
        self.registration = registration;
        self
    }
}

impl std::fmt::Debug for BreakerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BreakerBuilder")
            .field("name", &self.name)
            .field("mode", &self.mode)
            .field("settings", &self.settings())
            .finish_non_exhaustive()
    }
}
