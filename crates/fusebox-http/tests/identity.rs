//! The client identity as a layer and a handler see it.

#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

use std::net::{IpAddr, SocketAddr};

use fusebox_http::identity::{
    ClientIdentity, ForwardedHeader, HeaderProblem, IdentityConfig, IdentityConfigError,
    IdentityError, IdentityResolver, OnMissing, OnUnattributed, PeerAddr, Provenance, Unattributed,
};
use http::{HeaderName, Request};

type Resolved = Result<Option<ClientIdentity>, IdentityError>;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A request from that peer, if any, with those header lines.
fn request(peer: &str, headers: &[(&'static str, &str)]) -> Request<()> {
    let mut request = Request::new(());
    if !peer.is_empty() {
        request
            .extensions_mut()
            .insert(PeerAddr(SocketAddr::new(ip(peer), 50312)));
    }
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    request
}

fn resolve(resolver: &IdentityResolver, peer: &str, headers: &[(&'static str, &str)]) -> Resolved {
    let request = request(peer, headers);
    let found = resolver.resolve(request.headers(), request.extensions());
    let key = found
        .as_ref()
        .ok()
        .and_then(|found| found.as_ref().map(ClientIdentity::key));
    let alone = resolver.key(request.headers(), request.extensions());
    assert_eq!(alone, key, "the key alone");
    found
}

/// Address, provenance and what was wrong, of a request that has an identity.
fn found(
    resolver: &IdentityResolver,
    peer: &str,
    headers: &[(&'static str, &str)],
) -> (Option<IpAddr>, Provenance, Option<Unattributed>) {
    let client = resolve(resolver, peer, headers).unwrap().unwrap();
    (client.address(), client.provenance(), client.unattributed())
}

const SPOOFED: [(&str, &str); 4] = [
    ("x-forwarded-for", "198.51.100.1"),
    ("forwarded", "for=198.51.100.2"),
    ("cf-connecting-ip", "198.51.100.3"),
    ("x-real-ip", "198.51.100.4"),
];

#[test]
fn peer_only_reads_no_header() {
    let resolver = IdentityResolver::peer_only();
    assert_eq!(
        found(&resolver, "203.0.113.9", &SPOOFED),
        (Some(ip("203.0.113.9")), Provenance::Peer, None)
    );
    assert_eq!(
        found(&resolver, "::ffff:203.0.113.9", &[]).0,
        Some(ip("203.0.113.9"))
    );
}

#[test]
fn without_a_peer_address_there_is_no_identity() {
    let resolver = IdentityResolver::peer_only();
    assert_eq!(
        resolve(&resolver, "", &SPOOFED).unwrap_err(),
        IdentityError::NoPeerAddress
    );
    assert_eq!(
        resolve(&resolver, "0.0.0.0", &[]).unwrap_err(),
        IdentityError::NoPeerAddress
    );
    let exempting = IdentityConfig::new()
        .on_missing(OnMissing::Exempt)
        .build()
        .unwrap();
    assert!(resolve(&exempting, "", &[]).unwrap().is_none());
    assert!(resolve(&exempting, "203.0.113.9", &[]).unwrap().is_some());
}

#[test]
fn only_the_configured_header_family_is_read() {
    let x = IdentityConfig::new()
        .trusted_proxies(["10.0.0.0/8"])
        .build()
        .unwrap();
    assert_eq!(
        found(&x, "10.0.0.1", &SPOOFED),
        (
            Some(ip("198.51.100.1")),
            Provenance::XForwardedFor { hop: 1 },
            None
        )
    );
    let rfc = IdentityConfig::new()
        .trusted_proxies(["10.0.0.0/8"])
        .forwarded_header(ForwardedHeader::Forwarded)
        .build()
        .unwrap();
    assert_eq!(
        found(&rfc, "10.0.0.1", &SPOOFED),
        (
            Some(ip("198.51.100.2")),
            Provenance::Forwarded { hop: 1 },
            None
        )
    );
    // Without its own header it does not fall back to the other one.
    let not_named = (
        Some(ip("10.0.0.1")),
        Provenance::Peer,
        Some(Unattributed::NotNamed),
    );
    assert_eq!(
        found(&rfc, "10.0.0.1", &[("x-forwarded-for", "198.51.100.1")]),
        not_named
    );
}

#[test]
fn a_proxy_on_a_mapped_address_is_still_a_proxy() {
    let resolver = IdentityConfig::new()
        .trusted_proxies(["10.0.0.0/8"])
        .build()
        .unwrap();
    let headers = [("x-forwarded-for", "203.0.113.9, ::ffff:10.0.0.2")];
    assert_eq!(
        found(&resolver, "::ffff:10.0.0.1", &headers),
        (
            Some(ip("203.0.113.9")),
            Provenance::XForwardedFor { hop: 2 },
            None
        )
    );
}

#[test]
fn a_proxy_that_names_nobody_counts_as_itself_or_as_missing() {
    let config = || IdentityConfig::new().trusted_proxies(["10.0.0.0/8"]);
    let headers = [("x-forwarded-for", "203.0.113.9, unknown, 10.0.0.2")];
    let expected = (
        Some(ip("10.0.0.2")),
        Provenance::XForwardedFor { hop: 1 },
        Some(Unattributed::Hidden),
    );
    assert_eq!(
        found(&config().build().unwrap(), "10.0.0.1", &headers),
        expected
    );

    let strict = config().on_unattributed(OnUnattributed::Missing);
    let refusing = strict.clone().build().unwrap();
    let error = IdentityError::Unattributed {
        reason: Unattributed::Hidden,
    };
    assert_eq!(resolve(&refusing, "10.0.0.1", &headers).unwrap_err(), error);
    assert!(
        resolve(&refusing, "10.0.0.1", &[("x-forwarded-for", "203.0.113.9")])
            .unwrap()
            .is_some()
    );
    let exempting = strict.on_missing(OnMissing::Exempt).build().unwrap();
    assert!(resolve(&exempting, "10.0.0.1", &headers).unwrap().is_none());
}

#[test]
fn a_cdn_header_counts_only_from_the_cdn() {
    let cdn = || IdentityConfig::new().cdn_header("CF-Connecting-IP", ["173.245.48.0/20"]);
    let direct = cdn().build().unwrap();
    let header = [
        ("cf-connecting-ip", "203.0.113.9"),
        ("x-forwarded-for", "198.51.100.1"),
    ];
    let named = (Some(ip("203.0.113.9")), Provenance::CdnHeader, None);
    assert_eq!(found(&direct, "173.245.48.5", &header), named);
    assert_eq!(
        found(&direct, "192.0.2.1", &header),
        (Some(ip("192.0.2.1")), Provenance::Peer, None)
    );
    let not_named = (
        Some(ip("173.245.48.5")),
        Provenance::Peer,
        Some(Unattributed::NotNamed),
    );
    assert_eq!(found(&direct, "173.245.48.5", &header[1..]), not_named);

    // The CDN, then a proxy of ours: the walk finds the edge.
    let behind = cdn().trusted_proxies(["10.0.0.0/8"]).build().unwrap();
    let through = [
        ("cf-connecting-ip", "203.0.113.9"),
        ("x-forwarded-for", "6.6.6.6, 173.245.48.5"),
    ];
    assert_eq!(found(&behind, "10.0.0.1", &through), named);
    let around = [
        ("cf-connecting-ip", "6.6.6.6"),
        ("x-forwarded-for", "173.245.48.5, 192.0.2.1"),
    ];
    let attacker = (
        Some(ip("192.0.2.1")),
        Provenance::XForwardedFor { hop: 1 },
        None,
    );
    assert_eq!(found(&behind, "10.0.0.1", &around), attacker);

    // Also where the edge is listed as a proxy too.
    let both = cdn()
        .trusted_proxies(["10.0.0.0/8", "173.245.48.0/20"])
        .build()
        .unwrap();
    assert_eq!(found(&both, "10.0.0.1", &through), named);
}

#[test]
fn a_cdn_header_that_is_not_one_address_is_refused_even_where_the_missing_are_exempt() {
    let resolver = IdentityConfig::new()
        .cdn_header("true-client-ip", ["173.245.48.0/20"])
        .on_missing(OnMissing::Exempt)
        .build()
        .unwrap();
    let name = "true-client-ip";
    for (headers, problem) in [
        (
            &[(name, "203.0.113.9"), (name, "203.0.113.9")][..],
            HeaderProblem::Repeated,
        ),
        (&[(name, "203.0.113.9, 198.51.100.1")], HeaderProblem::List),
        (&[(name, "unknown")], HeaderProblem::NotAnAddress),
        (&[(name, "")], HeaderProblem::NotAnAddress),
    ] {
        let expected = IdentityError::UnusableHeader {
            header: HeaderName::from_static(name),
            problem,
        };
        assert_eq!(
            resolve(&resolver, "173.245.48.5", headers).unwrap_err(),
            expected,
            "{headers:?}"
        );
    }
}

#[test]
fn trusting_anyone_takes_the_leftmost_entry() {
    let resolver = IdentityConfig::new()
        .dangerously_trust_any_forwarded()
        .build()
        .unwrap();
    let headers = [
        ("x-forwarded-for", "203.0.113.9, 198.51.100.1"),
        ("x-forwarded-for", "192.0.2.1"),
    ];
    assert_eq!(
        found(&resolver, "192.0.2.7", &headers),
        (
            Some(ip("203.0.113.9")),
            Provenance::XForwardedFor { hop: 3 },
            None
        )
    );
    assert_eq!(
        found(&resolver, "192.0.2.7", &[]),
        (Some(ip("192.0.2.7")), Provenance::Peer, None)
    );
}

#[test]
fn the_address_is_told_besides_a_hashed_header_and_without_one() {
    let resolver = IdentityConfig::new()
        .hashed_header("x-api-key")
        .trusted_proxies(["10.0.0.0/8"])
        .build()
        .unwrap();
    let key = ("x-api-key", "secret");
    let forwarded = ("x-forwarded-for", "192.0.2.1");
    for (peer, headers, address) in [
        ("192.0.2.1", vec![key], "192.0.2.1"),
        ("192.0.2.1", vec![], "192.0.2.1"),
        ("10.0.0.1", vec![key, key, forwarded], "192.0.2.1"),
        ("198.51.100.1", vec![key, forwarded], "198.51.100.1"),
    ] {
        let request = request(peer, &headers);
        let client = resolver
            .resolve_address(request.headers(), request.extensions())
            .unwrap();
        assert_eq!(client.address(), Some(ip(address)), "{peer} {headers:?}");
    }
    let nobody = request("", &[key]);
    let found = resolver.resolve_address(nobody.headers(), nobody.extensions());
    assert!(matches!(found, Err(IdentityError::NoPeerAddress)));
}

#[test]
fn a_hashed_header_is_the_client_and_its_value_is_gone() {
    let config = || {
        IdentityConfig::new()
            .hashed_header("X-Api-Key")
            .hash_key([7; 16])
    };
    let resolver = config().build().unwrap();
    let client = |value| {
        resolve(&resolver, "203.0.113.9", &[("x-api-key", value)])
            .unwrap()
            .unwrap()
    };
    let alice = client("alice-secret");
    assert_eq!(
        (alice.address(), alice.network(), alice.provenance()),
        (None, None, Provenance::HashedHeader)
    );
    assert_eq!(alice.key(), client("alice-secret").key());
    assert_ne!(alice.key(), client("bob-secret").key());
    assert_ne!(Some(alice.key()), resolver.key_of(ip("203.0.113.9")));
    for shown in [
        format!("{alice:?} {alice}"),
        format!("{:?} {resolver:?} {:?}", alice.key(), config()),
    ] {
        assert!(
            !shown.contains("alice") && !shown.contains("7, 7"),
            "{shown}"
        );
    }
    // The same key in another process: the same clients.
    let other = config().build().unwrap();
    let there = resolve(&other, "198.51.100.1", &[("x-api-key", "alice-secret")])
        .unwrap()
        .unwrap();
    assert_eq!(alice.key(), there.key());
}

#[test]
fn a_missing_or_blank_header_is_never_a_client_of_its_own() {
    let config = || IdentityConfig::new().hashed_header("x-api-key");
    let name = HeaderName::from_static("x-api-key");
    for headers in [&[][..], &[("x-api-key", "")], &[("x-api-key", " \t")]] {
        let refused = resolve(&config().build().unwrap(), "203.0.113.9", headers).unwrap_err();
        assert_eq!(
            refused,
            IdentityError::MissingHeader {
                header: name.clone()
            }
        );
        let exempt = config().on_missing(OnMissing::Exempt).build().unwrap();
        assert!(resolve(&exempt, "203.0.113.9", headers).unwrap().is_none());
        let by_address = config().on_missing(OnMissing::UseAddress).build().unwrap();
        let expected = (Some(ip("203.0.113.9")), Provenance::Peer, None);
        assert_eq!(found(&by_address, "203.0.113.9", headers), expected);
        assert_eq!(
            resolve(&by_address, "", headers).unwrap_err(),
            IdentityError::NoPeerAddress
        );
    }
    let twice = [("x-api-key", "mine"), ("x-api-key", "yours")];
    let expected = IdentityError::UnusableHeader {
        header: name,
        problem: HeaderProblem::Repeated,
    };
    for policy in [OnMissing::Refuse, OnMissing::Exempt, OnMissing::UseAddress] {
        let resolver = config().on_missing(policy).build().unwrap();
        assert_eq!(
            resolve(&resolver, "203.0.113.9", &twice).unwrap_err(),
            expected
        );
    }
}

#[test]
fn the_answer_is_kept_and_the_same_resolver_takes_it() {
    let resolver = IdentityConfig::new()
        .trusted_proxies(["10.0.0.0/8"])
        .build()
        .unwrap();
    let mut request = request("10.0.0.1", &[("x-forwarded-for", "203.0.113.9")]);
    resolver.resolve_once(&mut request).unwrap();
    assert_eq!(
        request
            .extensions()
            .get::<ClientIdentity>()
            .unwrap()
            .address(),
        Some(ip("203.0.113.9"))
    );

    // Something in between removes the header; a clone of the resolver further in still knows.
    request.headers_mut().remove("x-forwarded-for");
    let again = resolver
        .clone()
        .resolve_once(&mut request)
        .unwrap()
        .unwrap();
    assert_eq!(again.address(), Some(ip("203.0.113.9")));
    assert_eq!(
        resolver
            .resolve(request.headers(), request.extensions())
            .unwrap()
            .unwrap()
            .key(),
        again.key()
    );
}

#[test]
fn another_resolver_finds_its_own_answer() {
    let by_address = IdentityResolver::peer_only();
    let by_key = IdentityConfig::new()
        .hashed_header("x-api-key")
        .build()
        .unwrap();
    let mut request = request("203.0.113.9", &[("x-api-key", "secret")]);
    let outer = by_address.resolve_once(&mut request).unwrap().unwrap();
    let inner = by_key.resolve_once(&mut request).unwrap().unwrap();
    assert_eq!(
        (outer.provenance(), inner.provenance()),
        (Provenance::Peer, Provenance::HashedHeader)
    );
    // The handler sees what the layer next to it went by.
    assert_eq!(
        request.extensions().get::<ClientIdentity>().unwrap().key(),
        inner.key()
    );
    assert_eq!(
        by_address
            .resolve_once(&mut request)
            .unwrap()
            .unwrap()
            .key(),
        outer.key()
    );
}

#[test]
fn a_failed_resolution_leaves_nothing_behind() {
    let resolver = IdentityResolver::peer_only();
    let mut request = request("", &[]);
    assert!(resolver.resolve_once(&mut request).is_err());
    assert!(request.extensions().get::<ClientIdentity>().is_none());
}

#[test]
fn a_network_is_one_client_and_shows_as_such() {
    let resolver = IdentityConfig::new().ipv6_prefix(56).build().unwrap();
    let client = resolve(&resolver, "2001:db8:0:1234::1", &[])
        .unwrap()
        .unwrap();
    assert_eq!(client.network(), Some((ip("2001:db8:0:1200::"), 56)));
    assert_eq!(
        Some(client.key()),
        resolver.key_of(ip("2001:db8:0:12ff::9"))
    );
    assert_eq!(client.to_string(), "ipv6/56 from peer");
    assert_eq!(resolver.key_of(ip("ff02::1")), None);
}

#[test]
fn nothing_that_prints_itself_prints_an_address() {
    let resolver = IdentityConfig::new()
        .trusted_proxies(["10.0.0.0/8"])
        .build()
        .unwrap();
    let client = resolve(&resolver, "10.0.0.1", &[("x-forwarded-for", "203.0.113.9")])
        .unwrap()
        .unwrap();
    assert_eq!(
        client.to_string(),
        "ipv4/32 from x_forwarded_for[1 from the right]"
    );
    let shown = format!("{client:?} {:?}", client.key());
    assert!(!shown.contains("203") && !shown.contains("113"), "{shown}");
    let proxy = resolve(&resolver, "10.0.0.1", &[]).unwrap().unwrap();
    assert_eq!(
        proxy.to_string(),
        "ipv4/32 from peer (a trusted proxy: it named no client)"
    );
}

#[test]
fn bad_settings_are_errors_that_name_the_setting_and_its_value() {
    type Error = IdentityConfigError;
    let requires = |field, value: &str, requires| Error::Requires {
        field,
        value: value.to_owned(),
        requires,
    };
    let nothing: [&str; 0] = [];
    let config = IdentityConfig::new;
    for (config, expected, text) in [
        (
            config().trusted_proxies(["10.0.0.0/8", "10.0.0.1/8"]),
            Error::Network {
                field: "trusted_proxies",
                value: "10.0.0.1/8".to_owned(),
                reason: "bits are set beyond the prefix",
            },
            r#"trusted_proxies: "10.0.0.1/8": bits are set beyond the prefix"#,
        ),
        (
            config().trusted_proxies(["0.0.0.0/0"]),
            Error::EveryAddress {
                field: "trusted_proxies",
                value: "0.0.0.0/0".to_owned(),
            },
            "0.0.0.0/0",
        ),
        (
            config().trusted_proxies(nothing),
            Error::Empty {
                field: "trusted_proxies",
            },
            "the list is empty",
        ),
        (
            config().cdn_header("x-ip", nothing),
            Error::Empty {
                field: "cdn_header",
            },
            "the list is empty",
        ),
        (
            config().hashed_header("x api key"),
            Error::HeaderName {
                field: "hashed_header",
                value: "x api key".to_owned(),
            },
            r#"hashed_header: "x api key" is not a header name"#,
        ),
        (
            config().cdn_header("X-Forwarded-For", ["192.0.2.1"]),
            Error::ListHeader {
                field: "cdn_header",
                value: HeaderName::from_static("x-forwarded-for"),
            },
            "carries a list",
        ),
        (
            config().ipv6_prefix(47),
            Error::Ipv6Prefix {
                value: 47,
                min: 48,
                max: 128,
            },
            "47 is not between 48 and 128",
        ),
        (
            config().ipv6_prefix(129),
            Error::Ipv6Prefix {
                value: 129,
                min: 48,
                max: 128,
            },
            "129",
        ),
        (
            config().forwarded_header(ForwardedHeader::Forwarded),
            requires("forwarded_header", "Forwarded", "trusted_proxies"),
            "forwarded_header: Forwarded has no effect without trusted_proxies",
        ),
        (
            config().hash_key([7; 16]),
            requires("hash_key", "(secret)", "hashed_header"),
            "hash_key",
        ),
        (
            config().on_missing(OnMissing::UseAddress),
            requires("on_missing", "UseAddress", "hashed_header"),
            "UseAddress",
        ),
        (
            config().on_unattributed(OnUnattributed::Missing),
            requires(
                "on_unattributed",
                "Missing",
                "trusted_proxies or cdn_header",
            ),
            "on_unattributed",
        ),
    ] {
        let error = config.build().unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
        assert_eq!(error, expected);
    }
}

#[test]
fn identities_are_small_and_cross_threads() {
    fn crosses_threads<T: Clone + Send + Sync + 'static>() {}
    crosses_threads::<ClientIdentity>();
    crosses_threads::<IdentityResolver>();
    crosses_threads::<IdentityError>();
    assert!(
        size_of::<ClientIdentity>() <= 48,
        "{}",
        size_of::<ClientIdentity>()
    );
}

#[test]
fn a_resolver_tells_whose_word_it_takes() {
    let ranges = |config: IdentityConfig| {
        let ranges = config.build().unwrap();
        let ranges: Vec<_> = ranges.trusted_ranges().collect();
        ranges
    };
    let proxies = IdentityConfig::new().trusted_proxies(["10.0.0.0/24", "10.0.1.0/24", "fd00::1"]);
    let both = proxies.cdn_header("cf-connecting-ip", ["192.0.2.0/25"]);
    assert_eq!(
        ranges(both),
        [
            (ip("10.0.0.0"), ip("10.0.1.255")),
            (ip("fd00::1"), ip("fd00::1")),
            (ip("192.0.2.0"), ip("192.0.2.127")),
        ]
    );
    assert_eq!(ranges(IdentityConfig::new()), []);
    assert_eq!(
        ranges(IdentityConfig::new().dangerously_trust_any_forwarded()),
        []
    );
}
