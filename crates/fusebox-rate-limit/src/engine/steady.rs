//! A few numbers that belong together, read often and changed seldom.

use fusebox_core::sync::{AtomicU64, Mutex, Ordering, fence, lock};

/// `N` numbers of which a reader always sees one whole generation.
///
/// A sequence lock (Lameter, 2005; for the orderings Boehm, *Can seqlocks get along with programming
/// language memory models?*, 2012): a reader writes nothing, so any number of them share the cache
/// line. An `Arc` behind a pointer would do the same with a count to raise for each reader.
#[derive(Debug)]
pub(crate) struct Steady<const N: usize> {
    /// Odd while a writer is at work.
    generation: AtomicU64,
    numbers: [AtomicU64; N],
    writers: Mutex<()>,
}

impl<const N: usize> Steady<N> {
    pub(crate) fn new(numbers: [u64; N]) -> Self {
        Self {
            generation: AtomicU64::new(0),
            numbers: numbers.map(AtomicU64::new),
            writers: Mutex::new(()),
        }
    }

    #[inline]
    pub(crate) fn get(&self) -> [u64; N] {
        loop {
            let before = self.generation.load(Ordering::Acquire);
            let numbers = std::array::from_fn(|at| {
                self.numbers
                    .get(at)
                    .map_or(0, |number| number.load(Ordering::Relaxed))
            });
            // Keeps the loads above from moving below the second look at the generation.
            fence(Ordering::Acquire);
            if before == self.generation.load(Ordering::Relaxed) && before & 1 == 0 {
                return numbers;
            }
            std::hint::spin_loop();
        }
    }

    /// Replaces the numbers by what `change` makes of them.
    pub(crate) fn change(&self, change: impl FnOnce([u64; N]) -> [u64; N]) {
        let _one_at_a_time = lock(&self.writers);
        // No other writer: these are whole.
        let next = change(self.get());
        let generation = self.generation.load(Ordering::Relaxed);
        self.generation.store(generation + 1, Ordering::Relaxed);
        // Keeps the stores below from moving above the odd generation.
        fence(Ordering::Release);
        for (number, next) in self.numbers.iter().zip(next) {
            number.store(next, Ordering::Relaxed);
        }
        self.generation.store(generation + 2, Ordering::Release);
    }
}

#[cfg(all(test, not(fusebox_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_reader_sees_one_generation_whole() {
        let steady = Steady::new([0, 0, 0]);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    steady.change(|[n, ..]| [n + 1, n + 1, n + 1]);
                }
            });
            for _ in 0..20_000 {
                let [a, b, c] = steady.get();
                assert!(a == b && b == c, "{a} {b} {c}");
            }
        });
        assert_eq!(steady.get(), [20_000; 3]);
    }
}
