//! An API with free and paid tiers by API key.
//!
//! Two limiters, in this order:
//!
//! 1. By address, before anything is known of the caller: whoever tries out keys is slowed down here.
//! 2. By account, behind the check of the key: an account has one quota however many addresses it comes from, and its
//!    plan says which. Unknown keys never get that far, so nobody can invent quotas by inventing keys.
//!
//! ```console
//! $ cargo run -p tiers
//! $ curl -i -H 'x-api-key: free-1' http://127.0.0.1:8080/quote
//! ```

mod accounts;

use axum::extract::Request;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use fusebox_rate_limit::{
    Algorithm, ConfigError, Found, Head, KeyBy, Policy, Quota, QuotaHeaders, RateLimiter,
};
use http::StatusCode;
use std::sync::Arc;

pub use accounts::{Account, Accounts, Plan};

/// The limiters, for whoever wants to show or change them.
#[derive(Clone, Debug)]
pub struct Limiters {
    /// By address.
    pub addresses: RateLimiter,
    /// By account.
    pub accounts: RateLimiter,
}

impl Limiters {
    /// The usual ones.
    ///
    /// # Errors
    ///
    /// If a setting makes no sense.
    pub fn new() -> Result<Self, ConfigError> {
        Ok(Self {
            addresses: RateLimiter::builder("addresses")
                .policy(Policy::new("address", Quota::per_second(50).burst(100)))
                .build()?,
            accounts: RateLimiter::builder("accounts")
                // Free: two a second, five at once, and a hundred a day.
                .policy(Policy::new("burst", Quota::per_second(2).burst(5)))
                .policy(
                    Policy::new("daily", Quota::per_day(100)).algorithm(Algorithm::SlidingWindow),
                )
                .tier(
                    "paid",
                    [Policy::new("burst", Quota::per_second(20).burst(40))],
                )
                .build()?,
        })
    }
}

/// The API.
pub fn app(limiters: &Limiters, accounts: Accounts) -> Router {
    let paid = limiters.accounts.tier("paid");
    let keys = limiters.accounts.clone();
    let by_account = limiters
        .accounts
        .layer()
        .keyed_by(KeyBy::Custom(Arc::new(move |head: &Head<'_>| {
            match head.extensions.get::<Account>() {
                Some(account) => Found::Key(keys.text_key(account.name.as_bytes())),
                None => Found::Unidentified,
            }
        })))
        .tier_by(move |head| match head.extensions.get::<Account>()?.plan {
            Plan::Free => None,
            Plan::Paid => paid,
        })
        // A report costs as much as four quotes.
        .cost_by(|head| if head.uri.path() == "/report" { 4 } else { 1 })
        // What this service could not do is not charged.
        .settle_by(|ended| match ended.outcome {
            fusebox_core::Outcome::Failure => 0,
            _ => ended.cost,
        })
        .quota_headers(QuotaHeaders::Draft11);

    Router::new()
        .route("/quote", get(quote))
        .route("/report", get(report))
        .layer(by_account)
        // What is added later is further out.
        .layer(from_fn_with_state(Arc::new(accounts), know_the_account))
        .layer(limiters.addresses.layer())
}

async fn quote(Extension(account): Extension<Account>) -> String {
    format!("{}: buy low, sell high\n", account.name)
}

async fn report() -> &'static str {
    "all is well\n"
}

/// Finds the account of the key, or answers in the API's stead.
async fn know_the_account(
    accounts: axum::extract::State<Arc<Accounts>>,
    mut request: Request,
    next: Next,
) -> Response {
    let key = request.headers().get("x-api-key");
    match key.and_then(|key| accounts.find(key.as_bytes())) {
        Some(account) => {
            request.extensions_mut().insert(account.clone());
            next.run(request).await
        }
        None => (StatusCode::UNAUTHORIZED, "no such key\n").into_response(),
    }
}
