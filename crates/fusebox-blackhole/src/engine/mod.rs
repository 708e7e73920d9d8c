//! The decision alone: who is in, for how long, and why.
//!
//! No clock, no runtime, no HTTP, no randomness: time, seed and jitter are arguments.
//!
//! | room | holds |
//! | --- | --- |
//! | `network` | a block of addresses |
//! | `key` | what is jailed: one client in eight bytes |
//! | `terms` | how many strikes, how long a sentence |
//! | `record` | what is known of one client: strikes, sentence, relapses |
//! | `table` | the memory for all records: bounded, read without a lock |
//! | `cells` | who is in: strikes, sentences, neighbours |
//! | `lists` | which published list an address is on |
//! | `feed` | reads published lists, and refuses what cannot be one |
//! | `door` | how many connections a client may have, and how fast |
//! | `filter` | answers for the innocent, out of one cache line |
//! | `prison` | cells, lists and filter together |
//! | `never` | who cannot be jailed |

mod cells;
mod door;
mod feed;
mod filter;
mod key;
mod lists;
mod network;
mod never;
mod prison;
mod record;
mod table;
mod terms;

pub use cells::{Cells, Crowded, Inmate, Rules, Struck};
pub use door::{AcceptRate, Door, DoorLimits, Pass, Turned};
pub use feed::{FeedError, FeedFormat, FeedLimits, FeedLimitsError, LineProblem, parse};
pub use key::{Key, Width};
pub use lists::Lists;
pub use network::{Network, NetworkError};
pub use never::Never;
pub use prison::{Held, Listed, Prison};
pub use record::Cause;
pub use terms::{Terms, TermsError};
