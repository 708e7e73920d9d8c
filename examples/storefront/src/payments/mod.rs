//! `POST /payments` and `GET /payments/{id}`: the traffic that must not suffer.

pub mod authoriser;
pub mod ledger;
pub mod request;

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    extract::{
        DefaultBodyLimit, Path, State,
        rejection::{JsonRejection, PathRejection},
    },
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use fusebox_blackhole::Jail;
use fusebox_http::identity::ClientIdentity;
use sqlx::SqlitePool;
use uuid::Uuid;

use crate::problem::Problem;
use authoriser::Authoriser;
use ledger::{Ledger, Paid, Payment};
use request::{IdempotencyKey, NewPayment};

/// A payment is three numbers; nobody needs more room than this to ask for one.
const LARGEST_BODY: usize = 4 * 1024;

/// Set on an answer that was given before, as payment services commonly do.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// What the handlers need.
#[derive(Clone, Debug)]
pub struct Payments {
    /// The compartment's own connections.
    pub pool: SqlitePool,
    /// The books, shared with the jobs that settle.
    pub ledger: Arc<Ledger>,
    /// Who says whether a payment may be made.
    pub authoriser: Authoriser,
    /// Whom to turn away, where no layer has done it.
    pub banned: Option<Jail>,
}

/// The routes.
pub fn routes(payments: Payments) -> Router {
    Router::new()
        .route("/payments", post(create))
        .route("/payments/{id}", get(show))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(payments)
}

async fn create(
    State(payments): State<Payments>,
    client: Option<Extension<ClientIdentity>>,
    headers: HeaderMap,
    body: Result<Json<NewPayment>, JsonRejection>,
) -> Result<Response, Problem> {
    if let Some(jail) = &payments.banned
        && let Some(Extension(client)) = client
        && client.address().is_some_and(|address| jail.holds(address))
    {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "banned",
            "this client has misbehaved too often",
        ));
    }
    let key = IdempotencyKey::from_headers(&headers)?;
    let Json(wanted) = body?;
    wanted.validate()?;
    let Payments {
        pool,
        ledger,
        authoriser,
        ..
    } = payments;
    // What is on the books is answered from there, whether the authoriser lives or not. No connection is held
    // while it is asked, and nothing is written before it has answered.
    let paid = match ledger.look_up(&pool, &key, &wanted).await? {
        Some(known) => known,
        None => {
            let authorisation = authoriser.authorise(&key, &wanted).await?;
            ledger.pay(&pool, &key, &wanted, &authorisation).await?
        }
    };
    match paid {
        Paid::Now(payment) => created(payment),
        Paid::Before(payment) => {
            let mut response = created(payment)?;
            response
                .headers_mut()
                .insert(REPLAYED, HeaderValue::from_static("true"));
            Ok(response)
        }
        Paid::OtherBody => Err(Problem::unprocessable(
            "idempotency_key_reused",
            "this Idempotency-Key belongs to a payment with another body",
        )),
        Paid::UnknownOrder => Err(Problem::unprocessable(
            "unknown_order",
            "there is no order with this order_id",
        )),
    }
}

fn created(payment: Payment) -> Result<Response, Problem> {
    let location = HeaderValue::try_from(format!("/payments/{}", payment.id)).map_err(|error| {
        tracing::error!("a payment's id does not fit into a header: {error}");
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the request could not be completed",
        )
    })?;
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(payment),
    )
        .into_response())
}

async fn show(
    State(payments): State<Payments>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Payment>, Problem> {
    let unknown = || Problem::not_found("there is no payment with this id");
    let Path(id) = id.map_err(|_| unknown())?;
    let id = Uuid::parse_str(&id).map_err(|_| unknown())?;
    let payment = ledger::find(&payments.pool, id).await?;
    payment.map(Json).ok_or_else(unknown)
}
