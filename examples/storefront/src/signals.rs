//! Being asked to stop: Ctrl-C, and the SIGTERM of a service manager.

use std::{fmt, io};

/// What asks a process to stop, from the moment this is made.
///
/// Made before anybody is told that there is something to stop: a signal that comes before it is the end of the process,
/// with nothing finished and nothing closed.
pub(crate) struct Signals {
    #[cfg(unix)]
    interrupts: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminations: tokio::signal::unix::Signal,
}

/// How a process was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// By Ctrl-C.
    Interrupted,
    /// By SIGTERM; never where there is no such thing.
    Terminated,
}

impl Signals {
    /// # Errors
    ///
    /// The system does not let us listen.
    #[cfg_attr(
        not(unix),
        expect(clippy::unnecessary_wraps, reason = "it can fail elsewhere")
    )]
    pub(crate) fn listen() -> io::Result<Self> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            Ok(Self {
                interrupts: signal(SignalKind::interrupt())?,
                terminations: signal(SignalKind::terminate())?,
            })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> Asked {
        #[cfg(unix)]
        {
            tokio::select! {
                _ = self.interrupts.recv() => Asked::Interrupted,
                _ = self.terminations.recv() => Asked::Terminated,
            }
        }
        #[cfg(not(unix))]
        {
            if let Err(error) = tokio::signal::ctrl_c().await {
                tracing::error!("cannot listen for Ctrl-C: {error}");
                std::future::pending::<()>().await;
            }
            Asked::Interrupted
        }
    }

    /// The next Ctrl-C.
    pub(crate) async fn interrupted(&mut self) {
        while self.next().await != Asked::Interrupted {}
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupted => "interrupted",
            Self::Terminated => "asked to stop",
        })
    }
}
