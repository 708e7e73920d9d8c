//! Whether one more call may pass.

use std::time::Duration;

use fusebox_core::{
    Timestamp,
    sync::{Ordering, fence},
};

use super::{
    circuit::{Circuit, nanos_between},
    flights::Flights,
    leases::{Leases, Taken, Terms},
    shard::Shard,
    state::{Phase, State},
    ticket::{Refused, Ticket, Verdict},
    transition::Shell,
};

/// What a refused call is told when nobody can know: come back in a moment.
///
/// A second, because that is the least that `Retry-After` can say.
const SOON: Duration = Duration::from_secs(1);

/// What a call can count on that has to wait before it can be made.
#[derive(Debug)]
pub enum Reserved {
    /// Nothing: it is decided when it is made.
    Nothing,
    /// It was let through by the ramp of this state, and need not ask again.
    Ramp(State),
    /// It is a probe, and holds its place. The ticket has to come back, through
    /// [`begins`](Circuit::begins) or [`give_back`](Circuit::give_back).
    Probe(Ticket),
    /// It will not be made.
    Refused(Refused),
}

/// What a state says to a call.
enum Door {
    /// It may take off.
    Flows,
    /// Everything may pass, and nothing is judged.
    Disabled,
    Probe(Ticket),
    Shut(Refused),
    /// The state has changed: ask that.
    Moved,
}

type Take = fn(&Leases, Terms, Timestamp) -> Option<Taken>;

impl Circuit {
    /// Lets a call pass whose beginning nobody wants to know, if the circuit is closed: what nearly every call
    /// is. Not for circuits that [time their calls](Self::times_calls).
    #[inline(always)]
    pub fn admit_at_once(&self) -> Option<Ticket> {
        let state = self.state_here();
        state.is_closed().then(|| Ticket::untimed(state))
    }

    /// Whether one more call may pass.
    pub fn admit(&self, shard: &Shard, now: Timestamp, shell: &impl Shell) -> Verdict {
        // Ends: whoever goes round again has seen a transition of somebody else's, or made one.
        loop {
            let state = self.state();
            match self.ask(state, Leases::take, now, shell) {
                Door::Flows => {
                    if let Some(ticket) = self.take_off(state, shard, now, shell) {
                        return Verdict::Admitted(ticket);
                    }
                }
                Door::Disabled => return Verdict::Admitted(Ticket::timed(state, now)),
                Door::Probe(ticket) => return Verdict::Admitted(ticket),
                Door::Shut(refused) => return Verdict::Refused(refused),
                Door::Moved => {}
            }
        }
    }

    /// As [`admit`](Self::admit), for a call that the ramp of `state` [has let through](Reserved::Ramp).
    pub fn admit_from(
        &self,
        state: State,
        shard: &Shard,
        now: Timestamp,
        shell: &impl Shell,
    ) -> Verdict {
        if self.state() == state
            && let Some(ticket) = self.take_off(state, shard, now, shell)
        {
            return Verdict::Admitted(ticket);
        }
        self.admit(shard, now, shell)
    }

    /// Whether it lets every call pass, as far as this thread has heard of it.
    #[inline(always)]
    pub fn is_closed(&self) -> bool {
        self.state_here().is_closed()
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

    /// What a call can count on that cannot be made yet, because the service is not ready for it.
    ///
    /// A refusal must not wait for that, and neither must those who would notice that calls hang, or that the
    /// cool-down is over. Only a probe waits, and it waits in its place: nobody else waits with it.
    pub fn reserve(&self, now: Timestamp, shell: &impl Shell) -> Reserved {
        loop {
            let state = self.state();
            match self.ask(state, Leases::reserve, now, shell) {
                Door::Flows if self.hangs(state, now, shell) => {}
                Door::Flows if state.is_closed() => return Reserved::Nothing,
                Door::Flows => return Reserved::Ramp(state),
                Door::Disabled => return Reserved::Nothing,
                Door::Probe(ticket) => return Reserved::Probe(ticket),
                Door::Shut(refused) => return Reserved::Refused(refused),
                Door::Moved => {}
            }
        }
    }

    /// Whether what was reserved still is.
    pub fn holds(&self, ticket: &Ticket) -> bool {
        let held = |lease| self.hot.leases.holds(lease);
        self.state() == ticket.state() && ticket.lease().is_some_and(held)
    }

    /// The probe that was reserved begins now; `false` if it may not any more.
    pub fn begins(&self, ticket: &mut Ticket, now: Timestamp) -> bool {
        let Some(lease) = ticket.lease() else {
            return false;
        };
        let Some(begun) = self.hot.leases.begins(lease, now) else {
            return false;
        };
        ticket.renew(begun);
        // As when it was taken: the circuit may have opened since.
        let current = self.state() == ticket.state();
        if !current {
            self.hot.leases.give_back(begun);
        }
        current
    }

    /// The call that was reserved is not made.
    pub fn give_back(&self, ticket: &Ticket) {
        if let Some(lease) = ticket.lease() {
            self.hot.leases.give_back(lease);
        }
    }

    /// What that state says to one more call, which would take a place for a probe so.
    fn ask(&self, state: State, take: Take, now: Timestamp, shell: &impl Shell) -> Door {
        match state.phase() {
            Phase::Closed => Door::Flows,
            Phase::Ramping => match self.ramp_lets_pass(now) {
                Some(true) => Door::Flows,
                Some(false) => shut(now, now + SOON),
                None => {
                    self.end_ramp(state, shell);
                    Door::Moved
                }
            },
            Phase::HalfOpen => self.take_place(state, take, now, shell),
            Phase::Open => {
                let until = self.until();
                if now < until {
                    return shut(now, until);
                }
                self.half_open(state, now, shell);
                Door::Moved
            }
            Phase::ForcedOpen => shut(now, Timestamp::MAX),
            Phase::Disabled => Door::Disabled,
        }
    }

    /// A place for a probe.
    fn take_place(&self, state: State, take: Take, now: Timestamp, shell: &impl Shell) -> Door {
        let held_back = Timestamp::from_nanos(self.hot.held_back.load(Ordering::Acquire));
        if now < held_back {
            return shut(now, held_back);
        }
        let Some(taken) = take(&self.hot.leases, self.terms(), now) else {
            return shut(now, now + SOON);
        };
        if taken.overdue {
            shell.look_again();
        }
        // Of this generation: those before it ended when the circuit opened.
        if taken.was_answered.is_some_and(|at| at >= self.until()) {
            self.outlasted(state, now, shell);
        }
        // It may have opened since: then a probe would be a call through an open circuit.
        if self.state() == state {
            return Door::Probe(Ticket::probe(state, taken.lease));
        }
        self.hot.leases.give_back(taken.lease);
        Door::Moved
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
            if self.hangs(state, now, shell) {
                return None;
            }
            ticket.takes_off(flights.begin(shard.index as usize, state.generation(), now));
        }
        Some(ticket)
    }

    /// Whether too many calls hang and the circuit has therefore opened, or changed in another way.
    fn hangs(&self, state: State, now: Timestamp, shell: &impl Shell) -> bool {
        let too_many = |flights: &Flights| {
            let most = self.settings.with(|settings| settings.hanging);
            let most = most.map_or(u32::MAX, |hanging| hanging.calls);
            flights.hanging_at(state.generation(), now) >= most
        };
        if !self.flights.as_ref().is_some_and(too_many) {
            return false;
        }
        self.trip(state, now, shell);
        self.state() != state
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
}

const fn shut(at: Timestamp, until: Timestamp) -> Door {
    Door::Shut(Refused { at, until })
}
