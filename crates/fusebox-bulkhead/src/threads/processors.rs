use std::io;

use fusebox_core::Name;

use super::complaint::Complaint;

/// Some of the processors of the machine, by the operating system's numbers.
///
/// Priority decides between threads that want a processor at the same moment. It does not keep a thread
/// that computes from being there already, nor does it count for the kernel's own threads, which carry a
/// commit to the disk. Traffic that must not wait for either gets processors of its own.
///
/// ```
/// use fusebox_bulkhead::{Compartment, threads::Processors};
///
/// let (quick, busy) = Processors::available().halves();
///
/// # fn example(quick: Processors, busy: Processors) -> Result<(), fusebox_bulkhead::ConfigError> {
/// let payments = Compartment::builder("payments")
///     .slots(200)
///     .threads(20)
///     .processors(quick)
///     .build()?;
/// let analytics = Compartment::builder("analytics")
///     .slots(5)
///     .threads(5)
///     .processors(busy)
///     .nice(10)
///     .build()?;
/// # Ok(())
/// # }
/// # example(quick, busy).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Processors(
    /// In order, each once.
    Box<[usize]>,
);

impl Processors {
    /// Those with these numbers.
    #[must_use]
    pub fn numbered(numbers: impl IntoIterator<Item = usize>) -> Self {
        let mut numbers: Vec<_> = numbers.into_iter().collect();
        numbers.sort_unstable();
        numbers.dedup();
        Self(numbers.into())
    }

    /// Those that the calling thread may run on.
    ///
    /// Where the operating system does not tell (all but Linux and Android do not), as many as it says
    /// can be used at once, numbered from zero.
    #[must_use]
    pub fn available() -> Self {
        Self::numbered(os::available())
    }

    /// Two halves of them; the first has the one in the middle. One alone is in both: two compartments
    /// can share it, but none can do without.
    #[must_use]
    pub fn halves(&self) -> (Self, Self) {
        if self.len() < 2 {
            return (self.clone(), self.clone());
        }
        let (first, second) = self.0.split_at(self.len().div_ceil(2));
        (Self(first.into()), Self(second.into()))
    }

    /// Their numbers, in order.
    pub fn numbers(&self) -> impl Iterator<Item = usize> {
        self.0.iter().copied()
    }

    /// How many they are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none among them. No thread can run on those.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The processors of a compartment's threads. Each sets them for itself when it starts, as it does with
/// its [`Priority`](super::priority::Priority), and what it starts inherits them.
#[derive(Debug)]
pub(super) struct Pinned {
    processors: Processors,
    complaint: Complaint,
}

impl Pinned {
    pub(super) const fn to(processors: Processors, compartment: Name) -> Self {
        Self {
            processors,
            complaint: Complaint::new(compartment, "processors"),
        }
    }

    /// Keeps the calling thread to them, if the operating system lets it.
    pub(super) fn take(&self) {
        if let Err(error) = os::keep_to(&self.processors) {
            self.complaint.about(&error);
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod os {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    use super::{Processors, io};

    pub(super) fn available() -> impl Iterator<Item = usize> {
        // It fails on machines with more processors than the set has room for.
        let set = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
        (0..CpuSet::MAX_CPU).filter(move |number| set.is_set(*number))
    }

    pub(super) fn keep_to(processors: &Processors) -> io::Result<()> {
        let mut set = CpuSet::new();
        for number in processors.numbers() {
            if number >= CpuSet::MAX_CPU {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            set.set(number);
        }
        Ok(sched_setaffinity(None, &set)?)
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod os {
    use super::{Processors, io};

    pub(super) fn available() -> std::ops::Range<usize> {
        0..std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
    }

    pub(super) fn keep_to(_: &Processors) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(processors: &Processors) -> Vec<usize> {
        processors.numbers().collect()
    }

    #[test]
    fn they_are_in_order_and_each_once() {
        let processors = Processors::numbered([5, 3, 5, 0]);
        assert_eq!(numbers(&processors), [0, 3, 5]);
        assert_eq!(processors.len(), 3);
        assert!(Processors::numbered([]).is_empty());
    }

    #[test]
    fn the_halves_are_all_there_is_and_share_nothing() {
        for (all, first, second) in [
            (&[3, 5][..], &[3][..], &[5][..]),
            (&[0, 1, 2], &[0, 1], &[2]),
            (&[0, 1, 6, 7], &[0, 1], &[6, 7]),
        ] {
            let halves = Processors::numbered(all.iter().copied()).halves();
            assert_eq!(numbers(&halves.0), first);
            assert_eq!(numbers(&halves.1), second);
        }
    }

    #[test]
    fn a_single_processor_is_everybodys() {
        let single = Processors::numbered([3]);
        assert_eq!(single.halves(), (single.clone(), single));
    }

    #[test]
    fn some_are_available() {
        assert!(!Processors::available().is_empty());
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn a_thread_keeps_itself_to_them_and_what_it_starts_and_nobody_else() {
        let here = Processors::available();
        let (_, half) = here.halves();
        let pinned = Pinned::to(half.clone(), "analytics".into());
        let there = std::thread::spawn(move || {
            pinned.take();
            let started = std::thread::spawn(Processors::available);
            (Processors::available(), started.join().unwrap())
        });
        assert_eq!(there.join().unwrap(), (half.clone(), half));
        assert_eq!(Processors::available(), here);
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn processors_that_are_not_there_change_nothing() {
        let here = Processors::available();
        for nowhere in [&[][..], &[1_023], &[1_000_000]] {
            let nowhere = Processors::numbered(nowhere.iter().copied());
            let pinned = Pinned::to(nowhere, "analytics".into());
            let there = std::thread::spawn(move || {
                pinned.take();
                Processors::available()
            });
            assert_eq!(there.join().unwrap(), here);
        }
    }
}
