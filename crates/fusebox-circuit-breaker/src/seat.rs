use std::{
    cell::Cell,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use fusebox_core::{Timestamp, stats::Sampler};

use crate::{breaker::Shared, engine::Shard};

/// Places in every table: a power of two, so that a place is found by a mask. Past this many, seats cost
/// memory and bring nothing.
const PLACES: usize = 16;

/// The places from which threads use a circuit.
///
/// A call has to keep its circuit alive until it is over. Were that a clone of one `Arc`, two threads
/// would fight for its count twice per call, which costs more than everything else here together. So
/// each thread has a seat with a count of its own, next to where its calls are counted.
pub(crate) struct Seats {
    shared: Arc<Shared>,
    /// The first is [`NOBODYS`]. If there are fewer others than places, each is here several times.
    table: [Arc<Seat>; PLACES],
}

/// One of them; 128 because the adjacent-line prefetcher pulls lines in pairs.
#[repr(align(128))]
pub(crate) struct Seat {
    shared: Arc<Shared>,
    shard: Arc<Shard>,
    /// Whether it is for threads that have no place yet. Every call from here is one of the sample.
    nobodys: bool,
    sampler: Sampler,
}

/// So many calls a second each thread times in any case,
const TIMED_PER_SECOND: u32 = 1_000;
/// and beyond that one in 256: a reading of the clock costs as much as all else that a closed circuit does.
const MOST_UNTIMED: u32 = 510;

impl Seats {
    /// So many seats that the threads of this machine rarely share one: threads come and go, so their
    /// numbers are not those of the processors, and with as many seats as processors every other
    /// thread would sit on a neighbour's lap.
    pub(crate) fn for_this_machine() -> usize {
        // Asked once: the answer takes the reading of files, and a family makes a circuit for each new key.
        static THREADS: OnceLock<usize> = OnceLock::new();
        let threads =
            THREADS.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from));
        (4 * threads).min(PLACES - 1)
    }

    /// As many seats as the circuit has shards, and nobody's.
    pub(crate) fn around(shared: Arc<Shared>) -> Self {
        let shards = shared.circuit.shards().len().max(1);
        let seat = |number| Arc::new(Seat::new(shared.clone(), number));
        let nobodys = seat(NOBODYS);
        let seats: Vec<_> = (1..=shards).map(seat).collect();
        let table = std::array::from_fn(|place| {
            let place = place.checked_sub(1).map(|place| place % shards);
            let seat = place.and_then(|place| seats.get(place));
            seat.unwrap_or(&nobodys).clone()
        });
        Self { shared, table }
    }

    #[inline]
    pub(crate) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The next call from every seat is one of the sample.
    pub(crate) fn sample_next(&self) {
        self.table.iter().for_each(|seat| seat.sampler.skip_none());
    }

    /// The calling thread's.
    #[inline(always)]
    pub(crate) fn mine(&self) -> &Arc<Seat> {
        let [first, ..] = &self.table;
        // Always found: the mask is the length.
        self.table.get(my_place() % PLACES).unwrap_or(first)
    }
}

impl Seat {
    fn new(shared: Arc<Shared>, number: usize) -> Self {
        Self {
            shard: shared.circuit.shard(number).clone(),
            nobodys: number == NOBODYS,
            sampler: Sampler::new(TIMED_PER_SECOND, MOST_UNTIMED),
            shared,
        }
    }

    #[inline]
    pub(crate) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    #[inline]
    pub(crate) fn shard(&self) -> &Shard {
        &self.shard
    }

    /// Whether one more call is not of the sample that is timed.
    #[inline(always)]
    pub(crate) fn skips(&self) -> bool {
        self.sampler.skips()
    }

    /// One of the sample begins now. Says for how many calls it stands.
    pub(crate) fn sample(&self, now: Timestamp) -> u32 {
        take_place();
        // A sampler that takes no samples never begins to skip.
        if self.nobodys || self.shared.times_all() {
            1
        } else {
            self.sampler.take(now)
        }
    }
}

thread_local! {
    /// The calling thread's place in every table, the same for all circuits.
    static PLACE: Cell<usize> = const { Cell::new(NOBODYS) };
}

/// Where threads sit that have no place yet. Every call from there is timed, and on that way its thread
/// [gets a place](take_place): so nobody else has to look whether it has one.
const NOBODYS: usize = 0;

#[inline(always)]
fn my_place() -> usize {
    // While a thread is torn down its place is gone; any seat will do for its last calls.
    PLACE.try_with(Cell::get).unwrap_or(NOBODYS)
}

/// Gives the calling thread a place if it has none.
fn take_place() {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    if my_place() == NOBODYS {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        // The places but nobody's.
        let _ = PLACE.try_with(|place| place.set(1 + next % (PLACES - 1)));
    }
}
