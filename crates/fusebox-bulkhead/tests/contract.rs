//! The contract of every layer, asked of each flavour.
#![cfg(not(fusebox_loom))]
#![expect(clippy::unwrap_used, reason = "a test: a panic is its report")]

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use ::http::{HeaderValue, Request, Response, request::Parts};
use fusebox_bulkhead::{
    BackpressureLayer, BulkheadLayer, Compartment, CompartmentBuilder, Everyone, Key,
    PlainBulkheadLayer, ResponseBody, plain::Local,
};
use fusebox_core::{Event, LayerKind, Mode, Observer, Registration};
use fusebox_testkit::{
    Counted, Fixture, MockBody, Plain, PlainSubject, Situation, Subject, contract,
};
use tower::{Layer, Service, service_fn};

/// One slot; and where a call is to find none, somebody who has taken it.
fn fixture<L>(
    situation: Situation,
    observer: Option<Arc<dyn Observer>>,
    settings: impl FnOnce(CompartmentBuilder) -> CompartmentBuilder,
    layer: impl FnOnce(&Compartment) -> L,
) -> Fixture<L> {
    taken_by(situation, observer, settings, layer, |compartment, _| {
        compartment.try_acquire().unwrap()
    })
}

/// The same, taken in a way of its own.
fn taken_by<L, T: 'static>(
    situation: Situation,
    observer: Option<Arc<dyn Observer>>,
    settings: impl FnOnce(CompartmentBuilder) -> CompartmentBuilder,
    layer: impl FnOnce(&Compartment) -> L,
    take: impl FnOnce(&Compartment, &L) -> T,
) -> Fixture<L> {
    let muted = Arc::new(AtomicBool::new(false));
    let mut builder = Compartment::builder("contract")
        .slots(1)
        .registration(Registration::Unlisted);
    if let Some(observer) = observer {
        let muted = muted.clone();
        builder = builder.observer(Arc::new(move |event: &Event<'_>| {
            if !muted.load(Ordering::SeqCst) {
                observer.on_event(event);
            }
        }));
    }
    match situation {
        Situation::Admits | Situation::Refuses => {}
        Situation::Shadow => builder = builder.mode(Mode::Shadow),
        Situation::Waits => builder = builder.queue(1, Duration::from_secs(3_600)),
    }
    let compartment = settings(builder).build().unwrap();
    let layer = layer(&compartment);
    let given_back = Arc::new(AtomicU64::new(0));
    let taken = match situation {
        Situation::Admits => None,
        _ => Some(Taken {
            slot: Some(take(&compartment, &layer)),
            muted,
            given_back: given_back.clone(),
        }),
    };
    let (held, counted) = (compartment.clone(), compartment.clone());
    Fixture::new(layer)
        .holding(move || held.snapshot().in_flight)
        .counting(move || {
            let ended = given_back.load(Ordering::SeqCst);
            Counted::from(&counted.snapshot().stats).since(Counted {
                ended,
                ..Counted::default()
            })
        })
        .keeping(taken)
}

/// A slot that is given back unheard: it is no request of the kit's.
struct Taken<T> {
    slot: Option<T>,
    muted: Arc<AtomicBool>,
    given_back: Arc<AtomicU64>,
}

impl<T> Drop for Taken<T> {
    fn drop(&mut self) {
        self.muted.store(true, Ordering::SeqCst);
        self.slot = None;
        self.given_back.fetch_add(1, Ordering::SeqCst);
        self.muted.store(false, Ordering::SeqCst);
    }
}

struct Http;

impl Subject for Http {
    const KIND: LayerKind = LayerKind::Bulkhead;
    type Layer = BulkheadLayer;
    type Body = ResponseBody<MockBody>;

    async fn fixture(
        &self,
        situation: Situation,
        observer: Option<Arc<dyn Observer>>,
    ) -> Option<Fixture<BulkheadLayer>> {
        Some(fixture(
            situation,
            observer,
            |builder| builder,
            Compartment::layer,
        ))
    }
}

struct AnyService;

impl PlainSubject for AnyService {
    const KIND: LayerKind = LayerKind::Bulkhead;
    type Layer = PlainBulkheadLayer;

    async fn fixture(
        &self,
        situation: Situation,
        observer: Option<Arc<dyn Observer>>,
    ) -> Option<Fixture<PlainBulkheadLayer>> {
        let layer = Compartment::plain_layer;
        Some(fixture(situation, observer, |builder| builder, layer))
    }
}

struct ThreadedHttp;

impl Subject for ThreadedHttp {
    const KIND: LayerKind = LayerKind::Bulkhead;
    type Layer = BulkheadLayer;
    type Body = ResponseBody<MockBody>;

    async fn fixture(
        &self,
        situation: Situation,
        observer: Option<Arc<dyn Observer>>,
    ) -> Option<Fixture<BulkheadLayer>> {
        let threads = |builder: CompartmentBuilder| builder.threads(1);
        Some(fixture(situation, observer, threads, Compartment::layer))
    }

    fn runs_elsewhere(&self) -> bool {
        true
    }
}

struct ThreadedPlain;

impl PlainSubject for ThreadedPlain {
    const KIND: LayerKind = LayerKind::Bulkhead;
    type Layer = PlainBulkheadLayer;

    async fn fixture(
        &self,
        situation: Situation,
        observer: Option<Arc<dyn Observer>>,
    ) -> Option<Fixture<PlainBulkheadLayer>> {
        let threads = |builder: CompartmentBuilder| builder.threads(1);
        Some(fixture(
            situation,
            observer,
            threads,
            Compartment::plain_layer,
        ))
    }

    fn runs_elsewhere(&self) -> bool {
        true
    }
}

/// Never refuses: what a call waits for is `poll_ready`.
struct WaitsInReady;

impl PlainSubject for WaitsInReady {
    const KIND: LayerKind = LayerKind::Bulkhead;
    type Layer = BackpressureLayer;

    async fn fixture(
        &self,
        situation: Situation,
        observer: Option<Arc<dyn Observer>>,
    ) -> Option<Fixture<BackpressureLayer>> {
        let layer = Compartment::backpressure_layer;
        match situation {
            Situation::Refuses => None,
            _ => Some(fixture(situation, observer, |builder| builder, layer)),
        }
    }
}

type TenantOf = fn(&Request<MockBody>) -> Option<Key>;

/// One tenant, which may have one of two slots; where a call is to find none, a call of the same tenant holds it.
struct Divided;

impl Subject for Divided {
    const KIND: LayerKind = LayerKind::Bulkhead;
    type Layer = BulkheadLayer<TenantOf>;
    type Body = ResponseBody<MockBody>;

    async fn fixture(
        &self,
        situation: Situation,
        observer: Option<Arc<dyn Observer>>,
    ) -> Option<Fixture<Self::Layer>> {
        let divided = |builder: CompartmentBuilder| {
            let builder = builder.slots(2).slots_per_key(1);
            match situation {
                Situation::Waits => builder.queue_per_key(1, Duration::from_secs(3_600)),
                _ => builder,
            }
        };
        let tenant: TenantOf = |request| request.headers().get(TENANT).map(Key::of);
        let layer = |compartment: &Compartment| compartment.layer().by_key(tenant).unwrap();
        let take = |_: &Compartment, layer: &Self::Layer| {
            let mut request = Request::new(MockBody::empty());
            request.headers_mut().insert(TENANT, TENANT_NAME);
            let never = service_fn(|_: Request<MockBody>| {
                std::future::pending::<Result<Response<MockBody>, Infallible>>()
            });
            Box::pin(layer.layer(never).call(request))
        };
        Some(taken_by(situation, observer, divided, layer, take))
    }

    fn prepare(&self, _: Situation, request: &mut Parts) {
        request.headers.insert(TENANT, TENANT_NAME);
    }
}

const TENANT: &str = "x-tenant";
const TENANT_NAME: HeaderValue = HeaderValue::from_static("a");

struct LocalPlain;

impl PlainSubject for LocalPlain {
    const KIND: LayerKind = LayerKind::Bulkhead;
    type Layer = PlainBulkheadLayer<Everyone, Local>;

    async fn fixture(
        &self,
        situation: Situation,
        observer: Option<Arc<dyn Observer>>,
    ) -> Option<Fixture<Self::Layer>> {
        let layer = |compartment: &Compartment| compartment.plain_layer().local().unwrap();
        Some(fixture(situation, observer, |builder| builder, layer))
    }
}

struct LocalWaitsInReady;

impl PlainSubject for LocalWaitsInReady {
    const KIND: LayerKind = LayerKind::Bulkhead;
    type Layer = BackpressureLayer<Local>;

    async fn fixture(
        &self,
        situation: Situation,
        observer: Option<Arc<dyn Observer>>,
    ) -> Option<Fixture<Self::Layer>> {
        let layer = |compartment: &Compartment| compartment.backpressure_layer().local().unwrap();
        match situation {
            Situation::Refuses => None,
            _ => Some(fixture(situation, observer, |builder| builder, layer)),
        }
    }
}

contract! {
    mod local_plain: Plain(LocalPlain);
    mod local_backpressure: Plain(LocalWaitsInReady);
    mod divided: Divided;
    mod http: Http;
    mod plain: Plain(AnyService);
    mod backpressure: Plain(WaitsInReady);
    mod threaded_http: ThreadedHttp;
    mod threaded_plain: Plain(ThreadedPlain);
}
