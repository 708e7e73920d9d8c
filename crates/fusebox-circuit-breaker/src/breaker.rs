use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use fusebox_core::{
    CallError, Change, CircuitState, EventKind, LayerKind, Live, Mode, ModeCell, Name, Outcome,
    Rejection, RejectionKind, Reporter, Snapshot, Timestamp, Value, stats::StatsSnapshot,
    time::Clock,
};

use crate::{
    BreakerBuilder, ConfigError, JudgeResult, Pass, RefusalsAreNeutral,
    config::changes,
    engine::{self, ByHand, Circuit, Quorum, Refused, Shell, State, Ticket, Transition, Tunable},
    seat::{Seat, Seats},
    waiters::Waiters,
};

/// A circuit breaker: the handle of one circuit, with or without tower.
///
/// Cheap to clone; all clones, and all layers made of them, share the one circuit. It can be read and
/// steered while traffic flows.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use fusebox_circuit_breaker::Breaker;
/// use fusebox_core::{CallError, CircuitState};
///
/// let breaker = Breaker::builder("payments")
///     .consecutive_failures(3)
///     .cool_down(Duration::from_secs(10))
///     .build()?;
///
/// let down = || async { Err::<(), _>(std::io::Error::other("connection refused")) };
/// for _ in 0..3 {
///     assert!(matches!(breaker.call(down).await, Err(CallError::Inner(_))));
/// }
/// assert_eq!(breaker.state(), CircuitState::Open);
/// assert!(matches!(breaker.call(down).await, Err(CallError::Rejected(_))));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Breaker {
    seats: Arc<Seats>,
}

/// What every call shares.
pub(crate) struct Shared {
    pub(crate) circuit: Circuit,
    pub(crate) clock: Clock,
    pub(crate) reporter: Arc<Reporter>,
    pub(crate) mode: Arc<ModeCell>,
    pub(crate) waiters: Waiters,
    name: Name,
    settings: Tunable,
    /// The state of the random numbers.
    chance: AtomicU64,
}

/// What comes of asking for a pass.
pub(crate) enum Admission {
    Passed(Pass),
    Refused(Rejection),
}

impl Breaker {
    /// Settings for a circuit of that name; see [`BreakerBuilder`].
    pub fn builder(name: impl Into<Name>) -> BreakerBuilder {
        BreakerBuilder::new(name.into())
    }

    /// A circuit that may share counters, mode and the right to open with others of its family.
    pub(crate) fn assemble(
        name: Name,
        settings: Tunable,
        reporter: Arc<Reporter>,
        mode: Arc<ModeCell>,
        shards: usize,
        quorum: Option<Arc<Quorum>>,
    ) -> Self {
        let circuit = Circuit::new(settings.clone(), shards, quorum);
        Self {
            seats: Arc::new(Seats::around(Arc::new(Shared {
                settings,
                circuit,
                clock: Clock::new(),
                reporter,
                mode,
                waiters: Waiters::default(),
                name,
                // A hash of nothing under a random key: the standard library's own entropy.
                chance: AtomicU64::new(RandomState::new().hash_one(())),
            }))),
        }
    }

    #[inline]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        self.seats.shared()
    }

    /// The calling thread's seat.
    pub(crate) fn seat(&self) -> &Arc<Seat> {
        self.seats.mine()
    }

    /// Asks for the right to make one call.
    ///
    /// For those who make their calls themselves: tell the [`Pass`] how the call ended, or drop it.
    ///
    /// # Errors
    /// The [`Rejection`] when the circuit does not let it through: do not make the call.
    #[inline]
    pub fn try_pass(&self) -> Result<Pass, Rejection> {
        match self.admit() {
            Admission::Passed(pass) => Ok(pass),
            Admission::Refused(rejection) => Err(rejection),
        }
    }

    #[inline]
    pub(crate) fn admit(&self) -> Admission {
        self.admit_then(Admission::Passed, Admission::Refused)
    }

    /// Goes on with a pass or with a refusal. Not by returning either: a pass that is built where it is
    /// used is not copied there, twice.
    #[inline(always)]
    pub(crate) fn admit_then<T>(
        &self,
        passed: impl FnOnce(Pass) -> T,
        refused: impl FnOnce(Rejection) -> T,
    ) -> T {
        let slowly = |seat: &Arc<Seat>, skipped| self.shared().admit_from(None, seat, skipped);
        self.admit_or(slowly, passed, refused)
    }

    /// As [`admit_then`](Self::admit_then); `slowly` decides on what does not just pass.
    #[inline(always)]
    pub(crate) fn admit_or<T>(
        &self,
        slowly: impl FnOnce(&Arc<Seat>, bool) -> Admission,
        passed: impl FnOnce(Pass) -> T,
        refused: impl FnOnce(Rejection) -> T,
    ) -> T {
        let (seat, shared) = (self.seats.mine(), self.shared());
        let skipped = seat.skips();
        if skipped && let Some(ticket) = shared.circuit.admit_at_once() {
            return passed(Pass::new(seat.clone(), ticket, 0));
        }
        match slowly(seat, skipped) {
            Admission::Passed(pass) => passed(pass),
            Admission::Refused(rejection) => refused(rejection),
        }
    }

    /// Refuses a call as it was found out before; no second look at the clock.
    #[inline(always)]
    pub(crate) fn refuse(&self, found: Refused) -> Rejection {
        self.shared().refuse(self.seats.mine(), found)
    }

    /// Makes a call, unless the circuit does not let it through. Every error counts as a failure, but for
    /// the refusals of other layers.
    ///
    /// # Errors
    /// [`CallError::Rejected`] when it was not made, [`CallError::Inner`] when it was and failed.
    ///
    /// # Cancel safety
    /// Dropping the future drops the call; it counts as cancelled.
    pub async fn call<T, E, F>(&self, call: impl FnOnce() -> F) -> Result<T, CallError<E>>
    where
        F: Future<Output = Result<T, E>>,
        E: std::error::Error + 'static,
    {
        self.call_judged(&RefusalsAreNeutral, call).await
    }

    /// As [`call`](Self::call), with one's own idea of what is a failure.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    ///
    /// # Cancel safety
    /// As [`call`](Self::call).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use fusebox_circuit_breaker::{Breaker, End};
    /// use fusebox_core::Outcome;
    ///
    /// let breaker = Breaker::builder("search").build()?;
    /// // An error type that is no `std::error::Error`, and an error that is none.
    /// let judge = |result: Result<&u32, &String>| match result {
    ///     Err(error) if error != "not found" => End::from(Outcome::Failure),
    ///     _ => End::from(Outcome::Success),
    /// };
    /// let found = breaker.call_judged(&judge, || async { Ok::<_, String>(7) }).await;
    /// assert_eq!(found, Ok(7));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn call_judged<T, E, F>(
        &self,
        judge: &impl JudgeResult<T, E>,
        call: impl FnOnce() -> F,
    ) -> Result<T, CallError<E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        let mut pass = self.try_pass()?.watching();
        let call = call();
        pass.returned();
        // Dropped before the pass: the call is over when its end is told.
        let mut call = std::pin::pin!(call);
        let result = std::future::poll_fn(|cx| {
            pass.runs();
            let polled = call.as_mut().poll(cx);
            pass.returned();
            polled
        })
        .await;
        pass.tell(judge.judge(result.as_ref()));
        result.map_err(CallError::Inner)
    }

    /// The state now. An open circuit whose cool-down is over stays open until the next call.
    #[must_use]
    pub fn state(&self) -> CircuitState {
        self.shared().circuit.state().public()
    }

    /// Whether nothing is lost with it but a few counts.
    pub(crate) fn may_be_forgotten(&self) -> bool {
        let shared = self.shared();
        shared.circuit.may_be_forgotten(shared.clock.now())
    }

    /// Refuses every call until [`reset`](Self::reset) or [`disable`](Self::disable).
    pub fn force_open(&self) {
        self.put(ByHand::ForcedOpen);
    }

    /// Lets every call through, judging none, until [`reset`](Self::reset) or
    /// [`force_open`](Self::force_open).
    pub fn disable(&self) {
        self.put(ByHand::Disabled);
    }

    /// Closes the circuit, whatever its state, and forgets what it knew of the dependency. Counters go on.
    pub fn reset(&self) {
        self.put(ByHand::Reset);
    }

    fn put(&self, what: ByHand) {
        if let Some(transition) = self.put_untold(what) {
            self.tell(transition);
        }
    }

    /// Puts it into that state. Who does is to [tell](Self::tell) of it, when it holds no lock.
    pub(crate) fn put_untold(&self, what: ByHand) -> Option<Transition> {
        self.shared().circuit.by_hand(what)
    }

    /// Tells observers, and those who wait, of a transition.
    pub(crate) fn tell(&self, transition: Transition) {
        self.shared().tell(transition);
    }

    /// Counters since the handle was made, and latencies.
    ///
    /// Latencies are those of a sample, weighted by the calls they stand for: each call up to a thousand a second
    /// and thread, one in 256 beyond that. Of every call, where somebody wants to know of each: an observer, a
    /// `tracing` subscriber at level `TRACE` (within 510 calls after it has come), or
    /// [`slow_calls`](BreakerBuilder::slow_calls) and [`hanging_calls`](BreakerBuilder::hanging_calls).
    #[must_use]
    pub fn stats(&self) -> StatsSnapshot {
        let shared = self.shared();
        shared.stats(shared.clock.now())
    }

    /// Hands what it has counted by itself over to the statistics it shares with others.
    pub(crate) fn hand_over(&self) {
        self.shared().hand_over();
    }

    /// Probes under way in a half-open circuit.
    #[must_use]
    pub fn probes_in_flight(&self) -> usize {
        let shared = self.shared();
        shared.circuit.probes(shared.clock.now())
    }

    /// State, window, counters and latencies now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.shared().snapshot()
    }

    /// Its mode now.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.shared().mode.get()
    }

    /// Changes its mode for every call from now on.
    pub fn set_mode(&self, mode: Mode) {
        self.shared().set_mode(mode);
    }

    /// Changes its settings to those of another builder, for all that is decided from now on. What it has
    /// counted stays, and so does its state; a cool-down that has begun ends when it was to end.
    ///
    /// The builder's name, mode, observers and registration are not looked at. An observer hears of each number
    /// that differs: shares in millionths, times in nanoseconds, 0 for what is off.
    ///
    /// # Errors
    /// [`ConfigError`], and nothing is changed, when the settings make no sense, or when they differ in what is
    /// fixed: the [`window`](BreakerBuilder::window), and whether and when a call
    /// [hangs](BreakerBuilder::hanging_calls). How many such calls are too many may change; so may the
    /// [`probes`](BreakerBuilder::probes), of which those that are too many are only not followed by others, and their
    /// [deadline](BreakerBuilder::probe_deadline), which is also that of the probes under way.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use fusebox_circuit_breaker::Breaker;
    ///
    /// let settings = || Breaker::builder("payments").probes(2);
    /// let breaker = settings().build()?;
    /// // The evening of a sale: it is to be more patient.
    /// breaker.reconfigure(&settings().failure_ratio(0.8).consecutive_failures(50))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn reconfigure(&self, settings: &BreakerBuilder) -> Result<(), ConfigError> {
        let shared = self.shared();
        tune(
            &shared.settings,
            settings,
            &shared.reporter,
            shared.clock.now(),
        )?;
        self.seats.sample_next();
        Ok(())
    }

    /// The next call from everywhere is one of the sample: there may be another reason to time all.
    pub(crate) fn sample_next(&self) {
        self.seats.sample_next();
    }

    /// Its configured name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.shared().name
    }
}

/// Changes settings, and tells of it.
pub(crate) fn tune(
    settings: &Tunable,
    builder: &BreakerBuilder,
    reporter: &Reporter,
    now: Timestamp,
) -> Result<(), ConfigError> {
    let before = settings.get();
    let after = builder.settings_instead_of(&before)?;
    settings.set(after);
    for (what, from, to) in changes(&before, &after) {
        reporter.report(now, EventKind::Change(Change::Limit { what, from, to }));
    }
    Ok(())
}

impl BreakerBuilder {
    /// Builds the circuit, closed.
    ///
    /// # Errors
    /// [`ConfigError`] naming the setting that makes no sense.
    pub fn build(self) -> Result<Breaker, ConfigError> {
        let settings = self.settings()?;
        let reporter = Reporter::new(
            LayerKind::CircuitBreaker,
            self.name.clone(),
            self.observers.clone(),
        );
        let breaker = Breaker::assemble(
            self.name,
            settings.into(),
            Arc::new(reporter),
            Arc::new(ModeCell::new(self.mode)),
            Seats::for_this_machine(),
            None,
        );
        let live: Arc<dyn Live> = breaker.shared().clone();
        self.registration.list(Arc::downgrade(&live));
        Ok(breaker)
    }
}

impl Shared {
    /// Whether one more call may pass, for those that are timed or cannot just pass; or that the ramp of a state has
    /// let through before.
    // Cold for the compiler: where calls are many, it is.
    #[cold]
    #[inline(never)]
    pub(crate) fn admit_from(
        &self,
        ramp: Option<State>,
        seat: &Arc<Seat>,
        skipped: bool,
    ) -> Admission {
        let now = self.clock.now();
        let weight = if skipped { 0 } else { seat.sample(now) };
        let verdict = match ramp {
            None => self.circuit.admit(seat.shard(), now, self),
            Some(state) => self.circuit.admit_from(state, seat.shard(), now, self),
        };
        let ticket = match verdict {
            engine::Verdict::Admitted(ticket) => ticket,
            engine::Verdict::Refused(refused) if self.mode.enforces_next() => {
                return Admission::Refused(self.refuse(seat, refused));
            }
            engine::Verdict::Refused(_) => Ticket::in_spite(now),
        };
        Admission::Passed(Pass::new(seat.clone(), ticket, weight))
    }

    /// Whether somebody has to know of each call when it began. Then every call is one of the sample.
    pub(crate) fn times_all(&self) -> bool {
        self.circuit.times_calls() || self.reporter.listens()
    }

    /// Counters and latencies, with what the shards have counted by themselves.
    pub(crate) fn stats(&self, now: Timestamp) -> StatsSnapshot {
        self.hand_over();
        self.reporter.stats(now)
    }

    /// Hands over to the statistics what the shards have counted by themselves.
    pub(crate) fn hand_over(&self) {
        for shard in self.circuit.shards() {
            let (well, refused) = (shard.take_ended_well(), shard.take_refused());
            self.reporter.count_many(Outcome::Success, well);
            self.reporter
                .count_many_refused(RejectionKind::CircuitOpen, refused);
        }
    }

    #[inline(always)]
    fn refuse(&self, seat: &Seat, refused: Refused) -> Rejection {
        let kind = RejectionKind::CircuitOpen;
        seat.shard().refuse();
        self.reporter.tell_refused(|| refused.at, kind);
        Rejection::new(LayerKind::CircuitBreaker, self.name.clone(), kind)
            .with_retry_at(refused.at, refused.until)
    }
}

impl Shell for Shared {
    /// `SplitMix64` (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", 2014).
    fn draw(&self) -> u32 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut z = self
            .chance
            .fetch_add(STEP, Ordering::Relaxed)
            .wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        u32::try_from((z ^ (z >> 31)) >> 32).unwrap_or(0)
    }

    fn tell(&self, Transition { from, to }: Transition) {
        // Transitions are rare: a clock read of their own keeps the engine's callers simple.
        let change = Change::Circuit { from, to };
        self.reporter
            .report(self.clock.now(), EventKind::Change(change));
        self.waiters.wake();
    }

    fn look_again(&self) {
        self.waiters.wake();
    }
}

impl Live for Shared {
    fn layer(&self) -> LayerKind {
        LayerKind::CircuitBreaker
    }

    fn name(&self) -> Name {
        self.name.clone()
    }

    fn snapshot(&self) -> Snapshot {
        let now = self.clock.now();
        let totals = self.circuit.totals(now);
        let mut snapshot = Snapshot::new(self.layer(), self.name.clone(), self.mode.get())
            .with(
                "state",
                Value::Text(self.circuit.state().public().as_str().to_owned()),
            )
            .with(
                "window",
                Value::Map(vec![
                    ("calls", Value::Gauge(totals.calls.into())),
                    ("failed", Value::Gauge(totals.failed.into())),
                    ("slow", Value::Gauge(totals.slow.into())),
                    ("cancelled", Value::Gauge(totals.cancelled.into())),
                ]),
            )
            .with("in_a_row", Value::Gauge(self.circuit.in_a_row().into()))
            .with("hanging", Value::Gauge(self.circuit.hanging().into()))
            .with("probes", Value::Gauge(self.circuit.probes(now) as u64));
        if let Some(left) = self.circuit.opens_for(now) {
            snapshot = snapshot.with("opens_for", Value::Time(left));
        }
        snapshot.fields.extend(self.stats(now).fields());
        snapshot
    }

    fn mode(&self) -> Mode {
        self.mode.get()
    }

    fn set_mode(&self, mode: Mode) {
        let before = self.mode.get();
        self.mode.set(mode);
        if before != mode {
            let change = Change::Mode {
                from: before,
                to: mode,
            };
            self.reporter
                .report(self.clock.now(), EventKind::Change(change));
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The statistics may be those of a whole family.
        self.hand_over();
    }
}

impl std::fmt::Debug for Breaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Breaker")
            .field("name", &self.shared().name)
            .field("state", &self.state())
            .field("mode", &self.mode())
            .finish_non_exhaustive()
    }
}
