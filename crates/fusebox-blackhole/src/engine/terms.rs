//! How many strikes lead in, and for how long.

use std::{fmt, time::Duration};

/// The most strikes that can be asked for: a record has six bits for each part of the find time.
const MOST_STRIKES: u8 = 63;
/// The find time is counted in this many parts besides the one that is running.
const PARTS: u32 = 7;
/// The most strikes that a network is sent in for: a record has twelve bits for each part of the find time.
const MOST_NETWORK_STRIKES: u32 = 4_095;
/// Ten years. Times are kept as 32-bit seconds of a monotonic clock; far enough below that nothing overflows.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);
/// Where there are this many relapses, doubling has reached any cap.
pub(super) const MOST_RELAPSES: u32 = 31;
/// As many clients of one /48 as a table can be relied on to hold at once.
const MOST_NEIGHBOURS: u16 = 64;

/// How many strikes lead in, how long a sentence lasts, and when all is forgiven.
///
/// The default: 5 strikes within 10 minutes; 10 minutes, doubling with each relapse up to one week; one relapse
/// forgiven for each day of good behaviour; an IPv6 /56 goes in with 4 of its /64, a /48 with 12, or with 40 and 120
/// strikes by whomever of theirs.
///
/// ```
/// use std::time::Duration;
/// use fusebox_blackhole::engine::Terms;
///
/// let terms = Terms::default().max_strikes(3).find_time(Duration::from_secs(60));
/// assert!(terms.check().is_ok());
/// assert_eq!(
///     Terms::default().max_strikes(0).check().unwrap_err().to_string(),
///     "max_strikes: must be between 1 and 63, got 0"
/// );
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    pub(super) max_strikes: u8,
    pub(super) find_time: Duration,
    pub(super) sentence: Duration,
    pub(super) longest_sentence: Duration,
    pub(super) forgive_after: Duration,
    pub(super) jitter_percent: u8,
    pub(super) neighbours_in_56: Option<u16>,
    pub(super) neighbours_in_48: Option<u16>,
    pub(super) spread_strikes: Option<u8>,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            max_strikes: 5,
            find_time: Duration::from_secs(600),
            sentence: Duration::from_secs(600),
            longest_sentence: Duration::from_secs(7 * 86_400),
            forgive_after: Duration::from_secs(86_400),
            jitter_percent: 10,
            neighbours_in_56: Some(4),
            neighbours_in_48: Some(12),
            spread_strikes: Some(2),
        }
    }
}

impl Terms {
    /// This many strikes within the find time lead in. 1 to 63.
    #[must_use]
    pub const fn max_strikes(mut self, strikes: u8) -> Self {
        self.max_strikes = strikes;
        self
    }

    /// How long a strike counts, in whole seconds, 7 or more. A strike is certain to count for this long, and
    /// certain to be forgotten after another seventh of it.
    #[must_use]
    pub const fn find_time(mut self, time: Duration) -> Self {
        self.find_time = time;
        self
    }

    /// How long the first sentence lasts, in whole seconds. Each relapse doubles it.
    #[must_use]
    pub const fn sentence(mut self, time: Duration) -> Self {
        self.sentence = time;
        self
    }

    /// No sentence that follows from strikes is longer than this.
    #[must_use]
    pub const fn longest_sentence(mut self, time: Duration) -> Self {
        self.longest_sentence = time;
        self
    }

    /// For each such time that passes after a release without another sentence, one relapse is forgiven.
    #[must_use]
    pub const fn forgive_after(mut self, time: Duration) -> Self {
        self.forgive_after = time;
        self
    }

    /// Sentences are up to this many percent longer, so that those who went in together do not come back together.
    /// 0 to 100.
    #[must_use]
    pub const fn jitter_percent(mut self, percent: u8) -> Self {
        self.jitter_percent = percent;
        self
    }

    /// With this many /64 in at once, their whole IPv6 /56 goes in. `None` for never; 2 to 64.
    #[must_use]
    pub const fn neighbours_in_56(mut self, neighbours: Option<u16>) -> Self {
        self.neighbours_in_56 = neighbours;
        self
    }

    /// With this many /64 in at once, their whole IPv6 /48 goes in. `None` for never; 2 to 64.
    #[must_use]
    pub const fn neighbours_in_48(mut self, neighbours: Option<u16>) -> Self {
        self.neighbours_in_48 = neighbours;
        self
    }

    /// A network goes in as well when its clients together have this many times the strikes that would have sent so many
    /// neighbours in: with the defaults 2 × 5 × 4 = 40 for a /56 and 2 × 5 × 12 = 120 for a /48. Otherwise somebody who
    /// has a whole network, and takes another /64 of it before each fifth strike, would never go in. `None` for never;
    /// 1 to 100, and no network is let have more than 4095.
    ///
    /// Twice, because it is the weaker evidence: as many strangers who did little look the same.
    #[must_use]
    pub const fn spread_strikes(mut self, times: Option<u8>) -> Self {
        self.spread_strikes = times;
        self
    }

    /// Looks for what cannot be meant.
    ///
    /// # Errors
    /// [`TermsError`] names the first setting that is out of its range, the range and the value.
    pub const fn check(&self) -> Result<(), TermsError> {
        if self.max_strikes == 0 || self.max_strikes > MOST_STRIKES {
            return Err(TermsError::Strikes {
                given: self.max_strikes,
            });
        }
        if self.jitter_percent > 100 {
            return Err(TermsError::Jitter {
                given: self.jitter_percent,
            });
        }
        let times = [
            ("find_time", PARTS as u64, self.find_time),
            ("sentence", 1, self.sentence),
            ("longest_sentence", 1, self.longest_sentence),
            ("forgive_after", 1, self.forgive_after),
        ];
        let mut rest: &[(&'static str, u64, Duration)] = &times;
        while let [(field, least, given), tail @ ..] = rest {
            if given.as_secs() < *least || given.as_secs() > LONGEST.as_secs() {
                return Err(TermsError::Time {
                    field,
                    least: Duration::from_secs(*least),
                    given: *given,
                });
            }
            rest = tail;
        }
        if self.longest_sentence.as_secs() < self.sentence.as_secs() {
            return Err(TermsError::Longest {
                sentence: self.sentence,
                longest: self.longest_sentence,
            });
        }
        let neighbours = [
            ("neighbours_in_56", self.neighbours_in_56),
            ("neighbours_in_48", self.neighbours_in_48),
        ];
        let mut rest: &[(&'static str, Option<u16>)] = &neighbours;
        while let [(field, given), tail @ ..] = rest {
            if let Some(given) = *given
                && (given < 2 || given > MOST_NEIGHBOURS)
            {
                return Err(TermsError::Neighbours { field, given });
            }
            rest = tail;
        }
        match self.spread_strikes {
            Some(given) if given == 0 || given > 100 => Err(TermsError::Spread { given }),
            _ => Ok(()),
        }
    }

    /// The length of one part of the find time, of so many: with the running part and those before it, no strike within
    /// the find time is missed.
    pub(super) fn part(&self, parts: u32) -> u32 {
        seconds(self.find_time).div_ceil(parts.max(1)).max(1)
    }

    /// How many strikes of whomever send in a network that goes in with so many neighbours.
    pub(super) fn network_strikes(&self, neighbours: u16) -> Option<u32> {
        let strikes =
            u32::from(self.spread_strikes?) * u32::from(self.max_strikes) * u32::from(neighbours);
        Some(strikes.min(MOST_NETWORK_STRIKES))
    }

    /// The sentence after so many relapses. `jitter` is any number; its 32 bits are spread over the jitter's range.
    pub(super) fn sentence_after(&self, relapses: u32, jitter: u32) -> u32 {
        let cap = u64::from(seconds(self.longest_sentence));
        let doubled = u64::from(seconds(self.sentence)) << relapses.min(MOST_RELAPSES);
        let doubled = doubled.min(cap);
        let spread = doubled * u64::from(self.jitter_percent) / 100;
        let jittered = doubled + ((spread * u64::from(jitter)) >> 32);
        u32::try_from(jittered.min(cap)).unwrap_or(u32::MAX)
    }

    pub(super) fn forgive_seconds(&self) -> u32 {
        seconds(self.forgive_after).max(1)
    }
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

/// A setting of [`Terms`] that cannot be meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TermsError {
    /// `max_strikes` is zero, or more than is counted.
    Strikes {
        /// What was given.
        given: u8,
    },
    /// `jitter_percent` is more than all.
    Jitter {
        /// What was given.
        given: u8,
    },
    /// A time is too short to mean anything, or longer than ten years.
    Time {
        /// Which setting.
        field: &'static str,
        /// The shortest it may be.
        least: Duration,
        /// What was given.
        given: Duration,
    },
    /// The longest sentence is shorter than the first one.
    Longest {
        /// The first sentence.
        sentence: Duration,
        /// The longest.
        longest: Duration,
    },
    /// `spread_strikes` is zero, or more than anybody means.
    Spread {
        /// What was given.
        given: u8,
    },
    /// A number of neighbours that is none, or more than can be counted on.
    Neighbours {
        /// Which setting.
        field: &'static str,
        /// What was given.
        given: u16,
    },
}

impl fmt::Display for TermsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Strikes { given } => {
                write!(
                    f,
                    "max_strikes: must be between 1 and {MOST_STRIKES}, got {given}"
                )
            }
            Self::Jitter { given } => {
                write!(f, "jitter_percent: must be between 0 and 100, got {given}")
            }
            Self::Spread { given } => {
                write!(f, "spread_strikes: must be between 1 and 100, got {given}")
            }
            Self::Time {
                field,
                least,
                given,
            } => {
                write!(
                    f,
                    "{field}: must be between {least:?} and {LONGEST:?}, got {given:?}"
                )
            }
            Self::Longest { sentence, longest } => write!(
                f,
                "longest_sentence: must be at least sentence ({sentence:?}), got {longest:?}"
            ),
            Self::Neighbours { field, given } => {
                write!(
                    f,
                    "{field}: must be between 2 and {MOST_NEIGHBOURS}, got {given}"
                )
            }
        }
    }
}

impl std::error::Error for TermsError {}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn each_setting_out_of_range_is_named_with_its_value() {
        let terms = Terms::default();
        for (terms, message) in [
            (
                terms.max_strikes(64),
                "max_strikes: must be between 1 and 63, got 64",
            ),
            (
                terms.jitter_percent(101),
                "jitter_percent: must be between 0 and 100, got 101",
            ),
            (
                terms.find_time(Duration::from_secs(6)),
                "find_time: must be between 7s and 315360000s, got 6s",
            ),
            (
                terms.sentence(Duration::from_millis(999)),
                "sentence: must be between 1s and 315360000s, got 999ms",
            ),
            (
                terms.longest_sentence(MINUTE),
                "longest_sentence: must be at least sentence (600s), got 60s",
            ),
            (
                terms.neighbours_in_48(Some(1)),
                "neighbours_in_48: must be between 2 and 64, got 1",
            ),
            (
                terms.spread_strikes(Some(0)),
                "spread_strikes: must be between 1 and 100, got 0",
            ),
        ] {
            assert_eq!(terms.check().unwrap_err().to_string(), message);
        }
        assert_eq!(terms.check(), Ok(()));
        assert_eq!(terms.neighbours_in_56(None).check(), Ok(()));
    }

    #[test]
    fn a_sentence_doubles_with_each_relapse_up_to_the_cap() {
        let terms = Terms::default();
        let lengths: Vec<_> = (0..12)
            .map(|relapses| terms.sentence_after(relapses, 0))
            .collect();
        assert_eq!(lengths[..4], [600, 1_200, 2_400, 4_800]);
        assert_eq!(lengths[11], 7 * 86_400);
        assert_eq!(terms.sentence_after(u32::MAX, u32::MAX), 7 * 86_400);
    }

    #[test]
    fn jitter_lengthens_by_no_more_than_its_share() {
        let terms = Terms::default();
        assert_eq!(terms.sentence_after(0, 0), 600);
        assert_eq!(terms.sentence_after(0, 1 << 31), 630);
        assert_eq!(terms.sentence_after(0, u32::MAX), 659);
        assert_eq!(terms.jitter_percent(0).sentence_after(0, u32::MAX), 600);
    }
}
