//! How many connections one client may have, and how fast it may make them.
//!
//! A table of fixed size: eight clients in a bucket under a lock of its own, so two clients meet only when they share
//! one of thousands of buckets, and for a handful of instructions. The rate is the generic cell rate algorithm
//! (ITU-T I.371): one number per client, no timers.
//!
//! A full bucket forgets the client that has no connection and whose rate has recovered the most. When all eight
//! have connections, the newcomer is let in and not counted: refusing it would let eight strangers lock out others.

use std::{hash::BuildHasher, time::Duration};

use foldhash::quality::FixedState;
use fusebox_core::{
    Timestamp,
    sync::{Mutex, lock},
    time::nanos,
};

use super::key::Key;

const PER_BUCKET: usize = 8;

/// What one client may do at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoorLimits {
    /// Connections it may have at once; `None` for any number.
    pub connections: Option<u32>,
    /// Connections it may make; `None` for any number.
    pub rate: Option<AcceptRate>,
}

/// So many connections in each period, all of them at once if it likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptRate {
    connections: u32,
    per: Duration,
}

impl AcceptRate {
    /// So many connections in each `per`. `None` if either is zero, or if the period is so short that the time for
    /// one connection is.
    #[must_use]
    pub fn new(connections: u32, per: Duration) -> Option<Self> {
        let rate = Self { connections, per };
        (connections > 0 && rate.each() > 0).then_some(rate)
    }

    /// Nanoseconds that one connection takes up.
    fn each(self) -> u64 {
        nanos(self.per) / u64::from(self.connections.max(1))
    }
}

/// Why a client was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    /// It has as many connections as it may have.
    TooMany,
    /// It makes them too fast.
    TooFast,
}

/// A client that was let in. To be given back with [`Door::leave`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "who is not given back stays counted"]
pub struct Pass {
    /// None for one that is not counted.
    key: Option<u64>,
}

/// The connections of all clients.
pub struct Door {
    hasher: FixedState,
    buckets: Box<[Mutex<[Visitor; PER_BUCKET]>]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Visitor {
    /// 0 for nobody; no key is 0.
    key: u64,
    open: u32,
    /// When its rate has recovered: the theoretical arrival time, in nanoseconds.
    recovered: u64,
}

impl Door {
    /// Room to keep about so many clients in mind.
    #[must_use]
    pub fn new(clients: usize, seed: u64) -> Self {
        let buckets = clients.min(1 << 26).div_ceil(PER_BUCKET).max(1);
        Self {
            hasher: FixedState::with_seed(seed),
            buckets: (0..buckets)
                .map(|_| Mutex::new([Visitor::default(); PER_BUCKET]))
                .collect(),
        }
    }

    /// Lets a client in, or says why not.
    ///
    /// # Errors
    /// [`Turned`]: it has too many connections, or makes them too fast. Being turned away costs it nothing of its
    /// rate.
    pub fn enter(&self, key: Key, limits: &DoorLimits, now: Timestamp) -> Result<Pass, Turned> {
        if limits.connections.is_none() && limits.rate.is_none() {
            return Ok(Pass { key: None });
        }
        let (bits, _) = key.parts();
        let now = now.as_nanos();
        let Some(bucket) = self.bucket(bits) else {
            return Ok(Pass { key: None });
        };
        let mut visitors = lock(bucket);
        let known = visitors.iter().position(|visitor| visitor.key == bits);
        let mut visitor = known
            .and_then(|at| visitors.get(at).copied())
            .unwrap_or(Visitor {
                key: bits,
                ..Visitor::default()
            });
        if limits.connections.is_some_and(|most| visitor.open >= most) {
            return Err(Turned::TooMany);
        }
        if let Some(rate) = limits.rate {
            let recovered = visitor.recovered.max(now).saturating_add(rate.each());
            if recovered > now.saturating_add(nanos(rate.per)) {
                return Err(Turned::TooFast);
            }
            visitor.recovered = recovered;
        }
        visitor.open += 1;
        let place = match known {
            Some(at) => visitors.get_mut(at),
            None => visitors
                .iter_mut()
                .filter(|visitor| visitor.open == 0)
                .min_by_key(|visitor| (visitor.key != 0, visitor.recovered)),
        };
        Ok(Pass {
            key: place.map(|place| {
                *place = visitor;
                bits
            }),
        })
    }

    /// The client's connection is closed.
    pub fn leave(&self, pass: Pass) {
        let Some(bits) = pass.key else { return };
        if let Some(bucket) = self.bucket(bits)
            && let Some(visitor) = lock(bucket).iter_mut().find(|visitor| visitor.key == bits)
        {
            visitor.open = visitor.open.saturating_sub(1);
        }
    }

    /// Connections of the client that are counted now.
    #[must_use]
    pub fn open(&self, key: Key) -> u32 {
        let (bits, _) = key.parts();
        self.bucket(bits).map_or(0, |bucket| {
            let visitors = lock(bucket);
            visitors
                .iter()
                .find(|visitor| visitor.key == bits)
                .map_or(0, |visitor| visitor.open)
        })
    }

    fn bucket(&self, bits: u64) -> Option<&Mutex<[Visitor; PER_BUCKET]>> {
        let hash = self.hasher.hash_one(bits) >> 32;
        self.buckets
            .get(((hash * self.buckets.len() as u64) >> 32) as usize)
    }
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door")
            .field("room", &(self.buckets.len() * PER_BUCKET))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn key(number: u32) -> Key {
        Key::of_address(std::net::Ipv4Addr::from_bits(0x8000_0000 + number).into()).unwrap()
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_millis(millis)
    }

    fn limits(connections: Option<u32>, rate: Option<(u32, u64)>) -> DoorLimits {
        let rate = rate.map(|(connections, millis)| {
            AcceptRate::new(connections, Duration::from_millis(millis)).unwrap()
        });
        DoorLimits { connections, rate }
    }

    #[test]
    fn lets_in_as_many_as_are_allowed_and_one_more_for_each_that_left() {
        let (door, limits) = (Door::new(100, 1), limits(Some(2), None));
        let first = door.enter(key(1), &limits, at(0)).unwrap();
        let second = door.enter(key(1), &limits, at(0)).unwrap();
        assert_eq!(door.enter(key(1), &limits, at(0)), Err(Turned::TooMany));
        let other = door.enter(key(2), &limits, at(0)).unwrap();
        door.leave(first);
        let third = door.enter(key(1), &limits, at(0)).unwrap();
        [second, third, other]
            .into_iter()
            .for_each(|pass| door.leave(pass));
        assert_eq!((door.open(key(1)), door.open(key(2))), (0, 0));
    }

    #[test]
    fn a_burst_is_let_in_and_then_one_at_a_time() {
        let (door, limits) = (Door::new(100, 1), limits(None, Some((4, 1_000))));
        let mut enter = |millis| {
            door.enter(key(1), &limits, at(millis))
                .map(|pass| door.leave(pass))
                .is_ok()
        };
        assert_eq!([0; 5].map(&mut enter), [true, true, true, true, false]);
        assert_eq!(
            [249, 250, 251, 499, 500].map(&mut enter),
            [false, true, false, false, true]
        );
    }

    #[test]
    fn a_rate_of_nothing_is_no_rate() {
        assert_eq!(AcceptRate::new(0, Duration::from_secs(1)), None);
        assert_eq!(AcceptRate::new(5, Duration::ZERO), None);
        assert_eq!(AcceptRate::new(5, Duration::from_nanos(4)), None);
    }

    #[test]
    fn visitors_with_connections_are_never_forgotten_and_strangers_are_not_locked_out() {
        // One bucket.
        let (door, limits) = (Door::new(1, 1), limits(Some(1), None));
        let inside: Vec<_> = (0..8)
            .map(|number| door.enter(key(number), &limits, at(0)).unwrap())
            .collect();
        for number in 100..200 {
            let pass = door.enter(key(number), &limits, at(0)).unwrap();
            assert_eq!(door.open(key(number)), 0, "let in and not counted");
            door.leave(pass);
        }
        for number in 0..8 {
            assert_eq!(
                door.enter(key(number), &limits, at(0)),
                Err(Turned::TooMany)
            );
        }
        inside.into_iter().for_each(|pass| door.leave(pass));
    }

    proptest! {
        #[test]
        fn agrees_with_a_list_of_connections(
            steps in proptest::collection::vec((0..4_u32, any::<bool>(), 0..400_u64), 0..200),
        ) {
            let (door, limits) = (Door::new(1_000, 3), limits(Some(3), Some((4, 1_000))));
            let mut passes: HashMap<u32, Vec<Pass>> = HashMap::new();
            let mut tokens: HashMap<u32, (f64, u64)> = HashMap::new();
            let mut now = 0;
            for (client, leaves, wait) in steps {
                now += wait;
                let open = passes.entry(client).or_default();
                if leaves {
                    if let Some(pass) = open.pop() {
                        door.leave(pass);
                    }
                } else {
                    // A bucket of four tokens that fills in a second, counted in quarters of a millisecond.
                    let (level, last) = tokens.entry(client).or_insert((4.0, now));
                    *level = (*level + (now - *last) as f64 / 250.0).min(4.0);
                    *last = now;
                    let expected = if open.len() >= 3 {
                        Err(Turned::TooMany)
                    } else if *level < 1.0 - 1e-9 {
                        Err(Turned::TooFast)
                    } else {
                        *level -= 1.0;
                        Ok(())
                    };
                    let entered = door.enter(key(client), &limits, at(now));
                    prop_assert_eq!(entered.as_ref().map(|_| ()).map_err(|turned| *turned), expected);
                    open.extend(entered);
                }
                prop_assert_eq!(door.open(key(client)) as usize, open.len());
            }
        }
    }
}
