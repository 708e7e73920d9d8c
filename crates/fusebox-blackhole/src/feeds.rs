//! The published lists of a jail: read again when their files change, dropped when they are stale.

use std::{
    fs,
    io::{self, Read as _},
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use fusebox_core::{Name, sync::lock};

use crate::{
    FeedConfig,
    engine::{FeedError, Listed, Network, Never, parse},
    jail::care::records,
};

/// All lists, and what was last seen of each.
#[derive(Debug, Default)]
pub(crate) struct Feeds(Mutex<Vec<Feed>>);

#[derive(Debug)]
struct Feed {
    config: FeedConfig,
    networks: Arc<[Network]>,
    /// The version that the records are from.
    seen: Option<Seen>,
    /// The version that was refused: no better the next time.
    refused: Option<Seen>,
    error: Option<FeedError>,
    stale: bool,
}

/// What tells one version of a file from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    modified: SystemTime,
    length: u64,
    /// Which file it is, and when anything about it changed: one that takes another's place may have its length and its
    /// time of modification as well, and who copies a file may keep the time.
    #[cfg(unix)]
    inode: (u64, u64, i64, i64),
}

/// What is known of a list.
#[derive(Clone, Debug)]
pub struct FeedState {
    /// Its name.
    pub name: Name,
    /// How many records are in force.
    pub records: usize,
    /// How old the file is that they are from.
    pub age: Option<Duration>,
    /// Whether it is too old, and therefore not in force.
    pub stale: bool,
    /// What was wrong with the last version of the file, if that was refused.
    pub error: Option<String>,
}

impl Feeds {
    /// Reads all of them for the first time.
    pub(crate) fn open(
        configs: Vec<FeedConfig>,
        never: &Never,
        now: SystemTime,
    ) -> Result<Self, (Name, FeedError)> {
        let mut feeds = Vec::with_capacity(configs.len());
        for config in configs {
            let mut feed = Feed {
                config,
                networks: Arc::new([]),
                seen: None,
                refused: None,
                error: None,
                stale: false,
            };
            feed.read_again(never);
            if let Some(error) = feed.error {
                return Err((feed.config.name, error));
            }
            feed.stale = feed.is_stale(now);
            feeds.push(feed);
        }
        Ok(Self(Mutex::new(feeds)))
    }

    /// Reads those whose files have changed. What is in force now, if that is something else than before, and how many
    /// records were before.
    pub(crate) fn reload(&self, never: &Never, now: SystemTime) -> Option<(Vec<Listed>, u64)> {
        let mut feeds = lock(&self.0);
        let before = records(&in_force(&feeds));
        let mut changed = false;
        for feed in &mut *feeds {
            changed |= feed.read_again(never);
            let stale = feed.is_stale(now);
            changed |= stale != feed.stale;
            feed.stale = stale;
        }
        changed.then(|| (in_force(&feeds), before))
    }

    pub(crate) fn in_force(&self) -> Vec<Listed> {
        in_force(&lock(&self.0))
    }

    /// The list with this number.
    pub(crate) fn name(&self, number: u8) -> Option<Name> {
        lock(&self.0)
            .get(usize::from(number))
            .map(|feed| feed.config.name.clone())
    }

    pub(crate) fn states(&self, now: SystemTime) -> Vec<FeedState> {
        let feeds = lock(&self.0);
        let state = |feed: &Feed| FeedState {
            name: feed.config.name.clone(),
            records: if feed.stale { 0 } else { feed.networks.len() },
            age: feed.age(now),
            stale: feed.stale,
            error: feed.error.as_ref().map(ToString::to_string),
        };
        feeds.iter().map(state).collect()
    }
}

fn in_force(feeds: &[Feed]) -> Vec<Listed> {
    let numbered = feeds.iter().zip(0_u8..).filter(|(feed, _)| !feed.stale);
    let listed = numbered.map(|(feed, number)| Listed {
        number,
        networks: feed.networks.clone(),
    });
    listed.collect()
}

impl Feed {
    /// Reads the file if it is another than the last time; true if its records are in force now.
    fn read_again(&mut self, never: &Never) -> bool {
        let seen = match look(&self.config.path) {
            Ok(seen) if Some(seen) == self.seen => {
                // Also when something else was there in between.
                (self.refused, self.error) = (None, None);
                return false;
            }
            Ok(seen) if Some(seen) == self.refused => return false,
            Ok(seen) => seen,
            Err(error) => {
                self.refuse(None, FeedError::Io(error));
                return false;
            }
        };
        match self.read(never) {
            Ok(networks) => {
                // What changed between the look and the reading is seen the next time.
                self.seen = Some(seen);
                self.networks = networks.into();
                (self.refused, self.error) = (None, None);
                true
            }
            Err(error) => {
                // What could not be read may be readable the next time; what is wrong stays wrong.
                let is_final = !matches!(error, FeedError::Io(_));
                self.refuse(is_final.then_some(seen), error);
                false
            }
        }
    }

    fn read(&self, never: &Never) -> Result<Vec<Network>, FeedError> {
        let FeedConfig { format, limits, .. } = &self.config;
        let most = limits.most_bytes();
        let file = fs::File::open(&self.config.path).map_err(FeedError::Io)?;
        let mut bytes = Vec::new();
        file.take(most.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(FeedError::Io)?;
        if bytes.len() as u64 > most {
            return Err(FeedError::TooLarge { most });
        }
        let before = self.seen.map(|_| self.networks.len());
        parse(&bytes, *format, limits, never, before)
    }

    /// The old list stays in force. Said once, and not each time it is looked at.
    fn refuse(&mut self, refused: Option<Seen>, error: FeedError) {
        let known = self.error.as_ref().map(ToString::to_string);
        if known != Some(error.to_string()) || refused != self.refused {
            tracing::warn!(target: "fusebox", feed = %self.config.name, %error, "feed refused");
        }
        (self.refused, self.error) = (refused, Some(error));
    }

    fn age(&self, now: SystemTime) -> Option<Duration> {
        // A file from the future is as good as new.
        self.seen
            .map(|seen| now.duration_since(seen.modified).unwrap_or_default())
    }

    fn is_stale(&self, now: SystemTime) -> bool {
        match (self.config.stale_after, self.age(now)) {
            (Some(limit), Some(age)) => age > limit,
            _ => false,
        }
    }
}

fn look(path: &Path) -> io::Result<Seen> {
    let file = fs::metadata(path)?;
    Ok(Seen {
        modified: file.modified()?,
        length: file.len(),
        #[cfg(unix)]
        inode: {
            use std::os::unix::fs::MetadataExt as _;
            (file.dev(), file.ino(), file.ctime(), file.ctime_nsec())
        },
    })
}
