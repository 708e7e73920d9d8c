use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use fusebox_core::{CallError, LayerKind, Observer, Outcome, Rejection, RejectionKind, Verdict};
use fusebox_testkit::{Fixture, MockBody, MockError, MockService, PlainSubject, Situation};
use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::{ANOTHER, Flaw, Gate, KIND, Place, Record, Stage, changed, fixture, inner_ready};

/// The toy for services that know no HTTP; it has one flaw for each check.
pub(crate) struct PlainToy(pub(crate) Flaw);

impl PlainToy {
    pub(crate) const FLAWS: [Flaw; 11] = [
        Flaw::DropsARequestHeader,
        Flaw::CallsTheInnerWhenRefusing,
        Flaw::CallsAFreshClone,
        Flaw::IsReadyTooSoon,
        Flaw::FreshStatePerServiceClone,
        Flaw::LeaksWhenDropped,
        Flaw::TellsTwice,
        Flaw::TakesCancellationForSuccess,
        Flaw::RefusesInShadow,
        Flaw::ChangesErrors,
        Flaw::LeaksOnPanics,
    ];
}

impl PlainSubject for PlainToy {
    const KIND: LayerKind = KIND;
    type Layer = PlainLayer;

    async fn fixture(
        &self,
        situation: Situation,
        observer: Option<Arc<dyn Observer>>,
    ) -> Option<Fixture<PlainLayer>> {
        Some(fixture(situation, observer, self.0, PlainLayer))
    }
}

#[derive(Clone)]
pub(crate) struct PlainLayer(Gate);

impl Layer<MockService> for PlainLayer {
    type Service = PlainService;

    fn layer(&self, inner: MockService) -> PlainService {
        PlainService {
            gate: self.0.clone(),
            inner,
        }
    }
}

pub(crate) struct PlainService {
    gate: Gate,
    inner: MockService,
}

impl Clone for PlainService {
    fn clone(&self) -> Self {
        Self {
            gate: match self.gate.flaw() {
                Flaw::FreshStatePerServiceClone => self.gate.fresh(),
                _ => self.gate.clone(),
            },
            inner: self.inner.clone(),
        }
    }
}

type Answer = Result<Response<MockBody>, CallError<MockError>>;

impl Service<Request<MockBody>> for PlainService {
    type Response = Response<MockBody>;
    type Error = CallError<MockError>;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallError<MockError>>> {
        match inner_ready(&mut self.inner, cx) {
            Poll::Pending if self.gate.flaw() == Flaw::IsReadyTooSoon => Poll::Ready(Ok(())),
            polled => polled.map_err(CallError::Inner),
        }
    }

    fn call(&mut self, request: Request<MockBody>) -> Self::Future {
        let flaw = self.gate.flaw();
        let fresh = self.inner.clone();
        let mut inner = match flaw {
            Flaw::CallsAFreshClone => fresh,
            _ => std::mem::replace(&mut self.inner, fresh),
        };
        let gate = self.gate.clone();
        let kind = RejectionKind::Full;
        let (verdict, place, slot) = match gate.enter() {
            Place::Slot(slot) => (Verdict::Admitted, None, Some(slot)),
            Place::Queue(place) => (Verdict::Admitted, Some(place), None),
            Place::None if gate.shadows() => {
                gate.count(false);
                let enforced = false;
                (Verdict::Refused { kind, enforced }, None, None)
            }
            Place::None => {
                gate.count(true);
                let enforced = true;
                gate.tell(Verdict::Refused { kind, enforced }, None);
                if flaw == Flaw::CallsTheInnerWhenRefusing {
                    drop(inner.call(request));
                }
                let refused = Err(Rejection::new(KIND, "gate".into(), kind).into());
                return Box::pin(std::future::ready(refused));
            }
        };
        let mut record = Record::new(gate.clone(), verdict, slot);
        Box::pin(async move {
            if let Some(_place) = place {
                record.stage = Stage::Waiting;
                record.slot = gate.slots().acquire_owned().await.ok();
            }
            record.stage = Stage::Running;
            match inner.call(changed(flaw, request)).await {
                Ok(response) => {
                    record.over(Outcome::Success);
                    Ok(response)
                }
                Err(error) => {
                    let changes = flaw == Flaw::ChangesErrors && verdict == Verdict::Admitted;
                    record.over(Outcome::Failure);
                    Err(CallError::Inner(if changes { ANOTHER } else { error }))
                }
            }
        })
    }
}
