use std::{sync::Arc, time::Duration};

use fusebox_core::{
    Outcome, Timestamp,
    sync::{AtomicU64, Mutex, Ordering, fence},
};

use super::{
    flights::Flights,
    leases::Leases,
    quorum::Quorum,
    settings::Settings,
    state::{Phase, State},
    tally::Tally,
    ticket::{End, Ticket, UNTIMED, UNWATCHED, Verdict},
    transition::{Cold, Shell},
    window::{Class, Totals, Window},
};

/// What a refused call is told when nobody can know: come back in a moment.
///
/// A second, because that is the least that `Retry-After` can say.
const SOON: Duration = Duration::from_secs(1);

/// One circuit.
#[derive(Debug)]
pub struct Circuit {
    // Read by every call, written at transitions only.
    pub(super) state: AtomicU64,
    /// When an open circuit may be tried again.
    pub(super) until: AtomicU64,
    /// When the ramp began.
    pub(super) ramping_since: AtomicU64,
    pub(super) settings: Settings,
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
    pub fn new(settings: Settings, shards: usize, quorum: Option<Arc<Quorum>>) -> Self {
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
            settings,
        }
    }

    /// The state now.
    #[inline]
    pub fn state(&self) -> State {
        State::from_word(self.state.load(Ordering::Acquire))
    }

    /// Whether it needs to know how long each call took.
    #[must_use]
    pub const fn times_calls(&self) -> bool {
        self.settings.slow.is_some()
    }

    /// Whether one more call may pass. A closed circuit asks for the time only if the call is to be
    /// `timed`.
    #[inline(always)]
    pub fn admit(
        &self,
        shard: usize,
        timed: bool,
        now: impl FnOnce() -> Timestamp,
        shell: &impl Shell,
    ) -> Verdict {
        let state = self.state();
        if state.is_closed() && self.flights.is_none() {
            let began = if timed { now() } else { UNTIMED };
            return Verdict::Admitted(Ticket::new(state, began, shard));
        }
        self.admit_slowly(state, shard, now(), shell)
    }

    /// When it was seen to refuse every call for certain: `None` when it may let one pass.
    #[inline]
    pub fn refuses(&self, now: impl FnOnce() -> Timestamp) -> Option<Timestamp> {
        let state = self.state();
        if state.is_flowing() {
            return None;
        }
        match state.phase() {
            Phase::Open => {
                let now = now();
                (now.as_nanos() < self.until.load(Ordering::Acquire)).then_some(now)
            }
            Phase::ForcedOpen => Some(now()),
            _ => None,
        }
    }

    #[inline(never)]
    fn admit_slowly(
        &self,
        mut state: State,
        shard: usize,
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
                    let Some(lease) = self.hot.leases.take(now) else {
                        return Self::refused_for(SOON, now);
                    };
                    // It may have opened since: then a probe would be a call through an open circuit.
                    if self.state() == state {
                        let mut ticket = Ticket::new(state, now, shard);
                        ticket.lease = Some(Box::new(lease));
                        return Verdict::Admitted(ticket);
                    }
                    self.hot.leases.give_back(lease);
                }
                Phase::Open => {
                    let until = Timestamp::from_nanos(self.until.load(Ordering::Acquire));
                    if now < until {
                        return Self::refused_for(until.since(now), now);
                    }
                    self.half_open(state, now, shell);
                }
                Phase::ForcedOpen => {
                    return Verdict::Refused {
                        at: now,
                        retry_after: None,
                    };
                }
                Phase::Disabled => return Verdict::Admitted(Ticket::new(state, now, shard)),
            }
            state = self.state();
        }
    }

    const fn refused_for(time: Duration, at: Timestamp) -> Verdict {
        Verdict::Refused {
            at,
            retry_after: Some(time),
        }
    }

    /// A call through a closed circuit, counted as in flight if that is watched. `None` when too many
    /// hang and the circuit has therefore opened.
    fn take_off(
        &self,
        state: State,
        shard: usize,
        now: Timestamp,
        shell: &impl Shell,
    ) -> Option<Ticket> {
        let mut ticket = Ticket::new(state, now, shard);
        if let Some(flights) = &self.flights {
            let generation = state.generation();
            if flights.too_many(generation, now) {
                self.trip(state, now, shell);
                if self.state() != state {
                    return None;
                }
            }
            ticket.flight = flights.begin(shard, generation, now);
        }
        Some(ticket)
    }

    /// The call has been answered, if not to the end: it does not hang.
    #[inline]
    pub fn answered(&self, ticket: &mut Ticket) {
        if ticket.flight != UNWATCHED
            && let Some(flights) = &self.flights
        {
            let quarter = std::mem::replace(&mut ticket.flight, UNWATCHED);
            flights.end(ticket.shard as usize, ticket.state.generation(), quarter);
        }
    }

    /// The call is over. The time is asked for at most once.
    #[inline(always)]
    pub fn end(
        &self,
        ticket: &mut Ticket,
        end: End,
        now: impl FnOnce() -> Timestamp,
        shell: &impl Shell,
    ) {
        self.answered(ticket);
        let well = end.outcome == Outcome::Success && !end.local;
        if well && ticket.is_judged() && !self.times_calls() {
            self.good(ticket, now);
        } else {
            self.end_slowly(ticket, end, now(), shell);
        }
    }

    #[inline(always)]
    fn good(&self, ticket: &Ticket, now: impl FnOnce() -> Timestamp) {
        if !self.state().same_generation(ticket.state) {
            return;
        }
        let generation = ticket.state.generation();
        self.window
            .add(ticket.shard as usize, generation, now, Class::GOOD);
        // While all is well this is a look at a word that nobody writes.
        if self.hot.row.get(generation) != 0 {
            self.hot.row.set(generation, 0);
        }
    }

    #[cold]
    #[inline(never)]
    fn end_slowly(&self, ticket: &Ticket, end: End, now: Timestamp, shell: &impl Shell) {
        // First of all, whatever becomes of the result: the place is free again.
        if let Some(lease) = &ticket.lease
            && !self.hot.leases.give_back(**lease)
        {
            return;
        }
        let counts = ticket.lease.is_some() || ticket.is_judged();
        if !counts || !self.state().same_generation(ticket.state) {
            return;
        }
        self.hear(ticket.state, end, now);
        let class = if end.local {
            None
        } else {
            let ran = nanos_between(ticket.began, now);
            self.settings.class(end.outcome, ran)
        };
        match class {
            // The share of cancelled calls is about traffic, not about a few probes.
            Some(class) if ticket.lease.is_some() && class.cancelled() => {}
            Some(class) if ticket.lease.is_some() => {
                self.probed(ticket.state, class, now, shell);
            }
            Some(class) if class.good() => self.good(ticket, || now),
            Some(class) => self.bad(ticket, class, now, shell),
            None => {}
        }
    }

    fn bad(&self, ticket: &Ticket, class: Class, now: Timestamp, shell: &impl Shell) {
        let generation = ticket.state.generation();
        self.window
            .add(ticket.shard as usize, generation, || now, class);
        if class.failed() {
            self.hot.row.add(generation);
        } else if !class.cancelled() && self.hot.row.get(generation) != 0 {
            self.hot.row.set(generation, 0);
        }
        // Of two threads whose failures only together are enough, at least one sees both.
        fence(Ordering::SeqCst);
        let in_a_row = self
            .settings
            .consecutive
            .is_some_and(|most| self.hot.row.get(generation) >= most);
        if in_a_row || self.settings.too_bad(self.window.totals(generation, now)) {
            self.trip(ticket.state, now, shell);
        }
    }

    /// Whether the ramp lets this call pass; `None` when it is over.
    fn ramp_lets_pass(&self, now: Timestamp) -> Option<bool> {
        let since = Timestamp::from_nanos(self.ramping_since.load(Ordering::Acquire));
        let share = self.settings.ramp?.share_at(nanos_between(since, now))?;
        // Consecutive numbers spread by the golden ratio, as `Mode::enforces` does it.
        const GOLDEN_RATIO: u64 = 0x9E37_79B9_7F4A_7C15;
        let ticket = self.hot.ramp_tickets.fetch_add(1, Ordering::Relaxed);
        let spread = ticket.wrapping_mul(GOLDEN_RATIO) >> 32;
        Some((spread * 1_000_000) >> 32 < u64::from(share))
    }

    /// What is in the window of the current generation.
    pub fn totals(&self, now: Timestamp) -> Totals {
        self.window.totals(self.state().generation(), now)
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

    /// How long it stays open from now on; `None` unless it is open.
    pub fn opens_for(&self, now: Timestamp) -> Option<Duration> {
        (self.state().phase() == Phase::Open)
            .then(|| Timestamp::from_nanos(self.until.load(Ordering::Acquire)).since(now))
    }
}

/// Not [`Timestamp::since`]: a `Duration` would be taken apart again at once.
#[inline]
const fn nanos_between(earlier: Timestamp, later: Timestamp) -> u64 {
    later.as_nanos().saturating_sub(earlier.as_nanos())
}
