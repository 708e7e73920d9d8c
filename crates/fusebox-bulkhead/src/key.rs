use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::{Arc, LazyLock},
    task::Waker,
};

use fusebox_core::Timestamp;

use crate::{
    engine::{Part, Place, Waited},
    shared::Shared,
};

/// Whose request it is: a tenant, a client, a partner.
///
/// A keyed hash of 128 bits, so that it is as small for a long name as for a number and nobody outside
/// can find two that are equal. What it was made of is not kept.
///
/// ```
/// use fusebox_bulkhead::Key;
///
/// assert_eq!(Key::of("tenant-7"), Key::of("tenant-7"));
/// assert_ne!(Key::of("tenant-7"), Key::of("tenant-8"));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(u128);

impl Key {
    /// The key of a tenant's name or number, of a `ClientIdentity`'s key, of anything that can be hashed.
    ///
    /// It means the same for the life of the process.
    pub fn of<T: Hash + ?Sized>(whose: &T) -> Self {
        // Two hashes with random keys of their own make one that is wide enough to stand for the value.
        static HALVES: LazyLock<[RandomState; 2]> =
            LazyLock::new(|| [(); 2].map(|()| RandomState::new()));
        let [high, low] = HALVES.each_ref().map(|half| half.hash_one(whose));
        Self(u128::from(high) << 64 | u128::from(low))
    }

    pub(crate) const fn bits(self) -> u128 {
        self.0
    }
}

impl std::fmt::Debug for Key {
    /// Nothing of the number: in a log it would tell which requests belong together.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Tells whose a request is, for a compartment in which nobody may hold more than a share.
///
/// A closure `Fn(&R) -> Option<Key>` is one; `None` refuses the request as
/// [`Unidentified`](fusebox_core::RejectionKind::Unidentified), so that all who say nothing are not one
/// tenant.
pub trait KeyOf<R> {
    /// Whose it is.
    fn whose(&self, request: &R) -> Whose;
}

/// Whose a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Whose {
    /// It does not matter: there are no shares.
    Anybodys,
    /// This one's.
    Of(Key),
    /// It does not say, and is refused.
    Unknown,
}

/// The [`KeyOf`] of a layer without shares: all requests are equal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Everyone;

impl<R> KeyOf<R> for Everyone {
    #[inline]
    fn whose(&self, _request: &R) -> Whose {
        Whose::Anybodys
    }
}

impl<R, F: Fn(&R) -> Option<Key>> KeyOf<R> for F {
    fn whose(&self, request: &R) -> Whose {
        self(request).map_or(Whose::Unknown, Whose::Of)
    }
}

/// One of what a key may hold, given back when it is dropped.
pub(crate) struct Share {
    shared: Arc<Shared>,
    /// `None` once it is given back.
    part: Option<Part>,
}

impl Share {
    pub(crate) const fn new(shared: Arc<Shared>, part: Part) -> Self {
        let part = Some(part);
        Self { shared, part }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let (Some(shares), Some(part)) = (&self.shared.shares, self.part.take()) {
            shares.leave(part, || self.shared.clock.now());
        }
    }
}

impl std::fmt::Debug for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Share(..)")
    }
}

/// A place in the line of a key, left when it is dropped.
pub(crate) struct KeyLine {
    shared: Arc<Shared>,
    /// `None` once it has become a share, or nothing.
    part: Option<Part>,
    place: Option<Place>,
}

impl KeyLine {
    pub(crate) const fn new(shared: Arc<Shared>, part: Part, place: Place) -> Self {
        Self {
            shared,
            part: Some(part),
            place: Some(place),
        }
    }

    /// Until when it may wait.
    pub(crate) fn deadline(&self) -> Timestamp {
        self.place.as_ref().map_or(Timestamp::MAX, Place::deadline)
    }

    pub(crate) fn poll_turn(&mut self, now: Timestamp, waker: &Waker) -> Waited {
        match &self.part {
            Some(part) => part.poll_turn(&mut self.place, now, waker),
            None => Waited::Expired,
        }
    }

    /// What it was in line for, after it was admitted.
    pub(crate) fn into_share(mut self) -> Share {
        Share {
            shared: self.shared.clone(),
            part: self.part.take(),
        }
    }
}

impl Drop for KeyLine {
    fn drop(&mut self) {
        let (Some(shares), Some(part)) = (&self.shared.shares, self.part.take()) else {
            return;
        };
        match self.place.take() {
            Some(place) => shares.abandon(part, place, self.shared.clock.now()),
            None => shares.forget(part),
        }
    }
}
