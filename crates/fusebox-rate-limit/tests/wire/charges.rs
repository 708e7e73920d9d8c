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

#[tokio::test(start_paused = true)]
async fn a_request_may_cost_more_than_one_and_one_that_costs_nothing_passes() {
    let limiter = RateLimiter::builder("api")
        .policy(Policy::new("units", Quota::per_hour(12)).capacity(64))
        .cost(5)
        .registration(fusebox_core::Registration::Unlisted)
        .build()
        .unwrap();
    let layer = limiter.layer();
    for expected in [200, 200, 429] {
        assert_eq!(status(&layer, plain()).await, expected);
    }
    let by_path = layer.cost_by(|head| match head.uri.path() {
        "/free" => 0,
        "/small" => 2,
        _ => 13,
    });
    let to = |path: &str| from(1).uri(path).body(()).unwrap();
    assert_eq!(status(&by_path, to("/free")).await, 200);
    assert_eq!(status(&by_path, to("/small")).await, 200, "two were left");
    assert_eq!(status(&by_path, to("/small")).await, 429);
    assert_eq!(status(&by_path, to("/free")).await, 200);
    let never = send(&by_path, to("/large")).await;
    assert_eq!(never.status(), 429);
    assert!(
        never.headers().get("retry-after").is_none(),
        "it never would pass"
    );
}

#[tokio::test(start_paused = true)]
async fn a_handler_penalises_whom_it_finds_out() {
    let limiter = limiter([Policy::new("tries", Quota::per_hour(10))]);
    let key_of = |head: &Head<'_>| match head.headers.get("account") {
        Some(account) => account.as_bytes().to_vec(),
        None => Vec::new(),
    };
    let keys = limiter.clone();
    let layer = limiter
        .layer()
        .keyed_by(KeyBy::Custom(Arc::new(move |head: &Head<'_>| {
            Found::Key(keys.text_key(&key_of(head)))
        })));
    let handle = limiter.clone();
    let service = layer.layer(service_fn(move |request: Request<()>| {
        // A wrong password costs five times as much as a try.
        if request.headers().contains_key("wrong") {
            let account = key_of(&Head::of(&request));
            handle.penalise(Ask::key(handle.text_key(&account)).cost(4));
        }
        inner(request)
    }));
    let ask = async |account: &str, wrong: bool| {
        let mut request = Request::builder().header("account", account);
        if wrong {
            request = request.header("wrong", "1");
        }
        let request = request.body(()).unwrap();
        let answer = service.clone().oneshot(request).await.unwrap();
        answer.status().as_u16()
    };
    assert_eq!(ask("alice", true).await, 200);
    assert_eq!(ask("alice", true).await, 200);
    assert_eq!(ask("alice", false).await, 429);
    for _ in 0..10 {
        assert_eq!(ask("bob", false).await, 200);
    }
    assert_eq!(ask("bob", false).await, 429);
}

#[tokio::test(start_paused = true)]
async fn a_percentage_of_what_is_found_is_refused_and_all_of_it_is_counted() {
    let limiter = limiter([Policy::new("p", Quota::per_hour(1))]);
    limiter.set_mode(fusebox_core::Mode::percentage(30).unwrap());
    let layer = limiter.layer();
    assert_eq!(status(&layer, plain()).await, 200);
    let mut refused = 0;
    for _ in 0..1_000 {
        refused += u32::from(status(&layer, plain()).await == 429);
    }
    assert!((290..=310).contains(&refused), "{refused}");
    let stats = limiter.stats();
    assert_eq!(stats.detected(), 1_000);
    assert_eq!(stats.refused(), u64::from(refused));
}

#[tokio::test(start_paused = true)]
async fn another_quota_keeps_what_was_spent_and_its_new_size_is_told() {
    let limiter = limiter([Policy::new("p", Quota::per_hour(10))]);
    let layer = limiter.layer().quota_headers(QuotaHeaders::Draft11);
    for _ in 0..6 {
        assert_eq!(status(&layer, plain()).await, 200);
    }
    let set = |amount| limiter.set_quota(Tier::default(), "p", Quota::per_hour(amount));
    set(8).unwrap();
    let answer = send(&layer, plain()).await;
    assert_eq!(answer.headers()["ratelimit-policy"], r#""p";q=8;w=3600"#);
    let told = answer.headers()["ratelimit"].to_str().unwrap();
    assert!(told.starts_with(r#""p";r=1;t="#), "{told}");
    set(4).unwrap();
    let refused = send(&layer, plain()).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["ratelimit-policy"], r#""p";q=4;w=3600"#);
    // Three more are owed than there is room for, and one has to be there: four of four in an hour.
    assert_eq!(refused.headers()["retry-after"], "3600");
    set(8).unwrap();
    assert_eq!(status(&layer, plain()).await, 200, "one was left");
}

#[tokio::test(start_paused = true)]
async fn all_violated_policies_are_named() {
    let layer = limiter([
        Policy::new("burst", Quota::per_minute(1)),
        Policy::new("hourly", Quota::per_hour(3)),
        Policy::new("daily", Quota::per_day(1)),
    ])
    .layer();
    assert_eq!(status(&layer, plain()).await, 200);
    let refused = send(&layer, plain()).await;
    let problem: serde_json::Value = serde_json::from_str(&body(refused).await).unwrap();
    assert_eq!(
        problem["violated-policies"],
        serde_json::json!(["burst", "daily"])
    );
}
