use std::time::Duration;

use fusebox_core::{Outcome, Timestamp};

use super::{
    leases::Lease,
    state::{Phase, State},
};

/// What a circuit says to a call.
#[derive(Debug)]
pub enum Verdict {
    /// It may pass; the ticket has to come back through [`Circuit::end`](super::Circuit::end).
    Admitted(Ticket),
    /// It must not.
    Refused(Refused),
}

/// A call that was not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// When it was decided.
    pub at: Timestamp,
    /// When it makes sense to ask again; [`Timestamp::MAX`] if nobody knows.
    pub until: Timestamp,
}

/// A call that was let through: what has to be known when it is over.
///
/// Small, because every call moves it around: what is only needed in some phase shares its place.
#[derive(Clone, Debug)]
pub struct Ticket {
    /// The state it was let through in, and whether more is known than that: see [`MORE`].
    word: u64,
    /// For a probe the word of its lease, for every other call when it began.
    mark: u64,
    /// For a probe the place of its lease, for every other call the quarter in which it is counted as in
    /// flight, each and one; zero for none.
    place: u32,
    /// How many milliseconds the dependency asked to be left alone; zero if it did not.
    wish: u32,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The outcome.
    pub outcome: Outcome,
    /// Whether it was refused on this side and says nothing about the dependency.
    pub local: bool,
    /// How long the dependency asked to be left alone.
    pub retry_after: Option<Duration>,
}

impl From<Outcome> for End {
    fn from(outcome: Outcome) -> Self {
        Self {
            outcome,
            local: false,
            retry_after: None,
        }
    }
}

/// Set in the word of a ticket whose call was timed, so that an untimed one is one whose word is that of
/// the circuit. Generations never get there.
const MORE: u64 = 1 << 63;

impl Ticket {
    /// For a call of which only its outcome matters.
    #[inline(always)]
    pub(super) const fn untimed(state: State) -> Self {
        Self {
            word: state.word(),
            mark: 0,
            place: 0,
            wish: 0,
        }
    }

    pub(super) const fn timed(state: State, began: Timestamp) -> Self {
        Self {
            word: state.word() | MORE,
            mark: began.as_nanos(),
            place: 0,
            wish: 0,
        }
    }

    pub(super) const fn probe(state: State, lease: Lease) -> Self {
        let (place, mark) = lease.parts();
        Self {
            word: state.word() | MORE,
            mark,
            place: place + 1,
            wish: 0,
        }
    }

    /// For a call that is made in spite of the verdict: its end moves nothing.
    #[must_use]
    pub const fn in_spite(now: Timestamp) -> Self {
        Self::timed(State::REFUSED, now)
    }

    /// Whether the call was made in spite of the verdict.
    #[must_use]
    pub fn is_in_spite(&self) -> bool {
        self.state() == State::REFUSED
    }

    /// The state it was let through in.
    #[inline(always)]
    pub(super) const fn state(&self) -> State {
        State::from_word(self.word & !MORE)
    }

    /// Whether it is untimed and the circuit has not changed since.
    #[inline(always)]
    pub(super) const fn is_untimed_in(&self, state: State) -> bool {
        self.word == state.word()
    }

    /// When it was let through, if it is no probe and somebody wanted to know.
    pub(super) fn began(&self) -> Option<Timestamp> {
        (self.word & MORE != 0).then(|| Timestamp::from_nanos(self.mark))
    }

    /// Whether it is a probe of a half-open circuit.
    #[must_use]
    pub fn is_probe(&self) -> bool {
        self.lease().is_some()
    }

    /// The lease of a probe.
    pub(super) fn lease(&self) -> Option<Lease> {
        if self.state().phase() == Phase::HalfOpen {
            Lease::from_parts(self.place.checked_sub(1)?, self.mark)
        } else {
            None
        }
    }

    /// The lease of the probe is another one now.
    pub(super) const fn renew(&mut self, lease: Lease) {
        let (place, mark) = lease.parts();
        (self.place, self.mark) = (place + 1, mark);
    }

    /// Whether an answer changes anything for it: it is counted as in flight, or a probe.
    #[inline(always)]
    #[must_use]
    pub const fn awaits_answer(&self) -> bool {
        self.place != 0
    }

    /// It is counted as in flight in that quarter.
    pub(super) const fn takes_off(&mut self, quarter: u32) {
        self.place = quarter + 1;
    }

    /// It is not in flight any more: the quarter in which it was counted, if it was.
    #[inline]
    pub(super) fn lands(&mut self) -> Option<u32> {
        if self.place == 0 || !self.is_judged() {
            return None;
        }
        std::mem::take(&mut self.place).checked_sub(1)
    }

    /// The dependency asks to be left alone for so long; the latest wish counts.
    pub fn asked_for(&mut self, wish: Duration) {
        // More than seven weeks are seven weeks.
        self.wish = u32::try_from(wish.as_millis()).unwrap_or(u32::MAX);
    }

    /// How long the dependency asked to be left alone.
    pub(super) fn wish(&self) -> Option<Duration> {
        (self.wish > 0).then(|| Duration::from_millis(self.wish.into()))
    }

    /// Whether its end is counted in the window.
    #[inline]
    pub(super) const fn is_judged(&self) -> bool {
        self.state().is_flowing()
    }
}
