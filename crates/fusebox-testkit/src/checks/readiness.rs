use tower_service::Service;

use super::{NEVER_WAITS, parked::Parked};
use crate::{
    Checked, MockBody, MockError, Script, Situation, Subject,
    poll::Polled,
    stage::{Candidate, Found, Stage},
};

const ERROR: MockError = MockError("the inner service is finished");

pub(super) async fn run<S: Subject>(subject: Candidate<'_, S>, checked: &mut Checked) {
    checked.row("the inner service is not ready", not_ready(subject).await);
    checked.row("the inner service is slow to be ready", slow(subject).await);
    checked.row("the inner service fails to be ready", fails(subject).await);
    match Stage::set(subject, Situation::Waits, script()).await {
        Some(mut stage) => checked.row("the call waits", waits(&mut stage).await),
        None => checked.skip(NEVER_WAITS),
    }
}

fn script() -> Script {
    Script::ok(MockBody::full("hello"))
}

async fn not_ready<S: Subject>(subject: Candidate<'_, S>) -> Found {
    let stage = Stage::admitting(subject, script().never_ready()).await?;
    let mut service = stage.service();
    match stage.driver.poll(1, |cx| service.poll_ready(cx)).await {
        Polled::Pending | Polled::Stuck => {}
        Polled::Ready(Ok(())) => return Err("poll_ready said ready".to_owned()),
        Polled::Ready(Err(error)) => return Err(format!("poll_ready failed: {error}")),
    }
    if stage.mock.called() > 0 {
        return Err("it was called all the same".to_owned());
    }
    stage.driver.forget_wake_ups();
    stage.mock.follow(script());
    if !stage.driver.woken().await {
        return Err("nobody was woken when it became ready".to_owned());
    }
    let call = stage.call_on(service, stage.request()).await?;
    stage.end(call).await.map(drop)
}

async fn slow<S: Subject>(subject: Candidate<'_, S>) -> Found {
    const POLLS: usize = 3;
    let stage = Stage::admitting(subject, script().ready_after(POLLS)).await?;
    let mut service = stage.service();
    for poll in 1..=POLLS {
        let polled = stage.driver.poll(1, |cx| service.poll_ready(cx)).await;
        if matches!(polled, Polled::Ready(_)) {
            return Err(format!(
                "poll_ready said ready at poll {poll}, not after {POLLS}"
            ));
        }
    }
    stage.ready(&mut service).await
}

async fn fails<S: Subject>(subject: Candidate<'_, S>) -> Found {
    let stage = Stage::admitting(subject, script().fails_ready(ERROR)).await?;
    let mut service = stage.service();
    let failed = stage
        .driver
        .finish("poll_ready", |cx| service.poll_ready(cx))
        .await?;
    match failed {
        Err(ERROR) => Ok(()),
        Err(error) => Err(format!("its error became: {error}")),
        Ok(()) => Err("its error was swallowed".to_owned()),
    }
}

async fn waits<S: Subject>(stage: &mut Stage<'_, S>) -> Found {
    let parked = Parked::park(stage).await?;
    if stage.mock.called() > 0 {
        return Err("the inner service was called before the verdict".to_owned());
    }
    stage.driver.forget_wake_ups();
    stage.release();
    if !stage.driver.woken().await {
        return Err("the waiting call was not woken when its turn came".to_owned());
    }
    let call = parked.resume(stage).await?;
    let _ = stage.end(call).await?;
    match stage.mock.called() {
        1 => Ok(()),
        calls => Err(format!("the inner service was called {calls} times")),
    }
}
