//! The write-ahead log, made large before anybody waits for it.

use sqlx::{Connection, SqlitePool};

/// What 100 payments a second write in ten seconds, which is longer than any analytics query reads.
///
/// The log starts over when all of it is in the database and nobody reads from it any more; until then it
/// grows.
pub const LOG_SIZE: u32 = 32 * 1024 * 1024;

/// The last pages stay in SQLite's cache (2 MB by default) and never reach the log.
const CACHED: u32 = 4 * 1024 * 1024;

/// Stretches the log to [`LOG_SIZE`] for as long as the pool has an open connection.
///
/// A commit that overwrites a part of the log waits for one write. A commit that makes the log longer waits
/// for the file system's journal too, which the kernel writes from threads of its own; and those wait for a
/// processor behind a flood that computes, whatever the priority of the flood's threads. Measured with both
/// processors busy at low priority, 24 KiB and `fdatasync`: p99 0.3 ms to overwrite, 5 ms and more to append.
///
/// # Errors
///
/// Whatever SQLite says; the database holds the same as before in any case.
pub async fn stretch(pool: &SqlitePool) -> sqlx::Result<()> {
    let mut connection = pool.acquire().await?;
    // More than the page cache holds goes into the log before the commit, and stays there, unused, when the
    // commit never comes: the next transaction starts where this one did.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::raw_sql("CREATE TABLE filler (content BLOB) STRICT")
        .execute(&mut *transaction)
        .await?;
    sqlx::query("INSERT INTO filler (content) VALUES (zeroblob(?))")
        .bind(LOG_SIZE + CACHED)
        .execute(&mut *transaction)
        .await?;
    transaction.rollback().await?;

    // The first commit waits until all of that is on the disk. Better this one than a payment.
    sqlx::query(
        "INSERT INTO facts (name, value) VALUES ('opened_at', unixepoch()) \
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )
    .execute(&mut *connection)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{Database, Use};

    #[tokio::test]
    async fn the_log_is_long_and_the_database_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::prepare(directory.path()).await.unwrap();
        let pool = database.pool(Use::Payments, 2).await.unwrap();
        stretch(&pool).await.unwrap();

        let size = |file: &str| {
            std::fs::metadata(directory.path().join(file))
                .unwrap()
                .len()
        };
        assert!(size("shop.db-wal") >= u64::from(LOG_SIZE));
        assert!(size("shop.db") < 1024 * 1024, "{}", size("shop.db"));
        let tables: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM sqlite_schema WHERE name = 'filler'")
                .fetch_one(&pool)
                .await
                .unwrap();
        assert_eq!(tables, 0);

        // What is written next overwrites it: the file does not grow.
        let before = size("shop.db-wal");
        stretch(&pool).await.unwrap();
        assert!(size("shop.db-wal") <= before + 64 * 1024);
        pool.close().await;
    }
}
