use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::Waker,
};

use http::{Extensions, HeaderMap, Method, Uri, Version};
use http_body::SizeHint;

use super::Script;
use crate::Frames;

/// A call as the [`MockService`](super::MockService) saw it.
#[derive(Clone, Debug)]
pub struct Received {
    /// Which instance was called; clones are numbered in the order they were made, the first is 0.
    pub instance: usize,
    /// Whether that very instance had said that it is ready, since its last call.
    pub was_ready: bool,
    /// The request's method.
    pub method: Method,
    /// The request's target.
    pub uri: Uri,
    /// The request's version.
    pub version: Version,
    /// The request's headers.
    pub headers: HeaderMap,
    /// The request's extensions.
    pub extensions: Extensions,
    /// What the request's body said of its length.
    pub size_hint: SizeHint,
    /// Whether the request's body said that it has ended.
    pub is_end_stream: bool,
    /// What the request's body was, as far as it has been read.
    pub body: Frames,
}

/// Tells what was done to a [`MockService`](super::MockService) and all its clones, and changes what
/// they do.
#[derive(Clone, Debug)]
pub struct MockHandle(pub(super) Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    script: Mutex<Script>,
    calls: Mutex<Vec<Received>>,
    instances: AtomicUsize,
    in_progress: AtomicUsize,
    waiting: Mutex<Vec<Waker>>,
}

impl MockHandle {
    pub(super) fn new(script: Script) -> Self {
        Self(Arc::new(Shared {
            script: Mutex::new(script),
            calls: Mutex::default(),
            instances: AtomicUsize::new(0),
            in_progress: AtomicUsize::new(0),
            waiting: Mutex::default(),
        }))
    }

    /// The calls so far, oldest first.
    #[must_use]
    pub fn calls(&self) -> Vec<Received> {
        lock(&self.0.calls).clone()
    }

    /// How many calls were made so far.
    #[must_use]
    pub fn called(&self) -> usize {
        lock(&self.0.calls).len()
    }

    /// How many response futures are alive.
    #[must_use]
    pub fn in_progress(&self) -> usize {
        self.0.in_progress.load(Ordering::SeqCst)
    }

    /// From now on, every instance does as `script` says. Whoever waits for one to be ready is woken.
    pub fn follow(&self, script: Script) {
        *lock(&self.0.script) = script;
        let waiting = std::mem::take(&mut *lock(&self.0.waiting));
        waiting.iter().for_each(Waker::wake_by_ref);
    }
}

impl Shared {
    pub(super) fn script(&self) -> Script {
        lock(&self.script).clone()
    }

    pub(super) fn new_instance(&self) -> usize {
        self.instances.fetch_add(1, Ordering::SeqCst)
    }

    pub(super) fn wait_for_another_script(&self, waker: &Waker) {
        lock(&self.waiting).push(waker.clone());
    }

    /// Writes down a call; returns its number.
    pub(super) fn receive(&self, call: Received) -> usize {
        let mut calls = lock(&self.calls);
        calls.push(call);
        calls.len() - 1
    }

    /// Adds to what has been read of the body of call `number`.
    pub(super) fn read(&self, number: usize, read: impl FnOnce(&mut Frames)) {
        if let Some(call) = lock(&self.calls).get_mut(number) {
            read(&mut call.body);
        }
    }

    pub(super) fn begin(&self) {
        self.in_progress.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn end(&self) {
        self.in_progress.fetch_sub(1, Ordering::SeqCst);
    }
}

// A panic while one of these is held would be the mock's own; its data is whole all the same.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
