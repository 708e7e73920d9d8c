//! Compiled rules, ready for traffic.

use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::budget::WorkBudget;
use crate::compile::{self, Program, Resolvers};
use crate::engine::{Scratch, State, Store, Transaction};
use crate::error::RulesetError;
use crate::parse::Sources;
use crate::pool::Pool;
use crate::resolver::{BlockLists, GeoDatabase};
use crate::warm;

/// Compiled rules: cheap to clone, shared by every transaction.
///
/// ```
/// use std::time::SystemTime;
/// use fusebox_seclang::Ruleset;
///
/// let rules = Ruleset::builder()
///     .text(
///         "rules.conf",
///         r#"
///         SecRuleEngine On
///         SecRule ARGS "@contains <script" "id:1,phase:2,deny,status:403,t:urlDecodeUni,t:lowercase,msg:'script'"
///         "#,
///     )
///     .build()?;
///
/// let mut tx = rules.transaction(SystemTime::now());
/// tx.request_line(b"GET", b"/search?q=%3CSCRIPT%3E", b"HTTP/1.1");
/// tx.request_header(b"Host", b"example.com");
/// assert!(tx.end_request_headers().is_none());
/// let stopped = tx.end_request_body().expect("rule 1 refuses it");
/// assert_eq!(stopped.rule_id(), 1);
/// # Ok::<(), fusebox_seclang::RulesetError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Ruleset {
    pub(crate) shared: Arc<Shared>,
}

/// What transactions of one ruleset share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) program: Program,
    pub(crate) store: Store,
    pub(crate) states: Pool<Box<State>>,
    pub(crate) scratches: Pool<Box<Scratch>>,
    unique: AtomicU64,
    seed: u64,
}

/// States kept for the next transactions, by each thread: a transaction lives as long as its request does, and a thread has
/// many of them under way.
const KEPT_STATES: usize = 16;

/// For how many threads everything is made ready at load: it takes a millisecond and two megabytes for each.
const MOST_WARM: usize = 16;

/// Scratches kept by each thread, which has one in use at a time; the others are those of threads that share its place.
const KEPT_SCRATCHES: usize = 2;

impl Ruleset {
    /// Rules from files and texts.
    #[must_use]
    pub fn builder() -> RulesetBuilder {
        RulesetBuilder::default()
    }

    /// A transaction for one request and its response. `now` is what the TIME variables show and what `initcol` counts from.
    #[must_use]
    pub fn transaction(&self, now: SystemTime) -> Transaction {
        let mut state = self
            .shared
            .states
            .take()
            .unwrap_or_else(|| Box::new(State::new()));
        let unix = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let count = self.shared.unique.fetch_add(1, Ordering::Relaxed);
        state.begin(&self.shared.program, unix, self.shared.seed ^ count);
        Transaction::new(Arc::clone(&self.shared), state)
    }

    /// How many rules there are after removals and after those that can never match were dropped; chained rules count.
    #[must_use]
    pub fn rules(&self) -> usize {
        self.shared.program.rules.len()
    }

    /// Directives that were read and change nothing here, because they are about files or processes of a server.
    pub fn without_effect(&self) -> impl Iterator<Item = &'static str> {
        self.shared.program.settings.without_effect.iter().copied()
    }
}

/// Collects the sources of a [`Ruleset`], in the order in which they take effect.
#[derive(Clone, Debug, Default)]
pub struct RulesetBuilder {
    sources: Vec<Source>,
    plain: bool,
    budget: WorkBudget,
    resolvers: Resolvers,
}

#[derive(Clone, Debug)]
enum Source {
    Text {
        name: String,
        folder: PathBuf,
        text: String,
    },
    File(PathBuf),
    Crs(PathBuf),
}

impl Shared {
    /// One that is free, or another one.
    pub(crate) fn scratch(&self) -> Box<Scratch> {
        let free = self.scratches.take();
        free.unwrap_or_else(|| Box::new(Scratch::new(&self.program)))
    }
}

impl RulesetBuilder {
    /// Adds directives; `name` stands for the file in errors. Files that they name are looked up in the working directory.
    #[must_use]
    pub fn text(self, name: &str, text: &str) -> Self {
        self.text_in(name, ".", text)
    }

    /// Adds directives whose files are looked up in `folder`.
    #[must_use]
    pub fn text_in(mut self, name: &str, folder: impl AsRef<Path>, text: &str) -> Self {
        self.sources.push(Source::Text {
            name: name.to_owned(),
            folder: folder.as_ref().to_owned(),
            text: text.to_owned(),
        });
        self
    }

    /// Adds a file.
    #[must_use]
    pub fn file(mut self, path: impl AsRef<Path>) -> Self {
        self.sources.push(Source::File(path.as_ref().to_owned()));
        self
    }

    /// Adds the OWASP Core Rule Set in `folder`: `crs-setup.conf` (or its example, if there is no other) and `rules/*.conf` in
    /// the order of their names.
    #[must_use]
    pub fn crs(mut self, folder: impl AsRef<Path>) -> Self {
        self.sources.push(Source::Crs(folder.as_ref().to_owned()));
        self
    }

    /// Bounds the work for one transaction.
    #[must_use]
    pub const fn budget(mut self, budget: WorkBudget) -> Self {
        self.budget = budget;
        self
    }

    /// Answers `@rbl`, which is an error without it.
    #[must_use]
    pub fn block_lists(mut self, lists: impl BlockLists + 'static) -> Self {
        self.resolvers.block_lists = Some(Arc::new(lists));
        self
    }

    /// Answers `@geoLookup`, which is an error without it, and so is the `GEO` collection.
    #[must_use]
    pub fn geo_database(mut self, database: impl GeoDatabase + 'static) -> Self {
        self.resolvers.geo = Some(Arc::new(database));
        self
    }

    /// Turns off everything that only makes it faster: nothing is decided at load and every rule looks at every value.
    ///
    /// The reference of the differential tests. Hundreds of times slower on some traffic.
    #[must_use]
    pub const fn plain(mut self) -> Self {
        self.plain = true;
        self
    }

    /// Parses and compiles.
    ///
    /// # Errors
    /// [`RulesetError`] for the first thing that cannot be read, understood or honoured.
    pub fn build(self) -> Result<Ruleset, RulesetError> {
        let mut sources = Sources::default();
        for source in &self.sources {
            match source {
                Source::Text { name, folder, text } => sources.text(name, folder, text)?,
                Source::File(path) => sources.file(path)?,
                Source::Crs(folder) => crs(&mut sources, folder)?,
            }
        }
        let mut program = compile::compile(&sources, &self.resolvers, !self.plain)?;
        program.budget = self.budget;
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        let mut rules = Ruleset {
            shared: Arc::new(Shared {
                program,
                store: Store::new(),
                states: Pool::new(threads, KEPT_STATES),
                scratches: Pool::new(threads, KEPT_SCRATCHES),
                unique: AtomicU64::new(0),
                // The only randomness there is; UNIQUE_ID must differ between processes.
                seed: RandomState::new().hash_one(0),
            }),
        };
        warm::warm(&rules, threads.min(MOST_WARM));
        // Nobody else has it yet, so what the made-up requests counted is forgotten.
        if let Some(shared) = Arc::get_mut(&mut rules.shared) {
            shared.store = Store::new();
        }
        Ok(rules)
    }
}

fn crs(sources: &mut Sources, folder: &Path) -> Result<(), RulesetError> {
    let own = folder.join("crs-setup.conf");
    if own.is_file() {
        sources.file(&own)?;
    } else {
        sources.file(&folder.join("crs-setup.conf.example"))?;
    }
    sources.text("crs", folder, "Include rules/*.conf")
}
