//! Collections that outlive a transaction: `initcol`, in memory, bounded, expiring.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::io::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Engine;
use super::texts::TextId;
use crate::compile::Change;
use crate::operator::number;
use crate::parse::Variable;

/// Independent locks, so that clients do not wait for each other.
const SHARDS: usize = 32;

/// Records in one shard: 65,536 in all, about 20 MiB when each holds three counters.
const MAX_RECORDS: usize = 2_048;

/// Variables in one record.
const MAX_PARTS: usize = 64;

/// A key is an address or a session; longer ones are not kept.
const MAX_KEY: usize = 512;

/// A value that is kept; longer ones are cut.
const MAX_VALUE: usize = 1_024;

/// What one key has.
#[derive(Debug, Default)]
struct Record {
    /// In seconds since 1970.
    expires: u64,
    parts: Vec<Kept>,
}

#[derive(Debug)]
struct Kept {
    name: Box<[u8]>,
    value: Box<[u8]>,
    expires: u64,
}

type Key = (Variable, Box<[u8]>);

/// All records of a ruleset.
#[derive(Debug)]
pub(crate) struct Store {
    shards: [Mutex<HashMap<Key, Record>>; SHARDS],
    hasher: RandomState,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::new(HashMap::new())),
            hasher: RandomState::new(),
        }
    }

    fn shard(&self, key: &Key) -> Option<MutexGuard<'_, HashMap<Key, Record>>> {
        let hash = self.hasher.hash_one(key);
        let at = usize::try_from(hash % SHARDS as u64).ok()?;
        // Nothing in here leaves a record half written, so a panic elsewhere spoils nothing.
        Some(
            self.shards
                .get(at)?
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    fn read(&self, key: &Key, now: u64, mut found: impl FnMut(&[u8], &[u8])) {
        let Some(shard) = self.shard(key) else { return };
        let Some(record) = shard.get(key).filter(|record| record.expires > now) else {
            return;
        };
        for part in record.parts.iter().filter(|part| part.expires > now) {
            found(&part.name, &part.value);
        }
    }

    /// Changes one variable. A full shard takes no new key: an attacker with many addresses must not push out the counters of
    /// those already watched.
    fn write(
        &self,
        key: &Key,
        now: u64,
        timeout: u64,
        name: &[u8],
        change: impl FnOnce(Option<&[u8]>) -> Option<Vec<u8>>,
    ) {
        let Some(mut shard) = self.shard(key) else {
            return;
        };
        if !shard.contains_key(key) {
            if shard.len() >= MAX_RECORDS {
                shard.retain(|_, record| record.expires > now);
            }
            if shard.len() >= MAX_RECORDS {
                return;
            }
            shard.insert(key.clone(), Record::default());
        }
        let Some(record) = shard.get_mut(key) else {
            return;
        };
        if record.expires <= now {
            record.parts.clear();
        }
        record.expires = now.saturating_add(timeout);
        record.parts.retain(|part| part.expires > now);
        let at = record.parts.iter().position(|part| *part.name == *name);
        let old = at
            .and_then(|at| record.parts.get(at))
            .map(|part| &*part.value);
        match (at, change(old)) {
            (Some(at), None) => {
                record.parts.swap_remove(at);
            }
            (None, None) => {}
            (Some(at), Some(value)) => {
                if let Some(part) = record.parts.get_mut(at) {
                    part.value = cut(value);
                }
            }
            (None, Some(value)) if record.parts.len() < MAX_PARTS => record.parts.push(Kept {
                name: name.into(),
                value: cut(value),
                expires: u64::MAX,
            }),
            (None, Some(_)) => {}
        }
    }

    fn expire(&self, key: &Key, name: &[u8], at: u64) {
        let Some(mut shard) = self.shard(key) else {
            return;
        };
        let record = shard.get_mut(key);
        let part =
            record.and_then(|record| record.parts.iter_mut().find(|part| *part.name == *name));
        if let Some(part) = part {
            part.expires = at;
        }
    }
}

fn cut(mut value: Vec<u8>) -> Box<[u8]> {
    value.truncate(MAX_VALUE);
    value.into()
}

impl Engine<'_> {
    pub(super) fn open(&mut self, collection: Variable, key: &[u8]) {
        if key.is_empty() || key.len() > MAX_KEY {
            return;
        }
        self.state
            .opened
            .retain(|(opened, _)| *opened != collection);
        self.state.opened.push((collection, key.into()));
    }

    fn key(&self, collection: Variable) -> Option<&Key> {
        self.state
            .opened
            .iter()
            .find(|(opened, _)| *opened == collection)
    }

    pub(super) fn change_part(&mut self, collection: Variable, name: &[u8], change: &Change) {
        let amount = match change {
            Change::Add(amount) => self.amount(amount),
            Change::Subtract(amount) => self.amount(amount).saturating_neg(),
            _ => 0,
        };
        let set = match change {
            Change::Set(text) => self.with_expanded(text, <[u8]>::to_vec),
            Change::SetNumber(number) => number.to_string().into_bytes(),
            _ => Vec::new(),
        };
        let Some(key) = self.key(collection) else {
            return;
        };
        let timeout = u64::from(self.program.settings.collection_timeout);
        self.store
            .write(key, self.state.unix, timeout, name, |old| match change {
                Change::Remove => None,
                Change::Set(_) | Change::SetNumber(_) => Some(set),
                Change::Add(_) | Change::Subtract(_) => {
                    let sum = old.map_or(0, number).saturating_add(amount);
                    Some(sum.to_string().into_bytes())
                }
            });
    }

    pub(super) fn expire_part(&mut self, collection: Variable, name: &[u8], seconds: u32) {
        if let Some(key) = self.key(collection) {
            let at = self.state.unix.saturating_add(u64::from(seconds));
            self.store.expire(key, name, at);
        }
    }

    pub(super) fn parts_of(&mut self, collection: Variable) -> Vec<(TextId, TextId)> {
        let mut parts = Vec::new();
        let Some(key) = self.key(collection).cloned() else {
            return parts;
        };
        let texts = &mut self.state.texts;
        self.store.read(&key, self.state.unix, |name, value| {
            let name = texts.push(name);
            parts.push((name, texts.push(value)));
        });
        parts
    }

    pub(super) fn expand_part(&self, collection: Variable, name: &[u8], out: &mut Vec<u8>) {
        let Some(key) = self.key(collection) else {
            return;
        };
        self.store.read(key, self.state.unix, |part, value| {
            if part == name {
                let _infallible = out.write_all(value);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &[u8]) -> Key {
        (Variable::Ip, text.into())
    }

    fn add(store: &Store, who: &[u8], now: u64) {
        store.write(&key(who), now, 60, b"count", |old| {
            Some((old.map_or(0, number) + 1).to_string().into_bytes())
        });
    }

    fn count(store: &Store, who: &[u8], now: u64) -> Option<i64> {
        let mut found = None;
        store.read(&key(who), now, |name, value| {
            assert_eq!(name, b"count");
            found = Some(number(value));
        });
        found
    }

    #[test]
    fn counts_per_key_until_the_record_expires() {
        let store = Store::new();
        add(&store, b"a", 100);
        add(&store, b"a", 150);
        add(&store, b"b", 150);
        assert_eq!(count(&store, b"a", 209), Some(2));
        assert_eq!(count(&store, b"a", 210), None);
        add(&store, b"a", 300);
        assert_eq!(count(&store, b"a", 300), Some(1));
    }

    #[test]
    fn a_variable_can_expire_before_its_record() {
        let store = Store::new();
        add(&store, b"a", 100);
        store.expire(&key(b"a"), b"count", 110);
        assert_eq!(count(&store, b"a", 109), Some(1));
        assert_eq!(count(&store, b"a", 110), None);
    }

    #[test]
    fn never_grows_beyond_its_bound_and_keeps_whom_it_watches() {
        let store = Store::new();
        add(&store, b"watched", 100);
        for n in 0..(SHARDS * MAX_RECORDS * 2) {
            add(&store, n.to_string().as_bytes(), 100);
        }
        let kept: usize = store
            .shards
            .iter()
            .map(|shard| shard.lock().unwrap().len())
            .sum();
        assert!(kept <= SHARDS * MAX_RECORDS, "{kept}");
        assert_eq!(count(&store, b"watched", 100), Some(1));
        // What has expired makes room.
        for n in 0..1_000 {
            add(&store, format!("late{n}").as_bytes(), 200);
        }
        assert_eq!(count(&store, b"late0", 200), Some(1));
    }
}
