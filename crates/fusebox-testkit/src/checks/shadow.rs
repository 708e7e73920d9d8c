use fusebox_core::{Outcome, Rejection, Verdict};

use crate::{
    Checked, Counted, MockBody, MockError, Script, Situation, Subject,
    stage::{Candidate, Found, Stage},
};

const ERROR: MockError = MockError("connection reset");
const TEXT: &str = "let through";

pub(super) async fn run<S: Subject>(subject: Candidate<'_, S>, checked: &mut Checked) {
    let answer = Script::ok(MockBody::full(TEXT)).ready_after(1).pending(1);
    for (name, script, outcome) in [
        ("answered", answer, Outcome::Success),
        ("failed", Script::fail(ERROR), Outcome::Failure),
    ] {
        let Some(stage) = Stage::set(subject, Situation::Shadow, script).await else {
            checked.skip("the layer has no shadow mode");
            return;
        };
        checked.row(name, let_through(&stage, outcome).await);
        if stage.counted().is_none() {
            checked.skip("the fixture shows no counters");
            continue;
        }
        let expected = Counted {
            detected: 1,
            enforced: 0,
            ended: 1,
        };
        checked.row(
            format_args!("{name}, counted"),
            counts(&stage, expected).await,
        );
    }
    checked.row("enforced, counted", enforced(subject).await);
}

async fn let_through<S: Subject>(stage: &Stage<'_, S>, outcome: Outcome) -> Found {
    let before = stage.held();
    match stage.exchange(stage.request()).await? {
        Ok(answer) => {
            if let Some(rejection) = answer.rejection() {
                return Err(format!("the response is marked: {rejection}"));
            }
            if answer.frames.bytes() != TEXT.as_bytes() {
                return Err("the response is not the inner service's".to_owned());
            }
        }
        Err(ERROR) => {}
        Err(error) => return Err(format!("the error became: {error}")),
    }
    match stage.mock.called() {
        1 => {}
        calls => return Err(format!("the inner service was called {calls} times")),
    }
    stage.gave_back(before).await?;
    if !stage.is_observed() {
        return Ok(());
    }
    stage.told(1).await;
    match &*stage.recorder.calls() {
        [told] => match told.verdict {
            Verdict::Refused {
                enforced: false, ..
            } if told.outcome == Some(outcome) => Ok(()),
            _ => Err(format!("let through with {outcome}, and told as {told:?}")),
        },
        told => Err(format!("{} events: {told:?}", told.len())),
    }
}

/// The other side of the same counters.
async fn enforced<S: Subject>(subject: Candidate<'_, S>) -> Found {
    let script = Script::ok(MockBody::full(TEXT));
    let Some(stage) = Stage::set(subject, Situation::Refuses, script).await else {
        return Ok(());
    };
    if stage.counted().is_none() {
        return Ok(());
    }
    let mut call = stage.call(stage.request()).await?;
    let refused = match stage.head(&mut call).await? {
        Ok(response) => response.extensions().get::<Rejection>().is_some(),
        Err(_) => false,
    };
    if !refused {
        return Err("was to be refused".to_owned());
    }
    let expected = Counted {
        detected: 1,
        enforced: 1,
        ended: 0,
    };
    counts(&stage, expected).await
}

async fn counts<S: Subject>(stage: &Stage<'_, S>, expected: Counted) -> Found {
    if stage
        .driver
        .holds(|| stage.counted() == Some(expected))
        .await
    {
        return Ok(());
    }
    let counted = stage.counted();
    Err(format!("counted {counted:?}, not {expected:?}"))
}
