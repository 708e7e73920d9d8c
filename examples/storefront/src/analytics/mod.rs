//! `GET /analytics/revenue` and `/analytics/top-products`: heavy SQL, then heavy computing.
//!
//! The computing is done right in the handler, which the books advise against, and which happens in
//! every service sooner or later. The compartment is what keeps it from the neighbours.

pub mod statistics;
mod strain;

use std::collections::BTreeMap;

use axum::{
    Json, Router,
    extract::{Query, State, rejection::QueryRejection},
    routing::get,
};
use serde::{Deserialize, Serialize};
use sqlx::{Row, SqlitePool};

use crate::{
    db::generator::{DAYS, LAST_DAY},
    problem::Problem,
};
use statistics::{Estimate, bootstrap_mean, theil_sen_slope};
pub use strain::Strain;

const SECONDS_PER_DAY: i64 = 86_400;
const DEFAULT_DAYS: u32 = 90;
const BOOTSTRAP_ROUNDS: usize = 2_000;
const DEFAULT_LIMIT: usize = 10;
const LARGEST_LIMIT: usize = 100;

/// What the handlers need.
#[derive(Clone, Debug)]
pub struct Analytics {
    /// The compartment's own connections.
    pub pool: SqlitePool,
    /// Extra work for each request.
    pub strain: Strain,
}

/// The routes.
pub fn routes(analytics: Analytics) -> Router {
    Router::new()
        .route("/analytics/revenue", get(revenue))
        .route("/analytics/top-products", get(top_products))
        .with_state(analytics)
}

/// Which part of the history to look at.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Window {
    days: Option<u32>,
    limit: Option<usize>,
}

impl Window {
    fn days(self) -> Result<u32, Problem> {
        match self.days.unwrap_or(DEFAULT_DAYS) {
            days @ 1..=DAYS => Ok(days),
            _ => Err(Problem::bad_request(
                "invalid_days",
                format!("days must be between 1 and {DAYS}"),
            )),
        }
    }

    fn limit(self) -> Result<usize, Problem> {
        match self.limit.unwrap_or(DEFAULT_LIMIT) {
            limit @ 1..=LARGEST_LIMIT => Ok(limit),
            _ => Err(Problem::bad_request(
                "invalid_limit",
                format!("limit must be between 1 and {LARGEST_LIMIT}"),
            )),
        }
    }
}

/// The first second of a window of `days` that ends with the history.
fn first_second(days: u32) -> i64 {
    LAST_DAY + SECONDS_PER_DAY - i64::from(days) * SECONDS_PER_DAY
}

#[derive(Debug, Serialize)]
struct Revenue {
    days: u32,
    currencies: BTreeMap<String, CurrencyRevenue>,
}

/// Minor units throughout.
#[derive(Debug, Default, Serialize)]
struct CurrencyRevenue {
    orders: i64,
    amount: i64,
    buyers: i64,
    /// Of one day.
    daily: Option<Estimate>,
    /// What a day brings more than the day before.
    trend: Option<f64>,
    #[serde(skip)]
    series: Vec<f64>,
}

async fn revenue(
    State(analytics): State<Analytics>,
    window: Result<Query<Window>, QueryRejection>,
) -> Result<Json<Revenue>, Problem> {
    let Query(window) = window?;
    let days = window.days()?;
    // All rows first, and only then the rest: while a read is open, the write-ahead log cannot start over.
    let rows = sqlx::query(
        "SELECT currency, (ordered_at - ?1) / 86400 AS day, COUNT(*) AS orders, \
                SUM(amount) AS amount, COUNT(DISTINCT customer_id) AS buyers \
         FROM orders WHERE ordered_at >= ?1 GROUP BY currency, day ORDER BY currency, day",
    )
    .bind(first_second(days))
    .fetch_all(&analytics.pool)
    .await?;
    analytics.strain.bear().await;

    let mut currencies: BTreeMap<String, CurrencyRevenue> = BTreeMap::new();
    for row in rows {
        let amount: i64 = row.try_get("amount")?;
        let entry = currencies.entry(row.try_get("currency")?).or_default();
        entry.orders += row.try_get::<i64, _>("orders")?;
        entry.buyers += row.try_get::<i64, _>("buyers")?;
        entry.amount += amount;
        entry.series.push(as_float(amount));
    }
    for entry in currencies.values_mut() {
        entry.daily = bootstrap_mean(&entry.series, BOOTSTRAP_ROUNDS);
        entry.trend = theil_sen_slope(&entry.series);
    }
    Ok(Json(Revenue { days, currencies }))
}

#[derive(Debug, Serialize)]
struct TopProducts {
    days: u32,
    products: Vec<ProductSales>,
}

#[derive(Debug, Serialize)]
struct ProductSales {
    id: i64,
    name: String,
    category: String,
    sold: i64,
    amount: i64,
    /// What a day sells more than the day before.
    trend: Option<f64>,
    #[serde(skip)]
    series: Vec<f64>,
}

async fn top_products(
    State(analytics): State<Analytics>,
    window: Result<Query<Window>, QueryRejection>,
) -> Result<Json<TopProducts>, Problem> {
    let Query(window) = window?;
    let (days, limit) = (window.days()?, window.limit()?);
    let rows = sqlx::query(
        "SELECT p.id, p.name, p.category, (o.ordered_at - ?1) / 86400 AS day, \
                SUM(o.quantity) AS sold, SUM(o.amount) AS amount \
         FROM orders AS o JOIN products AS p ON p.id = o.product_id \
         WHERE o.ordered_at >= ?1 GROUP BY p.id, day ORDER BY p.id, day",
    )
    .bind(first_second(days))
    .fetch_all(&analytics.pool)
    .await?;
    analytics.strain.bear().await;

    let mut products: BTreeMap<i64, ProductSales> = BTreeMap::new();
    for row in rows {
        let id: i64 = row.try_get("id")?;
        let sold: i64 = row.try_get("sold")?;
        let entry = match products.entry(id) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => entry.insert(ProductSales {
                id,
                name: row.try_get("name")?,
                category: row.try_get("category")?,
                sold: 0,
                amount: 0,
                trend: None,
                series: Vec::new(),
            }),
        };
        entry.sold += sold;
        entry.amount += row.try_get::<i64, _>("amount")?;
        entry.series.push(as_float(sold));
    }
    let mut products: Vec<ProductSales> = products.into_values().collect();
    for product in &mut products {
        product.trend = theil_sen_slope(&product.series);
    }
    products.sort_by(|a, b| b.sold.cmp(&a.sold).then(a.id.cmp(&b.id)));
    products.truncate(limit);
    Ok(Json(TopProducts { days, products }))
}

/// An amount for statistics. Exact up to 2⁵³ minor units; nothing here pays anybody.
#[expect(
    clippy::cast_precision_loss,
    reason = "an estimate's interval is wider than what is lost"
)]
fn as_float(amount: i64) -> f64 {
    amount as f64
}
