//! The contract every fusebox layer keeps, as checks that a layer author runs on a layer of one's own.
//!
//! Admission layers (rate limits, bulkheads, circuit breakers, firewalls) break in the same few ways:
//! a slot that stays taken when the client goes away, a limit that is per connection because the state
//! was made in `layer()`, a fresh clone called instead of the ready instance, a refusal that is an
//! error nobody handles. [`Check`] lists them; [`contract!`] makes a test of each.
//!
//! # How to use it
//!
//! 1. Implement [`Subject`] (or [`PlainSubject`], for a layer that knows no HTTP): how to make the
//!    layer in each [`Situation`], and how to read what it holds.
//! 2. Name it in [`contract!`].
//!
//! ```
//! use std::sync::{Arc, atomic::{AtomicBool, Ordering}};
//! # use std::{pin::Pin, task::{Context, Poll}, time::Duration};
//! # use bytes::Bytes;
//! # use fusebox_core::{Call, EventKind, LayerKind, Mode, Observer, Outcome, Rejection};
//! # use fusebox_core::{RejectionKind, Reporter, Verdict, time::Clock};
//! # use fusebox_http::{Asked, Guard, GuardedBody, Judgement, refusal};
//! # use fusebox_testkit::{MockBody, MockService};
//! # use http::{Request, Response};
//! # use http_body_util::{Either, Full};
//! # use tower_layer::Layer;
//! # use tower_service::Service;
//! use fusebox_testkit::{Counted, Fixture, Situation, Subject};
//!
//! /// A layer that an operator can close: it holds nothing and lets nobody wait.
//! #[derive(Clone)]
//! struct DoorLayer(Arc<Door>);
//!
//! struct Door {
//!     closed: AtomicBool,
//!     mode: Mode,
//!     reporter: Reporter,
//!     clock: Clock,
//! }
//!
//! // ... its service, future and body ...
//! # const KIND: LayerKind = LayerKind::Other("door");
//! # impl Door {
//! #     fn tell(&self, verdict: Verdict, outcome: Option<Outcome>) {
//! #         let call = Call { verdict, outcome, waited: Duration::ZERO, ran: Duration::ZERO };
//! #         self.reporter.report(self.clock.now(), EventKind::Call(call));
//! #     }
//! # }
//! # impl<S> Layer<S> for DoorLayer {
//! #     type Service = DoorService<S>;
//! #     fn layer(&self, inner: S) -> DoorService<S> { DoorService { door: self.0.clone(), inner } }
//! # }
//! # #[derive(Clone)]
//! # struct DoorService<S> { door: Arc<Door>, inner: S }
//! # type Body = Either<GuardedBody<MockBody, Record>, Full<Bytes>>;
//! # struct Record { door: Arc<Door>, verdict: Verdict, told: bool }
//! # impl Record {
//! #     fn over(&mut self, outcome: Outcome) {
//! #         if !std::mem::replace(&mut self.told, true) { self.door.tell(self.verdict, Some(outcome)); }
//! #     }
//! # }
//! # impl Drop for Record { fn drop(&mut self) { self.over(Outcome::Cancelled); } }
//! # impl Guard for Record {
//! #     fn finish(mut self, judgement: Judgement) { self.over(judgement.outcome); }
//! # }
//! # impl<S> Service<Request<MockBody>> for DoorService<S>
//! # where S: Service<Request<MockBody>, Response = Response<MockBody>, Future: Send + 'static> + Clone + Send + 'static {
//! #     type Response = Response<Body>;
//! #     type Error = S::Error;
//! #     type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;
//! #     fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
//! #         self.inner.poll_ready(cx)
//! #     }
//! #     fn call(&mut self, request: Request<MockBody>) -> Self::Future {
//! #         let clone = self.inner.clone();
//! #         let mut inner = std::mem::replace(&mut self.inner, clone);
//! #         let (asked, door) = (Asked::by(&request), self.door.clone());
//! #         let enforced = door.mode.enforces(0);
//! #         let verdict = match door.closed.load(Ordering::SeqCst) {
//! #             true => Verdict::Refused { kind: RejectionKind::Forbidden, enforced },
//! #             false => Verdict::Admitted,
//! #         };
//! #         if let Verdict::Refused { kind, enforced: true } = verdict {
//! #             door.tell(verdict, None);
//! #             let rejection = Rejection::new(KIND, "door".into(), kind);
//! #             let answer = refusal(rejection, asked.protocol, None);
//! #             let answer = answer.map(|body| Either::Right(Full::new(body)));
//! #             return Box::pin(async move { Ok(answer) });
//! #         }
//! #         let mut record = Record { door, verdict, told: false };
//! #         Box::pin(async move {
//! #             match inner.call(request).await {
//! #                 Ok(answer) => Ok(GuardedBody::wrap(answer, asked, None, record).map(Either::Left)),
//! #                 Err(error) => { record.over(Outcome::Failure); Err(error) }
//! #             }
//! #         })
//! #     }
//! # }
//!
//! struct CheckedDoor;
//!
//! impl Subject for CheckedDoor {
//!     const KIND: LayerKind = LayerKind::Other("door");
//!     type Layer = DoorLayer;
//!     type Body = Body;
//!
//!     async fn fixture(
//!         &self,
//!         situation: Situation,
//!         observer: Option<Arc<dyn Observer>>,
//!     ) -> Option<Fixture<DoorLayer>> {
//!         let (closed, mode) = match situation {
//!             Situation::Admits => (false, Mode::Enforce),
//!             Situation::Refuses => (true, Mode::Enforce),
//!             Situation::Shadow => (true, Mode::Shadow),
//!             Situation::Waits => return None,
//!         };
//!         let door = Arc::new(Door {
//!             closed: AtomicBool::new(closed),
//!             mode,
//!             reporter: Reporter::new(Self::KIND, "door".into(), observer.into_iter().collect()),
//!             clock: Clock::new(),
//!         });
//!         let (opened, counted) = (door.clone(), door.clone());
//!         Some(
//!             Fixture::new(DoorLayer(door))
//!                 .counting(move || Counted::from(&counted.reporter.stats(counted.clock.now())))
//!                 .keeping(OpensOnDrop(opened)),
//!         )
//!     }
//! }
//!
//! /// What keeps the door shut.
//! struct OpensOnDrop(Arc<Door>);
//!
//! impl Drop for OpensOnDrop {
//!     fn drop(&mut self) {
//!         self.0.closed.store(false, Ordering::SeqCst);
//!     }
//! }
//!
//! // In a crate's tests this is `fusebox_testkit::contract! { mod door: CheckedDoor; }`.
//! fusebox_testkit::contract(&CheckedDoor).assert_kept();
//! ```
//!
//! # How it looks at a layer
//!
//! Each check sets a scene (a layer in a situation, a scripted [`MockService`] inside, a [`Recorder`]
//! listening), sends a request, and looks at what the caller, the inner service, the observer and the
//! gauge saw. Futures and bodies are polled by hand, and polled again only when they asked for it, so a
//! lost wake-up is found and a call can be dropped at every await point there is. Time stands still
//! unless a timer is all that is left to wait for.
//!
//! It looks twice: once with an observer, and once with none, since a layer may take another way through a call that
//! nobody listens to. What the second look finds begins with "unheard"; instead of the events it reads the counters.
//!
//! A layer that makes its calls on threads of its own says so in [`Subject::runs_elsewhere`]; the kit
//! then waits for the other threads in real time, bounded, wherever it would otherwise look at once.
//!
//! What a layer cannot do (let calls wait, shadow) its fixtures answer with `None`, and what it does
//! not want to do it can be [exempt](Subject::exempt) from; both show as skipped in the [`Report`].
//!
//! # What it does not check
//!
//! That memory is bounded, that engines read no clock, that settings are validated, that a handle can be
//! steered while traffic flows: these are the layer's own tests. Nor does it look at speed.
//!
//! # Smaller helpers
//!
//! [`MockService`] and [`MockBody`], [`Recorder`], [`poll_n_times`] and [`body_to_frames`] are of use
//! in any test of a layer, and the `assert_*` functions tell at compile time whether a type fits where
//! axum, tonic and hyper want it.

mod checks;
mod frames;
mod mock;
mod plain;
mod poll;
mod recorder;
mod report;
mod run;
mod stage;
mod subject;
mod types;

pub use frames::{Frames, body_to_frames};
pub use mock::{
    MockBody, MockError, MockFrame, MockFuture, MockHandle, MockPanic, MockService, Received,
    Script,
};
pub use plain::{Plain, PlainSubject, Translated};
pub use poll::poll_n_times;
pub use recorder::{Recorder, Told};
pub use report::{Check, Checked, Report};
pub use run::{check, contract};
pub use subject::{Counted, Fixture, Flavour, Situation, Subject};
pub use types::{assert_body, assert_error_is_the_inners, assert_layer, assert_service};
