use std::time::Duration;

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
    /// Zero, where nothing would ever happen, or everything always: a ratio of zero is reached by no failure at all.
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
