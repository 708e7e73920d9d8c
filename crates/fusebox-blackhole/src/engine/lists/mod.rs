//! Which published list an address is on: the longest prefix that has it.
//!
//! Built once, never changed, swapped whole. Innocents hardly ever get here, the [filter](super::filter) clears them; so
//! what counts is how far from one another the things lie that have to be looked at for somebody who is listed.
//!
//! - **IPv4** has lists with prefixes of all lengths, one inside the other: they are flattened into ranges, and found
//!   through an index of the upper bits. Two or three loads. See [`v4`].
//! - **IPv6** has addresses too long for that, and lists with few different lengths: the prefixes of each length that
//!   has many are in a hash table whose lines have all that is needed. One load for each such length, and none waits
//!   for another. See [`v6`].
//!
//! With a million prefixes, nine in ten of them single clients: 6 bytes each for IPv4, 12 for IPv6; half the time that a
//! `HashMap` with as many addresses takes to find one of them (some 25 and 30 ns against 58). With IPv4 in arrays behind
//! a bitmap and IPv6 in ranges behind a hash of 48 bits, which was tried, it was 56 and 298 ns. From some ten megabytes on,
//! it is the memory that is waited for.

mod exact;
mod ranges;
mod v4;
mod v6;

use std::net::IpAddr;

use self::{v4::V4, v6::V6};
use super::network::Network;

/// An immutable table of prefixes, each with the number of the list it is from.
///
/// ```
/// use fusebox_blackhole::engine::Lists;
///
/// # fn main() -> Result<(), fusebox_blackhole::engine::NetworkError> {
/// let lists = Lists::new([("192.0.2.0/24".parse()?, 0), ("192.0.2.7".parse()?, 1)], 42);
/// assert_eq!(lists.find([192, 0, 2, 1].into()), Some(0));
/// assert_eq!(lists.find([192, 0, 2, 7].into()), Some(1), "the longer prefix");
/// assert_eq!(lists.find([192, 0, 3, 1].into()), None);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Lists {
    v4: V4,
    v6: V6,
}

impl Lists {
    /// Builds the table. Of equal prefixes the one with the smaller number has the say. `seed` is for hash tables
    /// whose keys are the lists' authors' choice.
    ///
    /// Sorting is what it costs: a million prefixes take some tenths of a second, so build it off the runtime.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "IPv4 is the lower quarter")]
    pub fn new(networks: impl IntoIterator<Item = (Network, u8)>, seed: u64) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (network, list) in networks {
            if network.is_ipv4() {
                v4.push((network.first() as u32, network.last() as u32, list.into()));
            } else {
                v6.push((network, list));
            }
        }
        Self {
            v4: V4::new(v4),
            v6: V6::new(v6, seed),
        }
    }

    /// The list of the longest prefix that has the address.
    #[inline]
    #[must_use]
    pub fn find(&self, address: IpAddr) -> Option<u8> {
        match address {
            IpAddr::V4(v4) => self.v4.find(v4.to_bits()),
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) => self.v4.find(v4.to_bits()),
                None => self.v6.find(v6.to_bits()),
            },
        }
    }

    /// Whether nothing is listed at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// The bytes it takes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.v4.memory() + self.v6.memory()
    }
}
