use std::time::Duration;

use crate::{LayerKind, Name, Timestamp, time::nanos};

/// A layer's refusal: who refused, by which policy, why, and when to come back.
///
/// HTTP flavours put it into the extensions of the refusing response; plain flavours return it in
/// [`CallError::Rejected`](crate::CallError::Rejected). Layers further out read it, so that a breaker
/// does not take a local refusal for the dependency's failure, and retries leave it alone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Rejection {
    layer: LayerKind,
    policy: Name,
    kind: RejectionKind,
    retry_after: RetryAfter,
}

/// Nanoseconds, or nothing: one word, because a refusal is moved several times and is all that a layer does
/// under overload.
#[derive(Clone, Copy, PartialEq, Eq)]
struct RetryAfter(u64);

impl RetryAfter {
    const UNKNOWN: Self = Self(u64::MAX);

    const fn get(self) -> Option<Duration> {
        match self {
            Self::UNKNOWN => None,
            Self(nanos) => Some(Duration::from_nanos(nanos)),
        }
    }
}

impl std::fmt::Debug for RetryAfter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.get().fmt(f)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for RetryAfter {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.get().serialize(serializer)
    }
}

/// Why a layer refused.
///
/// Each kind has one answer on the wire: an HTTP status and a gRPC status (see `fusebox-http`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum RejectionKind {
    /// Every slot is taken and the queue, if there is one, is full.
    Full,
    /// No slot came free within the queue's time bound.
    QueueTimeout,
    /// There are as many active keys (tenants, clients) as the layer keeps track of.
    TooManyKeys,
    /// The layer could not tell who is asking, and its policy is to refuse then.
    Unidentified,
    /// The client has spent its quota.
    QuotaExceeded,
    /// The dependency is known to be down.
    CircuitOpen,
    /// The request was judged an attack.
    Forbidden,
    /// The peer is banned.
    Banned,
    /// The layer is shutting down and takes no new work.
    ShuttingDown,
    /// The call panicked on the layer's own threads; the panic ended there.
    Panicked,
    /// The body is longer than the layer takes.
    TooLarge,
    /// The body did not arrive in time, or too slowly.
    TooSlow,
    /// The body is in a form that the layer cannot look into.
    Unsupported,
    /// The layer could not come to a decision in the time it is given.
    Undecided,
    /// The call was made, and its answer must not leave.
    Withheld,
}

impl RejectionKind {
    /// Every kind, for tables.
    pub const ALL: [Self; 15] = [
        Self::Full,
        Self::QueueTimeout,
        Self::TooManyKeys,
        Self::Unidentified,
        Self::QuotaExceeded,
        Self::CircuitOpen,
        Self::Forbidden,
        Self::Banned,
        Self::ShuttingDown,
        Self::Panicked,
        Self::TooLarge,
        Self::TooSlow,
        Self::Unsupported,
        Self::Undecided,
        Self::Withheld,
    ];

    /// The word for it in snapshots, logs and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::QueueTimeout => "queue_timeout",
            Self::TooManyKeys => "too_many_keys",
            Self::Unidentified => "unidentified",
            Self::QuotaExceeded => "quota_exceeded",
            Self::CircuitOpen => "circuit_open",
            Self::Forbidden => "forbidden",
            Self::Banned => "banned",
            Self::ShuttingDown => "shutting_down",
            Self::Panicked => "panicked",
            Self::TooLarge => "too_large",
            Self::TooSlow => "too_slow",
            Self::Unsupported => "unsupported",
            Self::Undecided => "undecided",
            Self::Withheld => "withheld",
        }
    }

    /// A sentence for people, that tells a client nothing about the inside.
    #[must_use]
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::Full => "too many requests of this kind are in progress",
            Self::QueueTimeout => "the request waited too long for its turn",
            Self::TooManyKeys => "too many callers are active at once",
            Self::Unidentified => "the caller could not be identified",
            Self::QuotaExceeded => "the request quota is used up",
            Self::CircuitOpen => "a service this request needs is unavailable",
            Self::Forbidden => "the request was refused by a security policy",
            Self::Banned => "this client is blocked",
            Self::ShuttingDown => "the service is shutting down",
            Self::Panicked => "the request could not be completed",
            Self::TooLarge => "the request is too large",
            Self::TooSlow => "the request did not arrive in time",
            Self::Unsupported => "the request is in a form that is not supported",
            Self::Undecided => "the request could not be checked in time",
            Self::Withheld => "the response was withheld by a security policy",
        }
    }

    /// Whether the call may have run, wholly or in part, before it was refused.
    ///
    /// Everything else is decided before the inner service is called and is therefore safe to retry elsewhere.
    /// [`Panicked`](Self::Panicked) is not, and neither is [`Withheld`](Self::Withheld): a firewall that looks at
    /// responses too refuses calls that were made.
    #[must_use]
    pub const fn may_have_run(self) -> bool {
        matches!(self, Self::Panicked | Self::Withheld)
    }

    /// Whether the same request may pass a little later, so that a time to come back means something.
    ///
    /// Not for what is wrong with the request or its sender, which stays wrong, and not for what
    /// [may have run](Self::may_have_run).
    #[must_use]
    pub const fn passes_later(self) -> bool {
        matches!(
            self,
            Self::Full
                | Self::QueueTimeout
                | Self::TooManyKeys
                | Self::QuotaExceeded
                | Self::CircuitOpen
                | Self::ShuttingDown
                | Self::Undecided
        )
    }

    /// Its place in [`RejectionKind::ALL`], for tables of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl std::fmt::Display for RejectionKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Rejection {
    /// A refusal by `policy` of `layer`.
    #[must_use]
    pub const fn new(layer: LayerKind, policy: Name, kind: RejectionKind) -> Self {
        Self {
            layer,
            policy,
            kind,
            retry_after: RetryAfter::UNKNOWN,
        }
    }

    /// Says when it makes sense to come back, up to 584 years.
    #[must_use]
    pub const fn with_retry_after(mut self, retry_after: Duration) -> Self {
        let nanos = nanos(retry_after);
        // The longest there is, is still known.
        self.retry_after = RetryAfter(if nanos == u64::MAX { nanos - 1 } else { nanos });
        self
    }

    /// As [`with_retry_after`](Self::with_retry_after), for who has points in time: it is `now`, and it makes
    /// sense to come back at `then`. Nobody knows when, if that is [`Timestamp::MAX`].
    #[must_use]
    #[inline]
    pub const fn with_retry_at(mut self, now: Timestamp, then: Timestamp) -> Self {
        let (now, then) = (now.as_nanos(), then.as_nanos());
        self.retry_after = RetryAfter(if then == u64::MAX {
            then
        } else {
            then.saturating_sub(now)
        });
        self
    }

    /// Which layer refused.
    #[must_use]
    pub const fn layer(&self) -> LayerKind {
        self.layer
    }

    /// The policy, compartment or circuit that refused, by its configured name.
    #[must_use]
    pub const fn policy(&self) -> &Name {
        &self.policy
    }

    /// Why.
    #[must_use]
    pub const fn kind(&self) -> RejectionKind {
        self.kind
    }

    /// How long to stay away, if the layer knows.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after.get()
    }

    /// The refusal behind `error`, however many errors are wrapped around it.
    ///
    /// A connector's refusal, for example, reaches the caller inside hyper's own error.
    #[must_use]
    pub fn find<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(rejection) = error.downcast_ref::<Self>() {
                return Some(rejection);
            }
            next = error.source();
        }
        None
    }
}

impl std::fmt::Display for Rejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "refused by {} \"{}\": {}",
            self.layer,
            self.policy,
            self.kind.explanation()
        )?;
        match self.retry_after() {
            Some(after) => write!(f, " (retry after {after:?})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Rejection {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CallError;

    #[test]
    fn the_index_is_the_place_in_all() {
        for (place, kind) in RejectionKind::ALL.into_iter().enumerate() {
            assert_eq!(kind.index(), place);
        }
    }

    #[test]
    fn only_a_panic_and_a_withheld_response_may_have_run() {
        let may_have_run = |kind: &RejectionKind| kind.may_have_run();
        let kinds: Vec<_> = RejectionKind::ALL
            .into_iter()
            .filter(may_have_run)
            .collect();
        assert_eq!(kinds, [RejectionKind::Panicked, RejectionKind::Withheld]);
    }

    #[test]
    fn what_is_wrong_with_a_request_does_not_pass_later_nor_what_may_have_run() {
        let stays = RejectionKind::ALL
            .into_iter()
            .filter(|kind| !kind.passes_later())
            .collect::<Vec<_>>();
        assert_eq!(
            stays,
            [
                RejectionKind::Unidentified,
                RejectionKind::Forbidden,
                RejectionKind::Banned,
                RejectionKind::Panicked,
                RejectionKind::TooLarge,
                RejectionKind::TooSlow,
                RejectionKind::Unsupported,
                RejectionKind::Withheld,
            ]
        );
        for kind in RejectionKind::ALL {
            assert!(!(kind.passes_later() && kind.may_have_run()), "{kind}");
        }
    }

    #[test]
    fn is_found_behind_other_errors() {
        #[derive(Debug)]
        struct Wrapper(CallError<std::io::Error>);
        impl std::fmt::Display for Wrapper {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("connecting failed")
            }
        }
        impl std::error::Error for Wrapper {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                Some(&self.0)
            }
        }

        let rejection = Rejection::new(LayerKind::Bulkhead, "payments".into(), RejectionKind::Full);
        let wrapped = Wrapper(rejection.clone().into());
        assert_eq!(Rejection::find(&wrapped), Some(&rejection));

        let other = Wrapper(CallError::Inner(std::io::Error::other("refused")));
        assert_eq!(Rejection::find(&other), None);
    }

    #[test]
    fn keeps_when_to_come_back() {
        let refusal = || Rejection::new(LayerKind::Waf, "rules".into(), RejectionKind::Forbidden);
        let at = |nanos| refusal().with_retry_at(Timestamp::from_nanos(7), nanos);
        let two = Duration::from_nanos(2_000_000_001);
        assert_eq!(refusal().retry_after(), None);
        assert_eq!(refusal().with_retry_after(two).retry_after(), Some(two));
        assert!(refusal().with_retry_after(Duration::MAX).retry_after() > Some(two));
        let later = at(Timestamp::from_nanos(2_000_000_008));
        assert_eq!(later.retry_after(), Some(two));
        assert!(format!("{later:?}").contains("retry_after: Some(2.000000001s)"));
        assert_eq!(at(Timestamp::ZERO).retry_after(), Some(Duration::ZERO));
        assert_eq!(at(Timestamp::MAX).retry_after(), None);
    }

    #[test]
    fn says_who_refused_and_why() {
        let rejection = Rejection::new(LayerKind::Bulkhead, "payments".into(), RejectionKind::Full)
            .with_retry_after(Duration::from_secs(2));
        assert_eq!(
            rejection.to_string(),
            "refused by bulkhead \"payments\": too many requests of this kind are in progress \
             (retry after 2s)"
        );
    }
}
