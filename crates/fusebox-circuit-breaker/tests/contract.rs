//! The contract of every fusebox layer, kept by each flavour of the breaker.
#![cfg(feature = "http")]
#![expect(clippy::unwrap_used, reason = "a test's panic is its report")]

use std::sync::Arc;

use fusebox_circuit_breaker::{
    Breaker, BreakerBuilder, CircuitBreakerLayer, ErrorsAreFailures, PlainCircuitBreakerLayer,
    ResponseBody,
};
use fusebox_core::{CircuitState, LayerKind, Mode, Observer, Outcome, Registration};
use fusebox_testkit::{
    Counted, Fixture, MockBody, Plain, PlainSubject, Situation, Subject, contract,
};

/// A circuit in that situation.
///
/// One that admits is half-open and will stay so for a long time: it lets one probe pass at a time, so a
/// lease that leaks shows with the next call.
fn breaker(situation: Situation, observer: Option<Arc<dyn Observer>>) -> Option<Breaker> {
    let mode = match situation {
        Situation::Admits | Situation::Refuses => Mode::Enforce,
        Situation::Shadow => Mode::Shadow,
        Situation::Waits => return None,
    };
    let settings = Breaker::builder("dependency")
        .consecutive_failures(1)
        .cool_down(std::time::Duration::from_secs(3_600))
        .probe_deadline(std::time::Duration::from_secs(3_600))
        .close_at_ratio(1.0, 1_000)
        .mode(mode)
        .registration(Registration::Unlisted);
    let breaker = observer
        .into_iter()
        .fold(settings, BreakerBuilder::observer)
        .build()
        .unwrap();
    breaker.try_pass().unwrap().end(Outcome::Failure);
    assert_eq!(breaker.state(), CircuitState::Open);
    Some(breaker)
}

/// What the kit has to know of a layer around it.
async fn fixture<L>(
    situation: Situation,
    observer: Option<Arc<dyn Observer>>,
    layer: impl FnOnce(&Breaker) -> L,
) -> Option<Fixture<L>> {
    let breaker = breaker(situation, observer)?;
    if situation == Situation::Admits {
        tokio::time::advance(std::time::Duration::from_secs(3_601)).await;
        breaker.try_pass().unwrap().end(Outcome::Cancelled);
        assert_eq!(breaker.state(), CircuitState::HalfOpen);
    }
    let (holding, counting) = (breaker.clone(), breaker.clone());
    Some(
        Fixture::new(layer(&breaker))
            .holding(move || holding.probes_in_flight())
            .counting(move || Counted::from(&counting.stats()))
            .keeping(ClosesOnDrop(breaker)),
    )
}

/// What keeps the circuit open.
struct ClosesOnDrop(Breaker);

impl Drop for ClosesOnDrop {
    fn drop(&mut self) {
        self.0.reset();
    }
}

struct Http;

impl Subject for Http {
    const KIND: LayerKind = LayerKind::CircuitBreaker;
    type Layer = CircuitBreakerLayer;
    type Body = ResponseBody<MockBody>;

    async fn fixture(
        &self,
        situation: Situation,
        observer: Option<Arc<dyn Observer>>,
    ) -> Option<Fixture<Self::Layer>> {
        fixture(situation, observer, Breaker::layer).await
    }
}

struct AnyService;

impl PlainSubject for AnyService {
    const KIND: LayerKind = LayerKind::CircuitBreaker;
    type Layer = PlainCircuitBreakerLayer<ErrorsAreFailures>;

    async fn fixture(
        &self,
        situation: Situation,
        observer: Option<Arc<dyn Observer>>,
    ) -> Option<Fixture<Self::Layer>> {
        fixture(situation, observer, |breaker| {
            breaker.plain_layer().judged_by(ErrorsAreFailures)
        })
        .await
    }
}

contract! {
    mod http: Http;
    mod plain: Plain(AnyService);
}
