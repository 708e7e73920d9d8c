use std::{sync::Arc, time::Duration};

use fusebox_core::{Mode, Name, Observer, Registration, time::nanos};

use crate::engine::{
    Closing, CoolDown, CountsAs, Hanging, Ramp, Settings, Share, Slow, WindowSettings,
};

/// Probes beyond this many are traffic.
const MOST_PROBES: u32 = 1_024;
/// A count window keeps four bytes for each call.
const LONGEST_COUNT: u32 = 1 << 20;
/// What a window is cut into; see [`Window::Time`].
const BUCKETS: u64 = 16;

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
    /// Nothing each, but the circuit opens when they are at least this share (0..=1) of all calls.
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

/// Settings that make no sense.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ConfigError {
    /// A ratio outside 0..=1.
    NotARatio {
        /// The setting.
        field: &'static str,
        /// Its value.
        given: f64,
    },
    /// Zero, where nothing would ever happen.
    Zero {
        /// The setting.
        field: &'static str,
    },
    /// More than the layer can keep track of.
    TooLarge {
        /// The setting.
        field: &'static str,
        /// Its value.
        given: u64,
        /// The largest.
        most: u64,
    },
    /// A duration that is below another one which it bounds.
    Below {
        /// The setting.
        field: &'static str,
        /// Its value.
        given: Duration,
        /// The other setting.
        other: &'static str,
        /// The other's value.
        at_least: Duration,
    },
    /// More calls are asked for than the window remembers, so no ratio would ever be looked at.
    MinimumAboveWindow {
        /// `minimum_calls`.
        minimum_calls: u32,
        /// The calls of the window.
        window: u32,
    },
    /// A window of calls for each key, and so many keys that they do not fit into memory together.
    WindowsTooLarge {
        /// The calls of one window.
        calls: u32,
        /// The keys that there is room for.
        capacity: u64,
        /// The most calls that all windows together may remember.
        most: u64,
    },
    /// Every reason to open was turned off.
    NeverTrips,
    /// Another value for what cannot be changed while calls are under way.
    Fixed {
        /// The setting.
        field: &'static str,
        /// The value it has.
        built_with: String,
        /// The value it was to have.
        given: String,
    },
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotARatio { field, given } => {
                write!(f, "{field}: must be between 0 and 1, got {given}")
            }
            Self::Zero { field } => write!(f, "{field}: must be more than 0, got 0"),
            Self::TooLarge { field, given, most } => {
                write!(f, "{field}: must be at most {most}, got {given}")
            }
            Self::Below {
                field,
                given,
                other,
                at_least,
            } => write!(
                f,
                "{field}: must be at least {other} ({at_least:?}), got {given:?}"
            ),
            Self::MinimumAboveWindow {
                minimum_calls,
                window,
            } => write!(
                f,
                "minimum_calls: must be at most the calls of the window ({window}), got {minimum_calls}"
            ),
            Self::WindowsTooLarge {
                calls,
                capacity,
                most,
            } => write!(
                f,
                "window, capacity: together they must remember at most {most} calls, got {calls} for each of \
                 {capacity} keys"
            ),
            Self::Fixed {
                field,
                built_with,
                given,
            } => write!(
                f,
                "{field}: was built with {built_with} and cannot be changed, got {given}"
            ),
            Self::NeverTrips => f.write_str(
                "failure_ratio, consecutive_failures, slow_calls, hanging_calls, cancelled: all are \
                 off, so the circuit would never open",
            ),
        }
    }
}

impl std::error::Error for ConfigError {}

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

    /// Opens when at least this share (0..=1) of the calls in the window failed. Default 0.5.
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

    /// Opens when at least `ratio` (0..=1) of the calls in the window took `at_least` so long, whether they
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

    /// After `of` probes closes if at least this share (0..=1) of them succeeded, and else opens again.
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

    pub(crate) fn settings(&self) -> Result<Settings, ConfigError> {
        let minimum_calls = self.checked_minimum()?;
        let settings = Settings {
            window: self.checked_window()?,
            minimum_calls,
            failures: self
                .failure_ratio
                .map(|given| ratio("failure_ratio", given))
                .transpose()?,
            consecutive: self
                .consecutive_failures
                .map(|given| positive("consecutive_failures", given))
                .transpose()?,
            slow: self.checked_slow()?,
            hanging: self.checked_hanging()?,
            throttled: self.throttled,
            cancelled: match self.cancelled {
                Cancelled::Failure => CountsAs::Failure,
                Cancelled::Ignored | Cancelled::TripsAt(_) => CountsAs::Nothing,
            },
            cancellations: match self.cancelled {
                Cancelled::TripsAt(given) => Some(ratio("cancelled", given)?),
                Cancelled::Ignored | Cancelled::Failure => None,
            },
            cool_down: self.checked_cool_down()?,
            longest_retry_after: self.longest_retry_after,
            probes: at_most("probes", positive("probes", self.probes)?, MOST_PROBES)?,
            probe_deadline: some_time("probe_deadline", self.probe_deadline)?,
            closing: self.checked_closing()?,
            ramp: self.checked_ramp()?,
        };
        let reasons = [
            settings.failures.is_some(),
            settings.consecutive.is_some(),
            settings.slow.is_some(),
            settings.hanging.is_some(),
            settings.cancellations.is_some(),
        ];
        if reasons.contains(&true) {
            Ok(settings)
        } else {
            Err(ConfigError::NeverTrips)
        }
    }

    /// The settings, for a circuit that was built with others.
    pub(crate) fn settings_instead_of(&self, before: &Settings) -> Result<Settings, ConfigError> {
        let after = self.settings()?;
        let texts = |settings: &Settings| {
            [
                ("window", window_text(settings.window)),
                ("hanging_calls", hanging_text(settings.hanging)),
                ("probes", settings.probes.to_string()),
                ("probe_deadline", format!("{:?}", settings.probe_deadline)),
            ]
        };
        for ((field, built_with), (_, given)) in texts(before).into_iter().zip(texts(&after)) {
            if built_with != given {
                return Err(ConfigError::Fixed {
                    field,
                    built_with,
                    given,
                });
            }
        }
        Ok(after)
    }

    fn checked_window(&self) -> Result<WindowSettings, ConfigError> {
        Ok(match self.window {
            Window::Time(length) => WindowSettings::Time {
                bucket: nanos(some_time("window", length)?).div_ceil(BUCKETS),
            },
            Window::Calls(calls) => WindowSettings::Count {
                calls: at_most("window", positive("window", calls)?, LONGEST_COUNT)?,
            },
        })
    }

    fn checked_minimum(&self) -> Result<u32, ConfigError> {
        let window = match self.window {
            Window::Time(_) => u32::MAX,
            Window::Calls(calls) => calls,
        };
        let Some(minimum_calls) = self.minimum_calls else {
            return Ok(window.min(20));
        };
        if minimum_calls > window {
            return Err(ConfigError::MinimumAboveWindow {
                minimum_calls,
                window,
            });
        }
        positive("minimum_calls", minimum_calls)
    }

    fn checked_slow(&self) -> Result<Option<Slow>, ConfigError> {
        let Some((at_least, share)) = self.slow_calls else {
            return Ok(None);
        };
        Ok(Some(Slow {
            at_least: nanos(some_time("slow_calls", at_least)?),
            share: ratio("slow_calls", share)?,
        }))
    }

    fn checked_hanging(&self) -> Result<Option<Hanging>, ConfigError> {
        let Some((calls, longer_than)) = self.hanging_calls else {
            return Ok(None);
        };
        Ok(Some(Hanging {
            calls: positive("hanging_calls", calls)?,
            longer_than: nanos(some_time("hanging_calls", longer_than)?),
        }))
    }

    fn checked_cool_down(&self) -> Result<CoolDown, ConfigError> {
        match self.cool_down {
            Cooling::Fixed(length) => Ok(CoolDown::Fixed(some_time("cool_down", length)?)),
            Cooling::Exponential {
                first,
                most,
                factor,
                jitter,
            } => {
                some_time("exponential_cool_down.first", first)?;
                if most < first {
                    return Err(ConfigError::Below {
                        field: "exponential_cool_down.most",
                        given: most,
                        other: "exponential_cool_down.first",
                        at_least: first,
                    });
                }
                Ok(CoolDown::Exponential {
                    first,
                    most,
                    factor: positive("exponential_cool_down.factor", factor)?,
                    jitter: ratio("exponential_cool_down.jitter", jitter)?,
                })
            }
        }
    }

    fn checked_closing(&self) -> Result<Closing, ConfigError> {
        Ok(match self.closing {
            Close::Successes(enough) => Closing::Successes(positive("close_after", enough)?),
            Close::Ratio(share, of) => Closing::Share {
                share: ratio("close_at_ratio", share)?,
                of: positive("close_at_ratio", of)?,
            },
        })
    }

    fn checked_ramp(&self) -> Result<Option<Ramp>, ConfigError> {
        let Some((from, over)) = self.ramp else {
            return Ok(None);
        };
        Ok(Some(Ramp {
            from: ratio("ramp", from)?,
            over: nanos(some_time("ramp", over)?),
        }))
    }
}

fn window_text(window: WindowSettings) -> String {
    match window {
        WindowSettings::Time { bucket } => {
            format!("{:?}", Duration::from_nanos(bucket.saturating_mul(BUCKETS)))
        }
        WindowSettings::Count { calls } => format!("{calls} calls"),
    }
}

fn hanging_text(hanging: Option<Hanging>) -> String {
    hanging.map_or_else(
        || "none".to_owned(),
        |Hanging { calls, longer_than }| {
            format!("{calls} for {:?}", Duration::from_nanos(longer_than))
        },
    )
}

/// What differs between two settings, as numbers: shares in millionths, times in nanoseconds, 0 for what is off.
pub(crate) fn changes(
    before: &Settings,
    after: &Settings,
) -> impl Iterator<Item = (&'static str, u64, u64)> {
    numbers(before)
        .into_iter()
        .zip(numbers(after))
        .filter(|(before, after)| before != after)
        .map(|((what, from), (_, to))| (what, from, to))
}

fn numbers(settings: &Settings) -> [(&'static str, u64); 14] {
    let share = |share: Option<Share>| share.map_or(0, |share| share.millionths().into());
    let (first, most) = match settings.cool_down {
        CoolDown::Fixed(length) => (nanos(length), nanos(length)),
        CoolDown::Exponential { first, most, .. } => (nanos(first), nanos(most)),
    };
    let (ratio, probes) = match settings.closing {
        Closing::Successes(enough) => (Share::new(1.0), enough),
        Closing::Share { share, of } => (Some(share), of),
    };
    [
        ("minimum_calls", settings.minimum_calls.into()),
        ("failure_ratio", share(settings.failures)),
        (
            "consecutive_failures",
            settings.consecutive.unwrap_or(0).into(),
        ),
        ("slow_calls", settings.slow.map_or(0, |slow| slow.at_least)),
        (
            "slow_calls.ratio",
            share(settings.slow.map(|slow| slow.share)),
        ),
        ("throttled", settings.throttled as u64),
        ("cancelled", settings.cancelled as u64),
        ("cancelled.ratio", share(settings.cancellations)),
        ("cool_down", first),
        ("cool_down.most", most),
        ("longest_retry_after", nanos(settings.longest_retry_after)),
        ("close_after", probes.into()),
        ("close_at_ratio", share(ratio)),
        ("ramp", settings.ramp.map_or(0, |ramp| ramp.over)),
    ]
}

fn ratio(field: &'static str, given: f64) -> Result<Share, ConfigError> {
    Share::new(given).ok_or(ConfigError::NotARatio { field, given })
}

const fn positive(field: &'static str, given: u32) -> Result<u32, ConfigError> {
    match given {
        0 => Err(ConfigError::Zero { field }),
        given => Ok(given),
    }
}

fn at_most(field: &'static str, given: u32, most: u32) -> Result<u32, ConfigError> {
    if given <= most {
        return Ok(given);
    }
    Err(ConfigError::TooLarge {
        field,
        given: given.into(),
        most: most.into(),
    })
}

const fn some_time(field: &'static str, given: Duration) -> Result<Duration, ConfigError> {
    if given.is_zero() {
        Err(ConfigError::Zero { field })
    } else {
        Ok(given)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(change: impl FnOnce(BreakerBuilder) -> BreakerBuilder) -> String {
        change(BreakerBuilder::new("test".into()))
            .settings()
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let settings = BreakerBuilder::new("test".into()).settings().unwrap();
        assert_eq!(settings.minimum_calls, 20);
        assert_eq!(settings.failures, Share::new(0.5));
        assert_eq!(settings.consecutive, Some(5));
        assert_eq!(settings.cool_down, CoolDown::Fixed(Duration::from_secs(30)));
        let bucket = 10_000_000_000 / 16;
        assert_eq!(settings.window, WindowSettings::Time { bucket });
        assert_eq!(
            (settings.probes, settings.closing),
            (1, Closing::Successes(1))
        );
    }

    #[test]
    fn a_ratio_outside_0_to_1_is_named_with_its_value() {
        assert_eq!(
            wrong(|builder| builder.failure_ratio(1.5)),
            "failure_ratio: must be between 0 and 1, got 1.5"
        );
        assert_eq!(
            wrong(|builder| builder.slow_calls(Duration::from_secs(1), -0.1)),
            "slow_calls: must be between 0 and 1, got -0.1"
        );
        assert_eq!(
            wrong(|builder| builder.cancelled(Cancelled::TripsAt(f64::NAN))),
            "cancelled: must be between 0 and 1, got NaN"
        );
        for change in [
            |builder: BreakerBuilder| builder.close_at_ratio(2.0, 3),
            |builder: BreakerBuilder| builder.ramp(f64::INFINITY, Duration::from_secs(1)),
        ] {
            assert!(wrong(change).contains("must be between 0 and 1"));
        }
    }

    #[test]
    fn zero_is_an_error_where_nothing_would_ever_happen() {
        for (field, change) in [
            (
                "window",
                (|builder| builder.window(Window::Time(Duration::ZERO))) as fn(BreakerBuilder) -> _,
            ),
            ("window", |builder| builder.window(Window::Calls(0))),
            ("minimum_calls", |builder| builder.minimum_calls(0)),
            ("consecutive_failures", |builder| {
                builder.consecutive_failures(0)
            }),
            ("cool_down", |builder| builder.cool_down(Duration::ZERO)),
            ("probes", |builder| builder.probes(0)),
            ("probe_deadline", |builder| {
                builder.probe_deadline(Duration::ZERO)
            }),
            ("close_after", |builder| builder.close_after(0)),
            ("ramp", |builder| builder.ramp(0.1, Duration::ZERO)),
            ("hanging_calls", |builder| {
                builder.hanging_calls(0, Duration::from_secs(1))
            }),
        ] {
            assert_eq!(
                wrong(change),
                format!("{field}: must be more than 0, got 0")
            );
        }
    }

    #[test]
    fn a_cap_below_the_first_cool_down_is_named_with_both_values() {
        assert_eq!(
            wrong(|builder| {
                builder.exponential_cool_down(Duration::from_secs(10), Duration::from_secs(5))
            }),
            "exponential_cool_down.most: must be at least exponential_cool_down.first (10s), got 5s"
        );
    }

    #[test]
    fn a_minimum_that_the_window_cannot_hold_is_an_error_and_the_default_fits_itself() {
        let ten = |builder: BreakerBuilder| builder.window(Window::Calls(10));
        assert_eq!(
            wrong(|builder| ten(builder).minimum_calls(11)),
            "minimum_calls: must be at most the calls of the window (10), got 11"
        );
        let settings = ten(BreakerBuilder::new("test".into())).settings().unwrap();
        assert_eq!(settings.minimum_calls, 10);
        assert_eq!(
            wrong(|builder| builder.window(Window::Calls(u32::MAX))),
            "window: must be at most 1048576, got 4294967295"
        );
    }

    #[test]
    fn a_circuit_that_could_never_open_is_an_error() {
        assert!(
            wrong(|builder| builder
                .without_failure_ratio()
                .without_consecutive_failures())
            .contains("never open")
        );
    }
}
