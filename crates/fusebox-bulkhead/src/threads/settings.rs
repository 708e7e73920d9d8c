use std::{io, num::NonZeroUsize};

use fusebox_core::Name;

use super::Processors;

/// How many threads, and how they stand against the rest of the process.
///
/// ```
/// use std::num::NonZeroUsize;
/// use fusebox_bulkhead::threads::ThreadSettings;
///
/// let settings = ThreadSettings {
///     nice: Some(10),
///     ..ThreadSettings::new(NonZeroUsize::new(5).unwrap())
/// };
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadSettings {
    /// Threads that run futures and response bodies.
    pub workers: NonZeroUsize,
    /// Steps of operating-system priority below the thread that starts them; `None` leaves it alone.
    ///
    /// The steps are those of `nice(1)`: a thread ten steps below its neighbour gets about a tenth of
    /// the processor when both want it, and all of it when the neighbour is idle. A priority is an
    /// attribute of a thread on Linux and Android only; elsewhere this is said once in the log and has
    /// no effect. Above (a negative number) takes a privilege that most processes do not have.
    pub nice: Option<i32>,
    /// The processors that the threads may run on; `None` for those of whoever starts each.
    ///
    /// Like a priority it is said once in the log where it is not available, which is everywhere but on
    /// Linux and Android.
    pub processors: Option<Processors>,
    /// Threads for synchronous functions; `None` for as many as workers. The first is started with the
    /// workers, so that there is always one, and the others when needed; none is stopped before the end.
    pub blocking: Option<NonZeroUsize>,
}

impl ThreadSettings {
    /// `workers` threads and as many for blocking work, at the usual priority, on every processor.
    #[must_use]
    pub const fn new(workers: NonZeroUsize) -> Self {
        Self {
            workers,
            nice: None,
            processors: None,
            blocking: None,
        }
    }
}

/// The operating system did not give a compartment its threads.
#[derive(Debug)]
pub struct StartError {
    compartment: Name,
    workers: NonZeroUsize,
    source: io::Error,
}

impl StartError {
    pub(super) fn new(compartment: &Name, workers: NonZeroUsize, source: io::Error) -> Self {
        Self {
            compartment: compartment.clone(),
            workers,
            source,
        }
    }
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "threads: cannot start {} for compartment \"{}\"",
            self.workers, self.compartment
        )
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_setting_the_compartment_and_the_cause() {
        let workers = NonZeroUsize::new(20).unwrap();
        let error = StartError::new(&"payments".into(), workers, io::Error::other("no more"));
        assert_eq!(
            error.to_string(),
            "threads: cannot start 20 for compartment \"payments\""
        );
        let cause = std::error::Error::source(&error).unwrap();
        assert_eq!(cause.to_string(), "no more");
    }
}
