use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use fusebox_core::{CallError, LayerKind, Observer, Rejection};
use fusebox_http::{Protocol, refusal};
use http::{Request, Response, request::Parts};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    Check, Fixture, Flavour, MockBody, MockError, MockFrame, MockService, Situation, Subject,
};

/// A [`Subject`] for the plain flavour of a layer: any `Service<Request>`, refused with
/// [`CallError::Rejected`].
///
/// The kit sends it the same requests as any other layer; to a plain layer they are opaque values
/// that have to pass through as they are. Check it as [`Plain`]`(subject)`. The methods are those of
/// [`Subject`].
pub trait PlainSubject {
    /// What the layer calls itself in events and rejections.
    const KIND: LayerKind;

    /// The layer.
    type Layer: Layer<
            MockService,
            Service: Service<
                Request<MockBody>,
                Response = Response<MockBody>,
                Error = CallError<MockError>,
                Future: Send + 'static,
            > + Clone
                         + Send
                         + Sync
                         + 'static,
        > + Clone
        + Send
        + Sync
        + 'static;

    /// A new layer with state of its own, in the given situation; see [`Subject::fixture`].
    fn fixture(
        &self,
        situation: Situation,
        observer: Option<Arc<dyn Observer>>,
    ) -> impl Future<Output = Option<Fixture<Self::Layer>>>;

    /// See [`Subject::prepare`].
    fn prepare(&self, situation: Situation, request: &mut Parts) {
        let _ = (situation, request);
    }

    /// See [`Subject::runs_elsewhere`].
    fn runs_elsewhere(&self) -> bool {
        false
    }

    /// See [`Subject::patience`].
    fn patience(&self) -> Duration {
        Duration::from_secs(10)
    }

    /// See [`Subject::exempt`].
    fn exempt(&self, check: Check) -> Option<&'static str> {
        let _ = check;
        None
    }
}

/// Lets the kit check a [`PlainSubject`].
///
/// A refusal of the plain layer is shown to the kit as the response it would have been, so that every
/// check that makes sense without HTTP is the very same one.
#[derive(Clone, Copy, Debug)]
pub struct Plain<P>(pub P);

impl<P: PlainSubject> Subject for Plain<P> {
    const KIND: LayerKind = P::KIND;
    const FLAVOUR: Flavour = Flavour::Plain;
    type Layer = Translated<P::Layer>;
    type Body = MockBody;

    async fn fixture(
        &self,
        situation: Situation,
        observer: Option<Arc<dyn Observer>>,
    ) -> Option<Fixture<Self::Layer>> {
        let fixture = self.0.fixture(situation, observer).await?;
        Some(Fixture {
            layer: Translated(fixture.layer),
            held: fixture.held,
            counted: fixture.counted,
            keep: fixture.keep,
        })
    }

    fn prepare(&self, situation: Situation, request: &mut Parts) {
        self.0.prepare(situation, request);
    }

    fn runs_elsewhere(&self) -> bool {
        self.0.runs_elsewhere()
    }

    fn patience(&self) -> Duration {
        self.0.patience()
    }

    fn exempt(&self, check: Check) -> Option<&'static str> {
        self.0.exempt(check)
    }
}

/// A plain layer, its service and its future, with refusals shown as responses. Made by [`Plain`].
#[derive(Clone, Debug)]
pub struct Translated<T>(T);

impl<L: Layer<I>, I> Layer<I> for Translated<L> {
    type Service = Translated<L::Service>;

    fn layer(&self, inner: I) -> Self::Service {
        Translated(self.0.layer(inner))
    }
}

impl<S> Service<Request<MockBody>> for Translated<S>
where
    S: Service<Request<MockBody>, Response = Response<MockBody>, Error = CallError<MockError>>,
{
    type Response = Response<MockBody>;
    type Error = MockError;
    type Future = Translated<Pin<Box<S::Future>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), MockError>> {
        Poll::Ready(match ready!(self.0.poll_ready(cx)) {
            Ok(()) => Ok(()),
            Err(CallError::Inner(error)) => Err(error),
            // An error of `poll_ready` says that the service is finished; a refusal is about one
            // call.
            Err(CallError::Rejected(_)) => Err(MockError("poll_ready refused")),
        })
    }

    fn call(&mut self, request: Request<MockBody>) -> Self::Future {
        Translated(Box::pin(self.0.call(request)))
    }
}

impl<F> Future for Translated<Pin<Box<F>>>
where
    F: Future<Output = Result<Response<MockBody>, CallError<MockError>>>,
{
    type Output = Result<Response<MockBody>, MockError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match ready!(self.0.as_mut().poll(cx)) {
            Ok(response) => Ok(response),
            Err(CallError::Inner(error)) => Err(error),
            Err(CallError::Rejected(rejection)) => Ok(shown(rejection)),
        })
    }
}

fn shown(rejection: Rejection) -> Response<MockBody> {
    refusal(rejection, Protocol::Http, None)
        .map(|body: Bytes| MockBody::of([MockFrame::Data(body)]).announcing_its_length())
}
