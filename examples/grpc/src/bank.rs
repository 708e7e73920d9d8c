//! The bank behind the authoriser: well, or unwell in one of the ways banks are.

use std::{pin::Pin, sync::Arc};

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
}

impl Default for Bank {
    fn default() -> Self {
        Self {
            health: Arc::new(watch::Sender::new(Health::Well)),
            calls: Arc::new(watch::Sender::new(0)),
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
