//! In which tier requests count, what they cost, and what stays paid.

use super::*;

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
