//! The ways to count.

/// How a policy counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Algorithm {
    /// Tokens come at the quota's rate, up to its burst; a request takes its cost in tokens.
    #[default]
    TokenBucket,
    /// Water: a request adds its cost, the rate drains it, and what would overflow the burst is refused.
    /// The same decisions as [`TokenBucket`](Self::TokenBucket), told the other way round.
    LeakyBucket,
    /// One after the other at an even rate: requests wait their turn, at most `queue` of them and
    /// none longer than the policy's longest wait, which must be set. A turn is not given back, whatever
    /// becomes of the call: another in its place would start beside the next one. Where another policy lets requests wait
    /// too, those that wait longer there start out of turn.
    Shaper {
        /// How many may wait.
        queue: u64,
    },
    /// So many in each period; periods are counted from when the limiter was made.
    FixedWindow,
    /// So many in the period that ends now, estimated from the count of this one and of the one before.
    SlidingWindow,
    /// So many in the period that ends now, exactly. For quotas of at most 64.
    SlidingLog,
}
