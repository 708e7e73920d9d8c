//! The memory under the cells: bounded, and read without a lock.
//!
//! Open addressing in blocks of 256 cells: 32 buckets of eight, and each client has two buckets in one block. The
//! table never grows and nothing in it ever moves, so a reader needs no lock: one byte of the hash per cell (a
//! *tag*, eight of them in a word) says whether a cell is worth a look, and the tags of a million clients are
//! 1.5 MB: they stay in the cache, and **an innocent client costs two loads**. Only who has a tag in common reads a
//! record, guarded by a sequence lock (Boehm, "Can seqlocks get along with programming language memory models?",
//! MSPC 2012).
//!
//! Writers take the lock of their block. There is one for 256 cells, so clients that strike at the same time
//! rarely meet.
//!
//! Alternatives that were weighed: a sharded hash map needs a lock or a reference count per look-up and grows;
//! cuckoo hashing fills a table further but moves clients while they are looked for; a Bloom filter in front of
//! either cannot forget. The tags are a filter that can.

use std::hash::BuildHasher;

use foldhash::quality::FixedState;
use fusebox_core::sync::{AtomicU64, Mutex, MutexGuard, Ordering, lock};

use super::{
    key::{Key, Width},
    record::{Record, SENTENCE, width_of},
};

/// Cells of a bucket: as many tags as fit into a word.
const PER_BUCKET: usize = 8;
/// Buckets of a block. The model checker explores every interleaving, so it gets few.
const BUCKETS: usize = if cfg!(fusebox_loom) { 2 } else { 32 };
const PER_BLOCK: usize = BUCKETS * PER_BUCKET;
/// The most clients a table can be asked to hold: hashes pick blocks with 32 bits, and this is 1.6 GB.
const MOST: usize = 1 << 26;

pub(super) struct Table {
    hasher: FixedState,
    blocks: Box<[Block]>,
    tags: Box<[AtomicU64]>,
    cells: Box<[Cell]>,
}

/// What the writers of a block share.
struct Block {
    writer: Mutex<()>,
    /// Odd while a record is being written.
    version: AtomicU64,
}

/// A key and its record. A cell whose tag is 0 is empty, whatever stands in it.
struct Cell {
    key: AtomicU64,
    times: AtomicU64,
    rest: AtomicU64,
}

/// Where a client can be.
#[derive(Clone, Copy)]
pub(super) struct Places {
    pub(super) block: usize,
    /// The tag, in each of eight bytes.
    tags: u64,
    /// The client's own buckets.
    own: [usize; 2],
    /// The buckets of the networks around it.
    around: Option<[usize; 2]>,
}

impl Table {
    pub(super) fn new(capacity: usize, seed: u64) -> Self {
        // Two thirds full, two choices of eight: full buckets are then rare enough not to matter.
        let cells = capacity.min(MOST) / 2 * 3;
        let blocks = cells.div_ceil(PER_BLOCK).max(1);
        Self {
            hasher: FixedState::with_seed(seed),
            blocks: (0..blocks)
                .map(|_| Block {
                    writer: Mutex::new(()),
                    version: AtomicU64::new(0),
                })
                .collect(),
            tags: (0..blocks * BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            cells: (0..blocks * PER_BLOCK)
                .map(|_| Cell {
                    key: AtomicU64::new(0),
                    times: AtomicU64::new(0),
                    rest: AtomicU64::new(0),
                })
                .collect(),
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.cells.len()
    }

    pub(super) fn memory(&self) -> usize {
        size_of_val(&*self.blocks) + size_of_val(&*self.tags) + size_of_val(&*self.cells)
    }

    /// How many blocks there are.
    pub(super) fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Where a key can be.
    #[inline]
    pub(super) fn places(&self, key: Key) -> Places {
        let (bits, width) = key.parts();
        if !key.is_ipv6() {
            let hash = self.hasher.hash_one(bits);
            return Places::of_hash(hash, hash, self.blocks.len());
        }
        // All of a /48 in one block, under one tag: see `Cells`.
        let site = self.hasher.hash_one(bits & !0xffff);
        let around = Places::of_hash(site, site, self.blocks.len());
        if width != Width::Client {
            return around;
        }
        Places {
            around: Some(around.own),
            ..Places::of_hash(site, self.hasher.hash_one(bits), self.blocks.len())
        }
    }

    /// Whether any cell that a key or a network around it could be in has its tag. Where there is none, none of
    /// them is in the table.
    #[inline]
    pub(super) fn is_tagged(&self, places: &Places) -> bool {
        let [one, other] = places.own;
        let mut marks = self.marks(one, places.tags) | self.marks(other, places.tags);
        if let Some([one, other]) = places.around {
            marks |= self.marks(one, places.tags) | self.marks(other, places.tags);
        }
        marks != 0
    }

    /// The record of a key, whole: never half of one and half of another.
    pub(super) fn read(&self, key: Key, places: &Places) -> Option<Record> {
        /// A writer is done within some ten stores. Who has looked so often in vain waits for it in the lock's
        /// queue instead of burning the processor it may need.
        const TRIES: usize = if cfg!(fusebox_loom) { 1 } else { 64 };
        let block = self.block(places.block);
        for _ in 0..TRIES {
            let before = block.version.load(Ordering::Acquire);
            if before % 2 == 1 {
                std::hint::spin_loop();
                continue;
            }
            let found = self.find(key, places).map(|(_, record)| record);
            // The loads above acquire: if any of them saw a store of a later writer, this load sees that writer's
            // odd version or a later one.
            if block.version.load(Ordering::Relaxed) == before {
                return found;
            }
        }
        self.write(places.block)
            .find(key, places)
            .map(|(_, record)| record)
    }

    /// Lets one writer at a time into a block.
    pub(super) fn write(&self, block: usize) -> Writer<'_> {
        Writer {
            _lock: lock(&self.block(block).writer),
            table: self,
            block,
        }
    }

    /// The cell that has the key, and its record.
    fn find(&self, key: Key, places: &Places) -> Option<(usize, Record)> {
        let (bits, width) = key.parts();
        places.own.into_iter().find_map(|bucket| {
            let mut marked = numbers(self.marks(bucket, places.tags));
            marked.find_map(|place| {
                let at = bucket * PER_BUCKET + place;
                let cell = self.cell(at);
                if cell.key.load(Ordering::Acquire) != bits {
                    return None;
                }
                let rest = cell.rest.load(Ordering::Acquire);
                (width_of(rest) == width).then(|| {
                    (
                        at,
                        Record::unpack((cell.times.load(Ordering::Acquire), rest)),
                    )
                })
            })
        })
    }

    /// The cells of a bucket that have this tag.
    #[inline]
    fn marks(&self, bucket: usize, tags: u64) -> u64 {
        zero_bytes(self.tags_of(bucket).load(Ordering::Acquire) ^ tags)
    }

    #[inline]
    #[expect(
        clippy::indexing_slicing,
        reason = "a bucket's number is made from the length"
    )]
    fn tags_of(&self, bucket: usize) -> &AtomicU64 {
        &self.tags[bucket]
    }

    #[inline]
    #[expect(
        clippy::indexing_slicing,
        reason = "a cell's number is made from the length"
    )]
    fn cell(&self, at: usize) -> &Cell {
        &self.cells[at]
    }

    #[inline]
    #[expect(
        clippy::indexing_slicing,
        reason = "a block's number is made from the length"
    )]
    fn block(&self, block: usize) -> &Block {
        &self.blocks[block]
    }
}

/// Whether a record was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// All in its places are worth more.
    No,
    /// In its own cell, in an empty one, or in the place of one that is worth less.
    Yes,
    /// In the place of somebody who was in.
    ForASentence,
}

/// The only writer of a block.
pub(super) struct Writer<'t> {
    _lock: MutexGuard<'t, ()>,
    table: &'t Table,
    block: usize,
}

impl Writer<'_> {
    /// The cell that has the key, and its record.
    pub(super) fn find(&self, key: Key, places: &Places) -> Option<(usize, Record)> {
        self.table.find(key, places)
    }

    /// Writes a record into its cell, or into the one among its places that is worth least.
    pub(super) fn keep(
        &self,
        key: Key,
        record: Record,
        at: Option<usize>,
        places: &Places,
        worth: impl Fn(&Record) -> u64,
    ) -> Kept {
        let known = at.map(|at| (at, Kept::Yes));
        let Some((at, kept)) = known.or_else(|| self.room(&record, places, worth)) else {
            return Kept::No;
        };
        let (bits, _) = key.parts();
        let (times, rest) = record.pack();
        let version = &self.table.block(self.block).version;
        let cell = self.table.cell(at);
        let odd = version.load(Ordering::Relaxed) + 1;
        version.store(odd, Ordering::Relaxed);
        // Releases: who sees one of them sees the odd version.
        cell.key.store(bits, Ordering::Release);
        cell.times.store(times, Ordering::Release);
        cell.rest.store(rest, Ordering::Release);
        self.set_tag(at, places.tags & 0xff);
        version.store(odd + 1, Ordering::Release);
        kept
    }

    /// Empties a cell.
    pub(super) fn forget(&self, at: usize) {
        self.set_tag(at, 0);
    }

    /// Everything in the block.
    pub(super) fn all(&self) -> impl Iterator<Item = (usize, Key, Record)> {
        self.cells(|tags| !zero_bytes(tags) & HIGH_BITS)
    }

    /// Everything in the block under one tag.
    pub(super) fn tagged(&self, places: &Places) -> impl Iterator<Item = (usize, Key, Record)> {
        let wanted = places.tags;
        self.cells(move |tags| zero_bytes(tags ^ wanted))
    }

    fn cells(&self, which: impl Fn(u64) -> u64) -> impl Iterator<Item = (usize, Key, Record)> {
        let buckets = self.block * BUCKETS..(self.block + 1) * BUCKETS;
        buckets.flat_map(move |bucket| {
            let marks = which(self.table.tags_of(bucket).load(Ordering::Relaxed));
            numbers(marks).map(move |place| {
                let at = bucket * PER_BUCKET + place;
                let (key, record) = self.content(at);
                (at, key, record)
            })
        })
    }

    /// An empty cell in the emptier bucket; else the cell whose record is worth least, if it is not worth more. Where all
    /// are in, the one that is out soonest makes way for whoever comes: otherwise an attacker with enough addresses could
    /// fill the table, and nobody after it would ever be judged. One cell then goes from newcomer to newcomer, and the
    /// other sentences in the bucket stay.
    fn room(
        &self,
        record: &Record,
        places: &Places,
        worth: impl Fn(&Record) -> u64,
    ) -> Option<(usize, Kept)> {
        let empty = |bucket: usize| self.table.marks(bucket, 0);
        let emptier = places
            .own
            .into_iter()
            .max_by_key(|bucket| empty(*bucket).count_ones())?;
        if let Some(place) = numbers(empty(emptier)).next() {
            return Some((emptier * PER_BUCKET + place, Kept::Yes));
        }
        let (least, at) = places
            .own
            .into_iter()
            .flat_map(|bucket| bucket * PER_BUCKET..(bucket + 1) * PER_BUCKET)
            .map(|at| (worth(&self.content(at).1), at))
            .min()?;
        if least >= SENTENCE {
            return Some((at, Kept::ForASentence));
        }
        // Equal worth makes way: a newcomer's strike is as good as any, and otherwise nobody new would ever count.
        (least <= worth(record)).then_some((at, Kept::Yes))
    }

    fn content(&self, at: usize) -> (Key, Record) {
        let cell = self.table.cell(at);
        let times = cell.times.load(Ordering::Relaxed);
        let record = Record::unpack((times, cell.rest.load(Ordering::Relaxed)));
        (
            Key::of_parts(cell.key.load(Ordering::Relaxed), record.width),
            record,
        )
    }

    fn set_tag(&self, at: usize, tag: u64) {
        let shift = (at % PER_BUCKET) * 8;
        let word = self.table.tags_of(at / PER_BUCKET);
        // Only the writer of the block stores tags.
        let others = word.load(Ordering::Relaxed) & !(0xff << shift);
        word.store(others | tag << shift, Ordering::Release);
    }
}

impl Places {
    /// Where the networks around a client can be: both of them in the same buckets.
    pub(super) fn of_networks(&self) -> Self {
        Self {
            own: self.around.unwrap_or(self.own),
            around: None,
            ..*self
        }
    }

    /// `site` says which block and tag, `client` which buckets.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "hashes are cut into parts")]
    fn of_hash(site: u64, client: u64, blocks: usize) -> Self {
        // Lemire's reduction: the upper half of the hash times the length, without a division.
        let block = (((site >> 32) * blocks as u64) >> 32) as usize;
        // 0 is an empty cell.
        let tag = ((site >> 24) & 0xff).max(1);
        let first = block * BUCKETS;
        let one = client as usize % BUCKETS;
        let other = (client as usize / BUCKETS) % BUCKETS;
        // Never the same one twice.
        let other = if one == other { one ^ 1 } else { other };
        Self {
            block,
            tags: tag * LOW_BITS,
            own: [first + one, first + other],
            around: None,
        }
    }
}

const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// The high bit of each byte that is zero, and of no other. Not the well-known shorter formula, which also marks
/// a 1 above a 0: here a wrong mark is a wrong cell.
#[inline]
const fn zero_bytes(word: u64) -> u64 {
    !(((word & !HIGH_BITS) + !HIGH_BITS) | word) & HIGH_BITS
}

/// The numbers of the bytes whose high bits are set.
fn numbers(mut marks: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        if marks == 0 {
            return None;
        }
        let place = marks.trailing_zeros() as usize / 8;
        marks &= marks - 1;
        Some(place)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_each_zero_byte_and_no_other() {
        for word in [
            0,
            1,
            0x0100,
            0x0001_0000_ff80_7f01,
            u64::MAX,
            LOW_BITS,
            HIGH_BITS,
            0x00ff_00ff_0100_8000,
        ] {
            let naive: Vec<_> = (0..8)
                .filter(|place| (word >> (place * 8)) & 0xff == 0)
                .collect();
            assert_eq!(
                numbers(zero_bytes(word)).collect::<Vec<_>>(),
                naive,
                "{word:x}"
            );
        }
    }

    #[test]
    fn a_key_has_two_buckets_in_one_block() {
        let table = Table::new(10_000, 7);
        for v4 in 0..1_000_u32 {
            let key =
                Key::of_address(std::net::Ipv4Addr::from_bits(0xc000_0000 + v4).into()).unwrap();
            let Places {
                block,
                own: [one, other],
                ..
            } = table.places(key);
            assert_ne!(one, other);
            assert!(one / BUCKETS == block && other / BUCKETS == block && block < table.blocks());
        }
    }
}
