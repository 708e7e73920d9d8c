//! The command.

use std::process::ExitCode;

use clap::Parser;
use storefront::cli::{Cli, Command, ServeArgs, StormArgs};
use tracing_subscriber::filter::LevelFilter;

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    let level = match cli.command {
        None => LevelFilter::INFO,
        // What the circuit does is in the experiment's table; told as it happens, it would tear the progress apart.
        Some(Command::Storm(_)) => LevelFilter::WARN,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .init();
    match cli.command {
        None => serve(&cli.serve),
        Some(Command::Storm(arguments)) => storm(&arguments),
    }
}

fn serve(arguments: &ServeArgs) -> anyhow::Result<ExitCode> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = arguments.workers {
        runtime.worker_threads(workers.max(1));
    }
    let runtime = runtime.enable_all().build()?;
    let arguments = arguments.clone();
    // On a worker, and not on this thread: there each connection would be handed over twice, from the worker that hears
    // of it to the thread that accepts it, and back to a worker that serves it.
    let serving = runtime.spawn(async move { storefront::serve::serve(&arguments).await });
    runtime.block_on(serving)??;
    Ok(ExitCode::SUCCESS)
}

fn storm(arguments: &StormArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(storefront::storm::storm(arguments))
}
