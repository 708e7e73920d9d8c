//! From one state to another: rare, and therefore under a lock. The state itself is an atomic that is
//! only ever written with that lock held, so readers never wait.

use std::time::Duration;

use fusebox_core::{
    CircuitState, Outcome, Timestamp,
    sync::{MutexGuard, Ordering, lock},
};

use super::{
    circuit::Circuit,
    quorum::Place,
    settings::Closing,
    state::{Phase, State},
    ticket::{End, Ticket},
    window::Class,
};

/// What the engine asks of the world.
pub trait Shell {
    /// A random number, for the jitter of a cool-down.
    fn draw(&self) -> u32;
    /// Hears of every transition, after it has happened and with no lock held.
    fn tell(&self, transition: Transition);
    /// A probe has lost its place at its deadline: if it still waits to begin, it is to look again.
    fn look_again(&self) {}
}

/// A circuit went from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Before.
    pub from: CircuitState,
    /// Now.
    pub to: CircuitState,
}

/// The state that an operator puts it into, until further notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByHand {
    /// Closed, and everything forgotten.
    Reset,
    /// Everything is refused.
    ForcedOpen,
    /// Everything is let through, unjudged.
    Disabled,
}

impl ByHand {
    const fn phase(self) -> Phase {
        match self {
            Self::Reset => Phase::Closed,
            Self::ForcedOpen => Phase::ForcedOpen,
            Self::Disabled => Phase::Disabled,
        }
    }
}

/// What only transitions look at.
#[derive(Debug, Default)]
pub(super) struct Cold {
    /// How many times in a row it was opened without having closed for good.
    attempts: u32,
    /// Probes of this half-open generation that succeeded, and that failed.
    succeeded: u32,
    failed: u32,
    /// Its place among those of its family that may be open.
    place: Option<Place>,
}

impl Circuit {
    /// Opens, unless somebody else has, or too many other circuits are open.
    #[cold]
    pub(super) fn trip(&self, judged_in: State, now: Timestamp, shell: &impl Shell) {
        let mut cold = lock(&self.hot.cold);
        let before = self.state();
        let closed = matches!(before.phase(), Phase::Closed | Phase::Ramping);
        if !closed || !before.same_generation(judged_in) {
            return;
        }
        let until = self.opens_until(&cold, now, shell);
        if self.holds_place(&mut cold, now, until) {
            self.open(cold, before, until, shell);
        }
    }

    /// The cool-down is over: the first to notice makes it half-open.
    #[cold]
    pub(super) fn half_open(&self, open: State, now: Timestamp, shell: &impl Shell) {
        let mut cold = lock(&self.hot.cold);
        let over = now.as_nanos() >= self.until.load(Ordering::Acquire);
        if self.state() != open || !over {
            return;
        }
        (cold.succeeded, cold.failed) = (0, 0);
        self.hot.leases.forget_reserved();
        let deadline = self.settings.with(|settings| settings.probe_deadline);
        if self.holds_place(&mut cold, now, now + deadline) {
            self.enter(cold, open, open.next(Phase::HalfOpen), shell);
        } else {
            // Others are open in its place, and half-open is as good as open for nearly all calls.
            self.close(cold, open, now, shell);
        }
    }

    /// What a probe has found. A slow one has found a dependency that is not well.
    pub(super) fn probed(&self, state: State, class: Class, now: Timestamp, shell: &impl Shell) {
        let mut cold = lock(&self.hot.cold);
        if self.state() != state {
            return;
        }
        let found = if class.good() {
            &mut cold.succeeded
        } else {
            &mut cold.failed
        };
        *found = found.saturating_add(1);
        let closing = self.settings.with(|settings| settings.closing);
        let back = match closing {
            Closing::Successes(_) if cold.failed > 0 => Some(false),
            Closing::Successes(enough) => (cold.succeeded >= enough).then_some(true),
            Closing::Share { share, of } => {
                let probes = cold.succeeded.saturating_add(cold.failed);
                (probes >= of).then(|| share.reached(cold.succeeded, probes))
            }
        };
        match back {
            Some(true) => self.close(cold, state, now, shell),
            Some(false) => {
                let until = self.opens_until(&cold, now, shell);
                if self.holds_place(&mut cold, now, until) {
                    self.open(cold, state, until, shell);
                } else {
                    self.close(cold, state, now, shell);
                }
            }
            None => {}
        }
    }

    /// Remembers how long the dependency wants to be left alone, in case the circuit opens.
    pub(super) fn hear(&self, ticket: &Ticket, end: End, now: Timestamp) {
        let wish = ticket.wish().or(end.retry_after);
        let (Some(wish), Outcome::Failure | Outcome::Throttled, false) =
            (wish, end.outcome, end.local)
        else {
            return;
        };
        let (longest, fresh) = self.settings.with(|settings| {
            (
                settings.longest_retry_after,
                settings.wishes_are_fresh_for(),
            )
        });
        let wish = wish.min(longest);
        if wish.is_zero() {
            return;
        }
        self.hot.wish.hear(wish, now, fresh);
        if ticket.is_probe() {
            // Should the circuit stay half-open: the next probe would be as unwelcome.
            let until = (now + wish).as_nanos();
            self.hot.held_back.fetch_max(until, Ordering::AcqRel);
        }
    }

    /// The ramp is over: back for good.
    #[cold]
    pub(super) fn end_ramp(&self, ramping: State, shell: &impl Shell) {
        let mut cold = lock(&self.hot.cold);
        if self.state() == ramping {
            cold.attempts = 0;
            // The same generation: calls in flight stay judged.
            self.enter(cold, ramping, ramping.same(Phase::Closed), shell);
        }
    }

    /// Puts it into that state, whatever its state. Whoever calls it tells of the transition, with no lock held.
    pub fn by_hand(&self, what: ByHand) -> Option<Transition> {
        let mut cold = lock(&self.hot.cold);
        let before = self.state();
        self.leave_quorum(&mut cold);
        *cold = Cold::default();
        self.write(&cold, before, before.next(what.phase()))
    }

    /// Until when it would be open.
    fn opens_until(&self, cold: &Cold, now: Timestamp, shell: &impl Shell) -> Timestamp {
        let (cool_down, longest, fresh) = self.settings.with(|settings| {
            (
                settings.cool_down,
                settings.longest_retry_after,
                settings.wishes_are_fresh_for(),
            )
        });
        let length = cool_down.length(cold.attempts, shell.draw());
        let until = now + Duration::from_nanos(length);
        let wish = self.hot.wish.until(now, fresh);
        // Whatever was heard, and by which settings: nobody is left alone for longer than they say now.
        wish.map_or(until, |wish| wish.min(now + longest).max(until))
    }

    fn open(
        &self,
        mut cold: MutexGuard<'_, Cold>,
        before: State,
        until: Timestamp,
        shell: &impl Shell,
    ) {
        cold.attempts = cold.attempts.saturating_add(1);
        // Before the state: who sees it open sees until when.
        self.until.store(until.as_nanos(), Ordering::Release);
        self.enter(cold, before, before.next(Phase::Open), shell);
    }

    fn close(
        &self,
        mut cold: MutexGuard<'_, Cold>,
        before: State,
        now: Timestamp,
        shell: &impl Shell,
    ) {
        self.leave_quorum(&mut cold);
        let phase = if self.settings.with(|settings| settings.ramp.is_some()) {
            // Not yet back for good: the attempts are forgotten at the end of the ramp.
            self.ramping_since.store(now.as_nanos(), Ordering::Release);
            Phase::Ramping
        } else {
            cold.attempts = 0;
            Phase::Closed
        };
        self.enter(cold, before, before.next(phase), shell);
    }

    fn enter(&self, cold: MutexGuard<'_, Cold>, before: State, after: State, shell: &impl Shell) {
        let transition = self.write(&cold, before, after);
        drop(cold);
        if let Some(transition) = transition {
            shell.tell(transition);
        }
    }

    /// The one place where the state is written: with the lock held, so that a store is enough.
    fn write(
        &self,
        _held: &MutexGuard<'_, Cold>,
        before: State,
        after: State,
    ) -> Option<Transition> {
        if !before.same_generation(after) {
            // What is heard from now on is about what happens from now on.
            self.hot.wish.forget();
            self.hot.held_back.store(0, Ordering::Release);
        }
        self.state.store(after.word(), Ordering::Release);
        let (from, to) = (before.public(), after.public());
        (from != to).then_some(Transition { from, to })
    }

    /// Whether it may be open until then, as far as its family is concerned.
    fn holds_place(&self, cold: &mut Cold, now: Timestamp, until: Timestamp) -> bool {
        let Some(quorum) = &self.quorum else {
            return true;
        };
        cold.place = quorum.hold(cold.place, now, until);
        cold.place.is_some()
    }

    fn leave_quorum(&self, cold: &mut Cold) {
        if let (Some(quorum), Some(place)) = (&self.quorum, cold.place.take()) {
            quorum.give_back(place);
        }
    }
}

impl Drop for Circuit {
    fn drop(&mut self) {
        self.leave_quorum(&mut lock(&self.hot.cold));
        if let Some(quorum) = &self.quorum {
            quorum.leave();
        }
    }
}
