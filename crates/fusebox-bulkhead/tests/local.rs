//! The flavours that ask as little of a service as tower's own: not `Send`, not `'static`, not even `Clone`.
#![cfg(not(fusebox_loom))]

use std::{
    cell::Cell,
    convert::Infallible,
    future::{Ready, pending, ready},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use fusebox_bulkhead::{Compartment, CompartmentBuilder, ConfigError};
use fusebox_core::{CallError, Outcome, Registration, RejectionKind};
use tower::{Layer, Service, ServiceExt, service_fn};

fn builder(slots: usize) -> CompartmentBuilder {
    Compartment::builder("local")
        .slots(slots)
        .registration(Registration::Unlisted)
}

/// Neither `Send` nor `Clone`; it answers with the end of what it is asked, which it borrows.
struct Counts(Rc<Cell<u32>>);

impl<'r> Service<&'r str> for Counts {
    type Response = &'r str;
    type Error = Infallible;
    type Future = Ready<Result<&'r str, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: &'r str) -> Self::Future {
        self.0.set(self.0.get() + 1);
        ready(Ok(request.trim_start()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_can_nothing_but_be_called_slows_its_caller_down() {
    let compartment = builder(1).build().unwrap();
    let called = Rc::new(Cell::new(0));
    let layer = compartment.backpressure_layer().local().unwrap();
    let mut service = layer.layer(Counts(called.clone()));
    let asked = String::from("  report");
    for _ in 0..3 {
        let answer = ServiceExt::<&str>::ready(&mut service)
            .await
            .unwrap()
            .call(&asked);
        assert_eq!(answer.await, Ok("report"));
    }
    assert_eq!(called.get(), 3);
    let taken = compartment.try_acquire().unwrap();
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(Service::<&str>::poll_ready(&mut service, &mut cx).is_pending());
    drop(taken);
    assert!(Service::<&str>::poll_ready(&mut service, &mut cx).is_ready());
    assert_eq!(compartment.snapshot().in_flight, 1, "it is reserved");
    drop(service);
    let snapshot = compartment.snapshot();
    assert_eq!(snapshot.in_flight, 0);
    assert_eq!(snapshot.stats.outcome(Outcome::Success), 3);
}

#[tokio::test(start_paused = true)]
async fn a_service_of_one_thread_waits_in_the_queue_and_is_refused_when_that_is_full() {
    let compartment = builder(1).queue(1, Duration::from_secs(1)).build().unwrap();
    let layer = compartment.plain_layer().local().unwrap();
    let called = Rc::new(Cell::new(0));
    let service = {
        let called = called.clone();
        layer.layer(service_fn(move |_: &u8| {
            called.set(called.get() + 1);
            pending::<Result<(), Infallible>>()
        }))
    };
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let number = 7_u8;
    let mut first = Box::pin(service.clone().oneshot(&number));
    let mut second = Box::pin(service.clone().oneshot(&number));
    assert!(first.as_mut().poll(&mut cx).is_pending());
    assert!(second.as_mut().poll(&mut cx).is_pending());
    assert_eq!((called.get(), compartment.snapshot().waiting), (1, 1));
    let third = service.oneshot(&number).await.unwrap_err();
    assert!(matches!(third, CallError::Rejected(refused) if refused.kind() == RejectionKind::Full));
    drop(first);
    assert!(second.as_mut().poll(&mut cx).is_pending());
    assert_eq!(called.get(), 2);
}

#[tokio::test]
async fn what_runs_on_other_threads_cannot_be_local() {
    let compartment = builder(1).threads(1).build().unwrap();
    let plain = compartment.plain_layer().local().map(drop);
    let backpressure = compartment.backpressure_layer().local().map(drop);
    for refused in [plain, backpressure] {
        let refused = refused.unwrap_err();
        assert!(matches!(refused, ConfigError::Conflict { .. }));
        assert_eq!(
            refused.to_string(),
            "local: is not possible together with threads"
        );
    }
}
