//! Asking whether a payment may be made, of somebody who may be down.

use std::{error::Error as _, net::Ipv4Addr, sync::Arc, time::Duration};

use axum::http::{StatusCode, Uri};
use fusebox_circuit_breaker::Breaker;
use fusebox_core::{Observer, Registration, Registry};
use fusebox_example_grpc::{
    bank::Bank,
    client::{self, DEADLINE},
    proto::{AuthoriseRequest, authoriser_client::AuthoriserClient},
    server::{Limits, Running},
};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use tower::timeout::{Timeout, error::Elapsed};

use super::request::{IdempotencyKey, NewPayment};
use crate::{compartments::PAYMENTS, problem::Problem};

/// Half of the payments' own: were all of them waiting for the authoriser, nobody could look a payment up.
const SLOTS: usize = PAYMENTS.slots / 2;

/// So many calls without an answer for so long open the circuit, long before the first of them times out.
/// The authoriser answers in a few milliseconds.
const HANGING: (u32, Duration) = (5, Duration::from_millis(150));

/// How long the circuit stays open, at first and at most. A few probes every two seconds burden nobody, and
/// customers are waiting.
pub const COOL_DOWN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(2));

/// Probes at once in a half-open circuit, and successes that close it.
pub const PROBES: u32 = 2;

/// From a tenth of the payments to all of them in that time, once it is back.
pub const RAMP: (f64, Duration) = (0.1, Duration::from_secs(1));

/// What a client is told to wait when nobody has said for how long.
const COME_BACK: Duration = Duration::from_secs(1);

/// More calls than the shop can have under way: its own authoriser is not what the storm is about, and must turn
/// nobody away, least of all in the columns that are to be without fusebox.
const NEVER_FULL: usize = 10_000;

/// The shop's way to the authoriser.
#[derive(Clone, Debug)]
pub struct Authoriser {
    calls: Calls,
}

#[derive(Clone, Debug)]
enum Calls {
    /// Circuit breaker, deadline, bulkhead, connection.
    Guarded(AuthoriserClient<client::Stack>),
    /// Deadline, connection.
    Bare(AuthoriserClient<Timeout<Channel>>),
}

/// An authoriser of the shop's own, on a port of loopback that is free. It ends when this is dropped.
///
/// # Errors
///
/// There is no such port, or its thread cannot be started.
pub fn own() -> anyhow::Result<Running> {
    let limits = Limits {
        // The shop is its only client: what limits it is the shop's own slots, if anything does.
        per_second: 100_000,
        slots: NEVER_FULL,
    };
    Running::start((Ipv4Addr::LOCALHOST, 0).into(), Bank::default(), limits)
        .map_err(|error| anyhow::anyhow!("the authoriser did not start: {error}"))
}

impl Authoriser {
    /// A guarded way to the one at `uri`, which connects when it is used first: circuit breaker, deadline and
    /// bulkhead. Its circuit is listed in `registry`.
    ///
    /// Needs a tokio runtime, which will drive the connection: the compartment's own, so that a connection is not
    /// kept waiting by the neighbours.
    ///
    /// # Errors
    ///
    /// Never in practice: the settings are constants.
    pub fn at(
        uri: Uri,
        registry: &Registry,
        observer: Option<Arc<dyn Observer>>,
    ) -> anyhow::Result<Self> {
        let mut breaker = Breaker::builder("authoriser")
            .hanging_calls(HANGING.0, HANGING.1)
            .exponential_cool_down(COOL_DOWN.0, COOL_DOWN.1)
            .probes(PROBES)
            .close_after(PROBES)
            .probe_deadline(2 * DEADLINE)
            .ramp(RAMP.0, RAMP.1)
            .registration(Registration::In(registry.clone()));
        if let Some(observer) = observer {
            breaker = breaker.observer(observer);
        }
        let client = client::Authoriser::at(Endpoint::from(uri), breaker.build()?, SLOTS)?;
        Ok(Self {
            calls: Calls::Guarded(client.calls),
        })
    }

    /// A way to the one at `uri` with the same deadline and nothing else: nobody is turned away, however many wait
    /// and however long it has been silent.
    ///
    /// Needs a tokio runtime, as [`Authoriser::at`] does.
    #[must_use]
    pub fn bare(uri: Uri) -> Self {
        let channel = Endpoint::from(uri).connect_timeout(DEADLINE).connect_lazy();
        Self {
            calls: Calls::Bare(AuthoriserClient::new(Timeout::new(channel, DEADLINE))),
        }
    }

    /// Asks for a payment to be authorised, and gives the authoriser's word for it.
    ///
    /// The same request is charged once, however often it is asked for: should the answer be lost, or the shop end
    /// before it has written, the client repeats its request.
    ///
    /// # Errors
    ///
    /// 503 with `Retry-After` while the circuit is open or somebody is full, 504 if there was no answer in time (both
    /// ways have the deadline, only the guarded one a circuit and slots),
    /// 402 if the payment was declined, 502 for everything else that goes wrong over there.
    pub async fn authorise(
        &self,
        key: &IdempotencyKey,
        payment: &NewPayment,
    ) -> Result<String, Problem> {
        let request = AuthoriseRequest {
            idempotency_key: key_there(key, payment),
            // The shop has no cards: an order stands for the card it was made with.
            card_token: format!("order-{}", payment.order_id),
            amount: payment.amount.unsigned_abs(),
            currency: payment.currency.code().to_owned(),
        };
        let answer = match self.calls.clone() {
            Calls::Guarded(mut calls) => calls.authorise(request).await,
            Calls::Bare(mut calls) => calls.authorise(request).await,
        };
        match answer {
            Ok(answer) => Ok(answer.into_inner().authorisation),
            Err(status) => Err(problem(&status)),
        }
    }
}

/// The client's key and what it is for. Of two requests with one key and different bodies that come at once only
/// one gets on the books, and it must not get there on the other one's authorisation.
fn key_there(key: &IdempotencyKey, payment: &NewPayment) -> String {
    format!(
        "{}/{}/{}/{}",
        key.as_str(),
        payment.order_id,
        payment.amount,
        payment.currency.code()
    )
}

fn problem(status: &Status) -> Problem {
    if let Some(after) = come_back_after(status) {
        return Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "authoriser_unavailable",
            "payments cannot be authorised at the moment; nothing was written",
        )
        .retry_after(after);
    }
    tracing::debug!("a payment was not authorised: {status}");
    if timed_out(status) {
        return Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "authoriser_timeout",
            "the payment was not authorised in time; nothing was written",
        );
    }
    if status.code() == Code::FailedPrecondition {
        return Problem::new(
            StatusCode::PAYMENT_REQUIRED,
            "payment_declined",
            "the payment was declined",
        );
    }
    Problem::new(
        StatusCode::BAD_GATEWAY,
        "authoriser_failed",
        "the payment could not be authorised; nothing was written",
    )
}

/// The call was turned away, by the circuit, by a bulkhead or by the authoriser itself. What a connection
/// that failed says of itself is `UNAVAILABLE` too, but that has a cause and no time.
fn come_back_after(status: &Status) -> Option<Duration> {
    let told = status.metadata().get("grpc-retry-pushback-ms");
    let told = told.and_then(|value| value.to_str().ok()?.parse().ok());
    let turned_away = match status.code() {
        Code::ResourceExhausted => true,
        Code::Unavailable => status.source().is_none(),
        _ => false,
    };
    (told.is_some() || turned_away).then(|| told.map_or(COME_BACK, Duration::from_millis))
}

fn timed_out(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<Elapsed>() {
            return true;
        }
        cause = error.source();
    }
    status.code() == Code::DeadlineExceeded
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;

    use super::{
        super::request::{Currency, IDEMPOTENCY_KEY},
        *,
    };

    fn key_of(key: &str, order_id: i64) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(IDEMPOTENCY_KEY, key.parse().unwrap());
        let payment = NewPayment {
            order_id,
            amount: 1999,
            currency: Currency::Eur,
        };
        key_there(&IdempotencyKey::from_headers(&headers).unwrap(), &payment)
    }

    #[test]
    fn the_same_request_has_the_same_key_there_and_no_other_request_has() {
        assert_eq!(key_of("a", 1), key_of("a", 1));
        assert_ne!(key_of("a", 1), key_of("a", 2));
        assert_ne!(key_of("a", 1), key_of("b", 1));
        assert_ne!(key_of("a/1", 2), key_of("a", 1));
    }

    #[test]
    fn each_way_to_fail_has_its_problem() {
        let mut full = Status::unavailable("open");
        full.metadata_mut()
            .insert("grpc-retry-pushback-ms", "1500".parse().unwrap());
        let elapsed: Box<dyn std::error::Error + Send + Sync> = Box::new(Elapsed::new());
        for (status, expected) in [
            (full, (503, "authoriser_unavailable")),
            (
                Status::resource_exhausted("full"),
                (503, "authoriser_unavailable"),
            ),
            (Status::from_error(elapsed), (504, "authoriser_timeout")),
            (
                Status::deadline_exceeded("late"),
                (504, "authoriser_timeout"),
            ),
            (
                Status::failed_precondition("no money"),
                (402, "payment_declined"),
            ),
            (Status::internal("oops"), (502, "authoriser_failed")),
        ] {
            let problem = problem(&status);
            let told = (problem.status().as_u16(), problem.code());
            assert_eq!(told, expected, "{status}");
        }
    }
}
