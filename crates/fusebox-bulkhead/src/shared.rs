use std::{
    sync::{Arc, Once},
    time::Duration,
};

use fusebox_core::{
    Call as Told, Change, EventKind, LayerKind, Live, Mode, ModeCell, Name, Outcome, Rejection,
    RejectionKind, Reporter, Snapshot, Timestamp, Verdict,
    stats::Begun,
    time::{Clock, nanos},
};
use tokio::sync::Notify;

use crate::{
    CompartmentBuilder, CompartmentSnapshot, KeysSnapshot,
    call::Call,
    config::QueueNames,
    engine::{Entry, NoShare, Queue, Shares, Slots},
    key::{Key, KeyLine, Share},
    seat::Seats,
    threads::Threads,
    waiting::Waiting,
};

/// The state behind every clone of a [`Compartment`](crate::Compartment), and every layer made of it.
pub(crate) struct Shared {
    pub(crate) slots: Slots,
    pub(crate) clock: Clock,
    pub(crate) reporter: Reporter,
    pub(crate) drained: Notify,
    pub(crate) shares: Option<Shares>,
    pub(crate) seats: Seats,
    /// Whether it was said that a layer has shares and no keys.
    pub(crate) undivided: Once,
    pub(crate) threads: Option<Threads>,
    pub(crate) mode: ModeCell,
    // Only the HTTP flavour knows of bodies.
    #[cfg(feature = "http")]
    pub(crate) hold_until: crate::HoldUntil,
    retry_after: Option<Duration>,
}

/// What a call gets that wants in.
pub(crate) enum Admission {
    /// A slot, or leave to pass without one.
    Admitted(Call),
    /// A place in line.
    Queued(Waiting),
    /// Nothing. The event has been told.
    Refused(Rejection),
}

impl Shared {
    pub(crate) fn new(
        settings: CompartmentBuilder,
        slots: u32,
        queue: Queue,
        threads: Option<Threads>,
        shares: Option<Shares>,
    ) -> Self {
        let mut reporter = Reporter::new(LayerKind::Bulkhead, settings.name, settings.observers);
        if settings.time_every_call {
            reporter = reporter.timing_all();
        }
        Self {
            slots: Slots::new(slots, queue),
            clock: Clock::new(),
            reporter,
            drained: Notify::new(),
            shares,
            seats: Seats::default(),
            undivided: Once::new(),
            threads,
            mode: ModeCell::new(settings.mode),
            #[cfg(feature = "http")]
            hold_until: settings.hold_until,
            retry_after: settings.retry_after,
        }
    }

    /// Gives a slot back.
    #[inline]
    pub(crate) fn leave(&self) {
        if self.slots.leave(|| self.clock.now()) {
            self.drained.notify_waiters();
        }
    }

    /// Gives the slot of a call back that got it at once, and tells how it ended.
    #[inline(always)]
    pub(crate) fn end(&self, begun: Begun, outcome: Outcome) {
        self.leave();
        self.reporter.end(begun, || self.clock.now(), outcome);
    }

    /// Tells that a limit was changed, if it was, and returns what it was.
    pub(crate) fn resized(&self, what: &'static str, from: u32, to: u32, now: Timestamp) -> usize {
        self.limited(what, from.into(), to.into(), now);
        usize::try_from(from).unwrap_or(usize::MAX)
    }

    fn limited(&self, what: &'static str, from: u64, to: u64, now: Timestamp) {
        if from != to {
            let change = Change::Limit { what, from, to };
            self.reporter.report(now, EventKind::Change(change));
        }
    }

    /// Tells that a queue was changed, if it was, and returns what it was.
    pub(crate) fn requeued(
        &self,
        names: &QueueNames,
        before: Queue,
        length: u32,
        max_wait: Duration,
    ) -> (usize, Duration) {
        let now = self.clock.now();
        self.limited(
            names.max_wait_ns,
            nanos(before.max_wait),
            nanos(max_wait),
            now,
        );
        let length = self.resized(names.length, before.length, length, now);
        (length, before.max_wait)
    }

    /// No slot was free: wait, refuse, or let through in shadow mode.
    #[inline]
    pub(crate) fn without_a_slot(self: &Arc<Self>) -> Admission {
        if self.lets_through() {
            return Admission::Admitted(self.shadow(RejectionKind::Full));
        }
        let now = || self.clock.now();
        match self.slots.enter(now) {
            Entry::Full => Admission::Refused(self.refuse_at_once(RejectionKind::Full)),
            Entry::Closed => Admission::Refused(self.refuse_at_once(RejectionKind::ShuttingDown)),
            Entry::Admitted => Admission::Admitted(Call::admitted(self.clone())),
            Entry::Queued(place) => Admission::Queued(Waiting::bounded(self.clone(), place, now())),
        }
    }

    /// Nobody is to wait.
    pub(crate) fn refuse_or_shadow(
        self: &Arc<Self>,
        kind: RejectionKind,
    ) -> Result<Call, Rejection> {
        if self.lets_through() {
            Ok(self.shadow(kind))
        } else if self.slots.is_closed() {
            Err(self.refuse_at_once(RejectionKind::ShuttingDown))
        } else {
            Err(self.refuse_at_once(kind))
        }
    }

    /// Whether a call that is to be refused is let in all the same.
    ///
    /// Not into a closed compartment: whoever drains it waits for the calls to stop coming.
    pub(crate) fn lets_through(&self) -> bool {
        !self.mode.enforces_next() && !self.slots.is_closed()
    }

    /// Lets a call in, into a line, or not at all, as one of its key's.
    pub(crate) fn enter_as(self: &Arc<Self>, shares: &Shares, key: Key) -> Admission {
        let none = match shares.try_enter(key.bits()) {
            Ok(part) => return self.enter_with(Share::new(self.clone(), part)),
            Err(none) => none,
        };
        if self.lets_through() {
            return Admission::Admitted(self.shadow(refused(none)));
        }
        match shares.enter(key.bits(), || self.clock.now()) {
            Ok((part, None)) => self.enter_with(Share::new(self.clone(), part)),
            Ok((part, Some(place))) => {
                let line = KeyLine::new(self.clone(), part, place);
                Admission::Queued(Waiting::for_share(self.clone(), line, self.clock.now()))
            }
            Err(none) => Admission::Refused(self.refuse_at_once(refused(none))),
        }
    }

    fn enter_with(self: &Arc<Self>, share: Share) -> Admission {
        if self.slots.try_enter() {
            return Admission::Admitted(Call::admitted(self.clone()).holding(share));
        }
        match self.without_a_slot() {
            Admission::Admitted(call) => Admission::Admitted(call.holding(share)),
            Admission::Queued(waiting) => Admission::Queued(waiting.holding(share)),
            refused @ Admission::Refused(_) => refused,
        }
    }

    #[cold]
    pub(crate) fn shadow(self: &Arc<Self>, kind: RejectionKind) -> Call {
        Call::shadowed(self.clone(), self.clock.now(), kind)
    }

    /// Tells a refusal of a call that did not wait and returns it.
    #[inline]
    fn refuse_at_once(&self, kind: RejectionKind) -> Rejection {
        self.reporter.report_refused(|| self.clock.now(), kind);
        self.rejection(kind)
    }

    /// Tells a refusal and returns it.
    #[inline]
    pub(crate) fn refuse(
        &self,
        kind: RejectionKind,
        now: Timestamp,
        waited: Duration,
    ) -> Rejection {
        let told = Told {
            verdict: Verdict::Refused {
                kind,
                enforced: true,
            },
            outcome: None,
            waited,
            ran: Duration::ZERO,
        };
        self.tell(now, told);
        self.rejection(kind)
    }

    #[inline]
    pub(crate) fn tell(&self, now: Timestamp, told: Told) {
        self.reporter.report(now, EventKind::Call(told));
    }

    #[inline]
    pub(crate) fn rejection(&self, kind: RejectionKind) -> Rejection {
        let policy = self.reporter.policy().clone();
        let rejection = Rejection::new(LayerKind::Bulkhead, policy, kind);
        match self.retry_after {
            Some(after) if kind.passes_later() => rejection.with_retry_after(after),
            _ => rejection,
        }
    }

    pub(crate) fn look(&self) -> CompartmentSnapshot {
        let number = |count| usize::try_from(count).unwrap_or(usize::MAX);
        let queue = self.slots.queue();
        CompartmentSnapshot {
            name: self.reporter.policy().clone(),
            mode: self.mode.get(),
            slots: number(self.slots.limit()),
            in_flight: number(self.slots.in_flight()),
            queue_length: number(queue.length),
            max_wait: queue.max_wait,
            queue_order: queue.order,
            waiting: number(self.slots.waiting()),
            closed: self.slots.is_closed(),
            keys: self.shares.as_ref().map(|shares| KeysSnapshot {
                slots_per_key: number(shares.per_key()),
                max_keys: shares.most_keys(),
                active: shares.active(),
                queue_length: number(shares.queue().length),
                max_wait: shares.queue().max_wait,
                waiting: shares.waiting(),
            }),
            stats: self.reporter.stats(self.clock.now()),
        }
    }
}

/// What a call that gets no share is refused as.
const fn refused(none: NoShare) -> RejectionKind {
    match none {
        NoShare::Full => RejectionKind::Full,
        NoShare::TooManyKeys => RejectionKind::TooManyKeys,
        NoShare::Closed => RejectionKind::ShuttingDown,
    }
}

impl Live for Shared {
    fn layer(&self) -> LayerKind {
        LayerKind::Bulkhead
    }

    fn name(&self) -> Name {
        self.reporter.policy().clone()
    }

    fn snapshot(&self) -> Snapshot {
        self.look().into()
    }

    fn mode(&self) -> Mode {
        self.mode.get()
    }

    fn set_mode(&self, mode: Mode) {
        let from = self.mode.get();
        self.mode.set(mode);
        let to = self.mode.get();
        if from != to {
            let change = EventKind::Change(Change::Mode { from, to });
            self.reporter.report(self.clock.now(), change);
        }
    }
}
