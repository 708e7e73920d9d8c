use std::{
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll, Waker, ready},
};

use fusebox_core::{Outcome, Rejection, RejectionKind, Verdict};
use fusebox_http::{Asked, GuardedBody, Protocol};
use fusebox_testkit::{MockBody, MockError, MockService};
use http::{Request, Response, StatusCode};
use tokio::sync::OwnedSemaphorePermit;
use tower_layer::Layer;
use tower_service::Service;

use super::{Flaw, Gate, Place, Record, Stage, ToyBody, changed, refused};

pub(super) const ANOTHER: MockError = MockError("something else");

/// The layer. Sound, if its gate is.
pub(crate) struct ToyLayer {
    gate: Gate,
    used: AtomicBool,
}

impl ToyLayer {
    pub(super) fn new(gate: Gate) -> Self {
        Self {
            gate,
            used: AtomicBool::new(false),
        }
    }
}

impl Clone for ToyLayer {
    fn clone(&self) -> Self {
        Self::new(match self.gate.flaw() {
            Flaw::FreshStatePerLayerClone => self.gate.fresh(),
            _ => self.gate.clone(),
        })
    }
}

impl Layer<MockService> for ToyLayer {
    type Service = ToyService;

    fn layer(&self, inner: MockService) -> ToyService {
        let again = self.used.swap(true, Ordering::SeqCst);
        ToyService {
            gate: match self.gate.flaw() {
                Flaw::FreshStatePerLayerCall if again => self.gate.fresh(),
                _ => self.gate.clone(),
            },
            inner,
            ready: false,
            spins: 0,
        }
    }
}

pub(crate) struct ToyService {
    gate: Gate,
    inner: MockService,
    ready: bool,
    spins: usize,
}

impl Clone for ToyService {
    fn clone(&self) -> Self {
        Self {
            gate: match self.gate.flaw() {
                Flaw::FreshStatePerServiceClone => self.gate.fresh(),
                _ => self.gate.clone(),
            },
            inner: self.inner.clone(),
            ready: self.ready && self.gate.flaw() == Flaw::ClonesItsReadiness,
            spins: 0,
        }
    }
}

impl Drop for ToyService {
    fn drop(&mut self) {
        if self.ready && self.gate.flaw() == Flaw::TellsWhenNeverCalled {
            self.gate.tell(Verdict::Admitted, Some(Outcome::Cancelled));
        }
    }
}

pub(super) type Inner = MockService;
pub(super) type Answer = Result<Response<ToyBody>, MockError>;

impl Service<Request<MockBody>> for ToyService {
    type Response = Response<ToyBody>;
    type Error = MockError;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), MockError>> {
        let flaw = self.gate.flaw();
        if self.ready && matches!(flaw, Flaw::IsReadyForEver | Flaw::ClonesItsReadiness) {
            return Poll::Ready(Ok(()));
        }
        let ready = match flaw {
            Flaw::LosesTheInnersWakeUp => {
                let polled = inner_ready(&mut self.inner, &mut Context::from_waker(Waker::noop()));
                // It does come back a few times by itself, so that only a long wait is lost.
                if polled.is_pending() && self.spins < 4 {
                    self.spins += 1;
                    cx.waker().wake_by_ref();
                }
                ready!(polled)
            }
            Flaw::IsReadyTooSoon => match inner_ready(&mut self.inner, cx) {
                Poll::Ready(ready) => ready,
                Poll::Pending => Ok(()),
            },
            _ => ready!(inner_ready(&mut self.inner, cx)),
        };
        self.ready = true;
        Poll::Ready(match flaw {
            Flaw::SwallowsReadyErrors => Ok(()),
            Flaw::ChangesReadyErrors => ready.map_err(|_| ANOTHER),
            _ => ready,
        })
    }

    fn call(&mut self, request: Request<MockBody>) -> Self::Future {
        let flaw = self.gate.flaw();
        let fresh = self.inner.clone();
        let inner = match flaw {
            Flaw::CallsAFreshClone => fresh,
            _ => std::mem::replace(&mut self.inner, fresh),
        };
        if flaw != Flaw::IsReadyForEver {
            self.ready = false;
        }
        let gate = self.gate.clone();
        match gate.enter() {
            Place::Slot(slot) => {
                let record = Record::new(gate, Verdict::Admitted, Some(slot));
                Box::pin(admitted(record, inner, request))
            }
            Place::Queue(place) => {
                let record = Record::new(gate, Verdict::Admitted, None);
                Box::pin(queued(record, place, inner, request))
            }
            Place::None if gate.shadows() => {
                let verdict = Verdict::Refused {
                    kind: RejectionKind::Full,
                    enforced: false,
                };
                gate.count(false);
                Box::pin(admitted(Record::new(gate, verdict, None), inner, request))
            }
            Place::None => {
                gate.count(true);
                let answer = refused(&gate, inner, request);
                Box::pin(std::future::ready(answer))
            }
        }
    }
}

pub(super) fn inner_ready(inner: &mut Inner, cx: &mut Context<'_>) -> Poll<Result<(), MockError>> {
    Service::<Request<MockBody>>::poll_ready(inner, cx)
}

/// Waits for a slot, keeping its place in the queue.
async fn queued(
    mut record: Record,
    place: OwnedSemaphorePermit,
    mut inner: Inner,
    request: Request<MockBody>,
) -> Answer {
    record.stage = Stage::Waiting;
    let flaw = record.gate.flaw();
    let called = if flaw == Flaw::CallsBeforeTheVerdict {
        Err(inner.call(request))
    } else {
        Ok((inner, request))
    };
    let queue = place.semaphore().clone();
    let place = if flaw == Flaw::LeaksAPlaceInTheQueue {
        // Given back by hand, if it gets that far.
        place.forget();
        None
    } else {
        Some(place)
    };
    let mut acquire = Box::pin(record.gate.slots().acquire_owned());
    let slot = std::future::poll_fn(|cx| match flaw {
        Flaw::LosesItsOwnWakeUp => acquire
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop())),
        _ => acquire.as_mut().poll(cx),
    });
    record.slot = slot.await.ok();
    if place.is_none() {
        queue.add_permits(1);
    }
    drop(place);
    match called {
        Ok((ready, request)) => {
            let inner = match flaw {
                Flaw::CallsAFreshCloneAfterWaiting => ready.clone(),
                _ => ready,
            };
            admitted(record, inner, request).await
        }
        Err(future) => {
            let asked = Asked {
                protocol: Protocol::Http,
                head_only: false,
                own: false,
            };
            finished(record, asked, future.await)
        }
    }
}

async fn admitted(mut record: Record, mut inner: Inner, request: Request<MockBody>) -> Answer {
    record.stage = Stage::Running;
    let flaw = record.gate.flaw();
    let asked = Asked {
        protocol: match flaw {
            Flaw::IgnoresTrailers => Protocol::Http,
            _ => Protocol::of(request.headers()),
        },
        head_only: false,
        own: false,
    };
    let future = inner.call(changed(flaw, request));
    let result = if flaw == Flaw::LetsTheInnerCallGoOn {
        // Joined, not owned: dropping this does not drop that.
        match tokio::spawn(future).await {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    } else {
        future.await
    };
    finished(record, asked, result)
}

fn finished(
    mut record: Record,
    asked: Asked,
    result: Result<Response<MockBody>, MockError>,
) -> Answer {
    let gate = record.gate.clone();
    let flaw = gate.flaw();
    let shadowed = record.verdict != Verdict::Admitted;
    record.stage = Stage::Answered;
    let response = match result {
        Ok(response) => response,
        Err(error) => {
            if flaw == Flaw::LeaksOnErrors && !shadowed {
                gate.leak();
            }
            record.told |= flaw == Flaw::TellsNothingOfErrors && !shadowed;
            record.stage = Stage::Running;
            record.over(match flaw {
                Flaw::TakesErrorsForSuccess if !shadowed => Outcome::Success,
                _ => Outcome::Failure,
            });
            return match flaw {
                Flaw::AnswersErrors if !shadowed => {
                    let mut response = Response::new(ToyBody::Refusal(MockBody::empty()));
                    *response.status_mut() = StatusCode::BAD_GATEWAY;
                    Ok(response)
                }
                Flaw::ChangesErrors if !shadowed => Err(ANOTHER),
                _ => Err(error),
            };
        }
    };
    if flaw == Flaw::JudgesAtTheHead && !shadowed {
        record.tell(Outcome::Success);
    }
    let response = GuardedBody::wrap(response, asked, None, record);
    let mut response = response.map(|body| ToyBody::answer(body, gate.clone()));
    match flaw {
        Flaw::ChangesTheStatus => *response.status_mut() = StatusCode::OK,
        Flaw::DropsAResponseHeader => {
            response.headers_mut().remove("retry-after");
        }
        Flaw::ForgetsResponseExtensions => response.extensions_mut().clear(),
        Flaw::ClaimsTheInnerRefusal => {
            let extensions = response.extensions_mut();
            if extensions.get::<Rejection>().is_some() {
                extensions.insert(gate.rejection());
            }
        }
        Flaw::MarksShadowedAnswers if shadowed => {
            response.extensions_mut().insert(gate.rejection());
        }
        _ => {}
    }
    Ok(response)
}
