//! The tower service: glue.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use fusebox_core::{Call, LayerKind, Rejection, RejectionKind, Timestamp, Verdict};
use fusebox_http::{
    Asked,
    identity::{ClientIdentity, PeerAddr},
    refusal,
};
use http::{HeaderValue, Method, Request, Response, Version, header::CONNECTION};
use http_body::Body;
use tower_service::Service;

use crate::{
    Action, Cause, Connection, body::BlackholeBody, engine::Struck, future::ResponseFuture,
    layer::Shared, record::Record,
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
        let client = shared.client(&mut request);
        let held = client.is_some_and(|client| shared.holds(&client, &request, now));
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
            return ResponseFuture::refused(shared.refuse(&request, verdict, now));
        }
        let asked = Asked::by(&request);
        let record = Record::new(shared.jail.clone(), verdict, now);
        // Called on the very instance that said it is ready, and not before the verdict.
        ResponseFuture::admitted(
            self.inner.call(request),
            asked,
            client,
            self.shared.clone(),
            record,
        )
    }
}

impl Shared {
    /// Who is asking; none if nobody can tell. Kept in the request for the layers further in.
    #[inline]
    fn client<B>(&self, request: &mut Request<B>) -> Option<ClientIdentity> {
        if request.extensions().get::<PeerAddr>().is_none()
            && let Some(connection) = Connection::of(request.extensions())
        {
            let peer = PeerAddr(connection.peer());
            request.extensions_mut().insert(peer);
        }
        self.identity.resolve_once(request).ok().flatten()
    }

    /// Whether the client is held, be it since this very request.
    #[inline]
    fn holds<B>(&self, client: &ClientIdentity, request: &Request<B>, now: Timestamp) -> bool {
        if self.jail.holds_client(client, now).is_some() {
            return true;
        }
        self.strikes.trapped(request)
            && matches!(
                self.jail.strike_at(client, Cause::Trap, now),
                Struck::Jailed { .. }
            )
    }

    /// What becomes of a request whose client is held.
    #[cold]
    fn refuse<R, B>(
        &self,
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
        if self.action != Action::Deny {
            match connection {
                // The response below is never sent. It is there because a service must answer, and so that a layer
                // further out sees a refusal.
                Some(connection) => connection.close(),
                None if request.version() < Version::HTTP_2 => {
                    response
                        .headers_mut()
                        .insert(CONNECTION, HeaderValue::from_static("close"));
                }
                None => {}
            }
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
