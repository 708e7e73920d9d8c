//! What a feed may have, and how it may change.

use std::fmt;

use super::{FeedError, LineProblem};
use crate::engine::network::Network;

/// How a feed may change from one reading to the next.
///
/// The default: at least one record and at most five million; no less than half and no more than three times as
/// many as before; no block larger than an IPv4 /8 or an IPv6 /16; no more than a quarter of IPv4 in all, and no more than
/// a quarter of what is given out of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedLimits {
    /// Fewer records than this are no list but an accident.
    pub least: usize,
    /// More records than this are refused, whatever there was before.
    pub most: usize,
    /// No fewer than this percentage of the records before.
    pub shrink_to_percent: u32,
    /// No more than this percentage of the records before.
    pub grow_to_percent: u32,
    /// No IPv4 block with a shorter prefix. A registry never gave anybody more than a /8, and two lines with a /1 are
    /// everybody.
    pub shortest_ipv4: u8,
    /// No IPv6 block with a shorter prefix. Nobody was ever given more than a /16.
    pub shortest_ipv6: u8,
    /// No more than this percentage of all IPv4 addresses in all blocks together: two hundred lines with a /8 each are
    /// everybody, too. What lies in two blocks counts twice, but not a block that stands in two lines.
    pub most_percent_of_ipv4: u32,
    /// The same of IPv6, where all is what the registries have given to somebody, taken as 524,288 blocks with a /32 each
    /// (a /13 in all): of the addresses that there could be no list has a hundredth, be everybody on it. More than 100 can
    /// be meant, because ever more is given out.
    pub most_percent_of_ipv6: u32,
}

impl Default for FeedLimits {
    fn default() -> Self {
        Self {
            least: 1,
            most: 5_000_000,
            shrink_to_percent: 50,
            grow_to_percent: 300,
            shortest_ipv4: 8,
            shortest_ipv6: 16,
            most_percent_of_ipv4: 25,
            most_percent_of_ipv6: 25,
        }
    }
}

/// Below this many records before, a change in per cent means nothing: one record more than one is a doubling.
const TOO_FEW_TO_COMPARE: usize = 50;
/// What is given out of IPv6, rounded to a power of two, is as much as one block of this prefix.
const GIVEN_OUT_OF_IPV6: u8 = 13;

impl FeedLimits {
    /// More bytes than this are not read, however they are divided into lines.
    #[must_use]
    pub const fn most_bytes(&self) -> u64 {
        // Records with their remarks have 20 to 120 bytes; what is at the top of a file is not a megabyte.
        (self.most as u64)
            .saturating_mul(256)
            .saturating_add(1 << 20)
    }

    /// Whether any list could keep them.
    ///
    /// # Errors
    /// [`FeedLimitsError`] names the field that cannot be meant.
    pub fn check(&self) -> Result<(), FeedLimitsError> {
        let Self { least, most, .. } = *self;
        if least > most || most == 0 {
            return Err(FeedLimitsError::Most { least, most });
        }
        for (field, given, fits) in [
            ("shrink_to_percent", self.shrink_to_percent, 0..=100),
            ("grow_to_percent", self.grow_to_percent, 100..=u32::MAX),
            ("shortest_ipv4", self.shortest_ipv4.into(), 0..=32),
            ("shortest_ipv6", self.shortest_ipv6.into(), 0..=128),
            ("most_percent_of_ipv4", self.most_percent_of_ipv4, 0..=100),
        ] {
            if !fits.contains(&given) {
                return Err(FeedLimitsError::OutOfRange {
                    field,
                    given,
                    from: *fits.start(),
                    to: *fits.end(),
                });
            }
        }
        Ok(())
    }

    /// Whether a block is too large to be meant.
    pub(super) fn check_block(&self, network: Network) -> Result<(), LineProblem> {
        let shortest = match network.is_ipv4() {
            true => self.shortest_ipv4,
            false => self.shortest_ipv6,
        };
        if network.prefix() < shortest {
            return Err(LineProblem::TooWide { network, shortest });
        }
        Ok(())
    }

    /// Whether all blocks together are more than any list has.
    pub(super) fn check_extent(&self, networks: &[Network]) -> Result<(), FeedError> {
        for (ipv4, all, most) in [
            (true, 0, self.most_percent_of_ipv4),
            (false, GIVEN_OUT_OF_IPV6, self.most_percent_of_ipv6),
        ] {
            // In IPv4 addresses and IPv6 /64, to which whatever is smaller is rounded up.
            let longest: u8 = if ipv4 { 32 } else { 64 };
            let blocks = networks.iter().filter(|network| network.is_ipv4() == ipv4);
            let extent = blocks.fold(0_u128, |sum, network| {
                sum + (1 << longest.saturating_sub(network.prefix()))
            });
            let percent = (extent * 100) >> (longest - all);
            if percent > most.into() {
                return Err(FeedError::TooMuch {
                    of: if ipv4 { "IPv4" } else { "IPv6" },
                    percent: u64::try_from(percent).unwrap_or(u64::MAX),
                    most,
                });
            }
        }
        Ok(())
    }

    pub(super) fn check_count(&self, now: usize, before: Option<usize>) -> Result<(), FeedError> {
        if now < self.least {
            return Err(FeedError::TooFew {
                records: now,
                least: self.least,
            });
        }
        let Some(before) = before.filter(|before| *before >= TOO_FEW_TO_COMPARE) else {
            return Ok(());
        };
        let percent_of = |percent: u32| before as u128 * u128::from(percent);
        let now_percent = now as u128 * 100;
        if now_percent < percent_of(self.shrink_to_percent) {
            Err(FeedError::Collapsed { before, now })
        } else if now_percent > percent_of(self.grow_to_percent) {
            Err(FeedError::Exploded { before, now })
        } else {
            Ok(())
        }
    }
}

/// Limits that no list could keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FeedLimitsError {
    /// `most` is less than `least`, or nothing.
    Most {
        /// What is given for the fewest records.
        least: usize,
        /// What is given for the most records.
        most: usize,
    },
    /// A number that means nothing there.
    OutOfRange {
        /// Which.
        field: &'static str,
        /// What was given.
        given: u32,
        /// The least that can be meant.
        from: u32,
        /// The most that can be meant.
        to: u32,
    },
}

impl fmt::Display for FeedLimitsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Most { least, most } => {
                write!(
                    f,
                    "most: must be at least 1 and `least` ({least}), got {most}"
                )
            }
            Self::OutOfRange {
                field,
                given,
                from,
                to,
            } => write!(f, "{field}: must be between {from} and {to}, got {given}"),
        }
    }
}

impl std::error::Error for FeedLimitsError {}
