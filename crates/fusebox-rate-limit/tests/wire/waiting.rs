//! The client's side: waiting for one's turn, and heeding what a server says.

use super::*;

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
        .heed(60 * second, 2 * second)
        .unwrap();
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
        .unwrap()
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

/// Answers what it is told to, when it is told to, and writes down when it was asked.
#[derive(Clone, Default)]
struct Server {
    asked: Arc<std::sync::Mutex<Vec<tokio::time::Instant>>>,
    /// For each request, one after the other: after how many milliseconds it says for how many seconds it wants to be
    /// left alone.
    says: Arc<std::sync::Mutex<Vec<(u64, u32)>>>,
}

impl Server {
    fn saying(says: &[(u64, u32)]) -> Self {
        let says = says.iter().rev().copied().collect();
        Self {
            says: Arc::new(std::sync::Mutex::new(says)),
            ..Self::default()
        }
    }

    fn call(&self) -> impl Future<Output = Result<Response<Full<Bytes>>, Infallible>> + use<> {
        self.asked.lock().unwrap().push(tokio::time::Instant::now());
        let says = self.says.lock().unwrap().pop();
        async move {
            let mut response = Response::new(Full::new(Bytes::new()));
            if let Some((after, seconds)) = says {
                tokio::time::sleep(Duration::from_millis(after)).await;
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                response.headers_mut().insert("retry-after", seconds.into());
            }
            Ok(response)
        }
    }

    /// In tenths of a second since then.
    fn asked_since(&self, start: tokio::time::Instant) -> Vec<u128> {
        let asked = self.asked.lock().unwrap();
        let tenth = |at: &tokio::time::Instant| (*at - start).as_millis() / 100;
        asked.iter().map(tenth).collect()
    }
}

/// A call in the background. It has run as far as it can.
async fn begin(layer: &RateLimitLayer, server: &Server) -> tokio::task::JoinHandle<Answer> {
    let server = server.clone();
    let service = layer.layer(service_fn(move |_: Request<()>| server.call()));
    let call = tokio::spawn(async move { service.oneshot(plain()).await.unwrap() });
    tokio::task::yield_now().await;
    call
}

fn heeding(policy: Policy, max_wait: u64) -> RateLimitLayer {
    let layer = limiter([policy]).layer().keyed_by(KeyBy::Shared);
    let heed = layer.heed(Duration::from_secs(60), Duration::from_secs(max_wait));
    heed.unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_was_held_back_goes_on_as_fast_as_the_quota_lets_it() {
    let policy = Policy::new("out", Quota::per_second(10).burst(2));
    let layer = heeding(policy.max_wait(Duration::from_secs(1)), 20);
    let (server, start) = (Server::saying(&[(0, 10)]), tokio::time::Instant::now());
    begin(&layer, &server).await.await.unwrap();
    let mut calls = Vec::new();
    for _ in 0..6 {
        calls.push(begin(&layer, &server).await);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    for call in calls {
        assert_eq!(call.await.unwrap().status(), 200);
    }
    let [first, held @ ..] = &server.asked_since(start)[..] else {
        panic!("nobody came");
    };
    assert_eq!(*first, 0);
    // The burst at once, then one each tenth of a second, and not all six when it is over.
    assert_eq!(held, [100, 100, 101, 102, 103, 104]);
}

#[tokio::test(start_paused = true)]
async fn whoever_was_held_back_looks_again_when_it_wakes() {
    let policy = || Policy::new("out", Quota::per_second(100));
    for (max_wait, status, asked) in [(10, 200, &[0, 0, 60][..]), (3, 429, &[0, 0])] {
        // The second answer, at one second, wants until six what the first one wanted until two.
        let server = Server::saying(&[(1_000, 5), (0, 2)]);
        let (layer, start) = (heeding(policy(), max_wait), tokio::time::Instant::now());
        let slow = begin(&layer, &server).await;
        begin(&layer, &server).await.await.unwrap();
        let held = begin(&layer, &server).await;
        slow.await.unwrap();
        let answer = held.await.unwrap();
        assert_eq!(answer.status(), status, "{max_wait}");
        assert_eq!(server.asked_since(start), asked, "{max_wait}");
        if let Some(refused) = answer.extensions().get::<Rejection>() {
            assert_eq!(refused.retry_after(), Some(Duration::from_secs(4)));
            assert_eq!(start.elapsed().as_secs(), 2);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_in_line_is_held_back_too_and_has_not_paid_for_nothing() {
    let policy = Policy::new("out", Quota::per_second(1).burst(1));
    let layer = heeding(policy.max_wait(Duration::from_secs(5)), 20);
    let (server, start) = (Server::saying(&[(500, 5)]), tokio::time::Instant::now());
    let first = begin(&layer, &server).await;
    let mut line = Vec::new();
    for _ in 0..3 {
        line.push(begin(&layer, &server).await);
    }
    first.await.unwrap();
    for call in line {
        assert_eq!(call.await.unwrap().status(), 200);
    }
    // Their turns were at one, two and three seconds. None at 5.5 finds its bucket empty, or all go at once.
    assert_eq!(server.asked_since(start), [0, 55, 65, 75]);
}

#[tokio::test(start_paused = true)]
async fn in_shadow_mode_nobody_waits() {
    let policy = Policy::new("out", Quota::per_second(1).burst(1));
    let limiter = limiter([policy.max_wait(Duration::from_secs(5))]);
    limiter.set_mode(fusebox_core::Mode::Shadow);
    let layer = limiter.layer().keyed_by(KeyBy::Shared);
    let layer = layer.heed(Duration::from_secs(60), Duration::from_secs(20));
    let (layer, server) = (layer.unwrap(), Server::saying(&[(0, 10), (0, 10)]));
    let start = tokio::time::Instant::now();
    for _ in 0..3 {
        begin(&layer, &server).await.await.unwrap();
    }
    assert!(limiter.wait(Key::SHARED).await.is_ok());
    let plain = limiter
        .plain_layer()
        .layer(service_fn(async |(): ()| Ok::<_, Infallible>(())));
    assert!(plain.oneshot(()).await.is_ok());
    assert_eq!(server.asked_since(start), [0, 0, 0]);
    assert!(start.elapsed() < Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn whoever_is_given_up_while_it_is_held_back_has_spent_nothing() {
    let limiter = limiter([Policy::new("out", Quota::per_hour(2))]);
    let layer = limiter.layer().keyed_by(KeyBy::Shared);
    let heed = layer.heed(Duration::from_secs(60), Duration::from_secs(60));
    let (layer, server) = (heed.unwrap(), Server::saying(&[(0, 10)]));
    begin(&layer, &server).await.await.unwrap();
    for _ in 0..3 {
        let held = begin(&layer, &server).await;
        held.abort();
        assert!(held.await.is_err());
    }
    let standing = limiter.peek(Key::SHARED).standings.unwrap();
    assert_eq!(standing[0].remaining, 1);
    let cancelled = limiter.stats().outcome(fusebox_core::Outcome::Cancelled);
    assert_eq!(cancelled, 3);
}
