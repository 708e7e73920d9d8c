//! The laws of the client identity, over generated requests.

#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use fusebox_http::identity::{
    ClientIdentity, ForwardedHeader, IdentityConfig, IdentityResolver, PeerAddr, Provenance,
};
use http::{HeaderValue, Request};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

#[path = "../../../fuzz/oracle/client_identity.rs"]
#[expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "an oracle reports by panicking"
)]
mod oracle;

const TRUSTED: [&str; 2] = ["10.0.0.0/8", "fd00::/8"];

/// Pieces from which an attack on a parser is made; the rest is bytes at random.
const PIECES: [&str; 22] = [
    ",",
    ", ",
    "\"",
    "\\",
    "\\\"",
    ";",
    "=",
    "for=",
    "For=\"",
    "by=",
    "unknown",
    "_hidden",
    "10.0.0.2",
    "fd00::7",
    "[fd00::7]:80",
    "192.0.2.1",
    "198.51.100.1:443",
    "::ffff:192.0.2.1",
    "[2001:db8::1]",
    ":",
    "\t",
    " ",
];

fn junk() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => select(&PIECES[..]).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => vec(prop_oneof![Just(b'\t'), 0x20..=0x7e_u8, 0x80..=0xff_u8], 1..6),
    ];
    vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

fn header() -> impl Strategy<Value = ForwardedHeader> {
    select(vec![
        ForwardedHeader::XForwardedFor,
        ForwardedHeader::Forwarded,
    ])
}

fn proxy() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 3]>().prop_map(|[a, b, c]| IpAddr::from([10, a, b, c])),
        any::<u64>().prop_map(|low| IpAddr::V6(Ipv6Addr::from_bits(0xfd << 120 | u128::from(low)))),
    ]
}

/// Any address that a client can have and that is no proxy's.
fn client() -> impl Strategy<Value = IpAddr> {
    let any = prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
        any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits))),
    ];
    any.prop_filter("a possible client", |ip| {
        let trusted = match ip {
            IpAddr::V4(v4) => v4.octets()[0] == 10,
            IpAddr::V6(v6) => v6.octets()[0] == 0xfd || v6.to_ipv4_mapped().is_some(),
        };
        !trusted && !ip.is_multicast() && !ip.is_unspecified()
    })
}

/// How a proxy may write an address.
#[derive(Clone, Copy, Debug)]
struct Style {
    mapped: bool,
    port: Option<u16>,
    quoted: bool,
    extra: Option<(bool, &'static str)>,
    blanks: &'static str,
    new_line: bool,
}

fn style() -> impl Strategy<Value = Style> {
    let parameters = [
        "proto=https",
        r#"by="[fd00::1]:80""#,
        r#"host="a,for=192.0.2.1""#,
        r#"x="\",for=192.0.2.1;y=\"\\""#,
        r#"host="\\\\";secret=_a"#,
    ];
    let extra = proptest::option::of((any::<bool>(), select(parameters.to_vec())));
    let blanks = select(vec!["", " ", "\t", " \t "]);
    (
        any::<bool>(),
        any::<Option<u16>>(),
        any::<bool>(),
        extra,
        blanks,
        any::<bool>(),
    )
        .prop_map(|(mapped, port, quoted, extra, blanks, new_line)| Style {
            mapped,
            port,
            quoted,
            extra,
            blanks,
            new_line,
        })
}

impl Style {
    fn write(self, header: ForwardedHeader, address: IpAddr) -> String {
        let address = match address {
            IpAddr::V4(v4) if self.mapped => IpAddr::V6(v4.to_ipv6_mapped()),
            address => address,
        };
        let node = match (address, self.port) {
            (IpAddr::V4(v4), None) => v4.to_string(),
            (IpAddr::V6(v6), None) if header == ForwardedHeader::XForwardedFor => v6.to_string(),
            (IpAddr::V6(v6), None) => format!("[{v6}]"),
            (address, Some(port)) => SocketAddr::new(address, port).to_string(),
        };
        let Self { blanks, .. } = self;
        if header == ForwardedHeader::XForwardedFor {
            return format!("{blanks}{node}{blanks}");
        }
        let node = if self.quoted || node.contains(':') {
            format!("\"{node}\"")
        } else {
            node
        };
        match self.extra {
            None => format!("{blanks}for={node}{blanks}"),
            Some((true, before)) => format!("{blanks}{before};for={node}{blanks}"),
            Some((false, after)) => format!("{blanks}FOR={node};{after}{blanks}"),
        }
    }
}

fn resolver(header: ForwardedHeader) -> IdentityResolver {
    IdentityConfig::new()
        .trusted_proxies(TRUSTED)
        .forwarded_header(header)
        .build()
        .unwrap()
}

fn resolve(
    resolver: &IdentityResolver,
    peer: IpAddr,
    header: ForwardedHeader,
    lines: &[Vec<u8>],
    other: &[Vec<u8>],
) -> ClientIdentity {
    let (name, other_name) = match header {
        ForwardedHeader::XForwardedFor => ("x-forwarded-for", "forwarded"),
        ForwardedHeader::Forwarded => ("forwarded", "x-forwarded-for"),
    };
    let mut request = Request::new(());
    request
        .extensions_mut()
        .insert(PeerAddr(SocketAddr::new(peer, 50312)));
    for (name, lines) in [(name, lines), (other_name, other)] {
        for line in lines {
            request
                .headers_mut()
                .append(name, HeaderValue::from_bytes(line).unwrap());
        }
    }
    resolver.resolve_once(&mut request).unwrap().unwrap()
}

fn answer(client: ClientIdentity) -> (Option<IpAddr>, Provenance, bool) {
    (
        client.address(),
        client.provenance(),
        client.unattributed().is_some(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn nothing_an_untrusted_hop_writes_moves_the_result(
        header in header(),
        sent in vec(junk(), 0..5),
        other_family in vec(junk(), 0..3),
        client in client(),
        proxies in vec(proxy(), 1..6),
        styles in vec(style(), 6),
    ) {
        // The client sent some lines. Then each proxy in turn wrote down whom it saw: the first one the
        // client, each later one the proxy before it. The last proxy is the peer.
        let (peer, seen) = proxies.split_last().unwrap();
        let mut lines = sent.clone();
        let mut honest: Vec<Vec<u8>> = Vec::new();
        for (address, style) in std::iter::once(&client).chain(seen).zip(&styles) {
            let entry = style.write(header, *address).into_bytes();
            for lines in [&mut lines, &mut honest] {
                match lines.last_mut() {
                    Some(line) if !style.new_line => line.extend([&b","[..], &entry].concat()),
                    _ => lines.push(entry.clone()),
                }
            }
        }
        let resolver = resolver(header);
        let hop = u8::try_from(proxies.len()).unwrap();
        let provenance = match header {
            ForwardedHeader::XForwardedFor => Provenance::XForwardedFor { hop },
            ForwardedHeader::Forwarded => Provenance::Forwarded { hop },
        };
        let found = resolve(&resolver, *peer, header, &lines, &other_family);
        prop_assert_eq!(answer(found), (Some(client), provenance, false));
        let without = resolve(&resolver, *peer, header, &honest, &[]);
        prop_assert_eq!(answer(found), answer(without));
        prop_assert_eq!(found.key(), without.key());
    }

    #[test]
    fn nothing_an_untrusted_peer_writes_is_read(
        header in header(), sent in vec(junk(), 0..5), other in vec(junk(), 0..3), client in client(),
    ) {
        let found = resolve(&resolver(header), client, header, &sent, &other);
        prop_assert_eq!(answer(found), (Some(client), Provenance::Peer, false));
    }

    #[test]
    fn whatever_the_bytes_it_agrees_with_the_slow_implementation(
        choices in any::<u8>(), lines in vec(junk(), 0..5),
    ) {
        oracle::check(&[&[choices][..], &lines.join(&b'\n')].concat());
    }

    #[test]
    fn addresses_of_one_network_share_a_key_and_no_others_do(
        address in any::<u128>(), flip in 0..128_u32, prefix in 48..=128_u8,
    ) {
        let resolver = IdentityConfig::new().ipv6_prefix(prefix).build().unwrap();
        let key = |bits: u128| resolver.key_of(IpAddr::V6(Ipv6Addr::from_bits(bits)));
        // Global unicast: neither mapped nor multicast before and after the flip.
        let address = address >> 4 | 0b001 << 125 | 1 << 100;
        let flip = if flip < 4 { 4 } else { flip };
        let neighbour = address ^ (1 << 127 >> flip);
        prop_assume!(neighbour >> 120 != 0xff);
        prop_assert_eq!(key(address) == key(neighbour), flip >= u32::from(prefix));
    }

    #[test]
    fn a_mapped_address_has_the_key_of_its_ipv4_address(bits in any::<u32>(), prefix in 48..=128_u8) {
        let resolver = IdentityConfig::new().ipv6_prefix(prefix).build().unwrap();
        let v4 = Ipv4Addr::from_bits(bits);
        let (plain, mapped) = (resolver.key_of(v4.into()), resolver.key_of(v4.to_ipv6_mapped().into()));
        prop_assert_eq!(plain, mapped);
        prop_assert_eq!(plain.is_some(), !v4.is_multicast() && !v4.is_unspecified());
        // And no IPv6 network has it.
        let ipv6 = resolver.key_of(Ipv6Addr::from_bits(u128::from(bits)).into());
        prop_assert!(plain.is_none() || plain != ipv6);
    }
}
