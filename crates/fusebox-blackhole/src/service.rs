//! The tower service: glue.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use fusebox_core::{Call, LayerKind, Rejection, RejectionKind, Timestamp, Verdict};
use fusebox_http::{Asked, refusal};
use http::{HeaderValue, Method, Request, Response, Version, header::CONNECTION};
use http_body::Body;
use tower_service::Service;

use crate::{
    Action, Cause, Connection,
    body::BlackholeBody,
    caller::{Caller, Suspect},
    future::ResponseFuture,
    layer::Shared,
    record::Record,
    strikes::Trapped,
};

/// The service of a [`BlackholeLayer`](crate::BlackholeLayer).
#[derive(Clone)]
pub struct Blackhole<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Blackhole<S> {
    pub(crate) const fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { inner, shared }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Blackhole<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body<Data = Bytes>,
{
    type Response = Response<BlackholeBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, ResBody>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let shared = &*self.shared;
        let now = shared.jail.now();
        let caller = Caller::of(&mut request, &shared.identity, &shared.peers);
        let (held, suspect) = shared.judge(&caller, &request, now);
        let verdict = if held {
            let enforced = shared.jail.enforces_next();
            Verdict::Refused {
                kind: RejectionKind::Banned,
                enforced,
            }
        } else {
            Verdict::Admitted
        };
        if let Verdict::Refused { enforced: true, .. } = verdict {
            return ResponseFuture::refused(shared.refuse(&caller, &request, verdict, now));
        }
        let asked = Asked::by(&request);
        let record = Record::new(shared.jail.clone(), verdict, now);
        // Called on the very instance that said it is ready, and not before the verdict.
        ResponseFuture::admitted(
            self.inner.call(request),
            asked,
            suspect,
            self.shared.clone(),
            record,
        )
    }
}

impl Shared {
    /// Whether the caller is held, be it since this very request; and whom its answer may be a strike against, which it
    /// is not if the request is one already.
    #[inline]
    fn judge<B>(
        &self,
        caller: &Caller,
        request: &Request<B>,
        now: Timestamp,
    ) -> (bool, Option<Suspect>) {
        let suspect = caller.suspect();
        if caller.is_held(&self.jail, now) {
            return (true, Some(suspect));
        }
        match self.strikes.trap(request) {
            Trapped::No => (false, Some(suspect)),
            Trapped::LedThere => (false, None),
            Trapped::Caught => (self.strike(&suspect, Cause::Trap, now), None),
        }
    }

    /// Counts a strike; true if it led in.
    pub(crate) fn strike(&self, suspect: &Suspect, cause: Cause, now: Timestamp) -> bool {
        suspect.strike(&self.jail, cause, self.strikes.address_too, now)
    }

    /// What becomes of a request whose caller is held.
    #[cold]
    fn refuse<R, B>(
        &self,
        caller: &Caller,
        request: &Request<R>,
        verdict: Verdict,
        now: Timestamp,
    ) -> Response<BlackholeBody<B>>
    where
        B: Body<Data = Bytes>,
    {
        self.jail.report(
            now,
            Call {
                verdict,
                outcome: None,
                waited: Duration::ZERO,
                ran: Duration::ZERO,
            },
        );
        let connection = Connection::of(request.extensions());
        if self.action == Action::Deny || !caller.is_alone(&self.jail, connection, now) {
            return self.deny(request);
        }
        // The answer to a `HEAD` has no body, so it would be over at once.
        if self.action == Action::Tarpit
            && request.method() != Method::HEAD
            && let Some(trickle) = self.tarpit.enter(connection.cloned())
        {
            let mut response = Response::new(BlackholeBody::trickle(trickle));
            response.extensions_mut().insert(self.rejection());
            return response;
        }
        let mut response = self.deny(request);
        match connection {
            // The response is never sent. It is there because a service must answer, and so that a layer further out
            // sees a refusal.
            Some(connection) => connection.close(),
            None if request.version() < Version::HTTP_2 => {
                response
                    .headers_mut()
                    .insert(CONNECTION, HeaderValue::from_static("close"));
            }
            None => {}
        }
        response
    }

    fn deny<R, B>(&self, request: &Request<R>) -> Response<BlackholeBody<B>>
    where
        B: Body<Data = Bytes>,
    {
        let protocol = Asked::by(request).protocol;
        refusal(self.rejection(), protocol, self.respond.as_deref()).map(BlackholeBody::refusal)
    }

    fn rejection(&self) -> Rejection {
        Rejection::new(
            LayerKind::Blackhole,
            self.jail.name().clone(),
            RejectionKind::Banned,
        )
    }
}

impl<S: fmt::Debug> fmt::Debug for Blackhole<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blackhole")
            .field("inner", &self.inner)
            .field("jail", &self.shared.jail)
            .finish_non_exhaustive()
    }
}
