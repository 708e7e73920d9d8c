use std::{any::Any, sync::Arc, time::Duration};

use bytes::Bytes;
use fusebox_core::{LayerKind, Observer, stats::StatsSnapshot};
use http::{Request, Response, request::Parts};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use crate::{Check, MockBody, MockError, MockService};

/// What the kit must know of a layer to check it.
///
/// The bounds on [`Layer`](Self::Layer) are part of the contract: the error is the inner service's own,
/// and everything is `Send`, `Sync` and `'static` where axum, tonic and hyper need it. Services that
/// know no HTTP are checked through [`PlainSubject`](crate::PlainSubject). A layer that boxes its errors,
/// for example, is no subject:
///
/// ```compile_fail,E0271
/// # use std::{future::Ready, sync::Arc, task::{Context, Poll}};
/// # use fusebox_core::{LayerKind, Observer};
/// # use fusebox_testkit::{Fixture, MockBody, MockService, Situation, Subject};
/// # type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// # type Response = http::Response<MockBody>;
/// #[derive(Clone)]
/// struct Boxing;
/// # impl<S> tower_layer::Layer<S> for Boxing {
/// #     type Service = Boxing;
/// #     fn layer(&self, _: S) -> Boxing { Boxing }
/// # }
/// impl tower_service::Service<http::Request<MockBody>> for Boxing {
///     type Response = Response;
///     type Error = BoxError;
/// #   type Future = Ready<Result<Response, BoxError>>;
/// #   fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
/// #       Poll::Ready(Ok(()))
/// #   }
/// #   fn call(&mut self, _: http::Request<MockBody>) -> Self::Future {
/// #       std::future::ready(Err("boxed".into()))
/// #   }
///     // ...
/// }
/// # struct Boxed;
/// impl Subject for Boxed {
///     const KIND: LayerKind = LayerKind::Other("boxing");
///     type Layer = Boxing;
///     type Body = MockBody;
///     // ...
/// #   async fn fixture(&self, _: Situation, _: Option<Arc<dyn Observer>>) -> Option<Fixture<Boxing>> { None }
/// }
/// ```
pub trait Subject {
    /// What the layer calls itself in events and rejections.
    const KIND: LayerKind;

    /// How far the layer sees into requests and responses.
    const FLAVOUR: Flavour = Flavour::Http;

    /// The layer.
    type Layer: Layer<
            MockService,
            Service: Service<
                Request<MockBody>,
                Response = Response<Self::Body>,
                Error = MockError,
                Future: Send + 'static,
            > + Clone
                         + Send
                         + Sync
                         + 'static,
        > + Clone
        + Send
        + Sync
        + 'static;

    /// The body of its responses.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + 'static;

    /// A new layer with state of its own, in the given situation; `None` when the layer cannot be in
    /// it. `observer` is to hear all its events; if there is none, give it none, since a layer that nobody
    /// listens to may take another way through a call.
    ///
    /// Runs inside the check's runtime, so clocks may be read and tasks spawned.
    fn fixture(
        &self,
        situation: Situation,
        observer: Option<Arc<dyn Observer>>,
    ) -> impl Future<Output = Option<Fixture<Self::Layer>>>;

    /// Adds to a request what the layer needs to know of it, or what makes it refuse: the peer's
    /// address, a key, an attack.
    fn prepare(&self, situation: Situation, request: &mut Parts) {
        let _ = (situation, request);
    }

    /// Whether calls are made on other threads than the caller's.
    ///
    /// If so the clock is the real one and the kit waits for other threads to act, as long as
    /// [`patience`](Self::patience) says. If not the clock is paused and every effect must be there
    /// when a poll or a drop returns.
    fn runs_elsewhere(&self) -> bool {
        false
    }

    /// How long other threads may take to act. It is only ever spent when something is wrong, so be
    /// generous: a machine under load must not look like a broken layer.
    fn patience(&self) -> Duration {
        Duration::from_secs(10)
    }

    /// The reason why this check cannot be asked of the layer; it is reported as skipped.
    fn exempt(&self, check: Check) -> Option<&'static str> {
        let _ = check;
        None
    }
}

/// How far a layer sees into what passes through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// It knows HTTP: a call is over at the end of its response body, and its status, trailers and
    /// body say what became of it.
    Http,
    /// Request and response are opaque: a call is over when its future is ready, and only the error
    /// of the inner service is a failure.
    Plain,
}

/// What a layer is to be like when the kit sends it a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Situation {
    /// It admits the next call, and one more after that has ended, however it ends.
    ///
    /// Make it as tight as that allows (one slot and no queue, a quota of a few): the tighter, the
    /// surer a leak or a second copy of the state shows.
    Admits,
    /// It refuses every call, because of what it knows and not because of how it was configured: the
    /// only slot is taken, the quota is spent.
    Refuses,
    /// As [`Refuses`](Self::Refuses), but in shadow mode. `None` if it has no such mode.
    Shadow,
    /// It lets the next call wait until [`Fixture::keeping`] is dropped, and then admits it. `None` if
    /// it never lets a call wait.
    Waits,
}

/// A layer in a [`Situation`].
pub struct Fixture<L> {
    pub(crate) layer: L,
    pub(crate) held: Option<Box<dyn Fn() -> usize>>,
    pub(crate) counted: Option<Box<dyn Fn() -> Counted>>,
    pub(crate) keep: Option<Box<dyn Any>>,
}

impl<L> Fixture<L> {
    /// A layer that holds nothing while a call is in progress, and counts nothing.
    pub fn new(layer: L) -> Self {
        Self {
            layer,
            held: None,
            counted: None,
            keep: None,
        }
    }

    /// `held` tells how many slots, permits, leases are held now, on behalf of any call.
    ///
    /// It must rise while a call is in progress; a kit that reads a gauge nobody moves would see no
    /// leak.
    #[must_use]
    pub fn holding(mut self, held: impl Fn() -> usize + 'static) -> Self {
        self.held = Some(Box::new(held));
        self
    }

    /// `counted` reads the layer's counters.
    #[must_use]
    pub fn counting(mut self, counted: impl Fn() -> Counted + 'static) -> Self {
        self.counted = Some(Box::new(counted));
        self
    }

    /// What keeps the layer in its situation, such as the slot that makes it full. Dropping it must
    /// let calls pass again, if anything can.
    #[must_use]
    pub fn keeping(mut self, keep: impl Any) -> Self {
        self.keep = Some(Box::new(keep));
        self
    }
}

impl<L> std::fmt::Debug for Fixture<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fixture")
            .field("held", &self.held.as_ref().map(|held| held()))
            .field("counted", &self.counted.as_ref().map(|counted| counted()))
            .field("keeps_something", &self.keep.is_some())
            .finish_non_exhaustive()
    }
}

/// What a layer has counted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Calls it found refusable, whether or not it acted on it.
    pub detected: u64,
    /// Calls it refused.
    pub enforced: u64,
    /// Calls it let through that are over, however they ended.
    pub ended: u64,
}

impl Counted {
    /// What came on top of what was counted `before`.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        Self {
            detected: self.detected.saturating_sub(before.detected),
            enforced: self.enforced.saturating_sub(before.enforced),
            ended: self.ended.saturating_sub(before.ended),
        }
    }
}

impl From<&StatsSnapshot> for Counted {
    fn from(stats: &StatsSnapshot) -> Self {
        Self {
            detected: stats.detected(),
            enforced: stats.refused(),
            ended: stats.ended(),
        }
    }
}
