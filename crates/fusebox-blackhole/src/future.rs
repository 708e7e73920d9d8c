//! The answer to come.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use fusebox_http::{Asked, GuardedBody, identity::ClientIdentity};
use http::Response;
use http_body::Body;
use pin_project::pin_project;

use crate::{body::BlackholeBody, layer::Shared, record::Record};

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
        client: Option<ClientIdentity>,
        shared: Arc<Shared>,
        record: Option<Record>,
    },
    Refused(Option<Box<Response<BlackholeBody<B>>>>),
}

impl<F, B: Body<Data = Bytes>> ResponseFuture<F, B> {
    pub(crate) const fn admitted(
        inner: F,
        asked: Asked,
        client: Option<ClientIdentity>,
        shared: Arc<Shared>,
        record: Record,
    ) -> Self {
        Self {
            state: State::Admitted {
                inner,
                asked,
                client,
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
                client,
                shared,
                record,
            } => {
                let result = ready!(inner.poll(cx));
                let Some(record) = record.take() else {
                    return Poll::Pending;
                };
                Poll::Ready(match result {
                    Ok(response) => {
                        if let Some(cause) = shared.strikes.of_response(&response)
                            && let Some(client) = client
                        {
                            // The call's own time would do for a quick one; a slow one's strike counts from now.
                            shared.jail.strike(client, cause);
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

impl<F, B: Body<Data = Bytes>> fmt::Debug for ResponseFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let admitted = matches!(self.state, State::Admitted { .. });
        f.debug_struct("ResponseFuture")
            .field("admitted", &admitted)
            .finish_non_exhaustive()
    }
}
