//! The bank behind the authoriser: well, or unwell in one of the ways banks are.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::watch;
use tokio_stream::{Stream, StreamExt, iter};
use tonic::{Code, Request, Response, Status};

use crate::proto::{
    AuthoriseRequest, AuthoriseResponse, FollowRequest, Step, authoriser_server::Authoriser,
};

/// How the bank is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// It answers.
    #[default]
    Well,
    /// It fails with this code, at once.
    Fails(Code),
    /// It takes calls and never answers.
    Hangs,
}

/// A bank. Clones are the same bank.
#[derive(Clone, Debug)]
pub struct Bank {
    health: Arc<watch::Sender<Health>>,
    calls: Arc<watch::Sender<usize>>,
    at_once: Arc<AtOnce>,
}

/// Calls that it has at the moment, and the most that it has had.
#[derive(Debug, Default)]
struct AtOnce {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// One of them, until it is answered or given up.
struct Held(Arc<AtOnce>);

impl Held {
    fn by(at_once: &Arc<AtOnce>) -> Self {
        let now = at_once.now.fetch_add(1, Ordering::SeqCst) + 1;
        at_once.most.fetch_max(now, Ordering::SeqCst);
        Self(Arc::clone(at_once))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Default for Bank {
    fn default() -> Self {
        Self {
            health: Arc::new(watch::Sender::new(Health::Well)),
            calls: Arc::new(watch::Sender::new(0)),
            at_once: Arc::default(),
        }
    }
}

impl Bank {
    /// How it is from now on; calls that hang are answered when it gets well.
    pub fn is(&self, health: Health) {
        self.health.send_replace(health);
    }

    /// How many calls have reached it.
    #[must_use]
    pub fn calls(&self) -> usize {
        *self.calls.borrow()
    }

    /// The most calls that it had at once since this was asked last, those included that it had then.
    #[must_use]
    pub fn most_at_once(&self) -> usize {
        let now = self.at_once.now.load(Ordering::SeqCst);
        self.at_once.most.swap(now, Ordering::SeqCst)
    }

    /// Waits until so many calls have reached it.
    pub async fn called(&self, times: usize) {
        // The sender is `self`: it cannot be gone.
        let _ = self
            .calls
            .subscribe()
            .wait_for(|calls| *calls >= times)
            .await;
    }

    async fn answer(&self) -> Result<(), Status> {
        self.calls.send_modify(|calls| *calls += 1);
        let _held = Held::by(&self.at_once);
        let mut health = self.health.subscribe();
        let health = health.wait_for(|health| *health != Health::Hangs).await;
        match health.map(|health| *health) {
            Ok(Health::Fails(code)) => Err(Status::new(code, "the bank says no")),
            _ => Ok(()),
        }
    }
}

#[tonic::async_trait]
impl Authoriser for Bank {
    async fn authorise(
        &self,
        request: Request<AuthoriseRequest>,
    ) -> Result<Response<AuthoriseResponse>, Status> {
        let payment = request.into_inner();
        if payment.amount == 0 {
            self.calls.send_modify(|calls| *calls += 1);
            return Err(Status::invalid_argument(
                "amount: must be more than 0, got 0",
            ));
        }
        self.answer().await?;
        Ok(Response::new(AuthoriseResponse {
            authorisation: format!("auth-{}", payment.idempotency_key),
        }))
    }

    type FollowStream = Pin<Box<dyn Stream<Item = Result<Step, Status>> + Send>>;

    async fn follow(
        &self,
        _request: Request<FollowRequest>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let step = |what: &str| {
            Ok(Step {
                what: what.to_owned(),
            })
        };
        let bank = self.clone();
        // The head and the first step come at once; how the bank is shows afterwards.
        let settled = async_once(async move {
            bank.answer().await?;
            Ok(Step {
                what: "settled".to_owned(),
            })
        });
        let steps = iter([step("received")]).chain(settled);
        Ok(Response::new(Box::pin(steps)))
    }
}

fn async_once<T>(future: impl Future<Output = T> + Send) -> impl Stream<Item = T> + Send {
    tokio_stream::once(future).then(|future| future)
}
