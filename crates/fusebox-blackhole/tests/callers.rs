//! Whom a request is held for, and whom and how often it is a strike against.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use fusebox_blackhole::{
    Action, BlackholeConfig, BlackholeLayer, Cause, Jail, JailConfig, Struck, Terms, Traps,
};
use fusebox_core::{LayerKind, Registration, Rejection, RejectionKind};
use fusebox_http::identity::{IdentityConfig, IdentityResolver, OnMissing, PeerAddr};
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use tower_layer::Layer as _;
use tower_service::Service as _;

const HOUR: Duration = Duration::from_secs(3_600);
const CLIENT: &str = "192.0.2.7";
const PROXY: &str = "203.0.113.9";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn jail(max_strikes: u8) -> Jail {
    JailConfig::new("test")
        .capacity(1_000)
        .terms(Terms::default().max_strikes(max_strikes))
        .registration(Registration::Unlisted)
        .build()
        .unwrap()
}

fn by_key() -> IdentityConfig {
    IdentityConfig::new().hashed_header("x-api-key")
}

/// A request from that peer, with these headers.
fn request(peer: &str, path: &str, headers: &[(&'static str, &str)]) -> Request<Empty<Bytes>> {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let peer = PeerAddr(SocketAddr::new(ip(peer), 50_312));
    request.extension(peer).body(Empty::new()).unwrap()
}

/// What the service under the layers does: answers with this status, or refuses as that layer would.
#[derive(Clone, Copy)]
enum Inner {
    Answers(StatusCode),
    Refuses(LayerKind, RejectionKind),
}

impl tower_service::Service<Request<Empty<Bytes>>> for Inner {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Empty<Bytes>>) -> Self::Future {
        let mut response = Response::new(Empty::new());
        match *self {
            Self::Answers(status) => *response.status_mut() = status,
            Self::Refuses(layer, kind) => {
                *response.status_mut() = StatusCode::FORBIDDEN;
                let rejection = Rejection::new(layer, "inner".into(), kind);
                response.extensions_mut().insert(rejection);
            }
        }
        std::future::ready(Ok(response))
    }
}

const FINE: Inner = Inner::Answers(StatusCode::OK);
const MISSING: Inner = Inner::Answers(StatusCode::NOT_FOUND);
const ATTACK: Inner = Inner::Refuses(LayerKind::Waf, RejectionKind::Forbidden);
const QUOTA: Inner = Inner::Refuses(LayerKind::RateLimit, RejectionKind::QuotaExceeded);

fn layer(jail: &Jail, resolver: IdentityResolver) -> BlackholeConfig {
    BlackholeConfig::new(jail)
        .identity(resolver)
        .action(Action::Deny)
        .traps(Traps::common())
        .strike_statuses([StatusCode::NOT_FOUND])
}

/// The status of the answer.
async fn ask(layer: &BlackholeLayer, inner: Inner, request: Request<Empty<Bytes>>) -> u16 {
    let answer = layer.layer(inner).call(request).await;
    answer.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_condemned_address_is_held_whatever_it_says_that_it_is() {
    let key = ("x-api-key", "invented");
    let forwarded = ("x-forwarded-for", "198.51.100.1, 192.0.2.7");
    let proxied = || by_key().trusted_proxies([PROXY]);
    let cdn = || IdentityConfig::new().cdn_header("true-client-ip", [PROXY]);
    for (what, resolver, peer, headers) in [
        ("a key", by_key(), CLIENT, vec![key]),
        ("no key", by_key(), CLIENT, vec![]),
        ("two keys", by_key(), CLIENT, vec![key, ("x-api-key", "x")]),
        (
            "no key where that is no matter",
            by_key().on_missing(OnMissing::Exempt),
            CLIENT,
            vec![],
        ),
        (
            "a key, through a proxy",
            proxied(),
            PROXY,
            vec![key, forwarded],
        ),
        (
            "two keys, through a proxy",
            proxied(),
            PROXY,
            vec![key, key, forwarded],
        ),
        (
            "somebody else's address, from anybody",
            IdentityConfig::new().dangerously_trust_any_forwarded(),
            CLIENT,
            vec![("x-forwarded-for", "198.51.100.1")],
        ),
        (
            "a CDN's header, past the CDN",
            cdn(),
            CLIENT,
            vec![("true-client-ip", "198.51.100.1")],
        ),
    ] {
        let jail = jail(5);
        let layer = layer(&jail, resolver.build().unwrap()).build().unwrap();
        assert_eq!(
            ask(&layer, FINE, request(peer, "/", &headers)).await,
            200,
            "{what}"
        );
        jail.ban(ip(CLIENT), HOUR).unwrap();
        assert_eq!(
            ask(&layer, FINE, request(peer, "/", &headers)).await,
            403,
            "{what}"
        );
        // Others are let through in the same way.
        let neighbour: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, value.replace(CLIENT, "192.0.2.8")))
            .collect();
        let headers: Vec<_> = neighbour.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let peer = if peer == CLIENT { "192.0.2.8" } else { peer };
        assert_eq!(
            ask(&layer, FINE, request(peer, "/", &headers)).await,
            200,
            "{what}: a neighbour"
        );
    }
}

#[tokio::test]
async fn a_listed_address_is_held_whatever_it_says_that_it_is() {
    let path = std::env::temp_dir().join(format!("fusebox-callers-{}", std::process::id()));
    std::fs::write(&path, "192.0.2.0/24\n").unwrap();
    let jail = JailConfig::new("test")
        .feed(fusebox_blackhole::FeedConfig::new("list", &path))
        .registration(Registration::Unlisted)
        .build()
        .unwrap();
    std::fs::remove_file(&path).unwrap();
    let layer = layer(&jail, by_key().build().unwrap()).build().unwrap();
    let key = [("x-api-key", "invented")];
    assert_eq!(ask(&layer, FINE, request(CLIENT, "/", &key)).await, 403);
    let other = request("198.51.100.1", "/", &key);
    assert_eq!(ask(&layer, FINE, other).await, 200);
}

#[tokio::test]
async fn a_condemned_credential_is_held_wherever_it_comes_from() {
    let jail = jail(5);
    let resolver = by_key().build().unwrap();
    let layer = layer(&jail, resolver.clone()).build().unwrap();
    let mut asked = request(CLIENT, "/", &[("x-api-key", "stolen")]);
    let client = resolver.resolve_once(&mut asked).unwrap().unwrap();
    jail.ban_client(&client, HOUR).unwrap();
    for (peer, key, status) in [
        (CLIENT, "stolen", 403),
        ("198.51.100.1", "stolen", 403),
        (CLIENT, "own", 200),
    ] {
        let asked = request(peer, "/", &[("x-api-key", key)]);
        assert_eq!(ask(&layer, FINE, asked).await, status, "{peer} {key}");
    }
}

#[tokio::test]
async fn who_invents_a_key_for_each_request_is_struck_by_address() {
    let attack = async |too: bool, inner: Inner| {
        let jail = jail(3);
        let config = layer(&jail, by_key().build().unwrap()).strike_addresses_too(too);
        let layer = config.build().unwrap();
        for number in 0..5 {
            let key = format!("guess-{number}");
            let asked = request(CLIENT, "/login", &[("x-api-key", &key)]);
            ask(&layer, inner, asked).await;
        }
        jail.holds(ip(CLIENT))
    };
    assert!(attack(true, MISSING).await && attack(true, ATTACK).await);
    assert!(!attack(false, MISSING).await, "as told");
    assert!(!attack(true, QUOTA).await, "a quota is the key's own");
}

#[tokio::test]
async fn a_proxy_that_names_nobody_is_not_struck_and_not_held() {
    let jail = jail(1);
    let resolver = by_key()
        .on_missing(OnMissing::UseAddress)
        .trusted_proxies([PROXY]);
    let layer = layer(&jail, resolver.build().unwrap()).build().unwrap();
    for inner in [MISSING, ATTACK, FINE] {
        ask(&layer, inner, request(PROXY, "/.env", &[])).await;
        ask(
            &layer,
            inner,
            request(PROXY, "/", &[("x-forwarded-for", "unknown")]),
        )
        .await;
    }
    assert!(jail.list().is_empty());
    assert_eq!(ask(&layer, FINE, request(PROXY, "/", &[])).await, 200);
}

/// Strikes against the client after one such request.
async fn strikes_of(
    layers: &[BlackholeLayer],
    inner: Inner,
    path: &str,
    site: Option<&str>,
) -> u32 {
    let headers: Vec<_> = site.iter().map(|site| ("sec-fetch-site", *site)).collect();
    let asked = request(CLIENT, path, &headers);
    match layers {
        [one] => ask(one, inner, asked).await,
        [outer, inside] => {
            let answer = outer.layer(inside.layer(inner)).call(asked).await;
            answer.unwrap().status().as_u16()
        }
        _ => panic!("one layer or two"),
    };
    match layers[0].jail().strike_address(ip(CLIENT), Cause::Operator) {
        Struck::Counted { strikes } => strikes - 1,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn one_request_is_one_strike_at_most() {
    for (what, inner, path, strikes) in [
        ("a trap", FINE, "/.env", 1),
        ("a trap and its status", MISSING, "/.env", 1),
        ("a trap and a refusal", ATTACK, "/.env", 1),
        ("a status", MISSING, "/", 1),
        ("a refusal", ATTACK, "/", 1),
        ("nothing", FINE, "/", 0),
    ] {
        let jail = jail(9);
        let one = || layer(&jail, IdentityResolver::peer_only()).build().unwrap();
        assert_eq!(
            strikes_of(&[one()], inner, path, None).await,
            strikes,
            "{what}"
        );
    }
    let jail = jail(9);
    let one = || layer(&jail, IdentityResolver::peer_only()).build().unwrap();
    assert_eq!(
        strikes_of(&[one(), one()], MISSING, "/", None).await,
        1,
        "two layers of one jail"
    );
}

#[tokio::test]
async fn a_browser_that_was_led_into_a_trap_has_no_strike_however_its_request_ends() {
    for inner in [FINE, MISSING, ATTACK, QUOTA] {
        let jail = jail(9);
        let one = [layer(&jail, IdentityResolver::peer_only()).build().unwrap()];
        assert_eq!(
            strikes_of(&one, inner, "/.env", Some("cross-site")).await,
            0
        );
    }
    // Elsewhere anybody could say so.
    let jail = jail(9);
    let one = [layer(&jail, IdentityResolver::peer_only()).build().unwrap()];
    assert_eq!(strikes_of(&one, ATTACK, "/", Some("cross-site")).await, 1);
}

#[tokio::test(start_paused = true)]
async fn the_tarpit_answers_without_calling_the_inner_service_and_marks_it_as_a_refusal() {
    let jail = jail(5);
    jail.ban(ip(CLIENT), HOUR).unwrap();
    let config = layer(&jail, IdentityResolver::peer_only()).action(Action::Tarpit);
    let layer = config.build().unwrap();
    // The inner service would say 404.
    let answer = layer.layer(MISSING).call(request(CLIENT, "/", &[])).await;
    let answer = answer.unwrap();
    assert_eq!(answer.status(), 200);
    let rejection = answer.extensions().get::<Rejection>().unwrap();
    assert_eq!(rejection.kind(), RejectionKind::Banned);
    assert_eq!(layer.in_tarpit(), 1);
    let start = tokio::time::Instant::now();
    let body = http_body_util::BodyExt::collect(answer.into_body()).await;
    assert_eq!(body.unwrap().to_bytes().len(), 59, "a byte each second");
    assert_eq!(start.elapsed(), Duration::from_secs(60));
    assert_eq!(layer.in_tarpit(), 0);
}
