//! The shop's database: one SQLite file, opened differently by each kind of traffic.

pub mod generator;
pub mod log;
pub mod seed;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{
    ConnectOptions, Connection, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

/// How long a connection waits for another one's lock before it gives up.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a request waits for a connection of its pool. Shorter than any request's own time limit,
/// so that the answer names the cause.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Which kind of traffic a connection serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Writes money: what is acknowledged is on the disk.
    Payments,
    /// Reads a lot and writes nothing.
    Analytics,
    /// Settles, adds up, moves the write-ahead log into the database.
    Jobs,
}

/// Where the database is, and how to open it.
#[derive(Clone, Debug)]
pub struct Database {
    file: PathBuf,
}

impl Database {
    /// The database in `directory`, which is created if need be.
    ///
    /// # Errors
    ///
    /// The directory cannot be created, or SQLite cannot set the file up.
    pub async fn prepare(directory: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let database = Self {
            file: directory.join("shop.db"),
        };
        let mut connection = database.connect().await?;
        sqlx::raw_sql(include_str!("schema.sql"))
            .execute(&mut connection)
            .await?;
        add_authorisations(&mut connection).await?;
        connection.close().await?;
        Ok(database)
    }

    /// One connection that may do anything, for set-up and for tests.
    ///
    /// # Errors
    ///
    /// SQLite cannot open the file.
    pub async fn connect(&self) -> sqlx::Result<SqliteConnection> {
        self.options(Use::Jobs)
            .create_if_missing(true)
            .connect()
            .await
    }

    /// A pool of `connections` connections, all of them open when this returns.
    ///
    /// Call it **inside** the compartment that will use the pool. sqlx runs each SQLite connection on
    /// a thread of its own, and on Linux a thread inherits the priority of the one that starts it: a
    /// pool opened inside a `nice` compartment reads and computes at that compartment's priority.
    ///
    /// # Errors
    ///
    /// SQLite cannot open the file.
    pub async fn pool(&self, purpose: Use, connections: u32) -> sqlx::Result<SqlitePool> {
        let pool = SqlitePoolOptions::new()
            .max_connections(connections)
            .min_connections(connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            // A file does not go away like a network peer: opening anew and pinging first buy nothing.
            .max_lifetime(None)
            .idle_timeout(None)
            .test_before_acquire(false)
            .connect_with(self.options(purpose))
            .await?;
        Ok(pool)
    }

    fn options(&self, purpose: Use) -> SqliteConnectOptions {
        let options = SqliteConnectOptions::new()
            .filename(&self.file)
            .busy_timeout(BUSY_TIMEOUT)
            .thread_name(move |number| format!("{purpose:?}-sql-{number}").to_lowercase())
            .disable_statement_logging();
        match purpose {
            // Readers do not block the writer in WAL mode, nor the writer them. FULL: the commit is on
            // the disk before the client hears of it. No automatic checkpoints: they would make every
            // thousandth page's payment pay for all the others; a job makes them instead.
            Use::Payments | Use::Jobs => options
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .pragma("wal_autocheckpoint", "0"),
            // The whole file is mapped: a scan of it is then read straight from the operating system's
            // page cache. Through SQLite's own cache it would take, page by page, a mutex that all
            // connections of the process share, payments' too, and would take it at low priority.
            Use::Analytics => options.read_only(true).pragma("mmap_size", "1073741824"),
        }
    }
}

/// Files that were made before payments were authorised lack the column.
async fn add_authorisations(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    let there: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM pragma_table_info('payments') WHERE name = 'authorisation'",
    )
    .fetch_one(&mut *connection)
    .await?;
    if there == 0 {
        sqlx::query("ALTER TABLE payments ADD COLUMN authorisation TEXT")
            .execute(connection)
            .await?;
    }
    Ok(())
}
