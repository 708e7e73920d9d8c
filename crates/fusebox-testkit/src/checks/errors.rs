use crate::{
    Checked, MockBody, MockError, MockFrame, Script, Subject,
    stage::{Candidate, Found, Stage},
};

const ERROR: MockError = MockError("connection reset");

pub(super) async fn run<S: Subject>(subject: Candidate<'_, S>, checked: &mut Checked) {
    for polls in [0, 2] {
        let script = Script::fail(ERROR).pending(polls);
        checked.row(
            format_args!("an error after {polls} polls"),
            of_the_service(subject, script).await,
        );
    }
    for frames in 0..=2 {
        checked.row(
            format_args!("a body that breaks off after {frames} frames"),
            of_the_body(subject, frames).await,
        );
    }
}

async fn of_the_service<S: Subject>(subject: Candidate<'_, S>, script: Script) -> Found {
    let stage = Stage::admitting(subject, script).await?;
    let before = stage.held();
    match stage.exchange(stage.request()).await? {
        Err(ERROR) => {}
        Err(error) => return Err(format!("it became: {error}")),
        Ok(answer) => {
            return Err(format!("it became a response: {}", answer.head.status));
        }
    }
    stage.ends_clean(before).await
}

async fn of_the_body<S: Subject>(subject: Candidate<'_, S>, frames: usize) -> Found {
    let steps = std::iter::repeat_n(MockFrame::data("a"), frames);
    let body = MockBody::of(steps.chain([MockFrame::Error(ERROR)]));
    let stage = Stage::admitting(subject, Script::ok(body)).await?;
    let before = stage.held();
    match stage.exchange(stage.request()).await? {
        Ok(answer) => {
            let came = answer.frames.data.len();
            match answer.error {
                None => return Err("the body ended as if it were whole".to_owned()),
                Some(error) if MockError::find(&*error) != Some(&ERROR) => {
                    return Err(format!("it became: {error}"));
                }
                Some(_) if came != frames => {
                    return Err(format!("{came} frames came before it"));
                }
                Some(_) => {}
            }
        }
        Err(error) => return Err(format!("it came before the head: {error}")),
    }
    stage.ends_clean(before).await
}
