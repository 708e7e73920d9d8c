use std::{convert::Infallible, sync::Arc, time::Duration};

use anyhow::Context;
use fusebox_bulkhead::Compartment;
use tokio::task::JoinSet;
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::{
    queue::{Message, Queue},
    report::Gauges,
};

/// Takes a message when there is a slot for it.
pub(crate) async fn patiently(
    mut queue: Queue,
    compartment: &Compartment,
    work: Duration,
    gauges: &Arc<Gauges>,
) -> anyhow::Result<()> {
    let mut worker = compartment
        .backpressure_layer()
        .layer(service_fn(worker(work, gauges.clone())));
    let mut calls = JoinSet::new();
    loop {
        // The slot first, the message second: whoever has no room for it leaves it in the queue.
        worker.ready().await.context("waiting for a slot")?;
        let Some(message) = queue.recv().await else {
            break;
        };
        gauges.taken(queue.len());
        calls.spawn(worker.call(message));
        // Those that have ended; the slots keep the others few.
        while let Some(ended) = calls.try_join_next() {
            ended?.context("the worker")?;
        }
    }
    while let Some(ended) = calls.join_next().await {
        ended?.context("the worker")?;
    }
    Ok(())
}

/// Takes every message there is, and lets each wait for its slot.
pub(crate) async fn greedily(
    mut queue: Queue,
    compartment: &Compartment,
    work: Duration,
    gauges: &Arc<Gauges>,
) -> anyhow::Result<()> {
    let worker = compartment
        .backpressure_layer()
        .layer(service_fn(worker(work, gauges.clone())));
    let mut calls = JoinSet::new();
    while let Some(message) = queue.recv().await {
        gauges.taken(queue.len());
        calls.spawn(worker.clone().oneshot(message));
    }
    while let Some(ended) = calls.join_next().await {
        ended?.context("the worker")?;
    }
    Ok(())
}

/// What is done with a message.
fn worker(
    work: Duration,
    gauges: Arc<Gauges>,
) -> impl Fn(Message) -> std::pin::Pin<Box<dyn Future<Output = Result<(), Infallible>> + Send>> + Clone
{
    move |_message| {
        let gauges = gauges.clone();
        Box::pin(async move {
            gauges.begun();
            tokio::time::sleep(work).await;
            gauges.done();
            Ok(())
        })
    }
}
