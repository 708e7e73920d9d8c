use fusebox_core::{Call, EventKind, Rejection, RejectionKind, Verdict};

use super::{NEVER_WAITS, parked::Parked, unwinding::to_the_panic};
use crate::{
    Checked, MockBody, MockError, MockFrame, Script, Situation, Subject,
    poll::MANY,
    stage::{Found, Stage},
};

const ERROR: MockError = MockError("connection reset");

pub(super) async fn run<S: Subject>(subject: &S, checked: &mut Checked) {
    for (name, script) in scripts() {
        checked.row(name, to_the_end(subject, script).await);
    }
    checked.row("never called", never_called(subject).await);
    for situation in [Situation::Admits, Situation::Refuses, Situation::Shadow] {
        checked.row(
            format_args!("{situation:?}, future dropped"),
            future_dropped(subject, situation).await,
        );
    }
    for situation in [Situation::Admits, Situation::Shadow] {
        checked.row(
            format_args!("{situation:?}, body dropped"),
            body_dropped(subject, situation).await,
        );
    }
    match Stage::set(subject, Situation::Refuses, Script::never()).await {
        Some(stage) => checked.row("refused", refused(&stage).await),
        None => checked.skip("the layer never refuses"),
    }
    match Stage::set(subject, Situation::Waits, script()).await {
        Some(mut stage) => {
            checked.row("admitted after waiting", after_waiting(&mut stage).await);
            checked.row("dropped while waiting", while_waiting(subject).await);
        }
        None => checked.skip(NEVER_WAITS),
    }
    for (name, script) in panics() {
        checked.row(name, panicking(subject, script).await);
    }
}

fn body() -> [MockFrame; 4] {
    [
        MockFrame::data("a"),
        MockFrame::Pending,
        MockFrame::data("b"),
        MockFrame::trailer("x-check", "1"),
    ]
}

fn script() -> Script {
    Script::ok(MockBody::of(body())).pending(2)
}

/// Everything that can happen to an admitted call that nobody interrupts.
fn scripts() -> [(&'static str, Script); 6] {
    let broken = [MockFrame::data("a"), MockFrame::Error(ERROR)];
    [
        ("answered without a body", Script::ok(MockBody::empty())),
        ("answered", Script::ok(MockBody::full("hello"))),
        ("streamed", script()),
        (
            "streamed without saying that it ends",
            Script::ok(MockBody::of(body()).hiding_its_end()),
        ),
        ("failed", Script::fail(ERROR).pending(1)),
        ("broke off", Script::ok(MockBody::of(broken))),
    ]
}

fn panics() -> [(&'static str, Script); 3] {
    let body = [MockFrame::data("a"), MockFrame::Panic];
    [
        ("panicked when called", Script::panic_in_call()),
        ("panicked", Script::panic_in_future().pending(1)),
        ("panicked in its body", Script::ok(MockBody::of(body))),
    ]
}

async fn to_the_end<S: Subject>(subject: &S, script: Script) -> Found {
    let stage = Stage::admitting(subject, script).await?;
    let _ = stage.exchange(stage.request()).await?;
    admitted(&the_only_one(&stage).await?)
}

/// A service that nobody calls has nothing to tell.
async fn never_called<S: Subject>(subject: &S) -> Found {
    let stage = Stage::admitting(subject, script().ready_after(1)).await?;
    let mut service = stage.service();
    stage.ready(&mut service).await?;
    drop(service);
    match stage.recorder.calls().len() {
        0 => Ok(()),
        events => Err(format!("{events} events where there was no request")),
    }
}

async fn future_dropped<S: Subject>(subject: &S, situation: Situation) -> Found {
    for polls in 0..MANY {
        let Some(stage) = Stage::set(subject, situation, script()).await else {
            return Ok(());
        };
        let mut call = stage.call(stage.request()).await?;
        let ready = stage.poll(polls, &mut call).await?;
        let done = ready.is_some();
        drop(ready);
        drop(call);
        // A future that was never polled may not have asked for a verdict: then there is no event.
        if polls > 0 || stage.mock.called() > 0 || !stage.recorder.calls().is_empty() {
            the_only_one(&stage)
                .await
                .map_err(|what| format!("after {polls} polls: {what}"))?;
        }
        if done {
            return Ok(());
        }
    }
    Err(format!("not ready after {MANY} polls"))
}

async fn body_dropped<S: Subject>(subject: &S, situation: Situation) -> Found {
    let all = match situation {
        Situation::Admits => body().len(),
        // Followed to its end, a shadowed call is the business of another check.
        _ => 2,
    };
    for frames in 0..=all {
        let Some(stage) = Stage::set(subject, situation, script()).await else {
            return Ok(());
        };
        let mut call = stage.call(stage.request()).await?;
        let mut body = Box::pin(stage.response(&mut call).await?.into_body());
        drop(call);
        for _ in 0..frames {
            if stage.frame(&mut body).await?.is_none() {
                break;
            }
        }
        drop(body);
        let told = the_only_one(&stage).await;
        told.and_then(|call| match situation {
            Situation::Admits => admitted(&call),
            // With which words is the business of another check.
            _ => Ok(()),
        })
        .map_err(|what| format!("after {frames} frames: {what}"))?;
    }
    Ok(())
}

async fn refused<S: Subject>(stage: &Stage<'_, S>) -> Found {
    let kind = match stage.exchange(stage.request()).await? {
        Ok(answer) => answer.rejection().map(Rejection::kind),
        Err(_) => None,
    };
    let told = the_only_one(stage).await?;
    let expected = |told: RejectionKind| kind.is_none_or(|kind| kind == told);
    match told.verdict {
        Verdict::Refused {
            kind,
            enforced: true,
        } if expected(kind) && told.outcome.is_none() => Ok(()),
        _ => Err(format!("refused as {kind:?}, and told as {told:?}")),
    }
}

async fn after_waiting<S: Subject>(stage: &mut Stage<'_, S>) -> Found {
    let parked = Parked::park(stage).await?;
    stage.release();
    let call = parked.resume(stage).await?;
    let _ = stage.end(call).await?;
    admitted(&the_only_one(stage).await?)
}

/// Neither admitted nor refused, but not untold either.
async fn while_waiting<S: Subject>(subject: &S) -> Found {
    let Some(mut stage) = Stage::set(subject, Situation::Waits, script()).await else {
        return Ok(());
    };
    match Parked::park(&stage).await? {
        // Nobody called: there is no request yet.
        Parked::Ready(_) => return Ok(()),
        Parked::Call(call) => drop(call),
    }
    stage.release();
    the_only_one(&stage).await.map(drop)
}

async fn panicking<S: Subject>(subject: &S, script: Script) -> Found {
    let stage = Stage::admitting(subject, script).await?;
    to_the_panic(&stage).await?;
    the_only_one(&stage).await.map(drop)
}

/// The event of the only request there was.
async fn the_only_one<S: Subject>(stage: &Stage<'_, S>) -> Found<Call> {
    let mut requests = 1;
    let mut told = stage.told(requests).await;
    if stage.runs_elsewhere() && told == requests {
        // A second event could still be on its way; not any more when that of a later request is here.
        stage.mock.follow(Script::ok(MockBody::empty()));
        let _ = stage.exchange(stage.request()).await?;
        requests += 1;
        told = stage.told(requests).await;
    }
    let events = stage.recorder.told();
    if let Some(event) = events.iter().find(|event| event.layer != S::KIND) {
        return Err(format!("the event names {} as its layer", event.layer));
    }
    let first = events.iter().find_map(|event| match event.kind {
        EventKind::Call(call) => Some(call),
        _ => None,
    });
    match first {
        Some(call) if told == requests => Ok(call),
        _ => Err(format!("{told} events for {requests} requests: {events:?}")),
    }
}

fn admitted(told: &Call) -> Found {
    match (told.verdict, told.outcome) {
        (Verdict::Admitted, Some(_)) => Ok(()),
        _ => Err(format!("admitted, and told as {told:?}")),
    }
}
