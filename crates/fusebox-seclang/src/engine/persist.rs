//! Collections that outlive a transaction: `initcol`, in memory, bounded, expiring.
//!
//! Keys, names and values are what clients send. So everything has a bound: the length of each, how many variables a record
//! has, how many records there are, and how many bytes all of them have together. What would be over a bound is not kept; what is
//! kept is never pushed out by it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::io::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha1::{Digest as _, Sha1};

use super::Engine;
use super::texts::TextId;
use crate::compile::Change;
use crate::operator::number;
use crate::parse::Variable;

/// Independent locks, so that clients do not wait for each other.
const SHARDS: usize = 32;

/// Records in one shard: 65,536 in all.
const MAX_RECORDS: usize = 2_048;

/// Bytes in one shard, as [`Record::bytes`] counts them: 64 MiB in all, which are 65,536 records of a kilobyte.
const MAX_BYTES: usize = 2 << 20;

/// Variables in one record.
const MAX_PARTS: usize = 64;

/// A key is an address or a session, a name a word: what is longer goes by its hash, so that a client cannot escape its counter
/// with a long cookie.
const MAX_NAME: usize = 256;

/// A value that is kept; longer ones are cut.
const MAX_VALUE: usize = 1_024;

/// What a record or a variable takes beside its text: pointers, lengths, times, and its place in a table.
const OVERHEAD: usize = 64;

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

/// Which collection of which application, and whose.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    collection: Variable,
    /// `SecWebAppId`: for SESSION and USER, which are an application's own.
    application: Box<str>,
    key: Box<[u8]>,
}

impl Kept {
    const fn bytes(&self) -> usize {
        OVERHEAD + self.name.len() + self.value.len()
    }
}

impl Record {
    fn bytes(&self, key: &Key) -> usize {
        let parts: usize = self.parts.iter().map(Kept::bytes).sum();
        OVERHEAD + key.application.len() + key.key.len() + parts
    }
}

#[derive(Debug, Default)]
struct Shard {
    records: HashMap<Key, Record>,
    /// What all of them take.
    bytes: usize,
    /// When it was last looked for what has expired: once a second is enough, and all that a flood can ask for.
    swept: u64,
}

impl Shard {
    /// Drops what has expired, unless that was done in this second.
    fn sweep(&mut self, now: u64) {
        if self.swept == now {
            return;
        }
        self.swept = now;
        self.records.retain(|_, record| {
            record.parts.retain(|part| part.expires > now);
            record.expires > now && !record.parts.is_empty()
        });
        self.bytes = self
            .records
            .iter()
            .map(|(key, record)| record.bytes(key))
            .sum();
    }
}

/// All records of a ruleset.
#[derive(Debug)]
pub(crate) struct Store {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
        }
    }

    fn shard(&self, key: &Key) -> Option<MutexGuard<'_, Shard>> {
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
        let Some(record) = shard.records.get(key) else {
            return;
        };
        if record.expires <= now {
            return;
        }
        for part in record.parts.iter().filter(|part| part.expires > now) {
            found(&part.name, &part.value);
        }
    }

    /// Changes one variable. A full shard takes nothing new: an attacker with many addresses must not push out the counters of
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
        let name = short(name);
        // Taken out and put back, so that what it takes is counted in one place.
        let old = shard.records.remove_entry(key);
        let (key, mut record) = old.unwrap_or_else(|| (key.clone(), Record::default()));
        let before = record.bytes(&key);
        let known = !record.parts.is_empty();
        if known {
            shard.bytes = shard.bytes.saturating_sub(before);
        }
        if record.expires <= now {
            record.parts.clear();
        }
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
                    let value = cut(value);
                    // A value that grows is the one thing about a known variable that a full shard may refuse.
                    if value.len() <= part.value.len()
                        || shard.bytes + before + value.len() - part.value.len() <= MAX_BYTES
                    {
                        part.value = value;
                    }
                }
            }
            (None, Some(value)) => {
                let part = Kept {
                    name: (*name).into(),
                    value: cut(value),
                    expires: u64::MAX,
                };
                let full = |shard: &Shard| {
                    shard.records.len() >= MAX_RECORDS
                        || shard.bytes + record.bytes(&key) + part.bytes() > MAX_BYTES
                };
                if full(&shard) {
                    shard.sweep(now);
                }
                if record.parts.len() < MAX_PARTS && !full(&shard) {
                    record.parts.push(part);
                }
            }
        }
        if !record.parts.is_empty() {
            record.expires = now.saturating_add(timeout);
            shard.bytes += record.bytes(&key);
            shard.records.insert(key, record);
        }
    }

    fn expire(&self, key: &Key, name: &[u8], at: u64) {
        let Some(mut shard) = self.shard(key) else {
            return;
        };
        let name = short(name);
        let record = shard.records.get_mut(key);
        let part =
            record.and_then(|record| record.parts.iter_mut().find(|part| *part.name == *name));
        if let Some(part) = part {
            part.expires = at;
        }
    }
}

/// The name itself, or its hash when it is too long to be kept.
///
/// SHA-1 is broken for whoever makes both texts; what they get here is that two of their own names are one.
fn short(name: &[u8]) -> Cow<'_, [u8]> {
    if name.len() <= MAX_NAME {
        return Cow::Borrowed(name);
    }
    let mut text = b"sha1:".to_vec();
    for byte in Sha1::digest(name) {
        let _infallible = write!(text, "{byte:02x}");
    }
    Cow::Owned(text)
}

fn cut(mut value: Vec<u8>) -> Box<[u8]> {
    value.truncate(MAX_VALUE);
    value.into()
}

impl Engine<'_> {
    /// Says whose collection it is from now on. Nobody's, without a key: what is then written is not kept.
    pub(super) fn open(&mut self, collection: Variable, key: &[u8]) {
        self.state
            .opened
            .retain(|opened| opened.collection != collection);
        if key.is_empty() {
            return;
        }
        let application = match collection {
            Variable::Session | Variable::User => &*self.program.settings.web_app,
            _ => "",
        };
        self.state.opened.push(Key {
            collection,
            application: application.into(),
            key: (*short(key)).into(),
        });
    }

    fn key(&self, collection: Variable) -> Option<&Key> {
        self.state
            .opened
            .iter()
            .find(|opened| opened.collection == collection)
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
        Key {
            collection: Variable::Ip,
            application: Box::default(),
            key: text.into(),
        }
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
            .map(|shard| shard.lock().unwrap().records.len())
            .sum();
        assert!(kept <= SHARDS * MAX_RECORDS, "{kept}");
        assert_eq!(count(&store, b"watched", 100), Some(1));
        // What has expired makes room.
        for n in 0..1_000 {
            add(&store, format!("late{n}").as_bytes(), 200);
        }
        assert_eq!(count(&store, b"late0", 200), Some(1));
    }

    /// What is counted is what is there.
    fn bytes(store: &Store) -> usize {
        store
            .shards
            .iter()
            .map(|shard| {
                let shard = shard.lock().unwrap();
                let counted: usize = shard
                    .records
                    .iter()
                    .map(|(key, record)| record.bytes(key))
                    .sum();
                assert_eq!(shard.bytes, counted);
                counted
            })
            .sum()
    }

    #[test]
    fn the_bytes_of_all_records_have_a_bound_too() {
        let store = Store::new();
        let long = |_: Option<&[u8]>| Some(vec![b'v'; 5_000]);
        for client in 0..3_000_u32 {
            for part in 0..70_u32 {
                let who = key(&[&client.to_le_bytes()[..], &[b'k'; 200]].concat());
                let name = format!("{part}{}", "n".repeat(200));
                store.write(&who, 100, 60, name.as_bytes(), long);
            }
        }
        let kept = bytes(&store);
        assert!(
            (SHARDS * MAX_BYTES / 2..=SHARDS * MAX_BYTES).contains(&kept),
            "{kept}"
        );
        // What has expired makes room, and nothing else does.
        let who = key(b"late");
        for (now, expected) in [(101, None), (160, Some(MAX_VALUE))] {
            for part in 0..4_u8 {
                store.write(&who, now, 60, &[part], long);
            }
            let mut found = None;
            store.read(&who, now, |name, value| {
                if name == [3] {
                    found = Some(value.len());
                }
            });
            assert_eq!(found, expected);
        }
        bytes(&store);
    }

    #[test]
    fn a_value_that_grows_stays_within_the_bound() {
        let store = Store::new();
        for client in 0..40_000_u32 {
            let who = key(&client.to_le_bytes());
            store.write(&who, 100, 60, b"v", |_| Some(Vec::new()));
        }
        for client in 0..40_000_u32 {
            for part in 0..4_u8 {
                let who = key(&client.to_le_bytes());
                store.write(&who, 100, 60, &[b'v', part], |_| Some(Vec::new()));
                store.write(&who, 100, 60, &[b'v', part], |_| Some(vec![b'x'; 1_024]));
            }
        }
        let kept = bytes(&store);
        assert!(kept <= SHARDS * MAX_BYTES, "{kept}");
    }

    #[test]
    fn what_is_too_long_goes_by_its_hash() {
        assert_eq!(*short(&[b'a'; MAX_NAME]), [b'a'; MAX_NAME]);
        let (a, b) = (
            short(&[b'a'; 1 << 16]).into_owned(),
            short(&[b'a'; 300]).into_owned(),
        );
        assert_eq!((a.len(), b.len()), (45, 45));
        assert_ne!(a, b);
    }

    #[test]
    fn a_record_without_variables_is_none() {
        let store = Store::new();
        store.write(&key(b"a"), 100, 60, b"count", |_| None);
        assert_eq!(bytes(&store), 0);
        add(&store, b"a", 100);
        store.write(&key(b"a"), 100, 60, b"count", |_| None);
        assert_eq!(bytes(&store), 0);
    }
}
