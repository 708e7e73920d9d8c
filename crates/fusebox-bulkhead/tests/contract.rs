//! The contract of every layer, asked of each flavour.
#![cfg(not(fusebox_loom))]
#![expect(clippy::unwrap_used, reason = "a test: a panic is its report")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use fusebox_bulkhead::{
    BackpressureLayer, BulkheadLayer, Compartment, CompartmentBuilder, PlainBulkheadLayer,
    ResponseBody, Slot,
};
use fusebox_core::{Event, LayerKind, Mode, Observer, Registration};
use fusebox_testkit::{
    Counted, Fixture, MockBody, Plain, PlainSubject, Situation, Subject, contract,
};

/// One slot; and where a call is to find none, somebody who has taken it.
fn fixture<L>(
    situation: Situation,
    observer: Option<Arc<dyn Observer>>,
    settings: impl FnOnce(CompartmentBuilder) -> CompartmentBuilder,
    layer: impl FnOnce(&Compartment) -> L,
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
    let given_back = Arc::new(AtomicU64::new(0));
    let taken = match situation {
        Situation::Admits => None,
        _ => Some(Taken {
            slot: Some(compartment.try_acquire().unwrap()),
            muted,
            given_back: given_back.clone(),
        }),
    };
    let (held, counted) = (compartment.clone(), compartment.clone());
    Fixture::new(layer(&compartment))
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
struct Taken {
    slot: Option<Slot>,
    muted: Arc<AtomicBool>,
    given_back: Arc<AtomicU64>,
}

impl Drop for Taken {
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

contract! {
    mod http: Http;
    mod plain: Plain(AnyService);
    mod backpressure: Plain(WaitsInReady);
    mod threaded_http: ThreadedHttp;
    mod threaded_plain: Plain(ThreadedPlain);
}
