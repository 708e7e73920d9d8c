//! Cells, lists and the filter in front of both: the whole question, asked once.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use arc_swap::ArcSwap;
use fusebox_core::{
    Timestamp,
    sync::{AtomicU64, Mutex, Ordering, lock},
};

use super::{
    cells::{Cells, Crowded, Inmate, Rules, Struck},
    filter::Filter,
    key::Key,
    lists::Lists,
    network::Network,
    record::Cause,
    terms::Terms,
};

/// Who is in, and who is on a list. Shared by all threads; nothing on the way of the innocent is locked, or written to.
pub struct Prison {
    cells: Cells,
    filter: Filter,
    /// Swapped whole, and read only for those whom the filter does not clear.
    lists: ArcSwap<Lists>,
    seed: u64,
    /// What the filter is built from besides the cells. Whoever builds holds it.
    listed: Mutex<Arc<[Listed]>>,
    /// Clients that went into the filter since it was built.
    added: AtomicU64,
}

/// The records of one list.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The number that is given for an address on it.
    pub number: u8,
    /// The blocks on it.
    pub networks: Arc<[Network]>,
}

/// Why an address is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// It is in, or a network around it is.
    Jailed(Inmate),
    /// It is on the list of that number.
    Listed(u8),
}

impl Prison {
    /// An empty one, with room for about `clients` (see [`Cells::new`]) and `records` of lists. More records than that
    /// only make the answer for the innocent slower.
    #[must_use]
    pub fn new(clients: usize, records: usize, seed: u64) -> Self {
        Self {
            cells: Cells::new(clients, seed),
            filter: Filter::new(clients.saturating_add(records), seed),
            lists: ArcSwap::default(),
            seed,
            listed: Mutex::new(Arc::new([])),
            added: AtomicU64::new(0),
        }
    }

    /// Whether the address is in or listed. For an innocent one this is one cache line.
    #[inline]
    #[must_use]
    pub fn check(&self, address: IpAddr, now: Timestamp) -> Option<Held> {
        let may_be_held = match address {
            IpAddr::V4(v4) => self.filter.may_know_v4(v4.to_bits()),
            IpAddr::V6(v6) => match upper(v6) {
                // IPv4-mapped, or nothing that a client has.
                0..0x0001_0000_0000_0000 => true,
                upper => self.filter.may_know_v6(upper),
            },
        };
        if may_be_held {
            self.look(address, now)
        } else {
            None
        }
    }

    /// Whether the client with this key is in: for those that are known by a credential and not by an address.
    #[inline]
    #[must_use]
    pub fn check_key(&self, key: Key, now: Timestamp) -> Option<Inmate> {
        if self.filter.may_know(key) {
            self.cells.check(key, now)
        } else {
            None
        }
    }

    #[cold]
    #[inline(never)]
    fn look(&self, address: IpAddr, now: Timestamp) -> Option<Held> {
        let inmate = Key::of_peer(address).and_then(|key| self.cells.check(key, now));
        inmate
            .map(Held::Jailed)
            .or_else(|| self.lists.load().find(address).map(Held::Listed))
    }

    /// Counts a strike; see [`Cells::strike`].
    pub fn strike(
        &self,
        key: Key,
        cause: Cause,
        rules: &Rules,
        now: Timestamp,
        jitter: u32,
    ) -> Struck {
        let struck = self.cells.strike(key, cause, rules, now, jitter);
        if let Struck::Jailed { inmate, around } = &struck {
            around
                .iter()
                .flatten()
                .chain([inmate])
                .for_each(|inmate| self.note(inmate.key));
        }
        struck
    }

    /// Sends a client in; see [`Cells::jail`].
    pub fn jail(
        &self,
        key: Key,
        cause: Cause,
        until: Timestamp,
        rules: &Rules,
        now: Timestamp,
    ) -> Option<Inmate> {
        let inmate = self.cells.jail(key, cause, until, rules, now)?;
        self.note(key);
        Some(inmate)
    }

    /// Puts back one that was known before a restart; see [`Cells::restore`].
    pub fn restore(&self, was: Inmate, rules: &Rules, now: Timestamp) -> Option<Inmate> {
        let inmate = self.cells.restore(was, rules, now)?;
        if inmate.until > now {
            self.note(was.key);
        }
        Some(inmate)
    }

    /// Puts a client whose cell is written into the filter as well: from here on it is held.
    fn note(&self, key: Key) {
        self.filter.add(key);
        self.added.fetch_add(1, Ordering::Relaxed);
    }

    /// Replaces all lists at once. Sorts them first: call it off the runtime.
    pub fn set_lists(&self, listed: impl Into<Arc<[Listed]>>, now: Timestamp) {
        let mut held = lock(&self.listed);
        *held = listed.into();
        let networks = held.iter().flat_map(|list| {
            list.networks
                .iter()
                .map(move |network| (*network, list.number))
        });
        self.lists.store(Arc::new(Lists::new(networks, self.seed)));
        self.build(&held, now);
    }

    /// Builds the filter anew if so many have gone in since the last time that it clears too few. Cheap when there is
    /// nothing to do; otherwise it reads all cells and lists, so call it off the runtime, every minute or so.
    pub fn tidy(&self, now: Timestamp) -> bool {
        // With as many dead entries as it has room for, one innocent in ten is looked up.
        let added = usize::try_from(self.added.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        if added < self.filter.room() / 2 {
            return false;
        }
        self.build(&lock(&self.listed), now);
        true
    }

    fn build(&self, listed: &[Listed], now: Timestamp) {
        self.added.store(0, Ordering::Relaxed);
        self.filter.build(|building| {
            self.cells.for_each(now, |inmate| building.add(inmate.key));
            let networks = listed.iter().flat_map(|list| list.networks.iter());
            networks.for_each(|network| building.list(*network));
        });
    }

    /// Forgets the client; see [`Cells::release`].
    pub fn release(&self, key: Key, now: Timestamp) -> Option<Inmate> {
        self.cells.release(key, now)
    }

    /// Forgets everybody. Lists stay.
    pub fn release_all(&self) {
        self.cells.release_all();
    }

    /// Shows everyone who is in; see [`Cells::for_each`].
    pub fn for_each(&self, now: Timestamp, show: impl FnMut(Inmate)) {
        self.cells.for_each(now, show);
    }

    /// Shows everyone with a sentence, be it past, that counts; see [`Cells::for_each_known`].
    pub fn for_each_known(&self, terms: &Terms, now: Timestamp, show: impl FnMut(Inmate)) {
        self.cells.for_each_known(terms, now, show);
    }

    /// What it had to leave out; see [`Cells::crowded`].
    #[must_use]
    pub fn crowded(&self) -> Crowded {
        self.cells.crowded()
    }

    /// The most clients it can ever hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.cells.capacity()
    }

    /// The bytes it takes: cells, filter and lists.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.cells.memory() + self.filter.memory() + self.lists.load().memory()
    }
}

#[inline]
const fn upper(address: Ipv6Addr) -> u64 {
    (address.to_bits() >> 64) as u64
}

impl std::fmt::Debug for Prison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prison")
            .field("capacity", &self.capacity())
            .field("memory", &self.memory())
            .finish_non_exhaustive()
    }
}
