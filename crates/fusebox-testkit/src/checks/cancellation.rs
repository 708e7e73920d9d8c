use http_body::Body;

use super::{NEVER_WAITS, parked::Parked};
use crate::{
    Checked, MockBody, MockFrame, Script, Situation, Subject,
    poll::{MANY, Polled},
    stage::{Candidate, Found, Stage},
};

pub(super) async fn run<S: Subject>(subject: Candidate<'_, S>, checked: &mut Checked) {
    match gauge(subject).await {
        Ok(true) => {}
        Ok(false) => checked.skip("the fixture shows nothing that is held"),
        Err(what) => checked.row("the gauge", Err(what)),
    }
    for situation in [Situation::Admits, Situation::Refuses, Situation::Shadow] {
        checked.row(
            format_args!("{situation:?}, never called"),
            never_called(subject, situation).await,
        );
        checked.row(
            format_args!("{situation:?}, future dropped"),
            future_dropped(subject, situation).await,
        );
        checked.row(
            format_args!("{situation:?}, body dropped"),
            body_dropped(subject, situation).await,
        );
    }
    match Stage::set(subject, Situation::Waits, script()).await {
        Some(mut stage) => {
            checked.row(
                "dropped while waiting",
                while_waiting(subject, &mut stage).await,
            );
            checked.row("dropped after waiting", after_waiting(subject).await);
        }
        None => checked.skip(NEVER_WAITS),
    }
}

/// With an await point wherever there can be one.
fn script() -> Script {
    let data = MockFrame::data;
    Script::ok(MockBody::of([
        MockFrame::Pending,
        data("a"),
        MockFrame::Pending,
        data("b"),
        MockFrame::trailer("x-check", "1"),
    ]))
    .pending(2)
}

/// Without this, a gauge that always reads 0 would hide every leak.
async fn gauge<S: Subject>(subject: Candidate<'_, S>) -> Found<bool> {
    let stage = Stage::admitting(subject, Script::never()).await?;
    if stage.fixture.held.is_none() {
        return Ok(false);
    }
    let idle = stage.held();
    let mut call = stage.call(stage.request()).await?;
    stage.poll(1, &mut call).await?;
    if !stage.driver.holds(|| stage.mock.called() == 1).await {
        return Err("the call never reached the inner service".to_owned());
    }
    if stage.held() <= idle {
        return Err(format!(
            "held() says {} while a call is in progress, as before: it cannot show a leak",
            stage.held()
        ));
    }
    drop(call);
    stage.gave_back(idle).await?;
    Ok(true)
}

/// A service that got ready, and perhaps reserved a place, and is not used.
async fn never_called<S: Subject>(subject: Candidate<'_, S>, situation: Situation) -> Found {
    let Some(stage) = Stage::set(subject, situation, script().ready_after(1)).await else {
        return Ok(());
    };
    let before = stage.held();
    let mut service = stage.service();
    stage.ready(&mut service).await?;
    let clone = service.clone();
    drop(service);
    drop(clone);
    ends_clean(&stage, before).await
}

/// Every number of polls, until the future is ready before it is dropped.
async fn future_dropped<S: Subject>(subject: Candidate<'_, S>, situation: Situation) -> Found {
    for polls in 0..MANY {
        let Some(stage) = Stage::set(subject, situation, script().ready_after(1)).await else {
            return Ok(());
        };
        let before = stage.held();
        let mut call = stage.call(stage.request()).await?;
        let ready = stage.poll(polls, &mut call).await?;
        let done = ready.is_some();
        // With the answer, if there is one: nobody may ever look at its body.
        drop(ready);
        drop(call);
        ends_clean(&stage, before)
            .await
            .map_err(|what| format!("after {polls} polls: {what}"))?;
        if done {
            return Ok(());
        }
    }
    Err(format!("not ready after {MANY} polls"))
}

/// Every number of polls of the body, until it is over before it is dropped.
async fn body_dropped<S: Subject>(subject: Candidate<'_, S>, situation: Situation) -> Found {
    for polls in 0..MANY {
        let Some(stage) = Stage::set(subject, situation, script().ready_after(1)).await else {
            return Ok(());
        };
        let before = stage.held();
        let mut call = stage.call(stage.request()).await?;
        let mut body = Box::pin(stage.response(&mut call).await?.into_body());
        drop(call);
        let mut over = false;
        for _ in 0..polls {
            match stage
                .driver
                .poll(1, |cx| body.as_mut().poll_frame(cx))
                .await
            {
                Polled::Ready(None) => {
                    over = true;
                    break;
                }
                Polled::Ready(Some(_)) => {}
                Polled::Pending | Polled::Stuck => {
                    if !stage.driver.woken().await {
                        return Err(format!("poll {polls} of the body is never woken"));
                    }
                }
            }
        }
        drop(body);
        ends_clean(&stage, before)
            .await
            .map_err(|what| format!("after {polls} polls: {what}"))?;
        if over {
            return Ok(());
        }
    }
    Err(format!("not over after {MANY} polls"))
}

async fn ends_clean<S: Subject>(stage: &Stage<'_, S>, before: usize) -> Found {
    match stage.situation() {
        Situation::Admits => stage.ends_clean(before).await,
        // What it says to the next call is the business of other checks.
        _ => stage.gave_back(before).await,
    }
}

async fn while_waiting<S: Subject>(subject: Candidate<'_, S>, stage: &mut Stage<'_, S>) -> Found {
    let before = stage.held();
    // Twice: a place in the queue that is not given back shows at the second.
    for _ in 0..2 {
        let park = async || Parked::park(stage).await;
        drop(stage.driver.succeeds(park).await?);
        stage.gave_back(before).await?;
    }
    stage.release();
    let idle = idle(subject).await?;
    stage.ends_clean(idle).await
}

/// A call whose turn came is dropped before, and at every poll after, it notices.
async fn after_waiting<S: Subject>(subject: Candidate<'_, S>) -> Found {
    for polls in 0..MANY {
        let Some(mut stage) = Stage::set(subject, Situation::Waits, script()).await else {
            return Ok(());
        };
        let parked = Parked::park(&stage).await?;
        stage.release();
        let ready = match parked {
            // Ready services are dropped in `never_called`; here one is dropped that could be ready.
            Parked::Ready(service) => {
                drop(service);
                true
            }
            Parked::Call(mut call) => stage.poll(polls, &mut call).await?.is_some(),
        };
        let idle = idle(subject).await?;
        stage
            .ends_clean(idle)
            .await
            .map_err(|what| format!("after {polls} polls: {what}"))?;
        if ready {
            return Ok(());
        }
    }
    Err(format!("not ready after {MANY} polls"))
}

/// What a layer in that situation holds when nothing is going on in it any more.
async fn idle<S: Subject>(subject: Candidate<'_, S>) -> Found<usize> {
    match Stage::set(subject, Situation::Waits, script()).await {
        Some(mut stage) => {
            stage.release();
            Ok(stage.held())
        }
        None => Err("the fixture that waits was there a moment ago".to_owned()),
    }
}
