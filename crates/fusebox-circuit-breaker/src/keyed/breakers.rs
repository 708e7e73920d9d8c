use std::{
    hash::Hash,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
};

use fusebox_core::{
    Change, CircuitState, EventKind, LayerKind, Live, Mode, ModeCell, Name, Rejection, Reporter,
    Snapshot, Value, stats::StatsSnapshot, time::Clock,
};

use super::{KeyLike, map::Map};
use crate::{
    Breaker, BreakerBuilder, ConfigError, Pass,
    breaker::tune,
    engine::{ByHand, Quorum, Settings, Transition, Tunable, WindowSettings},
    seat::Seats,
};

/// Enough for every upstream of a large system, and at two seats each a few megabytes.
const USUAL_CAPACITY: usize = 1_024;
/// More circuits than anyone can look at; a key that is chosen by clients belongs behind a limit.
const LARGEST_CAPACITY: usize = 1 << 20;
/// Calls that all windows of calls together may remember, at four bytes each: a quarter of a gigabyte.
const MOST_REMEMBERED: u64 = 1 << 26;

/// One circuit per key, with common settings, counters and mode.
///
/// Bounded: when there is no room for a new key, one that was not used lately makes room, but never one
/// whose circuit is not closed, unless nobody has called it for three cool-downs after its own was over. If all of those looked at have to stay, the new key
/// shares one more circuit with all others that found no room. Cheap to clone; clones share everything.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use fusebox_circuit_breaker::Breaker;
/// use fusebox_core::{CircuitState, Outcome};
///
/// let replicas = Breaker::builder("replicas").consecutive_failures(1).keyed().build()?;
/// replicas.of(&"eu-1").try_pass()?.end(Outcome::Failure);
/// assert_eq!(replicas.of(&"eu-1").state(), CircuitState::Open);
/// assert_eq!(replicas.of(&"eu-2").state(), CircuitState::Closed);
/// # Ok(())
/// # }
/// ```
pub struct KeyedBreaker<K> {
    family: Arc<Family<K>>,
}

impl<K> Clone for KeyedBreaker<K> {
    fn clone(&self) -> Self {
        Self {
            family: self.family.clone(),
        }
    }
}

struct Family<K> {
    name: Name,
    settings: Tunable,
    reporter: Arc<Reporter>,
    mode: Arc<ModeCell>,
    quorum: Option<Arc<Quorum>>,
    clock: Clock,
    breakers: Map<K, Breaker>,
    /// For the keys that found no room.
    others: Breaker,
    without_room: AtomicU64,
    /// What was done [by hand](ByHand) to all of them, for those that come after.
    by_hand: AtomicU8,
    /// Who holds it does something to all of them: one such thing after the other.
    hand: Mutex<()>,
}

/// What was done by hand, from its number.
const fn by_hand(number: u8) -> ByHand {
    match number {
        1 => ByHand::ForcedOpen,
        2 => ByHand::Disabled,
        _ => ByHand::Reset,
    }
}

/// Settings of a [`KeyedBreaker`], before it is built. Made by [`BreakerBuilder::keyed`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct KeyedBuilder {
    each: BreakerBuilder,
    capacity: usize,
    open_at_most: u8,
}

impl BreakerBuilder {
    /// One such circuit for each key.
    pub const fn keyed(self) -> KeyedBuilder {
        KeyedBuilder {
            each: self,
            capacity: USUAL_CAPACITY,
            open_at_most: 100,
        }
    }
}

impl KeyedBuilder {
    /// Keeps circuits for about so many keys at once. Default 1,024. It is spread over up to sixteen
    /// parts, so the bound is rounded up to a multiple of them. A circuit takes two to three kilobytes, and four bytes for
    /// each call of a [window of calls](crate::Window::Calls).
    pub const fn capacity(mut self, keys: usize) -> Self {
        self.capacity = keys;
        self
    }

    /// Never lets more than so many per cent of the circuits be open at once; one always may. Default 100.
    ///
    /// When most of them fail together, the fault is more likely on this side than in every dependency.
    ///
    /// A circuit counts as open while it cools down, and while it is half-open for as long as a probe may take;
    /// after that it gives its place to whoever needs it, so that keys which nobody calls any more keep none. If it
    /// finds no place when its turn comes again, it is closed. How often one was to open and could not is in the
    /// snapshot as `kept_closed`.
    pub const fn open_at_most(mut self, percent: u8) -> Self {
        self.open_at_most = percent;
        self
    }

    /// Builds it, without any circuit yet.
    ///
    /// # Errors
    /// [`ConfigError`] naming the setting that makes no sense.
    pub fn build<K>(self) -> Result<KeyedBreaker<K>, ConfigError>
    where
        K: Send + Sync + 'static,
    {
        let too_large = |field, given: u64, most| Err(ConfigError::TooLarge { field, given, most });
        match self.capacity {
            0 => return Err(ConfigError::Zero { field: "capacity" }),
            given if given > LARGEST_CAPACITY => {
                return too_large("capacity", given as u64, LARGEST_CAPACITY as u64);
            }
            _ => {}
        }
        match self.open_at_most {
            0 => {
                return Err(ConfigError::Zero {
                    field: "open_at_most",
                });
            }
            given if given > 100 => return too_large("open_at_most", given.into(), 100),
            _ => {}
        }
        let settings = self.each.settings()?;
        let capacity = Map::<K, Breaker>::room(self.capacity);
        fits(&settings, capacity)?;
        let settings = Tunable::from(settings);
        let name = self.each.name;
        let reporter = Arc::new(Reporter::new(
            LayerKind::CircuitBreaker,
            name.clone(),
            self.each.observers,
        ));
        let mode = Arc::new(ModeCell::new(self.each.mode));
        let quorum =
            (self.open_at_most < 100).then(|| Arc::new(Quorum::new(u32::from(self.open_at_most))));
        let others = Breaker::assemble(
            name.clone(),
            settings.clone(),
            reporter.clone(),
            mode.clone(),
            Seats::for_this_machine(),
            quorum.clone(),
        );
        let family = Arc::new(Family {
            name,
            settings,
            reporter,
            mode,
            quorum,
            clock: Clock::new(),
            breakers: Map::new(self.capacity),
            others,
            without_room: AtomicU64::new(0),
            by_hand: AtomicU8::new(ByHand::Reset as u8),
            hand: Mutex::new(()),
        });
        let live: Arc<dyn Live> = family.clone();
        self.each.registration.list(Arc::downgrade(&live));
        Ok(KeyedBreaker { family })
    }
}

impl<K> KeyedBreaker<K> {
    /// The circuit of that key, made if there is none.
    ///
    /// For who keeps it. A call that only passes is better made with [`try_pass`](Self::try_pass): a handle is a count
    /// that all threads share.
    #[must_use]
    pub fn of(&self, key: &K) -> Breaker
    where
        K: Hash + Eq + Clone,
    {
        self.with(key, Breaker::clone)
    }

    /// Asks the circuit of that key, made if there is none, for the right to make one call; see
    /// [`Breaker::try_pass`].
    ///
    /// # Errors
    /// The [`Rejection`] when the circuit does not let it through: do not make the call.
    pub fn try_pass(&self, key: impl KeyLike<K>) -> Result<Pass, Rejection> {
        self.with(key, Breaker::try_pass)
    }

    /// What comes of looking at the circuit of that key.
    #[inline(always)]
    pub(super) fn with<T>(&self, key: impl KeyLike<K>, look: impl Fn(&Breaker) -> T) -> T {
        let family = &*self.family;
        let made = || family.another();
        let kept = family
            .breakers
            .with(key, made, Breaker::may_be_forgotten, &look);
        kept.unwrap_or_else(|| {
            family.without_room.fetch_add(1, Ordering::Relaxed);
            look(&family.others)
        })
    }

    /// The circuit of the keys that found no room, and of calls without a key.
    #[must_use]
    pub fn others(&self) -> &Breaker {
        &self.family.others
    }

    /// Every key that has a circuit, and its state. The parts are locked one after the other.
    #[must_use]
    pub fn states(&self) -> Vec<(K, CircuitState)>
    where
        K: Clone,
    {
        let mut states = Vec::new();
        let breakers = &self.family.breakers;
        breakers.each(|key, breaker| states.push((key.clone(), breaker.state())));
        states
    }

    /// Refuses every call, whatever its key, until [`reset`](Self::reset) or [`disable`](Self::disable); also of keys
    /// that come later. What is done to [one](Self::of) of them after that is done to that one.
    pub fn force_open(&self) {
        self.family.by_hand(ByHand::ForcedOpen);
    }

    /// Lets every call through, whatever its key, judging none, until [`reset`](Self::reset) or
    /// [`force_open`](Self::force_open); also of keys that come later.
    pub fn disable(&self) {
        self.family.by_hand(ByHand::Disabled);
    }

    /// Closes all circuits, whatever their state, and forgets what they knew. Counters go on.
    pub fn reset(&self) {
        self.family.by_hand(ByHand::Reset);
    }

    /// Counters of all circuits together.
    #[must_use]
    pub fn stats(&self) -> StatsSnapshot {
        self.family.stats()
    }

    /// Keys, open circuits, counters and latencies now. No key is named: they may be a client's.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot
    where
        K: Send + Sync,
    {
        self.family.snapshot()
    }

    /// Changes the mode of all circuits, for every call from now on.
    pub fn set_mode(&self, mode: Mode)
    where
        K: Send + Sync,
    {
        self.family.set_mode(mode);
    }

    /// Changes the settings of all circuits; see [`Breaker::reconfigure`].
    ///
    /// # Errors
    /// As [`Breaker::reconfigure`].
    pub fn reconfigure(&self, settings: &BreakerBuilder) -> Result<(), ConfigError> {
        let family = &self.family;
        let now = family.clock.now();
        tune(&family.settings, settings, &family.reporter, now)?;
        family.breakers.each(|_, each| each.sample_next());
        family.others.sample_next();
        Ok(())
    }
}

/// Whether so many circuits with those settings fit into memory.
fn fits(settings: &Settings, capacity: usize) -> Result<(), ConfigError> {
    let WindowSettings::Count { calls } = settings.window else {
        return Ok(());
    };
    let all = u64::from(calls).saturating_mul(capacity as u64);
    if all <= MOST_REMEMBERED {
        return Ok(());
    }
    Err(ConfigError::WindowsTooLarge {
        calls,
        capacity: capacity as u64,
        most: MOST_REMEMBERED,
    })
}

impl<K> Family<K> {
    fn stats(&self) -> StatsSnapshot {
        self.breakers.each(|_, each| each.hand_over());
        self.others.hand_over();
        self.reporter.stats(self.clock.now())
    }

    fn by_hand(&self, what: ByHand) {
        for (breaker, transition) in self.put_all(what) {
            breaker.tell(transition);
        }
    }

    /// Puts all circuits into that state; which of them were in another. Nobody is told before all are, and no lock is
    /// held: an observer may look at them, or change them again.
    fn put_all(&self, what: ByHand) -> Vec<(Breaker, Transition)> {
        let mut told = Vec::new();
        let mut put = |breaker: &Breaker| {
            if let Some(transition) = breaker.put_untold(what) {
                told.push((breaker.clone(), transition));
            }
        };
        let _one_by_one = self.hand.lock().unwrap_or_else(PoisonError::into_inner);
        // First, so that who is not seen here has seen it: each part of the map has a lock.
        self.by_hand.store(what as u8, Ordering::SeqCst);
        self.breakers.each(|_, each| put(each));
        put(&self.others);
        told
    }

    /// A new circuit. Two seats are enough where the keys themselves spread the threads.
    fn another(&self) -> Breaker {
        let breaker = Breaker::assemble(
            self.name.clone(),
            self.settings.clone(),
            self.reporter.clone(),
            self.mode.clone(),
            Seats::for_this_machine().min(2),
            self.quorum.clone(),
        );
        match by_hand(self.by_hand.load(Ordering::SeqCst)) {
            ByHand::Reset => {}
            // It begins so: that is no transition to tell of, and the lock of its part of the map is held.
            what => drop(breaker.put_untold(what)),
        }
        breaker
    }
}

impl<K: Send + Sync> Live for Family<K> {
    fn layer(&self) -> LayerKind {
        LayerKind::CircuitBreaker
    }

    fn name(&self) -> Name {
        self.name.clone()
    }

    fn snapshot(&self) -> Snapshot {
        let (mut keys, mut open) = (0, 0);
        self.breakers.each(|_, breaker| {
            keys += 1;
            open += u64::from(breaker.state() != CircuitState::Closed);
        });
        let without_room = self.without_room.load(Ordering::Relaxed);
        let mut snapshot = Snapshot::new(Live::layer(self), self.name.clone(), self.mode.get())
            .with("keys", Value::Gauge(keys))
            .with("not_closed", Value::Gauge(open))
            .with("without_room", Value::Count(without_room));
        if let Some(quorum) = &self.quorum {
            snapshot = snapshot.with("kept_closed", Value::Count(quorum.denied()));
        }
        let stats = self.stats();
        snapshot.fields.extend(stats.fields());
        snapshot
    }

    fn mode(&self) -> Mode {
        self.mode.get()
    }

    fn set_mode(&self, mode: Mode) {
        let before = self.mode.get();
        self.mode.set(mode);
        if before != mode {
            let (from, to) = (before, mode);
            self.reporter.report(
                self.clock.now(),
                EventKind::Change(Change::Mode { from, to }),
            );
        }
    }
}

impl<K> std::fmt::Debug for KeyedBreaker<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyedBreaker")
            .field("name", &self.family.name)
            .field("mode", &self.family.mode.get())
            .finish_non_exhaustive()
    }
}
