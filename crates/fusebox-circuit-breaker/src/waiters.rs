use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    task::{Context, Waker},
};

/// Those who wait for a service to get ready, and are to hear at once when their calls will be refused.
///
/// As many as there are instances of the service that wait; each leaves when it is dropped.
// A lock: whoever comes here has found a service that is not ready, and is in its queue already.
#[derive(Debug, Default)]
pub(crate) struct Waiters(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    wakers: BTreeMap<u64, Waker>,
    last: u64,
}

impl Waiters {
    /// Wakes this task when [all](Self::wake) are woken. Who has come before says by what number.
    pub(crate) fn register(&self, number: Option<u64>, cx: &Context<'_>) -> u64 {
        let mut waiting = self.lock();
        let number = number.unwrap_or_else(|| {
            waiting.last += 1;
            waiting.last
        });
        match waiting.wakers.get_mut(&number) {
            Some(waker) => waker.clone_from(cx.waker()),
            None => drop(waiting.wakers.insert(number, cx.waker().clone())),
        }
        number
    }

    /// It waits no longer.
    pub(crate) fn leave(&self, number: u64) {
        let waker = self.lock().wakers.remove(&number);
        // With the lock free: what a waker does when it is dropped is its own.
        drop(waker);
    }

    /// Has all of them look again.
    pub(crate) fn wake(&self) {
        let wakers = std::mem::take(&mut self.lock().wakers);
        wakers.into_values().for_each(Waker::wake);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
