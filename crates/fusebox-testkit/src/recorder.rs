use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fusebox_core::{Call, Event, EventKind, LayerKind, Name, Observer, Timestamp};

/// An [`Event`], kept.
#[derive(Clone, Debug)]
pub struct Told {
    /// The layer that told it.
    pub layer: LayerKind,
    /// The policy that decided.
    pub policy: Name,
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: EventKind,
}

/// An [`Observer`] that keeps everything it hears.
///
/// ```
/// use fusebox_core::{Call, Event, EventKind, LayerKind, Observer, Timestamp, Verdict};
/// use fusebox_testkit::Recorder;
/// # use std::time::Duration;
///
/// let recorder = Recorder::new();
/// // A layer would be given `recorder.clone()` as its observer, and then tell:
/// recorder.on_event(&Event {
///     layer: LayerKind::Bulkhead,
///     policy: &"payments".into(),
///     at: Timestamp::ZERO,
///     kind: EventKind::Call(Call {
///         verdict: Verdict::Admitted,
///         outcome: None,
///         waited: Duration::ZERO,
///         ran: Duration::ZERO,
///     }),
/// });
/// assert_eq!(recorder.calls()[0].verdict, Verdict::Admitted);
/// ```
#[derive(Debug, Default)]
pub struct Recorder {
    told: Mutex<Vec<Told>>,
}

impl Recorder {
    /// A recorder that has heard nothing yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Everything heard so far, oldest first.
    #[must_use]
    pub fn told(&self) -> Vec<Told> {
        self.lock().clone()
    }

    /// The calls heard of so far, oldest first.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        let calls = self.lock();
        let calls = calls.iter().filter_map(|told| match told.kind {
            EventKind::Call(call) => Some(call),
            _ => None,
        });
        calls.collect()
    }

    /// Forgets what was heard.
    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Told>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Recorder {
    fn on_event(&self, event: &Event<'_>) {
        self.lock().push(Told {
            layer: event.layer,
            policy: event.policy.clone(),
            at: event.at,
            kind: event.kind,
        });
    }
}
