/// What became of an admitted call, decided once, when it is over.
///
/// A call is over at its error, at the end of its response body (or its trailers), or when whoever
/// waited for it went away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Outcome {
    /// It was answered, whatever the answer says to the caller: a 404 is a success of the dependency.
    Success,
    /// It failed: an error, a 5xx, a failing `grpc-status`, a body that broke off.
    Failure,
    /// It was turned away by the dependency's own limit: HTTP 429, gRPC `RESOURCE_EXHAUSTED`.
    Throttled,
    /// Whoever asked did not wait for the end.
    Cancelled,
}

impl Outcome {
    /// Every outcome, in the order of [`Outcome::index`].
    pub const ALL: [Self; 4] = [
        Self::Success,
        Self::Failure,
        Self::Throttled,
        Self::Cancelled,
    ];

    /// The word for it in snapshots and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Throttled => "throttled",
            Self::Cancelled => "cancelled",
        }
    }

    /// Its place in [`Outcome::ALL`], for tables of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_the_place_in_all() {
        for (place, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome.index(), place);
        }
    }
}
