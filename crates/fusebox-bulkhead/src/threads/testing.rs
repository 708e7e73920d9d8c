//! What the tests of these files share. They wait for other threads, never for time: the bound is
//! there to turn a hang into a failure.

use std::{
    num::NonZeroUsize,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{ThreadSettings, Threads};

/// Only ever spent when something is wrong; generous, since a busy machine is not wrong.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn threads(workers: usize) -> Threads {
    let settings = ThreadSettings::new(NonZeroUsize::new(workers).unwrap());
    Threads::start(&"compartment".into(), settings).unwrap()
}

pub(super) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it should have happened by now")
}

pub(super) fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Something to hold, and a future of its end.
pub(super) fn held() -> (impl Send + Sync, impl Future<Output = ()>) {
    let (held, mut dropped) = oneshot::channel::<()>();
    let dropped = async move {
        let _ = (&mut dropped).await;
    };
    (held, dropped)
}
