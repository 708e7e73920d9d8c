//! A compartment divided among tenants.
#![cfg(not(fusebox_loom))]
#![expect(clippy::unwrap_used, reason = "a test: a panic is its report")]

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use fusebox_bulkhead::{
    BulkheadLayer, Compartment, CompartmentBuilder, ConfigError, Key, ResponseBody,
};
use fusebox_core::{LayerKind, Mode, Observer, Registration, Rejection, RejectionKind};
use fusebox_testkit::{Counted, Fixture, MockBody, Situation, Subject, contract};
use http::{Request, Response, request::Parts};
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

/// One tenant with one slot; where a call is to find none, a call of the same tenant holds it.
struct Divided;

impl Subject for Divided {
    const KIND: LayerKind = LayerKind::Bulkhead;
    type Layer = BulkheadLayer<TenantOf<MockBody>>;
    type Body = ResponseBody<MockBody>;

    async fn fixture(
        &self,
        situation: Situation,
        observer: Option<Arc<dyn Observer>>,
    ) -> Option<Fixture<Self::Layer>> {
        let mode = match situation {
            Situation::Waits => return None,
            Situation::Shadow => Mode::Shadow,
            Situation::Admits | Situation::Refuses => Mode::Enforce,
        };
        let settings = builder(2, 1).mode(mode);
        let settings = observer
            .into_iter()
            .fold(settings, CompartmentBuilder::observer);
        let compartment = settings.build().unwrap();
        let layer = layer(&compartment);
        let held = (situation != Situation::Admits).then(|| {
            let body = MockBody::empty();
            let mut request = Request::new(body);
            request.headers_mut().insert(TENANT, "a".parse().unwrap());
            let never = service_fn(|_: Request<MockBody>| {
                std::future::pending::<Result<Response<MockBody>, Infallible>>()
            });
            let mut service = layer.layer(never);
            Box::pin(service.call(request))
        });
        let (holding, counting) = (compartment.clone(), compartment);
        Some(
            Fixture::new(layer)
                .holding(move || holding.snapshot().in_flight)
                .counting(move || Counted::from(&counting.snapshot().stats))
                .keeping(held),
        )
    }

    fn prepare(&self, _: Situation, request: &mut Parts) {
        request.headers.insert(TENANT, "a".parse().unwrap());
    }
}

contract! {
    mod divided: Divided;
}
