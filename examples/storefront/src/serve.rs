//! Serving: from the seed to the last request answered.

use std::{io::Write, time::Duration};

use anyhow::Context;
use axum::{Router, serve::ListenerExt as _};
use fusebox_blackhole::{BlackholeListener, Gate, with_connection};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

use crate::{
    app::{Settings, Shop},
    cli::ServeArgs,
    db::{
        Database,
        seed::{Seeded, seed},
    },
    edge::Edge,
    signals::Signals,
};

/// The line by which a parent process learns the address.
pub const LISTENING: &str = "listening on ";

/// How long a connection may take to finish what it has begun after the shop was asked to stop. As long as
/// the slowest request may take: only a client that sends its request drop by drop takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Serves until Ctrl-C (or SIGTERM), then finishes what is under way; a second Ctrl-C does not wait for it.
///
/// # Errors
///
/// The database cannot be opened or seeded, or the port is taken.
pub async fn serve(arguments: &ServeArgs) -> anyhow::Result<()> {
    prepare(&arguments.data_dir, arguments.orders).await?;
    let settings = Settings {
        protection: arguments.protection,
        strain: arguments.strain(),
        authoriser: arguments.authoriser.clone(),
        edge: arguments.edge(),
        ..Settings::default()
    };
    let shop = Shop::open(&arguments.data_dir, settings).await?;
    let listener = TcpListener::bind((arguments.address, arguments.port)).await?;
    let address = listener.local_addr()?;
    // Before the address is told: whoever knows that may ask at once.
    let signals = Signals::listen().context("cannot listen for signals")?;
    greet(&format!("http://{address}"))?;

    let stop = asked_to_stop(signals, arguments.stop_with_stdin);
    serve_until(stop, listener, shop, PATIENCE).await
}

/// Serves `shop` until `stop` completes. Then takes no new connection, gives the requests under way at most
/// `patience` to finish, finishes the jobs under way and closes the database.
///
/// # Errors
///
/// The listener failed.
pub async fn serve_until(
    stop: impl Future<Output = ()> + Send + 'static,
    listener: TcpListener,
    shop: Shop,
    patience: Duration,
) -> anyhow::Result<()> {
    let (stopping, told) = oneshot::channel();
    let stop = async move {
        stop.await;
        // Nobody listens only when the server has gone already.
        let _ = stopping.send(());
    };
    let server = answer(listener, shop.router(), shop.edge().map(Edge::gate), stop);
    let out_of_patience = async {
        match told.await {
            Ok(()) => tokio::time::sleep(patience).await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        served = server => served?,
        () = out_of_patience => tracing::warn!("gave up connections that did not finish"),
    }
    shop.close().await;
    Ok(())
}

/// Answers requests until `stop` completes and those under way are over.
pub(crate) async fn answer(
    listener: TcpListener,
    router: Router,
    gate: Option<Gate>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    match gate {
        Some(gate) => {
            // The gate first: whoever does not get past it is not worth a system call.
            let listener = BlackholeListener::new(listener, gate)
                .tap_io(|stream| answer_at_once(stream.get_ref()));
            axum::serve(listener, with_connection(router))
                .with_graceful_shutdown(stop)
                .await
        }
        None => {
            axum::serve(listener.tap_io(|stream| answer_at_once(stream)), router)
                .with_graceful_shutdown(stop)
                .await
        }
    }
}

/// Answers are small and whole: there is nothing to gain from holding a packet back.
fn answer_at_once(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("a connection keeps its packets back: {error}");
    }
}

/// Creates and seeds the database in `directory` if that has not been done, with a progress bar, and says how
/// many orders it holds.
///
/// # Errors
///
/// The directory cannot be written, or whatever SQLite says.
pub async fn prepare(directory: &std::path::Path, orders: u32) -> anyhow::Result<u32> {
    let database = Database::prepare(directory).await?;
    let mut connection = database.connect().await?;
    let bar = ProgressBar::new(u64::from(orders)).with_style(ProgressStyle::with_template(
        "seeding {bar:40} {human_pos} of {human_len} orders",
    )?);
    let seeded = seed(&mut connection, orders, |written| {
        bar.set_position(u64::from(written));
    })
    .await?;
    bar.finish_and_clear();
    sqlx::Connection::close(connection).await?;
    Ok(match seeded {
        Seeded::Now(orders) => {
            eprintln!("seeded {} with {orders} orders", directory.display());
            orders
        }
        Seeded::Before(orders) => orders,
    })
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
  GET  /fusebox                  the layers as they are now: jail, quotas, firewall, compartments, circuit

Try:
  curl -i {url}/payments -H 'Idempotency-Key: my-first' -H 'Content-Type: application/json' -d '{{\"order_id\":1,\"amount\":1999,\"currency\":\"EUR\"}}'
  curl '{url}/analytics/top-products?days=30&limit=3'
  curl {url}/fusebox

Ctrl-C stops it."
    )?;
    out.flush()
}

/// Completes when somebody wants the shop to stop, and sees to it that asking twice ends the process.
async fn asked_to_stop(mut signals: Signals, with_stdin: bool) {
    tokio::select! {
        _ = signals.next() => {}
        () = stdin_closed(), if with_stdin => {}
    }
    tokio::spawn(async move {
        signals.interrupted().await;
        // What was acknowledged is on the disk; SQLite recovers from the rest when it is opened again.
        std::process::exit(130);
    });
}

/// The other end of standard input has gone: the parent process has, however it ended.
async fn stdin_closed() {
    let (closed, told) = oneshot::channel();
    // A thread of its own: the runtime would wait for its blocking ones to return before it lets go.
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        // An error ends it as the end of the stream does.
        let _ = std::io::copy(&mut stdin, &mut std::io::sink());
        let _ = closed.send(());
    });
    // The thread never goes without a word.
    let _ = told.await;
}
