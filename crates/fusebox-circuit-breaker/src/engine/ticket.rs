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
    Refused {
        /// When it was decided.
        at: Timestamp,
        /// How long to stay away, if that is known.
        retry_after: Option<Duration>,
    },
}

/// A call that was let through: what has to be known when it is over.
#[derive(Debug)]
pub struct Ticket {
    pub(super) state: State,
    pub(super) began: Timestamp,
    /// Boxed: probes are few, and every other call would carry the room for it.
    pub(super) lease: Option<Box<Lease>>,
    pub(super) shard: u32,
    /// In which quarter it is counted as in flight.
    pub(super) flight: u32,
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

/// In no quarter: calls in flight are not watched. Quarters have 28 bits.
pub(super) const UNWATCHED: u32 = u32::MAX;

/// When a call began whose length nobody wants to know.
pub(super) const UNTIMED: Timestamp = Timestamp::MAX;

impl Ticket {
    /// Says whose calls it is counted with. The caller sees to it that a shard is one thread's, mostly.
    #[inline]
    pub(super) fn new(state: State, began: Timestamp, shard: usize) -> Self {
        Self {
            state,
            began,
            lease: None,
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a few dozen shards at most"
            )]
            shard: shard as u32,
            flight: UNWATCHED,
        }
    }

    /// For a call that is made in spite of the verdict: its end moves nothing.
    #[must_use]
    pub fn unjudged(began: Timestamp) -> Self {
        Self::new(State::new(Phase::Disabled, 0), began, 0)
    }

    /// When it was let through, if anybody wanted to know.
    #[inline]
    #[must_use]
    pub fn began(&self) -> Option<Timestamp> {
        (self.began != UNTIMED).then_some(self.began)
    }

    /// Whether it is a probe of a half-open circuit.
    #[must_use]
    pub const fn is_probe(&self) -> bool {
        self.lease.is_some()
    }

    /// Whether its end is counted in the window.
    pub(super) const fn is_judged(&self) -> bool {
        self.state.is_flowing()
    }
}
