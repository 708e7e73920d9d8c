use std::sync::Arc;

use crate::{
    Event, EventKind, LayerKind, Name, Observer, Timestamp,
    stats::{Stats, StatsSnapshot},
};

/// The one place where a handle tells what happened: counters, `tracing`, observers.
///
/// Every handle owns one. Admitted calls are `trace` events, refusals `debug` (an attack must not
/// fill the log as well), changes `info`; all with the target `fusebox`.
pub struct Reporter {
    layer: LayerKind,
    policy: Name,
    stats: Stats,
    observers: Box<[Arc<dyn Observer>]>,
}

impl Reporter {
    /// A reporter for the policy of that name.
    #[must_use]
    pub fn new(layer: LayerKind, policy: Name, observers: Vec<Arc<dyn Observer>>) -> Self {
        Self {
            layer,
            policy,
            stats: Stats::new(),
            observers: observers.into(),
        }
    }

    /// The layer it speaks for.
    #[must_use]
    pub const fn layer(&self) -> LayerKind {
        self.layer
    }

    /// The policy it speaks for.
    #[must_use]
    pub const fn policy(&self) -> &Name {
        &self.policy
    }

    /// Tells one event, once.
    #[inline]
    pub fn report(&self, at: Timestamp, kind: EventKind) {
        self.report_at(|| at, kind);
    }

    /// Tells one event, once; `at` is asked only if somebody wants to know.
    // Always: where half of the event is known it folds to a few instructions.
    #[inline(always)]
    pub fn report_at(&self, at: impl Fn() -> Timestamp, kind: EventKind) {
        if let EventKind::Call(call) = &kind {
            self.stats.record_at(&at, call);
        }
        // Without listeners this is one load and two compares: the common case stays inline.
        if !self.observers.is_empty() || heard(&kind) {
            self.tell(at, kind);
        }
    }

    #[cold]
    #[inline(never)]
    fn tell(&self, at: impl Fn() -> Timestamp, kind: EventKind) {
        let event = Event {
            layer: self.layer,
            policy: &self.policy,
            at: at(),
            kind,
        };
        trace(&event);
        for observer in &self.observers {
            observer.on_event(&event);
        }
    }

    /// Counters since the handle was made, and the latencies of the last minute or two.
    #[must_use]
    pub fn stats(&self, now: Timestamp) -> StatsSnapshot {
        self.stats.snapshot(now)
    }
}

impl std::fmt::Debug for Reporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reporter")
            .field("layer", &self.layer)
            .field("policy", &self.policy)
            .field("observers", &self.observers.len())
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "tracing")]
#[inline]
fn heard(kind: &EventKind) -> bool {
    use crate::Verdict;
    use tracing::level_filters::LevelFilter;

    let needed = match kind {
        EventKind::Call(call) => match call.verdict {
            Verdict::Admitted => LevelFilter::TRACE,
            Verdict::Refused { .. } => LevelFilter::DEBUG,
        },
        EventKind::Change(_) => LevelFilter::INFO,
    };
    needed <= tracing::level_filters::STATIC_MAX_LEVEL && needed <= LevelFilter::current()
}

#[cfg(not(feature = "tracing"))]
#[inline]
const fn heard(_kind: &EventKind) -> bool {
    false
}

#[cfg(feature = "tracing")]
fn trace(event: &Event<'_>) {
    use crate::{Change, Verdict};

    let (layer, policy) = (event.layer.as_str(), event.policy.as_str());
    match event.kind {
        EventKind::Call(call) => match call.verdict {
            Verdict::Admitted => tracing::trace!(
                target: "fusebox",
                layer, policy,
                outcome = call.outcome.map(crate::Outcome::as_str),
                waited = ?call.waited, ran = ?call.ran,
                "call ended"
            ),
            Verdict::Refused { kind, enforced } => tracing::debug!(
                target: "fusebox",
                layer, policy,
                reason = kind.as_str(), enforced,
                outcome = call.outcome.map(crate::Outcome::as_str),
                waited = ?call.waited,
                "call refused"
            ),
        },
        EventKind::Change(Change::Mode { from, to }) => {
            tracing::info!(target: "fusebox", layer, policy, %from, %to, "mode changed");
        }
        EventKind::Change(Change::Limit { what, from, to }) => {
            tracing::info!(target: "fusebox", layer, policy, limit = what, from, to, "limit changed");
        }
        EventKind::Change(Change::Circuit { from, to }) => {
            tracing::info!(target: "fusebox", layer, policy, %from, %to, "circuit changed");
        }
    }
}

#[cfg(not(feature = "tracing"))]
const fn trace(_event: &Event<'_>) {}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use super::*;
    use crate::{Call, Outcome, RejectionKind, Verdict};

    #[test]
    fn one_report_reaches_counters_and_every_observer_once() {
        let heard = Arc::new(AtomicUsize::new(0));
        let observer = |heard: Arc<AtomicUsize>| -> Arc<dyn Observer> {
            Arc::new(move |event: &Event<'_>| {
                assert_eq!(event.policy.as_str(), "payments");
                heard.fetch_add(1, Ordering::Relaxed);
            })
        };
        let reporter = Reporter::new(
            LayerKind::Bulkhead,
            "payments".into(),
            vec![observer(heard.clone()), observer(heard.clone())],
        );
        let admitted = Call {
            verdict: Verdict::Admitted,
            outcome: Some(Outcome::Success),
            waited: Duration::ZERO,
            ran: Duration::from_millis(3),
        };
        let refused = Call {
            verdict: Verdict::Refused {
                kind: RejectionKind::Full,
                enforced: true,
            },
            outcome: None,
            waited: Duration::ZERO,
            ran: Duration::ZERO,
        };
        reporter.report(Timestamp::ZERO, EventKind::Call(admitted));
        reporter.report(Timestamp::ZERO, EventKind::Call(refused));
        assert_eq!(heard.load(Ordering::Relaxed), 4);
        let stats = reporter.stats(Timestamp::ZERO);
        assert_eq!(stats.outcome(Outcome::Success), 1);
        assert_eq!(stats.enforced(RejectionKind::Full), 1);
    }
}
