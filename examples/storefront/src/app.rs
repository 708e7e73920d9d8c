//! The shop, put together.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::HttpBody as _,
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::get,
};
use fusebox_core::{LayerKind, Observer, Registry, Snapshot};
use fusebox_example_grpc::server::Running;
use serde::Serialize;
use sqlx::SqlitePool;
use tokio::{sync::watch, task::JoinHandle};
use tower_http::timeout::TimeoutLayer;

use crate::{
    analytics::{self, Analytics, Strain},
    compartments::{ANALYTICS, JOBS, PAYMENTS, Place, Protection, Share},
    db::{Database, Use, log},
    jobs::{self, Jobs},
    payments::{
        self, Payments,
        authoriser::{self, Authoriser},
        ledger::Ledger,
    },
    problem::Problem,
};

/// The slowest honest request is an analytics one under load.
const LONGEST_REQUEST: Duration = Duration::from_secs(30);

/// How long a compartment may take to finish what it has begun, once nobody is let in any more. By then the
/// requests are over: what is left are the bodies of clients that do not read.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(5);

/// How the shop is run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How the kinds of traffic are kept apart.
    pub protection: Protection,
    /// Extra work for each analytics request.
    pub strain: Strain,
    /// No request may take longer.
    pub longest_request: Duration,
    /// Where the payments' authoriser is; the shop starts one itself if it is nowhere.
    pub authoriser: Option<Uri>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            protection: Protection::default(),
            strain: Strain::default(),
            longest_request: LONGEST_REQUEST,
            authoriser: None,
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
    // Here to live as long as the shop.
    authoriser: Option<Running>,
}

impl Shop {
    /// Opens the database in `directory`, which must be seeded, and starts the background jobs.
    ///
    /// # Errors
    ///
    /// The database cannot be opened, or a compartment's threads or the authoriser cannot be started.
    pub async fn open(directory: &Path, settings: Settings) -> anyhow::Result<Self> {
        Self::open_watched(directory, settings, None).await
    }

    /// The same, with somebody who hears what the circuit before the authoriser does, where there is one.
    ///
    /// # Errors
    ///
    /// As [`Shop::open`].
    pub async fn open_watched(
        directory: &Path,
        settings: Settings,
        observer: Option<Arc<dyn Observer>>,
    ) -> anyhow::Result<Self> {
        let database = Database::prepare(directory).await?;
        let registry = Registry::new();
        let place = |share| Place::new(share, settings.protection, &registry);
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

        // In the payments' place, on the processors and at the priority that they have.
        let (list, elsewhere) = (registry.clone(), settings.authoriser);
        let protection = settings.protection;
        let (authoriser, own) = payments
            .run(async move {
                let (uri, own) = match elsewhere {
                    Some(uri) => (uri, None),
                    None => {
                        let own = authoriser::own()?;
                        (format!("http://{}", own.address()).parse()?, Some(own))
                    }
                };
                let authoriser = match protection {
                    Protection::Fusebox => Authoriser::at(uri, &list, observer)?,
                    // A breaker of ours in there would be fusebox again.
                    Protection::None | Protection::Semaphore => Authoriser::bare(uri),
                };
                anyhow::Ok((authoriser, own))
            })
            .await??;

        let pools = [
            (PAYMENTS.name, payments_pool.clone()),
            (ANALYTICS.name, analytics_pool.clone()),
            (JOBS.name, jobs_pool.clone()),
        ];
        let ledger = Arc::new(Ledger::new());
        let router = Router::new()
            .merge(payments.hold(payments::routes(Payments {
                pool: payments_pool.clone(),
                ledger: Arc::clone(&ledger),
                authoriser,
            })))
            .merge(analytics.hold(analytics::routes(Analytics {
                pool: analytics_pool.clone(),
                strain: settings.strain,
            })))
            .merge(front(registry, pools.clone()))
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
            authoriser: own,
        })
    }

    /// Everything that answers requests.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// Where the shop's own authoriser listens, if it has one.
    #[must_use]
    pub fn authoriser(&self) -> Option<SocketAddr> {
        self.authoriser.as_ref().map(Running::address)
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
                let cut_off = compartment.shutdown(SHUTDOWN_PATIENCE).await;
                if cut_off > 0 {
                    tracing::warn!("{}: {cut_off} calls were cut off", compartment.name());
                }
            }
        }
        // Nobody asks it any more.
        if let Some(authoriser) = self.authoriser {
            authoriser.kill();
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
fn front(registry: Registry, pools: [(&'static str, SqlitePool); 3]) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route(
            "/fusebox",
            get(move || async move { Json(Panel::now(&registry, &pools)) }),
        )
}

/// What the shop is like now.
#[derive(Debug, Serialize)]
struct Panel {
    compartments: Vec<Snapshot>,
    circuits: Vec<Snapshot>,
    pools: Vec<Pool>,
}

/// The database connections of one kind of traffic; without compartments all three are the same.
#[derive(Debug, Serialize)]
struct Pool {
    name: &'static str,
    connections: u32,
    idle: usize,
}

impl Panel {
    fn now(registry: &Registry, pools: &[(&'static str, SqlitePool)]) -> Self {
        let pools = pools.iter().map(|(name, pool)| Pool {
            name,
            connections: pool.size(),
            idle: pool.num_idle(),
        });
        let (circuits, compartments) = registry
            .snapshot()
            .into_iter()
            .partition(|one| one.layer == LayerKind::CircuitBreaker);
        Self {
            compartments,
            circuits,
            pools: pools.collect(),
        }
    }
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
