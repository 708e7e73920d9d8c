//! The table: a fixed number of words, each the tag and the state of one key.
//!
//! # Shape
//! A word is 64 bits: 24 of the key's hash (its tag), one that says the word is only a claim, 39 of
//! state. Eight words fill a cache line, and a key may be in either of two lines, so a decision reads one
//! line, seldom two, and writes one word with one compare-and-swap. There is no lock, no allocation and
//! no growth; the size is what the settings say.
//!
//! Rejected: 64 bits of tag and 64 of state in one 128-bit word. It needs an instruction that the
//! baseline of x86-64 lacks (a detection on each access, and a lock where it is missing), twice the
//! memory, and two cache lines for as many ways. What 64 bits cost is a
//! false match now and then: two keys that share one quota.
//!
//! # Nothing is lost by eviction
//! A key without a word has its full quota. A word whose state *is* the full quota says the same, so
//! it may be overwritten by any other key at any time; a word that says anything else is never overwritten.
//! When both lines of a new key are full of such words, [`Overflow`] applies.
//!
//! # One key, one word
//! Two threads that look for a place for the same key could each take another one, and the key would
//! have two quotas. So a place is taken in two steps. A thread first *claims* a word (tag and a number that
//! no other claim has), then looks at both lines again. If there is no other word of that tag it turns the
//! claim into a state; a claim in a lower place beats one in a higher place, and a state beats any claim; who loses
//! erases its claim and starts over. Whoever finds the claim of another thread for its own key finishes it in that thread's stead, so
//! nobody waits for a thread that sleeps.
//!
//! Why no two claims for a key both become states: each must be seen (written, or read) and then a fence
//! passed before the last look. Of the two fences one is first; the look after the other must find the
//! first one's word. It finds it as a claim or a state, and does not confirm; or erased, and then the number is
//! gone, on which the first one's confirmation depends; or evicted, and then it was a full quota.

use std::cell::Cell;
use std::sync::atomic::AtomicU64 as Count;

use fusebox_core::sync::{AtomicU64, Ordering, fence};

use crate::engine::{STATE_BITS, STATE_MASK};

/// A cache line. The model checker tries every order of every access: fewer words do for it.
const WAYS: usize = if cfg!(fusebox_loom) { 2 } else { 8 };
/// Set in a word that is claimed and has no state yet.
const CLAIM: u64 = 1 << STATE_BITS;
const TAG_SHIFT: u32 = STATE_BITS + 1;
const TAG_BITS: u32 = 64 - TAG_SHIFT;

/// How much room there is for each key that may be active.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    words_per_key: usize,
    /// A new key takes its first line while that has so many places left, so that most keys are found with
    /// one look; past that the emptier of the two, so that lines fill evenly.
    roomy: usize,
    /// How many quotas those share that find no place: as many for each word of a key.
    shares: usize,
}

impl Room {
    /// For keys with one word. The table is half full then, and of a hundred million simulated keys none found both of its
    /// lines full; one in twenty is in its second.
    pub(crate) const ONE_WORD: Self = Self {
        words_per_key: 2,
        roomy: if cfg!(fusebox_loom) { 1 } else { 3 },
        shares: SHARES,
    };
    /// For keys with two, as a sliding window has: two thirds full, in exchange for eight bytes less for each key. Lines that
    /// fill more evenly make up for it: one word in some ten million finds no place, one in five is in its second line.
    pub(crate) const TWO_WORDS: Self = Self {
        words_per_key: 3,
        roomy: if cfg!(fusebox_loom) { 1 } else { 5 },
        shares: 2 * SHARES,
    };
}

/// How likely a new key is taken for one that is there, when the table is as full as its settings
/// allow: eight words are compared in 24 bits.
pub(crate) const FALSE_MATCH: f64 = 8.0 / (1_u64 << TAG_BITS) as f64;
/// How many quotas those share that find no place.
const SHARES: usize = if cfg!(fusebox_loom) { 1 } else { 64 };
/// The bits of a hash that tell apart the two words of a key that has two: one of the tag, and the highest of those
/// that choose the share.
const SECOND_WORD: u64 = 0b10 | (SHARES as u64) << TAG_BITS;
/// Set in a share that was ever used.
const USED: u64 = 1 << 63;

/// What a policy's arithmetic must tell a table.
pub(crate) trait Aging {
    /// The state of a full quota.
    fn full(&self) -> u64;
    /// Whether this state is a full quota.
    fn idle(&self, state: u64) -> bool;
}

/// What happens to a new key when every word it could take belongs to a key that has spent something.
///
/// Neither hands out a quota that is not there, and both are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// It shares one of 64 quotas with the others in its position, and takes what was spent there with
    /// it when a place comes free. What it gives back counts for as much as time has not given back since.
    #[default]
    Share,
    /// It is refused until a place comes free.
    Refuse,
}

/// There was no place, and the rule is to refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoPlace;

#[derive(Debug)]
#[repr(align(64))]
struct Line([AtomicU64; WAYS]);

impl Line {
    fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }

    /// The word with this tag, unless it is a claim. It is looked for where it would like to be, and then everywhere.
    #[inline(always)]
    fn find(&self, tag: u64, way: usize) -> Option<(&AtomicU64, u64)> {
        if let Some(word) = self.0.get(way) {
            let seen = word.load(Ordering::Acquire);
            if seen ^ tag < CLAIM {
                return Some((word, seen));
            }
        }
        for word in &self.0 {
            let seen = word.load(Ordering::Acquire);
            if seen ^ tag < CLAIM {
                return Some((word, seen));
            }
        }
        None
    }
}

/// Counters apart from each other, because a flood of new keys counts each.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Counters {
    evicted: Count,
    overflowed: Count,
}

/// The states of one policy's keys.
#[derive(Debug)]
pub(crate) struct Table {
    lines: Box<[Line]>,
    roomy: usize,
    /// What there would be at an index beyond the lines, if one could be computed: the compiler does not see
    /// that it cannot.
    beyond: Line,
    shares: Option<Box<[AtomicU64]>>,
    counters: [Counters; 8],
}

/// Where a key most likely is.
#[derive(Clone, Copy)]
pub(crate) struct Spot<'t> {
    line: &'t Line,
    hash: u64,
}

/// A word in one of a key's two lines.
#[derive(Clone, Copy)]
struct Place<'t> {
    word: &'t AtomicU64,
    seen: u64,
    /// 0 to 15: which line, which way.
    at: usize,
}

/// What a look at both lines found.
enum Look<'t> {
    /// The key's state.
    State(Place<'t>),
    /// Somebody's claim for the key.
    Claim(Place<'t>),
    /// The key is not there; this place could be claimed.
    Free(Place<'t>),
    /// The key is not there, and there is no place.
    Full,
}

/// A key's lines and tag.
#[derive(Clone, Copy)]
struct Home<'t> {
    lines: [&'t Line; 2],
    tag: u64,
    way: usize,
    roomy: usize,
}

impl Table {
    /// Room for so many keys at once, all of them active.
    pub(crate) fn new(keys: usize, room: Room, overflow: Overflow) -> Self {
        let words = keys.saturating_mul(room.words_per_key);
        let lines = words.div_ceil(WAYS).max(2);
        Self {
            roomy: room.roomy,
            lines: (0..lines).map(|_| Line::new()).collect(),
            beyond: Line::new(),
            shares: match overflow {
                Overflow::Refuse => None,
                Overflow::Share => Some((0..room.shares).map(|_| AtomicU64::new(0)).collect()),
            },
            counters: Default::default(),
        }
    }

    /// Bytes that the words take, which is all that ever grows with the number of keys.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.lines)
    }

    /// Words that were overwritten because they were full quotas, and decisions that found no place.
    pub(crate) fn counted(&self) -> (u64, u64) {
        let sum = |of: fn(&Counters) -> &Count| {
            let counts = self.counters.iter();
            counts.map(|part| of(part).load(Ordering::Relaxed)).sum()
        };
        (sum(|part| &part.evicted), sum(|part| &part.overflowed))
    }

    /// About how many keys are active: counted in a sample of the lines.
    pub(crate) fn active(&self, aging: &impl Aging) -> u64 {
        const SAMPLE: usize = 1_024;
        let every = (self.lines.len() / SAMPLE).max(1);
        let mut active = 0_u64;
        for line in self.lines.iter().step_by(every) {
            for word in &line.0 {
                let seen = word.load(Ordering::Relaxed);
                active += u64::from(seen != 0 && !reusable(seen, aging));
            }
        }
        active * every as u64
    }

    /// Where the key at `hash` most likely is. The processor is asked to fetch it, and not waited for.
    #[inline(always)]
    pub(crate) fn spot(&self, hash: u64) -> Spot<'_> {
        let line = self.line(hash);
        // A hint without any effect but time: what reads the clock waits for the loads before it, not for hints.
        #[cfg(not(fusebox_loom))]
        prefetch_index::prefetch_index(std::slice::from_ref(line), 0);
        Spot { line, hash }
    }

    /// As [`update`](Self::update) for the usual case, short enough to be compiled into whoever asks: the
    /// key is in that line. Whether there was a next state; `None` if the key is not there.
    #[inline(always)]
    pub(crate) fn advance(
        &self,
        spot: Spot<'_>,
        next: impl Fn(u64) -> Option<u64>,
    ) -> Option<bool> {
        let tag = tag(spot.hash);
        let (word, mut seen) = spot.line.find(tag, way(spot.hash))?;
        loop {
            let Some(state) = next(seen & STATE_MASK) else {
                return Some(false);
            };
            match swap(word, seen, tag | state) {
                Ok(_) => return Some(true),
                Err(now) if now ^ tag < CLAIM => seen = now,
                Err(_) => return None,
            }
        }
    }

    /// Where it is if it is not there.
    pub(crate) fn other_spot<'t>(&'t self, spot: Spot<'t>) -> Spot<'t> {
        let line = self.other_line(spot.hash, spot.line);
        Spot { line, ..spot }
    }

    /// Brings the state of the key at `hash` one step further.
    ///
    /// `step` is given the state, a full quota if there is none, and says what to keep (nothing, to
    /// leave all as it is) and what to return. It may run several times, each time with what the others
    /// have left meanwhile; what the last run returned is returned.
    ///
    /// # Errors
    /// [`NoPlace`] if there is no place for the key and the rule is to refuse.
    pub(crate) fn update<R>(
        &self,
        hash: u64,
        aging: &impl Aging,
        mut step: impl FnMut(u64) -> (Option<u64>, R),
    ) -> Result<R, NoPlace> {
        let tag = tag(hash);
        let first = self.line(hash);
        if let Some((word, seen)) = first.find(tag, way(hash))
            && let Some(result) = advance(word, seen, tag, &mut step)
        {
            return Ok(result);
        }
        self.look_further(hash, first, tag, aging, step)
    }

    /// Brings the state of the key at `hash` one step further, if it has one of its own; says whether it has.
    pub(crate) fn update_own(&self, hash: u64, step: impl Fn(u64) -> Option<u64>) -> bool {
        let (first, tag) = (self.line(hash), tag(hash));
        let mut step = |state| (step(state), ());
        [first, self.other_line(hash, first)]
            .into_iter()
            .filter_map(|line| line.find(tag, way(hash)))
            .any(|(word, seen)| advance(word, seen, tag, &mut step).is_some())
    }

    /// Brings the state of those one step further that the key at `hash` shares with, if it has to share.
    pub(crate) fn update_share(
        &self,
        hash: u64,
        aging: &impl Aging,
        step: impl Fn(u64) -> Option<u64>,
    ) {
        let Some(share) = self.share(hash) else {
            return;
        };
        let mut seen = share.load(Ordering::Acquire);
        while let Some(state) = step(standing(seen, aging)) {
            match swap(share, seen, USED | state) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// A line by the upper bits of a hash.
    #[inline]
    fn line(&self, hash: u64) -> &Line {
        let index = (u128::from(hash) * self.lines.len() as u128) >> 64;
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        self.lines.get(index).unwrap_or(&self.beyond)
    }

    /// The other line of a key.
    fn other_line(&self, hash: u64, first: &Line) -> &Line {
        /// Odd, and from the golden ratio: a product whose upper bits come from all bits of the hash.
        const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
        let line = self.line(hash.wrapping_mul(SPREAD));
        if !std::ptr::eq(line, first) {
            return line;
        }
        // Both are the same: take the one at either end that is not.
        match (self.lines.first(), self.lines.last()) {
            (Some(end), _) if !std::ptr::eq(end, first) => end,
            (_, Some(end)) => end,
            _ => line,
        }
    }

    /// For a key that is not in its first line: in the second, or new.
    #[inline(never)]
    fn look_further<R>(
        &self,
        hash: u64,
        first: &Line,
        tag: u64,
        aging: &impl Aging,
        mut step: impl FnMut(u64) -> (Option<u64>, R),
    ) -> Result<R, NoPlace> {
        let second = self.other_line(hash, first);
        if let Some((word, seen)) = second.find(tag, way(hash))
            && let Some(result) = advance(word, seen, tag, &mut step)
        {
            return Ok(result);
        }
        let home = Home {
            lines: [first, second],
            tag,
            way: way(hash),
            roomy: self.roomy,
        };
        loop {
            let (claim, ours) = match home.look(aging) {
                Look::State(place) => {
                    if let Some(result) = advance(place.word, place.seen, tag, &mut step) {
                        return Ok(result);
                    }
                    continue;
                }
                // Another thread's, for this very key: finish it, as if it were ours.
                Look::Claim(claim) => (claim, false),
                Look::Free(place) => {
                    let (next, result) = step(self.inherited(hash, aging));
                    if next.is_none() {
                        return Ok(result);
                    }
                    let seen = tag | CLAIM | claim_number();
                    if swap(place.word, place.seen, seen).is_err() {
                        continue;
                    }
                    if place.seen != 0 {
                        self.count(hash, |counters| &counters.evicted);
                    }
                    (Place { seen, ..place }, true)
                }
                Look::Full => {
                    if let Some(result) = self.overflow(hash, home, aging, &mut step)? {
                        return Ok(result);
                    }
                    continue;
                }
            };
            fence(Ordering::SeqCst);
            if !home.is_the_only(claim) {
                continue;
            }
            // Read after the fence: whoever spends in the share looks for this claim after it.
            let (next, result) = step(self.inherited(hash, aging));
            match next {
                Some(state) => {
                    if swap(claim.word, claim.seen, tag | state).is_ok() {
                        return Ok(result);
                    }
                }
                None => {
                    // Refused after all, by what was spent in the share meanwhile.
                    if ours {
                        let _ = swap(claim.word, claim.seen, 0);
                    }
                    return Ok(result);
                }
            }
        }
    }

    /// Spends in a quota that is shared with all who find no place. `None`: there is one now.
    fn overflow<R>(
        &self,
        hash: u64,
        home: Home<'_>,
        aging: &impl Aging,
        step: &mut impl FnMut(u64) -> (Option<u64>, R),
    ) -> Result<Option<R>, NoPlace> {
        let Some(share) = self.share(hash) else {
            self.count(hash, |counters| &counters.overflowed);
            return Err(NoPlace);
        };
        let seen = share.load(Ordering::Acquire);
        let (next, result) = step(standing(seen, aging));
        if let Some(state) = next {
            if swap(share, seen, USED | state).is_err() {
                return Ok(None);
            }
            // A thread that has claimed a word for this key meanwhile may have read the share before.
            fence(Ordering::SeqCst);
            if home.has_any() {
                // If others have spent since, it stays: the error is against the clients.
                let _ = swap(share, USED | state, seen);
                return Ok(None);
            }
        }
        self.count(hash, |counters| &counters.overflowed);
        Ok(Some(result))
    }

    fn share(&self, hash: u64) -> Option<&AtomicU64> {
        let shares = self.shares.as_ref()?;
        // Bits that choose neither the tag nor, in any table that fits a memory, the line.
        let index = usize::try_from(hash >> TAG_BITS).unwrap_or(0) % shares.len().max(1);
        shares.get(index)
    }

    /// What a new key begins with: what was spent in its share, if it may have been there, else a full
    /// quota.
    fn inherited(&self, hash: u64, aging: &impl Aging) -> u64 {
        match self.share(hash) {
            Some(share) => standing(share.load(Ordering::Acquire), aging),
            None => aging.full(),
        }
    }

    fn count(&self, hash: u64, of: fn(&Counters) -> &Count) {
        let index = usize::try_from(hash & 7).unwrap_or(0);
        if let Some(counters) = self.counters.get(index) {
            of(counters).fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<'t> Home<'t> {
    fn places(self) -> impl Iterator<Item = Place<'t>> {
        let words = self.lines.into_iter().flat_map(|line| &line.0);
        words.enumerate().map(|(at, word)| Place {
            word,
            seen: word.load(Ordering::Acquire),
            at,
        })
    }

    fn look(self, aging: &impl Aging) -> Look<'t> {
        let mut claim = None;
        let mut free = [None; 2];
        let mut room = [0_usize; 2];
        for place in self.places() {
            if place.seen ^ self.tag < CLAIM {
                return Look::State(place);
            }
            if place.is_for(self.tag) {
                claim = claim.or(Some(place));
            } else if reusable(place.seen, aging) {
                let line = place.at / WAYS;
                if let (Some(free), Some(room)) = (free.get_mut(line), room.get_mut(line)) {
                    if free.is_none_or(|found| self.likes(place) > self.likes(found)) {
                        *free = Some(place);
                    }
                    *room += 1;
                }
            }
        }
        let [first, second] = free;
        let [in_first, in_second] = room;
        let roomier = if in_first >= self.roomy || in_first >= in_second {
            first
        } else {
            second
        };
        match (claim, roomier) {
            (Some(claim), _) => Look::Claim(claim),
            (None, Some(place)) => Look::Free(place),
            (None, None) => Look::Full,
        }
    }

    /// A word that nobody has rather than one whose key may come back; of those, the one that is looked at first.
    fn likes(self, place: Place<'_>) -> (bool, bool) {
        (place.seen == 0, place.at % WAYS == self.way)
    }

    /// Whether `claim` is the only word of its key. If not, it loses or the other does.
    fn is_the_only(self, claim: Place<'_>) -> bool {
        for other in self.places() {
            if other.at == claim.at || !other.is_for(self.tag) {
                continue;
            }
            let other_wins = other.seen & CLAIM == 0 || other.at < claim.at;
            let loser = if other_wins { claim } else { other };
            let erased = swap(loser.word, loser.seen, 0).is_ok();
            if other_wins || !erased {
                return false;
            }
        }
        true
    }

    fn has_any(self) -> bool {
        self.places().any(|place| place.is_for(self.tag))
    }
}

impl Place<'_> {
    /// Whether it is the state of, or a claim for, the key with this tag.
    const fn is_for(&self, tag: u64) -> bool {
        (self.seen ^ tag) >> TAG_SHIFT == 0
    }
}

/// The hash of the second or the first of a key's two words. No first word of any key has the tag or the share of any
/// key's second: what is spent in the one never takes the place of what the other says.
#[inline]
pub(crate) const fn either_word(hash: u64, second: bool) -> u64 {
    if second {
        hash | SECOND_WORD
    } else {
        hash & !SECOND_WORD
    }
}

/// The tag of a key, in its place: never 0, which is what an empty word has.
#[inline]
fn tag(hash: u64) -> u64 {
    (hash & ((1 << TAG_BITS) - 1)).max(1) << TAG_SHIFT
}

/// Which word of a line a key would like to have: there four of five keys of a half full table are found at the first
/// look, and a processor that guesses which word it will be is mostly right.
#[inline(always)]
fn way(hash: u64) -> usize {
    // Bits that choose neither the tag nor, in any table that fits a memory, the line.
    usize::try_from(hash >> TAG_BITS).unwrap_or(0) % WAYS
}

/// Whether another key may have this word.
fn reusable(seen: u64, aging: &impl Aging) -> bool {
    seen == 0 || (seen & CLAIM == 0 && aging.idle(seen & STATE_MASK))
}

/// What a share's word says.
fn standing(seen: u64, aging: &impl Aging) -> u64 {
    let state = seen & STATE_MASK;
    if seen & USED == 0 || aging.idle(state) {
        aging.full()
    } else {
        state
    }
}

/// Steps until the step is taken. `None`: the word belongs to another key now.
#[inline]
fn advance<R>(
    word: &AtomicU64,
    mut seen: u64,
    tag: u64,
    step: &mut impl FnMut(u64) -> (Option<u64>, R),
) -> Option<R> {
    loop {
        let (next, result) = step(seen & STATE_MASK);
        let Some(state) = next else {
            return Some(result);
        };
        match swap(word, seen, tag | state) {
            Ok(_) => return Some(result),
            Err(now) if now ^ tag < CLAIM => seen = now,
            Err(_) => return None,
        }
    }
}

#[inline]
fn swap(word: &AtomicU64, from: u64, to: u64) -> Result<u64, u64> {
    word.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
}

/// A number that no other claim has, as long as any thread could still hold on to one: twelve bits for
/// the thread, and its next number in the rest.
fn claim_number() -> u64 {
    static THREADS: Count = Count::new(0);
    thread_local! {
        static NEXT: Cell<u64> =
            Cell::new(THREADS.fetch_add(1, Ordering::Relaxed) << (STATE_BITS - 12));
    }
    // While a thread is torn down its number is gone; the last one of all is as good as any.
    let next = NEXT.try_with(|next| next.replace(next.get().wrapping_add(1)));
    next.unwrap_or(u64::MAX) & STATE_MASK
}
