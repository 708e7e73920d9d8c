//! What answers say of quotas, and refusals of themselves.

use super::*;

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

/// The value of a parameter of the only item in a `RateLimit` field.
fn parameter(answer: &Answer, name: &str) -> u64 {
    let field = answer.headers()["ratelimit"].to_str().unwrap();
    let mut parameters = field.split(';').filter_map(|part| part.split_once('='));
    let found = parameters.find(|(key, _)| *key == name).unwrap();
    found.1.parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_spent_quota_is_told_with_the_time_that_retry_after_says() {
    let layer = limiter([Policy::new("burst", Quota::per_second(1).burst(60))])
        .layer()
        .cost_by(|_| 5)
        .quota_headers(QuotaHeaders::Draft11)
        .legacy_headers(true);
    let mut last = send(&layer, plain()).await;
    for _ in 0..11 {
        last = send(&layer, plain()).await;
    }
    assert_eq!(last.status(), 200);
    let told = [
        r#"ratelimit-policy: "burst";q=60;w=60"#,
        r#"ratelimit: "burst";r=0;t=5"#,
        "x-ratelimit-limit: 60",
        "x-ratelimit-remaining: 0",
        "x-ratelimit-reset: 5",
    ];
    assert_eq!(lines(last.headers()), told);
    let refused = send(&layer, plain()).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(
        lines(refused.headers()),
        [
            "content-type: application/problem+json",
            told[0],
            told[1],
            "retry-after: 5",
            told[2],
            told[3],
            told[4],
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn the_two_times_of_a_refusal_agree_whatever_counts() {
    for algorithm in [
        Algorithm::TokenBucket,
        Algorithm::LeakyBucket,
        Algorithm::FixedWindow,
        Algorithm::SlidingWindow,
        Algorithm::SlidingLog,
    ] {
        let quota = Quota::per(6, Duration::from_secs(60));
        let limiter = limiter([Policy::new("p", quota).algorithm(algorithm)]);
        let layer = limiter.layer().quota_headers(QuotaHeaders::Draft11);
        tokio::time::advance(Duration::from_millis(1_234)).await;
        let mut last = send(&layer, plain()).await;
        while parameter(&last, "r") > 0 {
            tokio::time::advance(Duration::from_secs(1)).await;
            last = send(&layer, plain()).await;
        }
        let then = parameter(&last, "t");
        let refused = send(&layer, plain()).await;
        assert_eq!(refused.status(), 429, "{algorithm:?}");
        assert_eq!(parameter(&refused, "r"), 0);
        let after: u64 = refused.headers()["retry-after"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        assert_eq!(
            (then, parameter(&refused, "t")),
            (after, after),
            "{algorithm:?}"
        );
        tokio::time::advance(Duration::from_secs(after)).await;
        assert_eq!(status(&layer, plain()).await, 200, "{algorithm:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn policies_that_do_not_count_a_request_say_nothing_of_it() {
    let api_key = || KeyBy::Header("x-api-key".parse().unwrap());
    let limiter = limiter([
        Policy::new("address", Quota::per_minute(5)),
        Policy::new("account", Quota::per_day(1)).keyed_by(api_key()),
    ]);
    let layer = limiter
        .layer()
        .exempt_keys([limiter.header_key(b"partner")])
        .quota_headers(QuotaHeaders::Draft11)
        .legacy_headers(true);
    let with = |key: &str| from(1).header("x-api-key", key).body(()).unwrap();
    assert_eq!(
        lines(send(&layer, with("partner")).await.headers()),
        [
            r#"ratelimit-policy: "address";q=5;w=60"#,
            r#"ratelimit: "address";r=4;t=12"#,
            "x-ratelimit-limit: 5",
            "x-ratelimit-remaining: 4",
            "x-ratelimit-reset: 12",
        ]
    );
    let counted = send(&layer, with("alice")).await;
    assert_eq!(
        counted.headers()["ratelimit"],
        r#""address";r=3;t=24, "account";r=0;t=86400"#
    );
}
