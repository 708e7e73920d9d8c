use std::{
    pin::Pin,
    task::{Context, Poll},
};

use fusebox_core::{CallError, Outcome};
use tower_layer::Layer;
use tower_service::Service;

use super::LimitedConnection;
use crate::{Compartment, Slot, shared::Admission};

/// Caps the open connections of a connector. Made by [`Compartment::connection_layer`].
///
/// Every connector it is put around shares the compartment.
#[derive(Clone, Debug)]
pub struct ConnectionLimitLayer {
    compartment: Compartment,
}

impl Compartment {
    /// A layer for connectors that makes each open connection hold a slot of this compartment.
    ///
    /// Who finds no slot waits as long as the compartment's queue allows, or is refused at once if it
    /// has none. The compartment's events are then about connections: one each, when it is closed or
    /// was not made, and its latencies are how long they were open.
    #[must_use]
    pub fn connection_layer(&self) -> ConnectionLimitLayer {
        ConnectionLimitLayer {
            compartment: self.clone(),
        }
    }
}

impl<S> Layer<S> for ConnectionLimitLayer {
    type Service = ConnectionLimit<S>;

    fn layer(&self, inner: S) -> ConnectionLimit<S> {
        ConnectionLimit {
            compartment: self.compartment.clone(),
            inner,
        }
    }
}

/// A connector whose open connections are capped. See [`ConnectionLimitLayer`].
///
/// A refusal is [`CallError::Rejected`], and is found by
/// [`Rejection::find`](fusebox_core::Rejection::find) in whatever error the client wraps around it. The
/// connector's own errors are [`CallError::Inner`].
#[derive(Clone, Debug)]
pub struct ConnectionLimit<S> {
    compartment: Compartment,
    inner: S,
}

/// The future of [`ConnectionLimit`].
///
/// It is boxed: next to a handshake that is nothing.
///
/// # Cancel safety
/// Dropped at any point it gives back its slot or its place in line.
pub type ConnectFuture<C, E> =
    Pin<Box<dyn Future<Output = Result<LimitedConnection<C>, CallError<E>>> + Send>>;

impl<S, R> Service<R> for ConnectionLimit<S>
where
    S: Service<R, Future: Send> + Clone + Send + 'static,
    R: Send + 'static,
{
    type Response = LimitedConnection<S::Response>;
    type Error = CallError<S::Error>;
    type Future = ConnectFuture<S::Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(CallError::Inner)
    }

    fn call(&mut self, target: R) -> Self::Future {
        // The instance that is ready connects; the next caller gets a clone.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        // Not in the future: the call has its place from here on, and tells its end if it is dropped.
        let admission = match self.compartment.enter() {
            Some(call) => Admission::Admitted(call),
            None => self.compartment.without_a_slot(),
        };
        Box::pin(async move {
            let slot = match admission {
                Admission::Admitted(call) => Slot::new(call),
                Admission::Queued(waiting) => Slot::new(waiting.await?),
                Admission::Refused(rejection) => return Err(rejection.into()),
            };
            match inner.call(target).await {
                Ok(connection) => Ok(LimitedConnection::new(connection, slot)),
                Err(error) => {
                    slot.finish(Outcome::Failure);
                    Err(CallError::Inner(error))
                }
            }
        })
    }
}
