//! The handle: who is in, and why.

use std::{
    hash::{BuildHasher, RandomState},
    io,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError, RwLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use fusebox_core::{
    Call, Change, EventKind, LayerKind, Live, Mode, ModeCell, Name, Reporter, Snapshot, Timestamp,
    Value, stats::StatsSnapshot, sync::lock, time::Clock,
};
use fusebox_http::identity::ClientIdentity;

use crate::{
    JailConfig, JailConfigError,
    engine::{
        Cause, Held, Inmate, Key, Listed, Network, Never, Prison, Rules, Struck, Terms, TermsError,
    },
    feeds::{FeedState, Feeds},
    file::{self, Calendar},
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

    /// Whether the client of a request is held. One of your own proxies, which stands for many, never is.
    #[inline]
    pub(crate) fn holds_client(&self, client: &ClientIdentity, now: Timestamp) -> Option<Held> {
        if client.unattributed().is_some() {
            return None;
        }
        match client.address() {
            Some(address) => self.held(address, now),
            None => {
                let key = key_of(client)?;
                self.0.prison.check_key(key, now).map(Held::Jailed)
            }
        }
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

    /// Counts a strike against the client of a request, for example after a failed login. The last one of several leads
    /// in.
    ///
    /// Strikes against one of your own proxies, which stands for many clients, lead to nothing.
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn strike(&self, client: &ClientIdentity, cause: Cause) -> Struck {
        self.strike_at(client, cause, self.now())
    }

    pub(crate) fn strike_at(
        &self,
        client: &ClientIdentity,
        cause: Cause,
        now: Timestamp,
    ) -> Struck {
        match key_of(client) {
            Some(key) if client.unattributed().is_none() => self.strike_key(key, cause, now),
            _ => Struck::Never,
        }
    }

    /// Counts a strike against an address.
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn strike_address(&self, address: IpAddr, cause: Cause) -> Struck {
        match Key::of_peer(address) {
            Some(key) => self.strike_key(key, cause, self.now()),
            None => Struck::Never,
        }
    }

    fn strike_key(&self, key: Key, cause: Cause, now: Timestamp) -> Struck {
        let inner = &*self.0;
        inner.strikes.fetch_add(1, Ordering::Relaxed);
        let jitter = inner.jitter.hash_one((key, now.as_nanos())) >> 32;
        let jitter = u32::try_from(jitter).unwrap_or(u32::MAX);
        let struck = {
            let rules = inner.rules.read().unwrap_or_else(PoisonError::into_inner);
            inner.prison.strike(key, cause, &rules, now, jitter)
        };
        if let Struck::Jailed { inmate, around } = &struck {
            around
                .iter()
                .flatten()
                .chain([inmate])
                .for_each(|inmate| self.tell(inmate, now));
        }
        struck
    }

    /// Someone went in: told without saying who, which an operator can look up.
    fn tell(&self, inmate: &Inmate, now: Timestamp) {
        self.0.sentences.fetch_add(1, Ordering::Relaxed);
        self.0.changes.fetch_add(1, Ordering::Release);
        let change = Change::Jailed {
            cause: inmate.cause.as_str(),
            sentence: inmate.until.since(now),
            sentences: inmate.sentences.into(),
        };
        self.0.reporter.report(now, EventKind::Change(change));
    }

    /// So many were let out.
    fn tell_released(&self, count: u64, now: Timestamp) {
        self.0.changes.fetch_add(1, Ordering::Release);
        if count > 0 {
            let change = Change::Released { count };
            self.0.reporter.report(now, EventKind::Change(change));
        }
    }

    /// Jails an address, for IPv6 its /64, for so long; one that is in for longer stays for as long as it was. `None`
    /// if it can never be jailed, or if there is no room beside longer sentences.
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn ban(&self, address: IpAddr, time: Duration) -> Option<Sentence> {
        self.ban_key(Key::of_peer(address)?, Cause::Operator, time)
    }

    /// Jails what is exactly one client: an IPv4 address, an IPv6 /64, /56 or /48. `None` for any other block, and as
    /// for [`ban`](Self::ban).
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn ban_network(&self, network: Network, time: Duration) -> Option<Sentence> {
        self.ban_key(Key::of_network(network)?, Cause::Operator, time)
    }

    /// Jails the client of a request.
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn ban_client(&self, client: &ClientIdentity, time: Duration) -> Option<Sentence> {
        if client.unattributed().is_some() {
            return None;
        }
        self.ban_key(key_of(client)?, Cause::Operator, time)
    }

    fn ban_key(&self, key: Key, cause: Cause, time: Duration) -> Option<Sentence> {
        let now = self.now();
        let inmate = {
            let rules = self.0.rules.read().unwrap_or_else(PoisonError::into_inner);
            self.0.prison.jail(key, cause, now + time, &rules, now)?
        };
        self.tell(&inmate, now);
        Some(self.sentence(Held::Jailed(inmate), now))
    }

    /// Lets an address out, for IPv6 its /64, and forgets its strikes and relapses. True if it was in by itself.
    ///
    /// A network around it, and a list that has it, still hold it; see [`why`](Self::why).
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn unban(&self, address: IpAddr) -> bool {
        Key::of_peer(address).is_some_and(|key| self.release(key))
    }

    /// Lets out what [`ban_network`](Self::ban_network) or its neighbours sent in.
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn unban_network(&self, network: Network) -> bool {
        Key::of_network(network).is_some_and(|key| self.release(key))
    }

    /// Lets the client of a request out.
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn unban_client(&self, client: &ClientIdentity) -> bool {
        key_of(client).is_some_and(|key| self.release(key))
    }

    fn release(&self, key: Key) -> bool {
        let now = self.now();
        let was_in = self.0.prison.release(key, now).is_some();
        self.tell_released(was_in.into(), now);
        was_in
    }

    /// Lets everybody out, and forgets all strikes and relapses. Lists stay.
    pub fn unban_all(&self) {
        let now = self.now();
        let mut count = 0;
        self.0.prison.for_each(now, |_| count += 1);
        self.0.prison.release_all();
        self.tell_released(count, now);
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

    /// What is known of each published list.
    #[must_use]
    pub fn feeds(&self) -> Vec<FeedState> {
        self.0.feeds.states(SystemTime::now())
    }

    /// Reads those lists again whose files have changed, and drops those that are stale. True if anything has changed.
    ///
    /// Reads and sorts files: call it where blocking is allowed. The [caretaker](Self::caretaker) does.
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn reload_feeds(&self) -> bool {
        let rules = self.rules();
        match self.0.feeds.reload(&rules.never, SystemTime::now()) {
            Some((listed, from)) => {
                let to = records(&listed);
                let now = self.now();
                self.0.prison.set_lists(listed, now);
                let what = "listed";
                let change = Change::Limit { what, from, to };
                self.0.reporter.report(now, EventKind::Change(change));
                true
            }
            None => false,
        }
    }

    /// Writes all sentences to the [file](JailConfig::file), if there is one and anything has changed: a new file that
    /// takes the old one's place, so that one of them is always whole. Past sentences are in it as well, until they are
    /// forgiven: a restart is no amnesty.
    ///
    /// Blocks. Call it before the process ends; the [caretaker](Self::caretaker) calls it now and then.
    ///
    /// # Errors
    /// The file's.
    pub fn save(&self) -> io::Result<()> {
        let Some(path) = &self.0.file else {
            return Ok(());
        };
        let mut saved = lock(&self.0.saving);
        let changes = self.0.changes.load(Ordering::Acquire);
        if *saved == Some(changes) && path.exists() {
            return Ok(());
        }
        let (now, terms) = (self.now(), self.terms());
        let mut inmates = Vec::new();
        self.0
            .prison
            .for_each_known(&terms, now, |inmate| inmates.push(inmate));
        file::write(path, &inmates, Calendar::new(now, SystemTime::now()))?;
        *saved = Some(changes);
        Ok(())
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

    /// Looks after the jail for as long as it is used: reads changed lists, drops stale ones, saves sentences, keeps
    /// the filter sharp. Spawn it once; it ends when the last handle is dropped.
    ///
    /// Everything that blocks runs on the runtime's blocking threads. What fails is logged and tried again.
    ///
    /// # Cancel safety
    /// Dropping it stops the looking after. Work that has begun is finished.
    pub fn caretaker(&self) -> impl Future<Output = ()> + Send + use<> {
        let jail = Arc::downgrade(&self.0);
        let every = self.0.check_every;
        async move {
            loop {
                tokio::time::sleep(every).await;
                let jail: Weak<Inner> = jail.clone();
                let Some(inner) = jail.upgrade() else { return };
                let work = tokio::task::spawn_blocking(move || Self(inner).look_after());
                // A panic in there has been reported by then; the next round may go better.
                let _ = work.await;
            }
        }
    }

    fn look_after(&self) {
        self.reload_feeds();
        self.0.prison.tidy(self.now());
        if let Err(error) = self.save() {
            tracing::warn!(target: "fusebox", %error, "sentences could not be saved");
        }
    }

    /// A number that no client knows.
    pub(crate) fn seed(&self) -> u64 {
        self.0.jitter.hash_one(1)
    }

    #[cfg(all(feature = "nftables", target_os = "linux"))]
    pub(crate) fn downgrade(&self) -> WeakJail {
        WeakJail(Arc::downgrade(&self.0))
    }

    /// Says how often who is in, or whether it is acted on, has changed.
    #[cfg(all(feature = "nftables", target_os = "linux"))]
    pub(crate) fn changes(&self) -> u64 {
        self.0.changes.load(Ordering::Acquire)
    }

    #[cfg(all(feature = "nftables", target_os = "linux"))]
    pub(crate) fn inmates(&self, now: Timestamp, show: impl FnMut(Inmate)) {
        self.0.prison.for_each(now, show);
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

/// What the client of a request is in the jail: its whole address decides, as it does at accept and in lists. The key that
/// limiters share is cut to the resolver's prefix, and would name another /64 where that is shorter.
fn key_of(client: &ClientIdentity) -> Option<Key> {
    match client.address() {
        Some(address) => Key::of_peer(address),
        None => Key::of_bits(client.key().to_bits()),
    }
}

/// How many records lists have in all.
pub(crate) fn records(listed: &[Listed]) -> u64 {
    listed.iter().map(|list| list.networks.len() as u64).sum()
}

/// A jail that does not live for whoever has this.
#[cfg(all(feature = "nftables", target_os = "linux"))]
pub(crate) struct WeakJail(Weak<Inner>);

#[cfg(all(feature = "nftables", target_os = "linux"))]
impl WeakJail {
    pub(crate) fn upgrade(&self) -> Option<Jail> {
        self.0.upgrade().map(Jail)
    }
}

impl Inner {
    #[inline]
    fn now(&self) -> Timestamp {
        self.clock.now() + PAST
    }
}

impl Live for Inner {
    fn layer(&self) -> LayerKind {
        LayerKind::Blackhole
    }

    fn name(&self) -> Name {
        self.reporter.policy().clone()
    }

    fn snapshot(&self) -> Snapshot {
        let now = self.now();
        let (mut clients, mut networks) = (0, 0);
        self.prison
            .for_each(now, |inmate| match inmate.key.width() {
                crate::engine::Width::Client => clients += 1,
                _ => networks += 1,
            });
        let feeds = self.feeds.states(SystemTime::now());
        let listed = feeds.iter().map(|feed| feed.records as u64).sum();
        let stale = feeds
            .iter()
            .filter(|feed| feed.stale)
            .fold(0, |count, _| count + 1);
        let broken = feeds
            .iter()
            .filter(|feed| feed.error.is_some())
            .fold(0, |count, _| count + 1);
        let mut snapshot = Snapshot::new(LayerKind::Blackhole, Live::name(self), self.mode.get())
            .with("jailed", Value::Gauge(clients))
            .with("jailed_networks", Value::Gauge(networks))
            .with("capacity", Value::Gauge(self.prison.capacity() as u64))
            .with("memory_bytes", Value::Gauge(self.prison.memory() as u64))
            .with(
                "strikes",
                Value::Count(self.strikes.load(Ordering::Relaxed)),
            )
            .with(
                "sentences",
                Value::Count(self.sentences.load(Ordering::Relaxed)),
            )
            .with("listed", Value::Gauge(listed))
            .with("feeds_stale", Value::Gauge(stale))
            .with("feeds_refused", Value::Gauge(broken));
        snapshot.fields.extend(self.reporter.stats(now).fields());
        snapshot
    }

    fn mode(&self) -> Mode {
        self.mode.get()
    }

    fn set_mode(&self, mode: Mode) {
        let from = self.mode.get();
        self.mode.set(mode);
        self.changes.fetch_add(1, Ordering::Release);
        let change = Change::Mode { from, to: mode };
        self.reporter.report(self.now(), EventKind::Change(change));
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
