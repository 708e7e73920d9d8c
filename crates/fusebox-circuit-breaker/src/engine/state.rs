use fusebox_core::CircuitState;

/// What a circuit does with a call. `Ramping` is a `Closed` that lets only a share through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Every call passes and is judged.
    Closed,
    /// As closed, but only a growing share passes.
    Ramping,
    /// Probes pass.
    HalfOpen,
    /// Nothing passes until the cool-down is over.
    Open,
    /// Nothing passes.
    ForcedOpen,
    /// Everything passes and nothing is judged.
    Disabled,
}

/// A phase and the generation it belongs to, in one word: whoever has the word that is current knows
/// that nothing has changed.
///
/// Every transition begins a new generation, except the end of a ramp, which changes nothing for the
/// calls in flight. Generations are 61 bits wide here and 32 in the words of the windows: what goes
/// round there needs four thousand million transitions within one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State(u64);

const PHASE_BITS: u32 = 3;
const PHASE_MASK: u64 = (1 << PHASE_BITS) - 1;

impl State {
    /// The state of no circuit: what a call was let through in that should not have been.
    pub(super) const REFUSED: Self = Self(PHASE_MASK);

    pub(super) const fn new(phase: Phase, generation: u64) -> Self {
        Self(generation << PHASE_BITS | phase as u64)
    }

    pub(super) const fn from_word(word: u64) -> Self {
        Self(word)
    }

    pub(super) const fn word(self) -> u64 {
        self.0
    }

    /// The next generation, in `phase`.
    pub(super) const fn next(self, phase: Phase) -> Self {
        Self::new(phase, (self.0 >> PHASE_BITS).wrapping_add(1))
    }

    /// The same generation, in `phase`.
    pub(super) const fn same(self, phase: Phase) -> Self {
        Self::new(phase, self.0 >> PHASE_BITS)
    }

    pub(super) const fn phase(self) -> Phase {
        match self.0 & PHASE_MASK {
            0 => Phase::Closed,
            1 => Phase::Ramping,
            2 => Phase::HalfOpen,
            3 => Phase::Open,
            4 => Phase::ForcedOpen,
            _ => Phase::Disabled,
        }
    }

    /// The common case, without telling the others apart.
    #[inline]
    pub(super) const fn is_closed(self) -> bool {
        self.0 & PHASE_MASK == Phase::Closed as u64
    }

    /// Closed or ramping.
    #[inline]
    pub(super) const fn is_flowing(self) -> bool {
        self.0 & PHASE_MASK <= Phase::Ramping as u64
    }

    /// The generation, as the words of the windows carry it.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "generations are compared modulo 2^32"
    )]
    pub(super) const fn generation(self) -> u32 {
        (self.0 >> PHASE_BITS) as u32
    }

    /// The generation times `size`, a multiple of eight.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "generations are compared modulo 2^32"
    )]
    pub(super) const fn generations_of(self, size: u32) -> u32 {
        // Without bringing the number down first: the phase is a factor of eight.
        ((self.0 & !PHASE_MASK) as u32).wrapping_mul(size >> PHASE_BITS)
    }

    pub(super) const fn same_generation(self, other: Self) -> bool {
        self.0 ^ other.0 <= PHASE_MASK
    }

    /// The word for it that the outside knows.
    #[must_use]
    pub const fn public(self) -> CircuitState {
        match self.phase() {
            Phase::Closed | Phase::Ramping => CircuitState::Closed,
            Phase::HalfOpen => CircuitState::HalfOpen,
            Phase::Open => CircuitState::Open,
            Phase::ForcedOpen => CircuitState::ForcedOpen,
            Phase::Disabled => CircuitState::Disabled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_keeps_phase_and_generation() {
        for phase in [
            Phase::Closed,
            Phase::Ramping,
            Phase::HalfOpen,
            Phase::Open,
            Phase::ForcedOpen,
            Phase::Disabled,
        ] {
            let state = State::new(phase, 7);
            assert_eq!(state.phase(), phase);
            assert_eq!(state.generation(), 7);
            assert!(state.same_generation(state.same(Phase::Closed)));
            assert!(!state.same_generation(state.next(phase)));
        }
    }
}
