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
pub(crate) struct Feeds {
    configs: Box<[FeedConfig]>,
    /// Held while files are read and tables are built, so that one reading is in force before the next one begins: of two at
    /// once the older could be the last to be done. Nobody else waits for it.
    reading: Mutex<()>,
    /// In the order of the settings. Held for no longer than it takes to copy or replace one: operators ask.
    feeds: Mutex<Vec<Feed>>,
}

#[derive(Clone, Debug, Default)]
struct Feed {
    networks: Arc<[Network]>,
    /// The version that the records are from.
    seen: Option<Seen>,
    /// The version that was refused: no better the next time.
    refused: Option<Seen>,
    error: Option<Arc<FeedError>>,
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
        for config in &configs {
            let mut feed = Feed::default();
            feed.read_again(config, never);
            if let Some(error) = feed.error.take().and_then(Arc::into_inner) {
                return Err((config.name.clone(), error));
            }
            feed.stale = feed.is_stale(config, now);
            feeds.push(feed);
        }
        Ok(Self {
            configs: configs.into(),
            reading: Mutex::new(()),
            feeds: Mutex::new(feeds),
        })
    }

    /// Reads those whose files have changed. If something else than before is in force now, `apply` is given it, with how
    /// many records were before, and is done before anybody reads again.
    pub(crate) fn reload(
        &self,
        never: &Never,
        now: SystemTime,
        apply: impl FnOnce(Vec<Listed>, u64),
    ) -> bool {
        let _reading = lock(&self.reading);
        let mut feeds = lock(&self.feeds).clone();
        let before = records(&in_force(&feeds));
        let mut changed = false;
        for (feed, config) in feeds.iter_mut().zip(&self.configs) {
            changed |= feed.read_again(config, never);
            let stale = feed.is_stale(config, now);
            changed |= stale != feed.stale;
            feed.stale = stale;
        }
        if changed {
            apply(in_force(&feeds), before);
        }
        *lock(&self.feeds) = feeds;
        changed
    }

    pub(crate) fn in_force(&self) -> Vec<Listed> {
        in_force(&lock(&self.feeds))
    }

    /// The list with this number.
    pub(crate) fn name(&self, number: u8) -> Option<Name> {
        let config = self.configs.get(usize::from(number))?;
        Some(config.name.clone())
    }

    pub(crate) fn states(&self, now: SystemTime) -> Vec<FeedState> {
        let feeds = lock(&self.feeds);
        let state = |(feed, config): (&Feed, &FeedConfig)| FeedState {
            name: config.name.clone(),
            records: if feed.stale { 0 } else { feed.networks.len() },
            age: feed.age(now),
            stale: feed.stale,
            error: feed.error.as_ref().map(ToString::to_string),
        };
        feeds.iter().zip(&self.configs).map(state).collect()
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
    fn read_again(&mut self, config: &FeedConfig, never: &Never) -> bool {
        let seen = match look(&config.path) {
            Ok(seen) if Some(seen) == self.seen => {
                // Also when something else was there in between.
                (self.refused, self.error) = (None, None);
                return false;
            }
            Ok(seen) if Some(seen) == self.refused => return false,
            Ok(seen) => seen,
            Err(error) => {
                self.refuse(config, None, FeedError::Io(error));
                return false;
            }
        };
        match self.read(config, never) {
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
                self.refuse(config, is_final.then_some(seen), error);
                false
            }
        }
    }

    fn read(&self, config: &FeedConfig, never: &Never) -> Result<Vec<Network>, FeedError> {
        let FeedConfig { format, limits, .. } = config;
        let most = limits.most_bytes();
        let file = fs::File::open(&config.path).map_err(FeedError::Io)?;
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
    fn refuse(&mut self, config: &FeedConfig, refused: Option<Seen>, error: FeedError) {
        let known = self.error.as_ref().map(ToString::to_string);
        if known != Some(error.to_string()) || refused != self.refused {
            tracing::warn!(target: "fusebox", feed = %config.name, %error, "feed refused");
        }
        (self.refused, self.error) = (refused, Some(Arc::new(error)));
    }

    fn age(&self, now: SystemTime) -> Option<Duration> {
        // A file from the future is as good as new.
        self.seen
            .map(|seen| now.duration_since(seen.modified).unwrap_or_default())
    }

    fn is_stale(&self, config: &FeedConfig, now: SystemTime) -> bool {
        match (config.stale_after, self.age(now)) {
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    struct File(std::path::PathBuf);

    impl Drop for File {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    /// While one reading is being put in force, operators are answered, and another reading waits for it.
    #[test]
    fn a_reading_that_takes_long_holds_nobody_up_and_is_never_overtaken() {
        let path = std::env::temp_dir().join(format!("fusebox-feeds-{}", std::process::id()));
        let file = File(path.clone());
        let write = |networks: &str, seconds| {
            fs::write(&path, networks).unwrap();
            let file = fs::File::options().write(true).open(&path).unwrap();
            let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            file.set_modified(modified).unwrap();
        };
        write("192.0.2.0/24\n", 1);
        let never = Never::default();
        let now = SystemTime::now();
        let feeds = Feeds::open(vec![FeedConfig::new("list", &path)], &never, now).unwrap();
        let in_force = Mutex::new(Vec::new());
        let put = |listed: Vec<Listed>| *lock(&in_force) = listed;
        let (begun, has_begun) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel();
        std::thread::scope(|scope| {
            let (feeds, never, put) = (&feeds, &never, &put);
            write("192.0.2.0/25\n", 2);
            scope.spawn(move || {
                feeds.reload(never, now, |listed, _| {
                    begun.send(()).unwrap();
                    may_go_on.recv().unwrap();
                    put(listed);
                })
            });
            has_begun.recv().unwrap();
            assert_eq!(feeds.name(0), Some("list".into()));
            assert_eq!(feeds.states(now)[0].records, 1);
            write("192.0.2.0/26\n", 3);
            let second = scope.spawn(move || feeds.reload(never, now, |listed, _| put(listed)));
            go_on.send(()).unwrap();
            assert!(second.join().unwrap());
        });
        let networks = lock(&in_force)[0].networks.clone();
        assert_eq!(networks[0].to_string(), "192.0.2.0/26", "the newer one");
        drop(file);
    }
}
