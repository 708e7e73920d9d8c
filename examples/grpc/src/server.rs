//! The authoriser: a tonic server with a rate limit and a bulkhead in front of the bank.

use std::{error::Error, net::SocketAddr, time::Duration};

use fusebox_bulkhead::Compartment;
use fusebox_core::Registration;
use fusebox_http::identity::IdentityConfig;
use fusebox_rate_limit::{KeyBy, Policy, Quota, RateLimiter};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

use crate::{bank::Bank, proto::authoriser_server::AuthoriserServer};

/// How much the authoriser takes upon itself.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Calls per second from one client.
    pub per_second: u32,
    /// Calls at once, from all clients.
    pub slots: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            per_second: 1_000,
            slots: 64,
        }
    }
}

/// A running authoriser, on threads of its own, so that it can be killed like a process.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Running {
    /// Serves `bank` on that address; port 0 for any that is free.
    ///
    /// # Errors
    /// When the address cannot be had, or a limit makes no sense.
    pub fn start(address: SocketAddr, bank: Bank, limits: Limits) -> Result<Self, Box<dyn Error>> {
        let rate_limiter = RateLimiter::builder("authoriser")
            .policy(Policy::new(
                "per-client",
                Quota::per_second(limits.per_second.into()),
            ))
            .registration(Registration::Unlisted)
            .build()?;
        // No proxy is trusted: the client is who is connected.
        let clients = IdentityConfig::new().build()?;
        let compartment = Compartment::builder("authoriser")
            .slots(limits.slots)
            .queue(limits.slots, Duration::from_millis(100))
            .registration(Registration::Unlisted)
            .build()?;

        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("authoriser")
            .enable_all()
            .build()?;
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = {
            let _in_it = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let server = Server::builder()
            .layer(rate_limiter.layer().keyed_by(KeyBy::Client(clients)))
            .layer(compartment.layer())
            .add_service(AuthoriserServer::new(bank));
        runtime.spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Ok(Self {
            address,
            runtime: Some(runtime),
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills it: connections break off in the middle of whatever they were at.
    pub fn kill(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // In the background, since a runtime must not wait for another one's end.
            runtime.shutdown_background();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}
