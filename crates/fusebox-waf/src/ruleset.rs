//! The handle: the rules in force, what is told, and what an operator can do.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use fusebox_core::time::Clock;
use fusebox_core::{
    Change, EventKind, LayerKind, Live, Mode, ModeCell, Name, Reporter, Snapshot, Timestamp, Value,
};
use fusebox_http::identity::IdentityResolver;

use crate::WafLayer;
use crate::config::{Limits, RulesetBuilder};
use crate::incident::OnIncident;
use crate::wall::Wall;

/// Rules in force. Cheap to clone; all clones are the same handle.
///
/// It makes the layer ([`layer`](Self::layer)), shows what its rules find, and takes others while traffic flows.
///
/// ```
/// use fusebox_core::Mode;
/// use fusebox_waf::Ruleset;
///
/// let settings = Ruleset::builder("shop").core().mode(Mode::Shadow);
/// let rules = settings.clone().build()?;
/// let layer = rules.layer();
///
/// // Later, with traffic flowing: more rules, and in earnest. Requests under inspection end with the rules they began with.
/// let more = settings.text("mine.conf", r#"SecRule REQUEST_FILENAME "@beginsWith /old/" "id:1,phase:1,deny,status:410""#);
/// rules.swap(more.compile()?);
/// rules.set_mode(Mode::Enforce);
/// # let _ = layer;
/// # Ok::<(), fusebox_waf::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Ruleset {
    pub(crate) shared: Arc<Shared>,
}

/// Rules with the limits that they were made with: what a [swap](Ruleset::swap) puts in force, as one. Made by
/// [`RulesetBuilder::compile`]. Cheap to clone.
#[derive(Clone)]
pub struct CompiledRules {
    made: Arc<Made>,
}

pub(crate) struct Made {
    pub(crate) rules: fusebox_seclang::Ruleset,
    pub(crate) limits: Limits,
}

impl CompiledRules {
    pub(crate) fn new(rules: fusebox_seclang::Ruleset, limits: Limits) -> Self {
        Self {
            made: Arc::new(Made { rules, limits }),
        }
    }

    /// The rules alone, to run requests through the engine without a layer.
    #[must_use]
    pub fn rules(&self) -> &fusebox_seclang::Ruleset {
        &self.made.rules
    }
}

impl std::fmt::Debug for CompiledRules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CompiledRules")
            .field("rules", &self.made.rules.rules())
            .field("limits", &self.made.limits)
            .finish()
    }
}

pub(crate) struct Shared {
    /// A request keeps those that it began with, limits included.
    in_force: ArcSwap<Made>,
    pub(crate) clients: IdentityResolver,
    pub(crate) listeners: Vec<Arc<dyn OnIncident>>,
    pub(crate) clock: Clock,
    wall: Wall,
    pub(crate) mode: ModeCell,
    pub(crate) reporter: Reporter,
    hits: ArcSwap<BTreeMap<u32, Arc<AtomicU64>>>,
    swaps: AtomicU64,
    requests: AtomicU64,
    seed: u64,
}

impl Ruleset {
    /// Begins the settings. The name is shown in logs, metrics and snapshots.
    pub fn builder(name: impl Into<Name>) -> RulesetBuilder {
        RulesetBuilder::new(name.into())
    }

    pub(crate) fn new(settings: RulesetBuilder, rules: CompiledRules) -> Self {
        let handle = Self {
            shared: Arc::new(Shared {
                in_force: ArcSwap::new(rules.made),
                clients: settings.clients,
                listeners: settings.listeners,
                clock: Clock::new(),
                wall: Wall::new(),
                mode: ModeCell::new(settings.mode),
                reporter: Reporter::new(LayerKind::Waf, settings.name, settings.observers),
                hits: ArcSwap::default(),
                swaps: AtomicU64::new(0),
                requests: AtomicU64::new(0),
                // Ids of requests must differ between processes; nothing is decided by them.
                seed: RandomState::new().hash_one(0),
            }),
        };
        let live: Arc<dyn Live> = handle.shared.clone();
        settings.registration.list(Arc::downgrade(&live));
        handle
    }

    /// A layer that inspects HTTP requests by these rules.
    #[must_use]
    pub fn layer(&self) -> WafLayer {
        WafLayer::new(self.clone())
    }

    /// Puts other rules in force for every request from now on, with their limits. Requests under inspection end with the rules and
    /// limits they began with; counts are kept, collections in memory (`initcol`) begin anew.
    ///
    /// What belongs to the handle stays as it is: name, mode, listeners, observers, clients.
    pub fn swap(&self, rules: CompiledRules) {
        let to = rules.made.rules.rules() as u64;
        let before = self.shared.in_force.swap(rules.made);
        self.shared.swaps.fetch_add(1, Ordering::Relaxed);
        let change = Change::Limit {
            what: "rules",
            from: before.rules.rules() as u64,
            to,
        };
        let now = self.shared.clock.now();
        self.shared.reporter.report(now, EventKind::Change(change));
    }

    /// How often each rule matched that is to be logged, by its id, since the handle was made.
    #[must_use]
    pub fn hits(&self) -> Vec<(u32, u64)> {
        let hits = self.shared.hits.load();
        hits.iter()
            .map(|(id, count)| (*id, count.load(Ordering::Relaxed)))
            .collect()
    }

    /// The mode now.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.shared.mode.get()
    }

    /// Changes the mode for every request from now on.
    pub fn set_mode(&self, mode: Mode) {
        self.shared.set_mode(mode);
    }

    /// Settings, counters and gauges now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Live::snapshot(&*self.shared)
    }

    /// The counters alone.
    #[must_use]
    pub fn stats(&self) -> fusebox_core::stats::StatsSnapshot {
        self.shared.reporter.stats(self.shared.clock.now())
    }
}

impl Shared {
    /// A transaction, and the rules and limits that hold for it.
    pub(crate) fn transaction(&self, now: Timestamp) -> (fusebox_seclang::Transaction, Arc<Made>) {
        let time = self.wall.at(now, SystemTime::now);
        let made = self.in_force.load_full();
        (made.rules.transaction(time), made)
    }

    pub(crate) fn name(&self) -> &Name {
        self.reporter.policy()
    }

    /// Counts a match. There are as many counts as rules that ever matched.
    pub(crate) fn hit(&self, rule: u32) {
        if let Some(count) = self.hits.load().get(&rule) {
            count.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // Its first match: a copy of the table with room for it. Whoever comes at the same time finds it there.
        self.hits.rcu(|hits| {
            let mut hits = BTreeMap::clone(hits);
            hits.entry(rule).or_default();
            hits
        });
        if let Some(count) = self.hits.load().get(&rule) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// An id for a request that brought none.
    pub(crate) fn request_id(&self) -> String {
        let count = self.requests.fetch_add(1, Ordering::Relaxed);
        format!("{:016x}{count:08x}", self.seed)
    }
}

impl Live for Shared {
    fn layer(&self) -> LayerKind {
        LayerKind::Waf
    }

    fn name(&self) -> Name {
        self.reporter.policy().clone()
    }

    fn snapshot(&self) -> Snapshot {
        let mut hits: Vec<_> = self
            .hits
            .load()
            .iter()
            .map(|(id, count)| (count.load(Ordering::Relaxed), *id))
            .collect();
        hits.sort_unstable_by_key(|(count, id)| (std::cmp::Reverse(*count), *id));
        let hits: Vec<_> = hits
            .iter()
            .map(|(count, id)| (id.to_string(), *count))
            .collect();
        let mut snapshot = Snapshot::new(
            self.layer(),
            self.reporter.policy().clone(),
            self.mode.get(),
        )
        .with(
            "rules",
            Value::Gauge(self.in_force.load().rules.rules() as u64),
        )
        .with("swaps", Value::Count(self.swaps.load(Ordering::Relaxed)))
        .with("hits", Value::Counts(hits));
        for (name, value) in self.reporter.stats(self.clock.now()).fields() {
            snapshot = snapshot.with(name, value);
        }
        snapshot
    }

    fn mode(&self) -> Mode {
        self.mode.get()
    }

    fn set_mode(&self, mode: Mode) {
        let from = self.mode.get();
        self.mode.set(mode);
        if from != mode {
            let change = EventKind::Change(Change::Mode { from, to: mode });
            self.reporter.report(self.clock.now(), change);
        }
    }
}

impl std::fmt::Debug for Ruleset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ruleset")
            .field("name", self.shared.reporter.policy())
            .field("mode", &self.mode())
            .finish_non_exhaustive()
    }
}
