//! Fills an empty database once, and all of it or nothing.

use sqlx::{
    AssertSqlSafe, Connection, SqliteConnection,
    query::Query,
    sqlite::{Sqlite, SqliteArguments},
};

use super::generator::{self, Order};

/// Rows in one `INSERT`. 7 columns of 500 rows are 3,500 parameters, far below SQLite's limit of
/// 32,766; larger batches gained nothing in measurement.
const ROWS_PER_INSERT: usize = 500;

/// What [`seed`] found or did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seeded {
    /// The database was empty and holds this many orders now.
    Now(u32),
    /// It had been seeded before, with this many; nothing was changed.
    Before(u32),
}

/// Fills the database with the catalogue and `orders` orders, unless that has been done before.
///
/// One transaction holds the rows and the fact that they are complete. A process that is killed
/// half-way leaves nothing, and of two processes that start at once the second finds the work done.
/// `progress` is called with the number of orders written so far.
///
/// # Errors
///
/// Whatever SQLite says; the database is then as it was.
pub async fn seed(
    connection: &mut SqliteConnection,
    orders: u32,
    mut progress: impl FnMut(u32),
) -> sqlx::Result<Seeded> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;

    let before: Option<u32> = sqlx::query_scalar("SELECT value FROM facts WHERE name = 'orders'")
        .fetch_optional(&mut *transaction)
        .await?;
    if let Some(before) = before {
        transaction.rollback().await?;
        return Ok(Seeded::Before(before));
    }

    insert_products(&mut transaction).await?;
    let mut batch = Vec::with_capacity(ROWS_PER_INSERT);
    let full = insert_statement(ROWS_PER_INSERT);
    let mut written = 0;
    for order in generator::orders(orders) {
        written = order.id;
        batch.push(order);
        if batch.len() == ROWS_PER_INSERT {
            // Cloning the text is nothing beside the insert; the prepared statement behind it is cached.
            insert_orders(&mut transaction, full.clone(), &batch).await?;
            batch.clear();
            progress(written);
        }
    }
    if !batch.is_empty() {
        insert_orders(&mut transaction, insert_statement(batch.len()), &batch).await?;
        progress(written);
    }

    sqlx::query("INSERT INTO facts (name, value) VALUES ('orders', ?)")
        .bind(orders)
        .execute(&mut *transaction)
        .await?;
    // After the rows: building the index once is faster than keeping it in order row by row.
    sqlx::raw_sql("CREATE INDEX IF NOT EXISTS orders_by_time ON orders (ordered_at)")
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;

    // The planner's statistics, and a write-ahead log that starts out empty. Neither is part of the
    // truth, so neither is part of the transaction.
    sqlx::raw_sql("ANALYZE; PRAGMA wal_checkpoint(TRUNCATE)")
        .execute(&mut *connection)
        .await?;
    Ok(Seeded::Now(orders))
}

async fn insert_products(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    for product in generator::products() {
        sqlx::query("INSERT INTO products (id, name, category, unit_price) VALUES (?, ?, ?, ?)")
            .bind(product.id)
            .bind(product.name)
            .bind(product.category)
            .bind(product.unit_price)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

fn insert_statement(rows: usize) -> String {
    let values = vec!["(?, ?, ?, ?, ?, ?, ?)"; rows].join(", ");
    format!(
        "INSERT INTO orders \
         (id, customer_id, product_id, quantity, amount, currency, ordered_at) VALUES {values}"
    )
}

async fn insert_orders(
    connection: &mut SqliteConnection,
    statement: String,
    orders: &[Order],
) -> sqlx::Result<()> {
    // Safe to assert: the text is made of constants and question marks only.
    let mut query: Query<'_, Sqlite, SqliteArguments> = sqlx::query(AssertSqlSafe(statement));
    for order in orders {
        query = query
            .bind(order.id)
            .bind(order.customer_id)
            .bind(order.product_id)
            .bind(order.quantity)
            .bind(order.amount)
            .bind(order.currency)
            .bind(order.ordered_at);
    }
    query.execute(connection).await?;
    Ok(())
}
