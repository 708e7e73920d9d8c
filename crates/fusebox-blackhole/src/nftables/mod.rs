//! The jail in the kernel: who is in is dropped before there is a connection.
//!
//! Sets of an nftables table of its own, with a timeout for each element, so that a sentence ends by itself even if the
//! process does not live to see it. What is to be there is compared with what is there once a second, if anything has
//! changed, and the difference is one transaction of the `nft` program, in its JSON form. At the start the table of
//! a process before is replaced as a whole. Whoever loads a firewall's rules anew flushes the table as well: every tenth
//! time it is looked whether it is still there, and made again if not.
//!
//! Connections that are open when their peer is dropped are closed, if a [gate](crate::Gate) let them in: no packet of theirs
//! would come any more, not even one that ends them.
//!
//! Only addresses can be dropped here, and only where the jail acts on all its decisions: in
//! [shadow mode](fusebox_core::Mode) and for a percentage the kernel drops nobody. Lists are not mirrored. Behind a
//! proxy the kernel sees the proxy, which can never be jailed; it is of use where clients connect directly.

mod script;

use std::{
    collections::{HashMap, HashSet},
    ffi::OsString,
    fmt, io,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fusebox_core::{Mode, Timestamp};
use tokio::{sync::oneshot, task::JoinHandle};

use self::script::Script;
use crate::{Jail, engine::Key, jail::WeakJail};

/// Elements in one run of `nft`: some 700 KB of text, and a second of the kernel's time at most.
const PER_RUN: usize = 10_000;
/// Looks at the jail between two looks at the table.
const ROUNDS: u32 = 10;
/// The longest name that nftables takes is 255 bytes; nobody wants to type them.
const LONGEST_NAME: usize = 64;

/// The settings of a [`Mirror`].
///
/// ```no_run
/// use fusebox_blackhole::{JailConfig, nftables::NftConfig};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let jail = JailConfig::new("edge").build()?;
/// let mirror = NftConfig::new().table("fusebox_edge").start(&jail).await?;
/// // ... serve ...
/// mirror.stop().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct NftConfig {
    table: String,
    program: Vec<OsString>,
    every: Duration,
    remove_at_stop: bool,
    ports: Ports,
}

/// Where packets are dropped.
#[derive(Clone, Debug)]
enum Ports {
    Only(Vec<u16>),
    AllBut(Vec<u16>),
}

/// Where whoever runs the server logs in.
const SSH: u16 = 22;

impl Default for NftConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl NftConfig {
    /// A table `fusebox` of the family `inet`, kept up to date each second by the program `nft`, and removed when the
    /// mirror is stopped. It drops packets for all ports but 22: whoever has banned their own address by accident can
    /// still log in and say so.
    pub fn new() -> Self {
        Self {
            table: "fusebox".to_owned(),
            program: vec!["nft".into()],
            every: Duration::from_secs(1),
            remove_at_stop: true,
            ports: Ports::AllBut(vec![SSH]),
        }
    }

    /// The name of the table. It is the mirror's own: whatever is in it is replaced. Letters, digits and `_`.
    pub fn table(mut self, name: impl Into<String>) -> Self {
        self.table = name.into();
        self
    }

    /// Drops packets for these TCP and UDP ports and no others: those of your service. What else the host has, and the
    /// answers to connections that it makes itself, is then no business of the jail's.
    pub fn ports(mut self, ports: impl IntoIterator<Item = u16>) -> Self {
        self.ports = Ports::Only(ports.into_iter().collect());
        self
    }

    /// Drops packets for all ports but these TCP and UDP ports. 22, if neither is set; none of them is a choice, too.
    pub fn all_ports_but(mut self, ports: impl IntoIterator<Item = u16>) -> Self {
        self.ports = Ports::AllBut(ports.into_iter().collect());
        self
    }

    /// How `nft` is called, where that takes more: `["sudo", "-n", "nft"]`, or `["ip", "netns", "exec", "edge", "nft"]`.
    pub fn program<T: Into<OsString>>(mut self, words: impl IntoIterator<Item = T>) -> Self {
        self.program = words.into_iter().map(Into::into).collect();
        self
    }

    /// How often it is looked whether anything has changed. 10 milliseconds or more.
    pub const fn every(mut self, time: Duration) -> Self {
        self.every = time;
        self
    }

    /// Whether [`Mirror::stop`] removes the table. Otherwise the sentences that run go on without the process.
    pub const fn remove_at_stop(mut self, remove: bool) -> Self {
        self.remove_at_stop = remove;
        self
    }

    /// Makes the table, with everybody in it who is in now, and keeps it up to date from then on.
    ///
    /// # Errors
    /// [`MirrorError`]: a setting that cannot be meant, no such program, or not the right (`CAP_NET_ADMIN`).
    pub async fn start(self, jail: &Jail) -> Result<Mirror, MirrorError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let starts_well = self
            .table
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphabetic());
        if !starts_well || !self.table.bytes().all(plain) || self.table.len() > LONGEST_NAME {
            return Err(MirrorError::Table { given: self.table });
        }
        if self.every < Duration::from_millis(10) {
            return Err(MirrorError::Every { given: self.every });
        }
        if self.program.is_empty() {
            return Err(MirrorError::NoProgram);
        }
        if matches!(&self.ports, Ports::Only(ports) if ports.is_empty()) {
            return Err(MirrorError::NoPorts);
        }
        let count = Arc::new(AtomicUsize::new(0));
        let kernel = Kernel {
            config: Arc::new(self),
            known: None,
            count: count.clone(),
        };
        let (changes, kernel) = (jail.changes(), kernel.follow(jail.clone()).await);
        let kernel = kernel?;
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(keep(kernel, jail.downgrade(), changes, stopped));
        Ok(Mirror { stop, task, count })
    }
}

/// The jail's copy in the kernel.
///
/// If it is dropped, the copy is kept up to date for as long as the jail is used; see [`stop`](Self::stop).
#[derive(Debug)]
pub struct Mirror {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), MirrorError>>,
    count: Arc<AtomicUsize>,
}

impl Mirror {
    /// How many are in the kernel's sets.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Whether nobody is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Stops, and removes the table unless it was [told not to](NftConfig::remove_at_stop).
    ///
    /// # Errors
    /// The table could not be removed.
    ///
    /// # Cancel safety
    /// Once it was polled, the mirror stops, whether or not anybody waits for the end.
    pub async fn stop(self) -> Result<(), MirrorError> {
        // If it is gone already, the task says why.
        let _ = self.stop.send(());
        self.task.await.unwrap_or(Err(MirrorError::Panicked))
    }
}

/// Why the kernel could not be told.
#[derive(Debug)]
#[non_exhaustive]
pub enum MirrorError {
    /// The name of the table is none.
    Table {
        /// What was given.
        given: String,
    },
    /// Nothing else would be done.
    Every {
        /// What was given.
        given: Duration,
    },
    /// No word of how `nft` is called.
    NoProgram,
    /// Nothing would ever be dropped.
    NoPorts,
    /// The program could not be run.
    Program(io::Error),
    /// The program, or the kernel, refused.
    Refused {
        /// What it said.
        said: String,
    },
    /// A bug in this module.
    Panicked,
}

impl fmt::Display for MirrorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table { given } => write!(
                f,
                "table: must be a letter and at most {LONGEST_NAME} letters, digits and `_` in all, got \"{given}\""
            ),
            Self::Every { given } => write!(f, "every: must be at least 10ms, got {given:?}"),
            Self::NoProgram => f.write_str("program: must be at least one word, got none"),
            Self::NoPorts => f.write_str("ports: must be at least one port, got none"),
            Self::Program(_) => f.write_str("nft could not be run"),
            Self::Refused { said } => write!(f, "nft: {said}"),
            Self::Panicked => f.write_str("the mirror panicked"),
        }
    }
}

impl std::error::Error for MirrorError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Program(error) => Some(error),
            _ => None,
        }
    }
}

async fn keep(
    mut kernel: Kernel,
    jail: WeakJail,
    mut seen: u64,
    mut stopped: oneshot::Receiver<()>,
) -> Result<(), MirrorError> {
    let mut may_be_stopped = true;
    let mut round = 0_u32;
    loop {
        tokio::select! {
            stop = &mut stopped, if may_be_stopped => {
                if stop.is_ok() {
                    return kernel.end().await;
                }
                // Dropped rather than stopped: it goes on.
                may_be_stopped = false;
            }
            () = tokio::time::sleep(kernel.config.every) => {}
        }
        let Some(jail) = jail.upgrade() else {
            return kernel.end().await;
        };
        round = round.wrapping_add(1);
        if round.is_multiple_of(ROUNDS) && !kernel.has_table().await {
            tracing::warn!(target: "fusebox", table = kernel.config.table, "the jail's table is gone and is made again");
            kernel = kernel.afresh();
        }
        let changes = jail.changes();
        if changes == seen && kernel.known.is_some() {
            continue;
        }
        let afresh = kernel.afresh();
        kernel = match kernel.follow(jail).await {
            Ok(kernel) => {
                seen = changes;
                kernel
            }
            Err(error) => {
                tracing::warn!(target: "fusebox", %error, "the jail could not be mirrored");
                // What is there is not known any more: next time all of it is replaced.
                afresh
            }
        };
    }
}

/// What the kernel has been told.
struct Kernel {
    config: Arc<NftConfig>,
    /// Until when each key is in; not known before the first run, and after one that failed.
    known: Option<HashMap<Key, Timestamp>>,
    count: Arc<AtomicUsize>,
}

impl Kernel {
    /// One that knows nothing yet.
    fn afresh(&self) -> Self {
        Self {
            config: self.config.clone(),
            known: None,
            count: self.count.clone(),
        }
    }

    /// Whether the chain is there, with the rules that the table was made with.
    async fn has_table(&self) -> bool {
        let config = self.config.clone();
        let look = tokio::task::spawn_blocking(move || {
            let [program, words @ ..] = &*config.program else {
                return false;
            };
            let output = Command::new(program)
                .args(words)
                .args(["list", "chain", "inet", &config.table, "drop"])
                .stdin(Stdio::null())
                .output();
            // The last rule that is made, so all are there.
            output.is_ok_and(|output| {
                let listed = String::from_utf8_lossy(&output.stdout);
                output.status.success() && listed.contains("@v6_48")
            })
        });
        look.await.unwrap_or(false)
    }

    /// Tells the kernel what is new.
    async fn follow(self, jail: Jail) -> Result<Self, MirrorError> {
        let work = tokio::task::spawn_blocking(move || self.follow_now(&jail));
        work.await.unwrap_or(Err(MirrorError::Panicked))
    }

    fn follow_now(mut self, jail: &Jail) -> Result<Self, MirrorError> {
        let now = jail.now();
        let mut wanted = HashMap::new();
        if jail.mode() == Mode::Enforce {
            jail.inmates(now, |inmate| {
                if inmate.key.network().is_some() {
                    wanted.insert(inmate.key, inmate.until);
                }
            });
        }
        let table = &self.config.table;
        let mut script = Script::default();
        let known = self.known.take().unwrap_or_else(|| {
            script.make_table(table, &self.config.ports);
            HashMap::new()
        });
        // Those whose time is up are gone by themselves.
        let gone = known
            .iter()
            .filter(|(key, until)| **until > now && !wanted.contains_key(key));
        for (key, until) in gone {
            script.remove(table, *key, until.since(now));
            if script.elements >= PER_RUN {
                std::mem::take(&mut script).run(&self.config.program)?;
            }
        }
        let mut dropped = HashSet::new();
        for (key, until) in wanted
            .iter()
            .filter(|(key, until)| known.get(key) != Some(until))
        {
            dropped.insert(*key);
            script.set(table, *key, until.since(now));
            if script.elements >= PER_RUN {
                std::mem::take(&mut script).run(&self.config.program)?;
            }
        }
        script.run(&self.config.program)?;
        // Nothing that their open connections do would be seen any more.
        if !dropped.is_empty() {
            jail.disconnect_all(&dropped);
        }
        self.count.store(wanted.len(), Ordering::Release);
        self.known = Some(wanted);
        Ok(self)
    }

    async fn end(self) -> Result<(), MirrorError> {
        if !self.config.remove_at_stop {
            return Ok(());
        }
        let work = tokio::task::spawn_blocking(move || {
            let mut script = Script::default();
            script.table("add", &self.config.table);
            script.table("delete", &self.config.table);
            script.run(&self.config.program)
        });
        work.await.unwrap_or(Err(MirrorError::Panicked))
    }
}
