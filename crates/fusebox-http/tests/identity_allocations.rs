//! Finding a client costs no allocation. One test in its own process: the counter is global.

use std::alloc::System;
use std::hint::black_box;
use std::net::SocketAddr;

use fusebox_http::identity::{ForwardedHeader, IdentityConfig, PeerAddr};
use http::Request;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn resolving_allocates_nothing_and_keeping_the_answer_allocates_once() {
    let config = IdentityConfig::new;
    let proxied = || config().trusted_proxies(["10.0.0.0/8"]);
    let rfc_7239 = || proxied().forwarded_header(ForwardedHeader::Forwarded);
    let cdn = config().cdn_header("cf-connecting-ip", ["10.0.0.0/8"]);
    for (what, config, name, value) in [
        ("peer", config(), "host", "shop.example"),
        (
            "chain",
            proxied(),
            "x-forwarded-for",
            "192.0.2.1, [2001:db8::1]:80, 10.0.0.2",
        ),
        (
            "malformed",
            proxied(),
            "x-forwarded-for",
            "192.0.2.1, nonsense",
        ),
        (
            "forwarded",
            rfc_7239(),
            "forwarded",
            r#"for="\[2001:db8::1\]";by="a,b", for=10.0.0.2"#,
        ),
        ("cdn", cdn, "cf-connecting-ip", "192.0.2.1"),
        (
            "hashed",
            config().hashed_header("x-api-key"),
            "x-api-key",
            "0123456789abcdef",
        ),
    ] {
        let resolver = config.build().unwrap();
        let mut request = Request::builder().header(name, value).body(()).unwrap();
        request
            .extensions_mut()
            .insert(PeerAddr(SocketAddr::from(([10, 0, 0, 1], 443))));

        let region = Region::new(COUNTING);
        let found = resolver.resolve(black_box(&request).headers(), request.extensions());
        let allocations = region.change().allocations;
        assert!(matches!(found, Ok(Some(_))), "{what}");
        assert_eq!(allocations, 0, "{what}");

        // The box that `http::Extensions` puts every value in.
        let region = Region::new(COUNTING);
        let kept = resolver.resolve_once(&mut request);
        let allocations = region.change().allocations;
        assert!(matches!(kept, Ok(Some(_))), "{what}");
        assert_eq!(allocations, 1, "{what}");
    }
}
