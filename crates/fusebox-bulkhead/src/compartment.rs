use std::{sync::Arc, time::Duration};

use fusebox_core::{
    CallError, Change, EventKind, Live, Mode, Name, Outcome, Rejection, RejectionKind,
};
use tokio::time::{Instant, timeout_at};

use crate::{
    CompartmentBuilder, CompartmentSnapshot, ConfigError, Slot,
    call::Call,
    config::{QUEUE, QUEUE_PER_KEY, within},
    engine::{Entry, MOST_SLOTS, Queue, QueueOrder, Shares},
    key::Key,
    seat::Seat,
    shared::{Admission, Shared},
    threads::{Task, Threads},
    waiting::Waiting,
};

/// Everything one kind of traffic may use: the handle of a bulkhead.
///
/// Cheap to clone; all clones, and every layer made of any of them, share one state. It can be read and
/// steered while traffic flows, and used without tower.
///
/// ```
/// use fusebox_bulkhead::{Compartment, ConfigError};
///
/// let payments = Compartment::builder("payments").slots(20).build()?;
///
/// // Without tower: one slot at a time.
/// let slot = payments.try_acquire().expect("nothing is in flight yet");
/// assert_eq!(payments.snapshot().in_flight, 1);
/// drop(slot);
///
/// // More room, without a pause.
/// payments.resize(40)?;
/// assert_eq!(payments.snapshot().slots, 40);
/// # Ok::<(), ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Compartment {
    shared: Arc<Shared>,
}

/// What a caller gets that wants to wait for a slot before it has a request.
pub(crate) enum Reservation {
    /// A slot, or leave to pass without one.
    Made(Call),
    /// A place in line.
    Queued(Waiting),
}

impl Compartment {
    /// Begins the settings of a compartment of that name.
    ///
    /// The name is what events, refusals and snapshots call it.
    pub fn builder(name: impl Into<Name>) -> CompartmentBuilder {
        CompartmentBuilder::new(name.into())
    }

    pub(crate) fn new(
        settings: CompartmentBuilder,
        slots: u32,
        queue: Queue,
        threads: Option<Threads>,
        shares: Option<Shares>,
    ) -> Self {
        let registration = settings.registration.clone();
        let shared = Arc::new(Shared::new(settings, slots, queue, threads, shares));
        let listed: Arc<dyn Live> = shared.clone();
        registration.list(Arc::downgrade(&listed));
        Self { shared }
    }

    /// Takes a slot if one is free at once.
    ///
    /// # Errors
    /// The [`Rejection`] when there is none. Nobody waits here, whatever the queue.
    pub fn try_acquire(&self) -> Result<Slot, Rejection> {
        self.enter_at_once().map(Slot::new)
    }

    /// Takes a slot, waiting for one in the queue if there is a queue.
    ///
    /// # Errors
    /// The [`Rejection`] when there is neither a slot nor a place in the queue, or no slot came free in
    /// time.
    ///
    /// # Cancel safety
    /// Dropped while it waits, the call leaves the queue; a slot it had come to meanwhile goes to the
    /// next.
    pub async fn acquire(&self) -> Result<Slot, Rejection> {
        let call = match self.enter() {
            Some(call) => call,
            None => match self.without_a_slot() {
                Admission::Admitted(call) => call,
                Admission::Queued(waiting) => waiting.await?,
                Admission::Refused(rejection) => return Err(rejection),
            },
        };
        Ok(Slot::new(call))
    }

    /// Runs `work` in the compartment. Whatever it returns is a success.
    ///
    /// # Errors
    /// The [`Rejection`] when it was not let in; `work` was never polled then. Or when it panicked on the
    /// compartment's own threads.
    ///
    /// # Cancel safety
    /// Dropped, it drops `work` and gives its slot back, and the call counts as cancelled. On threads of the
    /// compartment's own that happens at the next await of `work`.
    ///
    /// ```
    /// # use fusebox_bulkhead::{Compartment, ConfigError};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), ConfigError> {
    /// let reports = Compartment::builder("reports").slots(2).build()?;
    ///
    /// let rows = reports.run(async { 1_234 }).await;
    /// assert_eq!(rows, Ok(1_234));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn run<F>(&self, work: F) -> Result<F::Output, Rejection>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let slot = self.acquire().await?;
        let work = async move {
            let output = work.await;
            slot.finish(Outcome::Success);
            output
        };
        self.here_or_there(work).await
    }

    /// Runs `work` in the compartment; an error of it is a failure.
    ///
    /// # Errors
    /// [`CallError::Rejected`] as from [`run`](Self::run), [`CallError::Inner`] with the error of `work`.
    ///
    /// # Cancel safety
    /// As [`run`](Self::run).
    pub async fn try_run<F, T, E>(&self, work: F) -> Result<T, CallError<E>>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let slot = self.acquire().await?;
        let work = async move {
            let result = work.await;
            slot.finish(outcome(&result));
            result
        };
        self.here_or_there(work).await?.map_err(CallError::Inner)
    }

    /// Runs a synchronous function in the compartment, on a thread where it may block: one of the
    /// compartment's own if it has [`threads`](CompartmentBuilder::threads), one of tokio's otherwise.
    ///
    /// # Errors
    /// The [`Rejection`] when it was not let in, or panicked.
    ///
    /// # Panics
    /// Without threads of the compartment's own, as `tokio::task::spawn_blocking`: outside of a tokio
    /// runtime, and when the operating system refuses that runtime its first blocking thread.
    ///
    /// # Cancel safety
    /// Dropped before a thread was free, the function is never called and its slot is given back. A
    /// function that has begun runs to its end and keeps its slot as long.
    pub async fn run_blocking<F, T>(&self, work: F) -> Result<T, Rejection>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let slot = self.acquire().await?;
        let work = move || {
            let output = work();
            slot.finish(Outcome::Success);
            output
        };
        let task = match &self.shared.threads {
            Some(threads) => threads.spawn_blocking(work),
            None => Task::blocking(work),
        };
        task.await.map_err(|lost| self.rejection(lost.kind()))
    }

    async fn here_or_there<F>(&self, work: F) -> Result<F::Output, Rejection>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match &self.shared.threads {
            None => Ok(work.await),
            Some(threads) => threads
                .spawn(work)
                .await
                .map_err(|lost| self.rejection(lost.kind())),
        }
    }

    /// What it is like now.
    #[must_use]
    pub fn snapshot(&self) -> CompartmentSnapshot {
        self.shared.look()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        self.shared.reporter.policy()
    }

    /// Whether it acts on its decisions.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.shared.mode.get()
    }

    /// Changes whether it acts on its decisions, for every call from now on.
    pub fn set_mode(&self, mode: Mode) {
        Live::set_mode(&*self.shared, mode);
    }

    /// Changes the number of slots and returns how many there were.
    ///
    /// Never waits and loses no count: if there are fewer, the calls above the number go on to their end
    /// and nobody is let in until enough of them have ended; if there are more, those who wait get them
    /// at once.
    ///
    /// # Errors
    /// [`ConfigError::OutOfRange`], as from the builder.
    pub fn resize(&self, slots: usize) -> Result<usize, ConfigError> {
        let to = within("slots", slots, MOST_SLOTS)?;
        let now = self.shared.clock.now();
        let from = self.shared.slots.resize(to, now);
        Ok(self.shared.resized("slots", from, to, now))
    }

    /// Changes how many slots and places in the queue one key may hold, and returns how many it were.
    ///
    /// A key that holds more keeps them to the end of its calls, and gets no more until it holds fewer. Unlike in the
    /// builder it may be more than there are slots and places: those may become more as well.
    ///
    /// # Errors
    /// [`ConfigError::Without`] when the compartment is not divided, [`ConfigError::OutOfRange`] as for
    /// [`resize`](Self::resize).
    pub fn resize_per_key(&self, slots: usize) -> Result<usize, ConfigError> {
        let shares = self.shared.shares.as_ref().ok_or(ConfigError::Without {
            field: "resize_per_key",
            needs: "slots_per_key",
        })?;
        let to = within("slots_per_key", slots, MOST_SLOTS)?;
        let now = self.shared.clock.now();
        let from = shares.resize(to, now);
        Ok(self.shared.resized("slots_per_key", from, to, now))
    }

    /// Changes the queue, as [`CompartmentBuilder::queue`] sets it, and returns its length and longest wait before. A
    /// compartment that had none gets one.
    ///
    /// Those who wait keep their places, and may wait as long as they could when they came.
    ///
    /// # Errors
    /// [`ConfigError`], as from the builder.
    pub fn set_queue(
        &self,
        length: usize,
        max_wait: Duration,
    ) -> Result<(usize, Duration), ConfigError> {
        let (length, max_wait) = QUEUE.checked(length, max_wait)?;
        let before = self.shared.slots.change_queue(|queue| {
            (queue.length, queue.max_wait) = (length, max_wait);
        });
        Ok(self.shared.requeued(&QUEUE, before, length, max_wait))
    }

    /// Changes the queue of each key, as [`CompartmentBuilder::queue_per_key`] sets it, and returns its length and longest
    /// wait before. Otherwise as [`set_queue`](Self::set_queue).
    ///
    /// # Errors
    /// [`ConfigError`], as from the builder.
    pub fn set_queue_per_key(
        &self,
        length: usize,
        max_wait: Duration,
    ) -> Result<(usize, Duration), ConfigError> {
        let shares = self.shared.shares.as_ref().ok_or(ConfigError::Without {
            field: "set_queue_per_key",
            needs: "slots_per_key",
        })?;
        let (length, max_wait) = QUEUE_PER_KEY.checked(length, max_wait)?;
        let before = shares.change_queue(self.shared.clock.now(), |queue| {
            (queue.length, queue.max_wait) = (length, max_wait);
        });
        Ok(self
            .shared
            .requeued(&QUEUE_PER_KEY, before, length, max_wait))
    }

    /// Changes who comes first, for those who wait as well, and returns who did.
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn set_queue_order(&self, order: QueueOrder) -> QueueOrder {
        let shared = &self.shared;
        let now = shared.clock.now();
        if let Some(shares) = &shared.shares {
            shares.change_queue(now, |queue| queue.order = order);
        }
        let before = shared.slots.change_queue(|queue| queue.order = order).order;
        if before != order {
            let (what, from, to) = ("queue_order", before.as_str(), order.as_str());
            let change = Change::Choice { what, from, to };
            shared.reporter.report(now, EventKind::Change(change));
        }
        before
    }

    /// Lets nobody in any more, refuses those who wait, and waits for the calls in flight; then stops the
    /// compartment's own threads, if it has any.
    ///
    /// Returns how many calls were not over when `patience` was: 0 if it has drained. On the compartment's own threads
    /// the bodies that a call left behind count like calls. It cannot be opened again. Needs a tokio runtime with its
    /// timer enabled.
    ///
    /// A slot that a [consumer](Self::backpressure_layer) has reserved is no call: it is taken back, and the consumer
    /// is refused when it next asks, or calls.
    ///
    /// A closed compartment refuses in every [`Mode`]: that it is closed is a fact and no decision that
    /// could be tried out. Calls that shadow mode let through without a slot are not waited for, except
    /// for what they run on the compartment's own threads.
    ///
    /// # Cancel safety
    /// Dropped, it stops waiting; the compartment stays closed. Call it again to go on waiting.
    pub async fn shutdown(&self, patience: Duration) -> usize {
        // Saturating twice: a patience for ever is an instant that the platform may not have.
        let clock = &self.shared.clock;
        let give_up = clock.instant(clock.now() + patience);
        let drained = self.shared.drained.notified();
        tokio::pin!(drained);
        // Before it is closed, so that no end can fall between the two.
        drained.as_mut().enable();
        self.shared.slots.close();
        if let Some(shares) = &self.shared.shares {
            shares.close(clock.now());
        }
        self.shared.seats.give_back_all();
        if self.shared.slots.in_flight() > 0 {
            // Either way the number below is the answer.
            let _ = timeout_at(give_up, drained).await;
        }
        let cut_off = usize::try_from(self.shared.slots.in_flight()).unwrap_or(usize::MAX);
        match &self.shared.threads {
            None => cut_off,
            Some(threads) => {
                let left = give_up.saturating_duration_since(Instant::now());
                threads.shutdown(left).await.max(cut_off)
            }
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.shared.slots.is_closed()
    }

    /// A seat for one more consumer.
    pub(crate) fn seat(&self) -> Arc<Seat> {
        self.shared.seats.one_more()
    }

    /// Lets a call in, into the line, or not at all, as one of its key's; `None` is nobody's.
    pub(crate) fn enter_as(&self, key: Option<Key>) -> Admission {
        let shared = &self.shared;
        match (key, &shared.shares) {
            (Some(key), Some(shares)) => shared.enter_as(shares, key),
            (Some(_), None) => match self.enter() {
                Some(call) => Admission::Admitted(call),
                None => self.without_a_slot(),
            },
            (None, _) => match shared.refuse_or_shadow(RejectionKind::Unidentified) {
                Ok(call) => Admission::Admitted(call),
                Err(rejection) => Admission::Refused(rejection),
            },
        }
    }

    pub(crate) fn has_shares(&self) -> bool {
        self.shared.shares.is_some()
    }

    /// Says once that there are shares, and a layer that does not know whose its requests are.
    ///
    /// Not an error: a layer for one's own probes, beside the one for tenants, may mean it.
    pub(crate) fn is_used_without_keys(&self) {
        if self.has_shares() {
            self.shared.undivided.call_once(|| {
                tracing::warn!(
                    compartment = %self.name(),
                    "slots_per_key has no effect on a layer without by_key"
                );
            });
        }
    }

    /// Lets a call in if there is a free slot, and refuses it otherwise, whatever the queue.
    pub(crate) fn enter_at_once(&self) -> Result<Call, Rejection> {
        self.enter()
            .map_or_else(|| self.shared.refuse_or_shadow(RejectionKind::Full), Ok)
    }

    /// A slot for a request that is not there yet, or a place in line however long it is.
    ///
    /// An error is a compartment that lets nobody in any more; it is told to nobody but the caller.
    pub(crate) fn reserve(&self) -> Result<Reservation, Rejection> {
        if let Some(call) = self.enter() {
            return Ok(Reservation::Made(call));
        }
        let shared = &self.shared;
        let now = shared.clock.now();
        if shared.lets_through() {
            return Ok(Reservation::Made(shared.shadow(RejectionKind::Full)));
        }
        match shared.slots.enter_patiently(now) {
            Entry::Admitted => {
                let call = Call::admitted(shared.clone());
                Ok(Reservation::Made(call))
            }
            Entry::Queued(place) => {
                let waiting = Waiting::patient(shared.clone(), place, now);
                Ok(Reservation::Queued(waiting))
            }
            Entry::Closed => Err(self.rejection(RejectionKind::ShuttingDown)),
            Entry::Full => Err(self.rejection(RejectionKind::Full)),
        }
    }

    pub(crate) fn threads(&self) -> Option<&Threads> {
        self.shared.threads.as_ref()
    }

    #[cold]
    pub(crate) fn rejection(&self, kind: RejectionKind) -> Rejection {
        self.shared.rejection(kind)
    }

    #[cfg(feature = "http")]
    pub(crate) fn hold_until(&self) -> crate::HoldUntil {
        self.shared.hold_until
    }

    /// Lets a call in if there is a free slot.
    ///
    /// Apart from [`without_a_slot`](Self::without_a_slot), so that the usual case is compiled into the
    /// caller and the rest is not. The clock is not read for the verdict, only where the call is timed.
    #[inline(always)]
    pub(crate) fn enter(&self) -> Option<Call> {
        if self.shared.slots.try_enter() {
            Some(Call::admitted(self.shared.clone()))
        } else {
            None
        }
    }

    /// No slot was free: wait, refuse, or let through in shadow mode.
    #[inline(never)]
    pub(crate) fn without_a_slot(&self) -> Admission {
        self.shared.without_a_slot()
    }
}

/// What a result says of a call, where nothing but an error is a failure.
#[inline]
pub(crate) const fn outcome<T, E>(result: &Result<T, E>) -> Outcome {
    match result {
        Ok(_) => Outcome::Success,
        Err(_) => Outcome::Failure,
    }
}

impl std::fmt::Debug for Compartment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compartment")
            .field("name", self.name())
            .field("mode", &self.mode())
            .field("slots", &self.shared.slots.limit())
            .field("in_flight", &self.shared.slots.in_flight())
            .field("threads", &self.shared.threads)
            .finish_non_exhaustive()
    }
}
