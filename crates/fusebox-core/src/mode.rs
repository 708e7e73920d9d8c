use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Whether a layer acts on its own decisions.
///
/// In every mode the layer decides, counts and reports; the mode says for which requests it also acts.
/// Start in [`Shadow`](Self::Shadow), read the counters, go up by percentages, end in
/// [`Enforce`](Self::Enforce).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Act on every decision.
    #[default]
    Enforce,
    /// Act on none: what would have been refused is counted as detected and let through.
    Shadow,
    /// Act on this share of the requests, let the others through as in [`Shadow`](Self::Shadow).
    Percentage(Percent),
}

/// A whole percentage, 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u8);

/// A percentage above 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeError {
    given: u8,
}

impl std::fmt::Display for ModeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "percentage: must be between 0 and 100, got {}",
            self.given
        )
    }
}

impl std::error::Error for ModeError {}

impl Percent {
    /// `percent` in 0..=100.
    ///
    /// # Errors
    /// [`ModeError`] when it is above 100.
    pub const fn new(percent: u8) -> Result<Self, ModeError> {
        if percent <= 100 {
            Ok(Self(percent))
        } else {
            Err(ModeError { given: percent })
        }
    }

    /// The number, 0 to 100.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Mode {
    /// Acts on `percent` of the requests.
    ///
    /// # Errors
    /// [`ModeError`] when `percent` is above 100.
    ///
    /// ```
    /// use fusebox_core::Mode;
    ///
    /// assert!(Mode::percentage(25).is_ok());
    /// assert_eq!(
    ///     Mode::percentage(250).unwrap_err().to_string(),
    ///     "percentage: must be between 0 and 100, got 250"
    /// );
    /// ```
    pub const fn percentage(percent: u8) -> Result<Self, ModeError> {
        match Percent::new(percent) {
            Ok(percent) => Ok(Self::Percentage(percent)),
            Err(error) => Err(error),
        }
    }

    const fn percent(self) -> u8 {
        match self {
            Self::Enforce => 100,
            Self::Shadow => 0,
            Self::Percentage(Percent(percent)) => percent,
        }
    }

    const fn from_percent(percent: u8) -> Self {
        match percent {
            0 => Self::Shadow,
            1..=99 => Self::Percentage(Percent(percent)),
            _ => Self::Enforce,
        }
    }

    /// Whether this mode acts on the request with this ticket.
    ///
    /// The ticket is a number that spreads requests: a running count (every request decided by itself)
    /// or the hash of a key (a client is always in or always out). No randomness is drawn; consecutive
    /// counts are spread by the golden ratio (Knuth, TAOCP 6.4), so any run of 100 of them is within a
    /// few of the percentage.
    #[must_use]
    pub const fn enforces(self, ticket: u64) -> bool {
        const GOLDEN_RATIO: u64 = 0x9E37_79B9_7F4A_7C15;
        let spread = ticket.wrapping_mul(GOLDEN_RATIO) >> 32;
        (spread * 100) >> 32 < self.percent() as u64
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Enforce => f.write_str("enforce"),
            Self::Shadow => f.write_str("shadow"),
            Self::Percentage(Percent(percent)) => write!(f, "{percent}%"),
        }
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Mode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A [`Mode`] that an operator can change while traffic flows.
///
/// `Percentage(0)` reads back as [`Mode::Shadow`] and `Percentage(100)` as [`Mode::Enforce`], which
/// they are.
#[derive(Debug)]
pub struct ModeCell {
    percent: AtomicU32,
    tickets: AtomicU64,
}

impl ModeCell {
    /// A cell that starts in `mode`.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Self {
            percent: AtomicU32::new(u32::from(mode.percent())),
            tickets: AtomicU64::new(0),
        }
    }

    /// The mode now.
    #[must_use]
    pub fn get(&self) -> Mode {
        let percent = self.percent.load(Ordering::Relaxed);
        Mode::from_percent(u8::try_from(percent).unwrap_or(100))
    }

    /// Changes the mode for every request from now on.
    pub fn set(&self, mode: Mode) {
        self.percent
            .store(u32::from(mode.percent()), Ordering::Relaxed);
    }

    /// Whether to act on one more decision.
    ///
    /// Only a percentage has to count; the other modes touch no shared counter.
    #[must_use]
    pub fn enforces_next(&self) -> bool {
        match self.get() {
            Mode::Enforce => true,
            Mode::Shadow => false,
            mode @ Mode::Percentage(_) => {
                mode.enforces(self.tickets.fetch_add(1, Ordering::Relaxed))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_of_a_hundred_is_close_to_the_percentage() {
        for percent in 0..=100 {
            let mode = Mode::from_percent(percent);
            for start in [0_u64, 17, 1_000_003, u64::MAX - 50] {
                let acted = (0..100)
                    .filter(|i| mode.enforces(start.wrapping_add(*i)))
                    .count();
                assert!(
                    acted.abs_diff(usize::from(percent)) <= 3,
                    "{percent}% from {start}: {acted}"
                );
            }
        }
    }

    #[test]
    fn shadow_never_acts_and_enforce_always_does() {
        for ticket in (0..u64::MAX).step_by(usize::MAX / 1_000) {
            assert!(!Mode::Shadow.enforces(ticket));
            assert!(Mode::Enforce.enforces(ticket));
        }
    }

    #[test]
    fn a_cell_gives_back_what_was_set() {
        let cell = ModeCell::new(Mode::Shadow);
        assert_eq!(cell.get(), Mode::Shadow);
        assert!(!cell.enforces_next());
        let quarter = Mode::percentage(25).unwrap();
        cell.set(quarter);
        assert_eq!(cell.get(), quarter);
        let acted = (0..1_000).filter(|_| cell.enforces_next()).count();
        assert!(acted.abs_diff(250) <= 3, "{acted}");
        cell.set(Mode::Enforce);
        assert!(cell.enforces_next());
    }
}
