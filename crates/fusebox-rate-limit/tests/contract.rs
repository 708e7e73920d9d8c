//! The contract every layer keeps, for the HTTP and the plain flavour, refusing and waiting.
#![cfg(all(feature = "layer", not(fusebox_loom)))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail by panicking too"
)]

use std::sync::Arc;
use std::time::Duration;

use fusebox_core::{LayerKind, Mode, Observer, Registration};
use fusebox_http::identity::PeerAddr;
use fusebox_rate_limit::{
    Algorithm, Key, KeyBy, PlainRateLimitLayer, Policy, Quota, QuotaHeaders, RateLimitLayer,
    RateLimiter, RateLimiterBuilder, ResponseBody, Tier,
};
use fusebox_testkit::{
    Counted, Fixture, MockBody, Plain, PlainSubject, Situation, Subject, contract,
};
use http::Request;
use http::request::Parts;

const PEER: ([u8; 4], u16) = ([192, 0, 2, 1], 50_312);

/// A limiter in that situation, and what keeps it there: its quota is spent until an operator raises it.
fn limiter(
    situation: Situation,
    observer: Option<Arc<dyn Observer>>,
    waits: bool,
) -> Option<(RateLimiter, Refill)> {
    let mut policy = Policy::new("test", Quota::per_day(2)).capacity(16);
    match situation {
        Situation::Waits if waits => {
            policy = Policy::new("test", Quota::per_second(1))
                .capacity(16)
                .algorithm(Algorithm::Shaper { queue: 8 })
                .max_wait(Duration::from_secs(60));
        }
        Situation::Waits => return None,
        _ => {}
    }
    let mode = match situation {
        Situation::Shadow => Mode::Shadow,
        _ => Mode::Enforce,
    };
    let settings = RateLimiter::builder("test")
        .policy(policy)
        .mode(mode)
        .registration(Registration::Unlisted);
    let settings = observer
        .into_iter()
        .fold(settings, RateLimiterBuilder::observer);
    let limiter = settings.build().unwrap();
    let more = match situation {
        Situation::Waits => Quota::per_second(1_000),
        _ => Quota::per_day(8),
    };
    Some((limiter.clone(), Refill(limiter, more)))
}

/// Spends what there is under this key.
fn spend(limiter: &RateLimiter, situation: Situation, key: Key) {
    match situation {
        Situation::Admits => {}
        Situation::Waits => limiter.penalise(key),
        Situation::Refuses | Situation::Shadow => {
            limiter.penalise(key);
            limiter.penalise(key);
        }
    }
}

struct Refill(RateLimiter, Quota);

impl Drop for Refill {
    fn drop(&mut self) {
        let _ = self.0.set_quota(Tier::default(), "test", self.1);
    }
}

fn counted(limiter: &RateLimiter) -> impl Fn() -> Counted + 'static {
    let limiter = limiter.clone();
    move || Counted::from(&limiter.stats())
}

/// By the peer's address, as it comes.
struct ByPeer;

impl Subject for ByPeer {
    const KIND: LayerKind = LayerKind::RateLimit;
    type Layer = RateLimitLayer;
    type Body = ResponseBody<MockBody>;

    async fn fixture(
        &self,
        situation: Situation,
        observer: Option<Arc<dyn Observer>>,
    ) -> Option<Fixture<RateLimitLayer>> {
        let (limiter, refill) = limiter(situation, observer, false)?;
        let peer = fusebox_http::identity::IdentityResolver::peer_only()
            .key_of(PEER.0.into())
            .unwrap();
        spend(&limiter, situation, Key::from_bits(peer.to_bits()));
        let layer = limiter.layer();
        Some(
            Fixture::new(layer)
                .counting(counted(&limiter))
                .keeping(refill),
        )
    }

    fn prepare(&self, _: Situation, request: &mut Parts) {
        request.extensions.insert(PeerAddr(PEER.into()));
    }
}

/// One key for all, with a queue, and a rule that settles.
struct Shaped;

impl Subject for Shaped {
    const KIND: LayerKind = LayerKind::RateLimit;
    type Layer = RateLimitLayer;
    type Body = ResponseBody<MockBody>;

    async fn fixture(
        &self,
        situation: Situation,
        observer: Option<Arc<dyn Observer>>,
    ) -> Option<Fixture<RateLimitLayer>> {
        let (limiter, refill) = limiter(situation, observer, true)?;
        spend(&limiter, situation, Key::SHARED);
        let layer = limiter
            .layer()
            .keyed_by(KeyBy::Shared)
            .settle_by(|ended| ended.cost);
        Some(
            Fixture::new(layer)
                .counting(counted(&limiter))
                .keeping(refill),
        )
    }
}

/// Any service.
struct Opaque;

impl PlainSubject for Opaque {
    const KIND: LayerKind = LayerKind::RateLimit;
    type Layer = PlainRateLimitLayer<Request<MockBody>>;

    async fn fixture(
        &self,
        situation: Situation,
        observer: Option<Arc<dyn Observer>>,
    ) -> Option<Fixture<Self::Layer>> {
        let (limiter, refill) = limiter(situation, observer, true)?;
        spend(&limiter, situation, Key::SHARED);
        let layer = limiter.plain_layer();
        Some(
            Fixture::new(layer)
                .counting(counted(&limiter))
                .keeping(refill),
        )
    }
}

contract! {
    mod by_peer: ByPeer;
    mod shaped: Shaped;
    mod plain: Plain(Opaque);
}

/// The header fields of quotas change an answer, so the contract's first check is not theirs; all they add is these.
#[tokio::test(start_paused = true)]
async fn quota_headers_are_all_that_is_added_to_an_answer() {
    use tower::{Layer, ServiceExt, service_fn};

    let (limiter, _refill) = limiter(Situation::Admits, None, false).unwrap();
    let layer = limiter
        .layer()
        .keyed_by(KeyBy::Shared)
        .quota_headers(QuotaHeaders::Draft11);
    let service = layer.layer(service_fn(async |_: Request<()>| {
        Ok::<_, std::convert::Infallible>(http::Response::new(MockBody::empty()))
    }));
    let answer = service.oneshot(Request::new(())).await.unwrap();
    let names: Vec<_> = answer
        .headers()
        .keys()
        .map(http::HeaderName::as_str)
        .collect();
    assert_eq!(names, ["ratelimit-policy", "ratelimit"]);
}
