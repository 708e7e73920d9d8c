//! One hop as a header entry names it: RFC 7239 section 6, and what is seen in `X-Forwarded-For`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::address::Address;
use super::client::Unattributed;

/// Reads the address out of a node: `192.0.2.43`, `192.0.2.43:47011`, `[2001:db8::17]`,
/// `[2001:db8::17]:4711`, and a bare `2001:db8::17`.
///
/// The port is checked and dropped: a client has many. The bare IPv6 form is not in RFC 7239 but is
/// what `X-Forwarded-For` carries; with more than one colon the whole text is the address. Nobody can tell
/// a port after unbracketed IPv6 from a part of it: it is malformed, or read as another address, even of another
/// network where `::` stood for parts of it. No proxy may write that; see the deployment notes of the module.
///
/// # Errors
/// [`Unattributed::Hidden`] for `unknown` and for obfuscated names, [`Unattributed::Malformed`] for
/// everything else that is not the address of a possible client.
pub(super) fn parse(node: &[u8]) -> Result<Address, Unattributed> {
    let address = match node {
        [b'[', rest @ ..] => {
            let (name, after) = split_at_byte(rest, b']').ok_or(Unattributed::Malformed)?;
            match after {
                [] => {}
                [b':', port @ ..] if is_port(port) => {}
                _ => return Err(Unattributed::Malformed),
            }
            address::<Ipv6Addr>(name)
        }
        _ => match split_at_byte(node, b':') {
            None => return name(node),
            Some((_, more)) if more.contains(&b':') => address::<Ipv6Addr>(node),
            Some((host, port)) if is_port(port) => return name(host),
            Some(_) => None,
        },
    };
    address.ok_or(Unattributed::Malformed)
}

/// The plain IPv4 address that is all there is; `None` if that is not what it is, which is for [`parse`] to judge.
#[inline]
pub(super) fn only_ipv4(text: &[u8]) -> Option<Address> {
    /// The longest there is.
    const LONGEST: usize = 15;
    if text.len() > LONGEST {
        return None;
    }
    let (mut bits, mut rest) = octet(text)?;
    for _ in 0..3 {
        let [b'.', after @ ..] = rest else {
            return None;
        };
        let (octet, after) = octet(after)?;
        bits = bits << 8 | octet;
        rest = after;
    }
    if rest.is_empty() {
        Address::v4(bits)
    } else {
        None
    }
}

/// An octet, and what follows it. No leading zero, which some read as octal.
#[inline(always)]
fn octet(text: &[u8]) -> Option<(u32, &[u8])> {
    let (first, rest) = digit(text)?;
    let Some((second, rest)) = digit(rest) else {
        return Some((first, rest));
    };
    if first == 0 {
        return None;
    }
    let two = first * 10 + second;
    let Some((third, rest)) = digit(rest) else {
        return Some((two, rest));
    };
    let three = two * 10 + third;
    if three > 255 {
        None
    } else {
        Some((three, rest))
    }
}

#[inline(always)]
fn digit(text: &[u8]) -> Option<(u32, &[u8])> {
    let (byte, rest) = text.split_first()?;
    let digit = byte.wrapping_sub(b'0');
    if digit <= 9 {
        Some((digit.into(), rest))
    } else {
        None
    }
}

/// The plain IPv4 address at the end of a list, and where it begins; `None` if that is not what the list ends with.
///
/// What nearly every entry is. Read in one pass from the right, it costs a fifth of finding the comma, the colon that is
/// not there, and then the address. Whatever it does not recognise is for [`parse`] to judge.
pub(super) fn last_ipv4(list: &[u8]) -> Option<(Address, usize)> {
    /// The longest there is has fifteen bytes; one more ends it.
    const ENOUGH: usize = 16;
    let (mut bits, mut shift) = (0, 0);
    let mut octet = Octet::default();
    let mut start = list.len();
    for byte in list.iter().rev().take(ENOUGH) {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            octet = octet.with(digit);
        } else if *byte == b'.' && shift < 24 {
            bits |= octet.value()? << shift;
            shift += 8;
            octet = Octet::default();
        } else {
            break;
        }
        start -= 1;
    }
    if shift != 24 {
        return None;
    }
    Some((Address::v4(bits | octet.value()? << 24)?, start))
}

/// An octet that is read from its right end.
struct Octet {
    sum: u64,
    /// What the next digit is worth.
    worth: u64,
    leftmost: u8,
}

impl Default for Octet {
    fn default() -> Self {
        Self {
            sum: 0,
            worth: 1,
            leftmost: 0,
        }
    }
}

impl Octet {
    /// Of at most sixteen digits, which fit.
    #[inline(always)]
    fn with(self, digit: u8) -> Self {
        Self {
            sum: self.sum + u64::from(digit) * self.worth,
            worth: self.worth * 10,
            leftmost: digit,
        }
    }

    /// `None` for no digits, more than 255, and a leading zero, which some read as octal.
    #[inline(always)]
    fn value(&self) -> Option<u32> {
        let leading_zero = self.leftmost == 0 && self.worth > 10;
        if self.worth == 1 || self.sum > 255 || leading_zero {
            return None;
        }
        u32::try_from(self.sum).ok()
    }
}

/// A node name without brackets and port.
fn name(name: &[u8]) -> Result<Address, Unattributed> {
    match name {
        [b'_', rest @ ..] if is_obfuscated(rest) => Err(Unattributed::Hidden),
        _ if name.eq_ignore_ascii_case(b"unknown") => Err(Unattributed::Hidden),
        _ => address::<Ipv4Addr>(name).ok_or(Unattributed::Malformed),
    }
}

fn address<A: FromStr + Into<IpAddr>>(text: &[u8]) -> Option<Address> {
    let address: A = str::from_utf8(text).ok()?.parse().ok()?;
    Address::new(address.into())
}

/// `node-port`: up to five digits that are a port, or an obfuscated one.
fn is_port(port: &[u8]) -> bool {
    match port {
        [b'_', rest @ ..] => is_obfuscated(rest),
        // `u16::from_str` also takes a sign and any number of leading zeroes.
        _ => {
            port.len() <= 5
                && port.iter().all(u8::is_ascii_digit)
                && str::from_utf8(port).is_ok_and(|port| port.parse::<u16>().is_ok())
        }
    }
}

/// What follows the underscore of `obfnode` and `obfport`.
fn is_obfuscated(rest: &[u8]) -> bool {
    !rest.is_empty()
        && rest
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// The text before the first such byte, and the text after it.
pub(super) fn split_at_byte(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == separator)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_addresses_with_ports_and_brackets() {
        for (node, expected) in [
            ("192.0.2.43", "192.0.2.43"),
            ("192.0.2.43:47011", "192.0.2.43"),
            ("192.0.2.43:0", "192.0.2.43"),
            ("192.0.2.43:_gazonk", "192.0.2.43"),
            ("[2001:db8:cafe::17]", "2001:db8:cafe::17"),
            ("[2001:db8:cafe::17]:4711", "2001:db8:cafe::17"),
            ("[2001:db8:cafe::17]:_obf.port-1", "2001:db8:cafe::17"),
            ("2001:db8:cafe::17", "2001:db8:cafe::17"),
            ("::ffff:192.0.2.43", "192.0.2.43"),
            ("[::ffff:192.0.2.43]:80", "192.0.2.43"),
            ("[::FFFF:c000:022b]", "192.0.2.43"),
            ("::1", "::1"),
        ] {
            assert_eq!(
                parse(node.as_bytes()).map(Address::ip),
                Ok(expected.parse().unwrap()),
                "{node}"
            );
        }
    }

    #[test]
    fn a_plain_address_at_the_end_of_a_list_is_read_with_its_beginning() {
        for (list, expected) in [
            ("192.0.2.43", Some(("192.0.2.43", 0))),
            ("a, 192.0.2.43", Some(("192.0.2.43", 3))),
            ("1.192.0.2.43", Some(("192.0.2.43", 2))),
            ("255.255.255.255", Some(("255.255.255.255", 0))),
            ("10.0.0.0", Some(("10.0.0.0", 0))),
            ("192.0.2.43 ", None),
            ("192.0.2.043", None),
            ("192.00.2.43", None),
            ("0192.0.2.43", None),
            ("192.0.2.256", None),
            ("192.0.2.1000", None),
            ("192.0.2.0000000000000000000000000", None),
            ("192.0..43", None),
            (".0.2.43", None),
            ("0.2.43", None),
            ("192.0.2.", None),
            ("192.0.2.43:80", None),
            ("0.0.0.0", None),
            ("224.0.0.1", None),
            ("", None),
        ] {
            let found = last_ipv4(list.as_bytes()).map(|(address, start)| (address.ip(), start));
            let expected = expected.map(|(address, start)| (address.parse().unwrap(), start));
            assert_eq!(found, expected, "{list}");
            let only = expected.filter(|(_, start)| *start == 0);
            let found = only_ipv4(list.as_bytes()).map(Address::ip);
            assert_eq!(found, only.map(|(address, _)| address), "{list}");
        }
    }

    #[test]
    fn tells_a_hidden_hop_from_a_malformed_one() {
        for node in [
            "unknown",
            "Unknown",
            "UNKNOWN:443",
            "_gazonk",
            "_SEVKISEK",
            "_hidden:_port",
            "_a.b-c_1",
        ] {
            assert_eq!(parse(node.as_bytes()), Err(Unattributed::Hidden), "{node}");
        }
        for node in [
            "",
            " ",
            "_",
            "_gaz onk",
            "_é",
            "unix:",
            "localhost",
            "192.0.2",
            "192.0.2.256",
            "192.0.02.1",
            "192.0.2.43:",
            "192.0.2.43:65536",
            "192.0.2.43:+80",
            "192.0.2.43:000080",
            "192.0.2.43:_",
            "192.0.2.43:http",
            "[192.0.2.43]",
            "[2001:db8::17",
            "2001:db8::17]",
            "[2001:db8::17]4711",
            "[2001:db8::17]:",
            "[]",
            "[",
            "fe80::1%eth0",
            "[fe80::1%eth0]",
            "\"192.0.2.43\"",
            "192.0.2.43 ",
            "0.0.0.0",
            "::",
            "[ff02::1]:80",
            "224.0.0.251",
            "1",
            "0x7f.1",
            "2130706433",
        ] {
            assert_eq!(
                parse(node.as_bytes()),
                Err(Unattributed::Malformed),
                "{node}"
            );
        }
    }
}
