//! The flavour for queue consumers: it never refuses, it makes its caller wait.

use std::{
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use fusebox_core::{CallError, Rejection};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    Compartment, ConfigError,
    compartment::Reservation,
    plain::{
        future::{Elsewhere, ResponseFuture},
        place::{Anywhere, Local, Place, can_be_local},
    },
    seat::Seat,
    waiting::Waiting,
};

/// Puts services of any kind into a compartment, and lets `poll_ready` wait for a slot. Made by
/// [`Compartment::backpressure_layer`].
///
/// A consumer that awaits readiness before it takes the next message off its queue takes no more than
/// the compartment has slots for, and what it leaves on the queue slows its producer down. The wait has
/// no bound of its own. It is in the same line as the waits of the other flavours: the bounds of the queue
/// do not hold for it, but it counts for theirs, so that enough waiting consumers fill the queue for everybody
/// else. Give consumers a compartment of their own if that matters.
///
/// A slot is reserved from `poll_ready` to `call`. It is given back when the service is dropped unused; a
/// clone has to wait for its own.
///
/// # Cancel safety
/// Whoever drops a `ready()` that waits leaves the place in line inside the service: the next `ready()`
/// goes on from there, and a slot that the place comes to meanwhile is held until then. Drop the service
/// to leave the line.
///
/// The only refusal is [`RejectionKind::ShuttingDown`](fusebox_core::RejectionKind::ShuttingDown), an
/// error of `poll_ready`: there will be no slot any more.
///
/// ```
/// use std::convert::Infallible;
/// use fusebox_bulkhead::Compartment;
/// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// async fn handle(message: u32) -> Result<u32, Infallible> {
///     Ok(message)
/// }
///
/// let compartment = Compartment::builder("messages").slots(2).build()?;
/// let mut service = ServiceBuilder::new()
///     .layer(compartment.backpressure_layer())
///     .service(service_fn(handle));
///
/// for message in 0..10 {
///     // Here a consumer waits, instead of at the far end of a growing buffer.
///     service.ready().await?;
///     tokio::spawn(service.call(message));
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct BackpressureLayer<W = Anywhere> {
    compartment: Compartment,
    place: PhantomData<fn() -> W>,
}

impl<W> Clone for BackpressureLayer<W> {
    fn clone(&self) -> Self {
        Self {
            compartment: self.compartment.clone(),
            place: PhantomData,
        }
    }
}

impl<W> BackpressureLayer<W> {
    /// Runs calls where they are polled, and asks nothing at all of a service: it may be bound to its thread and need not
    /// be `Clone`, and requests may borrow.
    ///
    /// # Errors
    /// [`ConfigError::Conflict`] when the compartment has threads of its own.
    pub fn local(self) -> Result<BackpressureLayer<Local>, ConfigError> {
        can_be_local(&self.compartment)?;
        Ok(BackpressureLayer {
            compartment: self.compartment,
            place: PhantomData,
        })
    }
}

impl Compartment {
    /// A layer that puts services of any kind into this compartment and lets their callers wait for a
    /// slot in `poll_ready`.
    #[must_use]
    pub fn backpressure_layer(&self) -> BackpressureLayer {
        BackpressureLayer {
            compartment: self.clone(),
            place: PhantomData,
        }
    }
}

impl<S, W> Layer<S> for BackpressureLayer<W> {
    type Service = Backpressure<S, W>;

    fn layer(&self, inner: S) -> Backpressure<S, W> {
        Backpressure {
            compartment: self.compartment.clone(),
            inner,
            seat: self.compartment.seat(),
            turn: Turn::None,
            place: PhantomData,
        }
    }
}

/// A service in a compartment, ready when there is a slot for it. See [`BackpressureLayer`].
#[derive(Debug)]
pub struct Backpressure<S, W = Anywhere> {
    compartment: Compartment,
    inner: S,
    seat: Arc<Seat>,
    turn: Turn,
    place: PhantomData<fn() -> W>,
}

#[derive(Debug)]
enum Turn {
    None,
    Waiting(Pin<Box<Waiting>>),
    /// Its seat holds a slot, unless a shutdown has taken it back.
    Reserved,
}

impl<S: Clone, W> Clone for Backpressure<S, W> {
    fn clone(&self) -> Self {
        Self {
            compartment: self.compartment.clone(),
            inner: self.inner.clone(),
            seat: self.compartment.seat(),
            turn: Turn::None,
            place: PhantomData,
        }
    }
}

impl<S, R> Service<R> for Backpressure<S, Anywhere>
where
    S: Service<R> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
    R: Send + 'static,
{
    type Response = S::Response;
    type Error = CallError<S::Error>;
    type Future = ResponseFuture<S, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // First the inner service: a slot must not be reserved for one that is not ready.
        ready!(self.inner.poll_ready(cx)).map_err(CallError::Inner)?;
        self.poll_slot(cx).map_err(CallError::Rejected)
    }

    fn call(&mut self, request: R) -> Self::Future {
        self.call_at(request)
    }
}

impl<S: Service<R>, R> Service<R> for Backpressure<S, Local> {
    type Response = S::Response;
    type Error = CallError<S::Error>;
    type Future = ResponseFuture<S, R, Local>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // As above.
        ready!(self.inner.poll_ready(cx)).map_err(CallError::Inner)?;
        self.poll_slot(cx).map_err(CallError::Rejected)
    }

    fn call(&mut self, request: R) -> Self::Future {
        self.call_at(request)
    }
}

impl<S, W> Backpressure<S, W> {
    fn poll_slot(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Rejection>> {
        loop {
            let reserved = match &mut self.turn {
                Turn::Reserved if self.seat.is_held() => return Poll::Ready(Ok(())),
                Turn::Reserved | Turn::None => match self.compartment.reserve() {
                    Ok(Reservation::Made(call)) => call,
                    Ok(Reservation::Queued(waiting)) => {
                        self.turn = Turn::Waiting(Box::pin(waiting));
                        continue;
                    }
                    Err(rejection) => {
                        self.turn = Turn::None;
                        return Poll::Ready(Err(rejection));
                    }
                },
                Turn::Waiting(waiting) => {
                    let turn = ready!(waiting.as_mut().poll(cx));
                    self.turn = Turn::None;
                    turn?
                }
            };
            self.seat.hold(reserved);
            self.turn = Turn::Reserved;
            // A shutdown sees either the seat held, or has closed the compartment before this look.
            if self.compartment.is_closed() {
                self.seat.give_back();
            }
        }
    }

    fn call_at<R>(&mut self, request: R) -> ResponseFuture<S, R, W>
    where
        S: Service<R>,
        W: Place<S, R>,
    {
        let reserved = match std::mem::replace(&mut self.turn, Turn::None) {
            Turn::Reserved => self.seat.take(),
            Turn::None | Turn::Waiting(_) => None,
        };
        // Called without being ready, it takes a slot if there is one at once.
        let state = match reserved.map_or_else(|| self.compartment.enter_at_once(), Ok) {
            Ok(mut call) => {
                call.start();
                W::begin(&mut self.inner, request, call, &self.compartment)
            }
            Err(rejection) => Elsewhere::Refused(Some(rejection)).into(),
        };
        state.into()
    }
}
