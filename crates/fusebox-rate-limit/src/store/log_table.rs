//! The table of the exact logs: a few keys in each set, a lock for each set.
//!
//! A log is as long as its limit, so it cannot be one word that is swapped. The lock is shared by the
//! few keys of a set and by nobody else.

use std::sync::atomic::{AtomicUsize, Ordering};

use fusebox_core::{
    Timestamp,
    sync::{Mutex, lock},
};

use super::table::{NoPlace, Overflow};
use crate::engine::log::Log;

/// Sets of sixteen, a third of them taken: when as many keys are active as there is room for, one set in
/// thirty thousand has more than its places.
const WAYS: usize = 16;
const PLACES_PER_KEY: usize = 3;

#[derive(Debug)]
pub(crate) struct LogTable {
    sets: Box<[Mutex<Set>]>,
    overflow: Overflow,
    /// How many entries each log has room for.
    room: AtomicUsize,
}

#[derive(Debug)]
struct Set {
    logs: Box<[Entry]>,
    /// What those share that find no place.
    shared: Vec<u64>,
    overflowed: u64,
}

/// A key's log, empty if it is nobody's. All 64 bits of the hash are kept: a log is long anyway.
#[derive(Debug)]
struct Entry {
    hash: u64,
    moments: Vec<u64>,
}

impl LogTable {
    /// Room for so many keys, all of it allocated now.
    pub(crate) fn new(keys: usize, log: Log, overflow: Overflow) -> Self {
        let sets = keys.saturating_mul(PLACES_PER_KEY).div_ceil(WAYS).max(1);
        let entry = || Entry {
            hash: 0,
            moments: Vec::with_capacity(log.limit()),
        };
        let set = || Set {
            logs: (0..WAYS).map(|_| entry()).collect(),
            shared: Vec::with_capacity(log.limit()),
            overflowed: 0,
        };
        Self {
            sets: (0..sets).map(|_| Mutex::new(set())).collect(),
            overflow,
            room: AtomicUsize::new(log.limit()),
        }
    }

    /// Gives each log room for so many entries. That takes as long as making the table did; who decides meanwhile waits for
    /// one set at most.
    pub(crate) fn make_room(&self, limit: usize) {
        if self.room.fetch_max(limit, Ordering::Relaxed) >= limit {
            return;
        }
        for set in &self.sets {
            let set = &mut *lock(set);
            let logs = set.logs.iter_mut().map(|entry| &mut entry.moments);
            for moments in logs.chain([&mut set.shared]) {
                moments.reserve_exact(limit.saturating_sub(moments.len()));
            }
        }
    }

    /// Runs `step` on the log of the key at `hash`, without what lies too far back.
    pub(crate) fn update<R>(
        &self,
        hash: u64,
        log: &Log,
        now: Timestamp,
        step: impl FnOnce(&mut Vec<u64>) -> R,
    ) -> Result<R, NoPlace> {
        let index = (u128::from(hash) * self.sets.len() as u128) >> 64;
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let Some(set) = self.sets.get(index) else {
            return Err(NoPlace);
        };
        let set = &mut *lock(set);
        log.expire(&mut set.shared, now);
        let known = set.logs.iter().position(|entry| entry.hash == hash);
        let free = || {
            set.logs
                .iter()
                .position(|entry| log.is_over(&entry.moments, now))
        };
        let Some(at) = known.or_else(free) else {
            set.overflowed += 1;
            return match self.overflow {
                Overflow::Share => Ok(step(&mut set.shared)),
                Overflow::Refuse => Err(NoPlace),
            };
        };
        let Some(entry) = set.logs.get_mut(at) else {
            return Err(NoPlace);
        };
        log.expire(&mut entry.moments, now);
        // The same hash and nothing left is a new key too.
        if entry.moments.is_empty() {
            entry.hash = hash;
            // It may have been among those who share.
            entry.moments.extend_from_slice(&set.shared);
        }
        Ok(step(&mut entry.moments))
    }

    /// Decisions that found no place.
    pub(crate) fn overflowed(&self) -> u64 {
        self.sets.iter().map(|set| lock(set).overflowed).sum()
    }

    /// About how many keys are active: counted in a sample of the sets.
    pub(crate) fn active(&self, log: &Log, now: Timestamp) -> u64 {
        const SAMPLE: usize = 256;
        let every = (self.sets.len() / SAMPLE).max(1);
        let active = |set: &Mutex<Set>| {
            let logs = &lock(set).logs;
            let active = |entry: &&Entry| !log.is_over(&entry.moments, now);
            logs.iter().filter(active).count() as u64
        };
        let sample = self.sets.iter().step_by(every);
        sample.map(active).sum::<u64>() * every as u64
    }

    /// Bytes that the logs take.
    pub(crate) fn bytes(&self) -> usize {
        let room = self.room.load(Ordering::Relaxed);
        self.sets.len() * (WAYS + 1) * (room * size_of::<u64>() + size_of::<Entry>())
    }
}
