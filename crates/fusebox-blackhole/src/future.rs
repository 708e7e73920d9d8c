//! The answer to come.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use fusebox_http::{Asked, GuardedBody};
use http::Response;
use http_body::Body;
use pin_project::pin_project;

use crate::{body::BlackholeBody, caller::Suspect, layer::Shared, record::Record};

/// The future of a [`Blackhole`](crate::Blackhole).
///
/// # Cancel safety
/// Dropping it ends the inner call, which is told as cancelled. Strikes are counted from answers, so a call that was
/// given up is none.
#[pin_project]
pub struct ResponseFuture<F, B: Body<Data = Bytes>> {
    #[pin]
    state: State<F, B>,
}

#[pin_project(project = StateProject)]
enum State<F, B: Body<Data = Bytes>> {
    Admitted {
        #[pin]
        inner: F,
        asked: Asked,
        /// Whom the answer may be a strike against; none if the request was one.
        suspect: Option<Suspect>,
        shared: Arc<Shared>,
        record: Option<Record>,
    },
    Refused(Option<Box<Response<BlackholeBody<B>>>>),
}

impl<F, B: Body<Data = Bytes>> ResponseFuture<F, B> {
    pub(crate) const fn admitted(
        inner: F,
        asked: Asked,
        suspect: Option<Suspect>,
        shared: Arc<Shared>,
        record: Record,
    ) -> Self {
        Self {
            state: State::Admitted {
                inner,
                asked,
                suspect,
                shared,
                record: Some(record),
            },
        }
    }

    /// In a box: a response is three times as large as everything an admitted call carries, and refusals are few.
    pub(crate) fn refused(response: Response<BlackholeBody<B>>) -> Self {
        Self {
            state: State::Refused(Some(Box::new(response))),
        }
    }
}

impl<F, B, E> Future for ResponseFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes>,
{
    type Output = Result<Response<BlackholeBody<B>>, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProject::Admitted {
                inner,
                asked,
                suspect,
                shared,
                record,
            } => {
                let result = ready!(inner.poll(cx));
                let Some(record) = record.take() else {
                    return Poll::Pending;
                };
                Poll::Ready(match result {
                    Ok(mut response) => {
                        if let Some(suspect) = suspect {
                            shared.count(suspect, &mut response);
                        }
                        Ok(GuardedBody::wrap(response, *asked, None, record)
                            .map(BlackholeBody::inner))
                    }
                    Err(error) => {
                        record.failed();
                        Err(error)
                    }
                })
            }
            StateProject::Refused(response) => match response.take() {
                Some(response) => Poll::Ready(Ok(*response)),
                // Polled again after it was ready, which is the caller's mistake and no reason to panic.
                None => Poll::Pending,
            },
        }
    }
}

/// In the extensions of a response that is a strike: in which jail, by the address of what its handles share. Of two
/// layers in a stack, with one jail, one has counted it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Counted(usize);

impl Shared {
    /// Counts a strike if the answer is one.
    #[inline]
    fn count<B>(&self, suspect: &Suspect, response: &mut Response<B>) {
        let Some(cause) = self.strikes.of_response(response) else {
            return;
        };
        let counted = Counted(self.jail.number());
        if response.extensions_mut().insert(counted) != Some(counted) {
            // The call's own time would do for a quick one; a slow one's strike counts from now.
            self.strike(suspect, cause, self.jail.now());
        }
    }
}

impl<F, B: Body<Data = Bytes>> fmt::Debug for ResponseFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let admitted = matches!(self.state, State::Admitted { .. });
        f.debug_struct("ResponseFuture")
            .field("admitted", &admitted)
            .finish_non_exhaustive()
    }
}
