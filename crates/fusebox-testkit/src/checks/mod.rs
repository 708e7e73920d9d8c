//! One file a check: a table of scenes, and what must be true at the end of each.

mod cancellation;
mod errors;
mod one_event;
mod outcome;
mod panics;
mod parked;
mod pass_through;
mod readiness;
mod ready_instance;
mod refusal;
mod shadow;
mod shared_state;
mod unwinding;

use crate::{Check, Checked, Subject, stage::Candidate, types};

/// Runs a check twice: with somebody who hears the events, and without.
pub(crate) async fn run<S: Subject>(subject: &S, checked: &mut Checked) {
    for observed in [true, false] {
        checked.unheard = !observed;
        run_one(Candidate { subject, observed }, checked).await;
    }
}

async fn run_one<S: Subject>(subject: Candidate<'_, S>, checked: &mut Checked) {
    match checked.check {
        Check::PassThrough => pass_through::run(subject, checked).await,
        Check::Refusal => refusal::run(subject, checked).await,
        Check::ReadyInstance => ready_instance::run(subject, checked).await,
        Check::Readiness => readiness::run(subject, checked).await,
        Check::SharedState => shared_state::run(subject, checked).await,
        Check::Cancellation => cancellation::run(subject, checked).await,
        Check::OneEvent => one_event::run(subject, checked).await,
        // Counted, an outcome may be less exact than told: a layer need not follow a call to its end for nobody.
        Check::Outcome if !subject.observed => {}
        Check::Outcome => outcome::run(subject, checked).await,
        Check::Shadow => shadow::run(subject, checked).await,
        Check::Types => types::assert_subject::<S>(),
        Check::Errors => errors::run(subject, checked).await,
        Check::Panics => panics::run(subject, checked).await,
    }
}

const NEVER_WAITS: &str = "the layer never lets a call wait";
