//! Which processors threads may run on.

use std::{panic, thread};

/// A part of the processors that this process may use.
///
/// Beside a neighbour that computes, a lower priority is not enough for traffic that commits to a disk:
///
/// - A thread that wakes may wait until the neighbour's slice is over, and a payment wakes a dozen threads.
/// - The kernel's own threads, which carry a commit to the disk, compete with the process as a whole where
///   processes are scheduled in groups (containers, services, the sessions of a terminal). They wait for
///   milliseconds, whatever the priority of the threads in the group. The kernel starts its part of a commit
///   on the processor that asked for it, so payments ask from where nobody computes.
///
/// Measured on two cores with Linux 6.18, p99 of payments under the flood over idle: 7 to 9 with priority alone,
/// 2.5 to 4.6 when processes were not scheduled in groups, 0.3 to 1.6 with the halves as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cores {
    /// The first half, and the one in the middle.
    FirstHalf,
    /// The others; all of them if there is only one.
    SecondHalf,
}

impl Cores {
    /// Starts something whose threads run on these processors, where the system lets us (Linux does).
    ///
    /// A thread begins with the processors of the one that starts it, so this needs nobody's help: not the
    /// compartment's, whose workers are started in here, nor the database's, whose threads those workers start.
    ///
    /// # Panics
    ///
    /// If `start` does.
    pub fn hold<T: Send>(self, start: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let starter = scope.spawn(|| {
                if let Err(error) = os::keep_to(self) {
                    tracing::info!("every processor is shared: {error}");
                }
                start()
            });
            starter
                .join()
                .unwrap_or_else(|panicked| panic::resume_unwind(panicked))
        })
    }
}

#[cfg(target_os = "linux")]
mod os {
    use std::io;

    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    use super::Cores;

    /// Keeps this thread, and those that it will start, to these processors.
    pub(super) fn keep_to(cores: Cores) -> io::Result<()> {
        let all = sched_getaffinity(None)?;
        sched_setaffinity(None, &part(&all, cores))?;
        Ok(())
    }

    fn part(all: &CpuSet, cores: Cores) -> CpuSet {
        let count = usize::try_from(all.count()).unwrap_or_default();
        if count < 2 {
            return *all;
        }
        let first_half = count.div_ceil(2);
        let numbers = (0..CpuSet::MAX_CPU).filter(|number| all.is_set(*number));
        let mut part = CpuSet::new();
        match cores {
            Cores::FirstHalf => numbers.take(first_half).for_each(|number| part.set(number)),
            Cores::SecondHalf => numbers.skip(first_half).for_each(|number| part.set(number)),
        }
        part
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn set(processors: &[usize]) -> CpuSet {
            let mut set = CpuSet::new();
            for processor in processors {
                set.set(*processor);
            }
            set
        }

        #[test]
        fn the_halves_are_all_there_is_and_share_nothing() {
            for (all, first, second) in [
                (&[3, 5][..], &[3][..], &[5][..]),
                (&[0, 1, 2], &[0, 1], &[2]),
                (&[0, 1, 6, 7], &[0, 1], &[6, 7]),
            ] {
                assert_eq!(part(&set(all), Cores::FirstHalf), set(first), "{all:?}");
                assert_eq!(part(&set(all), Cores::SecondHalf), set(second), "{all:?}");
            }
        }

        #[test]
        fn a_single_processor_is_everybodys() {
            for cores in [Cores::FirstHalf, Cores::SecondHalf] {
                assert_eq!(part(&set(&[3]), cores), set(&[3]));
            }
        }

        #[test]
        fn what_is_started_inside_inherits_it_and_the_caller_keeps_its_own() {
            let mine = || sched_getaffinity(None).unwrap();
            let before = mine();
            let inside = Cores::SecondHalf.hold(|| std::thread::spawn(mine).join().unwrap());
            assert_eq!(inside, part(&before, Cores::SecondHalf));
            assert_eq!(mine(), before);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod os {
    pub(super) fn keep_to(_: super::Cores) -> std::io::Result<()> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}
