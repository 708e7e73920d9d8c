//! The oracle of the client identity: a slow and obvious second implementation, and the laws.
//!
//! An input is one byte of choices and then lines, separated by newlines (which no header value can
//! contain). The lines are what the client sent.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::LazyLock;

use fusebox_http::identity::{
    ClientIdentity, ForwardedHeader, HeaderProblem, IdentityConfig, IdentityError,
    IdentityResolver, PeerAddr, Provenance, Unattributed,
};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue};

/// The peer of most requests here: a trusted proxy.
const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
/// A peer that is an edge of the CDN.
const EDGE: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xcd, 0, 0, 0, 0, 1));
/// Neither.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));
const TRUSTED: [&str; 2] = ["10.0.0.0/8", "fd00::/8"];
const MAX_HOPS: usize = 16;

/// What trusted proxies write after the client's lines: the text and the hop of [`CLIENT`] in it.
const TAILS: [[(&str, u8); 4]; 2] = [
    [
        ("203.0.113.9", 1),
        (" 203.0.113.9:443 , 10.0.0.2", 2),
        ("::ffff:203.0.113.9,[fd00::7]:80,10.0.0.2", 3),
        ("\t[::ffff:203.0.113.9]:1\t, fd00::7", 2),
    ],
    [
        ("for=203.0.113.9", 1),
        (
            r#"for="203.0.113.9:443";proto=https, For="[fd00::7]";by=10.0.0.1"#,
            2,
        ),
        (
            r#"host="a,for=192.0.2.1;\",";for=203.0.113.9 , for="10.0.0.2:_p""#,
            2,
        ),
        (
            r#" by="\\\"\\";for="[::ffff:203.0.113.9]:1";, for=10.0.0.3,for=10.0.0.2"#,
            3,
        ),
    ],
];

/// Panics where the resolver does not do what the second implementation does, or breaks a law.
pub(crate) fn check(data: &[u8]) {
    let (choices, text) = data.split_first().unwrap_or((&0, &[]));
    let lines: Vec<HeaderValue> = text
        .split(|byte| *byte == b'\n')
        .filter_map(|line| HeaderValue::from_bytes(line).ok())
        .collect();
    for header in [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded] {
        agrees_with_the_second_implementation(header, &lines);
        lines_and_their_comma_list_agree(header, &lines);
        an_untrusted_peer_is_the_client(header, &lines);
        nothing_left_of_the_first_untrusted_hop_has_a_say(header, &lines, *choices);
    }
    a_cdn_header_is_one_address_or_refused(&lines);
}

fn agrees_with_the_second_implementation(header: ForwardedHeader, lines: &[HeaderValue]) {
    let found = found(resolver(header), PROXY, name_of(header), lines);
    let expected = second_implementation(header, lines);
    assert_eq!(found, expected, "{header:?} {lines:?}");
}

/// RFC 9110 section 5.3: several lines mean the same as one with commas between them. The exception is
/// documented: a string that is open across two lines is malformed by line. Then the list may be read
/// further, but what the lines had established must stand.
fn lines_and_their_comma_list_agree(header: ForwardedHeader, lines: &[HeaderValue]) {
    let resolver = resolver(header);
    let by_line = found(resolver, PROXY, name_of(header), lines);
    let joined = join(lines);
    let joined = found(resolver, PROXY, name_of(header), &joined);
    if header == ForwardedHeader::Forwarded && by_line.stopped == Some(Unattributed::Malformed) {
        assert!(
            joined.hop >= by_line.hop,
            "{lines:?}: {by_line:?} {joined:?}"
        );
    } else {
        assert_eq!(by_line, joined, "{lines:?}");
    }
}

fn an_untrusted_peer_is_the_client(header: ForwardedHeader, lines: &[HeaderValue]) {
    let expected = Found {
        address: CLIENT,
        hop: 0,
        stopped: None,
    };
    assert_eq!(
        found(resolver(header), CLIENT, name_of(header), lines),
        expected,
        "{lines:?}"
    );
}

/// The law of the house: whatever the client sent, its address is what the first trusted proxy saw.
fn nothing_left_of_the_first_untrusted_hop_has_a_say(
    header: ForwardedHeader,
    lines: &[HeaderValue],
    choices: u8,
) {
    let tails = match header {
        ForwardedHeader::XForwardedFor => TAILS[0],
        ForwardedHeader::Forwarded => TAILS[1],
    };
    let (tail, hop) = tails[usize::from(choices >> 1) % tails.len()];
    let mut lines = lines.to_vec();
    // A proxy appends to the last line, or adds a line.
    let tail = match lines.last() {
        Some(last) if choices & 1 == 0 => {
            let tail = [last.as_bytes(), b",", tail.as_bytes()].concat();
            lines.pop();
            tail
        }
        _ => tail.as_bytes().to_vec(),
    };
    lines.push(HeaderValue::from_bytes(&tail).unwrap());
    let expected = Found {
        address: CLIENT,
        hop,
        stopped: None,
    };
    assert_eq!(
        found(resolver(header), PROXY, name_of(header), &lines),
        expected,
        "{lines:?}"
    );
}

fn a_cdn_header_is_one_address_or_refused(lines: &[HeaderValue]) {
    let name = HeaderName::from_static("cf-connecting-ip");
    static RESOLVER: LazyLock<IdentityResolver> = LazyLock::new(|| {
        let config = IdentityConfig::new().cdn_header("cf-connecting-ip", ["2001:db8:cd::/48"]);
        config.build().unwrap()
    });
    let expected = match lines {
        [] => Ok((EDGE, Some(Unattributed::NotNamed))),
        [value] if value.as_bytes().contains(&b',') => Err(HeaderProblem::List),
        [value] => match naive_node(latin1(value).trim_matches([' ', '\t'])) {
            Ok(address) => Ok((address, None)),
            Err(_) => Err(HeaderProblem::NotAnAddress),
        },
        _ => Err(HeaderProblem::Repeated),
    };
    let result = match resolve(&RESOLVER, EDGE, &name, lines) {
        Ok(client) => Ok((client.address().unwrap(), client.unattributed())),
        Err(IdentityError::UnusableHeader { problem, .. }) => Err(problem),
        Err(other) => panic!("{other}"),
    };
    assert_eq!(result, expected, "{lines:?}");
    let stranger = resolve(&RESOLVER, CLIENT, &name, lines).unwrap();
    assert_eq!(
        (stranger.address(), stranger.provenance()),
        (Some(CLIENT), Provenance::Peer)
    );
}

// What the resolver says.

#[derive(Debug, PartialEq)]
struct Found {
    address: IpAddr,
    hop: u8,
    stopped: Option<Unattributed>,
}

fn name_of(header: ForwardedHeader) -> &'static HeaderName {
    static NAMES: [HeaderName; 2] = [
        HeaderName::from_static("x-forwarded-for"),
        http::header::FORWARDED,
    ];
    match header {
        ForwardedHeader::XForwardedFor => &NAMES[0],
        ForwardedHeader::Forwarded => &NAMES[1],
    }
}

fn resolver(header: ForwardedHeader) -> &'static IdentityResolver {
    static RESOLVERS: LazyLock<[IdentityResolver; 2]> = LazyLock::new(|| {
        [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded].map(|header| {
            let config = IdentityConfig::new().trusted_proxies(TRUSTED);
            config.forwarded_header(header).build().unwrap()
        })
    });
    match header {
        ForwardedHeader::XForwardedFor => &RESOLVERS[0],
        ForwardedHeader::Forwarded => &RESOLVERS[1],
    }
}

fn resolve(
    resolver: &IdentityResolver,
    peer: IpAddr,
    name: &HeaderName,
    lines: &[HeaderValue],
) -> Result<ClientIdentity, IdentityError> {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(name, line.clone());
    }
    let mut extensions = Extensions::new();
    extensions.insert(PeerAddr(SocketAddr::new(peer, 443)));
    let found = resolver.resolve(&headers, &extensions);
    let key = found
        .as_ref()
        .ok()
        .and_then(|found| found.as_ref().map(ClientIdentity::key));
    assert_eq!(resolver.key(&headers, &extensions), key, "the key alone");
    found.map(Option::unwrap)
}

fn found(
    resolver: &IdentityResolver,
    peer: IpAddr,
    name: &HeaderName,
    lines: &[HeaderValue],
) -> Found {
    let client = resolve(resolver, peer, name, lines).unwrap();
    let address = client.address().unwrap();
    assert_eq!(resolver.key_of(address), Some(client.key()));
    let hop = match client.provenance() {
        Provenance::Peer => 0,
        Provenance::XForwardedFor { hop } | Provenance::Forwarded { hop } => hop,
        other => panic!("{other}"),
    };
    Found {
        address,
        hop,
        stopped: client.unattributed(),
    }
}

fn join(lines: &[HeaderValue]) -> Vec<HeaderValue> {
    let all: Vec<&[u8]> = lines.iter().map(HeaderValue::as_bytes).collect();
    if all.is_empty() {
        Vec::new()
    } else {
        vec![HeaderValue::from_bytes(&all.join(&b',')).unwrap()]
    }
}

// The second implementation: from the left, by trying, quadratic, with a `String` for everything.

fn second_implementation(header: ForwardedHeader, lines: &[HeaderValue]) -> Found {
    let mut chain: Vec<Result<IpAddr, Unattributed>> = Vec::new();
    for line in lines.iter().rev() {
        let mut line = Some(latin1(line));
        while let Some(text) = line {
            let (left, entry) = match header {
                ForwardedHeader::XForwardedFor => {
                    let (left, entry) = last_entry(&text);
                    (left, naive_node(entry.trim_matches([' ', '\t'])))
                }
                ForwardedHeader::Forwarded => last_element(&text),
            };
            line = left.map(str::to_owned);
            chain.push(entry);
        }
    }
    let mut address = PROXY;
    for hop in 0..=u8::MAX {
        let trusted = match address {
            IpAddr::V4(v4) => v4.octets()[0] == 10,
            IpAddr::V6(v6) => v6.octets()[0] == 0xfd,
        };
        let stopped = match chain.get(usize::from(hop)) {
            _ if !trusted => None,
            _ if usize::from(hop) == MAX_HOPS => Some(Unattributed::TooManyHops),
            Some(Ok(next)) => {
                address = *next;
                continue;
            }
            Some(Err(reason)) => Some(*reason),
            None => Some(Unattributed::NotNamed),
        };
        return Found {
            address,
            hop,
            stopped,
        };
    }
    unreachable!("the walk ends by the seventeenth hop");
}

fn latin1(value: &HeaderValue) -> String {
    value.as_bytes().iter().copied().map(char::from).collect()
}

fn last_entry(text: &str) -> (Option<&str>, &str) {
    match text.rsplit_once(',') {
        Some((left, entry)) => (Some(left), entry),
        None => (None, text),
    }
}

/// The shortest text after a comma (or all of it) that is blank or a sound element; there is at most one.
fn last_element(text: &str) -> (Option<&str>, Result<IpAddr, Unattributed>) {
    let commas = text
        .rmatch_indices(',')
        .map(|(at, _)| (Some(&text[..at]), &text[at + 1..]));
    for (left, candidate) in commas.chain([(None, text)]) {
        if candidate.trim_matches([' ', '\t']).is_empty() {
            return (left, Err(Unattributed::Malformed));
        }
        if let Some(pairs) = sound_element(candidate) {
            let nodes: Vec<_> = pairs
                .iter()
                .filter(|(name, _)| name.to_lowercase() == "for")
                .collect();
            let address = match nodes[..] {
                [] => Err(Unattributed::NotNamed),
                [(_, node)] => naive_node(node),
                _ => Err(Unattributed::Malformed),
            };
            return (left, address);
        }
    }
    (None, Err(Unattributed::Malformed))
}

/// The pairs of a forwarded-element, if it is one, values without quotes and escapes.
fn sound_element(element: &str) -> Option<Vec<(String, String)>> {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let mut pairs = Vec::new();
    // Cut at each semicolon outside quotes.
    let (mut parts, mut quoted, mut escaped) = (vec![String::new()], false, false);
    for c in element.chars() {
        match c {
            ';' if !quoted => {
                parts.push(String::new());
                continue;
            }
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = quoted && c == '\\' && !escaped;
        parts.last_mut()?.push(c);
    }
    for part in parts {
        let part = part.trim_matches([' ', '\t']);
        if part.is_empty() {
            continue;
        }
        let (name, value) = part.split_once('=')?;
        if name.is_empty() || !name.chars().all(token) {
            return None;
        }
        let value = match value.strip_prefix('"') {
            Some(inside) => unquote(inside)?,
            None if !value.is_empty() && value.chars().all(|c| token(c) || "[]:".contains(c)) => {
                value.to_owned()
            }
            None => return None,
        };
        pairs.push((name.to_owned(), value));
    }
    Some(pairs)
}

/// The content of a quoted string whose opening quote is gone and whose closing quote ends the text.
fn unquote(inside: &str) -> Option<String> {
    let mut content = String::new();
    let mut chars = inside.chars();
    let mut escapes = false;
    loop {
        match chars.next()? {
            '"' => break,
            '\\' => {
                escapes = true;
                content.push(chars.next()?);
            }
            c => content.push(c),
        }
    }
    if chars.next().is_some() {
        return None;
    }
    // The one documented limit: what has escapes and is longer than any address is nobody's name.
    Some(if escapes && content.chars().count() > 64 {
        String::new()
    } else {
        content
    })
}

/// Tries every reading of a node; at most one of them makes sense.
fn naive_node(node: &str) -> Result<IpAddr, Unattributed> {
    let obfuscated = |text: &str| {
        text.strip_prefix('_').is_some_and(|rest| {
            !rest.is_empty()
                && rest
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        })
    };
    let port = |text: &str| {
        let digits = (1..=5).contains(&text.len()) && text.chars().all(|c| c.is_ascii_digit());
        obfuscated(text) || (digits && text.parse::<u32>().is_ok_and(|port| port < 65536))
    };
    let splits = node
        .match_indices(':')
        .map(|(at, _)| (&node[..at], Some(&node[at + 1..])));
    for (host, behind) in std::iter::once((node, None)).chain(splits) {
        if behind.is_some_and(|behind| !port(behind)) {
            continue;
        }
        if host.eq_ignore_ascii_case("unknown") || obfuscated(host) {
            return Err(Unattributed::Hidden);
        }
        let bracketed = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let address = match bracketed {
            Some(inside) => inside.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            None => host
                .parse::<IpAddr>()
                .ok()
                .filter(|address| address.is_ipv4() || behind.is_none()),
        };
        if let Some(address) = address {
            let address = address.to_canonical();
            let possible = !address.is_multicast() && !address.is_unspecified();
            return if possible {
                Ok(address)
            } else {
                Err(Unattributed::Malformed)
            };
        }
    }
    Err(Unattributed::Malformed)
}
