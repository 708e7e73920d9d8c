//! A compartment divided among tenants.
#![cfg(not(fusebox_loom))]
#![expect(clippy::unwrap_used, reason = "a test: a panic is its report")]

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use fusebox_bulkhead::{
    BulkheadLayer, Compartment, CompartmentBuilder, ConfigError, Key, ResponseBody,
};
use fusebox_core::{Mode, Registration, Rejection, RejectionKind};
use http::{Request, Response};
use http_body_util::Full;
use tower::{Layer, Service, ServiceExt, service_fn};

const TENANT: &str = "x-tenant";

fn builder(slots: usize, per_key: usize) -> CompartmentBuilder {
    Compartment::builder("tenants")
        .slots(slots)
        .slots_per_key(per_key)
        .registration(Registration::Unlisted)
}

type TenantOf<B> = fn(&Request<B>) -> Option<Key>;

fn layer<B>(compartment: &Compartment) -> BulkheadLayer<TenantOf<B>> {
    let tenant: TenantOf<B> = |request| request.headers().get(TENANT).map(Key::of);
    compartment.layer().by_key(tenant).unwrap()
}

/// One request of a tenant; keep the response to keep the slot.
async fn ask(
    layer: &BulkheadLayer<TenantOf<()>>,
    tenant: &str,
) -> Result<Response<ResponseBody<Full<Bytes>>>, RejectionKind> {
    async fn answer(_: Request<()>) -> Result<Response<Full<Bytes>>, Infallible> {
        Ok(Response::new(Full::from("answer")))
    }
    let mut request = Request::builder();
    if !tenant.is_empty() {
        request = request.header(TENANT, tenant);
    }
    let service = layer.layer(service_fn(answer));
    let response = service.oneshot(request.body(()).unwrap()).await.unwrap();
    match response.extensions().get::<Rejection>() {
        None => Ok(response),
        Some(rejection) => Err(rejection.kind()),
    }
}

#[tokio::test(start_paused = true)]
async fn a_share_can_be_changed_while_traffic_flows() {
    let compartment = builder(10, 1).build().unwrap();
    let layer = layer(&compartment);
    let _first = ask(&layer, "tenant").await.unwrap();
    assert_eq!(
        ask(&layer, "tenant").await.unwrap_err(),
        RejectionKind::Full
    );
    assert_eq!(compartment.resize_per_key(2).unwrap(), 1);
    let _second = ask(&layer, "tenant").await.unwrap();
    assert_eq!(compartment.snapshot().keys.unwrap().slots_per_key, 2);
    assert!(compartment.resize_per_key(0).is_err());

    let undivided = Compartment::builder("one").slots(1);
    let undivided = undivided.registration(Registration::Unlisted).build();
    assert!(matches!(
        undivided.unwrap().resize_per_key(1),
        Err(ConfigError::Without {
            needs: "slots_per_key",
            ..
        })
    ));
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_holds_its_share_is_refused_while_another_passes() {
    let compartment = builder(10, 2).build().unwrap();
    let layer = layer(&compartment);
    let first = ask(&layer, "greedy").await.unwrap();
    let _second = ask(&layer, "greedy").await.unwrap();
    assert_eq!(
        ask(&layer, "greedy").await.unwrap_err(),
        RejectionKind::Full
    );
    let _other = ask(&layer, "modest").await.unwrap();
    drop(first);
    let _third = ask(&layer, "greedy").await.unwrap();
    assert_eq!(compartment.snapshot().in_flight, 3);
}

#[tokio::test(start_paused = true)]
async fn all_shares_together_are_no_more_than_the_slots() {
    let compartment = builder(2, 2).build().unwrap();
    let layer = layer(&compartment);
    let _first = ask(&layer, "a").await.unwrap();
    let _second = ask(&layer, "b").await.unwrap();
    assert_eq!(ask(&layer, "c").await.unwrap_err(), RejectionKind::Full);
    // The refusal left nothing behind.
    assert_eq!(compartment.snapshot().keys.unwrap().active, 2);
}

#[tokio::test(start_paused = true)]
async fn a_place_in_the_queue_is_a_part_of_the_share() {
    let compartment = builder(1, 1)
        .queue(5, Duration::from_secs(1))
        .build()
        .unwrap();
    let layer = layer(&compartment);
    let first = ask(&layer, "a").await.unwrap();
    let waiting = tokio::spawn({
        let layer = layer.clone();
        async move { ask(&layer, "b").await.map(drop) }
    });
    tokio::task::yield_now().await;
    assert_eq!(ask(&layer, "b").await.unwrap_err(), RejectionKind::Full);
    assert_eq!(compartment.snapshot().waiting, 1);
    drop(first);
    assert_eq!(waiting.await.unwrap(), Ok(()));
    assert_eq!(compartment.snapshot().keys.unwrap().active, 0);
}

#[tokio::test(start_paused = true)]
async fn one_key_too_many_is_refused_and_idle_ones_do_not_count() {
    let compartment = builder(10, 2).max_keys(2).build().unwrap();
    let layer = layer(&compartment);
    for tenant in 0..100 {
        ask(&layer, &format!("idle-{tenant}"))
            .await
            .map(drop)
            .unwrap();
    }
    let _a = ask(&layer, "a").await.unwrap();
    let _b = ask(&layer, "b").await.unwrap();
    assert_eq!(
        ask(&layer, "c").await.unwrap_err(),
        RejectionKind::TooManyKeys
    );
    let _a = ask(&layer, "a").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_request_of_nobody_is_refused_or_let_through_in_shadow_mode() {
    let compartment = builder(10, 2).build().unwrap();
    let layer = layer(&compartment);
    assert_eq!(
        ask(&layer, "").await.unwrap_err(),
        RejectionKind::Unidentified
    );
    compartment.set_mode(Mode::Shadow);
    let _response = ask(&layer, "").await.unwrap();
    let snapshot = compartment.snapshot();
    assert_eq!((snapshot.in_flight, snapshot.stats.detected()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_request_of_nobody_is_not_let_into_a_closed_compartment_in_shadow_mode() {
    let compartment = builder(10, 2).mode(Mode::Shadow).build().unwrap();
    let layer = layer(&compartment);
    compartment.shutdown(Duration::ZERO).await;
    let closed = RejectionKind::ShuttingDown;
    assert_eq!(ask(&layer, "").await.unwrap_err(), closed);
    assert_eq!(ask(&layer, "a").await.unwrap_err(), closed);
}

#[test]
fn keys_need_a_compartment_that_is_divided() {
    let compartment = Compartment::builder("whole")
        .slots(1)
        .registration(Registration::Unlisted)
        .build()
        .unwrap();
    let by_key = compartment
        .layer()
        .by_key(|_: &Request<()>| Some(Key::of(&1)));
    assert!(matches!(
        by_key.map(drop),
        Err(ConfigError::Without {
            field: "by_key",
            needs: "slots_per_key"
        })
    ));
}

#[tokio::test(start_paused = true)]
async fn any_service_can_be_divided() {
    let compartment = builder(10, 1).build().unwrap();
    let layer = compartment
        .plain_layer()
        .by_key(|tenant: &u8| Some(Key::of(tenant)))
        .unwrap();
    let mut service = layer.layer(service_fn(|_: u8| {
        std::future::pending::<Result<(), Infallible>>()
    }));
    let held = service.ready().await.unwrap().call(1);
    let refused = service.ready().await.unwrap().call(1).await.unwrap_err();
    assert_eq!(refused.rejection().unwrap().kind(), RejectionKind::Full);
    drop(held);
    assert_eq!(compartment.snapshot().keys.unwrap().active, 0);
}

const SECOND: Duration = Duration::from_secs(1);

type Asked = Result<Response<ResponseBody<Full<Bytes>>>, RejectionKind>;

/// A request that has been polled once, and so is in line if it has to wait.
async fn waiting(
    layer: &BulkheadLayer<TenantOf<()>>,
    tenant: &'static str,
) -> tokio::task::JoinHandle<Asked> {
    let layer = layer.clone();
    let asked = tokio::spawn(async move { ask(&layer, tenant).await });
    tokio::task::yield_now().await;
    assert!(!asked.is_finished(), "it was to wait");
    asked
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_holds_its_share_waits_in_a_line_of_its_own() {
    let compartment = builder(10, 1).queue_per_key(1, SECOND).build().unwrap();
    let layer = layer(&compartment);
    let first = ask(&layer, "greedy").await.unwrap();
    let second = waiting(&layer, "greedy").await;
    // Its line is full, and nobody else's business.
    assert_eq!(
        ask(&layer, "greedy").await.unwrap_err(),
        RejectionKind::Full
    );
    let _other = ask(&layer, "modest").await.unwrap();
    let snapshot = compartment.snapshot();
    assert_eq!((snapshot.in_flight, snapshot.waiting), (2, 0));
    let keys = snapshot.keys.unwrap();
    assert_eq!((keys.active, keys.waiting, keys.queue_length), (2, 1, 1));
    drop(first);
    drop(second.await.unwrap().unwrap());
    assert_eq!(compartment.snapshot().keys.unwrap().active, 1);
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_share_ends_at_its_bound_and_is_told_as_one() {
    let compartment = builder(10, 1).queue_per_key(1, SECOND).build().unwrap();
    let layer = layer(&compartment);
    let _first = ask(&layer, "a").await.unwrap();
    let started = tokio::time::Instant::now();
    let refused = ask(&layer, "a").await.unwrap_err();
    assert_eq!(refused, RejectionKind::QueueTimeout);
    assert!(started.elapsed() >= SECOND && started.elapsed() < SECOND * 2);
    let snapshot = compartment.snapshot();
    let keys = snapshot.keys.unwrap();
    assert_eq!((keys.active, keys.waiting), (1, 0));
    assert!(snapshot.stats.wait.max >= SECOND);
}

#[tokio::test(start_paused = true)]
async fn who_has_got_its_share_waits_for_a_slot_like_everybody_else() {
    let compartment = builder(1, 1)
        .queue(2, SECOND)
        .queue_per_key(1, SECOND)
        .build()
        .unwrap();
    let layer = layer(&compartment);
    let first = ask(&layer, "a").await.unwrap();
    let of_b = waiting(&layer, "b").await;
    let of_a = waiting(&layer, "a").await;
    tokio::time::advance(Duration::from_millis(700)).await;
    drop(first);
    let of_b = of_b.await.unwrap().unwrap();
    tokio::task::yield_now().await;
    let snapshot = compartment.snapshot();
    assert_eq!((snapshot.waiting, snapshot.keys.unwrap().waiting), (1, 0));
    // Past what it could have waited for its share.
    tokio::time::advance(Duration::from_millis(700)).await;
    drop(of_b);
    drop(of_a.await.unwrap().unwrap());
    let snapshot = compartment.snapshot();
    assert_eq!((snapshot.in_flight, snapshot.keys.unwrap().active), (0, 0));
    let waited = snapshot.stats.wait.max;
    assert!(waited >= Duration::from_millis(1_390), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn who_has_got_its_share_and_finds_no_place_is_refused() {
    let compartment = builder(1, 1).queue_per_key(1, SECOND).build().unwrap();
    let layer = layer(&compartment);
    let first = ask(&layer, "a").await.unwrap();
    let of_a = waiting(&layer, "a").await;
    // The slot is another's before the one in line comes by.
    drop(first);
    let _of_b = ask(&layer, "b").await.unwrap();
    assert_eq!(of_a.await.unwrap().unwrap_err(), RejectionKind::Full);
    assert_eq!(compartment.snapshot().keys.unwrap().active, 1);
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_waiting_for_a_share_leaves_the_line_and_is_told_once() {
    let compartment = builder(10, 1).queue_per_key(2, SECOND).build().unwrap();
    let layer = layer(&compartment);
    let first = ask(&layer, "a").await.unwrap();
    let second = waiting(&layer, "a").await;
    let third = waiting(&layer, "a").await;
    second.abort();
    assert!(second.await.unwrap_err().is_cancelled());
    let snapshot = compartment.snapshot();
    assert_eq!(snapshot.keys.unwrap().waiting, 1);
    assert_eq!(snapshot.stats.ended(), 1);
    drop(first);
    drop(third.await.unwrap().unwrap());
    assert_eq!(compartment.snapshot().keys.unwrap().active, 0);
}

#[tokio::test(start_paused = true)]
async fn in_shadow_mode_nobody_waits_for_a_share() {
    let compartment = builder(10, 1)
        .queue_per_key(1, SECOND)
        .mode(Mode::Shadow)
        .build()
        .unwrap();
    let layer = layer(&compartment);
    let _first = ask(&layer, "a").await.unwrap();
    let started = tokio::time::Instant::now();
    drop(ask(&layer, "a").await.unwrap());
    assert_eq!(started.elapsed(), Duration::ZERO);
    let snapshot = compartment.snapshot();
    assert_eq!((snapshot.in_flight, snapshot.stats.detected()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_refuses_those_who_wait_for_a_share() {
    let compartment = builder(10, 1).queue_per_key(1, SECOND).build().unwrap();
    let layer = layer(&compartment);
    let first = ask(&layer, "a").await.unwrap();
    let second = waiting(&layer, "a").await;
    assert_eq!(compartment.shutdown(Duration::ZERO).await, 1);
    let closed = RejectionKind::ShuttingDown;
    assert_eq!(second.await.unwrap().unwrap_err(), closed);
    assert_eq!(ask(&layer, "a").await.unwrap_err(), closed);
    assert_eq!(ask(&layer, "b").await.unwrap_err(), closed);
    drop(first);
    assert_eq!(compartment.snapshot().keys.unwrap().active, 0);
}

#[tokio::test(start_paused = true)]
async fn the_lines_of_keys_can_be_changed_while_traffic_flows() {
    let compartment = builder(10, 1).build().unwrap();
    let layer = layer(&compartment);
    let first = ask(&layer, "a").await.unwrap();
    assert_eq!(ask(&layer, "a").await.unwrap_err(), RejectionKind::Full);
    let before = compartment.set_queue_per_key(1, SECOND).unwrap();
    assert_eq!(before, (0, Duration::ZERO));
    let second = waiting(&layer, "a").await;
    // A larger share lets in who waits for it.
    compartment.resize_per_key(2).unwrap();
    let _second = second.await.unwrap().unwrap();
    drop(first);
    assert_eq!(
        compartment
            .set_queue_per_key(0, SECOND)
            .unwrap_err()
            .to_string(),
        "queue_per_key.length: must be between 1 and 1073741823, got 0"
    );
}
