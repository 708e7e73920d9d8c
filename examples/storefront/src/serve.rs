//! Serving: from the seed to the last request answered.

use std::{io::Write, net::Ipv4Addr};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::net::TcpListener;

use crate::{
    app::{Settings, Shop},
    cli::ServeArgs,
    db::{
        Database,
        seed::{Seeded, seed},
    },
};

/// The line by which a parent process learns the address.
pub const LISTENING: &str = "listening on ";

/// Serves until Ctrl-C (or SIGTERM), then finishes what is under way.
///
/// # Errors
///
/// The database cannot be opened or seeded, or the port is taken.
pub async fn serve(arguments: &ServeArgs) -> anyhow::Result<()> {
    prepare(&arguments.data_dir, arguments.orders).await?;
    let settings = Settings {
        protection: arguments.protection,
        strain: arguments.strain(),
    };
    let shop = Shop::open(&arguments.data_dir, settings).await?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, arguments.port)).await?;
    let address = listener.local_addr()?;
    greet(&format!("http://{address}"))?;

    axum::serve(listener, shop.router())
        .with_graceful_shutdown(asked_to_stop())
        .await?;
    shop.close().await;
    Ok(())
}

/// Creates and seeds the database in `directory` if that has not been done, with a progress bar.
///
/// # Errors
///
/// The directory cannot be written, or whatever SQLite says.
pub async fn prepare(directory: &std::path::Path, orders: u32) -> anyhow::Result<()> {
    let database = Database::prepare(directory).await?;
    let mut connection = database.connect().await?;
    let bar = ProgressBar::new(u64::from(orders)).with_style(
        ProgressStyle::with_template("seeding {bar:40} {human_pos} of {human_len} orders")?,
    );
    let seeded = seed(&mut connection, orders, |written| {
        bar.set_position(u64::from(written));
    })
    .await?;
    bar.finish_and_clear();
    sqlx::Connection::close(connection).await?;
    if let Seeded::Now(orders) = seeded {
        eprintln!("seeded {} with {orders} orders", directory.display());
    }
    Ok(())
}

fn greet(url: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{LISTENING}{url}")?;
    writeln!(
        out,
        "
  POST /payments                 pay for an order, once per Idempotency-Key
  GET  /payments/{{id}}            what became of it
  GET  /analytics/revenue        by currency, ?days=1..365
  GET  /analytics/top-products   by units sold, ?days=1..365&limit=1..100
  GET  /healthz                  in no compartment
  GET  /fusebox                  the compartments as they are now

Try:
  curl -i {url}/payments -H 'Idempotency-Key: my-first' -H 'Content-Type: application/json' -d '{{\"order_id\":1,\"amount\":1999,\"currency\":\"EUR\"}}'
  curl '{url}/analytics/top-products?days=30&limit=3'
  curl {url}/fusebox

Ctrl-C stops it."
    )?;
    out.flush()
}

/// Completes on Ctrl-C, and on Unix on SIGTERM too, which is what a service manager sends.
async fn asked_to_stop() {
    let interrupted = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::error!("cannot listen for Ctrl-C: {error}");
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut terminated) => tokio::select! {
                () = interrupted => {}
                _ = terminated.recv() => {}
            },
            Err(error) => {
                tracing::error!("cannot listen for SIGTERM: {error}");
                interrupted.await;
            }
        }
    }
    #[cfg(not(unix))]
    interrupted.await;
}
