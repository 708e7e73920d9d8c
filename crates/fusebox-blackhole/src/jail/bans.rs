//! Who goes in, and who comes out.

use std::{
    hash::BuildHasher,
    net::IpAddr,
    sync::{PoisonError, atomic::Ordering},
    time::Duration,
};

use fusebox_core::{Change, EventKind, Timestamp};
use fusebox_http::identity::ClientIdentity;

use super::{Jail, Sentence};
#[cfg(all(feature = "nftables", target_os = "linux"))]
use crate::engine::Width;
use crate::{
    Connection,
    engine::{Cause, Held, Inmate, Key, Network, Struck},
    lines::Entry,
};

impl Jail {
    /// Counts a strike against the client of a request, for example after a failed login. The last one of several leads
    /// in.
    ///
    /// It is one more than what a [layer](crate::BlackholeLayer) counts for the same request: leave the answer's status
    /// out of [`strike_statuses`](crate::BlackholeConfig::strike_statuses) then.
    ///
    /// Strikes against one of your own proxies, which stands for many clients, lead to nothing.
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn strike(&self, client: &ClientIdentity, cause: Cause) -> Struck {
        match key_of(client) {
            Some(key) if client.unattributed().is_none() => self.strike_key(key, cause, self.now()),
            _ => Struck::Never,
        }
    }

    /// Counts a strike against an address.
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn strike_address(&self, address: IpAddr, cause: Cause) -> Struck {
        match Key::of_peer(address) {
            Some(key) => self.strike_key(key, cause, self.now()),
            None => Struck::Never,
        }
    }

    pub(crate) fn strike_key(&self, key: Key, cause: Cause, now: Timestamp) -> Struck {
        let inner = &*self.0;
        inner.strikes.fetch_add(1, Ordering::Relaxed);
        let jitter = inner.jitter.hash_one((key, now.as_nanos())) >> 32;
        let jitter = u32::try_from(jitter).unwrap_or(u32::MAX);
        let freed = || inner.prison.crowded().freed;
        let freed_before = freed();
        let struck = {
            let rules = inner.rules.read().unwrap_or_else(PoisonError::into_inner);
            inner.prison.strike(key, cause, &rules, now, jitter)
        };
        if let Struck::Jailed { inmate, around } = &struck {
            around
                .iter()
                .flatten()
                .chain([inmate])
                .for_each(|inmate| self.tell(inmate, now));
        } else if freed() != freed_before {
            // A strike that led to nothing has a place that somebody was let out for. If it was another strike's doing,
            // whoever mirrors the jail looks once too often.
            inner.changes.fetch_add(1, Ordering::Release);
        }
        struck
    }

    /// Someone went in: told without saying who, which an operator can look up.
    fn tell(&self, inmate: &Inmate, now: Timestamp) {
        self.0.sentences.fetch_add(1, Ordering::Relaxed);
        self.0.changes.fetch_add(1, Ordering::Release);
        let change = Change::Jailed {
            cause: inmate.cause.as_str(),
            sentence: inmate.until.since(now),
            sentences: inmate.sentences.into(),
        };
        self.0.reporter.report(now, EventKind::Change(change));
    }

    /// So many were let out.
    fn tell_released(&self, count: u64, now: Timestamp) {
        self.0.changes.fetch_add(1, Ordering::Release);
        if count > 0 {
            let change = Change::Released { count };
            self.0.reporter.report(now, EventKind::Change(change));
        }
    }

    /// Jails an address, for IPv6 its /64, for so long; one that is in for longer stays for as long as it was. `None`
    /// if it can never be jailed. In a full jail somebody else is let out for it, whose sentence ends soonest.
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn ban(&self, address: IpAddr, time: Duration) -> Option<Sentence> {
        self.ban_key(Key::of_peer(address)?, Cause::Operator, time)
    }

    /// Jails what is exactly one client: an IPv4 address, an IPv6 /64, /56 or /48. `None` for any other block, and as
    /// for [`ban`](Self::ban).
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn ban_network(&self, network: Network, time: Duration) -> Option<Sentence> {
        self.ban_key(Key::of_network(network)?, Cause::Operator, time)
    }

    /// Jails the client of a request.
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn ban_client(&self, client: &ClientIdentity, time: Duration) -> Option<Sentence> {
        if client.unattributed().is_some() {
            return None;
        }
        self.ban_key(key_of(client)?, Cause::Operator, time)
    }

    fn ban_key(&self, key: Key, cause: Cause, time: Duration) -> Option<Sentence> {
        let now = self.now();
        let inmate = {
            let rules = self.0.rules.read().unwrap_or_else(PoisonError::into_inner);
            self.0.prison.jail(key, cause, now + time, &rules, now)?
        };
        self.tell(&inmate, now);
        Some(self.sentence(Held::Jailed(inmate), now))
    }

    /// Lets an address out, for IPv6 its /64, and forgets its strikes and relapses. True if it was in by itself.
    ///
    /// A network around it, and a list that has it, still hold it; see [`why`](Self::why).
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn unban(&self, address: IpAddr) -> bool {
        Key::of_peer(address).is_some_and(|key| self.release(key))
    }

    /// Lets out what [`ban_network`](Self::ban_network) or its neighbours sent in.
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn unban_network(&self, network: Network) -> bool {
        Key::of_network(network).is_some_and(|key| self.release(key))
    }

    /// Lets the client of a request out.
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn unban_client(&self, client: &ClientIdentity) -> bool {
        key_of(client).is_some_and(|key| self.release(key))
    }

    /// Closes the open connections of these addresses that a [gate](crate::Gate) of this jail has let in: how many. The
    /// requests on them are cancelled. Those that can never be jailed are left alone.
    ///
    /// A ban alone closes nothing: who is banned is dropped with its next request. This is for those that send none. The
    /// mirror in the kernel does it for whomever it drops.
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn disconnect(&self, network: Network) -> usize {
        let is_meant = |peer| network.contains(peer) && !self.protects(peer);
        self.0.lines.close(is_meant)
    }

    /// Closes the open connections of all that have one of these keys, or are in their networks.
    #[cfg(all(feature = "nftables", target_os = "linux"))]
    pub(crate) fn disconnect_all(&self, keys: &std::collections::HashSet<Key>) -> usize {
        self.0.lines.close(|peer| {
            let has = |key: Key| {
                let around = [Width::Net56, Width::Net48].map(|width| key.widened(width));
                let mut all = around.into_iter().flatten().chain([key]);
                all.any(|key| keys.contains(&key))
            };
            Key::of_peer(peer).is_some_and(has)
        })
    }

    /// Remembers an open connection; none of a peer that can never be jailed.
    pub(crate) fn enter(&self, connection: &Connection) -> Option<Entry> {
        let peer = connection.peer().ip().to_canonical();
        Key::of_peer(peer)?;
        Some(self.0.lines.enter(peer, connection))
    }

    pub(super) fn release(&self, key: Key) -> bool {
        let now = self.now();
        let was_in = self.0.prison.release(key, now).is_some();
        self.tell_released(was_in.into(), now);
        was_in
    }

    /// Lets everybody out, and forgets all strikes and relapses. Lists stay.
    pub fn unban_all(&self) {
        let now = self.now();
        let mut count = 0;
        self.0.prison.for_each(now, |_| count += 1);
        self.0.prison.release_all();
        self.tell_released(count, now);
    }
}

/// What the client of a request is in the jail: its whole address decides, as it does at accept and in lists. The key that
/// limiters share is cut to the resolver's prefix, and would name another /64 where that is shorter.
pub(crate) fn key_of(client: &ClientIdentity) -> Option<Key> {
    match client.address() {
        Some(address) => Key::of_peer(address),
        None => Key::of_bits(client.key().to_bits()),
    }
}
