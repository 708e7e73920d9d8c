use std::time::Duration;

use fusebox_core::time::nanos;

use super::settings::Share;

/// How long a circuit stays open before it tries the dependency again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoolDown {
    /// Always so long.
    Fixed(Duration),
    /// Longer each time in a row, up to a cap, and shortened by a random part, so that the clients of
    /// one dependency do not all come back at once (AWS Architecture Blog, "Exponential Backoff And
    /// Jitter").
    Exponential {
        /// The first time.
        first: Duration,
        /// The longest.
        most: Duration,
        /// Each time so many times longer than the last.
        factor: u32,
        /// At most this share is taken off at random.
        jitter: Share,
    },
}

impl CoolDown {
    /// The length of the first, in nanoseconds.
    pub(super) fn first(self) -> u64 {
        match self {
            Self::Fixed(length) => nanos(length),
            Self::Exponential { first, .. } => nanos(first),
        }
    }

    /// The longest there is, in nanoseconds.
    pub(super) fn longest(self) -> u64 {
        match self {
            Self::Fixed(length) => nanos(length),
            Self::Exponential { most, .. } => nanos(most),
        }
    }

    /// How long, when it is opened for the `attempt`th time in a row (from 0). `draw` is a random
    /// number; the engine has none of its own.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a part of something that fits"
    )]
    pub(super) fn length(self, attempt: u32, draw: u32) -> u64 {
        match self {
            Self::Fixed(length) => nanos(length),
            Self::Exponential {
                first,
                most,
                factor,
                jitter,
            } => {
                let length = nanos(first)
                    .saturating_mul(u64::from(factor).saturating_pow(attempt))
                    .min(nanos(most));
                let off = u128::from(length) * u128::from(jitter.millionths()) * u128::from(draw)
                    / (1_000_000 << 32);
                // However lucky the draw, it is open for a moment.
                (length - off as u64).max(1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exponential(jitter: f64) -> CoolDown {
        CoolDown::Exponential {
            first: Duration::from_nanos(100),
            most: Duration::from_nanos(1_000),
            factor: 2,
            jitter: Share::new(jitter).unwrap(),
        }
    }

    #[test]
    fn doubles_up_to_the_cap() {
        let lengths: Vec<_> = (0..6)
            .map(|attempt| exponential(0.0).length(attempt, u32::MAX))
            .collect();
        assert_eq!(lengths, [100, 200, 400, 800, 1_000, 1_000]);
        assert_eq!(exponential(0.0).length(u32::MAX, 0), 1_000);
    }

    #[test]
    fn jitter_only_ever_shortens() {
        assert_eq!(exponential(0.5).length(3, 0), 800);
        assert_eq!(exponential(0.5).length(3, u32::MAX / 2), 601);
        assert_eq!(exponential(0.5).length(3, u32::MAX), 401);
    }
}
