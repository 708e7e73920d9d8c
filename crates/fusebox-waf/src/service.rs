use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use fusebox_http::Asked;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::arrival::{Arrival, Reads};
use crate::call::Call;
use crate::exam::{Exam, Look, Step};
use crate::future::{How, ResponseFuture, State};
use crate::layer::Custom;
use crate::pace::Pace;
use crate::{InspectedBody, Ruleset};

/// An HTTP service behind a firewall. See [`WafLayer`](crate::WafLayer).
#[derive(Clone)]
pub struct Waf<S> {
    pub(crate) inner: S,
    pub(crate) rules: Ruleset,
    pub(crate) custom: Option<Arc<Custom>>,
}

impl<S, R, B> Service<Request<R>> for Waf<S>
where
    S: Service<Request<InspectedBody<R>>, Response = Response<B>> + Clone,
    R: Body<Data: From<Bytes>>,
    B: Body<Data: From<Bytes>>,
{
    type Response = Response<crate::ResponseBody<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, R, B>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        let shared = &self.rules.shared;
        let how = How {
            asked: Asked::by(&request),
            version: request.version(),
            policy: shared.name().clone(),
            custom: self.custom.clone(),
        };
        // The call exists before the inner service is called: a panic in there tells its end.
        let mut call = Call::begin(shared);
        let (mut exam, mut stop) = Exam::begin(shared, &request, call.started);
        if stop.is_none() {
            match exam.look(&request, how.asked.protocol) {
                Look::Refuse(refused) => stop = Some(refused),
                Look::Into(decoder) => {
                    let reads = Reads::Body(decoder);
                    return self.call_later(request, how, call, exam, reads);
                }
                // By far the most: there is no body, and the rest of the rules are done within one slice.
                Look::Past => {
                    // A head of many fields costs what a body does, and floods come as heads: the share is for them as well.
                    let step = match Pace::default().share() {
                        Some(share) => exam.request_slice(share),
                        None => Step::More,
                    };
                    Pace::spend_on_head(exam.work());
                    match step {
                        Step::Pass => {}
                        Step::Stop(stopped) => stop = Some(stopped),
                        Step::More => {
                            return self.call_later(request, how, call, exam, Reads::Nothing);
                        }
                    }
                }
            }
        }
        let state = match call.settle_request(exam, stop) {
            Some(refused) => State::Refused(Some(refused)),
            None => State::Running {
                future: self.inner.call(request.map(InspectedBody::direct)),
                call: Some(call),
            },
        };
        ResponseFuture { state, how }
    }
}

impl<S: Clone> Waf<S> {
    /// A request that is decided about only when its body is there, or after more than one slice.
    fn call_later<R, B>(
        &mut self,
        request: Request<R>,
        how: How,
        call: Call,
        exam: Exam,
        reads: Reads,
    ) -> ResponseFuture<S, R, B>
    where
        S: Service<Request<InspectedBody<R>>, Response = Response<B>>,
        R: Body<Data: From<Bytes>>,
        B: Body,
    {
        // The instance that is ready; the next caller gets a clone, which has to become ready itself.
        let clone = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, clone);
        let arrival = Arrival::new(request, inner, call, exam, &self.rules.shared, reads);
        ResponseFuture {
            state: State::Arriving(Box::new(arrival)),
            how,
        }
    }
}

impl<S: std::fmt::Debug> std::fmt::Debug for Waf<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waf")
            .field("inner", &self.inner)
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}
