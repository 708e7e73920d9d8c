//! The decision alone: who gets a slot, who waits, who is refused.
//!
//! No clock, no runtime, no HTTP: time is an argument, waking is a [`std::task::Waker`]. [`Slots`] is
//! what a compartment is made of; whoever has another runtime or protocol can build on it.
//!
//! | room | holds |
//! | --- | --- |
//! | `word` | slots in use, limit and flags in one atomic word |
//! | `line` | the waiting line behind a lock that only waiters take |
//! | `slots` | how the two work together |
//! | `shares` | slots and a line for each key |

mod line;
mod shares;
mod slots;
mod word;

pub use line::{Place, Queue, QueueOrder};
pub use shares::{NoShare, Part, Shares};
pub use slots::{Entry, Slots, Waited};
pub use word::MOST_SLOTS;
