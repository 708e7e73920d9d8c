use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
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
}

impl Seats {
    /// So many seats that the threads of this machine rarely share one.
    pub(crate) fn for_this_machine() -> usize {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        threads.next_power_of_two().min(MOST_SEATS)
    }

    /// `seats` has to be a power of two.
    pub(crate) fn around(shared: Arc<Shared>, seats: usize) -> Self {
        let seat = |index| {
            let shared = shared.clone();
            Arc::new(Seat { shared, index })
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
