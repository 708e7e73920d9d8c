//! The client: breaker, deadline, bulkhead, channel.

use std::{error::Error, net::SocketAddr, time::Duration};

use fusebox_bulkhead::{Bulkhead, Compartment, ConfigError};
use fusebox_circuit_breaker::{Breaker, CircuitBreaker};
use fusebox_core::Registration;
use tonic::transport::{Channel, Endpoint};
use tower::{ServiceBuilder, timeout::Timeout};

use crate::proto::authoriser_client::AuthoriserClient;

/// A call that has no answer by then has failed.
pub const DEADLINE: Duration = Duration::from_millis(500);

/// What stands between the generated client and the channel. `tower-http`'s timeout would answer in HTTP,
/// which a gRPC client does not understand; tower's fails, and the breaker sees it.
pub type Stack = CircuitBreaker<Timeout<Bulkhead<Channel>>>;

/// A client of the authoriser, and the handles to watch and steer it by.
#[derive(Clone, Debug)]
pub struct Authoriser {
    /// The calls.
    pub calls: AuthoriserClient<Stack>,
    /// Opens when the authoriser is down.
    pub breaker: Breaker,
    /// Bounds how many calls wait for it at once.
    pub compartment: Compartment,
}

impl Authoriser {
    /// A client that connects when it is used first, and again whenever it has to.
    ///
    /// # Errors
    /// When a setting makes no sense.
    pub fn new(
        address: SocketAddr,
        breaker: Breaker,
        slots: usize,
    ) -> Result<Self, Box<dyn Error>> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
        Ok(Self::at(endpoint, breaker, slots)?)
    }

    /// The same for an authoriser that is not told by its address.
    ///
    /// # Errors
    /// When there are no slots.
    pub fn at(endpoint: Endpoint, breaker: Breaker, slots: usize) -> Result<Self, ConfigError> {
        let compartment = Compartment::builder("authoriser-client")
            .slots(slots)
            .registration(Registration::Unlisted)
            .build()?;
        let channel = endpoint.connect_timeout(DEADLINE).connect_lazy();
        let stack = ServiceBuilder::new()
            .layer(breaker.layer().for_client())
            .timeout(DEADLINE)
            .layer(compartment.layer())
            .service(channel);
        Ok(Self {
            calls: AuthoriserClient::new(stack),
            breaker,
            compartment,
        })
    }
}
