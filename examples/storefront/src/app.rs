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
    edge::{Bans, Edge, EdgeSettings, HEALTH},
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
    /// How the shop meets the world, where it is run with fusebox.
    pub edge: EdgeSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            protection: Protection::default(),
            strain: Strain::default(),
            longest_request: LONGEST_REQUEST,
            authoriser: None,
            edge: EdgeSettings::default(),
        }
    }
}

/// The shop, ready to serve.
#[derive(Debug)]
pub struct Shop {
    routes: Router,
    health: Router,
    edge: Option<Edge>,
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
        let edge = match settings.protection {
            Protection::Fusebox => Some(Edge::build(&settings.edge, &registry).await?),
            Protection::None | Protection::Semaphore => None,
        };
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
        // In the handler only where no layer does it.
        let banned = edge
            .as_ref()
            .filter(|_| settings.edge.bans == Bans::Handler);
        let routes = Router::new()
            .merge(payments.hold(payments::routes(Payments {
                pool: payments_pool.clone(),
                ledger: Arc::clone(&ledger),
                authoriser,
                banned: banned.map(|edge| edge.jail().clone()),
            })))
            .merge(analytics.hold(analytics::routes(Analytics {
                pool: analytics_pool.clone(),
                strain: settings.strain,
            })))
            .merge(panel(registry, pools.clone()))
            .fallback(|| async { Problem::not_found("there is nothing at this address") })
            // After the merges: it only reaches the routes that are there.
            .method_not_allowed_fallback(no_such_method)
            .layer(TimeoutLayer::with_status_code(
                StatusCode::GATEWAY_TIMEOUT,
                settings.longest_request,
            ))
            .layer(axum::middleware::map_response(explain_timeout));
        let health = Router::new()
            .route(HEALTH, get(|| async { "ok\n" }))
            .method_not_allowed_fallback(no_such_method);

        let (stop, stopped) = watch::channel(());
        let work = Jobs {
            pool: jobs_pool.clone(),
            ledger,
        };
        let runner = tokio::spawn(jobs::run(work, jobs.clone(), stopped));
        Ok(Self {
            routes,
            health,
            edge,
            payments,
            analytics,
            jobs,
            pools: vec![payments_pool, analytics_pool, jobs_pool],
            stop,
            runner,
            authoriser: own,
        })
    }

    /// Everything that answers requests, behind what they have to pass.
    ///
    /// With fusebox each request needs its peer's address, as [`serve_until`](crate::serve::serve_until) puts it
    /// there: whom nobody can tell apart from others is refused.
    pub fn router(&self) -> Router {
        let (routes, health) = (self.routes.clone(), self.health.clone());
        match &self.edge {
            Some(edge) => edge.guard(routes, health),
            None => routes.merge(health),
        }
    }

    /// The same without the firewall.
    pub(crate) fn router_without_firewall(&self) -> Router {
        let (routes, health) = (self.routes.clone(), self.health.clone());
        match &self.edge {
            Some(edge) => edge.guard_without_firewall(routes, health),
            None => routes.merge(health),
        }
    }

    /// What requests have to pass, with fusebox.
    #[must_use]
    pub const fn edge(&self) -> Option<&Edge> {
        self.edge.as_ref()
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
        if let Some(edge) = self.edge {
            edge.close().await;
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

/// How the shop is; in no compartment that load can fill.
fn panel(registry: Registry, pools: [(&'static str, SqlitePool); 3]) -> Router {
    Router::new().route(
        "/fusebox",
        get(move || async move { Json(Panel::now(&registry, &pools)) }),
    )
}

async fn no_such_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this address does not take this method",
    )
}

/// What the shop is like now.
#[derive(Debug, Serialize)]
struct Panel {
    edge: Vec<Snapshot>,
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
        let (mut edge, mut compartments, mut circuits) = (Vec::new(), Vec::new(), Vec::new());
        for one in registry.snapshot() {
            match one.layer {
                LayerKind::Bulkhead => compartments.push(one),
                LayerKind::CircuitBreaker => circuits.push(one),
                _ => edge.push(one),
            }
        }
        Self {
            edge,
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
