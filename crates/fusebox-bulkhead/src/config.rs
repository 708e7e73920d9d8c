use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use fusebox_core::{Mode, Name, Observer, Registration};

use crate::{
    Compartment,
    engine::{MOST_SLOTS, Queue, QueueOrder, Shares},
    threads::{Processors, StartError, ThreadSettings, Threads},
};

/// Nobody waits longer for an answer than this, so a longer wait is a mistake of units.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// More threads than this are a mistake: each has a stack, and the machine has only so many processors.
const MOST_THREADS: u32 = 4_096;
/// The scale of `nice(1)` is forty steps long.
const MOST_NICE: i32 = 39;
/// As many as Linux's set of processors has room for.
const MOST_PROCESSORS: u32 = 1_024;

/// When a call gives its slot back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HoldUntil {
    /// When its response body has ended, broken off or been dropped: as long as it uses memory,
    /// connections and time of the service.
    ///
    /// In a compartment with threads of its own that is when the body has been *produced*: up to 16 frames of it may
    /// then be on their way to whoever reads them, and a body of a single frame is over with its head.
    #[default]
    BodyEnd,
    /// When its response head is there. For services whose bodies stream for hours and cost nothing,
    /// such as event streams.
    Head,
}

/// Settings of a [`Compartment`]; made by [`Compartment::builder`].
#[derive(Clone)]
#[must_use = "settings do nothing until they are built"]
pub struct CompartmentBuilder {
    pub(crate) name: Name,
    slots: Option<usize>,
    queue: Option<(usize, Duration)>,
    order: Option<QueueOrder>,
    slots_per_key: Option<usize>,
    queue_per_key: Option<(usize, Duration)>,
    max_keys: Option<usize>,
    threads: Option<usize>,
    nice: Option<i32>,
    processors: Option<Processors>,
    blocking_threads: Option<usize>,
    pub(crate) hold_until: HoldUntil,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) time_every_call: bool,
    pub(crate) mode: Mode,
    pub(crate) observers: Vec<Arc<dyn Observer>>,
    pub(crate) registration: Registration,
}

impl CompartmentBuilder {
    pub(crate) fn new(name: Name) -> Self {
        Self {
            name,
            slots: None,
            queue: None,
            order: None,
            slots_per_key: None,
            queue_per_key: None,
            max_keys: None,
            threads: None,
            nice: None,
            processors: None,
            blocking_threads: None,
            hold_until: HoldUntil::default(),
            retry_after: None,
            time_every_call: false,
            mode: Mode::default(),
            observers: Vec::new(),
            registration: Registration::default(),
        }
    }

    /// How many calls may be in flight at once: 1 to 1,073,741,823. Required.
    ///
    /// [`Compartment::resize`] changes it later.
    pub const fn slots(mut self, slots: usize) -> Self {
        self.slots = Some(slots);
        self
    }

    /// Lets up to `length` calls wait, each for `max_wait` at most, when every slot is taken.
    ///
    /// Without it a call that finds no slot is refused at once. A queue without a time bound is a
    /// memory of calls that nobody waits for any more, so there is none: `max_wait` must be longer than
    /// zero and no longer than an hour. Needs a tokio runtime with its timer enabled.
    pub const fn queue(mut self, length: usize, max_wait: Duration) -> Self {
        self.queue = Some((length, max_wait));
        self
    }

    /// Which waiting call gets the next free slot, in this queue and in those of the keys; [`QueueOrder::Fifo`] unless set.
    pub const fn queue_order(mut self, order: QueueOrder) -> Self {
        self.order = Some(order);
        self
    }

    /// Divides the compartment among keys (tenants, clients): none holds more than so many of its slots
    /// and places in the queue together. 1 up to all of them.
    ///
    /// Whose a request is, a layer's `by_key` says. Without it, and for whatever else enters the compartment
    /// (the backpressure flavour, the handle), this has no effect; a layer for which that is so says it
    /// once in the log when it is put around a service. A key that holds nothing is not remembered, so there
    /// are never more than slots and places in the queue, whatever clients send.
    pub const fn slots_per_key(mut self, slots: usize) -> Self {
        self.slots_per_key = Some(slots);
        self
    }

    /// Lets up to `length` calls of each key wait, each for `max_wait` at most, when the key holds its share.
    ///
    /// Without it such a call is refused at once. A place in this queue is no part of the share: whoever waits here has
    /// neither a slot nor a place in the compartment's own queue, and takes nothing from other keys. Who has got its share
    /// and finds no slot then waits in the compartment's own [`queue`](Self::queue), if it has one, as long as everybody
    /// else. The bounds are those of [`queue`](Self::queue). All keys together have at most `length` waiting calls for
    /// each key that holds something, of which there are [`max_keys`](Self::max_keys) at most.
    pub const fn queue_per_key(mut self, length: usize, max_wait: Duration) -> Self {
        self.queue_per_key = Some((length, max_wait));
        self
    }

    /// How many keys may hold a slot or a place in the queue at once; as many as there are, unless set.
    ///
    /// One key more is refused as
    /// [`TooManyKeys`](fusebox_core::RejectionKind::TooManyKeys).
    pub const fn max_keys(mut self, keys: usize) -> Self {
        self.max_keys = Some(keys);
        self
    }

    /// Gives the compartment this many threads of its own: 1 to 4,096, named after it.
    ///
    /// Its calls and the bodies of their responses run there and nowhere else. Slots alone bound how many
    /// calls wait for something at once; against calls that compute, only threads of one's own help.
    pub const fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Lowers the compartment's own threads by so many steps of operating-system priority: 1 to 39.
    ///
    /// The steps are those of `nice(1)`: ten steps down, a thread gets about a tenth of a processor
    /// that another one wants, and all of it when nobody does. Where priorities do not belong to threads
    /// (they do on Linux and Android) that is said once in the log and has no effect.
    pub const fn nice(mut self, steps: i32) -> Self {
        self.nice = Some(steps);
        self
    }

    /// Keeps the compartment's own threads, and what they start, to these processors; to all of them
    /// unless set.
    ///
    /// Two compartments with none in common never wait for each other's computations, at whatever
    /// priority. Where processors cannot be had for threads (they can on Linux and Android), or these are
    /// not this process's to use, that is said once in the log and has no effect.
    pub fn processors(mut self, processors: Processors) -> Self {
        self.processors = Some(processors);
        self
    }

    /// How many of the compartment's own threads may block, for
    /// [`run_blocking`](Compartment::run_blocking): 1 to 4,096; as many as [`threads`](Self::threads)
    /// unless set. The first is started with the compartment, the others when needed; if the operating
    /// system gives no more of them, work waits for those that there are.
    ///
    /// A call that runs in the compartment has its slot already: for a part of it that blocks,
    /// `tokio::task::spawn_blocking` uses these threads too, and takes no second slot.
    pub const fn blocking_threads(mut self, threads: usize) -> Self {
        self.blocking_threads = Some(threads);
        self
    }

    /// When a call gives its slot back; [`HoldUntil::BodyEnd`] unless set. Only the HTTP flavour knows
    /// of bodies.
    pub const fn hold_until(mut self, hold_until: HoldUntil) -> Self {
        self.hold_until = hold_until;
        self
    }

    /// Tells those who are refused when to come back: `Retry-After`, `grpc-retry-pushback-ms`. Not those who would be
    /// refused again ([`passes_later`](fusebox_core::RejectionKind::passes_later)), nor whose call may have run.
    ///
    /// Unset, nothing is told: a full compartment does not know when it will be less full.
    pub const fn retry_after(mut self, retry_after: Duration) -> Self {
        self.retry_after = Some(retry_after);
        self
    }

    /// Whether it acts on its decisions; [`Mode::Enforce`] unless set.
    ///
    /// In shadow mode nobody waits and nobody is refused. A call that finds no slot is let through
    /// without one and counted as detected, even if a queue might have taken it in. After a
    /// [`shutdown`](Compartment::shutdown) every call is refused, whatever the mode.
    pub const fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Whether every call is timed, however many there are; not unless set.
    ///
    /// Otherwise all are up to some 4,000 a second for each of the machine's hardware threads (up to 16), and about one
    /// in sixteen of what goes beyond that; those stand for the others in the latency's percentiles, and its maximum is
    /// theirs. Up to 30 calls after a burst of hundreds may go untimed too. Reading the clock twice takes longer than
    /// everything else a compartment does for a call. Calls that wait are timed in any case, and so are all of them
    /// while an [`observer`](Self::observer), or `tracing` at its `TRACE` level, hears of them.
    ///
    /// Set it for tests that count latencies: a paused clock makes a burst of everything.
    pub const fn time_every_call(mut self, every: bool) -> Self {
        self.time_every_call = every;
        self
    }

    /// Adds somebody who hears every event of this compartment.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.push(observer);
        self
    }

    /// Where the compartment is listed; in the process's own registry unless set.
    pub fn registration(mut self, registration: Registration) -> Self {
        self.registration = registration;
        self
    }

    /// Makes the compartment.
    ///
    /// # Errors
    /// [`ConfigError`] when a setting is missing, out of range, or says nothing without another, and when
    /// the operating system has no more threads.
    ///
    /// ```
    /// use std::time::Duration;
    /// use fusebox_bulkhead::{Compartment, ConfigError};
    ///
    /// let payments = Compartment::builder("payments")
    ///     .slots(20)
    ///     .queue(40, Duration::from_millis(200))
    ///     .build()?;
    ///
    /// let wrong = Compartment::builder("payments").slots(0).build();
    /// assert_eq!(
    ///     wrong.unwrap_err().to_string(),
    ///     "slots: must be between 1 and 1073741823, got 0"
    /// );
    /// # Ok::<(), ConfigError>(())
    /// ```
    pub fn build(self) -> Result<Compartment, ConfigError> {
        let slots = self.slots.ok_or(ConfigError::Missing { field: "slots" })?;
        let slots = within("slots", slots, MOST_SLOTS)?;
        let queue = self.checked_queue()?;
        let shares = self.checked_shares(slots.saturating_add(queue.length))?;
        let threads = match self.checked_threads()? {
            None => None,
            Some(settings) => {
                Some(Threads::start(&self.name, settings).map_err(ConfigError::Start)?)
            }
        };
        Ok(Compartment::new(self, slots, queue, threads, shares))
    }

    /// `all` is the number of slots and places in the queue.
    fn checked_shares(&self, all: u32) -> Result<Option<Shares>, ConfigError> {
        let Some(per_key) = self.slots_per_key else {
            let orphan = if self.max_keys.is_some() {
                "max_keys"
            } else if self.queue_per_key.is_some() {
                "queue_per_key"
            } else {
                return Ok(None);
            };
            return Err(ConfigError::Without {
                field: orphan,
                needs: "slots_per_key",
            });
        };
        let per_key = within("slots_per_key", per_key, all)?;
        let queue = QUEUE_PER_KEY.optional(self.queue_per_key, self.order)?;
        let max_keys = match self.max_keys {
            Some(keys) => within("max_keys", keys, u32::MAX)?,
            // Resized, it may hold more keys than now.
            None => MOST_SLOTS,
        };
        let max_keys = usize::try_from(max_keys).unwrap_or(usize::MAX);
        Ok(Some(Shares::new(per_key, queue, max_keys)))
    }

    fn checked_threads(&self) -> Result<Option<ThreadSettings>, ConfigError> {
        let number = |field, given| {
            let threads = within(field, given, MOST_THREADS)?;
            Ok(usize::try_from(threads)
                .ok()
                .and_then(NonZeroUsize::new)
                .unwrap_or(NonZeroUsize::MIN))
        };
        let Some(threads) = self.threads else {
            let orphan = if self.nice.is_some() {
                "nice"
            } else if self.processors.is_some() {
                "processors"
            } else if self.blocking_threads.is_some() {
                "blocking_threads"
            } else {
                return Ok(None);
            };
            return Err(ConfigError::Without {
                field: orphan,
                needs: "threads",
            });
        };
        if let Some(steps) = self.nice
            && !(1..=MOST_NICE).contains(&steps)
        {
            return Err(ConfigError::OutOfRange {
                field: "nice",
                given: steps.into(),
                least: 1,
                most: MOST_NICE.into(),
            });
        }
        if let Some(processors) = &self.processors {
            within("processors", processors.len(), MOST_PROCESSORS)?;
        }
        Ok(Some(ThreadSettings {
            workers: number("threads", threads)?,
            nice: self.nice,
            processors: self.processors.clone(),
            blocking: self
                .blocking_threads
                .map(|threads| number("blocking_threads", threads))
                .transpose()?,
        }))
    }

    fn checked_queue(&self) -> Result<Queue, ConfigError> {
        if self.order.is_some() && self.queue.is_none() && self.queue_per_key.is_none() {
            return Err(ConfigError::Without {
                field: "queue_order",
                needs: "queue",
            });
        }
        QUEUE.optional(self.queue, self.order)
    }
}

/// What the settings of a queue are called.
pub(crate) struct QueueNames {
    pub(crate) length: &'static str,
    pub(crate) max_wait: &'static str,
    /// In changes, which are told as numbers.
    pub(crate) max_wait_ns: &'static str,
}

/// The queue of the whole compartment.
pub(crate) const QUEUE: QueueNames = QueueNames {
    length: "queue.length",
    max_wait: "queue.max_wait",
    max_wait_ns: "queue.max_wait_ns",
};

/// The queue of each key.
pub(crate) const QUEUE_PER_KEY: QueueNames = QueueNames {
    length: "queue_per_key.length",
    max_wait: "queue_per_key.max_wait",
    max_wait_ns: "queue_per_key.max_wait_ns",
};

impl QueueNames {
    /// A queue that is bounded in length and in time.
    pub(crate) fn checked(
        &self,
        length: usize,
        max_wait: Duration,
    ) -> Result<(u32, Duration), ConfigError> {
        let length = within(self.length, length, MOST_SLOTS)?;
        if max_wait.is_zero() || max_wait > LONGEST_WAIT {
            return Err(ConfigError::Unbounded {
                field: self.max_wait,
                given: max_wait,
                most: LONGEST_WAIT,
            });
        }
        Ok((length, max_wait))
    }

    fn optional(
        &self,
        given: Option<(usize, Duration)>,
        order: Option<QueueOrder>,
    ) -> Result<Queue, ConfigError> {
        let (length, max_wait) = match given {
            Some((length, max_wait)) => self.checked(length, max_wait)?,
            None => (Queue::NONE.length, Queue::NONE.max_wait),
        };
        Ok(Queue {
            length,
            max_wait,
            order: order.unwrap_or_default(),
        })
    }
}

/// `given` if it is at least 1 and at most `most`.
pub(crate) fn within(field: &'static str, given: usize, most: u32) -> Result<u32, ConfigError> {
    match u32::try_from(given) {
        Ok(number) if (1..=most).contains(&number) => Ok(number),
        _ => Err(ConfigError::OutOfRange {
            field,
            given: i128::try_from(given).unwrap_or(i128::MAX),
            least: 1,
            most: most.into(),
        }),
    }
}

impl std::fmt::Debug for CompartmentBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CompartmentBuilder")
            .field("name", &self.name)
            .field("slots", &self.slots)
            .field("queue", &self.queue)
            .field("order", &self.order)
            .field("slots_per_key", &self.slots_per_key)
            .field("queue_per_key", &self.queue_per_key)
            .field("max_keys", &self.max_keys)
            .field("threads", &self.threads)
            .field("nice", &self.nice)
            .field("processors", &self.processors)
            .field("blocking_threads", &self.blocking_threads)
            .field("hold_until", &self.hold_until)
            .field("retry_after", &self.retry_after)
            .field("time_every_call", &self.time_every_call)
            .field("mode", &self.mode)
            .field("observers", &self.observers.len())
            .field("registration", &self.registration)
            .finish_non_exhaustive()
    }
}

/// What is wrong with the settings of a compartment.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// A setting that has no default was not given.
    Missing {
        /// The setting.
        field: &'static str,
    },
    /// A number is too small or too large.
    OutOfRange {
        /// The setting.
        field: &'static str,
        /// Its value.
        given: i128,
        /// The smallest value it may have.
        least: i128,
        /// The largest value it may have.
        most: i128,
    },
    /// Waiting has no bound, or one so long that it is none.
    Unbounded {
        /// The setting.
        field: &'static str,
        /// Its value.
        given: Duration,
        /// The largest value it may have; the smallest is anything above zero.
        most: Duration,
    },
    /// A setting means nothing unless another is given too.
    Without {
        /// The setting.
        field: &'static str,
        /// The one it needs.
        needs: &'static str,
    },
    /// Two settings exclude each other.
    Conflict {
        /// The one.
        field: &'static str,
        /// The other.
        with: &'static str,
    },
    /// The operating system did not give the compartment its threads.
    Start(StartError),
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing { field } => write!(f, "{field}: must be set"),
            Self::OutOfRange {
                field,
                given,
                least,
                most,
            } => write!(
                f,
                "{field}: must be between {least} and {most}, got {given}"
            ),
            Self::Unbounded { field, given, most } => write!(
                f,
                "{field}: must be a time bound above 0 and at most {most:?}, got {given:?}"
            ),
            Self::Without { field, needs } => {
                write!(f, "{field}: means nothing unless {needs} is set")
            }
            Self::Conflict { field, with } => {
                write!(f, "{field}: is not possible together with {with}")
            }
            Self::Start(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Start(error) => error.source(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder() -> CompartmentBuilder {
        Compartment::builder("payments").registration(Registration::Unlisted)
    }

    fn wrong(builder: CompartmentBuilder) -> String {
        builder.build().unwrap_err().to_string()
    }

    #[test]
    fn slots_are_required_and_in_range() {
        assert_eq!(wrong(builder()), "slots: must be set");
        for slots in [0, usize::MAX] {
            assert_eq!(
                wrong(builder().slots(slots)),
                format!("slots: must be between 1 and 1073741823, got {slots}")
            );
        }
    }

    #[test]
    fn a_queue_needs_a_length_and_a_time_bound() {
        let second = Duration::from_secs(1);
        assert_eq!(
            wrong(builder().slots(1).queue(0, second)),
            "queue.length: must be between 1 and 1073741823, got 0"
        );
        for (wait, said) in [(Duration::ZERO, "0ns"), (second * 3_601, "3601s")] {
            assert_eq!(
                wrong(builder().slots(1).queue(1, wait)),
                format!(
                    "queue.max_wait: must be a time bound above 0 and at most 3600s, got {said}"
                )
            );
        }
        assert!(builder().slots(1).queue(1, second * 3_600).build().is_ok());
    }

    #[test]
    fn an_order_needs_a_queue() {
        assert_eq!(
            wrong(builder().slots(1).queue_order(QueueOrder::Fifo)),
            "queue_order: means nothing unless queue is set"
        );
    }

    #[test]
    fn threads_are_in_range_and_the_rest_needs_them() {
        let with = || builder().slots(1);
        assert_eq!(
            wrong(with().threads(0)),
            "threads: must be between 1 and 4096, got 0"
        );
        assert_eq!(
            wrong(with().threads(1).nice(40)),
            "nice: must be between 1 and 39, got 40"
        );
        assert_eq!(
            wrong(with().threads(1).blocking_threads(0)),
            "blocking_threads: must be between 1 and 4096, got 0"
        );
        assert_eq!(
            wrong(with().nice(10)),
            "nice: means nothing unless threads is set"
        );
        let none = Processors::numbered([]);
        assert_eq!(
            wrong(with().threads(1).processors(none.clone())),
            "processors: must be between 1 and 1024, got 0"
        );
        assert_eq!(
            wrong(with().processors(none)),
            "processors: means nothing unless threads is set"
        );
        assert_eq!(
            wrong(with().blocking_threads(1)),
            "blocking_threads: means nothing unless threads is set"
        );
    }

    #[test]
    fn a_share_is_a_part_of_the_whole() {
        assert_eq!(
            wrong(builder().slots(3).slots_per_key(4)),
            "slots_per_key: must be between 1 and 3, got 4"
        );
        assert_eq!(
            wrong(builder().slots(3).max_keys(4)),
            "max_keys: means nothing unless slots_per_key is set"
        );
        assert_eq!(
            wrong(builder().slots(3).slots_per_key(1).max_keys(0)),
            "max_keys: must be between 1 and 4294967295, got 0"
        );
        assert_eq!(
            wrong(builder().slots(3).queue_per_key(1, Duration::from_secs(1))),
            "queue_per_key: means nothing unless slots_per_key is set"
        );
        assert_eq!(
            wrong(
                builder()
                    .slots(3)
                    .slots_per_key(1)
                    .queue_per_key(1, Duration::ZERO)
            ),
            "queue_per_key.max_wait: must be a time bound above 0 and at most 3600s, got 0ns"
        );
        let queued = builder().slots(3).queue(2, Duration::from_secs(1));
        assert!(queued.slots_per_key(5).build().is_ok());
    }
}
