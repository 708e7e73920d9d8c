//! The handle: who is in, and why.

pub(crate) mod bans;
pub(crate) mod care;
#[cfg(all(feature = "nftables", target_os = "linux"))]
mod kernel;
mod live;

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, RwLock, atomic::AtomicU64},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use fusebox_core::{
    Call, EventKind, LayerKind, Live, Mode, ModeCell, Name, Reporter, Snapshot, Timestamp,
    stats::StatsSnapshot, time::Clock,
};

#[cfg(all(feature = "nftables", target_os = "linux"))]
pub(crate) use self::kernel::WeakJail;
use crate::{
    JailConfig, JailConfigError,
    engine::{Cause, Crowded, Held, Key, Network, Never, Prison, Rules, Terms, TermsError},
    feeds::Feeds,
    file::{self, Calendar},
    lines::Lines,
};

/// The jail's clock begins here and not at zero, so that what was before a restart has times, too: sentences that ended a
/// year ago and are still held against somebody would be rare.
const PAST: Duration = Duration::from_secs(365 * 86_400);

/// Who is in, since when, for how long and why; and how to change that while traffic flows.
///
/// Cheap to clone; all clones are one jail. Give it to a [`BlackholeLayer`](crate::BlackholeLayer), to a
/// [`Gate`](crate::Gate), to your login handler.
///
/// ```
/// use std::time::Duration;
/// use fusebox_blackhole::{Cause, JailConfig};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let jail = JailConfig::new("edge").build()?;
/// let attacker = [192, 0, 2, 7].into();
/// jail.ban(attacker, Duration::from_secs(3_600)).ok_or("never-ban")?;
///
/// let sentence = jail.why(attacker).ok_or("free")?;
/// assert_eq!(sentence.reason.to_string(), "operator");
/// assert!(jail.unban(attacker));
/// assert!(jail.why(attacker).is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Jail(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    prison: Prison,
    /// Read for each strike, which is no request in a thousand: a lock does.
    rules: RwLock<Rules>,
    /// The same as in the rules, for those who ask more often. Changed under their lock.
    never: ArcSwap<Never>,
    feeds: Feeds,
    mode: ModeCell,
    clock: Clock,
    reporter: Reporter,
    /// Jitter is a hash of the client and the time under it.
    jitter: RandomState,
    file: Option<std::path::PathBuf>,
    /// One save at a time: they share the name of the file beside the file. With what [`changes`](Self::changes) was at
    /// the last one.
    saving: Mutex<Option<u64>>,
    /// The open connections of its gates.
    lines: Arc<Lines>,
    /// What was left out for want of room when that was last told.
    crowded: Mutex<Crowded>,
    check_every: Duration,
    strikes: AtomicU64,
    sentences: AtomicU64,
    /// Whoever mirrors the jail looks again when this has changed.
    changes: AtomicU64,
}

/// Why a client is held, for people to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentence {
    /// The addresses it is for: the client's, or the network's around it. None for a credential, and for a list.
    pub network: Option<Network>,
    /// Why.
    pub reason: Reason,
    /// How long ago it began. None for a list.
    pub since: Option<Duration>,
    /// How long it still lasts. None for a list: as long as the address is on it.
    pub remaining: Option<Duration>,
    /// How many sentences the client has had from strikes, less those forgiven.
    pub sentences: u8,
}

/// Why a client is held.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// It was jailed for this.
    Jailed(Cause),
    /// It is on the published list of this name.
    Listed(Name),
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Jailed(cause) => cause.fmt(f),
            Self::Listed(list) => write!(f, "list {list}"),
        }
    }
}

impl Jail {
    pub(crate) fn open(config: JailConfig, rules: Rules) -> Result<Self, JailConfigError> {
        let clock = Clock::new();
        let today = SystemTime::now();
        let feeds = Feeds::open(config.feeds, &rules.never, today)
            .map_err(|(name, reason)| JailConfigError::Feed { name, reason })?;
        let listed = feeds.in_force();
        let records: usize = listed.iter().map(|list| list.networks.len()).sum();
        let seed = config
            .seed
            .unwrap_or_else(|| RandomState::new().hash_one(0));
        let inner = Inner {
            // Twice what the lists have today: they grow.
            prison: Prison::new(config.capacity, records * 2, seed),
            never: ArcSwap::from_pointee(rules.never.clone()),
            rules: RwLock::new(rules),
            feeds,
            mode: ModeCell::new(config.mode),
            clock,
            reporter: Reporter::new(LayerKind::Blackhole, config.name, config.observers),
            jitter: RandomState::new(),
            file: config.file,
            saving: Mutex::new(None),
            lines: Arc::default(),
            crowded: Mutex::default(),
            check_every: config.check_every,
            strikes: AtomicU64::new(0),
            sentences: AtomicU64::new(0),
            changes: AtomicU64::new(0),
        };
        let jail = Self(Arc::new(inner));
        let now = jail.now();
        if !listed.is_empty() {
            jail.0.prison.set_lists(listed, now);
        }
        if let Some(path) = &jail.0.file {
            let (inmates, broken) =
                file::read(path, Calendar::new(now, today)).map_err(|reason| {
                    JailConfigError::File {
                        path: path.clone(),
                        reason,
                    }
                })?;
            if broken > 0 {
                tracing::warn!(target: "fusebox", broken, "sentences that could not be read are left out");
            }
            let rules = jail.rules();
            for inmate in inmates {
                jail.0.prison.restore(inmate, &rules, now);
            }
        }
        let live: Arc<dyn Live> = jail.0.clone();
        config.registration.list(Arc::downgrade(&live));
        Ok(jail)
    }

    /// Its configured name.
    #[must_use]
    pub fn name(&self) -> &Name {
        self.0.reporter.policy()
    }

    /// Whether the address is held, by a sentence or a list; a listener asks this of each peer. Lock-free; tens of
    /// nanoseconds.
    #[inline]
    #[must_use]
    pub fn holds(&self, address: IpAddr) -> bool {
        self.holds_at(address, self.now())
    }

    #[inline]
    pub(crate) fn holds_at(&self, address: IpAddr, now: Timestamp) -> bool {
        self.held(address, now).is_some()
    }

    #[inline]
    fn held(&self, address: IpAddr, now: Timestamp) -> Option<Held> {
        let held = self.0.prison.check(address, now)?;
        // Who was protected later may be on a list that was taken before.
        (!self.protects(address)).then_some(held)
    }

    /// Whether this address can never be jailed.
    pub(crate) fn protects(&self, address: IpAddr) -> bool {
        self.0.never.load().has(address)
    }

    /// From now on none of these can be jailed, and no list may have them: who of them is in is let out, a list in force
    /// that has one of them no longer holds it, and the next version of that list is refused.
    ///
    /// A layer does this with the trusted proxies of its [resolver](crate::BlackholeConfig::identity). What is protected
    /// stays so.
    pub fn protect(&self, networks: impl IntoIterator<Item = Network>) {
        self.protect_ranges(networks.into_iter().map(Network::ends));
    }

    pub(crate) fn protect_ranges(&self, ranges: impl IntoIterator<Item = (IpAddr, IpAddr)>) {
        let never = {
            let mut rules = self.0.rules.write().unwrap_or_else(PoisonError::into_inner);
            rules.never = rules.never.and_ranges(ranges);
            self.0.never.store(Arc::new(rules.never.clone()));
            rules.never.clone()
        };
        let mut covered = Vec::new();
        self.0.prison.for_each(self.now(), |inmate| {
            if inmate
                .key
                .network()
                .is_some_and(|network| never.covers(network))
            {
                covered.push(inmate.key);
            }
        });
        covered.into_iter().for_each(|key| {
            self.release(key);
        });
    }

    /// Whether the client that is known by this credential is held.
    #[inline]
    pub(crate) fn holds_key(&self, key: Key, now: Timestamp) -> bool {
        self.0.prison.check_key(key, now).is_some()
    }

    /// Why the address is held; `None` if it is not.
    #[must_use]
    pub fn why(&self, address: IpAddr) -> Option<Sentence> {
        let now = self.now();
        Some(self.sentence(self.held(address, now)?, now))
    }

    fn sentence(&self, held: Held, now: Timestamp) -> Sentence {
        match held {
            Held::Jailed(inmate) => Sentence {
                network: inmate.key.network(),
                reason: Reason::Jailed(inmate.cause),
                since: Some(now.since(inmate.since)),
                remaining: Some(inmate.until.since(now)),
                sentences: inmate.sentences,
            },
            Held::Listed(number) => Sentence {
                network: None,
                // A list that was taken away meanwhile: lists never are, but that is the feeds' to say.
                reason: Reason::Listed(
                    self.0
                        .feeds
                        .name(number)
                        .unwrap_or_else(|| "unknown".into()),
                ),
                since: None,
                remaining: None,
                sentences: 0,
            },
        }
    }

    /// Everybody who is in, in no order. Looks at every cell: milliseconds for a million.
    #[must_use]
    pub fn list(&self) -> Vec<Sentence> {
        let now = self.now();
        let mut list = Vec::new();
        self.0.prison.for_each(now, |inmate| {
            list.push(self.sentence(Held::Jailed(inmate), now));
        });
        list
    }

    /// The terms in force.
    #[must_use]
    pub fn terms(&self) -> Terms {
        self.rules().terms
    }

    /// Changes the terms for every strike from now on. Sentences that run stay as they are; strikes are kept, unless
    /// the find time changes, which they are counted by.
    ///
    /// # Errors
    /// [`TermsError`], and nothing is changed, when the terms cannot be meant.
    pub fn set_terms(&self, terms: Terms) -> Result<(), TermsError> {
        terms.check()?;
        let mut rules = self.0.rules.write().unwrap_or_else(PoisonError::into_inner);
        rules.terms = terms;
        Ok(())
    }

    fn rules(&self) -> Rules {
        self.0
            .rules
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether it acts on its decisions.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.0.mode.get()
    }

    /// Changes the mode for every request and connection from now on.
    pub fn set_mode(&self, mode: Mode) {
        Live::set_mode(&*self.0, mode);
    }

    /// Whether to act on one more decision.
    pub(crate) fn enforces_next(&self) -> bool {
        self.0.mode.enforces_next()
    }

    /// Its settings, counters and gauges now. Counts who is in, as [`list`](Self::list) does.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Live::snapshot(&*self.0)
    }

    /// Refusals by reason, outcomes and latencies of the requests that passed the layer.
    #[must_use]
    pub fn stats(&self) -> StatsSnapshot {
        self.0.reporter.stats(self.now())
    }

    /// Tells this jail from others that are there at the same time.
    pub(crate) fn number(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// A number that no client knows.
    pub(crate) fn seed(&self) -> u64 {
        self.0.jitter.hash_one(1)
    }

    #[inline]
    pub(crate) fn now(&self) -> Timestamp {
        self.0.now()
    }

    /// Tells that a call was refused or is over.
    pub(crate) fn report(&self, at: Timestamp, call: Call) {
        self.0.reporter.report(at, EventKind::Call(call));
    }
}

impl Inner {
    #[inline]
    fn now(&self) -> Timestamp {
        self.clock.now() + PAST
    }
}

impl std::fmt::Debug for Jail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jail")
            .field("name", self.name())
            .field("mode", &self.mode())
            .field("prison", &self.0.prison)
            .finish_non_exhaustive()
    }
}
