use std::{pin::Pin, sync::Arc};

use bytes::Bytes;
use fusebox_core::{Observer, Rejection};
use http::{Request, Response, response};
use http_body::{Body, Frame};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    Counted, Fixture, Frames, MockBody, MockError, MockHandle, MockService, Recorder, Script,
    Situation, Subject,
    poll::{Driver, MANY, Polled},
};

pub(crate) type ServiceOf<S> = <<S as Subject>::Layer as Layer<MockService>>::Service;
pub(crate) type FutureOf<S> = <ServiceOf<S> as Service<Request<MockBody>>>::Future;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a row of a check's table says: nothing, or what is wrong.
pub(crate) type Found<T = ()> = Result<T, String>;

/// A subject, and whether its layers are to have somebody who hears their events.
///
/// A layer that nobody listens to usually takes another way through a call, and a cheaper one: it is the one that users
/// go, so it has to be looked at as well.
pub(crate) struct Candidate<'s, S> {
    pub(crate) subject: &'s S,
    pub(crate) observed: bool,
}

impl<S> Clone for Candidate<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Candidate<'_, S> {}

/// A layer in a situation, between a scripted inner service and a recorder.
pub(crate) struct Stage<'s, S: Subject> {
    candidate: Candidate<'s, S>,
    situation: Situation,
    pub(crate) fixture: Fixture<S::Layer>,
    pub(crate) recorder: Arc<Recorder>,
    counted_before: Counted,
    pub(crate) mock: MockHandle,
    pub(crate) driver: Driver,
}

/// A call that was made, and the service it was made on, which lives as long.
pub(crate) struct InFlight<S: Subject> {
    pub(crate) future: Pin<Box<FutureOf<S>>>,
    /// Never used again: a call must not hang on what becomes of the service it was made on.
    pub(crate) _service: ServiceOf<S>,
}

/// How a call ended that was not interrupted.
pub(crate) type Ended = Result<Answer, MockError>;

pub(crate) struct Answer {
    pub(crate) head: response::Parts,
    pub(crate) frames: Frames,
    pub(crate) error: Option<BoxError>,
}

impl<'s, S: Subject> Stage<'s, S> {
    /// `None` when the layer cannot be in that situation.
    pub(crate) async fn set(
        candidate: Candidate<'s, S>,
        situation: Situation,
        script: Script,
    ) -> Option<Self> {
        let Candidate { subject, observed } = candidate;
        let recorder = Recorder::new();
        let observer = observed.then(|| recorder.clone() as Arc<dyn Observer>);
        let fixture = subject.fixture(situation, observer).await?;
        // What it took to get into the situation is not what is watched.
        recorder.clear();
        let counted = fixture.counted.as_ref().map(|counted| counted());
        Some(Self {
            candidate,
            counted_before: counted.unwrap_or_default(),
            situation,
            fixture,
            recorder,
            mock: MockService::new(script).handle(),
            driver: Driver::new(subject.runs_elsewhere().then(|| subject.patience())),
        })
    }

    /// A layer that admits, as every layer must be able to.
    pub(crate) async fn admitting(candidate: Candidate<'s, S>, script: Script) -> Found<Self> {
        Self::set(candidate, Situation::Admits, script)
            .await
            .ok_or_else(|| "there is no fixture that admits".to_owned())
    }

    pub(crate) fn runs_elsewhere(&self) -> bool {
        self.candidate.subject.runs_elsewhere()
    }

    /// Whether the recorder hears of its calls.
    pub(crate) const fn is_observed(&self) -> bool {
        self.candidate.observed
    }

    /// What the layer has counted since it got into its situation; `None` if its fixture does not say.
    pub(crate) fn counted(&self) -> Option<Counted> {
        let counted = self.fixture.counted.as_ref()?;
        Some(counted().since(self.counted_before))
    }

    pub(crate) const fn situation(&self) -> Situation {
        self.situation
    }

    pub(crate) fn service(&self) -> ServiceOf<S> {
        self.fixture.layer.layer(self.mock.service())
    }

    /// A request without a body.
    pub(crate) fn request(&self) -> Request<MockBody> {
        self.prepare(Request::new(MockBody::empty()))
    }

    /// A `POST`, as every gRPC call is one, that speaks what `content_type` says.
    pub(crate) fn request_of(&self, content_type: &'static str) -> Request<MockBody> {
        let mut request = Request::new(MockBody::empty());
        *request.method_mut() = http::Method::POST;
        request.headers_mut().insert(
            http::header::CONTENT_TYPE,
            http::HeaderValue::from_static(content_type),
        );
        self.prepare(request)
    }

    /// The request with what the subject adds to it.
    pub(crate) fn prepare(&self, request: Request<MockBody>) -> Request<MockBody> {
        let (mut parts, body) = request.into_parts();
        self.candidate.subject.prepare(self.situation, &mut parts);
        Request::from_parts(parts, body)
    }

    /// What is held now; 0 if the layer holds nothing.
    pub(crate) fn held(&self) -> usize {
        self.fixture.held.as_ref().map_or(0, |held| held())
    }

    /// Lets go what keeps the layer in its situation.
    pub(crate) fn release(&mut self) {
        self.fixture.keep = None;
    }

    pub(crate) async fn ready(&self, service: &mut ServiceOf<S>) -> Found {
        match self
            .driver
            .finish("poll_ready", |cx| service.poll_ready(cx))
            .await?
        {
            Ok(()) => Ok(()),
            Err(error) => Err(format!("poll_ready failed: {error}")),
        }
    }

    /// Makes a call as soon as the service is ready. Its future has not been polled yet.
    pub(crate) async fn call(&self, request: Request<MockBody>) -> Found<InFlight<S>> {
        self.call_on(self.service(), request).await
    }

    pub(crate) async fn call_on(
        &self,
        mut service: ServiceOf<S>,
        request: Request<MockBody>,
    ) -> Found<InFlight<S>> {
        self.ready(&mut service).await?;
        Ok(InFlight {
            future: Box::pin(service.call(request)),
            _service: service,
        })
    }

    /// Polls the response future `times` times; `Some` if it got ready.
    pub(crate) async fn poll(
        &self,
        times: usize,
        call: &mut InFlight<S>,
    ) -> Found<Option<Result<Response<S::Body>, MockError>>> {
        match self
            .driver
            .poll(times, |cx| call.future.as_mut().poll(cx))
            .await
        {
            Polled::Ready(result) => Ok(Some(result)),
            Polled::Pending => Ok(None),
            Polled::Stuck => Err("the response future's task is never woken".to_owned()),
        }
    }

    pub(crate) async fn head(
        &self,
        call: &mut InFlight<S>,
    ) -> Found<Result<Response<S::Body>, MockError>> {
        self.driver
            .finish("the response future", |cx| call.future.as_mut().poll(cx))
            .await
    }

    /// The response head of a call that must not fail.
    pub(crate) async fn response(&self, call: &mut InFlight<S>) -> Found<Response<S::Body>> {
        self.head(call)
            .await?
            .map_err(|error| format!("failed instead of answering: {error}"))
    }

    pub(crate) async fn frame(
        &self,
        body: &mut Pin<Box<S::Body>>,
    ) -> Found<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = self
            .driver
            .finish("the response body", |cx| body.as_mut().poll_frame(cx))
            .await?;
        Ok(frame.map(|frame| frame.map_err(Into::into)))
    }

    /// Reads a response to its end or its error.
    pub(crate) async fn read(&self, response: Response<S::Body>) -> Found<Answer> {
        let (head, body) = response.into_parts();
        let mut body = Box::pin(body);
        let mut answer = Answer {
            head,
            frames: Frames::default(),
            error: None,
        };
        for _ in 0..MANY {
            match self.frame(&mut body).await? {
                Some(Ok(frame)) => answer.frames.push(frame),
                Some(Err(error)) => {
                    answer.error = Some(error);
                    return Ok(answer);
                }
                None => return Ok(answer),
            }
        }
        Err(format!("the response body has more than {MANY} frames"))
    }

    pub(crate) async fn end(&self, mut call: InFlight<S>) -> Found<Ended> {
        Ok(match self.head(&mut call).await? {
            Ok(response) => Ok(self.read(response).await?),
            Err(error) => Err(error),
        })
    }

    /// One request from beginning to end.
    pub(crate) async fn exchange(&self, request: Request<MockBody>) -> Found<Ended> {
        let call = self.call(request).await?;
        self.end(call).await
    }

    /// After everything was dropped: nothing more is held than before, and no inner call goes on.
    pub(crate) async fn gave_back(&self, before: usize) -> Found {
        if !self.driver.holds(|| self.held() == before).await {
            return Err(format!("holds {} where it held {before}", self.held()));
        }
        if !self.driver.holds(|| self.mock.in_progress() == 0).await {
            return Err("the inner call goes on".to_owned());
        }
        Ok(())
    }

    /// One more call is admitted.
    pub(crate) async fn still_admits(&self) -> Found {
        self.mock.follow(Script::ok(MockBody::full("still here")));
        self.driver.succeeds(async || self.admits().await).await
    }

    /// After everything was dropped: nothing is held any more, and the next call finds its place.
    pub(crate) async fn ends_clean(&self, before: usize) -> Found {
        self.gave_back(before).await?;
        self.still_admits().await?;
        self.gave_back(before).await
    }

    async fn admits(&self) -> Found {
        let before = self.mock.called();
        match self.exchange(self.request()).await? {
            Ok(answer) => match answer.rejection() {
                Some(rejection) => Err(format!("the next call: {rejection}")),
                None if self.mock.called() == before + 1 => Ok(()),
                None => Err("the next call never reached the inner service".to_owned()),
            },
            Err(error) => Err(format!("the next call failed: {error}")),
        }
    }

    /// How many calls were told of, once at least `expected` were (if other threads tell them).
    pub(crate) async fn told(&self, expected: usize) -> usize {
        self.driver
            .holds(|| self.recorder.calls().len() >= expected)
            .await;
        self.recorder.calls().len()
    }
}

impl Answer {
    pub(crate) fn rejection(&self) -> Option<&Rejection> {
        self.head.extensions.get()
    }
}
