use std::{sync::Arc, time::Duration};

use crate::{
    Call, Event, EventKind, LayerKind, Name, Observer, Outcome, RejectionKind, Timestamp, Verdict,
    stats::{Begun, Stats, StatsSnapshot},
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

    /// Times every call, however many there are.
    #[must_use]
    pub fn timing_all(mut self) -> Self {
        self.stats = self.stats.timing_all();
        self
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
        if let EventKind::Call(call) = &kind {
            self.stats.record(at, call);
        }
        // Without listeners this is one load and two compares: the common case stays inline.
        if !self.observers.is_empty() || heard(&kind) {
            self.tell(at, kind);
        }
    }

    /// Whether anybody hears of admitted calls, so that they have to be timed.
    #[inline]
    #[must_use]
    pub fn listens(&self) -> bool {
        self.is_observed() || Self::traces()
    }

    /// Whether there are observers. They are given once and for all.
    #[must_use]
    pub const fn is_observed(&self) -> bool {
        !self.observers.is_empty()
    }

    /// Whether `tracing` wants to hear of admitted calls. That may change at any time.
    #[inline]
    #[must_use]
    pub fn traces() -> bool {
        heard_at(Level::Trace)
    }

    /// Counts an admitted call that nobody [listens](Self::listens) to and whose latency was not measured.
    #[inline]
    pub fn count(&self, outcome: Outcome) {
        self.stats.count(outcome);
    }

    /// As [`count`](Self::count), for a handle that counts the usual outcome by itself and hands the number
    /// over when somebody looks.
    #[inline]
    pub fn count_many(&self, outcome: Outcome, calls: u64) {
        self.stats.count_many(outcome, calls);
    }

    /// Begins a call that was admitted at once, to be told by [`end`](Self::end).
    ///
    /// `now` is asked only if its time is taken: if somebody listens, or if it is one of those that stand for the
    /// others in the statistics.
    #[inline(always)]
    pub fn begin(&self, now: impl FnOnce() -> Timestamp) -> Begun {
        self.stats.begin(self.listens(), now)
    }

    /// Tells of a call that was admitted at once and is over. What nearly every event is, and the cheapest.
    ///
    /// A call that began when nobody listened is only counted, even if by now somebody would.
    #[inline]
    pub fn end(&self, begun: Begun, now: impl FnOnce() -> Timestamp, outcome: Outcome) {
        match begun.started() {
            None => self.stats.count(outcome),
            Some(started) => self.end_timed(begun, started, now(), outcome),
        }
    }

    #[inline(never)]
    fn end_timed(&self, begun: Begun, started: Timestamp, now: Timestamp, outcome: Outcome) {
        self.stats.record_timed(begun, now, outcome);
        if self.listens() {
            self.tell_admitted(started, now, outcome);
        }
    }

    /// Tells of a call that was admitted at once and timed in any case.
    ///
    /// The same as a [`report`](Self::report) of it, and cheaper, since nothing is put together that
    /// nobody listens to.
    #[inline]
    pub fn report_admitted(&self, started: Timestamp, ended: Timestamp, outcome: Outcome) {
        self.report_sample(started, ended, outcome, 1);
    }

    /// As [`report_admitted`](Self::report_admitted), for a handle that has a
    /// [`Sampler`](crate::stats::Sampler) of its own: the call stands for `weight` of them.
    pub fn report_sample(
        &self,
        started: Timestamp,
        ended: Timestamp,
        outcome: Outcome,
        weight: u32,
    ) {
        self.stats.record_sample(started, ended, outcome, weight);
        if self.listens() {
            self.tell_admitted(started, ended, outcome);
        }
    }

    /// Tells of a call that was refused at once. The same as a [`report`](Self::report) of it, and
    /// cheaper: under attack this is what nearly every event is, and `at` is asked only if somebody
    /// listens.
    #[inline]
    pub fn report_refused(&self, at: impl FnOnce() -> Timestamp, kind: RejectionKind) {
        self.stats.record_refused(kind);
        self.tell_refused(at, kind);
    }

    /// As [`report_refused`](Self::report_refused), for a handle that counts refusals by itself and hands the
    /// number over when somebody looks.
    #[inline]
    pub fn tell_refused(&self, at: impl FnOnce() -> Timestamp, kind: RejectionKind) {
        if !self.observers.is_empty() || heard_at(Level::Debug) {
            self.tell_one_refused(at(), kind);
        }
    }

    /// Counts so many calls as refused, of which was [told](Self::tell_refused) already.
    pub fn count_many_refused(&self, kind: RejectionKind, calls: u64) {
        self.stats.count_many_refused(kind, calls);
    }

    #[cold]
    #[inline(never)]
    fn tell_one_refused(&self, at: Timestamp, kind: RejectionKind) {
        let call = Call {
            verdict: Verdict::Refused {
                kind,
                enforced: true,
            },
            outcome: None,
            waited: Duration::ZERO,
            ran: Duration::ZERO,
        };
        self.tell(at, EventKind::Call(call));
    }

    #[cold]
    #[inline(never)]
    fn tell_admitted(&self, started: Timestamp, ended: Timestamp, outcome: Outcome) {
        let call = Call {
            verdict: Verdict::Admitted,
            outcome: Some(outcome),
            waited: Duration::ZERO,
            ran: ended.since(started),
        };
        self.tell(ended, EventKind::Call(call));
    }

    #[cold]
    #[inline(never)]
    fn tell(&self, at: Timestamp, kind: EventKind) {
        let event = Event {
            layer: self.layer,
            policy: &self.policy,
            at,
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

/// How loud an event is.
#[derive(Clone, Copy)]
enum Level {
    Trace,
    Debug,
    Info,
}

#[inline]
fn heard(kind: &EventKind) -> bool {
    heard_at(match kind {
        EventKind::Call(call) => match call.verdict {
            Verdict::Admitted => Level::Trace,
            Verdict::Refused { .. } => Level::Debug,
        },
        EventKind::Change(_) => Level::Info,
    })
}

#[cfg(feature = "tracing")]
#[inline]
fn heard_at(level: Level) -> bool {
    use tracing::level_filters::{LevelFilter, STATIC_MAX_LEVEL};

    let needed = match level {
        Level::Trace => LevelFilter::TRACE,
        Level::Debug => LevelFilter::DEBUG,
        Level::Info => LevelFilter::INFO,
    };
    needed <= STATIC_MAX_LEVEL && needed <= LevelFilter::current()
}

#[cfg(not(feature = "tracing"))]
#[inline]
const fn heard_at(_level: Level) -> bool {
    false
}

#[cfg(feature = "tracing")]
fn trace(event: &Event<'_>) {
    use crate::Change;

    let (layer, policy) = (event.layer.as_str(), event.policy.as_str());
    match event.kind {
        EventKind::Call(call) => match call.verdict {
            Verdict::Admitted => tracing::trace!(
                target: "fusebox",
                layer, policy,
                outcome = call.outcome.map(Outcome::as_str),
                waited = ?call.waited, ran = ?call.ran,
                "call ended"
            ),
            Verdict::Refused { kind, enforced } => tracing::debug!(
                target: "fusebox",
                layer, policy,
                reason = kind.as_str(), enforced,
                outcome = call.outcome.map(Outcome::as_str),
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
        EventKind::Change(Change::Choice { what, from, to }) => {
            tracing::info!(target: "fusebox", layer, policy, setting = what, from, to, "setting changed");
        }
        EventKind::Change(Change::Circuit { from, to }) => {
            tracing::info!(target: "fusebox", layer, policy, %from, %to, "circuit changed");
        }
        EventKind::Change(Change::Jailed {
            cause,
            sentence,
            sentences,
        }) => {
            tracing::info!(target: "fusebox", layer, policy, cause, ?sentence, sentences, "client jailed");
        }
        EventKind::Change(Change::Released { count }) => {
            tracing::info!(target: "fusebox", layer, policy, count, "clients released");
        }
    }
}

#[cfg(not(feature = "tracing"))]
const fn trace(_event: &Event<'_>) {}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

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

    #[test]
    fn the_usual_events_are_told_as_any_other() {
        let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
        let heard = calls.clone();
        let observer = move |event: &Event<'_>| {
            if let EventKind::Call(call) = event.kind {
                heard.lock().unwrap().push(call);
            }
        };
        let reporter = Reporter::new(
            LayerKind::Bulkhead,
            "payments".into(),
            vec![Arc::new(observer)],
        );
        let ended = Timestamp::ZERO + Duration::from_secs(3);
        let call = Call {
            verdict: Verdict::Admitted,
            outcome: Some(Outcome::Throttled),
            waited: Duration::ZERO,
            ran: Duration::from_secs(3),
        };
        reporter.report(ended, EventKind::Call(call));
        reporter.report_admitted(Timestamp::ZERO, ended, Outcome::Throttled);
        let refusal = Call {
            verdict: Verdict::Refused {
                kind: RejectionKind::Full,
                enforced: true,
            },
            outcome: None,
            waited: Duration::ZERO,
            ran: Duration::ZERO,
        };
        reporter.report(ended, EventKind::Call(refusal));
        reporter.report_refused(|| ended, RejectionKind::Full);
        assert_eq!(*calls.lock().unwrap(), [call, call, refusal, refusal]);
        let stats = reporter.stats(ended);
        assert_eq!(stats.enforced(RejectionKind::Full), 2);
        assert_eq!(stats.outcome(Outcome::Throttled), 2);
        assert_eq!((stats.latency.count, stats.wait.count), (2, 2));
        assert!(stats.latency.p50 == stats.latency.max);
    }

    #[test]
    fn a_call_that_was_not_timed_is_counted_and_has_no_latency() {
        let reporter = Reporter::new(LayerKind::CircuitBreaker, "payments".into(), Vec::new());
        assert!(!reporter.listens());
        reporter.count(Outcome::Failure);
        let stats = reporter.stats(Timestamp::ZERO);
        assert_eq!(stats.outcome(Outcome::Failure), 1);
        assert_eq!(stats.latency.count, 0);
        let observer: Arc<dyn Observer> = Arc::new(|_: &Event<'_>| {});
        let reporter = Reporter::new(LayerKind::CircuitBreaker, "payments".into(), vec![observer]);
        assert!(reporter.listens());
    }
}
