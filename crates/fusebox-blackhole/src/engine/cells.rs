//! Who is in: strikes, sentences, neighbours.
//!
//! All clients of one IPv6 /48 are in one block of the [`table`](super::table), and so are the sentences of that
//! /48 and its /56: who is in among the neighbours is counted exactly, by a look at 32 words, their strikes are summed in
//! records of the networks, and a site that owns a /48 cannot fill more than one block with its 65536 clients.
//!
//! A full bucket gives up the record that is worth least, be it the newcomer's: nothing known before strikes,
//! strikes before sentences, the sentence that ends soonest first. So strikes from ever new addresses push out one
//! another. Where everybody is in, one of the sentences, the one that ends soonest, makes way for whoever is new: from then on
//! newcomers push out one another there, and the other sentences stay. What was left out is [counted](Cells::crowded).

use std::time::Duration;

use fusebox_core::{
    Timestamp,
    sync::{AtomicU64, Ordering},
};

use super::{
    key::{Key, Width},
    never::Never,
    record::{Cause, Record},
    table::{Kept, Places, Table, Writer},
    terms::Terms,
};

/// The records of all clients: who has strikes, who is in, who was.
///
/// All memory is allocated at once, about 38 bytes for each client of the capacity, and none after that.
pub struct Cells {
    table: Table,
    crowded: [AtomicU64; 2],
}

/// What a table had to leave out because it was full where it mattered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crowded {
    /// Sentences that ended early, to make room for somebody new.
    pub freed: u64,
    /// Strikes that count no more, because all that was there was worth more.
    pub forgotten: u64,
}

/// What strikes lead to, and for whom they lead to nothing.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// How many strikes, how long a sentence.
    pub terms: Terms,
    /// Who can never be jailed.
    pub never: Never,
}

/// A client that is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inmate {
    /// Who.
    pub key: Key,
    /// Since when, in whole seconds of the jail's clock.
    pub since: Timestamp,
    /// Until when, in whole seconds.
    pub until: Timestamp,
    /// Why.
    pub cause: Cause,
    /// How many sentences it has had from strikes, less those forgiven.
    pub sentences: u8,
}

/// What a strike led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Struck {
    /// It was counted.
    Counted {
        /// Strikes that count against the client now.
        strikes: u32,
    },
    /// It led in.
    Jailed {
        /// The client; or its /56 or /48, if it is by the strikes of all its clients together.
        inmate: Inmate,
        /// The /56 and the /48 around that, where those went in with it.
        around: [Option<Inmate>; 2],
    },
    /// The client is in already, or a network around it is.
    AlreadyIn,
    /// The client can never be jailed.
    Never,
    /// Every record in the client's place is worth more than this one, and not all of them are sentences: it is not kept.
    NoRoom,
}

impl Cells {
    /// A table with room for about `capacity` clients. Seed it with a secret random number: who knows it can choose
    /// addresses that push out one another.
    #[must_use]
    pub fn new(capacity: usize, seed: u64) -> Self {
        Self {
            table: Table::new(capacity, seed),
            crowded: [(); 2].map(|()| AtomicU64::new(0)),
        }
    }

    /// The most clients it can ever hold: half as many again as it was asked for, rounded up to a block of 256.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.table.capacity()
    }

    /// The bytes it takes, whoever is in it.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.table.memory()
    }

    /// What it had to leave out since it was made. A table with room enough leaves out nobody, but for one in some
    /// thousands that chance has put together.
    #[must_use]
    pub fn crowded(&self) -> Crowded {
        let [freed, forgotten] = &self.crowded;
        Crowded {
            freed: freed.load(Ordering::Relaxed),
            forgotten: forgotten.load(Ordering::Relaxed),
        }
    }

    /// Keeps a record in its cell, or finds one for it; see [`Writer::keep`].
    fn keep(
        &self,
        writer: &Writer<'_>,
        (key, record): (Key, Record),
        at: Option<usize>,
        places: &Places,
        (rules, now): (&Rules, u32),
    ) -> bool {
        let worth = |record: &Record| record.worth(now, &rules.terms);
        let kept = writer.keep(key, record, at, places, worth);
        let [freed, forgotten] = &self.crowded;
        match kept {
            Kept::Yes => {}
            Kept::ForASentence => {
                freed.fetch_add(1, Ordering::Relaxed);
            }
            Kept::No => {
                forgotten.fetch_add(1, Ordering::Relaxed);
            }
        }
        kept != Kept::No
    }

    /// Whether the client is in, by itself or by a network around it. Lock-free; two loads for an innocent IPv4
    /// client, four for an innocent IPv6 client, none of them far from the others.
    #[inline]
    #[must_use]
    pub fn check(&self, key: Key, now: Timestamp) -> Option<Inmate> {
        let places = self.table.places(key);
        if self.table.is_tagged(&places) {
            self.look(key, &places, seconds(now))
        } else {
            None
        }
    }

    #[cold]
    #[inline(never)]
    fn look(&self, key: Key, places: &Places, now: u32) -> Option<Inmate> {
        let own = self.table.read(key, places);
        if let Some(record) = own.filter(|record| record.is_in(now)) {
            return Some(inmate(key, record));
        }
        let places = places.of_networks();
        [Width::Net56, Width::Net48].into_iter().find_map(|width| {
            // Only IPv6 has any.
            let network = key.widened(width)?;
            let record = self.table.read(network, &places)?;
            record.is_in(now).then(|| inmate(network, record))
        })
    }

    /// Counts a strike against the client. With the last one it goes in, for as long as the terms say. `jitter` is
    /// any number that differs from call to call.
    pub fn strike(
        &self,
        key: Key,
        cause: Cause,
        rules: &Rules,
        now: Timestamp,
        jitter: u32,
    ) -> Struck {
        if rules.forbid(key) {
            return Struck::Never;
        }
        let places = self.table.places(key);
        if self.look(key, &places, seconds(now)).is_some() {
            return Struck::AlreadyIn;
        }
        // Rounded up, so that a sentence of ten seconds lasts no less.
        let now = seconds_up(now);
        let writer = self.table.write(places.block);
        let (at, mut record) = known(writer.find(key, &places), key);
        if record.is_in(now) {
            return Struck::AlreadyIn;
        }
        let led_in = record.strike(now, &rules.terms, cause, jitter);
        let kept = self.keep(&writer, (key, record), at, &places, (rules, now));
        let led_in = kept && led_in;
        let neighbours = [
            (Width::Net56, rules.terms.neighbours_in_56),
            (Width::Net48, rules.terms.neighbours_in_48),
        ];
        let around = neighbours.map(|(width, enough)| {
            let network = key.widened(width)?;
            self.widen(&writer, network, enough?, led_in, rules, now, jitter)
        });
        match (led_in, around) {
            (true, around) => Struck::Jailed {
                inmate: inmate(key, record),
                around,
            },
            (false, [Some(inmate), site]) => Struck::Jailed {
                inmate,
                around: [None, site],
            },
            (false, [None, Some(inmate)]) => Struck::Jailed {
                inmate,
                around: [None, None],
            },
            (false, [None, None]) if kept => Struck::Counted {
                strikes: record.strikes(),
            },
            (false, [None, None]) => Struck::NoRoom,
        }
    }

    /// Counts a strike against the network around a client. Sends it in if so many of its clients are in, or if all of
    /// them together have as many strikes as that.
    #[expect(clippy::too_many_arguments, reason = "one decision, in two halves")]
    fn widen(
        &self,
        writer: &Writer<'_>,
        network: Key,
        enough: u16,
        led_in: bool,
        rules: &Rules,
        now: u32,
        jitter: u32,
    ) -> Option<Inmate> {
        if rules.forbid(network) {
            return None;
        }
        // In the block of its clients, and under their tag.
        let places = self.table.places(network);
        let (at, mut record) = known(writer.find(network, &places), network);
        if record.is_in(now) {
            return None;
        }
        let strikes = rules.terms.network_strikes(enough);
        let goes_in = strikes.is_some_and(|most| record.count(now, &rules.terms) >= most)
            || led_in && clients_in(writer, network, &places, now) >= usize::from(enough);
        if goes_in {
            record.sentence(now, &rules.terms, Cause::Neighbours, jitter);
        } else if strikes.is_none() {
            return None;
        }
        let kept = self.keep(writer, (network, record), at, &places, (rules, now));
        (goes_in && kept).then(|| inmate(network, record))
    }

    /// Sends a client in until then, whatever its strikes; one that is in for longer stays for as long as it was.
    /// `None` when it can never be jailed. Where there is no room but for those that are in, the one that is out soonest
    /// makes way.
    pub fn jail(
        &self,
        key: Key,
        cause: Cause,
        until: Timestamp,
        rules: &Rules,
        now: Timestamp,
    ) -> Option<Inmate> {
        let (now, until) = (seconds(now), seconds_up(until));
        self.change(key, rules, now, |record| {
            if record.until < until {
                // Counted from the end of the last sentence, which this one is about to overwrite.
                record.relapses = record.relapses_now(now, &rules.terms);
                record.put_in(now, until, cause);
            }
        })
    }

    /// Puts back one that [`for_each_known`](Self::for_each_known) showed before a restart, be it that its sentence is
    /// over by now.
    pub fn restore(&self, was: Inmate, rules: &Rules, now: Timestamp) -> Option<Inmate> {
        let until = seconds_up(was.until);
        self.change(was.key, rules, seconds(now), |record| {
            record.relapses = record.relapses.max(was.sentences);
            if record.until < until {
                record.put_in(seconds(was.since), until, was.cause);
            }
        })
    }

    fn change(
        &self,
        key: Key,
        rules: &Rules,
        now: u32,
        change: impl FnOnce(&mut Record),
    ) -> Option<Inmate> {
        if rules.forbid(key) {
            return None;
        }
        let places = self.table.places(key);
        let writer = self.table.write(places.block);
        let (at, mut record) = known(writer.find(key, &places), key);
        change(&mut record);
        self.keep(&writer, (key, record), at, &places, (rules, now))
            .then(|| inmate(key, record))
    }

    /// Forgets the client: its sentence, its strikes, its relapses. What it was in for, if it was.
    ///
    /// A network around it that is in stays in.
    pub fn release(&self, key: Key, now: Timestamp) -> Option<Inmate> {
        let places = self.table.places(key);
        let writer = self.table.write(places.block);
        let (at, record) = writer.find(key, &places)?;
        writer.forget(at);
        record.is_in(seconds(now)).then(|| inmate(key, record))
    }

    /// Forgets everybody.
    pub fn release_all(&self) {
        for block in 0..self.table.blocks() {
            let writer = self.table.write(block);
            writer.all().for_each(|(at, ..)| writer.forget(at));
        }
    }

    /// Shows everyone who is in, in no order. Each block is locked for as long as it takes to copy it, and nothing
    /// is locked while `show` runs.
    pub fn for_each(&self, now: Timestamp, show: impl FnMut(Inmate)) {
        let now = seconds(now);
        self.show(|record| record.is_in(now), show);
    }

    /// Shows everyone who is in, and everyone whose last sentence is over and not forgiven: `since` is then when it
    /// ended, as `until` is.
    pub fn for_each_known(&self, terms: &Terms, now: Timestamp, mut show: impl FnMut(Inmate)) {
        let seconds = seconds(now);
        let known =
            |record: &Record| record.is_in(seconds) || record.relapses_now(seconds, terms) > 0;
        self.show(known, |inmate| {
            let since = match inmate.until > now {
                true => inmate.since,
                false => inmate.until,
            };
            show(Inmate { since, ..inmate });
        });
    }

    fn show(&self, which: impl Fn(&Record) -> bool, mut show: impl FnMut(Inmate)) {
        for block in 0..self.table.blocks() {
            let chosen: Vec<_> = self
                .table
                .write(block)
                .all()
                .filter(|(_, _, record)| which(record))
                .map(|(_, key, record)| inmate(key, record))
                .collect();
            chosen.into_iter().for_each(&mut show);
        }
    }
}

impl Rules {
    fn forbid(&self, key: Key) -> bool {
        key.network()
            .is_some_and(|network| self.never.covers(network))
    }
}

/// How many clients of a network are in: all of them are in one block, under one tag.
fn clients_in(writer: &Writer<'_>, network: Key, places: &Places, now: u32) -> usize {
    writer
        .tagged(places)
        .filter(|(_, key, record)| {
            record.is_in(now)
                && key.width() == Width::Client
                && key.widened(network.width()) == Some(network)
        })
        .count()
}

fn known(found: Option<(usize, Record)>, key: Key) -> (Option<usize>, Record) {
    match found {
        Some((at, record)) => (Some(at), record),
        None => (None, Record::new(key.width())),
    }
}

fn inmate(key: Key, record: Record) -> Inmate {
    let at = |seconds: u32| Timestamp::ZERO + Duration::from_secs(seconds.into());
    Inmate {
        key,
        since: at(record.since),
        until: at(record.until),
        cause: record.cause,
        sentences: record.relapses,
    }
}

const NANOS: u64 = 1_000_000_000;

#[inline]
fn seconds(at: Timestamp) -> u32 {
    u32::try_from(at.as_nanos() / NANOS).unwrap_or(u32::MAX)
}

/// Rounded up: a sentence never ends early.
fn seconds_up(at: Timestamp) -> u32 {
    u32::try_from(at.as_nanos().div_ceil(NANOS)).unwrap_or(u32::MAX)
}

impl std::fmt::Debug for Cells {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cells")
            .field("capacity", &self.capacity())
            .field("memory", &self.memory())
            .finish_non_exhaustive()
    }
}
