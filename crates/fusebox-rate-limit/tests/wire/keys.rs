//! Under whose name requests count.

use super::*;

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
