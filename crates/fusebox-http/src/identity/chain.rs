//! The walk over the forwarding chain, from the peer to the left.

use http::header::{self, HeaderMap, HeaderName, HeaderValue, ValueIter};

use super::address::Address;
use super::client::Unattributed;
use super::config::ForwardedHeader;
use super::{forwarded, node};

/// How many entries of the header are examined.
///
/// Each of them but the last is the address of one of your own proxies. The longest chains in the
/// field (CDN, WAF provider, balancer, ingress, mesh sidecar) have five or six; more than sixteen is a
/// forwarding loop or a list of trusted networks that contains the clients.
const MAX_HOPS: u8 = 16;

/// `X-Forwarded-For`: no RFC has it, so `http` has no constant.
static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Where a walk came to rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Walk {
    /// The last hop whose address is known for certain.
    pub(super) address: Address,
    /// Which entry from the right that is, counted from 1; 0 is the peer itself.
    pub(super) hop: u8,
    /// Why the walk ended at a hop that may speak for others. None where it reached one that may not.
    pub(super) stopped: Option<Unattributed>,
}

impl Walk {
    /// No step taken.
    #[inline]
    pub(super) const fn at_peer(peer: Address) -> Self {
        Self {
            address: peer,
            hop: 0,
            stopped: None,
        }
    }
}

/// Walks from the peer to the left for as long as `speaks_for_others` says so of the hop in hand.
pub(super) fn walk(
    peer: Address,
    headers: &HeaderMap,
    header: ForwardedHeader,
    speaks_for_others: impl Fn(Address) -> bool,
) -> Walk {
    let mut at = Walk::at_peer(peer);
    let mut entries = Entries::new(headers, header);
    while speaks_for_others(at.address) {
        // An entry that names nobody ends the walk. Going on to its left would give the word to whoever
        // is next to a proxy that keeps silent: to the client.
        let entry = match at.hop {
            MAX_HOPS => Err(Unattributed::TooManyHops),
            _ => entries.next().unwrap_or(Err(Unattributed::NotNamed)),
        };
        match entry {
            Ok(address) => {
                at = Walk {
                    address,
                    hop: at.hop + 1,
                    stopped: None,
                }
            }
            Err(reason) => {
                return Walk {
                    stopped: Some(reason),
                    ..at
                };
            }
        }
    }
    at
}

/// The entries of all lines of a header, the last one first.
struct Entries<'a> {
    header: ForwardedHeader,
    lines: ValueIter<'a, HeaderValue>,
    /// What is left of the line in hand.
    line: Option<&'a [u8]>,
}

impl<'a> Entries<'a> {
    fn new(headers: &'a HeaderMap, header: ForwardedHeader) -> Self {
        let name = match header {
            ForwardedHeader::XForwardedFor => &X_FORWARDED_FOR,
            ForwardedHeader::Forwarded => &header::FORWARDED,
        };
        Self {
            header,
            lines: headers.get_all(name).iter(),
            line: None,
        }
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Address, Unattributed>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = match self.line.take() {
            Some(line) => line,
            None => self.lines.next_back()?.as_bytes(),
        };
        if self.header == ForwardedHeader::XForwardedFor
            && let Some((address, left)) = plain(line)
        {
            self.line = left;
            return Some(Ok(address));
        }
        let comma = match self.header {
            ForwardedHeader::XForwardedFor => line.iter().rposition(|byte| *byte == b','),
            ForwardedHeader::Forwarded => forwarded::last_comma(line),
        };
        let entry = match comma.and_then(|comma| line.split_at_checked(comma)) {
            Some((left, comma_and_entry)) => {
                self.line = Some(left);
                comma_and_entry.get(1..).unwrap_or_default()
            }
            None => line,
        };
        Some(match self.header {
            ForwardedHeader::XForwardedFor => node::parse(entry.trim_ascii()),
            ForwardedHeader::Forwarded => forwarded::address(entry),
        })
    }
}

/// The last entry of a line where that is a plain IPv4 address, and what is left of the line.
///
/// `None` where it takes a closer look to tell.
#[inline]
fn plain(line: &[u8]) -> Option<(Address, Option<&[u8]>)> {
    // Behind one proxy there is nothing else in it.
    if let Some(address) = node::only_ipv4(line) {
        return Some((address, None));
    }
    let (address, start) = node::last_ipv4(line)?;
    match line.get(..start)?.trim_ascii_end() {
        [] => Some((address, None)),
        [left @ .., b','] => Some((address, Some(left))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    /// Readable, unlike a [`Walk`], which keeps addresses to itself.
    type Found = (IpAddr, u8, Option<Unattributed>);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Trusts 10.0.0.0/8.
    fn walk_from(peer: &str, header: ForwardedHeader, lines: &[&str]) -> Found {
        let name = match header {
            ForwardedHeader::XForwardedFor => "x-forwarded-for",
            ForwardedHeader::Forwarded => "forwarded",
        };
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, line.parse().unwrap());
        }
        let peer = Address::new(ip(peer)).unwrap();
        let trusted = |hop: Address| matches!(hop.ip(), IpAddr::V4(v4) if v4.octets()[0] == 10);
        let walk = walk(peer, &headers, header, trusted);
        (walk.address.ip(), walk.hop, walk.stopped)
    }

    fn at(address: &str, hop: u8) -> Found {
        (ip(address), hop, None)
    }

    fn stopped(address: &str, hop: u8, reason: Unattributed) -> Found {
        (ip(address), hop, Some(reason))
    }

    #[test]
    fn walks_right_to_left_over_all_lines_to_the_first_untrusted_hop() {
        use ForwardedHeader::{Forwarded, XForwardedFor};
        for (peer, header, lines, expected) in [
            (
                "203.0.113.9",
                XForwardedFor,
                &["198.51.100.1"][..],
                at("203.0.113.9", 0),
            ),
            (
                "10.0.0.1",
                XForwardedFor,
                &["198.51.100.1"],
                at("198.51.100.1", 1),
            ),
            (
                "10.0.0.1",
                XForwardedFor,
                &["spoof, 198.51.100.1, 10.0.0.2"],
                at("198.51.100.1", 2),
            ),
            (
                "10.0.0.1",
                XForwardedFor,
                &["spoof", "198.51.100.1", "10.0.0.2,10.0.0.3"],
                at("198.51.100.1", 3),
            ),
            (
                "10.0.0.1",
                XForwardedFor,
                &["192.0.2.1 ,\t198.51.100.1:80\t"],
                at("198.51.100.1", 1),
            ),
            (
                "10.0.0.1",
                Forwarded,
                &["for=192.0.2.1", "for=198.51.100.1, for=10.0.0.2"],
                at("198.51.100.1", 2),
            ),
            (
                "10.0.0.1",
                Forwarded,
                &["for=192.0.2.1;by=\", for=198.51.100.1"],
                at("198.51.100.1", 1),
            ),
            (
                "10.0.0.1",
                Forwarded,
                &["for=198.51.100.1, for=10.0.0.2;host=\"a,for=192.0.2.1\""],
                at("198.51.100.1", 2),
            ),
            (
                "10.0.0.1",
                Forwarded,
                &["a=\"", "for=198.51.100.1"],
                at("198.51.100.1", 1),
            ),
        ] {
            assert_eq!(walk_from(peer, header, lines), expected, "{peer} {lines:?}");
        }
    }

    #[test]
    fn stops_at_the_last_verified_hop_where_an_entry_names_nobody() {
        use ForwardedHeader::{Forwarded, XForwardedFor};
        use Unattributed::{Hidden, Malformed, NotNamed};
        for (header, lines, expected) in [
            (XForwardedFor, &[][..], stopped("10.0.0.1", 0, NotNamed)),
            (
                XForwardedFor,
                &["10.0.0.3, 10.0.0.2"],
                stopped("10.0.0.3", 2, NotNamed),
            ),
            (
                XForwardedFor,
                &["192.0.2.1, unknown, 10.0.0.2"],
                stopped("10.0.0.2", 1, Hidden),
            ),
            (
                XForwardedFor,
                &["192.0.2.1, unix:"],
                stopped("10.0.0.1", 0, Malformed),
            ),
            (
                XForwardedFor,
                &["192.0.2.1, "],
                stopped("10.0.0.1", 0, Malformed),
            ),
            (
                XForwardedFor,
                &["192.0.2.1", ""],
                stopped("10.0.0.1", 0, Malformed),
            ),
            (
                XForwardedFor,
                &["192.0.2.1,,10.0.0.2"],
                stopped("10.0.0.2", 1, Malformed),
            ),
            (
                XForwardedFor,
                &["for=192.0.2.1"],
                stopped("10.0.0.1", 0, Malformed),
            ),
            (
                Forwarded,
                &["for=192.0.2.1, for=_hidden"],
                stopped("10.0.0.1", 0, Hidden),
            ),
            (
                Forwarded,
                &["for=192.0.2.1, proto=https"],
                stopped("10.0.0.1", 0, NotNamed),
            ),
            (
                Forwarded,
                &["for=192.0.2.1, \"for=192.0.2.2"],
                stopped("10.0.0.1", 0, Malformed),
            ),
            (
                Forwarded,
                &["a=\"b", "c\";for=192.0.2.1"],
                stopped("10.0.0.1", 0, Malformed),
            ),
            (Forwarded, &["192.0.2.1"], stopped("10.0.0.1", 0, Malformed)),
        ] {
            assert_eq!(walk_from("10.0.0.1", header, lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn examines_a_bounded_number_of_entries() {
        let chain = |proxies: usize| format!("198.51.100.1{}", ", 10.0.0.2".repeat(proxies));
        let xff = ForwardedHeader::XForwardedFor;
        assert_eq!(
            walk_from("10.0.0.1", xff, &[&chain(15)]),
            at("198.51.100.1", 16)
        );
        let expected = stopped("10.0.0.2", MAX_HOPS, Unattributed::TooManyHops);
        assert_eq!(walk_from("10.0.0.1", xff, &[&chain(16)]), expected);
    }

    proptest! {
        #[test]
        fn a_plain_entry_is_read_as_any_other(line in "[0-9., a:\\t]{0,24}|( ?[0-2]?[0-9]{1,2}[.]?){1,9}( ?, ?[0-9]{1,3}([.][0-9]{1,3}){3}){0,2}") {
            let bytes = line.as_bytes();
            if let Some((address, left)) = plain(bytes) {
                let comma = bytes.iter().rposition(|byte| *byte == b',');
                let entry = bytes.get(comma.map_or(0, |comma| comma + 1)..).unwrap();
                prop_assert_eq!(node::parse(entry.trim_ascii()), Ok(address));
                prop_assert_eq!(left, comma.map(|comma| &bytes[..comma]));
            }
        }
    }
}
