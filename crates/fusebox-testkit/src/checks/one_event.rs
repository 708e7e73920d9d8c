use fusebox_core::{Call, Rejection, RejectionKind, Verdict};

use super::{NEVER_WAITS, parked::Parked, unwinding::to_the_panic};
use crate::{
    Checked, Counted, MockBody, MockError, MockFrame, Script, Situation, Subject,
    poll::MANY,
    stage::{Candidate, Found, Stage},
};

const ERROR: MockError = MockError("connection reset");

pub(super) async fn run<S: Subject>(subject: Candidate<'_, S>, checked: &mut Checked) {
    if !subject.observed && !counts(subject).await {
        checked.skip("the fixture shows no counters");
        return;
    }
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

/// Where nobody listens, the counters have to say it.
async fn counts<S: Subject>(subject: Candidate<'_, S>) -> bool {
    let stage = Stage::set(subject, Situation::Admits, Script::never()).await;
    stage.is_some_and(|stage| stage.counted().is_some())
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

async fn to_the_end<S: Subject>(subject: Candidate<'_, S>, script: Script) -> Found {
    let stage = Stage::admitting(subject, script).await?;
    let _ = stage.exchange(stage.request()).await?;
    told_once(&stage, Expected::Admitted).await
}

/// A service that nobody calls has nothing to tell.
async fn never_called<S: Subject>(subject: Candidate<'_, S>) -> Found {
    let stage = Stage::admitting(subject, script().ready_after(1)).await?;
    let mut service = stage.service();
    stage.ready(&mut service).await?;
    drop(service);
    match seen(&stage) {
        0 => Ok(()),
        events => Err(format!("{events} events where there was no request")),
    }
}

async fn future_dropped<S: Subject>(subject: Candidate<'_, S>, situation: Situation) -> Found {
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
        if polls > 0 || stage.mock.called() > 0 || seen(&stage) > 0 {
            told_once(&stage, Expected::Anything)
                .await
                .map_err(|what| format!("after {polls} polls: {what}"))?;
        }
        if done {
            return Ok(());
        }
    }
    Err(format!("not ready after {MANY} polls"))
}

async fn body_dropped<S: Subject>(subject: Candidate<'_, S>, situation: Situation) -> Found {
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
        let expected = match situation {
            Situation::Admits => Expected::Admitted,
            // With which words is the business of another check.
            _ => Expected::Anything,
        };
        told_once(&stage, expected)
            .await
            .map_err(|what| format!("after {frames} frames: {what}"))?;
    }
    Ok(())
}

async fn refused<S: Subject>(stage: &Stage<'_, S>) -> Found {
    let kind = match stage.exchange(stage.request()).await? {
        Ok(answer) => answer.rejection().map(Rejection::kind),
        Err(_) => None,
    };
    told_once(stage, Expected::Refused(kind)).await
}

async fn after_waiting<S: Subject>(stage: &mut Stage<'_, S>) -> Found {
    let parked = Parked::park(stage).await?;
    stage.release();
    let call = parked.resume(stage).await?;
    let _ = stage.end(call).await?;
    told_once(stage, Expected::Admitted).await
}

/// Neither admitted nor refused, but not untold either.
async fn while_waiting<S: Subject>(subject: Candidate<'_, S>) -> Found {
    let Some(mut stage) = Stage::set(subject, Situation::Waits, script()).await else {
        return Ok(());
    };
    match Parked::park(&stage).await? {
        // Nobody called: there is no request yet.
        Parked::Ready(_) => return Ok(()),
        Parked::Call(call) => drop(call),
    }
    stage.release();
    told_once(&stage, Expected::Anything).await
}

async fn panicking<S: Subject>(subject: Candidate<'_, S>, script: Script) -> Found {
    let stage = Stage::admitting(subject, script).await?;
    to_the_panic(&stage).await?;
    told_once(&stage, Expected::Anything).await
}

/// What is to be told of the only request there was.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// That it was let through, and how it ended.
    Admitted,
    /// That it was refused; why, if the refusal said so.
    Refused(Option<RejectionKind>),
    /// Something.
    Anything,
}

/// How many requests the layer has told of, or has counted where nobody listens.
fn seen<S: Subject>(stage: &Stage<'_, S>) -> usize {
    if stage.is_observed() {
        return stage.recorder.calls().len();
    }
    let counted = stage.counted().unwrap_or_default();
    // Either all were let through or none: how those are counted that shadow mode let through is the business of another
    // check.
    let requests = match counted.ended {
        0 => counted.detected,
        ended => ended,
    };
    usize::try_from(requests).unwrap_or(usize::MAX)
}

async fn told_once<S: Subject>(stage: &Stage<'_, S>, expected: Expected) -> Found {
    let mut requests = 1;
    let mut told = seen_at_least(stage, requests).await;
    let counted = stage.counted().unwrap_or_default();
    if stage.runs_elsewhere() && told == requests {
        // A second event could still be on its way; not any more when that of a later request is here.
        stage.mock.follow(Script::ok(MockBody::empty()));
        let _ = stage.exchange(stage.request()).await?;
        requests += 1;
        told = seen_at_least(stage, requests).await;
    }
    if told != requests {
        let events = stage.recorder.told();
        return Err(format!("{told} events for {requests} requests: {events:?}"));
    }
    if stage.is_observed() {
        fits(&the_first(stage)?, expected)
    } else {
        is_counted(counted, expected)
    }
}

async fn seen_at_least<S: Subject>(stage: &Stage<'_, S>, requests: usize) -> usize {
    stage.driver.holds(|| seen(stage) >= requests).await;
    seen(stage)
}

fn the_first<S: Subject>(stage: &Stage<'_, S>) -> Found<Call> {
    let events = stage.recorder.told();
    if let Some(event) = events.iter().find(|event| event.layer != S::KIND) {
        return Err(format!("the event names {} as its layer", event.layer));
    }
    let mut calls = stage.recorder.calls().into_iter();
    calls.next().ok_or_else(|| "no event".to_owned())
}

fn fits(told: &Call, expected: Expected) -> Found {
    match (expected, told.verdict, told.outcome) {
        (Expected::Anything, ..) | (Expected::Admitted, Verdict::Admitted, Some(_)) => Ok(()),
        (
            Expected::Refused(expected),
            Verdict::Refused {
                kind,
                enforced: true,
            },
            None,
        ) if expected.is_none_or(|expected| expected == kind) => Ok(()),
        _ => Err(format!("{expected:?}, and told as {told:?}")),
    }
}

/// The same, as far as counters tell.
fn is_counted(counted: Counted, expected: Expected) -> Found {
    let right = match expected {
        Expected::Anything => true,
        Expected::Admitted => (counted.detected, counted.ended) == (0, 1),
        Expected::Refused(_) => (counted.detected, counted.ended) == (1, 0),
    };
    if right {
        Ok(())
    } else {
        Err(format!("{expected:?}, and counted as {counted:?}"))
    }
}
