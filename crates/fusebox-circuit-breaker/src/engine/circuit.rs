use std::{sync::Arc, time::Duration};

use fusebox_core::{
    Outcome, Timestamp,
    sync::{AtomicU64, Mutex, Ordering, fence},
    time::nanos,
};

use super::{
    flights::Flights,
    leases::{Leases, Terms},
    quorum::Quorum,
    settings::{Settings, Tunable},
    shard::Shard,
    state::{Phase, State},
    tally::Tally,
    ticket::{End, Ticket},
    transition::{Cold, Shell},
    window::{Class, Totals, Window},
    wish::Wish,
};

/// A circuit that has not closed in the time of so many cool-downs after its own is one that nobody calls.
const IDLE_TURNS: u64 = 3;

/// One circuit.
#[derive(Debug)]
pub struct Circuit {
    // Read by every call, written at transitions only.
    pub(super) state: AtomicU64,
    /// When an open circuit may be tried again.
    pub(super) until: AtomicU64,
    /// When the ramp began.
    pub(super) ramping_since: AtomicU64,
    pub(super) settings: Tunable,
    window: Window,
    pub(super) flights: Option<Flights>,
    pub(super) quorum: Option<Arc<Quorum>>,
    // Written while traffic flows, so away from the above.
    pub(super) hot: Hot,
}

#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Hot {
    /// Failures in a row.
    row: Tally,
    /// Counts the calls of a ramp, to tell which of them pass.
    pub(super) ramp_tickets: AtomicU64,
    pub(super) leases: Leases,
    pub(super) wish: Wish,
    /// Until when a half-open circuit makes no probe, because one was turned away with a wish.
    pub(super) held_back: AtomicU64,
    pub(super) cold: Mutex<Cold>,
}

impl Circuit {
    /// A closed circuit whose calls come from `shards` threads, or groups of threads.
    #[must_use]
    pub fn new(settings: impl Into<Tunable>, shards: usize, quorum: Option<Arc<Quorum>>) -> Self {
        let tunable = settings.into();
        let settings = tunable.get();
        if let Some(quorum) = &quorum {
            quorum.join();
        }
        Self {
            state: AtomicU64::new(State::new(Phase::Closed, 0).word()),
            until: AtomicU64::new(0),
            ramping_since: AtomicU64::new(0),
            window: Window::new(settings.window, shards),
            flights: settings
                .hanging
                .map(|hanging| Flights::new(hanging, shards)),
            quorum,
            hot: Hot {
                row: Tally::new(),
                ramp_tickets: AtomicU64::new(0),
                leases: Leases::new(settings.probes),
                wish: Wish::up_to(settings.longest_retry_after),
                held_back: AtomicU64::new(0),
                cold: Mutex::new(Cold::default()),
            },
            settings: tunable,
        }
    }

    /// The state now.
    #[inline]
    pub fn state(&self) -> State {
        State::from_word(self.state.load(Ordering::Acquire))
    }

    /// Whether it needs to know when each call began.
    #[must_use]
    pub fn times_calls(&self) -> bool {
        self.flights.is_some() || self.settings.with(|settings| settings.slow.is_some())
    }

    /// The state as far as this thread has heard of it: where nothing is read that was written before it.
    #[inline(always)]
    pub(super) fn state_here(&self) -> State {
        State::from_word(self.state.load(Ordering::Relaxed))
    }

    /// Where calls are counted.
    #[must_use]
    pub fn shards(&self) -> &[Arc<Shard>] {
        self.window.shards()
    }

    /// Where the calls of one thread are counted, or of some; past the last shard comes the first. The
    /// caller sees to it that each is one thread's, mostly.
    #[must_use]
    pub fn shard(&self, number: usize) -> &Arc<Shard> {
        self.window.shard(number)
    }

    /// Until when it is open, or was last.
    pub(super) fn until(&self) -> Timestamp {
        Timestamp::from_nanos(self.until.load(Ordering::Acquire))
    }

    /// When a call was let through, if anybody wanted to know.
    #[must_use]
    pub fn began(&self, ticket: &Ticket) -> Option<Timestamp> {
        match ticket.lease() {
            Some(lease) => Some(Leases::taken_at(lease)),
            None => ticket.began(),
        }
    }

    /// The call has been answered, if not to the end: it does not hang.
    #[inline]
    pub fn answered(&self, shard: &Shard, ticket: &mut Ticket) {
        if let (Some(quarter), Some(flights)) = (ticket.lands(), &self.flights) {
            flights.end(shard.index as usize, ticket.state().generation(), quarter);
        }
    }

    /// The call has been answered, and all is well so far. A probe that is still under way at its deadline, as
    /// streams may be, then counts as a success.
    pub fn answered_well(&self, shard: &Shard, ticket: &mut Ticket) {
        self.answered(shard, ticket);
        if let Some(lease) = ticket.lease()
            && let Some(answered) = self.hot.leases.answered(lease)
        {
            ticket.renew(answered);
        }
    }

    /// The deadline of a probe has passed that had been answered.
    #[cold]
    pub(super) fn outlasted(&self, state: State, now: Timestamp, shell: &impl Shell) {
        let class = self.settings.with(|settings| {
            let ran = nanos(settings.probe_deadline);
            settings.class(Outcome::Success, ran)
        });
        if let Some(class) = class {
            self.probed(state, class, now, shell);
        }
    }

    /// The end of a call that was [let pass at once](Self::admit_at_once) and did what it should. `false` if
    /// it is another, which has to [end](Self::end) properly.
    #[inline(always)]
    pub fn end_well(
        &self,
        shard: &Shard,
        ticket: &Ticket,
        now: impl FnOnce() -> Timestamp,
    ) -> bool {
        // Any other state is a transition, after which this may be late.
        let state = self.state_here();
        if !ticket.is_untimed_in(state) {
            return false;
        }
        self.good(shard, state, now);
        shard.end_well();
        true
    }

    #[inline(always)]
    fn good(&self, shard: &Shard, state: State, now: impl FnOnce() -> Timestamp) {
        self.window.add_good(shard, state, now);
        // While all is well this is a look at a word that nobody writes.
        if self.hot.row.counts() {
            self.hot.row.set(state.generation(), 0);
        }
    }

    /// The call is over.
    pub fn end(
        &self,
        shard: &Shard,
        ticket: &mut Ticket,
        end: End,
        now: Timestamp,
        shell: &impl Shell,
    ) {
        self.answered(shard, ticket);
        let lease = ticket.lease();
        // First of all, whatever becomes of the result: the place is free again.
        if lease.is_some_and(|lease| !self.hot.leases.give_back(lease)) {
            return;
        }
        let counts = lease.is_some() || ticket.is_judged();
        if !counts || !self.state().same_generation(ticket.state()) {
            return;
        }
        self.hear(ticket, end, now);
        let class = if end.local {
            None
        } else {
            let ran = self
                .began(ticket)
                .map_or(0, |began| nanos_between(began, now));
            self.settings
                .with(|settings| settings.class(end.outcome, ran))
        };
        match class {
            // The share of cancelled calls is about traffic, not about a few probes.
            Some(class) if lease.is_some() && class.cancelled() => {}
            Some(class) if lease.is_some() => self.probed(ticket.state(), class, now, shell),
            Some(class) if class.good() => self.good(shard, ticket.state(), || now),
            Some(class) => self.bad(shard, ticket.state(), class, now, shell),
            None => {}
        }
    }

    fn bad(&self, shard: &Shard, state: State, class: Class, now: Timestamp, shell: &impl Shell) {
        let generation = state.generation();
        self.window.add_bad(shard, state, now, class);
        if class.failed() {
            self.hot.row.add(generation);
        } else if !class.cancelled() {
            self.hot.row.set(generation, 0);
        }
        // Of two threads whose failures only together are enough, at least one sees both.
        fence(Ordering::SeqCst);
        let too_bad = self.settings.with(|settings| {
            let row = || self.hot.row.get(generation);
            settings.consecutive.is_some_and(|most| row() >= most)
                || settings.too_bad(self.window.totals_with_others(state, now))
        });
        if too_bad {
            self.trip(state, now, shell);
        }
    }

    /// What is in the window of the current generation.
    pub fn totals(&self, now: Timestamp) -> Totals {
        self.window.totals(self.state(), now)
    }

    /// Failures in a row, now.
    pub fn in_a_row(&self) -> u32 {
        self.hot.row.get(self.state().generation())
    }

    /// How many calls in flight hang, as far as somebody has looked.
    pub fn hanging(&self) -> u32 {
        self.flights
            .as_ref()
            .map_or(0, |flights| flights.hanging(self.state().generation()))
    }

    pub(super) fn terms(&self) -> Terms {
        self.settings.with(Settings::terms)
    }

    /// How many probes are under way and in time.
    pub fn probes(&self, now: Timestamp) -> usize {
        self.hot.leases.held(self.terms(), now)
    }

    /// Whether nothing is lost with it but a few counts. A circuit that is not closed finds out that its time is
    /// over when it is called, so one may stay open for ever that nobody needs any more; but what it knows is worth
    /// keeping for longer than one cool-down, or a burst of new circuits would close it.
    pub fn may_be_forgotten(&self, now: Timestamp) -> bool {
        let since = match self.state().phase() {
            Phase::Closed => return true,
            // By hand: until somebody says otherwise.
            Phase::ForcedOpen | Phase::Disabled => return false,
            Phase::Ramping => self.ramping_since.load(Ordering::Acquire),
            Phase::Open | Phase::HalfOpen => self.until.load(Ordering::Acquire),
        };
        let long = self.settings.with(|settings| {
            let ramp = settings.ramp.map_or(0, |ramp| ramp.over);
            let turn = settings.cool_down.longest().max(ramp);
            turn.saturating_mul(IDLE_TURNS)
        });
        now.as_nanos() >= since.saturating_add(long) && self.probes(now) == 0
    }

    /// How long it stays open from now on; `None` unless it is open.
    pub fn opens_for(&self, now: Timestamp) -> Option<Duration> {
        (self.state().phase() == Phase::Open).then(|| self.until().since(now))
    }
}

/// Not [`Timestamp::since`]: a `Duration` would be taken apart again at once.
#[inline]
pub(super) const fn nanos_between(earlier: Timestamp, later: Timestamp) -> u64 {
    later.as_nanos().saturating_sub(earlier.as_nanos())
}
