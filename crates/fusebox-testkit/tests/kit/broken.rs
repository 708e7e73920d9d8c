use std::sync::Arc;

use fusebox_core::{LayerKind, Observer};
use fusebox_testkit::{Check, Fixture, Plain, Report, Situation, Subject, check, contract};

use crate::toy::{Backpressure, Elsewhere, Flaw, PlainToy, Toy};

/// What is wrong with a report that was to name this check and no other.
fn unlike(report: &Report, expected: Check) -> Option<String> {
    match &*report.broken() {
        [only] if *only == expected => None,
        _ => Some(format!("not {expected:?} alone:\n{report}")),
    }
}

fn each_is_found(flaws: impl IntoIterator<Item = Flaw>, report: impl Fn(Flaw) -> Report) {
    let wrong: Vec<String> = flaws
        .into_iter()
        .filter_map(|flaw| {
            let what = unlike(&report(flaw), flaw.check()?)?;
            Some(format!("{flaw:?}: {what}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_flaw_is_reported_by_the_check_that_names_it_and_by_no_other() {
    let all = Flaw::ALL.iter().map(|(flaw, _)| *flaw);
    each_is_found(all, |flaw| contract(&Toy(flaw)));
}

#[test]
fn every_check_but_that_of_the_types_has_a_flaw_to_find() {
    for check in Check::ALL {
        let found = Flaw::ALL.iter().any(|(_, finds)| *finds == check);
        // Types are checked by the compiler: see the doc-tests of `assert_*` that must not compile.
        assert!(found || check == Check::Types, "{check:?}");
    }
}

#[test]
fn flaws_of_a_plain_layer_are_found_too() {
    each_is_found(PlainToy::FLAWS, |flaw| contract(&Plain(PlainToy(flaw))));
}

#[test]
fn a_reservation_that_is_kept_is_found() {
    let report = contract(&Backpressure::KeepsReservations);
    assert!(report.broken().contains(&Check::Cancellation), "{report}");
}

#[test]
fn a_leak_elsewhere_is_found() {
    each_is_found([Flaw::LeaksWhenDropped], |flaw| contract(&Elsewhere(flaw)));
}

#[test]
fn a_leak_on_errors_elsewhere_is_found() {
    each_is_found([Flaw::LeaksOnErrors], |flaw| contract(&Elsewhere(flaw)));
}

#[test]
fn a_second_event_elsewhere_is_found() {
    each_is_found([Flaw::TellsTwice], |flaw| contract(&Elsewhere(flaw)));
}

#[test]
fn a_wrong_outcome_elsewhere_is_found() {
    each_is_found([Flaw::TakesCancellationForSuccess], |flaw| {
        contract(&Elsewhere(flaw))
    });
}

#[test]
fn a_lost_wake_up_elsewhere_is_found() {
    each_is_found([Flaw::LosesTheInnersWakeUp], |flaw| {
        contract(&Elsewhere(flaw))
    });
}

/// A subject that is no layer at all, and whose gauge nobody moves.
struct Idle;

impl Subject for Idle {
    const KIND: LayerKind = LayerKind::Other("idle");
    type Layer = tower_layer::Identity;
    type Body = fusebox_testkit::MockBody;

    async fn fixture(
        &self,
        situation: Situation,
        _: Option<Arc<dyn Observer>>,
    ) -> Option<Fixture<tower_layer::Identity>> {
        match situation {
            Situation::Waits => None,
            _ => Some(Fixture::new(tower_layer::Identity::new()).holding(|| 0)),
        }
    }
}

#[test]
fn a_gauge_that_nobody_moves_is_found() {
    let checked = check(Check::Cancellation, &Idle);
    assert!(
        checked.to_string().contains("cannot show a leak"),
        "{checked}"
    );
}

#[test]
fn fixtures_that_tell_nothing_of_the_state_are_found() {
    let checked = check(Check::SharedState, &Idle);
    assert!(!checked.is_kept(), "{checked}");
}

#[test]
#[should_panic(expected = "the response carries no Rejection")]
fn a_broken_contract_fails_its_test_with_what_was_found() {
    check(Check::Refusal, &Toy(Flaw::ForgetsToMarkGrpcRefusals)).assert_kept();
}
