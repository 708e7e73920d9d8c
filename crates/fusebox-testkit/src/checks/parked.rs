use crate::{
    Subject,
    poll::Polled,
    stage::{Found, InFlight, ServiceOf, Stage},
};
use tower_service::Service;

/// A call that waits for the layer's verdict.
pub(super) enum Parked<S: Subject> {
    /// Backpressure: `poll_ready` is what waits.
    Ready(ServiceOf<S>),
    /// A queue: the response future waits.
    Call(InFlight<S>),
}

impl<S: Subject> Parked<S> {
    /// Makes a call on a layer that lets it wait. The inner service must be ready at once: it is the
    /// layer that is to wait, not the mock.
    pub(super) async fn park(stage: &Stage<'_, S>) -> Found<Self> {
        let mut service = stage.service();
        match stage.driver.poll(1, |cx| service.poll_ready(cx)).await {
            Polled::Ready(Ok(())) => {}
            Polled::Ready(Err(error)) => return Err(format!("poll_ready failed: {error}")),
            Polled::Pending | Polled::Stuck => return Ok(Self::Ready(service)),
        }
        let mut call = InFlight {
            future: Box::pin(service.call(stage.request())),
            _service: service,
        };
        match stage.poll(1, &mut call).await? {
            None => Ok(Self::Call(call)),
            Some(_) => Err("the call is over, where it was to wait".to_owned()),
        }
    }

    /// The same call, once nothing keeps it waiting any more.
    pub(super) async fn resume(self, stage: &Stage<'_, S>) -> Found<InFlight<S>> {
        match self {
            Self::Ready(service) => stage.call_on(service, stage.request()).await,
            Self::Call(call) => Ok(call),
        }
    }
}
