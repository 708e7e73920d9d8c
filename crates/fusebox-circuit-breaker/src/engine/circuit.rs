use std::{sync::Arc, time::Duration};

use fusebox_core::{
    Outcome, Timestamp,
    sync::{AtomicU64, Mutex, Ordering, fence},
    time::nanos,
};

use super::{
    flights::Flights,
    leases::Leases,
    quorum::Quorum,
    settings::Tunable,
    shard::Shard,
    state::{Phase, State},
    tally::Tally,
    ticket::{End, Refused, Ticket, Verdict},
    transition::{Cold, Shell},
    window::{Class, Totals, Window},
};

/// What a refused call is told when nobody can know: come back in a moment.
///
/// A second, because that is the least that `Retry-After` can say.
const SOON: Duration = Duration::from_secs(1);

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
    flights: Option<Flights>,
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
    ramp_tickets: AtomicU64,
    leases: Leases,
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
                leases: Leases::new(settings.probes, settings.probe_deadline),
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
    fn state_here(&self) -> State {
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

    /// Lets a call pass whose beginning nobody wants to know, if the circuit is closed: what nearly every call
    /// is. Not for circuits that [time their calls](Self::times_calls).
    #[inline(always)]
    pub fn admit_at_once(&self) -> Option<Ticket> {
        let state = self.state_here();
        state.is_closed().then(|| Ticket::untimed(state))
    }

    /// Whether one more call may pass.
    pub fn admit(&self, shard: &Shard, now: Timestamp, shell: &impl Shell) -> Verdict {
        self.admit_in(self.state(), shard, now, shell)
    }

    /// That it refuses every call for certain; `None` when it may let one pass.
    #[inline(always)]
    pub fn refuses(&self, now: impl FnOnce() -> Timestamp) -> Option<Refused> {
        let state = self.state_here();
        if state.is_flowing() {
            return None;
        }
        // Now as if it had been loaded by `state`.
        fence(Ordering::Acquire);
        match state.phase() {
            Phase::Open => {
                let (at, until) = (now(), self.until());
                (at < until).then_some(Refused { at, until })
            }
            Phase::ForcedOpen => Some(Refused {
                at: now(),
                until: Timestamp::MAX,
            }),
            _ => None,
        }
    }

    fn until(&self) -> Timestamp {
        Timestamp::from_nanos(self.until.load(Ordering::Acquire))
    }

    fn admit_in(
        &self,
        mut state: State,
        shard: &Shard,
        now: Timestamp,
        shell: &impl Shell,
    ) -> Verdict {
        // Ends: whoever goes round again has seen a transition of somebody else's, or made one.
        loop {
            match state.phase() {
                Phase::Closed => {
                    if let Some(ticket) = self.take_off(state, shard, now, shell) {
                        return Verdict::Admitted(ticket);
                    }
                }
                Phase::Ramping => match self.ramp_lets_pass(now) {
                    Some(true) => {
                        if let Some(ticket) = self.take_off(state, shard, now, shell) {
                            return Verdict::Admitted(ticket);
                        }
                    }
                    Some(false) => return Self::refused_for(SOON, now),
                    None => self.end_ramp(state, shell),
                },
                Phase::HalfOpen => {
                    let Some(taken) = self.hot.leases.take(now) else {
                        return Self::refused_for(SOON, now);
                    };
                    let lease = taken.lease;
                    // Of this generation: those before it ended when the circuit opened.
                    if taken.was_answered.is_some_and(|at| at >= self.until()) {
                        self.outlasted(state, now, shell);
                    }
                    // It may have opened since: then a probe would be a call through an open circuit.
                    if self.state() == state {
                        return Verdict::Admitted(Ticket::probe(state, lease));
                    }
                    self.hot.leases.give_back(lease);
                }
                Phase::Open => {
                    let until = self.until();
                    if now < until {
                        return Verdict::Refused(Refused { at: now, until });
                    }
                    self.half_open(state, now, shell);
                }
                Phase::ForcedOpen => {
                    let (at, until) = (now, Timestamp::MAX);
                    return Verdict::Refused(Refused { at, until });
                }
                Phase::Disabled => return Verdict::Admitted(Ticket::timed(state, now)),
            }
            state = self.state();
        }
    }

    fn refused_for(time: Duration, at: Timestamp) -> Verdict {
        let until = at + time;
        Verdict::Refused(Refused { at, until })
    }

    /// A call through a closed circuit, counted as in flight if that is watched. `None` when too many
    /// hang and the circuit has therefore opened.
    fn take_off(
        &self,
        state: State,
        shard: &Shard,
        now: Timestamp,
        shell: &impl Shell,
    ) -> Option<Ticket> {
        let mut ticket = Ticket::timed(state, now);
        if let Some(flights) = &self.flights {
            let generation = state.generation();
            if flights.too_many(generation, now) {
                self.trip(state, now, shell);
                if self.state() != state {
                    return None;
                }
            }
            ticket.takes_off(flights.begin(shard.index as usize, generation, now));
        }
        Some(ticket)
    }

    /// When a call was let through, if anybody wanted to know.
    #[must_use]
    pub fn began(&self, ticket: &Ticket) -> Option<Timestamp> {
        match ticket.lease() {
            Some(lease) => Some(self.hot.leases.taken_at(lease)),
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
    fn outlasted(&self, state: State, now: Timestamp, shell: &impl Shell) {
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
                || settings.too_bad(self.window.totals(state, now))
        });
        if too_bad {
            self.trip(state, now, shell);
        }
    }

    /// Whether the ramp lets this call pass; `None` when it is over.
    fn ramp_lets_pass(&self, now: Timestamp) -> Option<bool> {
        let since = Timestamp::from_nanos(self.ramping_since.load(Ordering::Acquire));
        let ramp = self.settings.with(|settings| settings.ramp)?;
        let share = ramp.share_at(nanos_between(since, now))?;
        // Consecutive numbers spread by the golden ratio, as `Mode::enforces` does it.
        const GOLDEN_RATIO: u64 = 0x9E37_79B9_7F4A_7C15;
        let ticket = self.hot.ramp_tickets.fetch_add(1, Ordering::Relaxed);
        let spread = ticket.wrapping_mul(GOLDEN_RATIO) >> 32;
        Some((spread * 1_000_000) >> 32 < u64::from(share))
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

    /// How many probes are under way and in time.
    pub fn probes(&self, now: Timestamp) -> usize {
        self.hot.leases.held(now)
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
const fn nanos_between(earlier: Timestamp, later: Timestamp) -> u64 {
    later.as_nanos().saturating_sub(earlier.as_nanos())
}
