use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use fusebox_core::{LayerKind, Observer, Outcome, Verdict};
use fusebox_testkit::{
    Check, Fixture, Flavour, MockBody, MockError, MockService, Situation, Subject,
};
use http::{Request, Response};
use tokio::sync::{AcquireError, OwnedSemaphorePermit};
use tower_layer::Layer;
use tower_service::Service;

use super::{Flaw, Gate, KIND, Record, Stage, fixture, inner_ready};

/// The toy that never refuses: its `poll_ready` waits for a slot and reserves it.
#[derive(Clone, Copy)]
pub(crate) enum Backpressure {
    Sound,
    /// A service that is dropped ready keeps its reservation.
    KeepsReservations,
}

impl Subject for Backpressure {
    const KIND: LayerKind = KIND;
    const FLAVOUR: Flavour = Flavour::Plain;
    type Layer = BackpressureLayer;
    type Body = MockBody;

    async fn fixture(
        &self,
        situation: Situation,
        observer: Option<Arc<dyn Observer>>,
    ) -> Option<Fixture<BackpressureLayer>> {
        match situation {
            Situation::Admits | Situation::Waits => {}
            Situation::Refuses | Situation::Shadow => return None,
        }
        Some(fixture(situation, observer, Flaw::None, |gate| {
            BackpressureLayer(gate, *self)
        }))
    }

    fn exempt(&self, check: Check) -> Option<&'static str> {
        (check == Check::Shadow).then_some("it decides nothing")
    }
}

#[derive(Clone)]
pub(crate) struct BackpressureLayer(Gate, Backpressure);

impl Layer<MockService> for BackpressureLayer {
    type Service = BackpressureService;

    fn layer(&self, inner: MockService) -> BackpressureService {
        BackpressureService {
            gate: self.0.clone(),
            inner,
            slot: None,
            waiting: None,
            kind: self.1,
        }
    }
}

type Waiting =
    Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send + Sync>>;

pub(crate) struct BackpressureService {
    gate: Gate,
    inner: MockService,
    slot: Option<OwnedSemaphorePermit>,
    waiting: Option<Waiting>,
    kind: Backpressure,
}

impl Clone for BackpressureService {
    fn clone(&self) -> Self {
        BackpressureLayer(self.gate.clone(), self.kind).layer(self.inner.clone())
    }
}

impl Drop for BackpressureService {
    fn drop(&mut self) {
        if let (Some(slot), Backpressure::KeepsReservations) = (self.slot.take(), self.kind) {
            slot.forget();
        }
    }
}

impl Service<Request<MockBody>> for BackpressureService {
    type Response = Response<MockBody>;
    type Error = MockError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<MockBody>, MockError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), MockError>> {
        // First the inner service: a slot must not be reserved for one that is not ready.
        ready!(inner_ready(&mut self.inner, cx))?;
        if self.slot.is_none() {
            let waiting = self
                .waiting
                .get_or_insert_with(|| Box::pin(self.gate.slots().acquire_owned()));
            let slot = ready!(waiting.as_mut().poll(cx));
            self.waiting = None;
            self.slot = slot.ok();
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<MockBody>) -> Self::Future {
        let mut record = Record::new(self.gate.clone(), Verdict::Admitted, self.slot.take());
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        Box::pin(async move {
            record.stage = Stage::Running;
            let result = inner.call(request).await;
            record.over(match &result {
                Ok(_) => Outcome::Success,
                Err(_) => Outcome::Failure,
            });
            result
        })
    }
}
