use super::unwinding::to_the_panic;
use crate::{
    Checked, MockBody, MockFrame, Script, Subject,
    stage::{Candidate, Found, Stage},
};

pub(super) async fn run<S: Subject>(subject: Candidate<'_, S>, checked: &mut Checked) {
    let body = || MockBody::of([MockFrame::data("a"), MockFrame::Pending, MockFrame::Panic]);
    for (place, script) in [
        ("in call", Script::panic_in_call()),
        ("in the first poll of its future", Script::panic_in_future()),
        ("in its future", Script::panic_in_future().pending(2)),
        ("in its body", Script::ok(body())),
        (
            "in the first poll of its body",
            Script::ok(MockBody::of([MockFrame::Panic])),
        ),
    ] {
        checked.row(
            format_args!("a panic {place}"),
            gives_back(subject, script).await,
        );
    }
}

async fn gives_back<S: Subject>(subject: Candidate<'_, S>, script: Script) -> Found {
    let stage = Stage::admitting(subject, script).await?;
    let before = stage.held();
    to_the_panic(&stage).await?;
    stage.ends_clean(before).await
}
