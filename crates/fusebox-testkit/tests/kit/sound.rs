use fusebox_testkit::{Check, Plain, contract};

use crate::toy::{Backpressure, Elsewhere, Flaw, PlainToy, Toy};

fusebox_testkit::contract! {
    mod toy: Toy(Flaw::None);
    mod plain: Plain(PlainToy(Flaw::None));
    mod backpressure: Backpressure::Sound;
    mod elsewhere: Elsewhere(Flaw::None);
}

#[test]
fn a_layer_that_can_be_in_every_situation_is_checked_whole() {
    for checked in contract(&Toy(Flaw::None)).checks {
        assert!(checked.skipped.is_empty(), "{checked}");
    }
}

#[test]
fn what_a_layer_cannot_do_is_reported_as_skipped() {
    let report = contract(&Backpressure::Sound);
    let skipped = |check| {
        let checked = report.checks.iter().find(|checked| checked.check == check);
        checked.is_some_and(|checked| !checked.skipped.is_empty())
    };
    assert!(skipped(Check::Refusal), "{report}");
    assert!(skipped(Check::Shadow), "{report}");
    assert!(!skipped(Check::Cancellation), "{report}");
}
