//! One hop as a header entry names it: RFC 7239 section 6, and what is seen in `X-Forwarded-For`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::address::Address;
use super::client::Unattributed;

/// Reads the address out of a node: `192.0.2.43`, `192.0.2.43:47011`, `[2001:db8::17]`,
/// `[2001:db8::17]:4711`, and a bare `2001:db8::17`.
///
/// The port is checked and dropped: a client has many. The bare IPv6 form is not in RFC 7239 but is
/// what `X-Forwarded-For` carries; with more than one colon the whole text is the address, so a port
/// after unbracketed IPv6 is read as part of it (within the same /64) or is malformed.
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
