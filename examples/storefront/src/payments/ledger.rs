//! The transactions that move money. Everything that writes to the ledger is in this file.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use sqlx::{Row, SqliteConnection, SqlitePool, sqlite::SqliteRow};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::request::{IdempotencyKey, NewPayment};

/// What customers owe until their payment is settled; a debit account.
const RECEIVABLE: &str = "receivable";
/// What is promised to the shop.
const PENDING: &str = "merchant_pending";
/// What the shop may spend.
const AVAILABLE: &str = "merchant_available";

/// A payment as it is on the books.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Payment {
    /// A UUIDv7.
    pub id: String,
    /// The order it is for.
    pub order_id: i64,
    /// Minor units of `currency`.
    pub amount: i64,
    /// ISO 4217.
    pub currency: String,
    /// The authoriser's word for it; payments from before there was one have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorisation: Option<String>,
    /// `pending` or `settled`.
    pub status: &'static str,
    /// Milliseconds since 1970, UTC.
    pub created_at: i64,
    /// The same, once it is settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settled_at: Option<i64>,
}

/// What became of a request to pay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Paid {
    /// It is on the books now.
    Now(Payment),
    /// It already was, from the same request: the first answer again.
    Before(Payment),
    /// The key belongs to a payment with another body.
    OtherBody,
    /// There is no such order.
    UnknownOrder,
}

/// The books.
#[derive(Debug)]
pub struct Ledger {
    /// SQLite has one writer at a time. Whoever finds it busy sleeps and tries again, for longer each
    /// time, so under load some are overtaken again and again; here they stand in line instead.
    writer: Mutex<()>,
}

impl Ledger {
    /// The books of this process. There must be only one per database file and process; another process's
    /// writes are waited for by SQLite's own means.
    #[must_use]
    pub fn new() -> Self {
        Self {
            writer: Mutex::new(()),
        }
    }

    /// What became of this request before, or why it cannot be paid; `None` if it is to be authorised.
    ///
    /// # Errors
    ///
    /// Whatever SQLite says.
    pub async fn look_up(
        &self,
        pool: &SqlitePool,
        key: &IdempotencyKey,
        payment: &NewPayment,
    ) -> sqlx::Result<Option<Paid>> {
        let mut connection = pool.acquire().await?;
        known(&mut connection, key, payment).await
    }

    /// Puts a payment that is authorised on the books, once for each key.
    ///
    /// # Errors
    ///
    /// Whatever SQLite says; nothing was written then.
    ///
    /// # Cancel safety
    ///
    /// Dropped before the commit it writes nothing. Dropped while the commit is under way it may have
    /// written all of it: that is what the key is for.
    pub async fn pay(
        &self,
        pool: &SqlitePool,
        key: &IdempotencyKey,
        payment: &NewPayment,
        authorisation: &str,
    ) -> sqlx::Result<Paid> {
        let request = written(payment)?;
        // The connection first: whoever stands in line for the writer must not then wait for a connection.
        let mut connection = pool.acquire().await?;
        let _writer = self.writer.lock().await;
        // IMMEDIATE: a transaction that reads first and then wants to write cannot wait for its turn
        // (SQLITE_BUSY_SNAPSHOT), so the turn is taken at the start.
        let mut transaction =
            sqlx::Connection::begin_with(&mut *connection, "BEGIN IMMEDIATE").await?;

        let created_at = now();
        let id = Uuid::now_v7().to_string();
        let inserted = sqlx::query(
            "INSERT INTO payments \
             (id, idempotency_key, request, order_id, amount, currency, created_at, authorisation) \
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8 WHERE EXISTS (SELECT 1 FROM orders WHERE id = ?4) \
             ON CONFLICT (idempotency_key) DO NOTHING",
        )
        .bind(&id)
        .bind(key.as_str())
        .bind(&request)
        .bind(payment.order_id)
        .bind(payment.amount)
        .bind(payment.currency.code())
        .bind(created_at)
        .bind(authorisation)
        .execute(&mut *transaction)
        .await?
        .rows_affected();

        if inserted == 0 {
            // The key was there, or the order was not.
            let before = known(&mut transaction, key, payment).await?;
            transaction.rollback().await?;
            return Ok(before.unwrap_or(Paid::UnknownOrder));
        }

        enter(&mut transaction, &id, payment, created_at).await?;
        transaction.commit().await?;
        Ok(Paid::Now(Payment {
            id,
            order_id: payment.order_id,
            amount: payment.amount,
            currency: payment.currency.code().to_owned(),
            authorisation: Some(authorisation.to_owned()),
            status: "pending",
            created_at,
            settled_at: None,
        }))
    }

    /// Settles up to `limit` of the oldest payments that are pending, and says how many it found.
    ///
    /// # Errors
    ///
    /// Whatever SQLite says; nothing was settled then.
    ///
    /// # Cancel safety
    ///
    /// As [`Ledger::pay`]; what is not settled is found by the next call.
    pub async fn settle(&self, pool: &SqlitePool, limit: u32) -> sqlx::Result<u64> {
        let mut connection = pool.acquire().await?;
        let _writer = self.writer.lock().await;
        let mut transaction =
            sqlx::Connection::begin_with(&mut *connection, "BEGIN IMMEDIATE").await?;
        let settled_at = now();
        // Two statements for all of them: each statement is a trip to the connection's thread and back, and
        // whoever holds the writer makes payments wait.
        sqlx::query(
            "WITH due AS (SELECT id, amount, currency FROM payments \
                          WHERE settled_at IS NULL ORDER BY id LIMIT ?4) \
             INSERT INTO ledger_entries (payment_id, account, amount, currency, posted_at) \
             SELECT id, ?1, amount, currency, ?3 FROM due \
             UNION ALL SELECT id, ?2, -amount, currency, ?3 FROM due",
        )
        .bind(PENDING)
        .bind(AVAILABLE)
        .bind(settled_at)
        .bind(limit)
        .execute(&mut *transaction)
        .await?;
        let settled = sqlx::query(
            "UPDATE payments SET settled_at = ?1 WHERE id IN \
             (SELECT id FROM payments WHERE settled_at IS NULL ORDER BY id LIMIT ?2)",
        )
        .bind(settled_at)
        .bind(limit)
        .execute(&mut *transaction)
        .await?
        .rows_affected();
        transaction.commit().await?;
        Ok(settled)
    }

    /// Adds up what was settled today and yesterday, by day and currency.
    ///
    /// # Errors
    ///
    /// Whatever SQLite says.
    pub async fn roll_up(&self, pool: &SqlitePool) -> sqlx::Result<()> {
        const DAY: i64 = 86_400_000;
        // Added up before the writer is asked for: the long part holds nobody up. Yesterday too, because
        // its last payments are settled today or were, just before this ran.
        let since = (now() / DAY - 1) * DAY;
        let days: Vec<(String, String, i64, i64)> = sqlx::query_as(
            "SELECT date(settled_at / 1000, 'unixepoch') AS day, currency, COUNT(*), SUM(amount) \
             FROM payments WHERE settled_at >= ? GROUP BY day, currency",
        )
        .bind(since)
        .fetch_all(pool)
        .await?;

        let mut connection = pool.acquire().await?;
        let _writer = self.writer.lock().await;
        let mut transaction =
            sqlx::Connection::begin_with(&mut *connection, "BEGIN IMMEDIATE").await?;
        for (day, currency, payments, amount) in days {
            sqlx::query(
                "INSERT INTO daily_settlements (day, currency, payments, amount) \
                 VALUES (?, ?, ?, ?) ON CONFLICT (day, currency) \
                 DO UPDATE SET payments = excluded.payments, amount = excluded.amount",
            )
            .bind(day)
            .bind(currency)
            .bind(payments)
            .bind(amount)
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}

/// The payment with that id.
///
/// # Errors
///
/// Whatever SQLite says.
pub async fn find(pool: &SqlitePool, id: Uuid) -> sqlx::Result<Option<Payment>> {
    sqlx::query(
        "SELECT id, order_id, amount, currency, authorisation, created_at, settled_at \
         FROM payments WHERE id = ?",
    )
    .bind(id.to_string())
    .fetch_optional(pool)
    .await?
    .map(|row| payment(&row))
    .transpose()
}

/// Two entries that add up to zero: what the customer owes, and what is promised to the shop.
async fn enter(
    connection: &mut SqliteConnection,
    payment_id: &str,
    payment: &NewPayment,
    posted_at: i64,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO ledger_entries (payment_id, account, amount, currency, posted_at) \
         VALUES (?1, ?2, ?4, ?5, ?6), (?1, ?3, -?4, ?5, ?6)",
    )
    .bind(payment_id)
    .bind(RECEIVABLE)
    .bind(PENDING)
    .bind(payment.amount)
    .bind(payment.currency.code())
    .bind(posted_at)
    .execute(connection)
    .await?;
    Ok(())
}

/// What the books say about a request to pay; `None` if it is new, and for an order that is there. One
/// statement: each is a trip to the connection's thread and back.
async fn known(
    connection: &mut SqliteConnection,
    key: &IdempotencyKey,
    wanted: &NewPayment,
) -> sqlx::Result<Option<Paid>> {
    let row = sqlx::query(
        "SELECT o.id IS NOT NULL AS ordered, p.request, p.id, p.order_id, p.amount, p.currency, \
                p.authorisation, p.created_at, NULL AS settled_at \
         FROM (SELECT 1) LEFT JOIN orders AS o ON o.id = ?1 \
                         LEFT JOIN payments AS p ON p.idempotency_key = ?2",
    )
    .bind(wanted.order_id)
    .bind(key.as_str())
    .fetch_one(connection)
    .await?;
    Ok(match row.try_get::<Option<String>, _>("request")? {
        Some(before) if before == written(wanted)? => Some(Paid::Before(payment(&row)?)),
        Some(_) => Some(Paid::OtherBody),
        None if row.try_get("ordered")? => None,
        None => Some(Paid::UnknownOrder),
    })
}

/// A request as it is kept: the same fields in the same order, however they came.
fn written(payment: &NewPayment) -> sqlx::Result<String> {
    serde_json::to_string(payment).map_err(|error| sqlx::Error::Encode(error.into()))
}

fn payment(row: &SqliteRow) -> sqlx::Result<Payment> {
    let settled_at: Option<i64> = row.try_get("settled_at")?;
    Ok(Payment {
        id: row.try_get("id")?,
        order_id: row.try_get("order_id")?,
        amount: row.try_get("amount")?,
        currency: row.try_get("currency")?,
        authorisation: row.try_get("authorisation")?,
        status: if settled_at.is_some() {
            "settled"
        } else {
            "pending"
        },
        created_at: row.try_get("created_at")?,
        settled_at,
    })
}

/// Milliseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
