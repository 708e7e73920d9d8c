use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use fusebox_core::{
    Change, CircuitState, EventKind, LayerKind, Live, Mode, ModeCell, Name, Reporter, Snapshot,
    Value, stats::StatsSnapshot, time::Clock,
};

use super::slots::Slots;
use crate::{
    Breaker, BreakerBuilder, ConfigError,
    breaker::tune,
    engine::{Quorum, Tunable},
    seat::Seats,
};

/// Enough for every upstream of a large system, and at two seats each a few megabytes.
const USUAL_CAPACITY: usize = 1_024;
/// More circuits than anyone can look at; a key that is chosen by clients belongs behind a limit.
const LARGEST_CAPACITY: usize = 1 << 20;
/// Keys are spread over so many locks.
const SHARDS: usize = 16;

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
    hasher: RandomState,
    shards: Box<[Mutex<Slots<K, Breaker>>]>,
    /// For the keys that found no room.
    others: Breaker,
    without_room: AtomicU64,
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
    /// parts, so the bound is rounded up to a multiple of them.
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
        K: Hash + Eq + Clone + Send + Sync + 'static,
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
        let settings = Tunable::from(self.each.settings()?);
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
        let shards = SHARDS.min(self.capacity);
        let each = self.capacity.div_ceil(shards);
        let family = Arc::new(Family {
            name,
            settings,
            reporter,
            mode,
            quorum,
            clock: Clock::new(),
            hasher: RandomState::new(),
            shards: (0..shards).map(|_| Mutex::new(Slots::new(each))).collect(),
            others,
            without_room: AtomicU64::new(0),
        });
        let live: Arc<dyn Live> = family.clone();
        self.each.registration.list(Arc::downgrade(&live));
        Ok(KeyedBreaker { family })
    }
}

impl<K: Hash + Eq + Clone> KeyedBreaker<K> {
    /// The circuit of that key, made if there is none.
    #[must_use]
    pub fn of(&self, key: &K) -> Breaker {
        let family = &*self.family;
        let Some(mut slots) = family.shard(key) else {
            return family.others.clone();
        };
        if let Some(breaker) = slots.get(key) {
            return breaker.clone();
        }
        let breaker = family.another();
        match slots.insert(key.clone(), breaker.clone(), Breaker::may_be_forgotten) {
            Ok(_) => breaker,
            Err(_) => {
                family.without_room.fetch_add(1, Ordering::Relaxed);
                family.others.clone()
            }
        }
    }

    /// The circuit of the keys that found no room, and of calls without a key.
    #[must_use]
    pub fn others(&self) -> &Breaker {
        &self.family.others
    }

    /// Every key that has a circuit, and its state. The parts are locked one after the other.
    #[must_use]
    pub fn states(&self) -> Vec<(K, CircuitState)> {
        let shards = self.family.shards.iter().map(locked);
        shards
            .flat_map(|slots| {
                let states = slots
                    .iter()
                    .map(|(key, breaker)| (key.clone(), breaker.state()));
                states.collect::<Vec<_>>()
            })
            .collect()
    }

    /// Counters of all circuits together.
    #[must_use]
    pub fn stats(&self) -> StatsSnapshot {
        self.family.stats()
    }
}

impl<K> KeyedBreaker<K> {
    /// Keys, open circuits, counters and latencies now. No key is named: they may be a client's.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot
    where
        K: Hash + Eq + Clone + Send + Sync,
    {
        self.family.snapshot()
    }

    /// Changes the mode of all circuits, for every call from now on.
    pub fn set_mode(&self, mode: Mode)
    where
        K: Hash + Eq + Clone + Send + Sync,
    {
        self.family.set_mode(mode);
    }
}

impl<K> KeyedBreaker<K> {
    /// Changes the settings of all circuits; see [`Breaker::reconfigure`].
    ///
    /// # Errors
    /// As [`Breaker::reconfigure`].
    pub fn reconfigure(&self, settings: &BreakerBuilder) -> Result<(), ConfigError> {
        let family = &self.family;
        let now = family.clock.now();
        tune(&family.settings, settings, &family.reporter, now)?;
        for slots in &family.shards {
            locked(slots)
                .iter()
                .for_each(|(_, each)| each.sample_next());
        }
        family.others.sample_next();
        Ok(())
    }
}

fn locked<K>(slots: &Mutex<Slots<K, Breaker>>) -> MutexGuard<'_, Slots<K, Breaker>> {
    // Nothing in there panics half-way; a hash of the user's might, before anything is changed.
    slots.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K> Family<K> {
    fn stats(&self) -> StatsSnapshot {
        for slots in &self.shards {
            let slots = locked(slots);
            slots.iter().for_each(|(_, each)| each.hand_over());
        }
        self.others.hand_over();
        self.reporter.stats(self.clock.now())
    }
}

impl<K: Hash> Family<K> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "any bits of a hash will do"
    )]
    fn shard(&self, key: &K) -> Option<MutexGuard<'_, Slots<K, Breaker>>> {
        let hash = self.hasher.hash_one(key) as usize;
        self.shards
            .get(hash.checked_rem(self.shards.len())?)
            .map(locked)
    }

    /// A new circuit. Two seats are enough where the keys themselves spread the threads.
    fn another(&self) -> Breaker {
        Breaker::assemble(
            self.name.clone(),
            self.settings.clone(),
            self.reporter.clone(),
            self.mode.clone(),
            Seats::for_this_machine().min(2),
            self.quorum.clone(),
        )
    }
}

impl<K: Hash + Eq + Clone + Send + Sync> Live for Family<K> {
    fn layer(&self) -> LayerKind {
        LayerKind::CircuitBreaker
    }

    fn name(&self) -> Name {
        self.name.clone()
    }

    fn snapshot(&self) -> Snapshot {
        let (mut keys, mut open) = (0, 0);
        for slots in &self.shards {
            let slots = locked(slots);
            keys += slots.len() as u64;
            let closed = |breaker: &Breaker| breaker.state() == CircuitState::Closed;
            open += slots.iter().filter(|(_, breaker)| !closed(breaker)).count() as u64;
        }
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
