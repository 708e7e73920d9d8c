//! What clients see: statuses, header fields and documents, byte for byte.
#![cfg(all(feature = "layer", not(fusebox_loom)))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail by panicking too"
)]

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fusebox_core::{Rejection, RejectionKind};
use fusebox_http::identity::PeerAddr;
use fusebox_rate_limit::{
    Algorithm, Ask, Found, Head, Key, KeyBy, Overflow, Policy, Quota, QuotaHeaders, RateLimitLayer,
    RateLimiter, ResponseBody, Worth,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service, ServiceExt, service_fn};

type Answer = Response<ResponseBody<Full<Bytes>>>;

/// What the inner service answers is what the request says it is to be.
#[derive(Clone, Copy, Default)]
struct Be {
    status: Option<StatusCode>,
    worth: Option<u64>,
}

async fn inner(request: Request<()>) -> Result<Response<Full<Bytes>>, Infallible> {
    let be = request
        .extensions()
        .get::<Be>()
        .copied()
        .unwrap_or_default();
    let mut response = Response::new(Full::from("hello"));
    *response.status_mut() = be.status.unwrap_or_default();
    if let Some(worth) = be.worth {
        response.extensions_mut().insert(Worth(worth));
    }
    Ok(response)
}

fn limiter(policies: impl IntoIterator<Item = Policy>) -> RateLimiter {
    let builder = RateLimiter::builder("api").registration(fusebox_core::Registration::Unlisted);
    policies
        .into_iter()
        .fold(builder, |builder, policy| {
            builder.policy(policy.capacity(64))
        })
        .build()
        .unwrap()
}

async fn send(layer: &RateLimitLayer, request: Request<()>) -> Answer {
    layer
        .layer(service_fn(inner))
        .oneshot(request)
        .await
        .unwrap()
}

fn from(host: u8) -> http::request::Builder {
    Request::builder().extension(PeerAddr(([192, 0, 2, host], 50_312).into()))
}

fn plain() -> Request<()> {
    from(1).body(()).unwrap()
}

/// Sends a request and reads its answer to the end, so that it is settled.
async fn status(layer: &RateLimitLayer, request: Request<()>) -> u16 {
    let answer = send(layer, request).await;
    let status = answer.status().as_u16();
    answer.into_body().collect().await.unwrap();
    status
}

async fn body(answer: Answer) -> String {
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn lines(headers: &HeaderMap) -> Vec<String> {
    let mut lines: Vec<_> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    lines.sort();
    lines
}

#[tokio::test(start_paused = true)]
async fn a_refusal_says_when_to_come_back_and_which_quotas_are_spent() {
    let layer = limiter([
        Policy::new("burst", Quota::per_minute(100)),
        Policy::new("daily", Quota::per_day(1)).algorithm(Algorithm::FixedWindow),
    ])
    .layer()
    .quota_headers(QuotaHeaders::Draft11)
    .legacy_headers(true);
    tokio::time::advance(Duration::from_millis(500)).await;

    let first = send(&layer, plain()).await;
    assert_eq!(
        lines(first.headers()),
        [
            r#"ratelimit-policy: "burst";q=100;w=60, "daily";q=1;w=86400"#,
            r#"ratelimit: "burst";r=99;t=1, "daily";r=0;t=86400"#,
            "x-ratelimit-limit: 1",
            "x-ratelimit-remaining: 0",
            "x-ratelimit-reset: 86400",
        ]
    );

    let second = send(&layer, plain()).await;
    assert_eq!(second.status(), 429);
    let rejection = second.extensions().get::<Rejection>().unwrap();
    assert_eq!(rejection.kind(), RejectionKind::QuotaExceeded);
    assert_eq!(rejection.policy().as_str(), "daily");
    assert_eq!(
        lines(second.headers()),
        [
            "content-type: application/problem+json",
            r#"ratelimit-policy: "burst";q=100;w=60, "daily";q=1;w=86400"#,
            r#"ratelimit: "burst";r=99;t=1, "daily";r=0;t=86400"#,
            "retry-after: 86400",
            "x-ratelimit-limit: 1",
            "x-ratelimit-remaining: 0",
            "x-ratelimit-reset: 86400",
        ]
    );
    let text = body(second).await;
    let problem: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        problem["type"],
        "https://iana.org/assignments/http-problem-types#quota-exceeded"
    );
    assert_eq!(
        problem["title"],
        "Request cannot be satisfied as assigned quota has been exceeded"
    );
    assert_eq!(problem["status"], 429);
    assert_eq!(problem["violated-policies"], serde_json::json!(["daily"]));
}

#[tokio::test(start_paused = true)]
async fn without_being_asked_for_nothing_is_told_but_when_to_come_back() {
    let layer = limiter([Policy::new(
        "burst",
        Quota::per(1, Duration::from_millis(1_500)),
    )])
    .layer();
    assert!(lines(send(&layer, plain()).await.headers()).is_empty());
    let refused = send(&layer, plain()).await;
    assert_eq!(
        lines(refused.headers()),
        ["content-type: application/problem+json", "retry-after: 2"]
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_back_when_told_is_admitted() {
    for algorithm in [
        Algorithm::TokenBucket,
        Algorithm::FixedWindow,
        Algorithm::SlidingWindow,
        Algorithm::SlidingLog,
    ] {
        let policy = Policy::new("p", Quota::per(3, Duration::from_secs(7))).algorithm(algorithm);
        let layer = limiter([policy]).layer();
        tokio::time::advance(Duration::from_millis(1_234)).await;
        for _ in 0..20 {
            let answer = send(&layer, plain()).await;
            if answer.status() == 429 {
                let seconds = answer.headers()["retry-after"]
                    .to_str()
                    .unwrap()
                    .parse()
                    .unwrap();
                tokio::time::advance(Duration::from_secs(seconds)).await;
                assert_eq!(status(&layer, plain()).await, 200, "{algorithm:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn grpc_is_told_in_its_own_words() {
    let layer = limiter([Policy::new(
        "burst",
        Quota::per(1, Duration::from_millis(3_500)),
    )])
    .layer();
    let grpc = || {
        from(1)
            .method("POST")
            .header("content-type", "application/grpc+proto")
            .body(())
            .unwrap()
    };
    assert_eq!(send(&layer, grpc()).await.status(), 200);
    let refused = send(&layer, grpc()).await;
    assert_eq!(refused.status(), 200);
    assert!(http_body::Body::is_end_stream(refused.body()));
    assert_eq!(
        lines(refused.headers()),
        [
            "content-type: application/grpc",
            "grpc-message: the request quota is used up",
            "grpc-retry-pushback-ms: 3500",
            "grpc-status-details-bin: CAgSHHRoZSByZXF1ZXN0IHF1b3RhIGlzIHVzZWQgdXAaNgoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIKCggIAxCAyrXuAQ",
            "grpc-status: 8",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_is_its_address_and_one_does_not_pay_for_another() {
    let layer = limiter([Policy::new("burst", Quota::per_hour(1))]).layer();
    for host in 1..=9 {
        assert_eq!(status(&layer, from(host).body(()).unwrap()).await, 200);
        assert_eq!(status(&layer, from(host).body(()).unwrap()).await, 429);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_without_the_header_it_counts_by_is_refused_as_nobodys() {
    let key = KeyBy::Header(http::HeaderName::from_static("x-api-key"));
    let layer = limiter([Policy::new("burst", Quota::per_hour(1))])
        .layer()
        .keyed_by(key);
    let with = |key: &str| from(1).header("x-api-key", key).body(()).unwrap();
    assert_eq!(status(&layer, with("a")).await, 200);
    assert_eq!(status(&layer, with("a")).await, 429);
    assert_eq!(status(&layer, with("b")).await, 200);
    assert_eq!(status(&layer, plain()).await, 403);
    assert_eq!(status(&layer, with("")).await, 403);
    let twice = from(1)
        .header("x-api-key", "c")
        .header("x-api-key", "d")
        .body(())
        .unwrap();
    assert_eq!(status(&layer, twice).await, 403);
}

#[tokio::test(start_paused = true)]
async fn paths_and_closures_are_keys_too() {
    let at = |path: &str| from(1).uri(path).body(()).unwrap();
    let by_path = limiter([Policy::new("p", Quota::per_hour(1))])
        .layer()
        .keyed_by(KeyBy::Path);
    assert_eq!(status(&by_path, at("/a?x=1")).await, 200);
    assert_eq!(status(&by_path, at("/a?x=2")).await, 429);
    assert_eq!(status(&by_path, at("/b")).await, 200);

    let limiter = limiter([Policy::new("p", Quota::per_hour(1))]);
    let tenants = limiter.clone();
    let by_tenant = limiter.layer().keyed_by(KeyBy::Custom(std::sync::Arc::new(
        move |head: &Head<'_>| match head.uri.path().split('/').nth(1) {
            Some("") | None => Found::Unidentified,
            Some("internal") => Found::Exempt,
            Some(tenant) => Found::Key(tenants.text_key(tenant.as_bytes())),
        },
    )));
    assert_eq!(status(&by_tenant, at("/acme/x")).await, 200);
    assert_eq!(status(&by_tenant, at("/acme/y")).await, 429);
    assert_eq!(status(&by_tenant, at("/")).await, 403);
    for _ in 0..3 {
        assert_eq!(status(&by_tenant, at("/internal/x")).await, 200);
    }
}

fn with_api_key(host: u8, key: &str) -> Request<()> {
    from(host).header("x-api-key", key).body(()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn policies_with_keys_of_their_own_all_agree_or_nothing_is_spent() {
    let account = Policy::new("account", Quota::per_day(3));
    let layer = limiter([
        Policy::new("address", Quota::per_day(5)),
        account.keyed_by(KeyBy::Header("x-api-key".parse().unwrap())),
    ])
    .layer()
    .quota_headers(QuotaHeaders::Draft11);
    let told = async |request| {
        let answer = send(&layer, request).await;
        let told = answer.headers()["ratelimit"].to_str().unwrap().to_owned();
        // Without the times.
        let left = told
            .split(", ")
            .map(|item| item.split(";t=").next().unwrap());
        (
            answer.status().as_u16(),
            left.collect::<Vec<_>>().join(", "),
        )
    };
    let expect = |status: u16, left: &str| (status, left.to_owned());
    // One account from two addresses.
    for (host, left) in [
        (1, r#""address";r=4, "account";r=2"#),
        (2, r#""address";r=4, "account";r=1"#),
        (1, r#""address";r=3, "account";r=0"#),
    ] {
        assert_eq!(told(with_api_key(host, "a")).await, expect(200, left));
    }
    // The account is spent, and no address pays for that.
    for _ in 0..9 {
        let refused = expect(429, r#""address";r=3, "account";r=0"#);
        assert_eq!(told(with_api_key(1, "a")).await, refused);
    }
    // Another account from the same address, which is spent before the account is.
    for left in [
        r#""address";r=2, "account";r=2"#,
        r#""address";r=1, "account";r=1"#,
    ] {
        assert_eq!(told(with_api_key(1, "b")).await, expect(200, left));
    }
    assert_eq!(told(with_api_key(1, "c")).await.0, 200);
    let refused = expect(429, r#""address";r=0, "account";r=1"#);
    assert_eq!(told(with_api_key(1, "b")).await, refused);
    assert_eq!(told(with_api_key(2, "b")).await.0, 200);
    assert_eq!(
        status(&layer, plain()).await,
        403,
        "nobody can tell whose account"
    );
}

#[tokio::test(start_paused = true)]
async fn a_policy_does_not_count_whom_its_key_exempts() {
    let account = |head: &Head<'_>| match head.headers.get("x-api-key") {
        Some(key) if key == "a" => Found::Key(Key::from_bits(1)),
        _ => Found::Exempt,
    };
    let limiter = limiter([
        Policy::new("address", Quota::per_day(4)),
        Policy::new("account", Quota::per_day(2)).keyed_by(KeyBy::Custom(Arc::new(account))),
    ]);
    let layer = limiter.layer().settle_by(|ended| ended.cost);
    for code in [200, 200, 429] {
        assert_eq!(status(&layer, with_api_key(1, "a")).await, code);
    }
    for code in [200, 200, 429] {
        assert_eq!(status(&layer, with_api_key(1, "nobody")).await, code);
    }
    let peer = fusebox_http::identity::IdentityResolver::peer_only();
    let peer = peer.key_of([192, 0, 2, 1].into()).unwrap();
    let layer = layer.exempt_keys([Key::from(peer)]);
    assert_eq!(
        status(&layer, with_api_key(1, "a")).await,
        429,
        "the account is not exempt"
    );
    for _ in 0..9 {
        assert_eq!(status(&layer, with_api_key(1, "nobody")).await, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn exempt_keys_pass_uncounted_and_others_do_not() {
    let limiter = limiter([Policy::new("daily", Quota::per_day(1))]);
    let layer = limiter
        .layer()
        .keyed_by(KeyBy::Header("x-api-key".parse().unwrap()))
        .exempt_keys([limiter.header_key(b"partner")]);
    for _ in 0..5 {
        assert_eq!(status(&layer, with_api_key(1, "partner")).await, 200);
    }
    assert_eq!(status(&layer, with_api_key(1, "a")).await, 200);
    assert_eq!(status(&layer, with_api_key(1, "a")).await, 429);
    assert_eq!(limiter.stats().ended(), 1, "who is exempt is not counted");
    let paths = limiter
        .layer()
        .keyed_by(KeyBy::Path)
        .exempt_keys([limiter.path_key("/health")]);
    let get = |path: &str| from(1).uri(path).body(()).unwrap();
    for (path, code) in [("/health", 200), ("/health", 200), ("/x", 200), ("/x", 429)] {
        assert_eq!(status(&paths, get(path)).await, code);
    }
}

#[tokio::test(start_paused = true)]
async fn tiers_have_their_own_policies() {
    let limiter = RateLimiter::builder("api")
        .policy(Policy::new("free", Quota::per_day(1)).capacity(10))
        .tier(
            "paid",
            [Policy::new("paid", Quota::per_day(3)).capacity(10)],
        )
        .build()
        .unwrap();
    let paid = limiter.tier("paid").unwrap();
    assert_eq!(limiter.tier("gold"), None);
    let layer = limiter
        .layer()
        .tier_by(move |head| head.headers.contains_key("x-paid").then_some(paid));
    let paying = || from(2).header("x-paid", "1").body(()).unwrap();
    assert_eq!(status(&layer, plain()).await, 200);
    assert_eq!(status(&layer, plain()).await, 429);
    for _ in 0..3 {
        assert_eq!(status(&layer, paying()).await, 200);
    }
    assert_eq!(status(&layer, paying()).await, 429);
    let refused = send(&layer, paying()).await;
    assert!(
        body(refused)
            .await
            .contains(r#""violated-policies":["paid"]"#)
    );
}

#[tokio::test(start_paused = true)]
async fn exempt_requests_are_not_counted_and_costs_are() {
    let layer = limiter([Policy::new("p", Quota::per_hour(10))])
        .layer()
        .exempt_method(Method::OPTIONS)
        .exempt_if(|head| head.uri.path() == "/health")
        .cost_by(|head| if head.uri.path() == "/search" { 5 } else { 1 });
    for _ in 0..20 {
        assert_eq!(
            status(&layer, from(1).method("OPTIONS").body(()).unwrap()).await,
            200
        );
        assert_eq!(
            status(&layer, from(1).uri("/health").body(()).unwrap()).await,
            200
        );
    }
    let search = || from(1).uri("/search").body(()).unwrap();
    assert_eq!(status(&layer, search()).await, 200);
    assert_eq!(status(&layer, search()).await, 200);
    assert_eq!(status(&layer, plain()).await, 429);
}

#[tokio::test(start_paused = true)]
async fn only_what_a_request_was_worth_stays_paid() {
    let answering = |status: u16| {
        let be = Be {
            status: Some(StatusCode::from_u16(status).unwrap()),
            worth: None,
        };
        from(1).extension(be).body(()).unwrap()
    };
    // Failed logins.
    let layer = limiter([Policy::new("failed", Quota::per_hour(2))])
        .layer()
        .settle_by(|ended| {
            if ended.status == Some(StatusCode::UNAUTHORIZED) {
                ended.cost
            } else {
                0
            }
        });
    for _ in 0..9 {
        assert_eq!(status(&layer, answering(200)).await, 200);
    }
    assert_eq!(status(&layer, answering(401)).await, 401);
    assert_eq!(status(&layer, answering(401)).await, 401);
    assert_eq!(status(&layer, answering(401)).await, 429);

    // What the service could not do, and what nobody waited for.
    let layer = limiter([Policy::new("p", Quota::per_hour(2))])
        .layer()
        .settle_by(|ended| match ended.outcome {
            fusebox_core::Outcome::Success => ended.cost,
            _ => 0,
        });
    for _ in 0..9 {
        assert_eq!(status(&layer, answering(500)).await, 500);
        drop(send(&layer, plain()).await);
    }
    assert_eq!(status(&layer, plain()).await, 200);
    assert_eq!(status(&layer, plain()).await, 200);
    assert_eq!(status(&layer, plain()).await, 429);

    // What the handler says.
    let layer = limiter([Policy::new("tokens", Quota::per_hour(1_000))])
        .layer()
        .cost_by(|_| 100)
        .settle();
    let worth = |worth| {
        from(1)
            .extension(Be {
                status: None,
                worth: Some(worth),
            })
            .body(())
            .unwrap()
    };
    for _ in 0..19 {
        assert_eq!(status(&layer, worth(20)).await, 200);
    }
    assert_eq!(status(&layer, worth(600)).await, 200);
    assert_eq!(
        status(&layer, worth(20)).await,
        429,
        "380 and 600 of 1,000 are spent"
    );
}

#[tokio::test(start_paused = true)]
async fn the_handle_shows_changes_and_steers_what_the_layer_does() {
    let limiter = limiter([Policy::new("burst", Quota::per_hour(4))]);
    let layer = limiter.layer().keyed_by(KeyBy::Shared);
    let ask = Ask::key(fusebox_rate_limit::Key::SHARED);
    assert_eq!(status(&layer, plain()).await, 200);
    assert_eq!(limiter.peek(ask).standings.unwrap()[0].remaining, 3);

    drop(limiter.reserve(ask).unwrap());
    limiter.reserve(ask).unwrap().refund();
    assert_eq!(limiter.peek(ask).standings.unwrap()[0].remaining, 3);
    limiter.reserve(ask).unwrap().commit();
    limiter.reserve(ask.cost(1)).unwrap().commit_cost(2);
    assert_eq!(limiter.peek(ask).standings.unwrap()[0].remaining, 0);
    assert!(limiter.check(ask).is_err());
    assert_eq!(status(&layer, plain()).await, 429);

    limiter
        .set_quota(
            fusebox_rate_limit::Tier::default(),
            "burst",
            Quota::per_hour(6),
        )
        .unwrap();
    assert_eq!(limiter.peek(ask).standings.unwrap()[0].remaining, 2);
    limiter.penalise(ask);
    assert_eq!(status(&layer, plain()).await, 200);
    assert_eq!(status(&layer, plain()).await, 429);

    limiter.set_mode(fusebox_core::Mode::Shadow);
    assert_eq!(status(&layer, plain()).await, 200);
    let snapshot = limiter.snapshot();
    assert_eq!(
        snapshot.get("detected"),
        Some(&fusebox_core::Value::Count(4))
    );
    assert_eq!(
        snapshot.get("enforced"),
        Some(&fusebox_core::Value::Count(3))
    );
    let quotas = fusebox_core::Value::Text("default/burst: 6 per 3600s, 6 at once".to_owned());
    assert_eq!(snapshot.get("quotas"), Some(&quotas));
}

#[tokio::test(start_paused = true)]
async fn a_client_may_wait_for_its_turn_instead() {
    let policy =
        Policy::new("out", Quota::per_second(10).burst(1)).max_wait(Duration::from_secs(1));
    let limiter = limiter([policy]);
    let layer = limiter.layer().keyed_by(KeyBy::Shared);
    let start = tokio::time::Instant::now();
    for _ in 0..6 {
        assert_eq!(status(&layer, plain()).await, 200);
    }
    let took = start.elapsed();
    assert!((500..520).contains(&took.as_millis()), "{took:?}");

    // More at once than fit into the wait.
    let calls: Vec<_> = (0..15).map(|_| send(&layer, plain())).collect();
    let mut service = layer.layer(service_fn(inner));
    let mut futures = Vec::new();
    for _ in 0..15 {
        futures.push(tokio::spawn(service.ready().await.unwrap().call(plain())));
    }
    let mut refused = 0;
    for future in futures {
        refused += u32::from(future.await.unwrap().unwrap().status() == 429);
    }
    drop(calls);
    assert!((4..=5).contains(&refused), "{refused}");
    assert!(limiter.wait(fusebox_rate_limit::Key::SHARED).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn without_room_a_new_client_is_refused_as_one_too_many() {
    let limiter = RateLimiter::builder("api")
        .policy(Policy::new("p", Quota::per_day(1)))
        .capacity(1)
        .overflow(Overflow::Refuse)
        .build()
        .unwrap();
    let layer = limiter.layer();
    let mut refused = 0;
    for host in 0..40 {
        let answer = send(&layer, from(host).body(()).unwrap()).await;
        if answer.status() != 200 {
            assert_eq!(answer.status(), 503);
            let rejection = answer.extensions().get::<Rejection>().unwrap();
            assert_eq!(rejection.kind(), RejectionKind::TooManyKeys);
            refused += 1;
        }
    }
    assert!(refused >= 24, "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_client_holds_back_as_long_as_the_server_says() {
    let second = Duration::from_secs(1);
    // A server that refuses the second request, and says for how long.
    let count = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let seen = count.clone();
    let server = service_fn(move |_: Request<()>| {
        let refuses = seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 1;
        let mut response = Response::new(Full::new(Bytes::new()));
        if refuses {
            *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
            response.headers_mut().insert("retry-after", 30.into());
        }
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let limiter = limiter([Policy::new("p", Quota::per_second(100))]);
    let layer = limiter
        .layer()
        .keyed_by(KeyBy::Shared)
        .heed(60 * second, 2 * second);
    let client = layer.layer(server);
    let ask = async || client.clone().oneshot(plain()).await.unwrap();

    assert_eq!(ask().await.status(), 200);
    assert_eq!(ask().await.status(), 429);
    assert!(
        ask()
            .await
            .extensions()
            .get::<Rejection>()
            .is_some_and(|refused| {
                refused.retry_after() == Some(30 * second) && refused.policy().as_str() == "api"
            })
    );
    assert_eq!(
        count.load(std::sync::atomic::Ordering::SeqCst),
        2,
        "it was left alone"
    );

    // Close enough to wait for.
    tokio::time::advance(29 * second).await;
    let start = tokio::time::Instant::now();
    assert_eq!(ask().await.status(), 200);
    assert!((second..second * 2).contains(&start.elapsed()));
    assert_eq!(ask().await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn what_a_layer_of_this_process_refuses_is_no_word_of_the_servers() {
    let second = Duration::from_secs(1);
    let quota_of_ours = limiter([Policy::new("ours", Quota::per_minute(1))]);
    let client = limiter([Policy::new("p", Quota::per_second(100))])
        .layer()
        .keyed_by(KeyBy::Shared)
        .heed(60 * second, Duration::ZERO)
        .layer(
            quota_of_ours
                .layer()
                .keyed_by(KeyBy::Shared)
                .layer(service_fn(inner)),
        );
    let ask = async || client.clone().oneshot(plain()).await.unwrap();
    assert_eq!(ask().await.status(), 200);
    for _ in 0..2 {
        let refused = ask().await;
        let rejection = refused.extensions().get::<Rejection>().unwrap();
        assert_eq!(
            rejection.policy().as_str(),
            "ours",
            "the server was not left alone"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_tier_of_another_limiter_is_never_no_limit() {
    let other = RateLimiter::builder("other")
        .policy(Policy::new("p", Quota::per_day(9)).capacity(16))
        .tier("gold", [Policy::new("p", Quota::per_day(9)).capacity(16)])
        .registration(fusebox_core::Registration::Unlisted)
        .build()
        .unwrap();
    let foreign = other.tier("gold").unwrap();
    let limiter = limiter([Policy::new("p", Quota::per_day(2).burst(2))]);
    let ask = || Ask::key(Key::SHARED).tier(foreign);
    assert!(limiter.check(ask()).is_ok());
    assert!(limiter.wait(ask()).await.is_ok());
    let refused = limiter.check(ask()).unwrap_err();
    assert_eq!(refused.policy().as_str(), "p");
    limiter.penalise(ask());

    let layer = limiter
        .layer()
        .keyed_by(KeyBy::Path)
        .tier_by(move |_| Some(foreign))
        .quota_headers(QuotaHeaders::Draft11);
    for expected in [200, 200, 429] {
        let answer = send(&layer, plain()).await;
        assert_eq!(answer.status(), expected);
        assert!(answer.headers().contains_key("ratelimit"));
    }
}

#[tokio::test(start_paused = true)]
async fn blanks_around_a_header_are_no_new_client() {
    let limiter = limiter([Policy::new("p", Quota::per_day(1).burst(1))]);
    let layer = limiter
        .layer()
        .keyed_by(KeyBy::Header(http::HeaderName::from_static("x-api-key")));
    let with = |value: &'static str| from(1).header("x-api-key", value).body(()).unwrap();
    assert_eq!(status(&layer, with("alice")).await, 200);
    for same in [" alice", "alice\t", "  alice "] {
        assert_eq!(status(&layer, with(same)).await, 429, "{same:?}");
    }
    assert_eq!(
        limiter.header_key(b" alice "),
        limiter.header_key(b"alice"),
        "the handle agrees"
    );
    let blank = send(&layer, with(" \t ")).await;
    let rejection = blank.extensions().get::<Rejection>().unwrap();
    assert_eq!(rejection.kind(), RejectionKind::Unidentified);
}
