//! The decision, as arithmetic: quotas, their clocks, and what may be spent now.
//!
//! Nothing here reads a clock, draws a random number, allocates or waits. A client's standing is one
//! small number (see [`STATE_BITS`]), so that the table can keep it, with the client's tag, in one
//! atomic word. Every algorithm answers the same four questions about that number: is it as good as
//! none ([idle](gcra::Gcra)), what if so much is spent, given back, or added as a penalty.
//!
//! | algorithm | admits over any stretch of time `T` at most |
//! | --- | --- |
//! | token bucket, leaky bucket (meter) | `burst + rate * T`, and a tick (at most 1/256 of a token) |
//! | leaky bucket (shaper) | `1 + rate * T`, and a tick; evenly spaced to within a tick, refunds or not |
//! | fixed window `W` | `limit * (ceil(T / W) + 1)`; `limit` in each aligned window |
//! | sliding window `W` (estimate) | as the fixed window, and less where the window before was busy |
//! | sliding log `W` | `limit` in any `T <= W`, exactly |
//!
//! What is given back within `T` and was spent before it adds to each of them but the shaper's, whose turns are not given
//! back. Where a quota is changed, the bound is that of each time by itself. In particular a shaper that is made faster has
//! turns to keep which it has promised at the old rate: for as long as a wait may last those calls start, evenly spaced,
//! between those of the new rate, which are evenly spaced too.

mod algorithm;
pub mod gcra;
pub mod log;
pub mod pace;
pub mod quota;
pub(crate) mod steady;
pub mod window;

pub use algorithm::Algorithm;

/// How many bits of a table's word are the state; the rest tells whose it is.
pub const STATE_BITS: u32 = 39;
/// The bits of a state.
pub const STATE_MASK: u64 = (1 << STATE_BITS) - 1;

/// What a decision found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It may pass, after waiting for so many ticks (0: at once); this is the state afterwards.
    Spent {
        /// The state to keep.
        state: u64,
        /// Ticks to wait first.
        wait: u64,
    },
    /// It may not pass; after so many ticks it might. `u64::MAX`: never, it asks for more than the burst.
    Denied {
        /// Ticks.
        wait: u64,
    },
}
