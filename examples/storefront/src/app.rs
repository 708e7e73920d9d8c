//! The shop, put together.

use std::{path::Path, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::HttpBody as _,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use sqlx::SqlitePool;
use tokio::{sync::watch, task::JoinHandle};
use tower_http::timeout::TimeoutLayer;

use crate::{
    analytics::{self, Analytics, Strain},
    compartments::{ANALYTICS, JOBS, PAYMENTS, Place, Protection, Share},
    db::{Database, Use, log},
    jobs::{self, Jobs},
    payments::{self, Payments, ledger::Ledger},
    problem::Problem,
};

/// The slowest honest request is an analytics one under load.
const LONGEST_REQUEST: Duration = Duration::from_secs(30);

/// How the shop is run.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How the kinds of traffic are kept apart.
    pub protection: Protection,
    /// Extra work for each analytics request.
    pub strain: Strain,
    /// No request may take longer.
    pub longest_request: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            protection: Protection::default(),
            strain: Strain::default(),
            longest_request: LONGEST_REQUEST,
        }
    }
}

/// The shop, ready to serve.
#[derive(Debug)]
pub struct Shop {
    router: Router,
    payments: Place,
    analytics: Place,
    jobs: Place,
    pools: Vec<SqlitePool>,
    stop: watch::Sender<()>,
    runner: JoinHandle<()>,
}

impl Shop {
    /// Opens the database in `directory`, which must be seeded, and starts the background jobs.
    ///
    /// # Errors
    ///
    /// The database cannot be opened, or a compartment's threads cannot be started.
    pub async fn open(directory: &Path, settings: Settings) -> anyhow::Result<Self> {
        let database = Database::prepare(directory).await?;
        let place = |share| Place::new(share, settings.protection);
        let (payments, analytics, jobs) = (place(PAYMENTS)?, place(ANALYTICS)?, place(JOBS)?);

        // Without compartments everybody shares one pool, as large as the three together.
        let shared = match settings.protection {
            Protection::Fusebox => None,
            Protection::None | Protection::Semaphore => {
                let connections = PAYMENTS.threads + ANALYTICS.threads + JOBS.threads;
                Some(
                    database
                        .pool(Use::Payments, u32::try_from(connections)?)
                        .await?,
                )
            }
        };
        let pool = async |place: &Place, purpose, share| match &shared {
            Some(shared) => Ok(shared.clone()),
            None => own_pool(&database, place, purpose, share).await,
        };
        let payments_pool = pool(&payments, Use::Payments, PAYMENTS).await?;
        let analytics_pool = pool(&analytics, Use::Analytics, ANALYTICS).await?;
        let jobs_pool = pool(&jobs, Use::Jobs, JOBS).await?;

        log::stretch(&payments_pool).await?;

        let ledger = Arc::new(Ledger::new());
        let router = Router::new()
            .merge(payments.hold(payments::routes(Payments {
                pool: payments_pool.clone(),
                ledger: Arc::clone(&ledger),
            })))
            .merge(analytics.hold(analytics::routes(Analytics {
                pool: analytics_pool.clone(),
                strain: settings.strain,
            })))
            .merge(front(&[&payments, &analytics, &jobs]))
            .fallback(|| async { Problem::not_found("there is nothing at this address") })
            // After the merges: it only reaches the routes that are there.
            .method_not_allowed_fallback(|| async {
                Problem::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "method_not_allowed",
                    "this address does not take this method",
                )
            })
            .layer(TimeoutLayer::with_status_code(
                StatusCode::GATEWAY_TIMEOUT,
                settings.longest_request,
            ))
            .layer(axum::middleware::map_response(explain_timeout));

        let (stop, stopped) = watch::channel(());
        let work = Jobs {
            pool: jobs_pool.clone(),
            ledger,
        };
        let runner = tokio::spawn(jobs::run(work, jobs.clone(), stopped));
        Ok(Self {
            router,
            payments,
            analytics,
            jobs,
            pools: vec![payments_pool, analytics_pool, jobs_pool],
            stop,
            runner,
        })
    }

    /// Everything that answers requests.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// The compartments that there are.
    #[must_use]
    pub fn places(&self) -> [&Place; 3] {
        [&self.payments, &self.analytics, &self.jobs]
    }

    /// Finishes what is under way and closes the database.
    pub async fn close(self) {
        // Nobody listens any more if the runner has gone before; then it has nothing to finish either.
        let _ = self.stop.send(());
        if let Err(error) = self.runner.await {
            tracing::error!("the job runner did not end well: {error}");
        }
        for place in [&self.payments, &self.analytics, &self.jobs] {
            if let Some(compartment) = place.compartment() {
                compartment.shutdown().await;
            }
        }
        for pool in self.pools {
            pool.close().await;
        }
    }
}

/// A pool of the share's own, opened at its place: see [`Database::pool`] for why there.
async fn own_pool(
    database: &Database,
    place: &Place,
    purpose: Use,
    share: Share,
) -> anyhow::Result<SqlitePool> {
    let database = database.clone();
    let connections = u32::try_from(share.threads)?;
    let pool = place
        .run(async move { database.pool(purpose, connections).await })
        .await??;
    Ok(pool)
}

/// What stands in no compartment that load can fill.
fn front(places: &[&Place]) -> Router {
    let places: Arc<[Place]> = places.iter().map(|place| (*place).clone()).collect();
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/fusebox", get(panel))
        .with_state(places)
}

async fn panel(State(places): State<Arc<[Place]>>) -> Json<Vec<serde_json::Value>> {
    Json(
        places
            .iter()
            .filter_map(Place::compartment)
            .map(|compartment| compartment.snapshot())
            .collect(),
    )
}

/// The time limit's answer is empty; a client is owed a reason.
async fn explain_timeout(response: Response) -> Response {
    let ours = response.status() != StatusCode::GATEWAY_TIMEOUT || !response.body().is_end_stream();
    if ours {
        return response;
    }
    Problem::new(
        StatusCode::GATEWAY_TIMEOUT,
        "timeout",
        "the request took too long and was given up",
    )
    .into_response()
}
