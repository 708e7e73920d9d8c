//! What a jail is made of.

use std::{fmt, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use fusebox_core::{Mode, Name, Observer, Registration};
use fusebox_http::identity::IdentityResolver;

use crate::{
    Jail,
    engine::{
        FeedFormat, FeedLimits, FeedLimitsError, Network, NetworkError, Never, Rules, Terms,
        TermsError,
    },
};

/// Sixty-five thousand: some 2.7 MB, and more than were ever in at once on most services.
const DEFAULT_CAPACITY: usize = 1 << 16;
/// 64 million: some 2.8 GB.
const LARGEST_CAPACITY: usize = 1 << 26;
/// Lists are numbered with eight bits.
const MOST_FEEDS: usize = 255;
/// How often feeds are looked at and sentences are saved.
const DEFAULT_CHECK_EVERY: Duration = Duration::from_secs(10);

/// The settings of a [`Jail`]; [`build`](Self::build) makes it.
///
/// ```
/// use std::time::Duration;
/// use fusebox_blackhole::{FeedConfig, FeedFormat, JailConfig, Terms};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = std::env::temp_dir().join("fusebox-config-example");
/// # std::fs::create_dir_all(&dir)?;
/// # std::fs::write(dir.join("drop.txt"), "192.0.2.0/24 ; SBL1\n")?;
/// let jail = JailConfig::new("edge")
///     .terms(Terms::default().max_strikes(5).find_time(Duration::from_secs(600)))
///     .trusted_proxies(["203.0.113.0/28"])
///     .never(["198.51.100.0/24"])
///     .feed(FeedConfig::new("drop", dir.join("drop.txt")).format(FeedFormat::SpamhausDrop))
///     .build()?;
/// assert!(jail.why([192, 0, 2, 7].into()).is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct JailConfig {
    pub(crate) name: Name,
    pub(crate) terms: Terms,
    pub(crate) capacity: usize,
    never: Vec<(&'static str, String)>,
    protected: Vec<(IpAddr, IpAddr)>,
    pub(crate) feeds: Vec<FeedConfig>,
    pub(crate) file: Option<PathBuf>,
    pub(crate) check_every: Duration,
    pub(crate) mode: Mode,
    pub(crate) observers: Vec<Arc<dyn Observer>>,
    pub(crate) registration: Registration,
    pub(crate) seed: Option<u64>,
}

impl JailConfig {
    /// A jail of that name, with the default [`Terms`], room for 65536 clients, no lists and no file.
    pub fn new(name: impl Into<Name>) -> Self {
        Self {
            name: name.into(),
            terms: Terms::default(),
            capacity: DEFAULT_CAPACITY,
            never: Vec::new(),
            protected: Vec::new(),
            feeds: Vec::new(),
            file: None,
            check_every: DEFAULT_CHECK_EVERY,
            mode: Mode::Enforce,
            observers: Vec::new(),
            registration: Registration::Global,
            seed: None,
        }
    }

    /// How many strikes lead in, and for how long.
    pub const fn terms(mut self, terms: Terms) -> Self {
        self.terms = terms;
        self
    }

    /// Room for about so many clients, with strikes or in. All memory for them is taken at once: some 43 bytes each, and
    /// 150 KB.
    ///
    /// A full jail gives up what is worth least: strikes before sentences, and where all that are in a place are in, the
    /// sentence that ends soonest, so that there is always room to judge somebody new. The snapshot has both counted
    /// (`forgotten_for_room`, `freed_for_room`), and the [caretaker](Jail::caretaker) warns.
    pub const fn capacity(mut self, clients: usize) -> Self {
        self.capacity = clients;
        self
    }

    /// Adds networks that can never be jailed nor listed: CIDR blocks or addresses. Loopback is among them anyway.
    pub fn never<T: Into<String>>(mut self, networks: impl IntoIterator<Item = T>) -> Self {
        self.never.extend(
            networks
                .into_iter()
                .map(|network| ("never", network.into())),
        );
        self
    }

    /// Adds the networks of your proxies; they can never be jailed nor listed, because each of them stands for many
    /// clients. Where there is an [`IdentityResolver`], [`identity`](Self::identity) has them already.
    pub fn trusted_proxies<T: Into<String>>(
        mut self,
        networks: impl IntoIterator<Item = T>,
    ) -> Self {
        self.never.extend(
            networks
                .into_iter()
                .map(|network| ("trusted_proxies", network.into())),
        );
        self
    }

    /// Adds the trusted proxies of this resolver, those of a CDN's header among them; see
    /// [`trusted_proxies`](Self::trusted_proxies).
    ///
    /// A layer that is built with a resolver protects them by itself. Given here as well, a list that has one of them is
    /// refused when the jail is built, and not only when it changes.
    pub fn identity(mut self, resolver: &IdentityResolver) -> Self {
        self.protected.extend(resolver.trusted_ranges());
        self
    }

    /// Adds a published list. It must be readable when the jail is built; later, what is wrong with a new version of
    /// it leaves the old one in force.
    pub fn feed(mut self, feed: FeedConfig) -> Self {
        self.feeds.push(feed);
        self
    }

    /// Keeps sentences in this file over a restart. It is written by [`Jail::save`], which the
    /// [caretaker](Jail::caretaker) calls, and read once, when the jail is built.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// How often the [caretaker](Jail::caretaker) looks at the feeds' files and saves sentences. 10 seconds; at least
    /// a second.
    pub const fn check_every(mut self, time: Duration) -> Self {
        self.check_every = time;
        self
    }

    /// Whether to act on what is decided; see [`Mode`].
    pub const fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Adds someone who hears every event.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.push(observer);
        self
    }

    /// Where the handle is listed.
    pub fn registration(mut self, registration: Registration) -> Self {
        self.registration = registration;
        self
    }

    /// The secret that spreads clients over the table. Random if it is not set, and better so: set it in tests.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Makes the jail: reads the feeds and the file.
    ///
    /// # Errors
    /// [`JailConfigError`] names the setting and what is wrong with it.
    pub fn build(self) -> Result<Jail, JailConfigError> {
        self.terms.check().map_err(JailConfigError::Terms)?;
        if self.capacity == 0 || self.capacity > LARGEST_CAPACITY {
            return Err(JailConfigError::Capacity {
                given: self.capacity,
                most: LARGEST_CAPACITY,
            });
        }
        if self.check_every < Duration::from_secs(1) {
            return Err(JailConfigError::CheckEvery {
                given: self.check_every,
            });
        }
        if self.feeds.len() > MOST_FEEDS {
            return Err(JailConfigError::TooManyFeeds {
                given: self.feeds.len(),
                most: MOST_FEEDS,
            });
        }
        for FeedConfig { name, limits, .. } in &self.feeds {
            limits
                .check()
                .map_err(|reason| JailConfigError::FeedLimits {
                    name: name.clone(),
                    reason,
                })?;
        }
        let never: Result<Vec<Network>, _> = self
            .never
            .iter()
            .map(|(field, network)| {
                network
                    .trim()
                    .parse()
                    .map_err(|reason| JailConfigError::Network {
                        field,
                        value: network.clone(),
                        reason,
                    })
            })
            .collect();
        let rules = Rules {
            terms: self.terms,
            never: Never::new(never?).and_ranges(self.protected.iter().copied()),
        };
        Jail::open(self, rules)
    }
}

impl fmt::Debug for JailConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JailConfig")
            .field("name", &self.name)
            .field("terms", &self.terms)
            .field("capacity", &self.capacity)
            .field("never", &self.never)
            .field("feeds", &self.feeds)
            .field("file", &self.file)
            .field("check_every", &self.check_every)
            .field("mode", &self.mode)
            .field("observers", &self.observers.len())
            .finish_non_exhaustive()
    }
}

/// A published list in a file that something else keeps up to date, such as a timer with `curl`.
///
/// Write it to another name and rename it: a file that is read while it is written is half a list, and
/// [`FeedLimits`] notices that only if the other half is large.
#[derive(Clone, Debug)]
#[must_use]
pub struct FeedConfig {
    pub(crate) name: Name,
    pub(crate) path: PathBuf,
    pub(crate) format: FeedFormat,
    pub(crate) limits: FeedLimits,
    pub(crate) stale_after: Option<Duration>,
}

impl FeedConfig {
    /// The list of that name, in that file, written [plainly](FeedFormat::Plain).
    pub fn new(name: impl Into<Name>, path: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            path: path.into(),
            format: FeedFormat::default(),
            limits: FeedLimits::default(),
            stale_after: None,
        }
    }

    /// How it is written.
    pub const fn format(mut self, format: FeedFormat) -> Self {
        self.format = format;
        self
    }

    /// How it may change.
    pub const fn limits(mut self, limits: FeedLimits) -> Self {
        self.limits = limits;
        self
    }

    /// When its file was not modified for so long, it is not in force any more: addresses change hands. Never, if not
    /// set.
    pub const fn stale_after(mut self, age: Duration) -> Self {
        self.stale_after = Some(age);
        self
    }
}

/// What is wrong with a [`JailConfig`].
#[derive(Debug)]
#[non_exhaustive]
pub enum JailConfigError {
    /// The terms.
    Terms(TermsError),
    /// No room, or more than is possible.
    Capacity {
        /// What was given.
        given: usize,
        /// What is possible.
        most: usize,
    },
    /// The caretaker would do nothing else.
    CheckEvery {
        /// What was given.
        given: Duration,
    },
    /// More lists than can be numbered.
    TooManyFeeds {
        /// What was given.
        given: usize,
        /// What is possible.
        most: usize,
    },
    /// A network that is none.
    Network {
        /// Which setting.
        field: &'static str,
        /// What was given.
        value: String,
        /// What is wrong with it.
        reason: NetworkError,
    },
    /// Limits that a list cannot keep.
    FeedLimits {
        /// Which list's.
        name: Name,
        /// What is wrong with them.
        reason: FeedLimitsError,
    },
    /// A list that could not be read.
    Feed {
        /// Which.
        name: Name,
        /// What is wrong with it.
        reason: crate::engine::FeedError,
    },
    /// The file of sentences is there and could not be read.
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        reason: std::io::Error,
    },
}

impl fmt::Display for JailConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Terms(error) => error.fmt(f),
            Self::Capacity { given, most } => {
                write!(f, "capacity: must be between 1 and {most}, got {given}")
            }
            Self::CheckEvery { given } => {
                write!(f, "check_every: must be at least 1s, got {given:?}")
            }
            Self::TooManyFeeds { given, most } => {
                write!(f, "feed: at most {most} lists, got {given}")
            }
            Self::Network {
                field,
                value,
                reason,
            } => write!(f, "{field}: \"{value}\": {reason}"),
            Self::FeedLimits { name, reason } => write!(f, "feed \"{name}\": limits: {reason}"),
            Self::Feed { name, reason } => write!(f, "feed \"{name}\": {reason}"),
            Self::File { path, .. } => write!(f, "file: {} could not be read", path.display()),
        }
    }
}

impl std::error::Error for JailConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Terms(error) => Some(error),
            Self::Network { reason, .. } => Some(reason),
            Self::FeedLimits { reason, .. } => Some(reason),
            Self::Feed { reason, .. } => Some(reason),
            Self::File { reason, .. } => Some(reason),
            _ => None,
        }
    }
}
