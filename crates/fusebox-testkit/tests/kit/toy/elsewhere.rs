use std::{
    pin::Pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use fusebox_core::{LayerKind, Observer, Rejection, RejectionKind};
use fusebox_http::{Protocol, refusal};
use fusebox_testkit::{Fixture, MockBody, MockError, MockService, Situation, Subject};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::{
    runtime::Runtime,
    sync::{mpsc, oneshot},
    task::AbortHandle,
};
use tower_layer::Layer;
use tower_service::Service;

use super::{Answer, Flaw, KIND, ToyBody, ToyLayer, ToyService, fixture};

#[expect(
    clippy::unwrap_used,
    reason = "a test without its threads cannot go on"
)]
static THREADS: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
});

/// The toy whose calls, and the bodies of their answers, run on threads of its own.
pub(crate) struct Elsewhere(pub(crate) Flaw);

impl Subject for Elsewhere {
    const KIND: LayerKind = KIND;
    type Layer = ElsewhereLayer;
    type Body = ElsewhereBody;

    async fn fixture(
        &self,
        situation: Situation,
        observer: Option<Arc<dyn Observer>>,
    ) -> Option<Fixture<ElsewhereLayer>> {
        Some(fixture(situation, observer, self.0, |gate| {
            ElsewhereLayer(ToyLayer::new(gate))
        }))
    }

    fn runs_elsewhere(&self) -> bool {
        true
    }

    fn patience(&self) -> Duration {
        // A flaw costs this much time for each row it breaks; the sound one costs nothing.
        Duration::from_secs(if self.0 == Flaw::None { 10 } else { 1 })
    }
}

#[derive(Clone)]
pub(crate) struct ElsewhereLayer(ToyLayer);

impl Layer<MockService> for ElsewhereLayer {
    type Service = ElsewhereService;

    fn layer(&self, inner: MockService) -> ElsewhereService {
        ElsewhereService(self.0.layer(inner))
    }
}

#[derive(Clone)]
pub(crate) struct ElsewhereService(ToyService);

impl Service<Request<MockBody>> for ElsewhereService {
    type Response = Response<ElsewhereBody>;
    type Error = MockError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<ElsewhereBody>, MockError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), MockError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<MockBody>) -> Self::Future {
        let (head, answered) = oneshot::channel();
        let future = self.0.call(request);
        let task = Task(THREADS.spawn(run(future, head)).abort_handle());
        Box::pin(async move {
            match answered.await {
                Ok(Ok(response)) => Ok(response.map(|far| ElsewhereBody {
                    end: far.end,
                    hint: far.hint,
                    state: State::Far {
                        frames: far.frames,
                        _task: task,
                    },
                })),
                Ok(Err(error)) => Err(error),
                Err(_) => {
                    let rejection = Rejection::new(KIND, "gate".into(), RejectionKind::Panicked);
                    let answer = refusal(rejection, Protocol::Http, None);
                    Ok(answer.map(|body| ElsewhereBody {
                        end: body.is_empty(),
                        hint: SizeHint::with_exact(body.len() as u64),
                        state: State::Near(Some(body)),
                    }))
                }
            }
        })
    }
}

/// Ends the far side when the near side is dropped.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Far {
    end: bool,
    hint: SizeHint,
    frames: mpsc::Receiver<Sent>,
}

/// A frame and what the body says of the rest, or the end.
struct Sent {
    frame: Option<Result<Frame<Bytes>, MockError>>,
    end: bool,
    hint: SizeHint,
}

async fn run(
    future: Pin<Box<dyn Future<Output = Answer> + Send>>,
    head: oneshot::Sender<Result<Response<Far>, MockError>>,
) {
    let response = match future.await {
        Ok(response) => response,
        Err(error) => {
            let _ = head.send(Err(error));
            return;
        }
    };
    let (parts, body) = response.into_parts();
    let (frames, received) = mpsc::channel(1);
    let far = Far {
        end: body.is_end_stream(),
        hint: body.size_hint(),
        frames: received,
    };
    let _ = head.send(Ok(Response::from_parts(parts, far)));
    let mut body: Pin<Box<ToyBody>> = Box::pin(body);
    loop {
        let frame = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await;
        let over = !matches!(frame, Some(Ok(_)));
        let sent = Sent {
            frame,
            end: body.is_end_stream(),
            hint: body.size_hint(),
        };
        if frames.send(sent).await.is_err() || over {
            return;
        }
    }
}

pub(crate) struct ElsewhereBody {
    end: bool,
    hint: SizeHint,
    state: State,
}

enum State {
    Far {
        frames: mpsc::Receiver<Sent>,
        _task: Task,
    },
    Near(Option<Bytes>),
    Over,
}

impl Body for ElsewhereBody {
    type Data = Bytes;
    type Error = MockError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, MockError>>> {
        let sent = match &mut self.state {
            State::Far { frames, .. } => ready!(frames.poll_recv(cx)),
            State::Near(body) => {
                let frame = body.take().map(Frame::data).map(Ok);
                self.end = true;
                return Poll::Ready(frame);
            }
            State::Over => return Poll::Ready(None),
        };
        let Some(sent) = sent else {
            self.state = State::Over;
            return Poll::Ready(Some(Err(MockError("panicked elsewhere"))));
        };
        self.end = sent.end;
        self.hint = sent.hint;
        if !matches!(sent.frame, Some(Ok(_))) {
            self.state = State::Over;
        }
        Poll::Ready(sent.frame)
    }

    fn is_end_stream(&self) -> bool {
        self.end
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}
