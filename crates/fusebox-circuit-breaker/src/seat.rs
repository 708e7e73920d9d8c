use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
};

use crate::breaker::Shared;

/// Past this many, seats cost memory and bring nothing.
const MOST_SEATS: usize = 16;

/// The places from which threads use a circuit.
///
/// A call has to keep its circuit alive until it is over. Were that a clone of one `Arc`, two threads
/// would fight for its count twice per call, which costs more than everything else here together. So
/// each thread has a seat with a count of its own, and its number is also where the thread's calls are
/// counted in the window.
pub(crate) struct Seats {
    seats: Box<[Arc<Seat>]>,
    first: Arc<Seat>,
}

/// One of them; 128 because the adjacent-line prefetcher pulls lines in pairs.
#[repr(align(128))]
pub(crate) struct Seat {
    shared: Arc<Shared>,
    index: usize,
    /// Calls made from here, to tell which of them are timed.
    calls: AtomicU32,
}

/// Of so many calls one is timed, where nobody wants to know of each: a reading of the clock costs more
/// than everything else a closed circuit does.
const TIMED: u32 = 16;

impl Seats {
    /// So many seats that the threads of this machine rarely share one: threads come and go, so their
    /// numbers are not those of the processors, and with as many seats as processors every other
    /// thread would sit on a neighbour's lap.
    pub(crate) fn for_this_machine() -> usize {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        (4 * threads).next_power_of_two().min(MOST_SEATS)
    }

    /// `seats` has to be a power of two.
    pub(crate) fn around(shared: Arc<Shared>, seats: usize) -> Self {
        let seat = |index| {
            let shared = shared.clone();
            let calls = AtomicU32::new(0);
            Arc::new(Seat {
                shared,
                index,
                calls,
            })
        };
        let first = seat(0);
        let others = (1..seats.max(1)).map(seat);
        Self {
            seats: std::iter::once(first.clone()).chain(others).collect(),
            first,
        }
    }

    #[inline]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.first.shared
    }

    /// The calling thread's.
    #[inline]
    pub(crate) fn mine(&self) -> &Arc<Seat> {
        let index = thread_index() & (self.seats.len() - 1);
        self.seats.get(index).unwrap_or(&self.first)
    }
}

impl Seat {
    #[inline]
    pub(crate) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Whether one more call is one of the sample that is timed.
    #[inline]
    pub(crate) fn samples(&self) -> bool {
        // Not one read-modify-write: a seat is one thread's, mostly, and a sample may be off by one.
        let calls = self.calls.load(Ordering::Relaxed);
        self.calls.store(calls.wrapping_add(1), Ordering::Relaxed);
        calls.is_multiple_of(TIMED)
    }

    #[inline]
    pub(crate) const fn index(&self) -> usize {
        self.index
    }
}

/// A small number for the calling thread, the same for all circuits.
#[inline]
fn thread_index() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static INDEX: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    // While a thread is torn down its index is gone; any seat will do for its last calls.
    INDEX
        .try_with(|index| {
            if index.get() == usize::MAX {
                index.set(NEXT.fetch_add(1, Ordering::Relaxed));
            }
            index.get()
        })
        .unwrap_or(0)
}
