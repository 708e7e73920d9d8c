//! The machine: what a circuit decides, given the time and a random number, and nothing else.
//!
//! Everything here takes `&self` and is shared by all calls. While the circuit is closed a call reads
//! one word and, when it is over, counts itself where only its own thread counts. The one lock is for
//! transitions and for what half-open probes report, which are few.
//!
//! Nothing is ever cleared. Every transition begins a new *generation*, every word that counts says
//! which generation it speaks of, and a call that comes back late speaks of one that is over.

mod admission;
mod circuit;
mod cool_down;
mod flights;
mod leases;
#[cfg(all(test, not(fusebox_loom)))]
mod model;
mod quorum;
mod ring;
mod settings;
mod shard;
mod state;
mod tally;
mod ticket;
mod transition;
mod wheel;
mod window;
mod wish;

pub use admission::Reserved;
pub use circuit::Circuit;
pub use cool_down::CoolDown;
#[cfg(feature = "handle")]
pub(crate) use leases::MOST_PROBES;
pub use quorum::Quorum;
pub use settings::{
    Closing, CountsAs, Hanging, Ramp, Settings, Share, Slow, Tunable, WindowSettings,
};
pub use shard::Shard;
pub use state::{Phase, State};
pub use ticket::{End, Refused, Ticket, Verdict};
pub use transition::{ByHand, Shell, Transition};
pub use window::Totals;
