use tower_service::Service;

use super::{NEVER_WAITS, parked::Parked};
use crate::{
    Checked, MockBody, Script, Situation, Subject,
    stage::{Candidate, Found, InFlight, Stage},
};

pub(super) async fn run<S: Subject>(subject: Candidate<'_, S>, checked: &mut Checked) {
    checked.row("two calls in a row", in_a_row(subject).await);
    checked.row("after a clone", after_a_clone(subject).await);
    checked.row("on a clone", on_a_clone(subject).await);
    match Stage::set(subject, Situation::Waits, script()).await {
        Some(mut stage) => checked.row("after waiting", after_waiting(&mut stage).await),
        None => checked.skip(NEVER_WAITS),
    }
}

/// Ready at once: whether the layer asks at all is what matters here.
fn script() -> Script {
    Script::ok(MockBody::full("hello"))
}

async fn in_a_row<S: Subject>(subject: Candidate<'_, S>) -> Found {
    let stage = Stage::admitting(subject, script()).await?;
    let before = stage.held();
    let mut service = stage.service();
    for calls in 1..=2 {
        stage.ready(&mut service).await?;
        let mut future = Box::pin(service.call(stage.request()));
        stage
            .driver
            .finish("the response future", |cx| future.as_mut().poll(cx))
            .await?
            .map_err(|error| format!("call {calls} failed: {error}"))
            .map(drop)?;
        drop(future);
        called_ready(&stage, calls).await?;
        // The second call is to find the first one's place free.
        stage.driver.holds(|| stage.held() == before).await;
    }
    Ok(())
}

/// A clone made of a ready service is no reason to call another instance than the ready one.
async fn after_a_clone<S: Subject>(subject: Candidate<'_, S>) -> Found {
    let stage = Stage::admitting(subject, script()).await?;
    let mut service = stage.service();
    stage.ready(&mut service).await?;
    let clone = service.clone();
    let call = InFlight {
        future: Box::pin(service.call(stage.request())),
        _service: service,
    };
    let _ = stage.end(call).await?;
    drop(clone);
    called_ready(&stage, 1).await
}

/// A clone of a ready service has to become ready itself.
async fn on_a_clone<S: Subject>(subject: Candidate<'_, S>) -> Found {
    let stage = Stage::admitting(subject, script()).await?;
    let before = stage.held();
    let mut service = stage.service();
    stage.ready(&mut service).await?;
    let clone = service.clone();
    // A place that it may have reserved is given back, so that the clone can have it.
    drop(service);
    stage.driver.holds(|| stage.held() == before).await;
    let call = stage.call_on(clone, stage.request()).await?;
    let _ = stage.end(call).await?;
    called_ready(&stage, 1).await
}

async fn after_waiting<S: Subject>(stage: &mut Stage<'_, S>) -> Found {
    let parked = Parked::park(stage).await?;
    stage.release();
    let call = parked.resume(stage).await?;
    let _ = stage.end(call).await?;
    called_ready(stage, 1).await
}

async fn called_ready<S: Subject>(stage: &Stage<'_, S>, expected: usize) -> Found {
    stage.driver.holds(|| stage.mock.called() >= expected).await;
    let calls = stage.mock.calls();
    if calls.len() != expected {
        return Err(format!(
            "the inner service was called {} times, not {expected}",
            calls.len()
        ));
    }
    match calls.iter().find(|call| !call.was_ready) {
        None => Ok(()),
        Some(call) => Err(format!(
            "instance {} was called, which was never ready for it",
            call.instance
        )),
    }
}
